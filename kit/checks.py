"""What attacks and robustness metrics refuse, in one sentence each."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from kit.gradients import outputs

NORMS = ("linf", "l2")


def check_norm(norm: str) -> None:
    """Refuse a norm other than those in `NORMS`, with a ValueError."""
    if norm not in NORMS:
        raise ValueError(f"Unknown norm {norm!r}: use one of {', '.join(NORMS)}.")


def check_eps(eps: float, norm: str = "linf") -> None:
    """Refuse a perturbation size outside (0, ∞), or (0, 1] for L∞, with a ValueError."""
    check_norm(norm)
    if not 0 < eps < math.inf or (norm == "linf" and eps > 1):
        limit = (
            "in (0, 1], since pixels lie in [0, 1]" if norm == "linf" else "positive, and finite"
        )
        raise ValueError(f"epsilon is {eps}: it must be {limit}.")


def check_batch(model: nn.Module, x: Tensor, y: Tensor) -> None:
    """Refuse images and labels that do not fit together, or not to the model.

    Call it inside :func:`kit.gradients.frozen`: it asks the model for the number of classes.

    Raises
    ------
    ValueError
    """
    _check_tensor(x)
    if not isinstance(y, torch.Tensor) or y.dtype != torch.int64 or y.ndim != 1:
        raise ValueError(f"The labels are {_describe(y)}: give a torch.int64 tensor of shape (N,).")
    if len(x) != len(y) or not len(x):
        raise ValueError(f"{len(x)} images and {len(y)} labels: give one label for each image.")
    check_images(x)
    classes = outputs(model, x[:1]).shape[1]
    if not (y.min() >= 0 and y.max() < classes):
        raise ValueError(
            f"The labels reach from {y.min()} to {y.max()}: the model knows {classes} classes, "
            f"so use whole numbers from 0 to {classes - 1}."
        )


def check_images(x: Tensor) -> None:
    """Refuse anything but images in [0, 1], and at least one of them, with a ValueError."""
    _check_tensor(x)
    if not len(x):
        raise ValueError("There are no images: give at least one.")
    if not x.is_floating_point():
        raise ValueError(f"The images are {x.dtype}: divide them by 255 to floats in [0, 1].")
    low, high = x.aminmax()
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"The pixels reach from {low:.3g} to {high:.3g}: they must lie in [0, 1]. "
            "Normalisation belongs inside the model."
        )


def _check_tensor(x: Any) -> None:
    if not isinstance(x, torch.Tensor) or x.ndim != 4:
        raise ValueError(
            f"The images are {_describe(x)}: give a tensor of shape (N, C, H, W); a single image "
            "is x[None]."
        )


def _describe(values: Any) -> str:
    shape = f" of shape {tuple(values.shape)}" if hasattr(values, "shape") else ""
    return f"{getattr(values, 'dtype', type(values).__name__)}{shape}"
