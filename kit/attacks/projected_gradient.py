"""Projected gradient descent (Madry et al. 2017)."""

from __future__ import annotations

from typing import Literal, overload

import torch
from torch import Tensor, nn

from kit.attacks.fast_gradient import GradientAttack
from kit.attacks.noise import uniform_ball
from kit.checks import check_attack, check_eps
from kit.constraints import SEED, number, whole
from kit.gradients import frozen, in_batches, l2_norm, loss_gradient, per_image, steepest


@overload
def pgd(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    norm: str = ...,
    steps: int = ...,
    step_size: float | None = ...,
    random_start: bool = ...,
    targeted: bool = ...,
    seed: int = ...,
    details: Literal[False] = ...,
) -> Tensor: ...
@overload
def pgd(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    norm: str = ...,
    steps: int = ...,
    step_size: float | None = ...,
    random_start: bool = ...,
    targeted: bool = ...,
    seed: int = ...,
    details: Literal[True],
) -> GradientAttack: ...
def pgd(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    steps: int = 40,
    step_size: float | None = None,
    random_start: bool = True,
    targeted: bool = False,
    seed: int = 0,
    details: bool = False,
) -> Tensor | GradientAttack:
    """Projected gradient descent: many small gradient steps inside a ball around the image.

    Madry et al. 2017: x ← clip(x₀ + Π(x + α·sign(∇x CE(f(x), y)) − x₀)), where Π projects onto the
    ball of radius ε. With L2, steps go along the gradient itself. The last iterate is returned.

    Parameters
    ----------
    model
        From images to logits.
    x
        Images, shape (N, C, H, W), in [0, 1].
    y
        True labels, or with `targeted` the labels aimed at; shape (N,).
    eps
        Radius of the ball: in (0, 1] for L∞, positive for L2.
    norm : {"linf", "l2"}
    steps
        From 1 on.
    step_size
        α; by default 2.5·ε / steps, so that every point of the ball can be reached.
    random_start
        Start at a random point of the ball instead of at the image.
    targeted
        Go down the loss of `y`.
    seed
        Chooses the random points, the same on every device. Image i gets the i-th of them, whatever
        it shows. In L∞ a call on the first images of `x` gives the same ones; in L2 it does not:
        the radii are drawn after all directions, so that they depend on N.
    details
        Return a :class:`~kit.attacks.GradientAttack`; there an image has no gradient if it had
        none in any step.

    Returns
    -------
    x_adv
        Shape of `x`; with `details` a :class:`~kit.attacks.GradientAttack`.

    Raises
    ------
    ValueError
        An option is out of range, x and y do not fit together, or the model returns NaN.

    Examples
    --------
    >>> import kit
    >>> digits = kit.data.load("digits")
    >>> net = kit.nets.build("lenet5", digits.shape)
    >>> history = kit.training.fit(net, digits.x_train, digits.y_train, epochs=10, lr=0.003)
    >>> x_adv = pgd(net, digits.x_test, digits.y_test, eps=1.0, norm="l2", steps=10)
    >>> bool(l2_norm(x_adv - digits.x_test).max() < 1.0001)
    True
    >>> clean = kit.training.accuracy(net, digits.x_test, digits.y_test)
    >>> kit.training.accuracy(net, x_adv, digits.y_test) < clean - 0.5
    True
    """
    check_eps(eps, norm)
    whole(1).check("steps", steps)
    SEED.check("seed", seed)
    step_size = 2.5 * eps / steps if step_size is None else step_size
    number(above=0).check("step_size", step_size)
    step = -step_size if targeted else step_size

    def attack(x: Tensor, y: Tensor, x_adv: Tensor) -> tuple[Tensor, Tensor]:
        no_gradient = torch.ones(len(x), dtype=torch.bool, device=x.device)
        for _ in range(steps):
            grad = loss_gradient(model, x_adv, y)
            no_gradient &= ~grad.flatten(1).any(1)
            x_adv = (x + _project(x_adv + step * steepest(grad, norm) - x, eps, norm)).clamp(0, 1)
        return x_adv, no_gradient

    with frozen(model):
        check_attack(model, x, y)
        # Drawn for the whole call: the same numbers whatever the size of a batch.
        start = _random_start(x, eps, norm, seed) if random_start else x
        result = GradientAttack(*in_batches(attack, x, y, start, model=model))
    return result if details else result.x_adv


def _project(change: Tensor, eps: float, norm: str) -> Tensor:
    """The nearest change whose norm is at most ε."""
    if norm == "linf":
        return change.clamp(-eps, eps)
    return change * per_image((eps / l2_norm(change).clamp_min(1e-12)).clamp_max(1), change)


def _random_start(x: Tensor, eps: float, norm: str, seed: int) -> Tensor:
    """Points drawn evenly from the ball around each image, then clipped to [0, 1]."""
    change = uniform_ball(x.shape, norm, seed=seed, dtype=x.dtype)
    return (x + eps * change.to(x.device)).clamp(0, 1)
