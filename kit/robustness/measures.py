"""Norms, rates, loss sensitivity and empirical robustness."""

from __future__ import annotations

from typing import Literal, NamedTuple, overload

import torch
from torch import Tensor, nn

from kit.checks import (
    check_alike,
    check_attack,
    check_batch,
    check_gradient,
    check_images,
    check_model,
    check_pairs,
    finite,
)
from kit.constraints import is_whole, number
from kit.gradients import frozen, in_batches, l2_norm, loss_gradient, predictions


def perturbation_norms(
    x: Tensor, x_adv: Tensor, *, channel: int | None = None
) -> dict[str, Tensor]:
    """L0, L2 and L∞ of each image's change.

    Parameters
    ----------
    x, x_adv
        Images before and after, shape (N, C, H, W).
    channel
        Look at one channel alone; by default L2 and L∞ run over the values of all channels, and
        a pixel counts for L0 if any of its channels has changed.

    Returns
    -------
    norms
        ``"l0"`` (pixels, not values), ``"l2"`` and ``"linf"``, each of shape (N,).

    Raises
    ------
    ValueError
        The shapes differ, or there is no such channel.

    Examples
    --------
    >>> moved = perturbation_norms(torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), 0.5))
    >>> {name: value.item() for name, value in moved.items()}
    {'l0': 4, 'l2': 1.7320507764816284, 'linf': 0.5}
    """
    check_alike(x, x_adv)
    if channel is not None and not (is_whole(channel) and 0 <= channel < x.shape[1]):
        raise ValueError(f"channel is {channel}: use a number from 0 to {x.shape[1] - 1}.")
    change = x_adv - x if channel is None else (x_adv - x)[:, [int(channel)]]
    return {
        "l0": (change != 0).any(1).flatten(1).sum(1),
        "l2": l2_norm(change),
        "linf": change.abs().flatten(1).amax(1),
    }


def attack_success_rate(model: nn.Module, x_adv: Tensor, y: Tensor) -> float:
    """Share of attacked images that the model gets wrong: 1 − accuracy.

    Parameters
    ----------
    model
        From images to logits.
    x_adv
        Attacked images, shape (N, C, H, W), in [0, 1].
    y
        True labels, shape (N,).

    Returns
    -------
    rate
        In [0, 1]; NaN for an empty set, where it is not defined.

    Raises
    ------
    ValueError
        x_adv and y do not fit together, or the model returns NaN.

    Examples
    --------
    Images that were wrong before the attack count too, here those of an untrained net:

    >>> import kit
    >>> digits = kit.data.load("digits")
    >>> net = kit.nets.build("linear", digits.shape)
    >>> clean = attack_success_rate(net, digits.x_test, digits.y_test)
    >>> x_adv = kit.attacks.fgsm(net, digits.x_test, digits.y_test, eps=0.1)
    >>> clean > 0.5, attack_success_rate(net, x_adv, digits.y_test) > clean
    (True, True)
    """
    check_pairs(x_adv, y)
    if not len(x_adv):
        return float("nan")
    with frozen(model):
        check_batch(model, x_adv, y)
        return float((predictions(model, x_adv) != y).float().mean())


def fooling_rate(model: nn.Module, x: Tensor, x_adv: Tensor) -> float:
    """Share of images whose predicted label the attack changes, whatever the true one.

    Parameters
    ----------
    model
        From images to logits.
    x, x_adv
        Images before and after, shape (N, C, H, W), in [0, 1].

    Returns
    -------
    rate
        In [0, 1]; NaN for an empty set, where it is not defined.

    Raises
    ------
    ValueError
        The shapes differ, images lie outside [0, 1], or the model returns NaN.

    Examples
    --------
    >>> import kit
    >>> digits = kit.data.load("digits")
    >>> net = kit.nets.build("linear", digits.shape)
    >>> fooling_rate(net, digits.x_test, kit.attacks.deepfool(net, digits.x_test))
    1.0
    >>> noisy = kit.attacks.random_direction(digits.x_test, eps=0.01)
    >>> fooling_rate(net, digits.x_test, noisy) < 0.2
    True
    """
    check_alike(x, x_adv)
    if not len(x):
        return float("nan")
    with frozen(model):
        check_model(model, x)
        return float((predictions(model, x) != predictions(model, x_adv)).float().mean())


class LossSensitivity(NamedTuple):
    """What :func:`loss_sensitivity` returns with details: the mean, and each image's norm (N,).

    Where softmax saturates in float32, the gradient is zero and the image looks insensitive;
    ``no_gradient`` counts these images.
    """

    value: float
    grad_norms: Tensor
    no_gradient: int


@overload
def loss_sensitivity(
    model: nn.Module, x: Tensor, y: Tensor, *, details: Literal[False] = ...
) -> float: ...
@overload
def loss_sensitivity(
    model: nn.Module, x: Tensor, y: Tensor, *, details: Literal[True]
) -> LossSensitivity: ...
def loss_sensitivity(
    model: nn.Module, x: Tensor, y: Tensor, *, details: bool = False
) -> float | LossSensitivity:
    """Mean L2 norm of the gradient of an image's loss with respect to the image.

    Arpit et al. 2017 (A closer look at memorization), with the L2 norm. The loss is the image's
    own cross-entropy, so the number of images does not matter.

    Parameters
    ----------
    model
        From images to logits.
    x
        Images, shape (N, C, H, W), in [0, 1].
    y
        Labels, shape (N,).
    details
        Return a :class:`LossSensitivity`.

    Returns
    -------
    sensitivity
        In units of the loss per unit of L2 distance; with `details` a :class:`LossSensitivity`.

    Raises
    ------
    ValueError
        x and y do not fit together or are empty, or the model returns NaN.

    Examples
    --------
    Of a net that is far too sure of itself, most images have no gradient left:

    >>> import kit
    >>> digits = kit.data.load("digits")
    >>> net = kit.nets.build("linear", digits.shape)
    >>> x, y = digits.x_test, kit.training.predict(net, digits.x_test)
    >>> before = loss_sensitivity(net, x, y, details=True)
    >>> for weights in net.parameters():
    ...     weights.data *= 1e4
    >>> before.no_gradient, loss_sensitivity(net, x, y, details=True).no_gradient > 250
    (0, True)
    """
    with frozen(model):
        check_attack(model, x, y)
        norms = finite(
            in_batches(lambda x, y: l2_norm(loss_gradient(model, x, y)), x, y, model=model)
        )
    value = float(norms.double().mean())
    return LossSensitivity(value, norms, int((norms == 0).sum())) if details else value


def check_grid(eps_step: float, eps_max: float) -> None:
    """Refuse a grid of ε that does not divide (0, `eps_max`] evenly, with a ValueError.

    Examples
    --------
    >>> check_grid(eps_step=0.05, eps_max=0.3)
    >>> check_grid(eps_step=0.04, eps_max=0.3)
    Traceback (most recent call last):
        ...
    ValueError: eps_step is 0.04: it must go into 0.3 a whole number of times.
    """
    for name, eps in (("eps_step", eps_step), ("eps_max", eps_max)):
        number(above=0, to=1).check(name, eps)
    if eps_step > eps_max:
        raise ValueError(f"eps_step is {eps_step} and eps_max {eps_max}: use no larger step.")
    # As exact as float32, in which a step may have been computed.
    if abs(round(eps_max / eps_step) * eps_step - eps_max) > 1e-6 * eps_max:
        raise ValueError(
            f"eps_step is {eps_step}: it must go into {eps_max} a whole number of times."
        )


class EmpiricalRobustness(NamedTuple):
    """What :func:`empirical_robustness` returns: the mean, each image's ε (NaN: none), how many.

    ``relative`` are the values of which it is the mean, not finite where there is none.
    """

    value: float
    eps: Tensor
    successes: int
    relative: Tensor


@overload
def empirical_robustness(
    model: nn.Module,
    x: Tensor,
    *,
    eps_step: float = ...,
    eps_max: float = ...,
    details: Literal[False] = ...,
) -> float: ...
@overload
def empirical_robustness(
    model: nn.Module,
    x: Tensor,
    *,
    eps_step: float = ...,
    eps_max: float = ...,
    details: Literal[True],
) -> EmpiricalRobustness: ...
def empirical_robustness(
    model: nn.Module,
    x: Tensor,
    *,
    eps_step: float = 0.1,
    eps_max: float = 1.0,
    details: bool = False,
) -> float | EmpiricalRobustness:
    """Mean relative size of the smallest FGSM step that changes the model's own prediction.

    Moosavi-Dezfooli et al. 2016, eq. 1, with FGSM: the mean of ‖x' − x‖∞ / ‖x‖∞ over the images
    that a step of the grid ε = `eps_step`, 2·`eps_step`, … `eps_max` fools. The step goes up the
    loss of the predicted label and is clipped to [0, 1]. The default grid is coarse, and no value
    under `eps_step` can come out where no pixel is clipped. The Adversarial Robustness Toolbox has
    the same step by default, but its grid ends at 0.3 (in fact at 0.2: its sum of three steps is
    above 0.3 by rounding), so that images which only a larger step fools count here and not there.
    On equal grids the values are equal.

    Parameters
    ----------
    model
        From images to logits.
    x
        Images, shape (N, C, H, W), in [0, 1].
    eps_step, eps_max
        The grid, which includes both; in (0, 1].
    details
        Return an :class:`EmpiricalRobustness`.

    Returns
    -------
    value
        NaN where no image is fooled. Black images, which have no relative size, are left out. With
        `details` an :class:`EmpiricalRobustness`.

    Raises
    ------
    ValueError
        The grid is not one, images lie outside [0, 1] or are missing, or the model returns NaN.

    Examples
    --------
    A coarse grid overestimates how far an image has to be moved:

    >>> import kit
    >>> digits = kit.data.load("digits")
    >>> net = kit.nets.build("linear", digits.shape)
    >>> coarse, fine = (
    ...     empirical_robustness(net, digits.x_test, eps_step=step) for step in (0.1, 0.01)
    ... )
    >>> 0 < fine < coarse
    True
    """
    check_grid(eps_step, eps_max)
    check_images(x)
    count = round(eps_max / eps_step)
    # Multiples of one number: 0.1 + 0.1 + 0.1 would miss 0.3.
    grid = [eps_max * k / count for k in range(1, count + 1)]
    with frozen(model):
        check_gradient(model, x)
        eps, size = in_batches(lambda x: _smallest_step(model, x, grid), x.detach(), model=model)
    relative = size / x.detach().flatten(1).amax(1)
    fooled = relative.isfinite()
    value = float(relative[fooled].double().mean()) if fooled.any() else float("nan")
    if not details:
        return value
    return EmpiricalRobustness(value, eps, int(fooled.sum()), relative)


def _smallest_step(model: nn.Module, x: Tensor, grid: list[float]) -> tuple[Tensor, Tensor]:
    """The first ε that changes the prediction, and the L∞ norm of that change; NaN without one."""
    label = predictions(model, x)
    direction = loss_gradient(model, x, label).sign()
    eps, size = torch.full((2, len(x)), torch.nan, dtype=x.dtype, device=x.device)
    rows = torch.arange(len(x), device=x.device)  # images that no step has fooled yet
    for step in grid:
        moved = (x[rows] + step * direction[rows]).clamp(0, 1)
        fooled = predictions(model, moved) != label[rows]
        length = (moved - x[rows]).abs().flatten(1).amax(1)
        never = torch.full_like(length, torch.nan)
        eps[rows] = torch.where(fooled, step, never)
        size[rows] = torch.where(fooled, length, never)
        rows = rows[(~fooled).nonzero()[:, 0]]
        if not len(rows):
            break
    return eps, size
