"""One epoch of GrayNet on MNIST against the loop that tutorials write; the GM loss against plain."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import cross_entropy
from torch.profiler import profile, supported_activities
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

import kit
from benchmarks.rows import Row, in_turn
from kit import misalignment
from kit.neuroevolution import Space, build, random_genome

CHILDREN = 20
BATCH, SHAPE = 128, (3, 32, 32)  # images of a GM step
CHILD_EPOCHS, REDUCED = 20, 10_000  # the paper's: epochs of a child, images of the reduced set


class Images(Dataset):
    """Images as bytes, turned into tensors one by one, as torchvision's data sets are."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor):
        self.images = [np.moveaxis(image, 0, -1) for image in (255 * x).byte().numpy()]
        self.labels, self.transform = y.tolist(), transforms.ToTensor()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[i]), self.labels[i]


def usual_epoch(net: torch.nn.Module, images: Images, device: torch.device) -> None:
    """The training loop as most tutorials write it."""
    update = torch.optim.Adam(net.parameters(), lr=1e-3)
    net.train()
    for x, y in DataLoader(images, batch_size=128, shuffle=True):
        loss = cross_entropy(net(x.to(device)), y.to(device))
        update.zero_grad()
        loss.backward()
        update.step()


def rows(root: str, quick: bool) -> Iterator[Row | tuple[str, pd.DataFrame]]:
    """Seconds of an epoch."""
    device = kit.runtime.device()
    data = kit.data.load("mnist", root, train=500 if quick else 10_000, test=1000)
    images = Images(data.x_train, data.y_train)
    x, y = data.x_train.to(device), data.y_train.to(device)
    build = lambda: kit.nets.build("graynet", data.shape).to(device)  # noqa: E731
    ours, alike = build(), build()
    theirs = build().to(memory_format=torch.contiguous_format)  # as PyTorch lays nets by default
    kit.training.fit(ours, x, y, epochs=2)
    for _ in range(2):
        usual_epoch(theirs, images, device)
    same = ", ".join(
        f"{kit.training.accuracy(net.eval(), data.x_test.to(device), data.y_test.to(device)):.1%}"
        for net in (ours, theirs)
    )
    ways = {
        "kit": lambda: kit.training.fit(ours, x, y, epochs=1),
        "usual": lambda: usual_epoch(theirs, images, device),
        "channels last": lambda: usual_epoch(alike, images, device),
    }
    seconds = in_turn(ways, 1 if quick else 5)
    work = f"one epoch, GrayNet, MNIST ({len(x):,} images)"
    same = f"test accuracy after two epochs: {same}"
    same += f"; a net laid channels-last, as the kit's: peer {seconds['channels last']:.2f} s"
    why = "forward and backward pass take nearly all of the time, on either side"
    peer = "torchvision transform + DataLoader"
    yield Row(work, peer, seconds["kit"], seconds["usual"], 1.3, same, why)
    yield _reference(quick, device)
    yield from _steps(quick, device)


def _images(quick: bool, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of noise: how long a step takes does not depend on what the images show."""
    count = 32 if quick else BATCH
    return torch.rand(count, *SHAPE, device=device), torch.arange(count, device=device) % 10


def _reference(quick: bool, device: torch.device) -> Row:
    """The reference's gradients, computed once or anew in every step."""
    x, y = _images(quick, device)
    reference = kit.nets.build("resnet34", SHAPE).to(device)
    cached = misalignment.misaligned(misalignment.reference_gradients(reference, x, y))

    def uncached(model, x, y, rows):
        units = misalignment.reference_gradients(reference, x, y)
        return misalignment.misaligned(units)(model, x, y, torch.arange(len(x), device=x.device))

    def step(loss):
        net = kit.nets.build("hand_b", SHAPE).to(device)
        return kit.training.fit(net, x, y, epochs=1, loss=loss)["loss"][0]

    same = f"losses {abs(step(cached) - step(uncached)):.1g} apart"
    seconds = in_turn(
        {"kit": lambda: step(cached), "anew": lambda: step(uncached)}, 1 if quick else 5
    )
    work = f"a GM step of hand_b, ResNet-34 as the reference, {len(x)} images of 3×32×32"
    return Row(work, "uncached reference gradients", seconds["kit"], seconds["anew"], 1.5, same)


def _steps(quick: bool, device: torch.device) -> Iterator[tuple[str, pd.DataFrame]]:
    """A step with the GM loss against a plain one, and what takes the time in it."""
    x, y = _images(quick, device)
    gm = misalignment.misaligned(misalignment.unit(torch.randn_like(x)).view_as(x))
    rng, space = np.random.default_rng(0), Space(side=28)
    drawn = [random_genome(rng, space) for _ in range(2 if quick else CHILDREN)]
    named = {name: kit.nets.build(name, SHAPE) for name in ("hand_a", "hand_b", "resnet8")}
    seconds, shares = {}, {}
    for name, net in (
        named | {k: build(genome, SHAPE, 10) for k, genome in enumerate(drawn)}
    ).items():
        net.to(device)
        ways = {
            "plain step (s)": lambda net=net: kit.training.fit(net, x, y, epochs=1),
            "GM step (s)": lambda net=net: kit.training.fit(net, x, y, epochs=1, loss=gm),
        }
        seconds[name] = in_turn(ways, 5 if name in named and not quick else 1)
        if name in named:
            shares[name] = _shares(ways["GM step (s)"])
    times = pd.DataFrame(seconds).T
    times["GM takes (×)"] = times["GM step (s)"] / times["plain step (s)"]
    children = times.drop(named)
    times = times.loc[list(named)]
    times.loc[f"{len(drawn)} random architectures, medians"] = children.median()
    yield (
        f"A GM step against a plain step ({len(x)} images of 3×32×32)",
        times.rename_axis("net").reset_index(),
    )
    table = pd.DataFrame(shares).fillna(0)
    yield (
        "A GM step's operations, by their share of the time (%)",
        table[table.max(axis=1) > 2].round(1).rename_axis("operation").reset_index(),
    )
    child = children["GM step (s)"].mean() * CHILD_EPOCHS * REDUCED / len(x)
    yield (
        f"GM: children of the paper's search, one after another ({len(drawn)} random architectures, "
        f"channels 16–128, up to {space.blocks} blocks; from a step of {len(x)} images of 3×32×32 "
        f"to {CHILD_EPOCHS} epochs of {REDUCED:,})",
        pd.DataFrame({"seconds of a child": [child], "children per hour": [3600 / child]}),
    )


def _shares(way: Callable[[], object]) -> pd.Series:
    """Each operation's share of the time, in percent, the largest first."""
    with profile(activities=list(supported_activities())) as run:
        way()
    where = "self_device_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    times = pd.Series({event.key: getattr(event, where) for event in run.key_averages()})
    return (100 * times / times.sum()).sort_values(ascending=False)
