"""Residual nets for small images (He et al., Deep residual learning, CVPR 2016, §4.2)."""

import torch
from torch import nn
from torch.nn.functional import pad, relu


class ResNet(nn.Module):
    """6n + 2 layers: a convolution, three stages of n blocks with 16, 32 and 64 channels, one FC.

    As in the paper's CIFAR-10 experiments, shortcuts have no weights: where the image shrinks
    they take every second pixel and fill the new channels with zeros (option A).

    Parameters
    ----------
    shape : tuple of int
        Shape of one image, (C, H, W).
    classes : int
    blocks : int
        n; 3 makes ResNet-20, 5 makes ResNet-32.
    """

    def __init__(self, shape, classes, blocks):
        super().__init__()
        self.stem = nn.Sequential(_convolution(shape[0], 16), nn.BatchNorm2d(16), nn.ReLU())
        widths = [16] * blocks + [32] * blocks + [64] * blocks
        before = [16, *widths[:-1]]
        pairs = zip(before, widths, strict=True)
        self.blocks = nn.Sequential(*(Block(inputs, outputs) for inputs, outputs in pairs))
        self.classifier = nn.Linear(64, classes)
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
        self.to(memory_format=torch.channels_last)

    def forward(self, x):
        """Logits of shape (N, classes) for images of shape (N, C, H, W)."""
        return self.classifier(self.blocks(self.stem(x)).mean((2, 3)))


class Block(nn.Module):
    """Two 3×3 convolutions beside a shortcut."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.stride, self.new = outputs // inputs, outputs - inputs
        self.first = _convolution(inputs, outputs, self.stride)
        self.second = _convolution(outputs, outputs)
        self.norms = nn.ModuleList([nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)])

    def forward(self, x):
        """Features of shape (N, outputs, H / stride, W / stride)."""
        y = relu(self.norms[0](self.first(x)))
        y = self.norms[1](self.second(y))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        return relu(y + pad(shortcut, (0, 0, 0, 0, self.new // 2, self.new - self.new // 2)))


def _convolution(inputs, outputs, stride=1):
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
