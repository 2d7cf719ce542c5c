"""Losses to train with, and the gradients of images that losses may be built on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Literal, NamedTuple, overload

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from kit.checks import check_pairs, check_recording, run
from kit.training.double_backward import DoubleBackward

Model = Callable[[Tensor], Tensor]  # from images to logits
Loss = Callable[[Model, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def mean_cross_entropy(model: Model, x: Tensor, y: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The default loss of :func:`fit`: the batch's mean cross-entropy, with its logits.

    Examples
    --------
    >>> import kit
    >>> digits = kit.data.load("digits")
    >>> net, x, y = kit.nets.build("linear", digits.shape), digits.x_train[:8], digits.y_train[:8]
    >>> loss, logits = mean_cross_entropy(net, x, y, rows=torch.arange(8))
    >>> loss.shape, logits.shape
    (torch.Size([]), torch.Size([8, 10]))
    """
    check_pairs(x, y)
    logits = run(model, x)
    return entropy(logits, y), logits


def entropy(logits: Tensor, y: Tensor, *, reduction: str = "mean") -> Tensor:
    """Cross-entropy as torch has it; on a CPU, labels that are no classes are a ValueError.

    Examples
    --------
    >>> entropy(torch.zeros(1, 3), torch.tensor([3]))
    Traceback (most recent call last):
        ...
    ValueError: Some labels are no classes: the model knows 3, so use whole numbers from 0 to 2.
    """
    try:  # torch's own default would leave out labels of −100 in silence
        return cross_entropy(logits, y, reduction=reduction, ignore_index=-(2**63))
    except (IndexError, RuntimeError) as error:  # the latter under vmap
        if "out of bounds" not in str(error):
            raise
        known = logits.shape[1]
        raise ValueError(
            f"Some labels are no classes: the model knows {known}, so use whole numbers from 0 to "
            f"{known - 1}."
        ) from error


class InputGradients(NamedTuple):
    """What :func:`input_gradients` computes: shapes (N, C, H, W) and (N, classes)."""

    grads: Tensor
    logits: Tensor


@overload
def input_gradients(
    model: Model, x: Tensor, y: Tensor, *, create_graph: bool = ..., details: Literal[False] = ...
) -> Tensor: ...
@overload
def input_gradients(
    model: Model, x: Tensor, y: Tensor, *, create_graph: bool = ..., details: Literal[True]
) -> InputGradients: ...
def input_gradients(model, x, y, *, create_graph=False, details=False):
    """Gradient of each image's own cross-entropy with respect to the image, for losses on it.

    The model is run once, in the mode that it is in. (In training mode a batch norm mixes the
    images: then it is the gradient of the sum of their cross-entropies.) The weights' ``grad`` stay
    as they are.

    Parameters
    ----------
    model
        From images to logits.
    x
        Images, shape (N, C, H, W), on the device of the model.
    y
        Labels, shape (N,).
    create_graph
        Keep the graph, so that a loss on the gradients can be differentiated by the weights
        (double backward).
    details
        Return the logits too, which saves a loss a second run of the model.

    Returns
    -------
    torch.Tensor or InputGradients
        Shape of `x`.

    Raises
    ------
    ValueError
        x or y have other shapes or types, on a CPU also if labels are no classes: since it runs in
        every batch, pixels are not looked at.

    Examples
    --------
    A loss for :func:`fit` that penalises the gradients' squared length:

    >>> def smooth(model, x, y, rows):
    ...     grads, logits = input_gradients(model, x, y, create_graph=True, details=True)
    ...     return cross_entropy(logits, y) + grads.square().sum() / len(x), logits
    """
    check_pairs(x, y)
    check_recording(model, x)
    x = x.detach().requires_grad_()
    with torch.enable_grad(), DoubleBackward(x) if create_graph else contextlib.nullcontext():
        logits = run(model, x)
        # Summed, not averaged: an image's gradient must not shrink with its batch.
        total = entropy(logits, y, reduction="sum")
        (grads,) = torch.autograd.grad(total, x, create_graph=create_graph)
    if not create_graph:
        logits = logits.detach()
    return InputGradients(grads, logits) if details else grads
