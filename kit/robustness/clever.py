"""CLEVER (Weng et al. 2018): a robustness score from the local Lipschitz constant."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Literal, NamedTuple, overload

import torch
from torch import Tensor, nn

from kit.attacks.noise import uniform_ball
from kit.checks import check_gradient, check_images, check_norm, finite
from kit.constraints import SEED, number, whole
from kit.gradients import frozen, gradient, in_batches, outputs

OUTPUTS = ("logits", "softmax")
# After the first batch of samples a class is left out if its score stands so many times above the
# least: the others' largest gradients would have to grow by as much more than its own.
OUT_OF_REACH = 1.5

Outputs = Callable[[Tensor], Tensor]  # logits or softmax of images


class Clever(NamedTuple):
    """What :func:`clever` returns: for each image its score and where it comes from, shape (N,).

    ``fell_back``: the fit found no end, and the largest sample was taken. ``at_cap``: the score is
    the radius. ``margin`` and ``largest`` are the deciding class's lead and largest sampled
    gradient norm: their quotient is the score without extrapolation.
    """

    scores: Tensor
    fell_back: Tensor
    at_cap: Tensor
    margin: Tensor
    largest: Tensor


@overload
def clever(
    model: nn.Module,
    x: Tensor,
    *,
    norm: str = ...,
    radius: float = ...,
    batches: int = ...,
    batch_size: int = ...,
    seed: int = ...,
    output: str = ...,
    details: Literal[False] = ...,
) -> Tensor: ...
@overload
def clever(
    model: nn.Module,
    x: Tensor,
    *,
    norm: str = ...,
    radius: float = ...,
    batches: int = ...,
    batch_size: int = ...,
    seed: int = ...,
    output: str = ...,
    details: Literal[True],
) -> Clever: ...
def clever(
    model: nn.Module,
    x: Tensor,
    *,
    norm: str = "l2",
    radius: float = 5.0,
    batches: int = 10,
    batch_size: int = 100,
    seed: int = 0,
    output: str = "logits",
    details: bool = False,
) -> Tensor | Clever:
    """CLEVER, untargeted: the distance within which no change should alter the prediction.

    Weng et al. 2018, algorithm 2: for every other class j, the lead g = f_c − f_j at the image over
    the largest norm of ∇g in a ball around it; then the least over j, at most the radius. The
    largest norm is the end of a reverse Weibull distribution fitted to the maxima of several
    batches of points of the ball (clipped to [0, 1]). All classes and images share the points.

    With few maxima the likelihood of that fit often has no maximum: it grows towards the largest
    sample (without bound, at shapes under 1) or creeps off to infinity. So shapes start at 1, and
    an end counts only between the two: not at the largest sample, and not farther beyond it than
    the smallest lies below. Otherwise the largest sample is taken, and the image says
    ``fell_back``.

    Parameters
    ----------
    model
        From images to logits.
    x
        Images, shape (N, C, H, W), in [0, 1].
    norm : {"l2", "linf"}
        Of the change; gradients are measured in its dual.
    radius
        Of the ball, and the largest score.
    batches, batch_size
        Of the points; from 2 and from 1 on.
    seed
        Chooses the points; the same on every device.
    output : {"logits", "softmax"}
        Of which outputs f to take the lead and the gradients. Where softmax saturates, gradients
        vanish and scores rise to the radius without any gain in robustness.
    details
        Return a :class:`Clever`.

    Returns
    -------
    scores
        Shape (N,), in [0, radius]; with `details` a :class:`Clever`.

    Raises
    ------
    ValueError
        An option is out of range, images lie outside [0, 1] or are missing, or the model returns
        NaN.

    Examples
    --------
    A linear net's score is the distance to its nearest boundary, and no attack succeeds within it:

    >>> import kit
    >>> digits = kit.data.load("digits")
    >>> net, x = kit.nets.build("linear", digits.shape), digits.x_test[:5]
    >>> x_adv = kit.attacks.nearest_l2(net, x, kit.training.predict(net, x))
    >>> bool((clever(net, x) < (x_adv - x).flatten(1).norm(dim=1)).all())
    True
    """
    check_norm(norm)
    if output not in OUTPUTS:
        raise ValueError(f"Unknown output {output!r}: use one of {', '.join(OUTPUTS)}.")
    number(above=0).check("radius", radius)
    batches = whole(2).check("batches", batches)
    batch_size = whole(1).check("batch_size", batch_size)
    seed = SEED.check("seed", seed)
    check_images(x)
    shape = (batches * batch_size, *x.shape[1:])
    points = radius * uniform_ball(shape, norm, seed=seed, dtype=x.dtype).to(x.device)

    def f(x: Tensor) -> Tensor:
        logits = outputs(model, x)
        return logits.softmax(1) if output == "softmax" else logits

    with frozen(model):
        check_gradient(model, x)
        parts = functools.partial(in_batches, model=model)
        scored = [_score(f, image, points, batch_size, norm, radius, parts) for image in x.detach()]
    result = Clever(*map(torch.stack, zip(*scored, strict=True)))
    finite(result.largest)
    return result if details else result.scores


def _score(
    f: Outputs,
    image: Tensor,
    points: Tensor,
    batch_size: int,
    norm: str,
    radius: float,
    parts: Callable[..., Tensor],
) -> tuple[Tensor, ...]:
    """The fields of :class:`Clever` for one image."""
    at_image = f(image[None])[0]
    label = at_image.argmax(0, keepdim=True)
    others = torch.arange(len(at_image) - 1, device=image.device)
    others = others + (others >= label)  # all but the label
    lead = at_image[label] - at_image[others]

    def maxima(points: Tensor, others: Tensor) -> Tensor:
        samples = (image + points).clamp(0, 1)
        norms = parts(lambda x: _grad_norms(f, x, label, others, norm), samples)
        return norms.unflatten(0, (-1, batch_size)).amax(1)

    first = maxima(points[:batch_size], others)
    first_scores = _ratio(lead, first[0])
    near = (first_scores <= OUT_OF_REACH * first_scores.min()).nonzero()[:, 0]
    lead = lead[near]
    largest = torch.cat([first[:, near], maxima(points[batch_size:], others[near])])
    end, fitted = _upper_end(largest)
    scores = _ratio(lead, end)
    least = scores.argmin(0, keepdim=True)
    score = scores[least].clamp_max(radius)
    at_cap, top = score >= radius, largest[:, least].amax(0)
    return score[0], ~fitted[least][0], at_cap[0], lead[least][0], top[0]


def _ratio(lead: Tensor, grad_norm: Tensor) -> Tensor:
    """The distance to a tie at most; none where there is a tie already."""
    return torch.where(lead > 0, lead / grad_norm, 0)


def _grad_norms(f: Outputs, x: Tensor, label: Tensor, others: Tensor, norm: str) -> Tensor:
    """Norm of the gradient of the lead over each of the other classes, (N, classes)."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        values = f(x)
        leads = (values[:, label] - values[:, others]).sum(0)
        dual = {"l2": 2, "linf": 1}[norm]
        # One class after another: the gradients of all of them would not fit into memory.
        rows = [gradient(lead, x, retain_graph=True).flatten(1).norm(dual, dim=1) for lead in leads]
    return torch.stack(rows, 1)


def _upper_end(maxima: Tensor) -> tuple[Tensor, Tensor]:
    """Upper end of a reverse Weibull distribution, by maximum likelihood on a grid.

    Parameters
    ----------
    maxima
        One column per class, shape (batches, classes).

    Returns
    -------
    end
        Shape (classes,): at least the column's maximum, which it is where the fit did not hold.
    fitted
        Did the likelihood peak within the grid? Where all maxima are equal nothing is to be fitted.
    """
    columns = maxima.double().T  # (classes, batches)
    top, spread = columns.amax(1), columns.amax(1) - columns.amin(1)
    beyond = torch.logspace(-3, 0, 50, dtype=columns.dtype, device=columns.device)
    shape = torch.logspace(0, 4, 200, dtype=columns.dtype, device=columns.device)
    below = (top[:, None] - columns) / spread.clamp_min(1e-300)[:, None]
    logs = (below[:, None] + beyond[:, None]).log()  # (classes, ends, batches): of their distance
    # Per sample, with the best scale for every end and shape.
    powers = torch.logsumexp(shape[:, None] * logs[:, :, None], 3) - math.log(columns.shape[1])
    likelihood = shape.log() - powers + (shape - 1) * logs.mean(2, keepdim=True)
    best = likelihood.amax(2).argmax(1)
    flat = spread <= 1e-5 * top  # equal but for rounding
    fitted = flat | ((best > 0) & (best < len(beyond) - 1))
    end = torch.where(fitted & ~flat, top + spread * beyond[best], top)
    return end.to(maxima.dtype), fitted
