"""What attacks and robustness metrics refuse, in one sentence each."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from kit.constraints import number

NORMS = ("linf", "l2")
_MISSING = contextvars.ContextVar[list[Tensor] | None]("missing", default=None)


def check_norm(norm: str) -> None:
    """Refuse a norm other than those in `NORMS`, with a ValueError."""
    if norm not in NORMS:
        raise ValueError(f"Unknown norm {norm!r}: use one of {', '.join(NORMS)}.")


def check_eps(eps: float, norm: str = "linf", name: str = "eps") -> None:
    """Refuse a perturbation size outside (0, ∞), or (0, 1] for L∞, with a ValueError."""
    check_norm(norm)
    limit = number(above=0, to=1) if norm == "linf" else number(above=0)
    limit.check(name, eps)


def check_attack(model: nn.Module, x: Tensor, y: Tensor) -> None:
    """Refuse what :func:`check_batch` and :func:`check_gradient` refuse."""
    check_batch(model, x, y)
    check_gradient(model, x)


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
    classes = check_logits(model(x[:1].clone()), 1).shape[1]
    least, most = torch.stack(y.aminmax()).tolist()
    if not (least >= 0 and most < classes):
        raise ValueError(
            f"The labels reach from {least} to {most}: the model knows {classes} classes, "
            f"so use whole numbers from 0 to {classes - 1}."
        )


def check_images(x: Tensor) -> None:
    """Refuse anything but images in [0, 1], and at least one of them, with a ValueError."""
    _check_tensor(x)
    if not len(x):
        raise ValueError("There are no images: give at least one.")
    if not x.is_floating_point():
        raise ValueError(f"The images are {x.dtype}: divide them by 255 to floats in [0, 1].")
    low, high = torch.stack(x.aminmax()).tolist()  # read together: a GPU waits for each reading
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"The pixels reach from {low:.3g} to {high:.3g}: they must lie in [0, 1]. "
            "Normalisation belongs inside the model."
        )


def check_gradient(model: nn.Module, x: Tensor) -> None:
    """Refuse a model whose outputs change with the image but carry no gradient.

    No attack could move an image, and the model would pass for robust. A model that says the same
    of every image has no gradient either, but that is the truth about it.

    Call it inside :func:`kit.gradients.frozen`.

    Parameters
    ----------
    model
        From images to logits.
    x
        Images, of which it looks at the first.

    Raises
    ------
    ValueError
    """
    image = x[:1].detach()
    with torch.enable_grad():
        logits = check_logits(model(image.requires_grad_().clone()), 1)  # may work in place
    other = (image + 0.5) % 1  # differs in every pixel
    if not logits.requires_grad and not torch.equal(logits, model(other)):
        raise ValueError(
            "The model's outputs change with the image but carry no gradient, so that no attack "
            "could move an image: do not detach them, nor compute them under torch.no_grad()."
        )


def check_logits(logits: Any, count: int) -> Tensor:
    """Its argument, unless it is not the logits of so many images, which is a ValueError."""
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != count:
        raise ValueError(
            f"The model returns {_describe(logits)} for {count} images: it must return logits, a "
            "tensor of shape (N, classes)."
        )
    return without_nan(logits)


def without_nan(values: Tensor) -> Tensor:
    """Its argument, unless a number is missing in it, which is a ValueError.

    On a GPU the error may come later: see :func:`seen_in_the_end`.
    """
    missing, kept = values.isnan().any(), _MISSING.get()
    if kept is not None and missing.device.type != "cpu":
        kept.append(missing)
    elif missing:
        raise ValueError(_NAN)
    return values


_NAN = (
    "The model returns NaN, or its gradient is: its weights may have diverged in training; try a "
    "lower learning rate."
)


@contextlib.contextmanager
def seen_in_the_end() -> Iterator[None]:
    """On a GPU, look for missing numbers once, at the end of the block.

    To look at each step's would make the host wait, and the GPU stand still while it does.
    """
    kept: list[Tensor] = []
    token = _MISSING.set(kept)
    try:
        yield
    finally:  # after an error, too: missing numbers may have led to it
        _MISSING.reset(token)
        if kept and torch.stack(kept).any():
            raise ValueError(_NAN)


def _check_tensor(x: Any) -> None:
    if not isinstance(x, torch.Tensor) or x.ndim != 4:
        raise ValueError(
            f"The images are {_describe(x)}: give a torch.Tensor of shape (N, C, H, W); a single "
            "image is x[None]."
        )


def _describe(values: Any) -> str:
    shape = f" of shape {tuple(values.shape)}" if hasattr(values, "shape") else ""
    return f"{getattr(values, 'dtype', type(values).__name__)}{shape}"
