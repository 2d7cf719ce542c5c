"""The GM loss on CIFAR-10: the reference's gradients cached against computed in every step.

    python benchmarks/misalignment.py DATA_FOLDER

needs cifar10 in the data folder. It takes about two minutes on a CPU.
"""

import statistics
import sys
import time

import numpy as np
import torch

import kit
from kit import misalignment
from kit.neuroevolution import Space, build, random_genome

IMAGES, REPEATS, CHILDREN = 256, 3, 8
CHILD_EPOCHS, REDUCED = 20, 10_000  # the paper's: epochs of a child, images of the reduced set


def uncached(reference):
    """The GM loss with the reference run in every step."""

    def loss(model, x, y, rows):
        units = misalignment.reference_gradients(reference, x, y)
        grads, logits = kit.training.input_gradients(model, x, y, create_graph=True, details=True)
        cosine = (misalignment.unit(grads) * units.flatten(1).to(grads.dtype)).sum(1).mean()
        return torch.nn.functional.cross_entropy(logits, y) + cosine, logits

    return loss


def timed(net, x, y, loss):
    """Seconds of one epoch, the GPU's work included."""
    if x.is_cuda:
        torch.cuda.synchronize()
    started = time.perf_counter()
    kit.training.fit(net, x, y, epochs=1, batch_size=128, loss=loss)
    if x.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started


def cached_against_uncached(data, device, name):
    """Seconds per epoch, in turn, so that a drift of the machine's speed hits all."""
    x, y = data.x_train[:IMAGES].to(device), data.y_train[:IMAGES].to(device)
    reference = kit.nets.build(name, data.shape, data.classes).to(device)
    units = misalignment.reference_gradients(reference, x, y)
    losses = {
        "cached": misalignment.misaligned(units),
        "uncached": uncached(reference),
        "plain": None,
    }
    seconds = {way: [] for way in losses}
    for seed in range(REPEATS + 1):
        for way, loss in losses.items():
            net = kit.nets.build("hand_b", data.shape, data.classes, seed=seed).to(device)
            seconds[way].append(timed(net, x, y, loss))
    pairs = list(zip(*(times[1:] for times in seconds.values()), strict=True))  # first: warm-up
    slower, plain = (statistics.median(row[k] / row[0] for row in pairs) for k in (1, 2))
    print(
        f"child hand_b, reference {name}: cached {statistics.median(seconds['cached'][1:]):.2f} s "
        f"for {IMAGES} images; uncached takes {slower:.2f} times as long, training without GM "
        f"{plain:.2f} times (medians of {REPEATS})"
    )


def children_per_hour(data, device):
    """Random architectures of the search space, one epoch each, as a rate of whole children."""
    x, y = data.x_train[:IMAGES].to(device), data.y_train[:IMAGES].to(device)
    reference = kit.nets.build("hand_a", data.shape, data.classes).to(device)
    loss = misalignment.misaligned(misalignment.reference_gradients(reference, x, y))
    rng, space = np.random.default_rng(0), Space(side=28)
    nets = [build(random_genome(rng, space), data.shape, data.classes) for _ in range(CHILDREN)]
    timed(nets[0].to(device), x, y, loss)  # warm-up
    seconds = statistics.mean(timed(net.to(device), x, y, loss) for net in nets)
    child = seconds * CHILD_EPOCHS * REDUCED / IMAGES
    print(
        f"{3600 / child:.2f} children per hour, one after another: {CHILDREN} random architectures "
        f"(channels 16–128, up to {space.blocks} blocks), extrapolated from {IMAGES} images to "
        f"{CHILD_EPOCHS} epochs of {REDUCED}"
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    where = kit.runtime.device("auto")
    cifar = kit.data.load("cifar10", sys.argv[1], train=REDUCED, test=1000)
    with kit.runtime.threads(1):
        print(*kit.runtime.hardware(where).values(), sep=", ")
        for name in ("hand_a", "resnet34"):
            cached_against_uncached(cifar, where, name)
        children_per_hour(cifar, where)
