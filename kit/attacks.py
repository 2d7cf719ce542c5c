"""Adversarial attacks: pure functions on batches of images in [0, 1].

Every attack runs the model in evaluation mode, leaves it as it came, and returns images of the
same type and on the same device. The result for an image does not depend on its batch.
"""

import contextlib

import torch
from torch.nn.functional import cross_entropy

from kit.nets import evaluating

BATCH = 500  # images at once: large enough to keep a CPU busy, small enough for its cache
# DeepFool goes this share of the way to the linearised boundary: the true one is curved, and on a
# LeNet-5 whole steps end farther away.
RELAXATION = 0.7


def check_epsilon(eps, norm="linf"):
    """Refuse a perturbation size outside (0, ∞), or (0, 1] for L∞, with a ValueError."""
    upper = 1 if norm == "linf" else float("inf")
    if not 0 < eps <= upper:
        limit = "in (0, 1], since pixels lie in [0, 1]" if norm == "linf" else "positive"
        raise ValueError(f"epsilon is {eps}: it must be {limit}.")


def fgsm(model, x, y, *, eps, targeted=False):
    """Fast gradient sign method: one step of size eps along the sign of the loss gradient.

    Goodfellow et al. 2014: x + ε·sign(∇x CE(f(x), y)), clipped to [0, 1]. Targeted, the step goes
    down the loss of the target label `y`.

    Parameters
    ----------
    model : torch.nn.Module
        From images to logits.
    x : torch.Tensor
        Images, shape (N, C, H, W), in [0, 1].
    y : torch.Tensor
        True labels, or with `targeted` the labels aimed at; shape (N,).
    eps : float
        Largest change of a pixel, in (0, 1].
    targeted : bool

    Returns
    -------
    torch.Tensor
        Shape of `x`.

    Raises
    ------
    ValueError
        eps is out of range, or x and y do not fit together.
    """
    check_epsilon(eps)
    _check_batch(x, y)
    step = -eps if targeted else eps
    with _frozen(model):
        parts = zip(x.split(BATCH), y.split(BATCH), strict=True)
        return torch.cat([(a + step * _gradient(model, a, b).sign()).clamp(0, 1) for a, b in parts])


def fgsm_all_targets(model, x, y, *, eps, classes):
    """Targeted FGSM at every class but the image's own.

    Parameters
    ----------
    model, x, eps
        As in :func:`fgsm`.
    y : torch.Tensor
        True labels, shape (N,).
    classes : int

    Returns
    -------
    x_adv : torch.Tensor
        Shape (N, classes − 1, C, H, W).
    targets : torch.Tensor
        The label that each of them aims at, shape (N, classes − 1).
    """
    offsets = torch.arange(1, classes, device=y.device)
    targets = (y[:, None] + offsets) % classes
    x_adv = [fgsm(model, x, aim, eps=eps, targeted=True) for aim in targets.unbind(1)]
    return torch.stack(x_adv, 1), targets


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
        An option is out of range, or x and y do not fit together.
    """
    if max_eps is not None:
        check_epsilon(max_eps)
    if steps < 1 or overshoot < 0:
        raise ValueError(f"steps is {steps} and overshoot {overshoot}: use at least 1 and 0.")
    if y is not None:
        _check_batch(x, y)
    with _frozen(model):
        if y is None:
            y = torch.cat([model(part).argmax(1) for part in x.split(BATCH)])
        parts = zip(x.split(BATCH), y.split(BATCH), strict=True)
        x_adv = torch.cat([_deepfool(model, a, b, overshoot, steps) for a, b in parts])
        if max_eps is not None:
            x_adv = (x + (x_adv - x).clamp(-max_eps, max_eps)).clamp(0, 1)
    return x_adv


def _deepfool(model, x, y, overshoot, steps):
    x_adv, active = x.clone(), torch.arange(len(x), device=x.device)
    for _ in range(steps):
        logits, jacobian = _jacobian(model, x_adv[active])
        still = logits.argmax(1) == y[active]
        active, logits, jacobian = active[still], logits[still], jacobian[still]
        if not len(active):
            break
        start = x_adv[active]
        past = overshoot * (start - x[active]).flatten(1).norm(dim=1)
        step = _to_boundary(logits, jacobian, y[active], start, past)
        x_adv[active] = (start + step).clamp(0, 1)
    return x_adv


def _to_boundary(logits, jacobian, y, x, past):
    """A step towards the nearest linearised decision boundary that the box does not forbid."""
    rows = torch.arange(len(y), device=y.device)
    gap = logits[rows, y, None] - logits  # (N, K): how far each class lies behind
    normal = jacobian - jacobian[rows, y][:, None]  # (N, K, …): gradient of minus the gap
    x = x[:, None]
    normal *= ~((x <= 0) & (normal < 0) | (x >= 1) & (normal > 0))
    square = normal.flatten(2).square().sum(2)
    # The image's own class, 0 / 0, counts as infinitely far.
    distance = (gap / square.sqrt()).nan_to_num(nan=torch.inf, posinf=torch.inf)
    nearest = distance.argmin(1)
    norm = square[rows, nearest].sqrt().clamp_min(1e-10)
    # 1e-4: land just beyond a boundary that is met exactly (as in the authors' own code).
    length = RELAXATION * (gap[rows, nearest] / norm + past + 1e-4) / norm
    return length.view(-1, *[1] * (x.ndim - 2)) * normal[rows, nearest]


def _jacobian(model, x):
    """Logits (N, K) and their gradients with respect to each image, (N, K, C, H, W)."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        logits = model(x)
        columns = logits.sum(0)
        rows = [torch.autograd.grad(column, x, retain_graph=True)[0] for column in columns]
    return logits.detach(), torch.stack(rows, 1)


def _gradient(model, x, y):
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        # Summed, not averaged: an image's gradient must not shrink with its batch.
        loss = cross_entropy(model(x), y, reduction="sum")
        return torch.autograd.grad(loss, x)[0]


@contextlib.contextmanager
def _frozen(model):
    """Evaluation mode, and no gradients for the weights, inside the block."""
    wanted = [p for p in model.parameters() if p.requires_grad]
    for parameter in wanted:
        parameter.requires_grad_(False)
    try:
        with torch.no_grad(), evaluating(model):
            yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)


def _check_batch(x, y):
    if len(x) != len(y) or not len(x):
        raise ValueError(f"{len(x)} images and {len(y)} labels: give one label for each image.")
