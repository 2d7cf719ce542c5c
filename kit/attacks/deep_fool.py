"""DeepFool (Moosavi-Dezfooli et al. 2016)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kit.checks import check_attack, check_eps, check_gradient, check_images
from kit.constraints import number, whole
from kit.gradients import frozen, gradient, in_batches, l2_norm, outputs, per_image, predictions

# DeepFool goes this share of the way to the linearised boundary: the true one is curved, and on a
# LeNet-5 whole steps end farther away.
RELAXATION = 0.7


def deepfool(
    model: nn.Module,
    x: Tensor,
    y: Tensor | None = None,
    *,
    max_eps: float | None = None,
    overshoot: float = 0.02,
    steps: int = 50,
    classes: int | None = 10,
) -> Tensor:
    """DeepFool (Moosavi-Dezfooli et al. 2016): steps to the nearest linearised boundary, in L2.

    A pixel at 0 or 1 cannot move outwards. It is left out of the linear problem of such a step,
    so that the other pixels take over its share and the search never stalls at the box. Steps go
    70 % of the way to the boundary, which costs some more of them and ends nearer to the image.

    Parameters
    ----------
    model
        From images to logits.
    x
        Images, shape (N, C, H, W), in [0, 1].
    y
        True labels; by default the model's own predictions. An image that the model gets wrong
        comes back as it is.
    max_eps
        Clip the finished perturbation to this L∞ norm, in (0, 1]; it may then no longer fool.
    overshoot
        How far past the boundary to aim, relative to the perturbation so far.
    steps
        At most so many linearisations.
    classes
        Of how many classes, the image's own and those with the next largest logits, the gradients
        are computed in each step; None means all, which takes a backward pass for every class.

    Returns
    -------
    x_adv
        Shape of `x`. An image that was not fooled comes back as it is.

    Raises
    ------
    ValueError
        An option is out of range, x and y do not fit together, or the model returns NaN.

    Examples
    --------
    >>> import kit
    >>> digits = kit.data.load("digits")
    >>> net, x = kit.nets.build("linear", digits.shape), digits.x_test
    >>> x_adv = deepfool(net, x)
    >>> bool((predictions(net, x_adv) != predictions(net, x)).all())
    True
    >>> round(float((deepfool(net, x, max_eps=0.01) - x).abs().max()), 4)
    0.01
    """
    if max_eps is not None:
        check_eps(max_eps, name="max_eps")
    whole(1).check("steps", steps)
    number(least=0).check("overshoot", overshoot)
    if classes is not None:
        whole(2).check("classes", classes)
    with frozen(model):
        if y is None:
            check_images(x)
            check_gradient(model, x)
            y = predictions(model, x)
        else:
            check_attack(model, x, y)
        known = outputs(model, x[:1]).shape[1]
        x_adv = in_batches(
            lambda x, y: _deepfool(model, x, y, overshoot, steps, classes),
            x,
            y,
            copies=max(1, min(known, classes or known) // 10),  # a gradient for each class
            model=model,
        )
        if max_eps is not None:
            x_adv = (x + (x_adv - x).clamp(-max_eps, max_eps)).clamp(0, 1)
    return x_adv


def _deepfool(
    model: nn.Module, x: Tensor, y: Tensor, overshoot: float, steps: int, classes: int | None
) -> Tensor:
    x_adv = x.clone()
    rows = torch.arange(len(x), device=x.device)  # images that do not fool yet
    for _ in range(steps):
        fooled, gap, normal = _linearised(model, x_adv[rows], y[rows], classes)
        # Fooled images leave the batch: the gradients, a backward pass per class, are what costs.
        left = (~fooled).nonzero()[:, 0]
        rows, gap, normal = rows[left], gap[left], normal[left]
        if not len(rows):
            return x_adv
        start = x_adv[rows]
        # Past the boundary by a share of the way so far: a step that ended just short of it would
        # be followed by ever smaller ones.
        past = overshoot * l2_norm(start - x[rows])
        x_adv[rows] = (start + _to_boundary(gap, normal, start, past)).clamp(0, 1)
    rows = rows[predictions(model, x_adv[rows]) == y[rows]]
    x_adv[rows] = x[rows]
    return x_adv


def _linearised(
    model: nn.Module, x: Tensor, y: Tensor, classes: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Is the image fooled? How far do other classes lie behind, and the gradient of minus that.

    The second has the shape (N, classes − 1), the third (N, classes − 1, C, H, W).
    """
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        logits = outputs(model, x)
        own = logits.gather(1, y[:, None])
        others = logits.scatter(1, y[:, None], -torch.inf)
        gap = own - others.topk(min(classes or len(others[0]), len(others[0])) - 1).values
        normal = [-gradient(column, x, retain_graph=True) for column in gap.sum(0)]
    return logits.argmax(1) != y, gap.detach(), torch.stack(normal, 1)


def _to_boundary(gap: Tensor, normal: Tensor, x: Tensor, past: Tensor) -> Tensor:
    """A step towards the nearest linearised decision boundary that the box does not forbid."""
    rows = torch.arange(len(x), device=x.device)
    x = x[:, None]
    normal *= ~((x <= 0) & (normal < 0) | (x >= 1) & (normal > 0))
    square = normal.flatten(2).square().sum(2)
    distance = (gap / square.sqrt()).nan_to_num(nan=torch.inf, posinf=torch.inf)
    nearest = distance.argmin(1)
    norm = square[rows, nearest].sqrt().clamp_min(1e-10)
    # 1e-4: land just beyond a boundary that is met exactly (as in the authors' own code).
    length = RELAXATION * (gap[rows, nearest] / norm + past + 1e-4) / norm
    return per_image(length, x[:, 0]) * normal[rows, nearest]
