"""Training GrayNet on MNIST: the kit against a DataLoader, and a population stacked against a loop.

    python benchmarks/training.py DATA_FOLDER

needs mnist in the data folder. It takes about two minutes on a CPU.
"""

import statistics
import sys
import time

import torch
from torch.utils.data import DataLoader, TensorDataset

import kit

IMAGES, EPOCHS, MEMBERS, REPEATS = 5000, 1, 14, 5


def with_data_loader(net, x, y, seed):
    """The training loop as most tutorials write it."""
    generator = torch.Generator().manual_seed(seed)
    loader = DataLoader(TensorDataset(x, y), batch_size=128, shuffle=True, generator=generator)
    device = next(net.parameters()).device
    update = torch.optim.Adam(net.parameters(), lr=1e-3)
    net.train()
    for _ in range(EPOCHS):
        for images, labels in loader:
            loss = torch.nn.functional.cross_entropy(net(images.to(device)), labels.to(device))
            update.zero_grad()
            loss.backward()
            update.step()


def with_kit(net, x, y, seed):
    """The same training, by the kit."""
    kit.training.fit(net, x, y, epochs=EPOCHS, batch_size=128, lr=1e-3, seed=seed)


def timed(function, *arguments):
    """Seconds that a call takes, the GPU's work included."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = time.perf_counter()
    function(*arguments)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def against_data_loader(dataset, device):
    """Seconds per epoch, in turn, so that a drift of the machine's speed hits both."""
    seconds = {with_kit: [], with_data_loader: []}
    on_device = dataset.x_train.to(device), dataset.y_train.to(device)
    for seed in range(REPEATS + 1):
        for way, times in seconds.items():
            net = kit.nets.build("graynet", dataset.shape, seed=seed).to(device)
            images = on_device if way is with_kit else (dataset.x_train, dataset.y_train)
            times.append(timed(way, net, *images, seed))
    ours, theirs = (statistics.median(times[1:]) for times in seconds.values())  # first: warm-up
    ratio = statistics.median(
        b / a for a, b in zip(seconds[with_kit][1:], seconds[with_data_loader][1:], strict=True)
    )
    print(f"fit {ours:.2f} s, DataLoader loop {theirs:.2f} s per epoch of {IMAGES} images:")
    print(f"the DataLoader loop takes {ratio:.2f} times as long (median of {REPEATS} pairs)")


def stacked_against_loop(dataset, device):
    """Seconds to score one generation of candidates."""
    count = IMAGES if device.type == "cuda" else 640  # on a CPU five steps show it
    x, y = dataset.x_train[:count].to(device), dataset.y_train[:count].to(device)
    noise = [kit.perturbations.uniform(10, 1, dataset.shape, seed=s) for s in range(MEMBERS)]
    seconds = {}
    for stacked in (True, False):
        options = dict(epochs=EPOCHS, stacked=stacked, discriminator_epochs=2)
        score = lambda options=options: kit.evolution.fitness(torch.stack(noise), x, y, **options)  # noqa: E731
        score()
        seconds[stacked] = timed(score)
    print(
        f"one generation of {MEMBERS} candidates: stacked {seconds[True]:.1f} s, loop {seconds[False]:.1f} s:"
    )
    print(f"the loop takes {seconds[False] / seconds[True]:.2f} times as long")


def main(root):
    """Run both comparisons and print the ratios."""
    device = kit.runtime.device()
    dataset = kit.data.load("mnist", root, train=IMAGES, test=1000)
    print(", ".join(map(str, kit.runtime.hardware(device).values())))
    against_data_loader(dataset, device)
    stacked_against_loop(dataset, device)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1])
