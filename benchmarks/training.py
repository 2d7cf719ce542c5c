"""One epoch of GrayNet on MNIST against the loop that tutorials write; the GM loss cached or not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

import kit
from benchmarks.rows import Row, in_turn
from kit import misalignment
from kit.neuroevolution import Space, build, random_genome

CHILDREN = 8
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
    yield from _misalignment(root, quick, device)


def _misalignment(
    root: str, quick: bool, device: torch.device
) -> Iterator[Row | tuple[str, pd.DataFrame]]:
    count = 32 if quick else 256
    data = kit.data.load("cifar10", root, train=1000, test=1000)
    x, y = data.x_train[:count].to(device), data.y_train[:count].to(device)
    reference = kit.nets.build("resnet34", data.shape, data.classes).to(device)
    grads = misalignment.reference_gradients(reference, x, y)
    cached = misalignment.misaligned(grads)

    def uncached(model, x, y, rows):
        units = misalignment.reference_gradients(reference, x, y)
        return misalignment.misaligned(units)(model, x, y, torch.arange(len(x), device=x.device))

    def epoch(loss):
        net = kit.nets.build("hand_b", data.shape, data.classes).to(device)
        return kit.training.fit(net, x, y, epochs=1, loss=loss)["loss"][0]

    apart = abs(epoch(cached) - epoch(uncached))
    ways = {
        "kit": lambda: epoch(cached), "uncached": lambda: epoch(uncached), "plain": lambda: epoch(None),
    }  # fmt: skip
    seconds = in_turn(ways, 1 if quick else 3)
    work = f"one GM child (hand_b), ResNet-34 reference, an epoch of {count} CIFAR-10 images"
    same = f"losses {apart:.1g} apart"
    yield Row(work, "uncached reference gradients", seconds["kit"], seconds["uncached"], 1.5, same)

    rng, space = np.random.default_rng(0), Space(side=28)
    nets = [build(random_genome(rng, space), data.shape, data.classes) for _ in range(CHILDREN)]
    each = {
        number: lambda net=net: kit.training.fit(net.to(device), x, y, epochs=1, loss=cached)
        for number, net in enumerate(nets[: 1 if quick else None])
    }
    mean = float(np.mean(list(in_turn(each, 1).values())))
    table = pd.DataFrame(
        {
            "training with GM, against plain": [seconds["kit"] / seconds["plain"]],
            "seconds of a child": [mean * CHILD_EPOCHS * REDUCED / count],
            "children per hour": [3600 * count / (mean * CHILD_EPOCHS * REDUCED)],
        }
    )
    yield (
        f"GM on CIFAR-10: children of the paper's search, one after another ({len(each)} random "
        f"architectures, channels 16–128, up to {space.blocks} blocks; from an epoch of {count} "
        f"images to {CHILD_EPOCHS} epochs of {REDUCED:,})",
        table,
    )
