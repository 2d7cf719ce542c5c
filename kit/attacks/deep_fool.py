"""DeepFool (Moosavi-Dezfooli et al. 2016)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from kit.checks import check_batch, check_eps, check_images
from kit.gradients import frozen, in_batches, jacobian, l2_norm, per_image, predictions

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

    Returns
    -------
    x_adv
        Shape of `x`.

    Raises
    ------
    ValueError
        An option is out of range, x and y do not fit together, or the model returns NaN.
    """
    if max_eps is not None:
        check_eps(max_eps)
    if steps < 1 or not 0 <= overshoot < math.inf:
        raise ValueError(f"steps is {steps} and overshoot {overshoot}: use at least 1 and 0.")
    with frozen(model):
        if y is None:
            check_images(x)
            y = predictions(model, x)
        check_batch(model, x, y)
        x_adv = in_batches(lambda x, y: _deepfool(model, x, y, overshoot, steps), x, y)
        if max_eps is not None:
            x_adv = (x + (x_adv - x).clamp(-max_eps, max_eps)).clamp(0, 1)
    return x_adv


def _deepfool(model: nn.Module, x: Tensor, y: Tensor, overshoot: float, steps: int) -> Tensor:
    x_adv = x.clone()
    rows = torch.arange(len(x), device=x.device)  # images that do not fool yet
    for _ in range(steps):
        logits, grads = jacobian(model, x_adv[rows])
        unfooled = logits.argmax(1) == y[rows]
        # Fooled images leave the batch: the Jacobian, a backward pass per class, is what costs.
        rows, logits, grads = rows[unfooled], logits[unfooled], grads[unfooled]
        if not len(rows):
            break
        start = x_adv[rows]
        # Past the boundary by a share of the way so far: a step that ended just short of it would
        # be followed by ever smaller ones.
        past = overshoot * l2_norm(start - x[rows])
        x_adv[rows] = (start + _to_boundary(logits, grads, y[rows], start, past)).clamp(0, 1)
    return x_adv


def _to_boundary(logits: Tensor, grads: Tensor, y: Tensor, x: Tensor, past: Tensor) -> Tensor:
    """A step towards the nearest linearised decision boundary that the box does not forbid."""
    rows = torch.arange(len(y), device=y.device)
    gap = logits[rows, y, None] - logits  # (N, K): how far each class lies behind
    normal = grads - grads[rows, y][:, None]  # (N, K, …): gradient of minus the gap
    x = x[:, None]
    normal *= ~((x <= 0) & (normal < 0) | (x >= 1) & (normal > 0))
    square = normal.flatten(2).square().sum(2)
    # The image's own class, 0 / 0, counts as infinitely far.
    distance = (gap / square.sqrt()).nan_to_num(nan=torch.inf, posinf=torch.inf)
    nearest = distance.argmin(1)
    norm = square[rows, nearest].sqrt().clamp_min(1e-10)
    # 1e-4: land just beyond a boundary that is met exactly (as in the authors' own code).
    length = RELAXATION * (gap[rows, nearest] / norm + past + 1e-4) / norm
    return per_image(length, x[:, 0]) * normal[rows, nearest]
