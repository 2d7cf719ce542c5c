"""Densely connected nets for small images (Huang et al., CVPR 2017, §4.2, without bottlenecks)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DenseNet(nn.Module):
    """Three dense blocks; every layer sees the outputs of all layers before it in its block.

    Parameters
    ----------
    shape
        Shape of one image, (C, H, W), with H and W at least 4.
    classes
        Number of classes.
    depth
        3n + 4 layers in all; 40 has n = 12 in a block.
    growth
        New channels per layer, the paper's k.
    """

    def __init__(
        self, shape: tuple[int, int, int], classes: int, depth: int = 40, growth: int = 12
    ) -> None:
        super().__init__()
        if min(shape[1:]) < 4:
            raise ValueError(
                f"DenseNet needs images of at least 4×4 pixels, not {shape[1]}×{shape[2]}."
            )
        channels, per_block = 16, (depth - 4) // 3
        layers: list[nn.Module] = [nn.Conv2d(shape[0], channels, 3, padding=1, bias=False)]
        for block in range(3):
            for _ in range(per_block):
                layers.append(Layer(channels, growth))
                channels += growth
            layers += [nn.BatchNorm2d(channels), nn.ReLU()]
            if block < 2:  # a transition: the channels stay, the image shrinks
                layers += [nn.Conv2d(channels, channels, 1, bias=False), nn.AvgPool2d(2)]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape (N, classes) for images of shape (N, C, H, W)."""
        return self.classifier(self.features(x).mean((2, 3)))


class Layer(nn.Sequential):
    """BN-ReLU-convolution; its outputs are put behind its inputs."""

    def __init__(self, inputs: int, growth: int) -> None:
        convolution = nn.Conv2d(inputs, growth, 3, padding=1, bias=False)
        super().__init__(nn.BatchNorm2d(inputs), nn.ReLU(), convolution)

    def forward(self, x: Tensor) -> Tensor:
        """Features of shape (N, inputs + growth, H, W)."""
        return torch.cat([x, super().forward(x)], 1)
