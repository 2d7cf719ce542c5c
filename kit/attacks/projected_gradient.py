"""Projected gradient descent (Madry et al. 2017)."""

import math

import torch

from kit.attacks.common import (
    check_batch,
    check_epsilon,
    frozen,
    in_batches,
    lengths,
    loss_gradient,
    per_image,
    steepest,
)  # fmt: skip


def pgd(
    model, x, y, *, eps, norm="linf", steps=40, step_size=None, random_start=True, targeted=False,
    seed=0,
):  # fmt: skip
    """Projected gradient descent: many small gradient steps inside a ball around the image.

    Madry et al. 2017: x ← clip(x₀ + Π(x + α·sign(∇x CE(f(x), y)) − x₀)), where Π projects onto the
    ball of radius ε. With L2, steps go along the gradient itself. The last iterate is returned.

    Parameters
    ----------
    model : torch.nn.Module
        From images to logits.
    x : torch.Tensor
        Images, shape (N, C, H, W), in [0, 1].
    y : torch.Tensor
        True labels, or with `targeted` the labels aimed at; shape (N,).
    eps : float
        Radius of the ball: in (0, 1] for L∞, positive for L2.
    norm : {"linf", "l2"}
    steps : int
    step_size : float, optional
        α; by default 2.5·ε / steps, so that every point of the ball can be reached.
    random_start : bool
        Start at a random point of the ball instead of at the image.
    targeted : bool
    seed : int
        Chooses the random points; the same on every device.

    Returns
    -------
    torch.Tensor
        Shape of `x`.

    Raises
    ------
    ValueError
        An option is out of range, x and y do not fit together, or the model returns NaN.
    """
    check_epsilon(eps, norm)
    step_size = 2.5 * eps / steps if step_size is None and steps else step_size
    if steps < 1 or not 0 < step_size < math.inf:
        raise ValueError(
            f"steps is {steps} and step_size {step_size}: use at least one step of positive size."
        )
    step = -step_size if targeted else step_size

    def attack(x, y, x_adv):
        for _ in range(steps):
            moved = x_adv + step * steepest(loss_gradient(model, x_adv, y), norm)
            x_adv = (x + _project(moved - x, eps, norm)).clamp(0, 1)
        return x_adv

    with frozen(model):
        check_batch(model, x, y)
        start = _random_start(x, eps, norm, seed) if random_start else x
        return in_batches(attack, x, y, start)


def _project(change, eps, norm):
    """The nearest change whose norm is at most ε."""
    if norm == "linf":
        return change.clamp(-eps, eps)
    return change * per_image((eps / lengths(change).clamp_min(1e-12)).clamp_max(1), change)


def _random_start(x, eps, norm, seed):
    """Points drawn evenly from the ball around each image, then clipped to [0, 1]."""
    random = torch.Generator().manual_seed(seed)
    if norm == "linf":
        change = 2 * torch.rand(x.shape, generator=random, dtype=x.dtype) - 1
    else:
        change = steepest(torch.randn(x.shape, generator=random, dtype=x.dtype), norm)
        # A ball's volume grows with the power of its dimension.
        share = torch.rand(len(x), generator=random, dtype=x.dtype) ** (1 / x[0].numel())
        change *= per_image(share, change)
    return (x + eps * change.to(x.device)).clamp(0, 1)
