"""FGSM and DeepFool on a LeNet-5 trained on MNIST: the kit against foolbox, same net and images.

    pip install -e ".[bench]" && python benchmarks/attacks.py DATA_FOLDER

needs mnist in the data folder and takes about two minutes.
"""

import sys
import time

import foolbox
import torch

import kit

IMAGES, EPSILON = 1000, 0.1


def report(name, net, x, y, x_adv, seconds):
    """Print success (recomputed from the images), mean L2 and time of one attack."""
    success = 1 - kit.training.accuracy(net, x_adv, y)
    norm = (x_adv - x).flatten(1).norm(dim=1).mean()
    inside = bool((x_adv >= 0).all() and (x_adv <= 1).all())
    time_each = 1000 * seconds / len(x)
    print(
        f"{name:18} {success:7.1%} fooled  L2 {norm:.4f}  {time_each:6.2f} ms/image  in [0, 1]: {inside}"
    )


def main(root):
    """Train, attack with both, print what came out."""
    mnist = kit.data.load("mnist", root)
    machine = kit.runtime.hardware(torch.device("cpu"))
    print(
        f"{machine['processor']}, {machine['threads']} threads, torch {machine['torch']}; {mnist.title}"
    )
    net = kit.nets.build("lenet5", mnist.shape)
    kit.training.fit(net, mnist.x_train, mnist.y_train, epochs=4)
    right = (kit.training.predict(net, mnist.x_test) == mnist.y_test).nonzero().flatten()[:IMAGES]
    x, y = mnist.x_test[right], mnist.y_test[right]
    peer = foolbox.PyTorchModel(net.eval(), bounds=(0, 1), device="cpu")

    theirs = foolbox.attacks.LinfFastGradientAttack(random_start=False)(
        peer, x, y, epsilons=EPSILON
    )[1]
    ours = kit.attacks.fgsm(net, x, y, eps=EPSILON)
    print(f"FGSM: largest difference from foolbox {float((ours - theirs).abs().max()):.1e}")

    for _ in range(2):  # twice, in turn
        started = time.perf_counter()
        x_adv = kit.attacks.deepfool(net, x, y)
        report("DeepFool, kit", net, x, y, x_adv, time.perf_counter() - started)
        started = time.perf_counter()
        x_adv = foolbox.attacks.L2DeepFoolAttack()(peer, x, y, epsilons=None)[1]
        report("DeepFool, foolbox", net, x, y, x_adv, time.perf_counter() - started)


if __name__ == "__main__":
    main(*sys.argv[1:])
