"""Residual nets for small images (He et al., Deep residual learning, CVPR 2016, §4.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, relu


class ResNet(nn.Module):
    """6n + 2 layers: a convolution, three stages of n blocks with 16, 32 and 64 channels, one FC.

    As in the paper's CIFAR-10 experiments, shortcuts have no weights: where the image shrinks
    they take every second pixel and fill the new channels with zeros (option A).

    Parameters
    ----------
    shape
        Shape of one image, (C, H, W).
    classes
        Number of classes.
    blocks
        n; 3 makes ResNet-20, 5 makes ResNet-32.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int, blocks: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(_convolution(shape[0], 16), nn.BatchNorm2d(16), nn.ReLU())
        widths = [16] * blocks + [32] * blocks + [64] * blocks
        pairs = zip([16, *widths[:-1]], widths, strict=True)
        self.blocks = nn.Sequential(*(Block(inputs, outputs) for inputs, outputs in pairs))
        self.classifier = nn.Linear(64, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape (N, classes) for images of shape (N, C, H, W)."""
        return self.classifier(self.blocks(self.stem(x)).mean((2, 3)))


class Block(nn.Module):
    """Two 3×3 convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.stride, self.new = outputs // inputs, outputs - inputs
        self.first = _convolution(inputs, outputs, self.stride)
        self.second = _convolution(outputs, outputs)
        self.norms = nn.ModuleList([nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)])

    def forward(self, x: Tensor) -> Tensor:
        """Features of shape (N, outputs, H / stride, W / stride)."""
        y = relu(self.norms[0](self.first(x)))
        y = self.norms[1](self.second(y))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        return relu(y + pad(shortcut, (0, 0, 0, 0, self.new // 2, self.new - self.new // 2)))


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
