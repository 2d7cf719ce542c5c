"""The L2 attack of Carlini & Wagner (2017)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kit.checks import check_batch
from kit.gradients import frozen, gradient, in_batches, l2_norm, margin, outputs, per_image

# A pixel at 0 or 1 would lie at infinity after the change of variable, where its gradient
# vanishes; it starts this little inside instead, so that it can move.
INSIDE = 0.999
# A success must stand above rounding, which differs between batches: so much of the largest logit.
ROUNDING = 1e-4
BETAS = (0.9, 0.999)  # of Adam
PATIENCE, GAIN = 10, 0.01  # an image rests once its loss falls by less than 1 % in 10 steps
PRECISION = 2  # c is known well enough within this factor

# Of images and labels: how many logits are missing to success, and the gradient of that.
Shortfall = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class CarliniWagner(NamedTuple):
    """What :func:`cw_l2` returns: images, which of them succeeded, and the c that gave each."""

    x_adv: Tensor
    success: Tensor
    c: Tensor


def cw_l2(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    confidence: float = 0.0,
    targeted: bool = False,
    search_steps: int = 9,
    steps: int = 50,
    lr: float = 2.0,
    details: bool = False,
) -> Tensor | CarliniWagner:
    """Carlini & Wagner's L2 attack: the nearest image that fools, by descent and binary search.

    Minimises ‖x' − x‖² + c·max(f(x') + κ, 0) over w, where x' = (tanh w + 1)/2 lies in [0, 1] by
    itself and f says how many logits are missing: Z_y − max of the others, or, targeted, the
    other way round (Carlini & Wagner 2017, section V and VI; κ is the confidence). A binary search
    on a logarithmic scale finds for every image a small c that still succeeds.

    Two things are measured per image, so that neither the scale of the logits nor that of the
    distances matters: c starts at f/‖∇f‖², half of what the linearised problem needs, and Adam's
    learning rate is `lr` times the linearised distance f/‖∇f‖ per pixel value.

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
    search_steps
        Values of c to try at most.
    steps
        Steps of Adam at most for each of them.
    lr
        Learning rate, as above.
    details
        Return a :class:`CarliniWagner`.

    Returns
    -------
    x_adv
        Shape of `x`: for each image the nearest success. An image that needs no change, or for
        which no change succeeded, comes back as it is. With `details` a :class:`CarliniWagner`:
        these images, ``success`` (N,) and ``c`` (N,), NaN where no search succeeded.

    Raises
    ------
    ValueError
        An option is out of range, x and y do not fit together, or the model returns NaN.
    """
    if min(search_steps, steps) < 1 or not 0 < lr < math.inf or not 0 <= confidence < math.inf:
        raise ValueError(
            f"search_steps is {search_steps}, steps {steps}, lr {lr} and confidence {confidence}: "
            "use at least 1, 1, a positive number and 0."
        )

    def shortfall(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return _shortfall(model, x, y, confidence, targeted)

    with frozen(model):
        check_batch(model, x, y)
        result = CarliniWagner(
            *in_batches(lambda x, y: _attack(shortfall, x, y, search_steps, steps, lr), x, y)
        )
    return result if details else result.x_adv


@dataclasses.dataclass
class _Nearest:
    """Each image's nearest success so far; at distance infinity there is none yet."""

    x_adv: Tensor
    w: Tensor
    c: Tensor
    distance: Tensor

    def update(self, state: _Descent, x_adv: Tensor, distance: Tensor, success: Tensor) -> None:
        """Take over the successes that are nearer."""
        nearer = success & (distance < self.distance[state.rows])
        rows = state.rows[nearer]
        self.x_adv[rows], self.w[rows] = x_adv[nearer], state.w[nearer]
        self.c[rows], self.distance[rows] = state.c[nearer], distance[nearer]


@dataclasses.dataclass
class _Descent:
    """Adam's state for the images that still descend: row i of every tensor is the same image."""

    rows: Tensor  # which image of the batch it is
    x: Tensor
    y: Tensor
    c: Tensor
    rate: Tensor
    w: Tensor
    grad: Tensor  # of the loss with respect to w
    mean: Tensor  # moving averages of the gradient and of its square
    square: Tensor
    loss: Tensor  # the least when last compared

    def keep(self, chosen: Tensor) -> None:
        """Drop all images but the chosen ones."""
        for field in dataclasses.fields(self):
            setattr(self, field.name, getattr(self, field.name)[chosen])

    def step(self, t: int) -> None:
        """Step number `t` of Adam, each image with its learning rate."""
        self.mean.lerp_(self.grad, 1 - BETAS[0])
        self.square.lerp_(self.grad.square(), 1 - BETAS[1])
        size = (self.square / (1 - BETAS[1] ** t)).sqrt_().add_(1e-8)
        self.w = self.w - per_image(self.rate, self.w) * self.mean / size / (1 - BETAS[0] ** t)


def _attack(
    shortfall: Shortfall, x: Tensor, y: Tensor, search_steps: int, steps: int, lr: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The fields of :class:`CarliniWagner` for one batch: binary search over c, Adam for each."""
    short, grad = shortfall(x, y)
    c, rate = _linearised(short, grad, lr)
    low, high = torch.zeros_like(c), torch.full_like(c, torch.inf)
    w = torch.atanh(INSIDE * (2 * x - 1))
    best = _Nearest(x.clone(), w, torch.full_like(c, torch.nan), high.masked_fill(short < 0, 0))
    for _ in range(search_steps):
        searching = (best.distance > 0) & ~(high <= PRECISION * low)
        if not searching.any():
            break
        # Descent starts at the nearest success: c is large enough if it leads on from there.
        state, before = _start(searching, x, y, c, rate, best.w), best.distance.clone()
        for t in range(1, steps + 1):
            tanh = state.w.tanh()
            x_adv = (tanh + 1) / 2
            change = x_adv - state.x
            distance = l2_norm(change)
            short, grad = shortfall(x_adv, state.y)
            best.update(state, x_adv, distance, short < 0)
            # Only images that fall short are pulled over the boundary; dx'/dw = (1 - tanh² w)/2.
            pull = per_image(state.c * (short > 0), x_adv)
            state.grad = (2 * change + pull * grad) * (1 - tanh.square()) / 2
            if t % PATIENCE == 0:
                loss = distance.square() + state.c * short.clamp_min(0)
                falling = loss < (1 - GAIN) * state.loss
                if not falling.any():
                    break
                state.loss = torch.minimum(state.loss, loss)
                state.keep(falling)  # an image at rest would cost as much as one that moves
            state.step(t)
        nearer = best.distance < before
        high, low = torch.where(nearer, c, high), torch.where(searching & ~nearer, c, low)
        c = _next_c(c, low, high)
    return best.x_adv, best.distance.isfinite(), best.c


def _start(searching: Tensor, x: Tensor, y: Tensor, c: Tensor, rate: Tensor, w: Tensor) -> _Descent:
    """Adam's first state for the images whose c is still searched."""
    rows = searching.nonzero()[:, 0]
    w, zero = w[rows], torch.zeros_like(w[rows])
    return _Descent(
        rows=rows, x=x[rows], y=y[rows], c=c[rows], rate=rate[rows], w=w, grad=zero,
        mean=zero.clone(), square=zero.clone(), loss=torch.full_like(c[rows], torch.inf),
    )  # fmt: skip


def _shortfall(
    model: nn.Module, x: Tensor, y: Tensor, confidence: float, targeted: bool
) -> tuple[Tensor, Tensor]:
    """How many logits each image is short of success (below zero: none), and the gradient."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        logits = outputs(model, x)
        lead = margin(logits, y)
        short = (lead if targeted else -lead) + confidence
        short = short + ROUNDING * logits.detach().abs().amax(1)
        return short.detach(), gradient(short.sum(), x)


def _linearised(short: Tensor, grad: Tensor, lr: float) -> tuple[Tensor, Tensor]:
    """Per image, a first c and a learning rate, from the way to the linearised boundary."""
    steepness = l2_norm(grad)
    distance = short / steepness
    c = _finite(distance / steepness, 1.0)
    rate = _finite(lr * distance / math.sqrt(grad[0].numel()), 0.01).clamp(1e-4, 0.3)
    return c, rate


def _next_c(c: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Ten times as much, or as little, until both ends are known; then their geometric mean."""
    between = torch.where(low > 0, (low * high).sqrt(), c / 10)
    return torch.where(high.isinf(), 10 * c, between)


def _finite(values: Tensor, otherwise: float) -> Tensor:
    return torch.where(values.isfinite(), values, otherwise)
