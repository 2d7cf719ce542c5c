"""The fast gradient sign method (Goodfellow et al. 2014)."""

from __future__ import annotations

from typing import Literal, NamedTuple, overload

import torch
from torch import Tensor, nn

from kit.checks import check_attack, check_data, check_eps
from kit.constraints import whole
from kit.gradients import frozen, in_batches, loss_gradient, steepest


class GradientAttack(NamedTuple):
    """What :func:`fgsm` and :func:`pgd` return with details: images, and which had no gradient.

    ``no_gradient`` (N,) tells an image that withstands from one that was never moved: where
    softmax saturates in float32, the loss has the gradient zero.
    """

    x_adv: Tensor
    no_gradient: Tensor


@overload
def fgsm(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    norm: str = ...,
    targeted: bool = ...,
    details: Literal[False] = ...,
) -> Tensor: ...
@overload
def fgsm(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    norm: str = ...,
    targeted: bool = ...,
    details: Literal[True],
) -> GradientAttack: ...
def fgsm(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    targeted: bool = False,
    details: bool = False,
) -> Tensor | GradientAttack:
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
    details
        Return a :class:`GradientAttack`.

    Returns
    -------
    x_adv
        Shape of `x`; with `details` a :class:`GradientAttack`.

    Raises
    ------
    ValueError
        An option is out of range, x and y do not fit together, or the model returns NaN.

    Examples
    --------
    >>> import kit
    >>> digits = kit.data.load("digits")
    >>> net = kit.nets.build("linear", digits.shape)
    >>> history = kit.training.fit(net, digits.x_train, digits.y_train, epochs=5, lr=0.01)
    >>> x_adv = fgsm(net, digits.x_test, digits.y_test, eps=0.1)
    >>> round(float((x_adv - digits.x_test).abs().max()), 3)
    0.1
    >>> clean = kit.training.accuracy(net, digits.x_test, digits.y_test)
    >>> kit.training.accuracy(net, x_adv, digits.y_test) < clean - 0.2
    True
    """
    check_eps(eps, norm)
    with frozen(model):
        check_attack(model, x, y)
        result = _one_step(model, x, y, -eps if targeted else eps, norm)
    return result if details else result.x_adv


def _one_step(model: nn.Module, x: Tensor, y: Tensor, step: float, norm: str) -> GradientAttack:
    grad = in_batches(lambda x, y: loss_gradient(model, x, y), x, y, model=model)
    x_adv = (x + step * steepest(grad, norm)).clamp(0, 1).detach()
    return GradientAttack(x_adv, ~grad.flatten(1).any(1))


def fgsm_all_targets(
    model: nn.Module, x: Tensor, y: Tensor, *, eps: float, classes: int
) -> tuple[Tensor, Tensor]:
    """Targeted FGSM at every class but the image's own.

    Parameters
    ----------
    model, x, eps
        As in :func:`fgsm`.
    y
        True labels below `classes`, shape (N,).
    classes
        Number of classes, from 2 to as many as the model knows: it aims at the first ones.

    Returns
    -------
    x_adv
        Shape (N, classes − 1, C, H, W).
    targets
        The label that each of them aims at, shape (N, classes − 1).

    Examples
    --------
    >>> import kit
    >>> digits = kit.data.load("digits")
    >>> net = kit.nets.build("linear", digits.shape)
    >>> x_adv, targets = fgsm_all_targets(
    ...     net, digits.x_test[:2], torch.tensor([2, 8]), eps=0.1, classes=10
    ... )
    >>> x_adv.shape
    torch.Size([2, 9, 1, 8, 8])
    >>> targets[0].tolist()
    [3, 4, 5, 6, 7, 8, 9, 0, 1]
    """
    check_eps(eps)
    whole(2).check("classes", classes)
    with frozen(model):
        known = check_attack(model, x, y)
        if classes > known:
            raise ValueError(f"classes is {classes}, but the model knows only {known}.")
        check_data(x, y, classes)
        offsets = torch.arange(1, classes, device=y.device)
        targets = (y[:, None] + offsets) % classes
        x_adv = [_one_step(model, x, aim, -eps, "linf").x_adv for aim in targets.unbind(1)]
    return torch.stack(x_adv, 1), targets
