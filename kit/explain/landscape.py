"""The loss around weights: on the line between those of two nets, and in a ball around one."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from kit import checks
from kit.gradients import BATCH
from kit.nets import eval_mode
from kit.training.evaluation import measure


def interpolate(
    start: nn.Module, end: nn.Module, alpha: float, x: Tensor | None = None
) -> nn.Module:
    """The net α · end + (1 − α) · start between, or beyond, two nets of one architecture.

    Parameters
    ----------
    start, end
        The nets at α = 0 and α = 1; both are left as they are.
    alpha
        Any number; outside [0, 1] the line goes on.
    x
        Images, shape (N, C, H, W), in [0, 1], on which the statistics of batch norms (where there
        are any) are estimated anew. Without them the statistics lie between those of the two nets,
        as the weights do, to which they belong at α = 0 and 1 alone.

    Returns
    -------
    torch.nn.Module
        A new net, in evaluation mode.

    Raises
    ------
    ValueError
        The nets are of different architectures.

    Examples
    --------
    >>> import kit
    >>> start, end = (kit.nets.build("linear", (1, 8, 8), seed=seed) for seed in (0, 1))
    >>> middle, x = interpolate(start, end, 0.5), torch.ones(1, 1, 8, 8)
    >>> torch.allclose(middle(x), (start(x) + end(x)) / 2, atol=1e-6)  # of linear nets only
    True
    """
    for net in (start, end):
        checks.check_module(net)
    sizes = [[weight.shape for weight in net.parameters()] for net in (start, end)]
    if sizes[0] != sizes[1]:
        raise ValueError("The two nets have weights of different shapes: use one architecture.")
    kinds = [[type(part) for part in net.modules()] for net in (start, end)]
    if kinds[0] != kinds[1]:
        raise ValueError("The two nets have modules of different kinds: use one architecture.")
    with eval_mode(end):
        middle = copy.deepcopy(end)
    with torch.no_grad():
        triples = zip(middle.parameters(), start.parameters(), end.parameters(), strict=True)
        for weight, a, b in triples:
            weight.copy_(alpha * b + (1 - alpha) * a)
        share = min(max(alpha, 0), 1)  # beyond the ends a variance might be negative
        statistics = zip(middle.buffers(), start.buffers(), end.buffers(), strict=True)
        for kept, of_start, of_end in statistics:  # until they are estimated anew
            if kept.is_floating_point():
                kept.copy_(share * of_end + (1 - share) * of_start)
    if x is not None:
        estimate_statistics(middle, x)
    return middle


@torch.no_grad()
def estimate_statistics(model: nn.Module, x: Tensor) -> None:
    """Estimate the running statistics of a model's batch norms anew, in place, on images `x`.

    They become the average over batches of up to 500 images, with the rest of the model in
    evaluation mode; nothing else changes.

    Examples
    --------
    >>> norm = nn.BatchNorm2d(1).eval()
    >>> estimate_statistics(norm, torch.full((1000, 1, 4, 4), 0.25))
    >>> norm.running_mean
    tensor([0.2500])
    """
    checks.check_module(model)
    checks.check_images(x)
    checks.check_recording(model, x)
    if not _batch_norms(model):
        return
    with eval_mode(model):
        checks.run(model, x[:1])
        twin = copy.deepcopy(model)  # a failure on the way leaves the model as it came
    norms, measured = _batch_norms(model), _batch_norms(twin)
    for norm in measured:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over the batches
        norm.train()
    for batch in x.tensor_split(-(-len(x) // BATCH)):  # about equal: none of a single image
        twin(batch.clone())  # a model may work in place
    for norm, of_twin in zip(norms, measured, strict=True):
        for values, found in zip(norm.buffers(), of_twin.buffers(), strict=True):
            values.copy_(found)


def _batch_norms(model: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    kind = nn.modules.batchnorm._BatchNorm
    return [module for module in model.modules() if isinstance(module, kind)]


def sharpness(
    model: nn.Module, x: Tensor, y: Tensor, *, radius: float = 0.01, steps: int = 10
) -> float:
    """Largest loss increase within a ball around the weights, found by gradient ascent.

    Maximises CE over ‖Δw‖₂ ≤ radius · ‖w‖₂, w all weights together, in `steps` normalised gradient
    steps of a quarter of the radius, each brought back into the ball. A maximum found so is a
    lower bound.

    Parameters
    ----------
    model
        Is run in evaluation mode and left as it came.
    x
        Images, shape (N, C, H, W), in [0, 1].
    y
        Labels, int64, shape (N,).
    radius
        Relative to the norm of the weights, positive.
    steps
        At least 1.

    Returns
    -------
    float
        Not negative.

    Raises
    ------
    ValueError
        An option is out of range, x and y do not fit together or to the model, or it has diverged.

    Examples
    --------
    >>> import kit
    >>> digits = kit.data.load("digits")
    >>> net = kit.nets.build("linear", digits.shape)
    >>> history = kit.training.fit(net, digits.x_train, digits.y_train, epochs=5)
    >>> near, far = (
    ...     sharpness(net, digits.x_train, digits.y_train, radius=r) for r in (0.01, 0.1)
    ... )
    >>> 0 < near < far
    True
    """
    if not 0 < radius < math.inf or steps < 1:
        raise ValueError(f"radius is {radius} and steps {steps}: use a positive number and 1 up.")
    checks.check_module(model)
    checks.check_pairs(x, y)
    checks.check_recording(model, x)
    with eval_mode(model):
        moved = copy.deepcopy(model).requires_grad_()
    checks.check_trainable(moved)
    checks.check_batch(moved, x, y)
    weights = list(moved.parameters())
    centre = [weight.detach().clone() for weight in weights]
    reach = radius * _norm(centre)
    base = highest = measure(moved, x, y)[0]
    for _ in range(steps):
        grads = _loss_gradients(moved, x, y)
        length = _norm(grads)
        if not length > 0:
            break
        with torch.no_grad():
            for weight, grad in zip(weights, grads, strict=True):
                weight.add_(reach / 4 / length * grad)
            offsets = [weight - middle for weight, middle in zip(weights, centre, strict=True)]
            shrink = (reach / _norm(offsets)).clamp_max(1)
            for weight, middle, offset in zip(weights, centre, offsets, strict=True):
                weight.copy_(middle + shrink * offset)
        highest = max(highest, measure(moved, x, y)[0])
    return highest - base


def _loss_gradients(model: nn.Module, x: Tensor, y: Tensor) -> list[Tensor]:
    """Gradients of the mean loss with respect to the weights."""
    weights = list(model.parameters())
    totals = [torch.zeros_like(weight) for weight in weights]
    with torch.enable_grad():
        for images, labels in zip(x.split(BATCH), y.split(BATCH), strict=True):
            outputs = model(images.clone())  # a model may work in place
            loss = cross_entropy(outputs, labels, reduction="sum") / len(x)
            grads = torch.autograd.grad(loss, weights)
            totals = [total + grad for total, grad in zip(totals, grads, strict=True)]
    return totals


def _norm(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack([tensor.norm() for tensor in tensors]).norm()
