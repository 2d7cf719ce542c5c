"""The L2 attack of Carlini & Wagner (2017)."""

import math
from typing import NamedTuple

import torch

from kit.attacks.common import (
    check_batch,
    frozen,
    gradient,
    in_batches,
    lengths,
    margin,
    outputs,
    per_image,
)  # fmt: skip

# A pixel at 0 or 1 would lie at infinity after the change of variable, where its gradient
# vanishes; it starts this little inside instead, so that it can move.
INSIDE = 0.999
# A success must stand above rounding, which differs between batches: so much of the largest logit.
ROUNDING = 1e-4
BETAS = (0.9, 0.999)  # of Adam
PATIENCE, GAIN = 10, 0.01  # an image rests once its loss falls by less than 1 % in 10 steps
PRECISION = 2  # c is known well enough within this factor


class CarliniWagner(NamedTuple):
    """What :func:`cw_l2` finds: images, which of them succeeded, and the c that gave each."""

    x_adv: torch.Tensor
    success: torch.Tensor
    c: torch.Tensor


def cw_l2(
    model, x, y, *, confidence=0.0, targeted=False, search_steps=9, steps=50, lr=2.0, details=False
):
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
    model : torch.nn.Module
        From images to logits.
    x : torch.Tensor
        Images, shape (N, C, H, W), in [0, 1].
    y : torch.Tensor
        True labels, or with `targeted` the labels aimed at; shape (N,).
    confidence : float
        κ, from 0 on: by how many logits to go beyond the boundary.
    targeted : bool
    search_steps : int
        Values of c to try at most.
    steps : int
        Steps of Adam at most for each of them.
    lr : float
        Learning rate, as above.
    details : bool

    Returns
    -------
    torch.Tensor
        Shape of `x`: for each image the nearest success. An image that needs no change, or for
        which nothing was found, comes back as it is. With `details` a :class:`CarliniWagner`:
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

    def missing(x, y):
        return _missing(model, x, y, confidence, targeted)

    with frozen(model):
        check_batch(model, x, y)
        found = CarliniWagner(
            *in_batches(lambda x, y: _search(missing, x, y, search_steps, steps, lr), x, y)
        )
    return found if details else found.x_adv


def _missing(model, x, y, confidence, targeted):
    """How many logits each image is short of success (below zero: none), and the gradient."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        logits = outputs(model, x)
        lead = margin(logits, y)
        short = (lead if targeted else -lead) + confidence
        short = short + ROUNDING * logits.detach().abs().amax(1)
        return short.detach(), gradient(short.sum(), x)


def _search(missing, x, y, search_steps, steps, lr):
    """Binary search over c for each image: nearest success, whether there is one, and its c."""
    short, slope = missing(x, y)
    steepness = lengths(slope)
    distance = short / steepness
    c = _finite(distance / steepness, 1.0)
    rate = _finite(lr * distance / math.sqrt(x[0].numel()), 0.01).clamp(1e-4, 0.3)
    w = torch.atanh(INSIDE * (2 * x - 1))
    best, best_c, norm = x.clone(), torch.full_like(c, torch.nan), torch.full_like(c, torch.inf)
    norm[short < 0] = 0
    low, high = torch.zeros_like(c), torch.full_like(c, torch.inf)
    for _ in range(search_steps):
        a = ((norm > 0) & ~(high <= PRECISION * low)).nonzero()[:, 0]
        if not len(a):
            break
        image, place, reached = _descend(missing, x[a], y[a], w[a], c[a], rate[a], steps)
        nearer = reached < norm[a]
        i = a[nearer]
        best[i], w[i], norm[i], best_c[i] = image[nearer], place[nearer], reached[nearer], c[i]
        # Descent starts at the last success: c is large enough if it leads on from there.
        high[a[nearer]], low[a[~nearer]] = c[a[nearer]], c[a[~nearer]]
        between = torch.where(low > 0, (low * high).sqrt(), c / 10)
        c = torch.where(high.isinf(), 10 * c, between)
    return best, norm.isfinite(), best_c


def _descend(missing, x, y, w, c, rate, steps):
    """Adam from w for one c: nearest success with its w and distance, infinite without one."""
    image, place, reached = x.clone(), w.clone(), torch.full_like(c, torch.inf)
    rows, last = torch.arange(len(x), device=x.device), torch.full_like(c, torch.inf)
    mean, square = torch.zeros_like(w), torch.zeros_like(w)
    for t in range(1, steps + 1):
        bent = w.tanh()
        x_adv = (bent + 1) / 2
        short, slope = missing(x_adv, y)
        change = x_adv - x
        norm = lengths(change)
        nearer = (short < 0) & (norm < reached[rows])
        i = rows[nearer]
        image[i], place[i], reached[i] = x_adv[nearer], w[nearer], norm[nearer]
        if t % PATIENCE == 0:
            loss = norm.square() + c * short.clamp_min(0)
            going = loss < (1 - GAIN) * last
            if not going.any():
                break
            last = torch.minimum(last, loss)
            # Images at rest leave the batch.
            parts = x, y, w, c, rate, rows, last, mean, square, bent, change, short, slope
            x, y, w, c, rate, rows, last, mean, square, bent, change, short, slope = (
                part[going] for part in parts
            )
        pull = per_image(c * (short > 0), x)
        slope = (2 * change + pull * slope) * (1 - bent.square()) / 2
        mean.lerp_(slope, 1 - BETAS[0])
        square.lerp_(slope.square(), 1 - BETAS[1])
        size = (square / (1 - BETAS[1] ** t)).sqrt_().add_(1e-8)
        w = w - per_image(rate, x) * mean / size / (1 - BETAS[0] ** t)
    return image, place, reached


def _finite(values, otherwise):
    return torch.where(values.isfinite(), values, otherwise)
