"""The search nets of Chaudhury & Yamasaki (ICASSP 2020, §4): GrayNet and ColorNet.

In the paper's notation 24C3 is a 3×3 convolution with 24 outputs, P a 2×2 max-pooling, FC a fully
connected layer and S the softmax (left to the loss here). Images keep their size in a convolution:
without padding ColorNet's last pooling would have nothing left of a 32×32 image.
"""

from __future__ import annotations

import torch
from torch import nn


class GrayNet(nn.Sequential):
    """24C3-P-48C3-P-256FC-10S, for grey images.

    Parameters
    ----------
    shape
        Shape of one image, (1, H, W), with H and W at least 4.
    classes
        Number of classes.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        if shape[0] != 1:
            raise ValueError(
                f"The net 'graynet' is for grey images; these have {shape[0]} channels: "
                "use the net 'colornet', or load the data with channels=1."
            )
        super().__init__(*_layers(shape, [[24], [48]], 256, classes))
        self.to(memory_format=torch.channels_last)  # a quarter faster on a CPU


class ColorNet(nn.Sequential):
    """32C3-32C3-P-64C3-64C3-P-128C3-128C3-P-512FC-10S, for colour images.

    Parameters
    ----------
    shape
        Shape of one image, (C, H, W), with H and W at least 8.
    classes
        Number of classes.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__(*_layers(shape, [[32, 32], [64, 64], [128, 128]], 512, classes))
        self.to(memory_format=torch.channels_last)


def _layers(
    shape: tuple[int, int, int], blocks: list[list[int]], hidden: int, classes: int
) -> list[nn.Module]:
    """Convolutions block by block, each block ending in a pooling, then two full layers."""
    channels, height, width = shape
    least = 2 ** len(blocks)
    if min(height, width) < least:
        raise ValueError(
            f"This net needs images of at least {least}×{least} pixels, not {height}×{width}."
        )
    layers: list[nn.Module] = []
    for block in blocks:
        for outputs in block:
            layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.ReLU()]
            channels = outputs
        layers.insert(-1, nn.MaxPool2d(2))  # before the ReLU: the same result for less work
    pixels = (height // least) * (width // least)
    full = nn.Linear(channels * pixels, hidden), nn.ReLU(), nn.Linear(hidden, classes)
    return [*layers, nn.Flatten(), *full]
