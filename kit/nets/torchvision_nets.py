"""torchvision's nets for small images, as they are there or smaller."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torchvision import models
from torchvision.models.vgg import make_layers


class Torchvision(nn.Module):
    """A net of torchvision, by the name of its builder; grey images become three equal channels.

    Parameters
    ----------
    shape
        Shape of one image, (C, H, W).
    classes
        Number of classes.
    builder
        Name in :mod:`torchvision.models`, such as ``"resnet34"``.
    least
        Side of the smallest images that it can take, in pixels.
    options
        For the builder.
    """

    def __init__(
        self, shape: tuple[int, int, int], classes: int, builder: str, least: int, **options: Any
    ) -> None:
        super().__init__()
        _check_size(shape, least)
        if shape[0] not in (1, 3):
            raise ValueError(
                f"This net is for grey or colour images; these have {shape[0]} channels: load the "
                "data with channels=1 or 3."
            )
        self.net = getattr(models, builder)(num_classes=classes, **options)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape (N, classes) for images of shape (N, C, H, W)."""
        return self.net(x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x)


class VGG(nn.Sequential):
    """VGG with batch norm and one hidden layer, as is usual for small images.

    torchvision's head expects 7×7 features: of a 32×32 image one pixel is left.

    Parameters
    ----------
    shape, classes
        As in :class:`Torchvision`.
    layers
        Output channels of the convolutions in their order, ``"M"`` for a max-pooling.
    hidden
        Units of the hidden layer.
    """

    def __init__(
        self, shape: tuple[int, int, int], classes: int, layers: list[int | str], hidden: int
    ) -> None:
        halvings = layers.count("M")
        _check_size(shape, 2**halvings)
        features = make_layers(layers, batch_norm=True)  # type: ignore[arg-type]
        if shape[0] != 3:
            features[0] = nn.Conv2d(shape[0], int(layers[0]), 3, padding=1)
        channels = [c for c in layers if c != "M"][-1]
        pixels = (shape[1] >> halvings) * (shape[2] >> halvings)
        head = nn.Linear(int(channels) * pixels, hidden), nn.ReLU(), nn.Linear(hidden, classes)
        super().__init__(features, nn.Flatten(), *head)


def _check_size(shape: tuple[int, int, int], least: int) -> None:
    if min(shape[1:]) < least:
        raise ValueError(
            f"This net needs images of at least {least}×{least} pixels, not {shape[1]}×{shape[2]}."
        )
