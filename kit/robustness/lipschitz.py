"""CLEVER (Weng et al. 2018): a robustness score from the local Lipschitz constant."""

import math
from typing import NamedTuple

import torch

from kit.attacks.common import (
    check_images,
    check_norm,
    frozen,
    gradient,
    in_batches,
    outputs,
    per_image,
    steepest,
)

OUTPUTS = ("logits", "softmax")
# After the first batch of samples a class is left out if its score stands so many times above the
# least: the others' largest gradients would have to grow by as much more than its own.
OUT_OF_REACH = 1.5


class Clever(NamedTuple):
    """What :func:`clever` finds: for each image its score and where it comes from, shape (N,).

    ``fell_back``: the fit found no end, and the largest sample was taken. ``at_cap``: the score is
    the radius. ``margin`` and ``largest`` are the deciding class's lead and largest sampled
    gradient norm: their quotient is the score without extrapolation.
    """

    scores: torch.Tensor
    fell_back: torch.Tensor
    at_cap: torch.Tensor
    margin: torch.Tensor
    largest: torch.Tensor


def clever(
    model, x, *, norm="l2", radius=5.0, batches=10, batch_size=100, seed=0, output="logits",
    details=False,
):  # fmt: skip
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
    model : torch.nn.Module
        From images to logits.
    x : torch.Tensor
        Images, shape (N, C, H, W), in [0, 1].
    norm : {"l2", "linf"}
        Of the change; gradients are measured in its dual.
    radius : float
        Of the ball, and the largest score.
    batches, batch_size : int
        Of the points.
    seed : int
        Chooses the points; the same on every device.
    output : {"logits", "softmax"}
        Of which outputs f to take the lead and the gradients. Where softmax saturates, gradients
        vanish and scores rise to the radius without any gain in robustness.
    details : bool

    Returns
    -------
    torch.Tensor
        Scores, shape (N,), in [0, radius]; with `details` a :class:`Clever`.

    Raises
    ------
    ValueError
        An option is out of range, images lie outside [0, 1] or are missing, or the model returns
        NaN.
    """
    check_norm(norm)
    if output not in OUTPUTS:
        raise ValueError(f"Unknown output {output!r}: use one of {', '.join(OUTPUTS)}.")
    if not 0 < radius < math.inf or batches < 2 or batch_size < 1:
        raise ValueError(
            f"radius is {radius}, batches {batches} and batch_size {batch_size}: use a positive "
            "number, at least 2 and at least 1."
        )
    check_images(x)
    points = _ball(x, norm, radius, batches * batch_size, seed)

    def said(x):
        found = outputs(model, x)
        return found.softmax(1) if output == "softmax" else found

    with frozen(model):
        found = [_score(said, image, points, batch_size, norm, radius) for image in x.detach()]
    found = Clever(*(torch.stack(parts) for parts in zip(*found, strict=True)))
    return found if details else found.scores


def _ball(x, norm, radius, count, seed):
    """Points drawn evenly from a ball, shape (count, C, H, W)."""
    random, shape = torch.Generator().manual_seed(seed), (count, *x.shape[1:])
    if norm == "linf":
        points = 2 * torch.rand(shape, generator=random, dtype=x.dtype) - 1
    else:
        points = steepest(torch.randn(shape, generator=random, dtype=x.dtype), "l2")
        share = torch.rand(count, generator=random, dtype=x.dtype) ** (1 / x[0].numel())
        points *= per_image(share, points)
    return radius * points.to(x.device)


def _score(said, image, points, batch_size, norm, radius):
    """The fields of :class:`Clever` for one image."""
    at_image = said(image[None])[0]
    if len(at_image) < 2:
        raise ValueError("The model knows one class only: there is no other to be taken for it.")
    label = at_image.argmax()
    others = (torch.arange(len(at_image), device=image.device) != label).nonzero()[:, 0]
    lead = at_image[label] - at_image[others]

    def maxima(points):
        samples = (image + points).clamp(0, 1)
        slopes = in_batches(lambda part: _slopes(said, part, label, others, norm), samples)
        return slopes.unflatten(0, (-1, batch_size)).amax(1)

    found = maxima(points[:batch_size])
    near = _ratio(lead, found[0])
    near = near <= OUT_OF_REACH * near.min()
    others, lead = others[near], lead[near]
    found = torch.cat([found[:, near], maxima(points[batch_size:])])
    end, fitted = _upper_end(found)
    scores = _ratio(lead, end)
    least = scores.argmin()
    score = scores[least].clamp_max(radius)
    return score, ~fitted[least], score >= radius, lead[least], found[:, least].amax()


def _ratio(lead, slope):
    """The distance to a tie at most; none where there is a tie already."""
    return torch.where(lead > 0, lead / slope, 0)


def _slopes(said, x, label, others, norm):
    """Norm of the gradient of the lead over each of the other classes, (N, classes)."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        found = said(x)
        leads = (found[:, label, None] - found[:, others]).sum(0)
        rows = [gradient(lead, x, retain_graph=True).flatten(1) for lead in leads]
    dual = {"l2": 2, "linf": 1}[norm]
    return torch.stack([row.norm(dual, dim=1) for row in rows], 1)


def _upper_end(maxima):
    """Upper end of a reverse Weibull distribution, by maximum likelihood on a grid.

    Parameters
    ----------
    maxima : torch.Tensor
        One column per class, shape (batches, classes).

    Returns
    -------
    end : torch.Tensor
        Shape (classes,): at least the column's maximum, which it is where the fit did not hold.
    fitted : torch.Tensor
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
