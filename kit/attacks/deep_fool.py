"""DeepFool (Moosavi-Dezfooli et al. 2016)."""

import math

import torch

from kit.attacks.common import (
    check_batch,
    check_epsilon,
    check_images,
    frozen,
    in_batches,
    jacobian,
    lengths,
    per_image,
    predictions,
)  # fmt: skip

# DeepFool goes this share of the way to the linearised boundary: the true one is curved, and on a
# LeNet-5 whole steps end farther away.
RELAXATION = 0.7


def deepfool(model, x, y=None, *, max_eps=None, overshoot=0.02, steps=50):
    """DeepFool (Moosavi-Dezfooli et al. 2016): steps to the nearest linearised boundary, in L2.

    A pixel at 0 or 1 cannot move outwards. It is left out of the linear problem of such a step,
    so that the other pixels take over its share and the search never stalls at the box. Steps go
    70 % of the way to the boundary, which costs some more of them and ends nearer to the image.

    Parameters
    ----------
    model : torch.nn.Module
        From images to logits.
    x : torch.Tensor
        Images, shape (N, C, H, W), in [0, 1].
    y : torch.Tensor, optional
        True labels; by default the model's own predictions. An image that the model gets wrong
        comes back as it is.
    max_eps : float, optional
        Clip the finished perturbation to this L∞ norm, in (0, 1]; it may then no longer fool.
    overshoot : float
        How far past the boundary to aim, relative to the perturbation so far.
    steps : int
        At most so many linearisations.

    Returns
    -------
    torch.Tensor
        Shape of `x`.

    Raises
    ------
    ValueError
        An option is out of range, x and y do not fit together, or the model returns NaN.
    """
    if max_eps is not None:
        check_epsilon(max_eps)
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


def _deepfool(model, x, y, overshoot, steps):
    x_adv, active = x.clone(), torch.arange(len(x), device=x.device)
    for _ in range(steps):
        logits, slopes = jacobian(model, x_adv[active])
        still = logits.argmax(1) == y[active]
        active, logits, slopes = active[still], logits[still], slopes[still]
        if not len(active):
            break
        start = x_adv[active]
        past = overshoot * lengths(start - x[active])
        step = _to_boundary(logits, slopes, y[active], start, past)
        x_adv[active] = (start + step).clamp(0, 1)
    return x_adv


def _to_boundary(logits, slopes, y, x, past):
    """A step towards the nearest linearised decision boundary that the box does not forbid."""
    rows = torch.arange(len(y), device=y.device)
    gap = logits[rows, y, None] - logits  # (N, K): how far each class lies behind
    normal = slopes - slopes[rows, y][:, None]  # (N, K, …): gradient of minus the gap
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
