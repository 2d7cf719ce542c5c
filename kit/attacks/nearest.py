"""The nearest image in L2 that fools: Carlini & Wagner's objective, searched along the boundary."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, NamedTuple, overload

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from kit.attacks.carlini_wagner import ROUNDING, missing
from kit.checks import check_attack
from kit.constraints import number, whole
from kit.gradients import frozen, gradient, in_batches, l2_norm, outputs, per_image, spread

WIDE = 0.2  # share of the passes for the wide search
RACE = 0.06  # for each candidate, before the nearest two go on
DUEL = 0.08  # for each of these, before the nearest goes on alone
SHRINK = (1.0, 0.5, 0.15, 0.01)  # how far along the boundary, at the ends of these parts
SLACK = (1e-5, 0.05, 0.2)  # least, first and largest way beyond the boundary, per distance
# Softmax of logits that spread over so many: less would look at the runner-up alone, more at all.
SPREAD = 20.0


class NearestL2(NamedTuple):
    """What :func:`nearest_l2` returns: images, which succeeded, and the c that gave each."""

    x_adv: Tensor
    success: Tensor
    c: Tensor


@overload
def nearest_l2(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    confidence: float = ...,
    targeted: bool = ...,
    steps: int = ...,
    classes: int = ...,
    details: Literal[False] = ...,
) -> Tensor: ...
@overload
def nearest_l2(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    confidence: float = ...,
    targeted: bool = ...,
    steps: int = ...,
    classes: int = ...,
    details: Literal[True],
) -> NearestL2: ...
def nearest_l2(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    confidence: float = 0.0,
    targeted: bool = False,
    steps: int = 100,
    classes: int = 5,
    details: bool = False,
) -> Tensor | NearestL2:
    """The nearest image that fools, in L2: a search along the decision boundary.

    The objective is that of Carlini & Wagner (2017, sections V and VI): the least of
    ‖x' − x‖² + c·max(f(x') + κ, 0) over images x' in [0, 1], where f says how many logits are
    missing: Z_y − max of the others, or, targeted, the other way round; κ is the confidence.
    Their own attack (:func:`~kit.attacks.cw_l2`) descends with Adam for each of several c. This
    one gets nearer in fewer gradient passes:

    - A *wide* search finds a first success. As DDN does (Rony et al. 2019) it steps along the
      gradient of the cross-entropy on a sphere that grows until the model is fooled and shrinks
      after.
    - From there, and from the image towards the `classes` runners-up, candidates move along the
      boundary. Each step linearises f, for which the c that just succeeds, and with it the
      minimum, has a closed form (the idea of FAB, Croce & Hein 2020); it goes part of the way.
    - After a few steps the two nearest candidates of each image go on, in the end the nearest one.

    Everything is measured in units of each image's linearised distance and of the spread of its
    logits, so that neither their scale nor a constant added to all of them matters.

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
        Gradient passes for each image in all, about; from 10 on. Where borders have many folds, as
        after maxima over sixteen pixels, 1,000 get nearer by one per cent.
    classes
        How many runners-up to aim at; from 0 on.
    details
        Return a :class:`NearestL2`.

    Returns
    -------
    x_adv
        Shape of `x`: for each image the nearest success. An image that needs no change, or for
        which no change succeeded, comes back as it is. With `details` a :class:`NearestL2`:
        these images, ``success`` (N,) and ``c`` (N,), NaN where nothing succeeded or was needed.

    Raises
    ------
    ValueError
        An option is out of range, x and y do not fit together, or the model returns NaN.

    Examples
    --------
    What it finds lies nearer than what DeepFool finds:

    >>> import kit
    >>> digits = kit.data.load("digits")
    >>> net, x = kit.nets.build("lenet5", digits.shape), digits.x_test[:20]
    >>> history = kit.training.fit(net, digits.x_train, digits.y_train, epochs=10, lr=0.003)
    >>> found = nearest_l2(net, x, kit.training.predict(net, x), details=True)
    >>> bool(found.success.all())
    True
    >>> bool(l2_norm(found.x_adv - x).mean() < l2_norm(kit.attacks.deepfool(net, x) - x).mean())
    True
    """
    whole(10).check("steps", steps)
    whole(0).check("classes", classes)
    number(least=0).check("confidence", confidence)
    objective = _Objective(model, confidence, targeted)
    with frozen(model):
        check_attack(model, x, y)
        result = NearestL2(
            *in_batches(
                lambda x, y: _attack(objective, x, y, steps, classes),
                x,
                y,
                copies=1 + classes,
                model=model,
            )
        )
    return result if details else result.x_adv


@dataclasses.dataclass
class _Objective:
    """What is missing to success, as a function of images: below zero, nothing is."""

    model: nn.Module
    confidence: float
    targeted: bool

    def missing(self, logits: Tensor, y: Tensor) -> Tensor:
        """Logits missing to success, f + κ, and the rounding to stand above; shape (N,)."""
        return missing(logits, y, self.confidence, self.targeted)

    def missing_to(self, logits: Tensor, y: Tensor, aim: Tensor) -> Tensor:
        """The same, where only class `aim` counts among the others (targeted: all of them)."""
        if self.targeted:
            return self.missing(logits, y)
        own, other = logits.gather(1, y[:, None]), logits.gather(1, aim[:, None])
        return (own - other)[:, 0] + (self.confidence + ROUNDING * spread(logits))

    def entropy(self, logits: Tensor, y: Tensor, unit: Tensor) -> Tensor:
        """What the wide search lowers: (minus) the cross-entropy of the scaled logits."""
        loss = cross_entropy(logits * (SPREAD / unit)[:, None], y, reduction="none")
        return loss if self.targeted else -loss


@dataclasses.dataclass
class _Candidates:
    """Images on their way along the boundary, some for each original: image i in rows i, i + N, …

    `slack` says how many logits beyond the boundary to aim: more after a failure, less after a
    success. `nearest`, `distance` and `c` are each row's best success so far.
    """

    x: Tensor
    y: Tensor
    aim: Tensor
    x_adv: Tensor
    nearest: Tensor
    distance: Tensor
    c: Tensor
    slack: Tensor

    @classmethod
    def start(cls, x: Tensor, y: Tensor, aims: Tensor, starts: Tensor) -> _Candidates:
        """From `starts` towards the boundaries of the classes `aims`, shape (candidates · N, …)."""
        count = len(aims) // len(x)
        x, y = x.repeat(count, 1, 1, 1), y.repeat(count)
        unknown = torch.full(y.shape, torch.nan, dtype=x.dtype, device=x.device)
        never = torch.full_like(unknown, torch.inf)
        return cls(x, y, aims, starts, x.clone(), never, unknown, unknown.clone())

    def step(self, objective: _Objective, share: float) -> None:
        """Measure where the candidates are; then go `share` of the way to the linear minimum."""
        x = self.x_adv.detach().requires_grad_()
        with torch.enable_grad():
            logits = outputs(objective.model, x)
            short = objective.missing_to(logits, self.y, self.aim)
            grad = gradient(short.sum(), x)
        short, norm = short.detach(), l2_norm(grad)
        size = torch.maximum(norm * l2_norm(self.x_adv - self.x), short.abs())
        least, first, most = SLACK
        slack = torch.where(short < 0, 0.6 * self.slack, 1.5 * self.slack)
        slack = torch.where(slack.isnan(), first * size, slack)
        self.slack = slack.clamp(least * size, most * size)
        wanted = short + self.slack
        shortest, c = _linear_minimum(self.x, self.x_adv, wanted, grad)
        self._note_success(objective.missing(logits.detach(), self.y) < 0, c)
        # Both ends lie on the linearised boundary, so every mixture of them does.
        direction = grad / per_image(_or_inf(norm), grad)
        onward = (self.x_adv - per_image(wanted / _or_inf(norm), grad) * direction).clamp(0, 1)
        self.x_adv = torch.lerp(onward, shortest, share)

    def _note_success(self, success: Tensor, c: Tensor) -> None:
        distance = l2_norm(self.x_adv - self.x)
        nearer = success & (distance < self.distance)
        self.nearest = torch.where(per_image(nearer, self.x), self.x_adv, self.nearest)
        self.distance = torch.where(nearer, distance, self.distance)
        self.c = torch.where(nearer, c, self.c)

    def keep_nearest(self, count: int, images: int) -> None:
        """Go on with so many candidates of each image, those whose successes are the nearest."""
        order = self.distance.view(-1, images).argsort(0)[:count]
        rows = (order * images + torch.arange(images, device=order.device)).flatten()
        for field in dataclasses.fields(self):
            setattr(self, field.name, getattr(self, field.name)[rows])


def _attack(
    objective: _Objective, x: Tensor, y: Tensor, steps: int, classes: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The fields of :class:`NearestL2` for one batch."""
    x_adv, c = x.clone(), torch.full(y.shape, torch.nan, dtype=x.dtype, device=x.device)
    logits = outputs(objective.model, x)
    success = objective.missing(logits, y) < 0
    rows = (~success).nonzero()[:, 0]
    if len(rows):
        found = _search(objective, x[rows], y[rows], logits[rows], steps, classes)
        x_adv[rows], success[rows], c[rows] = found
    return x_adv, success, c


def _search(
    objective: _Objective, x: Tensor, y: Tensor, logits: Tensor, steps: int, classes: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The same, for images that need a change."""
    wide, race, duel = (max(1, round(share * steps)) for share in (WIDE, RACE, DUEL))
    start = _wide_search(objective, x, y, logits, wide)
    count = 1 if objective.targeted else min(classes, logits.shape[1] - 1)
    others = logits.scatter(1, y[:, None], -torch.inf).topk(count, dim=1).indices.T
    met = outputs(objective.model, start).scatter(1, y[:, None], -torch.inf).argmax(1)
    candidates = _Candidates.start(
        x, y, torch.cat([met, others.flatten()]), torch.cat([start, x.repeat(count, 1, 1, 1)])
    )
    alone = max(2, steps - wide - race * (1 + count) - 2 * duel)
    for part, (kept, passes) in enumerate(((1 + count, race), (2, duel), (1, alone))):
        candidates.keep_nearest(kept, len(x))
        for share in torch.linspace(SHRINK[part], SHRINK[part + 1], passes).tolist():
            candidates.step(objective, share)
    return candidates.nearest, candidates.distance.isfinite(), candidates.c


def _wide_search(objective: _Objective, x: Tensor, y: Tensor, logits: Tensor, steps: int) -> Tensor:
    """The nearest success on spheres that grow and shrink; the last image where there is none."""
    unit = _or_inf(spread(logits))
    x_adv, nearest = x, x
    distance = torch.full(y.shape, torch.inf, dtype=x.dtype, device=x.device)
    scale = radius = torch.zeros_like(distance)
    for t in range(steps):
        image = x_adv.detach().requires_grad_()
        with torch.enable_grad():
            logits = outputs(objective.model, image)
            short = objective.missing(logits, y)
            value = short if t == 0 else objective.entropy(logits, y, unit)
            grad = gradient(value.sum(), image)
        short, moved = short.detach(), l2_norm(x_adv - x)
        nearer = (short < 0) & (moved < distance)
        nearest = torch.where(per_image(nearer, x), x_adv, nearest)
        distance = torch.where(nearer, moved, distance)
        norm = _or_inf(l2_norm(grad))
        if t == 0:  # the way to the linearised boundary is the unit of all lengths
            scale = radius = (short / norm).clamp_max(math.sqrt(x[0].numel()))
        rate = (0.01 + 0.99 * (1 + math.cos(math.pi * t / steps)) / 2) * 4 * scale
        change = x_adv - per_image(rate, grad) * (grad / per_image(norm, grad)) - x
        radius = torch.where(short < 0, 0.9 * radius, 1.1 * radius)
        x_adv = (x + per_image(radius / _or_inf(l2_norm(change)), change) * change).clamp(0, 1)
    return torch.where(per_image(distance.isfinite(), x), nearest, x_adv)


def _linear_minimum(x: Tensor, x_adv: Tensor, short: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """The image nearest to x in the box at which the linearised shortfall is zero, and its c.

    It is x − c/2·∇f, clipped. What that gains is a concave, piecewise linear function of c, whose
    root Newton's method meets from below after as many steps as pixels reach the box in turn.
    """
    needed = short - (grad * (x_adv - x)).flatten(1).sum(1)  # by how much f must sink
    square, up, down = grad.square(), grad < 0, grad > 0
    image, half_c = x, torch.zeros_like(short)
    for _ in range(5):
        free = ~((image <= 0) & down | (image >= 1) & up)
        rate = (square * free).flatten(1).sum(1)
        missing = needed + (grad * (image - x)).flatten(1).sum(1)
        half_c = (half_c + missing / _or_inf(rate)).clamp_min(0)
        image = (x - per_image(half_c, grad) * grad).clamp(0, 1)
    return image, 2 * half_c


def _or_inf(size: Tensor) -> Tensor:
    """To divide by: infinity instead of zero, so that the quotient is zero."""
    return torch.where(size > 0, size, torch.inf)
