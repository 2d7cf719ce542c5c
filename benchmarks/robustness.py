"""Robustness metrics of a LeNet-5 trained on MNIST: the kit against the Adversarial Robustness
Toolbox (ART), same net, same images.

    pip install -e ".[bench]" && python benchmarks/robustness.py DATA_FOLDER

needs mnist in the data folder and takes about five minutes.
"""

import sys
import time

import numpy as np
import torch
from art import metrics
from art.estimators.classification import PyTorchClassifier

import kit

IMAGES, SEEDS = 5, 5


def scores_of(score, seeds):
    """Scores of all images for every seed, shape (seeds, images), and the seconds of an image."""
    started = time.perf_counter()
    scores = torch.stack([score(seed) for seed in range(seeds)])
    return scores, (time.perf_counter() - started) / scores.numel()


def spread(scores):
    """By how much the largest of several seeds' scores exceeds the least, for each image."""
    return ", ".join(f"{x:.1%}" for x in scores.amax(0) / scores.amin(0) - 1)


def main(root):
    """Train, measure with both, print what came out."""
    mnist = kit.data.load("mnist", root)
    machine = kit.runtime.hardware(torch.device("cpu"))
    print(
        f"{machine['processor']}, {machine['threads']} threads, torch {machine['torch']}; {mnist.title}"
    )
    net = kit.nets.build("lenet5", mnist.shape)
    kit.training.fit(net, mnist.x_train, mnist.y_train, epochs=4)
    right = (kit.training.predict(net, mnist.x_test) == mnist.y_test).nonzero().flatten()
    x, y = mnist.x_test[right[:200]], mnist.y_test[right[:200]]
    peer = PyTorchClassifier(
        net, torch.nn.CrossEntropyLoss(), mnist.shape, 10, clip_values=(0, 1), device_type="cpu"
    )

    def theirs(seed):
        np.random.seed(seed)  # noqa: NPY002 ART draws from the global generator
        return torch.tensor(
            [metrics.clever_u(peer, i.numpy(), 10, 100, 5.0, 2, verbose=False) for i in x[:IMAGES]]
        )

    kit.robustness.clever(net, x[:1])  # warm up
    ours, our_time = scores_of(
        lambda seed: kit.robustness.clever(net, x[:IMAGES], seed=seed), SEEDS
    )
    known, their_time = scores_of(theirs, SEEDS)
    print(f"CLEVER (10 batches of 100, L2, R = 5) of {IMAGES} images, {SEEDS} seeds each:")
    print(f"   kit  {our_time:5.2f} s/image, mean scores {np.round(ours.mean(0).tolist(), 3)}")
    print(f"        between seeds: {spread(ours)}")
    print(f"   ART  {their_time:5.2f} s/image, mean scores {np.round(known.mean(0).tolist(), 3)}")
    print(f"        between seeds: {spread(known)}")
    print(f"   ART takes {their_time / our_time:.1f} times as long")
    more, _ = scores_of(lambda seed: kit.robustness.clever(net, x[:40], seed=seed), SEEDS)
    near = more.amax(0) / more.amin(0) < 1.15
    print(
        f"   kit, 40 images: the seeds lie within 15 % of each other for {int(near.sum())} of them"
    )
    result = kit.robustness.clever(net, x[:100], details=True)
    bound = result.margin / result.largest
    low = (result.scores < bound.clamp_max(5) / 10) & ~result.fell_back
    print(f"   of 100 images {int(result.fell_back.sum())} fell back, {int(result.at_cap.sum())} are "
          f"at the cap, {int(low.sum())} lie under a tenth of margin / largest gradient")  # fmt: skip

    for count in (1, 10, 200):
        ours = kit.robustness.loss_sensitivity(net, x[:count], y[:count])
        known = metrics.loss_sensitivity(peer, x[:count].numpy(), np.eye(10)[y[:count].numpy()])
        print(f"loss sensitivity of {count:3} images: kit {ours:.6f}, ART {known:.6f}")
    ours = kit.robustness.empirical_robustness(net, x)
    known = metrics.empirical_robustness(peer, x.numpy(), "fgsm", {"eps": 1.0, "eps_step": 0.1})
    print(f"empirical robustness, grid 0.1: kit {ours:.4f}, ART {float(known):.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
