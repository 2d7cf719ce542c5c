"""What attacks and robustness metrics compute with: batches, gradients, norms."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from kit.checks import check_logits, without_nan
from kit.nets import channels_last, eval_mode

BATCH = 500  # images at once: large enough to keep a CPU busy, small enough for its cache


@contextlib.contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and no gradients for the weights, inside the block."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        with torch.no_grad(), eval_mode(model), channels_last(model):
            yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)


def in_batches(function: Callable[..., Any], *tensors: Tensor, copies: int = 1) -> Any:
    """Call a function on `BATCH` images at a time and concatenate what it returns.

    A function that returns a tuple of tensors gives a tuple of tensors. One that works on so many
    `copies` of each image at once gets fewer of them.
    """
    at_once = max(1, BATCH // copies)
    batches = zip(*(tensor.split(at_once) for tensor in tensors), strict=True)
    results = [function(*batch) for batch in batches]
    if isinstance(results[0], tuple):
        return tuple(map(torch.cat, zip(*results, strict=True)))
    return torch.cat(results)


def outputs(model: nn.Module, x: Tensor) -> Tensor:
    """Logits of the images; NaN, or anything that is not logits, is refused with a ValueError."""
    return check_logits(model(x), len(x))


def predictions(model: nn.Module, x: Tensor) -> Tensor:
    """Labels that the model predicts, int64, shape (N,)."""
    return in_batches(lambda batch: outputs(model, batch).argmax(1), x)


def loss_gradient(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Gradient of each image's cross-entropy with respect to the image, shape of `x`."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        # Summed, not averaged: an image's gradient must not shrink with its batch.
        return gradient(cross_entropy(outputs(model, x), y, reduction="sum"), x)


def gradient(value: Tensor, x: Tensor, **options: Any) -> Tensor:
    """Gradient of a sum over images; zero where the model does not look at them at all.

    NaN in it is refused with a ValueError: its sign would pass for zero. `options` go to
    :func:`torch.autograd.grad`.
    """
    if not value.requires_grad:
        return torch.zeros_like(x)
    return without_nan(torch.autograd.grad(value, x, **options)[0])


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """How far the best other class lies above class `y`, in logits, shape (N,)."""
    others = logits.scatter(1, y[:, None], -torch.inf).amax(1)
    return others - logits.gather(1, y[:, None])[:, 0]


def per_image(values: Tensor, like: Tensor) -> Tensor:
    """One number per image, shaped to be multiplied with images."""
    return values.view(-1, *[1] * (like.ndim - 1))


def l2_norm(change: Tensor) -> Tensor:
    """L2 norm of each image's change, shape (N,)."""
    return change.flatten(1).norm(dim=1)


def steepest(grad: Tensor, norm: str) -> Tensor:
    """Direction of steepest ascent among changes of norm 1; zero where the gradient is zero."""
    if norm == "linf":
        return grad.sign()
    # By the largest value first: squares of tiny gradients would vanish.
    largest = grad.abs().flatten(1).amax(1).clamp_min(torch.finfo(grad.dtype).tiny)
    grad = grad / per_image(largest, grad)
    return grad / per_image(l2_norm(grad).clamp_min(1e-12), grad)
