"""The fast gradient sign method (Goodfellow et al. 2014)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kit.checks import check_batch, check_eps
from kit.gradients import frozen, in_batches, loss_gradient, steepest


def fgsm(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    targeted: bool = False,
) -> Tensor:
    """Fast gradient sign method: one step of size ε up the loss.

    Goodfellow et al. 2014: x + ε·sign(∇x CE(f(x), y)), clipped to [0, 1]. Targeted, the step goes
    down the loss of the target label `y`.

    Parameters
    ----------
    model
        From images to logits.
    x
        Images, shape (N, C, H, W), in [0, 1].
    y
        True labels, or with `targeted` the labels aimed at; shape (N,).
    eps
        Size of the step in `norm`: for L∞ the largest change of a pixel, in (0, 1].
    norm : {"linf", "l2"}
        With L2 the step goes along the gradient itself instead of its sign.
    targeted
        Go down the loss of `y`.

    Returns
    -------
    x_adv
        Shape of `x`.

    Raises
    ------
    ValueError
        An option is out of range, x and y do not fit together, or the model returns NaN.
    """
    check_eps(eps, norm)
    step = -eps if targeted else eps
    with frozen(model):
        check_batch(model, x, y)
        grad = in_batches(lambda x, y: loss_gradient(model, x, y), x, y)
    return (x + step * steepest(grad, norm)).clamp(0, 1).detach()


def fgsm_all_targets(
    model: nn.Module, x: Tensor, y: Tensor, *, eps: float, classes: int
) -> tuple[Tensor, Tensor]:
    """Targeted FGSM at every class but the image's own.

    Parameters
    ----------
    model, x, eps
        As in :func:`fgsm`.
    y
        True labels, shape (N,).
    classes
        Number of classes.

    Returns
    -------
    x_adv
        Shape (N, classes − 1, C, H, W).
    targets
        The label that each of them aims at, shape (N, classes − 1).
    """
    with frozen(model):
        check_batch(model, x, y)  # a label out of range would become one within
    offsets = torch.arange(1, classes, device=y.device)
    targets = (y[:, None] + offsets) % classes
    x_adv = [fgsm(model, x, aim, eps=eps, targeted=True) for aim in targets.unbind(1)]
    return torch.stack(x_adv, 1), targets
