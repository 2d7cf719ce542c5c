"""Batched augmentation, and images as bytes."""

from __future__ import annotations

import numpy as np
import torch

from kit import constraints
from kit.checks import check_images, check_shape

_GENERATOR = constraints.generator(
    torch.Generator, "a torch.Generator, such as torch.Generator().manual_seed(0)"
)


def as_bytes(x: torch.Tensor) -> np.ndarray:
    """Images in [0, 1] as bytes, for storing and showing: uint8, shape of `x`, in NumPy."""
    check_images(x, some=False)  # 1.01 would turn to black
    return (x * 255).round().byte().cpu().numpy()


def random_crops(
    x: torch.Tensor, generator: torch.Generator, *, padding: int = 4, flip: bool = False
) -> torch.Tensor:
    """Augment a batch: crop it from a black frame at random, and mirror every other image or so.

    Parameters
    ----------
    x
        Images, shape (N, C, H, W), on any device.
    generator
        On the CPU, so that the crops are the same on every device.
    padding
        Width of the frame, pixels.
    flip
        Mirror each image left to right with probability 1/2.

    Returns
    -------
    torch.Tensor
        Shape of `x`.

    Raises
    ------
    ValueError
        padding is negative, x is no batch of images, or `generator` is none.

    Examples
    --------
    >>> x = torch.ones(5, 1, 4, 4)
    >>> random_crops(x, torch.Generator(), padding=2).shape
    torch.Size([5, 1, 4, 4])
    """
    if padding < 0:
        raise ValueError(f"padding is {padding}: use a whole number of pixels from 0 on.")
    check_shape(x)
    _GENERATOR.check("generator", generator)
    count, channels, height, width = x.shape
    framed = torch.nn.functional.pad(x, [padding] * 4)
    corners = torch.randint(2 * padding + 1, (2, count, 1), generator=generator)
    mirrored = torch.rand(1, count, 1, generator=generator) < 0.5 if flip else corners[:1] < 0
    top, left, mirrored = torch.cat([corners, mirrored]).to(x.device)
    rows = top + torch.arange(height, device=x.device)
    columns = left + torch.arange(width, device=x.device)
    columns = torch.where(mirrored > 0, columns.flip(1), columns)
    image = torch.arange(count, device=x.device).view(-1, 1, 1, 1)
    channel = torch.arange(channels, device=x.device).view(1, -1, 1, 1)
    return framed[image, channel, rows[:, None, :, None], columns[:, None, None, :]]
