"""The L2 attack of Carlini & Wagner (2017)."""

from __future__ import annotations

from typing import Literal, NamedTuple, overload

import torch
from torch import Tensor, nn

from kit.checks import check_attack
from kit.constraints import number, whole
from kit.gradients import frozen, gradient, in_batches, margin, outputs, per_image, spread
from kit.optimizers import adam

# A success must stand above rounding, which differs between batches: by this share of the spread
# of the logits, which a constant added to all of them does not change.
ROUNDING = 1e-4
INSIDE = 0.999999  # black and white move this far into the box: their arctanh would be infinite
LARGEST_C = 1e10


class CarliniWagner(NamedTuple):
    """What :func:`cw_l2` returns: images, which of them succeeded, and the c that gave each."""

    x_adv: Tensor
    success: Tensor
    c: Tensor


@overload
def cw_l2(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    confidence: float = ...,
    targeted: bool = ...,
    steps: int = ...,
    search_steps: int = ...,
    lr: float = ...,
    initial_const: float = ...,
    details: Literal[False] = ...,
) -> Tensor: ...
@overload
def cw_l2(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    confidence: float = ...,
    targeted: bool = ...,
    steps: int = ...,
    search_steps: int = ...,
    lr: float = ...,
    initial_const: float = ...,
    details: Literal[True],
) -> CarliniWagner: ...
def cw_l2(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    confidence: float = 0.0,
    targeted: bool = False,
    steps: int = 1000,
    search_steps: int = 9,
    lr: float = 0.01,
    initial_const: float = 1e-3,
    details: bool = False,
) -> Tensor | CarliniWagner:
    """Carlini & Wagner's L2 attack as published (2017, sections V-B and VI-A).

    Minimise ‖x' − x‖² + c·max(f(x') + κ, 0), where f = Z_y − max_{i≠y} Z_i says how many logits
    are missing (targeted: the other way round) and κ is the confidence. With x' = (tanh(w) + 1)/2
    every w gives an image in [0, 1], so that Adam may move w freely. A binary search, for each
    image its own, looks for the smallest c that succeeds: ten times as much after a failure, until
    there is a success; then halfway between the largest c that failed and the smallest that did
    not. Of all images on the way the nearest success is kept. A success stands above rounding: by
    a ten-thousandth of the logits' spread.

    The defaults are those of the authors' code, but with 1,000 steps for each c instead of at most
    10,000, as in CleverHans. It costs `steps` · `search_steps` gradient passes an image; all of
    them are taken. (The authors' code ends a descent when the loss of the whole batch stalls;
    here no image depends on others.) :func:`~kit.attacks.nearest_l2` comes nearer with 100 passes.

    ART's `CarliniL2Method` takes options of the same meaning (by default 10 steps, 10 search
    steps, an lr and an initial c of 0.01) but no Adam: each of its steps goes down the gradient,
    doubling or halving its length as long as the loss falls. So 10 of its steps may succeed where
    10 steps of Adam at this lr do not.

    Parameters
    ----------
    model
        From images to logits.
    x
        Images, shape (N, C, H, W), in [0, 1].
    y
        True labels, or with `targeted` the labels aimed at; shape (N,).
    confidence
        κ, from 0 on: by how many logits to go beyond the boundary.
    targeted
        Aim at `y`.
    steps
        Steps of Adam for each c, from 1 on.
    search_steps
        How many c are tried for each image, from 1 on.
    lr
        Adam's learning rate.
    initial_const
        The first c.
    details
        Return a :class:`CarliniWagner`.

    Returns
    -------
    x_adv
        Shape of `x`: for each image the nearest success. An image that needs no change, or for
        which no change succeeded, comes back as it is. With `details` a :class:`CarliniWagner`:
        these images, ``success`` (N,) and ``c`` (N,), NaN where nothing succeeded or was needed.

    Raises
    ------
    ValueError
        An option is out of range, x and y do not fit together, or the model returns NaN.

    Examples
    --------
    Ten steps of Adam do not reach the boundary of most images; a hundred larger ones do:

    >>> import kit
    >>> digits = kit.data.load("digits")
    >>> net, x = kit.nets.build("lenet5", digits.shape), digits.x_test[:20]
    >>> history = kit.training.fit(net, digits.x_train, digits.y_train, epochs=10, lr=0.003)
    >>> y = kit.training.predict(net, x)
    >>> few = cw_l2(net, x, y, steps=10, search_steps=10, initial_const=0.01, details=True)
    >>> more = cw_l2(net, x, y, steps=100, search_steps=3, lr=0.05, initial_const=1.0, details=True)
    >>> bool(few.success.float().mean() < 0.5), bool(more.success.all())
    (True, True)
    """
    whole(1).check("steps", steps)
    whole(1).check("search_steps", search_steps)
    number(least=0).check("confidence", confidence)
    number(above=0).check("lr", lr)
    number(above=0).check("initial_const", initial_const)

    def attack(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # At least float32: half precision would lose Adam's steps, and `INSIDE`, in rounding.
        start = torch.atanh(INSIDE * (2 * x.to(torch.promote_types(x.dtype, torch.float32)) - 1))
        done = missing(outputs(model, x), y, confidence, targeted) < 0
        c, c_adv = start.new_full(y.shape, initial_const), start.new_full(y.shape, torch.nan)
        lower, upper = start.new_zeros(y.shape), start.new_full(y.shape, LARGEST_C)
        x_adv, distance = x, torch.where(done, 0, torch.full_like(c, torch.inf))
        for _ in range(search_steps):
            w, hit = start.clone().requires_grad_(), torch.zeros_like(done)
            optimizer = adam([w], lr)
            for _ in range(steps):
                with torch.enable_grad():
                    image = ((w.tanh() + 1) / 2).to(x.dtype)
                    short = missing(outputs(model, image), y, confidence, targeted)
                    square = (image - x).to(start).square().flatten(1).sum(1)
                    w.grad = gradient((square + c * short.clamp_min(0)).sum(), w)
                optimizer.step()
                success, square = short.detach() < 0, square.detach()
                nearer = success & (square < distance)
                x_adv = torch.where(per_image(nearer, x), image.detach(), x_adv)
                distance = torch.where(nearer, square, distance)
                c_adv = torch.where(nearer, c, c_adv)
                hit |= success
            lower, upper = torch.where(hit, lower, c), torch.where(hit, c, upper)
            c = torch.where(upper < LARGEST_C, (lower + upper) / 2, 10 * c).clamp_max(LARGEST_C)
        return x_adv, distance.isfinite(), c_adv

    with frozen(model):
        check_attack(model, x, y)
        result = CarliniWagner(*in_batches(attack, x, y, model=model))
    return result if details else result.x_adv


def missing(logits: Tensor, y: Tensor, confidence: float, targeted: bool) -> Tensor:
    """Logits missing to success, f + κ, and the rounding to stand above; shape (N,).

    Examples
    --------
    The first image still has class 0, by two logits; the second has not:

    >>> missing(torch.tensor([[3.0, 1.0], [1.0, 3.0]]), torch.tensor([0, 0]), 0.0, False)
    tensor([ 2.0002, -1.9998])
    """
    lead = margin(logits, y)
    return (lead if targeted else -lead) + (confidence + ROUNDING * spread(logits))
