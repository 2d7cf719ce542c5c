"""What images, labels and models may be; anything else is refused in one sentence.

Public functions call one of these once, before they compute anything. What runs in every batch of
a training (a loss, a transform) looks at shapes and types alone, by `check_pairs`: each reading of
values would make a GPU wait, and :func:`kit.training.fit` has looked at them before.

- Images are torch.Tensors of shape (N, C, H, W), of float16, bfloat16, float32 or float64, in
  [0, 1].
- Labels are torch.int64 tensors of shape (N,), whole numbers from 0 to classes − 1. Other types
  are not converted: bytes that count beyond 255 classes, or floats, would pass for labels.
- Models are torch.nn.Modules from images to finite logits of shape (N, classes), of two classes or
  more, with weights of the images' type. In evaluation mode an image's logits depend on nothing
  else: neither on chance nor on the images beside it.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kit.constraints import number

NORMS = ("linf", "l2")
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
BRIGHT = 32  # bytes that show something are brighter
LARGEST = 1e16  # of numbers that are squared and summed: with more that would leave float32
_LOOKING = contextvars.ContextVar("looking", default=False)
_SIZES = contextvars.ContextVar[list[Tensor] | None]("sizes", default=None)
_DIVERGED = (
    f"The model returns NaN, infinity or numbers beyond {LARGEST:g}, or its gradient does: its "
    "weights may have diverged in training; try a lower learning rate."
)

Span = tuple[float, float]  # the smallest and the largest value


class DivergedError(ValueError):
    """A model's outputs or gradients are no numbers to compute with."""


def check_norm(norm: str) -> None:
    """Refuse a norm other than those in `NORMS`, with a ValueError."""
    if norm not in NORMS:
        raise ValueError(f"Unknown norm {norm!r}: use one of {', '.join(NORMS)}.")


def check_eps(eps: float, norm: str = "linf", name: str = "eps") -> None:
    """Refuse a perturbation size outside (0, ∞), or (0, 1] for L∞, with a ValueError."""
    check_norm(norm)
    limit = number(above=0, to=1) if norm == "linf" else number(above=0)
    limit.check(name, eps)


def check_pairs(x: Tensor, y: Tensor) -> None:
    """Refuse images and labels by their shapes and types, with a ValueError.

    It reads no values, so that it may run in every batch, and under :func:`torch.func.vmap`.

    Examples
    --------
    >>> check_pairs(torch.zeros(3, 1, 8, 8), torch.zeros(3, 1, dtype=torch.int64))
    Traceback (most recent call last):
        ...
    ValueError: The labels are torch.int64 of shape (3, 1): give a torch.int64 tensor of shape ...
    """
    check_shape(x)
    check_labels(y, len(x))
    check_shapes(x)
    _check_values(x, y)


def check_shapes(x: Tensor) -> None:
    """Refuse images by their shape and type, with a ValueError."""
    check_shape(x)
    if x.dtype not in FLOATS:
        whole = not (x.is_floating_point() or x.is_complex())
        hint = "divide them by 255 to floats in [0, 1]" if whole else "use torch.float32"
        raise ValueError(f"The images are {x.dtype}: {hint}.")


def check_shape(x: Tensor) -> None:
    """Refuse anything but a tensor of shape (N, C, H, W), of whatever type, with a ValueError."""
    if not isinstance(x, Tensor) or x.ndim != 4 or 0 in x.shape[1:]:
        raise ValueError(
            f"The images are {_describe(x)}: give a torch.Tensor of shape (N, C, H, W); a single "
            "image is x[None]."
        )


def check_labels(y: Tensor, count: int) -> None:
    """Refuse labels by shape and type, without reading them, unless there are `count` of them."""
    if not isinstance(y, Tensor) or y.dtype != torch.int64 or y.ndim != 1:
        column = isinstance(y, Tensor) and y.ndim == 2 and y.shape[1] == 1
        hint = "; of one column make it y[:, 0]" if column else ""
        raise ValueError(
            f"The labels are {_describe(y)}: give a torch.int64 tensor of shape (N,){hint}."
        )
    if len(y) != count:
        raise ValueError(f"{count} images and {len(y)} labels: give one label for each image.")


def check_images(x: Tensor, *, some: bool = True) -> None:
    """Refuse anything but images in [0, 1], with a ValueError; none too, if there must be `some`.

    Examples
    --------
    >>> check_images(torch.full((3, 1, 8, 8), 255.0))
    Traceback (most recent call last):
        ...
    ValueError: The pixels reach from 255 to 255: they must lie in [0, 1]. Normalisation belongs ...
    """
    check_shapes(x)
    if some and not len(x):
        raise ValueError("There are no images: give at least one.")
    if len(x):
        _check_pixels(*_spans(x))


def check_data(x: Tensor, y: Tensor, classes: int | None = None) -> None:
    """Refuse images and labels that are none, or do not fit together, with a ValueError.

    Without `classes` any labels from 0 on will do.
    """
    _check_classes(_check_pair(x, y), classes, "there are")


def check_module(model: nn.Module) -> None:
    """Refuse anything but a torch.nn.Module whose weights have values, with a ValueError."""
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"The model is {_describe(model)}: give a torch.nn.Module from images to logits."
        )
    _check_values(*model.parameters(), *model.buffers())


def check_batch(model: nn.Module, x: Tensor, y: Tensor, device: torch.device | None = None) -> int:
    """Refuse images and labels that do not fit together, or not to the model.

    Call it inside :func:`kit.gradients.frozen` or :func:`kit.nets.eval_mode`: it runs the model, on
    the device of the images or another.

    Returns
    -------
    int
        How many classes the model knows.

    Raises
    ------
    ValueError
    """
    return _check_with(lambda model, x: check_model(model, x, device), model, x, y)


def check_attack(model: nn.Module, x: Tensor, y: Tensor) -> int:
    """Refuse what :func:`check_batch` and :func:`check_gradient` refuse; the number of classes."""
    return _check_with(check_gradient, model, x, y)


def check_model(model: nn.Module, x: Tensor, device: torch.device | None = None) -> int:
    """Refuse a model that gives no logits of two classes or more; how many of them it gives.

    It looks at the first image. Call it in evaluation mode: a model whose logits chance or other
    images change is refused, and of one that returns probabilities it warns.
    """
    check_module(model)
    image = x[:1].detach().to(device)
    with torch.no_grad():
        logits = check_logits(run(model, image), 1)
    _check_steady(model, image)
    return logits.shape[1]


def _check_steady(model: nn.Module, image: Tensor) -> None:
    """Refuse logits that chance or other images change; warn of probabilities."""
    other = (image + 0.5) % 1  # differs in every pixel
    with torch.no_grad(), unseen():  # two images each time: of other numbers rounding may differ
        logits, again = (run(model, torch.cat([image, second])) for second in (other, image))
    exact = torch.finfo(logits.dtype).eps
    # Not of NaN: who computes with the logits says what is wrong with them.
    changed = (again - logits[:1]).abs().max() > exact**0.5 * again.abs().max()
    near_one = (logits.sum(1) - 1).abs().max() <= max(1e-4, exact)
    # Read at once: each reading makes a GPU wait.
    restless, sums_to_one = torch.stack([changed, near_one & (logits.min() >= 0)]).tolist()
    if restless:
        raise ValueError(
            "The model gives another output for the same image when it is run again, beside "
            "another image: in evaluation mode nothing may be random or depend on other images; "
            "let dropout and noise depend on self.training, and call no train() in forward."
        )
    if sums_to_one:
        warnings.warn(
            "The model seems to return probabilities: its outputs for an image are not negative "
            "and sum to 1. Losses and attacks take them for logits, and their numbers would be "
            "wrong: leave out the softmax at its end.",
            RuntimeWarning,
            stacklevel=2,
        )


@contextlib.contextmanager
def unseen() -> Iterator[None]:
    """Inside the block a model is run only to see what it is like."""
    token = _LOOKING.set(True)
    try:
        yield
    finally:
        _LOOKING.reset(token)


def looking() -> bool:
    """Is a model run only to see whether it is one? Who watches it from outside leaves that out."""
    return _LOOKING.get()


def run(model: Callable[[Tensor], Any], x: Tensor) -> Any:
    """What a model returns for images; those it cannot take are refused, with torch's reason.

    It gets a copy: a model may work in place.

    Examples
    --------
    >>> run(nn.Conv2d(3, 8, 3), torch.zeros(1, 1, 8, 8))
    Traceback (most recent call last):
        ...
    ValueError: The model cannot take images of torch.float32 and shape (1, 8, 8) on cpu: Given ...
    """
    try:
        return model(x.clone())
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # torch's, of other shapes, types and devices than its weights'
        places = {w.device for w in model.parameters()} if isinstance(model, nn.Module) else set()
        reason = str(error).partition("\n")[0].rstrip(".")
        if places and places != {x.device}:
            where = " and ".join(sorted(map(str, places)))
            reason = f"its weights lie on {where}; use one device, as model.to(x.device) does"
        elif x.ndim == 4 and x.shape[3] in (1, 3) and x.shape[1] not in (1, 3):
            reason = "their channels come last; make it x.permute(0, 3, 1, 2)"
        raise ValueError(
            f"The model cannot take images of {x.dtype} and shape {tuple(x.shape[1:])} on "
            f"{x.device}: {reason}."
        ) from error


def check_gradient(model: nn.Module, x: Tensor) -> int:
    """Refuse a model whose outputs change with the image but carry no gradient.

    No attack could move an image, and the model would pass for robust. A model that says the same
    of every image has no gradient either, but that is the truth about it.

    Call it inside :func:`kit.gradients.frozen`.

    Parameters
    ----------
    model
        From images to logits.
    x
        Images, of which it looks at the first.

    Returns
    -------
    int
        How many classes the model knows.

    Raises
    ------
    ValueError
    """
    check_module(model)
    check_recording(model, x)
    image = x[:1].detach()
    with torch.enable_grad():
        shown = image.clone().requires_grad_()
        logits = check_logits(run(model, shown), 1)
    _check_steady(model, image)
    other = (image + 0.5) % 1  # differs in every pixel
    if not _has_gradient(logits, shown):
        with torch.enable_grad():
            shown = other.clone().requires_grad_()
            elsewhere = run(model, shown)
        # Flat at one image may be chance: a net of ReLUs may be dead there.
        if not torch.equal(logits, elsewhere) and not _has_gradient(elsewhere, shown):
            raise ValueError(
                "The model's outputs change with the image but carry no gradient, so that no "
                "attack could move an image: do not detach or round anything on the way, nor "
                "compute it under torch.no_grad()."
            )
    return logits.shape[1]


def _has_gradient(logits: Tensor, image: Tensor) -> bool:
    """Would the logits change with the image, as far as autograd knows?"""
    if not logits.requires_grad:
        return False
    # Not their sum: that of probabilities never changes.
    weights = torch.arange(1, 1 + logits.shape[1], device=logits.device, dtype=logits.dtype)
    with torch.enable_grad():
        total = (logits * weights).sum()
    (gradient,) = torch.autograd.grad(total, image, allow_unused=True)
    return gradient is not None and bool(gradient.any())


def check_recording(model: Callable[[Tensor], Tensor], *tensors: Tensor) -> None:
    """Refuse to record gradients, or change values, where torch cannot: in inference mode."""
    weights = model.parameters() if isinstance(model, nn.Module) else ()
    if torch.is_inference_mode_enabled() or any(t.is_inference() for t in (*tensors, *weights)):
        raise ValueError(
            "Inside torch.inference_mode(), and of tensors made there, torch can neither record "
            "gradients nor change values: use torch.no_grad() instead."
        )


def check_trainable(model: nn.Module) -> None:
    """Refuse a model that cannot learn, with a ValueError."""
    check_module(model)
    if not any(weight.requires_grad for weight in model.parameters()):
        raise ValueError("The model has no weights that require a gradient: nothing can be learnt.")


def check_logits(logits: Any, count: int) -> Tensor:
    """Its argument, unless it is not the logits of so many images, which is a ValueError."""
    if (
        not isinstance(logits, Tensor)
        or logits.ndim != 2
        or len(logits) != count
        or not logits.is_floating_point()
    ):
        raise ValueError(
            f"The model returns {_describe(logits)} for {count} images: it must return logits, a "
            "tensor of floats of shape (N, classes)."
        )
    if logits.shape[1] < 2:
        raise ValueError(
            f"The model's logits for an image are {logits.shape[1]}: there must be two or more, "
            "one for each class; of one output z make the logits torch.cat([-z / 2, z / 2], 1)."
        )
    return finite(logits)


def finite(values: Tensor) -> Tensor:
    """Its argument, unless a number in it is none or too large to square: :class:`DivergedError`.

    On a GPU the error may come later: see :func:`seen_in_the_end`.

    Examples
    --------
    >>> finite(torch.tensor([1.0, 1e30]))
    Traceback (most recent call last):
        ...
    kit.checks.DivergedError: The model returns NaN, infinity or numbers beyond 1e+16, or its...
    """
    if not values.numel():
        return values
    size = torch.linalg.vector_norm(values.detach(), torch.inf)  # NaN if one is; in one pass
    kept = _SIZES.get()
    if kept is not None and size.device.type != "cpu":
        kept.append(size)
    elif not float(size) <= LARGEST:  # in half precision that limit would be infinite
        raise DivergedError(_DIVERGED)
    return values


@contextlib.contextmanager
def seen_in_the_end() -> Iterator[None]:
    """On a GPU, look at what :func:`finite` finds once, at the end of the block.

    To look at each step's would make the host wait, and the GPU stand still while it does.
    """
    kept: list[Tensor] = []
    token = _SIZES.set(kept)
    try:
        yield
    finally:  # after an error, too: missing numbers may have led to it
        _SIZES.reset(token)
        if kept and not (torch.stack([size.double() for size in kept]) <= LARGEST).all():
            raise DivergedError(_DIVERGED)


def check_vectors(**named: Tensor) -> list[Span]:
    """Refuse what distances cannot be measured between, with a ValueError; from where to where.

    Parameters
    ----------
    **named
        Tensors of shape (N, …), by what they are called in a sentence.

    Examples
    --------
    >>> check_vectors(queries=torch.tensor([[0.0, float("nan")]]))
    Traceback (most recent call last):
        ...
    ValueError: The queries reach from nan to nan: use finite numbers, up to 1e+16 in size.
    """
    for name, x in named.items():
        _check_vector(x, name)
    spans = _spans(*named.values())
    for name, (low, high) in zip(named, spans, strict=True):
        if not (low >= -LARGEST and high <= LARGEST):
            raise ValueError(
                f"The {name} reach from {low:.3g} to {high:.3g}: use finite numbers, up to "
                f"{LARGEST:g} in size."
            )
    return spans


def check_same_shape(x_train: Tensor, x: Tensor) -> None:
    """Refuse training images and queries that are no vectors, or differ in shape.

    It warns where the ones look like images from 0 to 1 and the others like bytes.

    Examples
    --------
    >>> check_same_shape(torch.zeros(5, 3, 8, 8), torch.zeros(2, 8, 8, 3))
    Traceback (most recent call last):
        ...
    ValueError: Training images are of shape (3, 8, 8), queries of (8, 8, 3): use one shape.
    """
    spans = check_vectors(**{"training images": x_train, "queries": x})
    if x_train.shape[1:] != x.shape[1:]:
        ours, theirs = tuple(x_train.shape[1:]), tuple(x.shape[1:])
        raise ValueError(
            f"Training images are of shape {ours}, queries of {theirs}: use one shape."
        )
    (low, high), (other_low, other_high) = sorted(spans, key=lambda span: span[1])
    alike = high > 1 or not BRIGHT < other_high <= 255 or min(low, other_low) < 0
    if len(x_train) and len(x) and not alike:
        warnings.warn(
            f"Training images reach up to {spans[0][1]:.3g}, queries up to {spans[1][1]:.3g}: if "
            "both are images, scale them alike, as x / 255 does; their distances say nothing else.",
            RuntimeWarning,
            stacklevel=2,
        )


def check_points(x: Tensor, y: Tensor) -> None:
    """Refuse vectors that are none, as `check_vectors` does, and labels that do not fit to them."""
    _check_vector(x, "images")
    check_labels(y, len(x))
    if len(y):
        _check_classes(_spans(y)[0], None, "")


def check_noise(noise: Tensor, x: Tensor, y: Tensor) -> None:
    """Refuse candidates of class-wise noise, images and labels that do not fit together.

    Examples
    --------
    >>> images, labels = torch.zeros(2, 1, 8, 8), torch.tensor([0, 5])
    >>> check_noise(torch.zeros(3, 4, 1, 8, 8), images, labels)
    Traceback (most recent call last):
        ...
    ValueError: The labels reach from 0 to 5: there are 4 classes, so use whole numbers from 0 to 3.
    """
    check_pairs(x, y)
    if not isinstance(noise, Tensor) or noise.ndim != 5 or noise.shape[2:] != x.shape[1:]:
        raise ValueError(
            f"The noise is {_describe(noise)} and the images are of shape {tuple(x.shape)}: give "
            "noise of shape (M, classes, C, H, W)."
        )
    check_data(x, y, noise.shape[1])


def check_maps(maps: Tensor, shape: Sequence[int] | None = None) -> None:
    """Refuse anything but maps (N, H, W), of one `shape` if given: others would be stretched."""
    if not isinstance(maps, Tensor) or maps.ndim != 3 or maps.shape != (shape or maps.shape):
        wanted = "(N, H, W)" if shape is None else tuple(shape)
        raise ValueError(f"The maps are {_describe(maps)}: give a torch.Tensor of shape {wanted}.")


def check_alike(a: Tensor, b: Tensor) -> None:
    """Refuse anything but two versions of the same images in [0, 1], with a ValueError."""
    check_shapes(a)
    check_shapes(b)
    if a.shape != b.shape:
        raise ValueError(
            f"The images have the shapes {tuple(a.shape)} and {tuple(b.shape)}: "
            "both must be the same (N, C, H, W)."
        )
    for kind in ("device", "dtype"):
        if getattr(a, kind) != getattr(b, kind):
            kinds = f"{getattr(a, kind)} and {getattr(b, kind)}"
            raise ValueError(f"The images are of {kinds}: use one {kind} for both.")
    for span in _spans(a, b):
        _check_pixels(span)


def _check_vector(x: Tensor, name: str) -> None:
    if not isinstance(x, Tensor) or x.ndim < 2 or 0 in x.shape[1:]:
        raise ValueError(f"The {name} are {_describe(x)}: give a torch.Tensor of shape (N, …).")
    if x.dtype not in FLOATS:
        raise ValueError(f"The {name} are {x.dtype}: make them floats, as x / 255 is.")


def _check_with(look: Callable[[nn.Module, Tensor], int], model: Any, x: Any, y: Any) -> int:
    labels = _check_pair(x, y)
    classes = look(model, x)
    _check_classes(labels, classes, "the model knows")
    return classes


def _check_pair(x: Tensor, y: Tensor) -> Span:
    """Refuse images, and labels but for their values, which it returns the span of."""
    check_pairs(x, y)
    if not len(x):
        raise ValueError("0 images and 0 labels: give at least one image.")
    if x.device != y.device:
        raise ValueError(f"The images lie on {x.device}, the labels on {y.device}: use one device.")
    pixels, labels = _spans(x, y)
    _check_pixels(pixels)
    return labels


def _check_pixels(span: Span) -> None:
    low, high = span
    if not (low >= 0 and high <= 1):
        hint = (
            "Some are no numbers" if math.isnan(low) else "Normalisation belongs inside the model"
        )
        raise ValueError(
            f"The pixels reach from {low:.3g} to {high:.3g}: they must lie in [0, 1]. {hint}."
        )


def _check_classes(labels: Span, classes: int | None, who: str) -> None:
    low, high = map(int, labels)
    if low < 0 or (classes is not None and high >= classes):
        known = "whole numbers from 0 on are labels"
        if classes is not None:
            known = f"{who} {classes} classes, so use whole numbers from 0 to {classes - 1}"
        raise ValueError(f"The labels reach from {low} to {high}: {known}.")


def _spans(*tensors: Tensor) -> list[Span]:
    """Of each tensor, all read at once: every reading makes a GPU wait. Of an empty one, zeros."""
    _check_values(*tensors)
    ends = [
        end.double().to(tensors[0].device)
        for tensor in tensors
        for end in (tensor.detach().aminmax() if len(tensor) else torch.zeros(2))
    ]
    values = torch.stack(ends).tolist()
    return list(zip(values[::2], values[1::2], strict=True))


def _check_values(*tensors: Tensor) -> None:
    if any(tensor.is_meta for tensor in tensors):
        raise ValueError("Tensors on the device meta hold no values: use one such as cpu or cuda.")


def _describe(values: Any) -> str:
    shape = f" of shape {tuple(values.shape)}" if hasattr(values, "shape") else ""
    return f"{getattr(values, 'dtype', type(values).__name__)}{shape}"
