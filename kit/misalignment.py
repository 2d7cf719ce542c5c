"""Gradient misalignment (GM): nets whose input gradients oppose those of a reference net.

The GM loss is the mean cosine between the input gradients of the net in training and those of a
fixed reference net (Operiano, Pora, Iba & Kera, 2021, eq. 1). The reference's gradients do not
change, so they are computed once and looked up.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from kit.checks import check_attack, check_vectors
from kit.gradients import frozen, in_batches, loss_gradient
from kit.training import input_gradients
from kit.training.losses import Loss, Model, mean_cross_entropy

# A gradient whose largest entry is smaller than this counts as zero: the image is saturated, and
# one over its length would leave float32's range in the double backward.
SATURATED = 1e-30
INEXACT = 0.01  # of a length of 1 in half precision, at most


def unit(grads: Tensor) -> Tensor:
    """Each image's gradient at length 1, shape (N, C·H·W); a zero gradient stays zero.

    Derivatives are finite everywhere, and zero where the gradient is zero.

    Examples
    --------
    >>> unit(torch.tensor([[3.0, 4.0], [3e-20, 4e-20], [0.0, 0.0]]))
    tensor([[0.6000, 0.8000],
            [0.6000, 0.8000],
            [0.0000, 0.0000]])
    """
    grads = grads.flatten(1)
    largest = grads.detach().abs().amax(1, keepdim=True)
    alive = largest > SATURATED
    # By the largest entry first: squares of small gradients would vanish.
    scaled = torch.where(alive, grads, 0) / torch.where(alive, largest, 1)
    squares = scaled.square().sum(1, keepdim=True)
    return scaled * torch.where(alive, squares, 1).rsqrt()


def reference_gradients(
    model: nn.Module, x: Tensor, y: Tensor, *, classes: int | None = None
) -> Tensor:
    """The reference's input gradients as unit vectors in half precision, in evaluation mode.

    Raw gradients of images that the reference is sure of are too small for half precision, hence
    unit length first.

    Parameters
    ----------
    model
        The reference net, from images in [0, 1] to logits.
    x, y
        Images, shape (N, C, H, W), and labels.
    classes
        Of the net to be trained; the reference must have as many.

    Returns
    -------
    torch.Tensor
        float16, shape (N, C, H, W); zero for an image whose gradient is zero.

    Raises
    ------
    ValueError
        The reference has another number of classes; or images and labels do not fit.

    Examples
    --------
    >>> import kit
    >>> digits = kit.data.load("digits")
    >>> net = kit.nets.build("lenet5", digits.shape)
    >>> grads = reference_gradients(net, digits.x_train, digits.y_train, classes=10)
    >>> grads.dtype, grads.shape == digits.x_train.shape
    (torch.float16, True)
    >>> length = grads.float().flatten(1).norm(dim=1)
    >>> bool(((length - 1).abs() < 0.01).all())
    True
    """
    with frozen(model):
        known = check_attack(model, x, y)
        if classes not in (None, known):
            raise ValueError(
                f"The reference net has {known} classes and the net to train {classes}: "
                "use a reference for the same classes."
            )
        units = in_batches(
            lambda images, labels: unit(loss_gradient(model, images, labels)).half(),
            x,
            y,
            model=model,
        )
    return units.view(x.shape)


def cosines(model: nn.Module, x: Tensor, y: Tensor, reference: Tensor) -> Tensor:
    """Cosine between each image's input gradient and the reference's, in evaluation mode.

    Parameters
    ----------
    model
        The net to compare, from images in [0, 1] to logits.
    x, y
        Images, shape (N, C, H, W), and labels.
    reference
        The reference's gradients as unit vectors, shape of `x`.

    Returns
    -------
    torch.Tensor
        Shape (N,), in [-1, 1]; 0 where one of the gradients is zero.

    Examples
    --------
    >>> import kit
    >>> digits = kit.data.load("digits")
    >>> x, y = digits.x_test, digits.y_test
    >>> net, other = (kit.nets.build("lenet5", digits.shape, seed=seed) for seed in (0, 1))
    >>> grads = reference_gradients(net, x, y)
    >>> bool(cosines(net, x, y, grads).min() > 0.99), bool(cosines(other, x, y, grads).max() < 0.99)
    (True, True)
    """
    with frozen(model):
        check_attack(model, x, y)
        _check_reference(x, reference)
        check_vectors(**{"reference's gradients": reference})
        _check_units(reference)
        return in_batches(
            lambda *batch: _between(loss_gradient(model, *batch[:2]), batch[2]),
            x,
            y,
            reference,
            model=model,
        )


def gradient_alignment(model: Model, x: Tensor, y: Tensor, reference: Tensor) -> Tensor:
    """L_GM (eq. 1): the mean cosine between input gradients, to be differentiated by the weights.

    Parameters
    ----------
    model
        The net in training, from images to logits.
    x, y
        Images, shape (N, C, H, W), and labels.
    reference
        The reference's gradients as unit vectors, shape of `x`, in any precision
        (:func:`reference_gradients`).

    Returns
    -------
    torch.Tensor
        A scalar in [-1, 1]; an image whose gradient is zero contributes 0.

    Raises
    ------
    ValueError
        `reference` does not have the shape of `x`; on a CPU also if its lengths are not 1: since it
        runs in every batch, a GPU is not asked for them.

    Examples
    --------
    >>> import kit
    >>> digits = kit.data.load("digits")
    >>> x, y = digits.x_train[:100], digits.y_train[:100]
    >>> net, reference = (kit.nets.build("lenet5", digits.shape, seed=seed) for seed in (0, 1))
    >>> loss = gradient_alignment(net, x, y, reference_gradients(reference, x, y))
    >>> loss.backward()
    >>> bool(any(weight.grad.any() for weight in net.parameters()))
    True
    """
    grads = input_gradients(model, x, y, create_graph=True)
    if isinstance(reference, Tensor) and reference.device.type == "cpu":
        _check_units(reference)
    return _mean_cosine(_between(grads, reference))


def _check_reference(x: Tensor, reference: Tensor) -> None:
    if not isinstance(reference, Tensor) or x.shape != reference.shape:
        shape = tuple(getattr(reference, "shape", ()))
        raise ValueError(
            f"The reference's gradients have shape {shape} and the images {tuple(x.shape)}: "
            "compute them on the same images."
        )


def _check_units(reference: Tensor) -> None:
    """Refuse other lengths than 1, and 0 of a zero gradient: their cosines would be none."""
    lengths = torch.linalg.vector_norm(reference.flatten(1), dim=1, dtype=torch.float64)
    if not ((lengths == 0) | ((lengths - 1).abs() <= INEXACT)).all():
        low, high = lengths.min(), lengths.max()
        raise ValueError(
            f"The reference's gradients have lengths from {low:.3g} to {high:.3g}: make them unit "
            "vectors, as reference_gradients gives them, or by unit(grads).view_as(grads)."
        )


def _between(grads: Tensor, reference: Tensor) -> Tensor:
    _check_reference(grads, reference)
    return (unit(grads) * reference.flatten(1).to(grads.dtype)).sum(1)


def _mean_cosine(cosine: Tensor) -> Tensor:
    return cosine.mean()


def _mean_absolute(cosine: Tensor) -> Tensor:
    return cosine.abs().mean()


def _log_sum_exp(cosine: Tensor) -> Tensor:
    # Of the mean, not the sum, so that it does not grow with the batch.
    return cosine.exp().mean().log()


# "cosine" is the paper's and rewards opposed gradients. "absolute" rewards orthogonal ones (TRS,
# Yang et al., NeurIPS 2021). "logsumexp" weighs aligned images most (GAL, Kariyappa & Qureshi,
# 2019, who take it over the pairs of an ensemble; here there is one pair, and many images).
VARIANTS: dict[str, Callable[[Tensor], Tensor]] = {
    "cosine": _mean_cosine,
    "absolute": _mean_absolute,
    "logsumexp": _log_sum_exp,
}


def misaligned(reference: Tensor, *, strength: float = 1.0, variant: str = "cosine") -> Loss:
    """A loss for :func:`kit.training.fit`: cross-entropy plus λ times the GM loss (eq. 2).

    Parameters
    ----------
    reference
        The reference's gradients for the whole training set, as :func:`reference_gradients` gives
        them, on the device of the net.
    strength
        λ, 0 or more; 0 is plain cross-entropy.
    variant : {"cosine", "absolute", "logsumexp"}

    Raises
    ------
    ValueError
        λ is negative, the variant is unknown, or the reference's gradients are no unit vectors;
        while training, also if there are fewer of them than training images.

    Examples
    --------
    >>> import kit
    >>> digits = kit.data.load("digits")
    >>> net, reference = (kit.nets.build("lenet5", digits.shape, seed=s) for s in (0, 1))
    >>> grads = reference_gradients(reference, digits.x_train, digits.y_train)
    >>> history = kit.training.fit(
    ...     net, digits.x_train, digits.y_train, epochs=1, loss=misaligned(grads)
    ... )
    """
    if not 0 <= strength < float("inf"):
        raise ValueError(f"strength (λ) is {strength}: use a number from 0 on.")
    if variant not in VARIANTS:
        raise ValueError(f"Unknown variant {variant!r}: use one of {', '.join(VARIANTS)}.")
    check_vectors(**{"reference's gradients": reference})
    _check_units(reference)
    if strength == 0:
        return mean_cross_entropy
    combine = VARIANTS[variant]

    def loss(model: Model, x: Tensor, y: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        try:
            theirs = reference[rows]  # a comparison of positions would make a GPU wait
        except IndexError:
            raise ValueError(
                f"There are reference gradients of {len(reference)} images, but more are trained "
                "on: compute them for the whole training set."
            ) from None
        grads, logits = input_gradients(model, x, y, create_graph=True, details=True)
        entropy = nn.functional.cross_entropy(logits, y)
        return entropy + strength * combine(_between(grads, theirs)), logits

    return loss
