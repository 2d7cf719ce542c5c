"""What all attacks and robustness metrics share: checks, batches, gradients, norms."""

import contextlib
import math

import torch
from torch.nn.functional import cross_entropy

from kit.nets import evaluating

BATCH = 500  # images at once: large enough to keep a CPU busy, small enough for its cache
NORMS = ("linf", "l2")


def check_norm(norm):
    """Refuse a norm other than those in `NORMS`, with a ValueError."""
    if norm not in NORMS:
        raise ValueError(f"Unknown norm {norm!r}: use one of {', '.join(NORMS)}.")


def check_epsilon(eps, norm="linf"):
    """Refuse a perturbation size outside (0, ∞), or (0, 1] for L∞, with a ValueError."""
    check_norm(norm)
    if not 0 < eps < math.inf or (norm == "linf" and eps > 1):
        limit = (
            "in (0, 1], since pixels lie in [0, 1]" if norm == "linf" else "positive, and finite"
        )
        raise ValueError(f"epsilon is {eps}: it must be {limit}.")


def check_batch(model, x, y):
    """Refuse images and labels that do not fit together, or not to the model.

    Call it inside :func:`frozen`.

    Raises
    ------
    ValueError
    """
    _check_tensor(x)
    if not isinstance(y, torch.Tensor) or y.dtype != torch.int64 or y.ndim != 1:
        raise ValueError(
            f"The labels are {_described(y)}: give a torch.int64 tensor of shape (N,)."
        )
    if len(x) != len(y) or not len(x):
        raise ValueError(f"{len(x)} images and {len(y)} labels: give one label for each image.")
    check_images(x)
    classes = outputs(model, x[:1]).shape[1]
    if not (y.min() >= 0 and y.max() < classes):
        raise ValueError(
            f"The labels reach from {y.min()} to {y.max()}: the model knows {classes} classes, "
            f"so use whole numbers from 0 to {classes - 1}."
        )


def check_images(x):
    """Refuse anything but images in [0, 1], and at least one of them, with a ValueError."""
    _check_tensor(x)
    if not len(x):
        raise ValueError("There are no images: give at least one.")
    if not x.is_floating_point():
        raise ValueError(f"The images are {x.dtype}: divide them by 255 to floats in [0, 1].")
    low, high = x.aminmax()
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"The pixels reach from {low:.3g} to {high:.3g}: they must lie in [0, 1]. "
            "Normalisation belongs inside the model."
        )


def _check_tensor(x):
    if not isinstance(x, torch.Tensor) or x.ndim != 4:
        raise ValueError(
            f"The images are {_described(x)}: give a tensor of shape (N, C, H, W); a single image "
            "is x[None]."
        )


def _described(values):
    shape = f" of shape {tuple(values.shape)}" if hasattr(values, "shape") else ""
    return f"{getattr(values, 'dtype', type(values).__name__)}{shape}"


@contextlib.contextmanager
def frozen(model):
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


def in_batches(attack, *tensors):
    """Call an attack on `BATCH` images at a time and put its result, or results, together."""
    parts = zip(*(tensor.split(BATCH) for tensor in tensors), strict=True)
    found = [attack(*part) for part in parts]
    if isinstance(found[0], tuple):
        return tuple(map(torch.cat, zip(*found, strict=True)))
    return torch.cat(found)


def outputs(model, x):
    """What the model says; NaN is refused with a ValueError."""
    return without_nan(model(x))


def predictions(model, x):
    """Labels that the model predicts, int64, shape (N,)."""
    return in_batches(lambda part: outputs(model, part).argmax(1), x)


def without_nan(found):
    """Its argument, unless a number is missing in it, which is a ValueError."""
    if found.isnan().any():
        raise ValueError(
            "The model returns NaN, or its gradient is: its weights may have diverged in training; "
            "try a lower learning rate."
        )
    return found


def loss_gradient(model, x, y):
    """Gradient of each image's cross-entropy with respect to the image, shape of `x`."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        # Summed, not averaged: an image's gradient must not shrink with its batch.
        return gradient(cross_entropy(outputs(model, x), y, reduction="sum"), x)


def gradient(value, x, **options):
    """Gradient of a sum over images; zero where the model does not look at them at all.

    NaN in it is refused with a ValueError: its sign would pass for zero.
    """
    if not value.requires_grad:
        return torch.zeros_like(x)
    return without_nan(torch.autograd.grad(value, x, **options)[0])


def jacobian(model, x):
    """Logits (N, K) and their gradients with respect to each image, (N, K, C, H, W)."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        logits = outputs(model, x)
        rows = [gradient(column, x, retain_graph=True) for column in logits.sum(0)]
    return logits.detach(), torch.stack(rows, 1)


def margin(logits, y):
    """How far the best other class lies above class `y`, in logits, shape (N,)."""
    others = logits.scatter(1, y[:, None], -torch.inf).amax(1)
    return others - logits.gather(1, y[:, None])[:, 0]


def per_image(values, like):
    """One number per image, shaped to be multiplied with images."""
    return values.view(-1, *[1] * (like.ndim - 1))


def lengths(difference):
    """L2 norm of each image's change, shape (N,)."""
    return difference.flatten(1).norm(dim=1)


def steepest(slope, norm):
    """Direction of steepest ascent among changes of norm 1; zero where the gradient is zero."""
    if norm == "linf":
        return slope.sign()
    # By the largest value first: squares of tiny gradients would vanish.
    largest = slope.abs().flatten(1).amax(1).clamp_min(torch.finfo(slope.dtype).tiny)
    slope = slope / per_image(largest, slope)
    return slope / per_image(lengths(slope).clamp_min(1e-12), slope)
