"""Noise of an attack's size: the control for attacks, and where they start."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from kit.checks import check_eps, check_images
from kit.constraints import SEED
from kit.gradients import per_image, steepest


def random_direction(x: Tensor, *, eps: float, norm: str = "linf", seed: int = 0) -> Tensor:
    """Move every image by ε in a direction that knows no model: the control for attacks.

    Parameters
    ----------
    x
        Images, shape (N, C, H, W), in [0, 1].
    eps
        Size of the change in `norm`, before it is clipped to [0, 1]; in (0, 1] for L∞.
    norm : {"linf", "l2"}
        With L∞ every value moves up or down by ε, as with FGSM; with L2 all directions are alike.
    seed
        Chooses the directions, the same on every device. Image i gets the i-th of them, whatever
        it shows. A call on the first images of `x` gives the same ones if C·H·W is a multiple of
        16; if not, the images that hold its last 16 values get others (PyTorch draws those anew).

    Returns
    -------
    moved
        Shape of `x`.

    Raises
    ------
    ValueError
        An option is out of range, or images lie outside [0, 1] or are missing.

    Examples
    --------
    >>> (random_direction(torch.full((1, 1, 2, 2), 0.5), eps=0.25) - 0.5).abs().unique().tolist()
    [0.25]
    """
    check_eps(eps, norm)
    seed = SEED.check("seed", seed)
    check_images(x)
    random = torch.Generator().manual_seed(seed)
    direction = steepest(torch.randn(x.shape, generator=random, dtype=x.dtype), norm)
    return (x + eps * direction.to(x.device)).clamp(0, 1)


def uniform_ball(shape: Sequence[int], norm: str, *, seed: int, dtype: torch.dtype) -> Tensor:
    """Points drawn evenly from the unit ball.

    Parameters
    ----------
    shape
        (N, ...): N points, and the shape of each.
    norm : {"linf", "l2"}
    seed
        Chooses the points.
    dtype
        Of the points.

    Returns
    -------
    points
        Of the given shape, on the CPU, so that they are the same for every device.

    Examples
    --------
    Of a ball in 64 dimensions nearly all points lie close to its surface:

    >>> points = uniform_ball((1000, 1, 8, 8), "l2", seed=0, dtype=torch.float32)
    >>> length = points.flatten(1).norm(dim=1)
    >>> bool(length.max() < 1.0001), bool((length > 0.9).float().mean() > 0.98)
    (True, True)
    """
    random = torch.Generator().manual_seed(SEED.check("seed", seed))
    if norm == "linf":
        return 2 * torch.rand(*shape, generator=random, dtype=dtype) - 1
    direction = steepest(torch.randn(*shape, generator=random, dtype=dtype), norm)
    # A ball's volume grows with the power of its dimension.
    share = torch.rand(shape[0], generator=random, dtype=dtype) ** (1 / math.prod(shape[1:]))
    return direction * per_image(share, direction)
