"""A net from a genome: its blocks, then two fully connected layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, pad

from kit.nets.genome import JOINS, Block, Genome, Shape, shapes

HEAD = 4  # the last feature maps are averaged to at most 4×4 pixels
HIDDEN = 64  # units of the first fully connected layer


class GenomeNet(nn.Module):
    """The net that a genome describes.

    Parameters
    ----------
    shape
        Shape of one image, (C, H, W).
    classes
        Number of classes.
    genome
        Blocks, see :mod:`kit.nets.genome`.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int, genome: Genome) -> None:
        super().__init__()
        outputs = shapes(genome, shape)
        self.inputs = [block["inputs"] for block in genome]
        self.blocks = nn.ModuleList(
            _block(block, [outputs[k] for k in block["inputs"]]) for block in genome
        )
        channels, height, width = outputs[-1]
        side = min(HEAD, height, width)
        self.head = nn.Sequential(
            Averaged((side, side)),
            nn.Flatten(),
            nn.Linear(channels * side**2, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape (N, classes) for images of shape (N, C, H, W)."""
        features = [x]
        for block, inputs in zip(self.blocks, self.inputs, strict=True):
            features.append(block(*(features[k] for k in inputs)))
        return self.head(features[-1])


class Join(nn.Module):
    """Two feature maps made equal in size, then added or stacked.

    Where one has fewer channels, a sum takes zeros for the missing ones.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Features of the smaller size."""
        size = min(a.shape[2], b.shape[2]), min(a.shape[3], b.shape[3])
        a, b = _averaged(a, size), _averaged(b, size)
        if self.kind == "concat":
            return torch.cat([a, b], 1)
        channels = max(a.shape[1], b.shape[1])
        return _widened(a, channels) + _widened(b, channels)


class Averaged(nn.Module):
    """Feature maps averaged to a size, (height, width)."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Features of this size."""
        return _averaged(x, self.size)


def _averaged(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Feature maps averaged to a size; by equal windows where they fit, which is much quicker."""
    sides = tuple(x.shape[2:])
    if sides == size:
        return x
    if any(side % wanted for side, wanted in zip(sides, size, strict=True)):
        return adaptive_avg_pool2d(x, size)
    return avg_pool2d(x, (sides[0] // size[0], sides[1] // size[1]))


def _widened(x: Tensor, channels: int) -> Tensor:
    """With zeros for missing channels."""
    missing = channels - x.shape[1]
    return pad(x, (0, 0, 0, 0, 0, missing)) if missing else x


def _block(block: Block, inputs: Sequence[Shape]) -> nn.Module:
    if block["kind"] in JOINS:
        return Join(block["kind"])
    if block["kind"] == "pool":
        return nn.MaxPool2d(2) if block["pool"] == "max" else nn.AvgPool2d(2)
    channels, kernel = block["channels"], block["kernel"]
    stride = 2 if block["kind"] == "strided" else 1
    height, width = inputs[0][1:]
    # An odd side would round up to more than half of it: a last column is left out, as in pooling.
    padding = kernel // 2
    if stride == 2 and kernel == 1:
        convolution: nn.Conv2d = EveryOther(inputs[0][0], channels, kernel, bias=False)
    else:
        convolution = nn.Conv2d(inputs[0][0], channels, kernel, stride, padding, bias=False)
    layers = [convolution, nn.BatchNorm2d(channels), nn.ReLU()]
    odd = stride == 2 and (height % 2 or width % 2)
    return nn.Sequential(*([Even()] if odd else []), *layers)


class EveryOther(nn.Conv2d):
    """A 1×1 convolution with stride 2, of feature maps with even sides.

    It takes every other pixel first. PyTorch's own (2.15, oneDNN) writes beyond its memory in the
    backward pass of fewer than eight channels laid out channels-last, on CPUs without AVX-512, and
    the process dies sooner or later.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Features of half the size."""
        return super().forward(x[:, :, ::2, ::2])


class Even(nn.Module):
    """Leaves out the last row or column of feature maps with an odd number of them."""

    def forward(self, x: Tensor) -> Tensor:
        """Features with even sides."""
        return x[:, :, : x.shape[2] // 2 * 2, : x.shape[3] // 2 * 2]
