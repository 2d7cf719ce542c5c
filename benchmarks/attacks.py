"""Attacks on a LeNet-5 trained on MNIST: the kit against its peers, same net, same images.

    pip install -e ".[bench]" && pip install --no-deps torchattacks
    python benchmarks/attacks.py DATA_FOLDER

needs mnist in the data folder and takes about five minutes.
"""

import statistics
import sys
import time

import foolbox
import torch
import torchattacks
from torch.nn.functional import cross_entropy

import kit

IMAGES, EPS, STEP, STEPS = 500, 0.1, 0.01, 40


def timed(attack):
    """What an attack returns, and its seconds."""
    started = time.perf_counter()
    x_adv = attack()
    return x_adv, time.perf_counter() - started


def report(name, net, x, y, x_adv, seconds):
    """Print success (recomputed from the images), mean L2 and time of one attack."""
    success = 1 - kit.training.accuracy(net, x_adv, y)
    norm = (x_adv - x).flatten(1).norm(dim=1).mean()
    inside = bool((x_adv >= 0).all() and (x_adv <= 1).all())
    time_each = 1000 * seconds / len(x)
    print(
        f"{name:18} {success:7.1%} fooled  L2 {norm:.4f}  {time_each:6.2f} ms/image  in [0, 1]: {inside}"
    )


def in_turn(net, x, y, attacks, rounds):
    """Run attacks in turn, report each, print how long the others take against the first."""
    times = {name: [] for name in attacks}
    for _ in range(rounds):
        for name, attack in attacks.items():
            x_adv, seconds = timed(attack)
            times[name].append(seconds)
            report(name, net, x, y, x_adv, seconds)
    ours, *others = times
    for other in others:
        ratio = statistics.median(
            theirs / mine for theirs, mine in zip(times[other], times[ours], strict=True)
        )
        print(f"   {other} takes {ratio:.2f} times as long (median of {rounds} pairs)")


def bare_pgd(net, x, y):
    """PGD as one would write it down, without a random start."""
    x_adv = x
    for _ in range(STEPS):
        x_adv = x_adv.detach().requires_grad_()
        grad = torch.autograd.grad(cross_entropy(net(x_adv), y, reduction="sum"), x_adv)[0]
        change = (x_adv.detach() + STEP * grad.sign() - x).clamp(-EPS, EPS)
        x_adv = (x + change).clamp(0, 1)
    return x_adv


def main(root):
    """Train, attack with all, print what came out."""
    mnist = kit.data.load("mnist", root)
    machine = kit.runtime.hardware(torch.device("cpu"))
    print(
        f"{machine['processor']}, {machine['threads']} threads, torch {machine['torch']}; {mnist.title}"
    )
    net = kit.nets.build("lenet5", mnist.shape)
    kit.training.fit(net, mnist.x_train, mnist.y_train, epochs=4)
    right = (kit.training.predict(net, mnist.x_test) == mnist.y_test).nonzero().flatten()[:IMAGES]
    x, y = mnist.x_test[right], mnist.y_test[right]
    net.eval().requires_grad_(False)
    peer = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")

    fgsm = foolbox.attacks.LinfFastGradientAttack(random_start=False)
    theirs = fgsm(peer, x, y, epsilons=EPS)[1]
    ours = kit.attacks.fgsm(net, x, y, eps=EPS)
    print(f"FGSM: largest difference from foolbox {float((ours - theirs).abs().max()):.1e}")

    options = {"eps": EPS, "steps": STEPS, "random_start": False}
    known = torchattacks.PGD(net, alpha=STEP, **options)
    pgd = {
        "PGD, kit": lambda: kit.attacks.pgd(net, x, y, step_size=STEP, **options),
        "PGD, bare loop": lambda: bare_pgd(net, x, y),
        "PGD, torchattacks": lambda: known(x, y),
    }
    ours, _, theirs = (attack() for attack in pgd.values())
    print(f"PGD: largest difference from torchattacks {float((ours - theirs).abs().max()):.1e}")
    in_turn(net, x, y, pgd, rounds=7)

    deepfool = {
        "DeepFool, kit": lambda: kit.attacks.deepfool(net, x, y),
        "DeepFool, foolbox": lambda: foolbox.attacks.L2DeepFoolAttack()(peer, x, y, epsilons=None)[
            1
        ],
    }
    in_turn(net, x, y, deepfool, rounds=3)

    x, y = x[:250], y[:250]
    known_cw = foolbox.attacks.L2CarliniWagnerAttack(
        binary_search_steps=5, steps=100, stepsize=0.05, initial_const=1.0
    )
    cw = {
        "CW, kit": lambda: kit.attacks.cw_l2(net, x, y),
        "CW, foolbox": lambda: known_cw(peer, x, y, epsilons=None)[1],
    }
    in_turn(net, x, y, cw, rounds=3)
    result = kit.attacks.cw_l2(net, x, y, details=True)
    fooled = kit.training.predict(net, result.x_adv, batch_size=1) != y
    print(f"CW, kit: {int(result.success.sum())} of {len(x)} successes claimed, "
          f"{int(fooled[result.success].sum())} confirmed one by one")  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
