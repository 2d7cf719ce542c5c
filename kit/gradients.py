"""What attacks and robustness metrics compute with: batches, gradients, norms."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from kit.batches import in_parts
from kit.checks import check_logits, check_module, finite, seen_in_the_end, unseen
from kit.input_gradients import QuickInputGradients
from kit.nets import channels_last, eval_mode

BATCH = 500  # images at once: large enough to keep a CPU busy, small enough for its cache
# Bytes of the largest tensor in between, on a CPU. Larger ones leave its cache, and the system
# hands out their memory anew in every operation: PGD on `hand_a` takes twice as long.
LARGEST = 16e6
_AT_ONCE: weakref.WeakKeyDictionary[nn.Module, dict[tuple, int]] = weakref.WeakKeyDictionary()


@contextlib.contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and no gradients for the weights, inside the block.

    Examples
    --------
    >>> import kit
    >>> net = kit.nets.build("lenet5", (1, 8, 8)).train()
    >>> with frozen(net):
    ...     net.training, any(weight.requires_grad for weight in net.parameters())
    (False, False)
    >>> net.training, all(weight.requires_grad for weight in net.parameters())
    (True, True)
    """
    check_module(model)
    # Evaluation mode first: then it is this thread's turn.
    with torch.no_grad(), eval_mode(model), channels_last(model), seen_in_the_end():
        trainable = [p for p in model.parameters() if p.requires_grad and not p.is_inference()]
        for parameter in trainable:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in trainable:
                parameter.requires_grad_(True)


def in_batches(
    function: Callable[..., Any],
    *tensors: Tensor,
    copies: int = 1,
    model: nn.Module | None = None,
) -> Any:
    """Call a function on `BATCH` images at a time and concatenate what it returns.

    A function that returns a tuple of tensors gives a tuple of tensors. One that works on so many
    `copies` of each image at once gets fewer of them; so does one that runs a wide `model`.

    Examples
    --------
    >>> in_batches(lambda x: torch.tensor([len(x)]), torch.zeros(1200, 1, 8, 8))
    tensor([500, 500, 200])
    """
    at_once = min(BATCH, images_at_once(model, tensors[0])) if model else BATCH
    results = in_parts(function, *tensors, at_once=max(1, at_once // copies))
    if isinstance(results[0], tuple):
        return tuple(map(torch.cat, zip(*results, strict=True)))
    return torch.cat(results)


def images_at_once(model: nn.Module, x: Tensor) -> int:
    """How many images a model should see at once: fewer if it is wide; more than `BATCH` is no use.

    Its layers are looked at once, while the first image goes through them. In evaluation mode.

    Examples
    --------
    >>> import kit
    >>> x = torch.zeros(1, 3, 32, 32)
    >>> nets = [kit.nets.build(name, x.shape[1:]).eval() for name in ("lenet5", "hand_a")]
    >>> images_at_once(nets[0], x) > 500, images_at_once(nets[1], x)
    (True, 81)
    """
    if x.device.type != "cpu" or not len(x):
        return BATCH
    known, key = _AT_ONCE.setdefault(model, {}), (tuple(x.shape[1:]), x.dtype)
    if key not in known:
        known[key] = max(1, int(LARGEST // max(_largest(model, x[:1]), 1)))
    return known[key]


def _largest(model: nn.Module, image: Tensor) -> int:
    """Bytes of the largest tensor that a layer makes of an image."""
    sizes = [image.nbytes]

    def note(_: nn.Module, __: tuple, made: Any) -> None:
        if isinstance(made, Tensor):
            sizes.append(made.nbytes)

    hooks = [layer.register_forward_hook(note) for layer in model.modules()]
    try:
        with torch.no_grad(), unseen():
            model(image.clone())
    finally:
        for hook in hooks:
            hook.remove()
    return max(sizes)


def outputs(model: nn.Module, x: Tensor) -> Tensor:
    """Logits of the images; anything that is not finite logits is refused with a ValueError.

    Examples
    --------
    >>> import kit
    >>> outputs(kit.nets.build("linear", (1, 8, 8)), torch.zeros(5, 1, 8, 8)).shape
    torch.Size([5, 10])
    >>> outputs(torch.nn.Identity(), torch.zeros(5, 1, 8, 8))
    Traceback (most recent call last):
        ...
    ValueError: The model returns torch.float32 of shape (5, 1, 8, 8) for 5 images: it must ...
    """
    with QuickInputGradients() if x.requires_grad else contextlib.nullcontext():
        return check_logits(model(x.clone()), len(x))  # a model may work in place


def predictions(model: nn.Module, x: Tensor) -> Tensor:
    """Labels that the model predicts, int64, shape (N,).

    Examples
    --------
    >>> brightest = torch.nn.Flatten()  # of four pixels
    >>> predictions(brightest, torch.tensor([[[[0.1, 0.9], [0.3, 0.2]]]]))
    tensor([1])
    """
    return in_batches(lambda batch: outputs(model, batch).argmax(1), x, model=model)


def loss_gradient(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Gradient of each image's cross-entropy with respect to the image, shape of `x`.

    Examples
    --------
    An image's gradient does not depend on how many others are in its batch:

    >>> import kit
    >>> digits = kit.data.load("digits")
    >>> net, x, y = kit.nets.build("linear", digits.shape), digits.x_test, digits.y_test
    >>> grad, alone = loss_gradient(net, x, y), loss_gradient(net, x[:1], y[:1])
    >>> torch.allclose(grad[:1], alone, atol=1e-6)
    True
    """
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        # Summed, not averaged: an image's gradient must not shrink with its batch.
        return gradient(cross_entropy(outputs(model, x), y, reduction="sum"), x)


def gradient(value: Tensor, x: Tensor, **options: Any) -> Tensor:
    """Gradient of a sum over images; zero where the model does not look at them at all.

    What is not finite is refused with a ValueError: the sign of NaN would pass for zero. `options`
    go to :func:`torch.autograd.grad`.

    Examples
    --------
    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> gradient(x.square().sum(), x), gradient(torch.tensor(3.0), x)
    (tensor([2., 4.]), tensor([0., 0.]))
    """
    if not value.requires_grad:
        return torch.zeros_like(x)
    return finite(torch.autograd.grad(value, x, **options)[0])


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """How far the best other class lies above class `y`, in logits, shape (N,).

    Examples
    --------
    Below zero where class `y` has the largest logit:

    >>> margin(torch.tensor([[3.0, 1.0, 0.5], [3.0, 1.0, 0.5]]), torch.tensor([0, 2]))
    tensor([-2.0000,  2.5000])
    """
    others = logits.scatter(1, y[:, None], -torch.inf).amax(1)
    return others - logits.gather(1, y[:, None])[:, 0]


def spread(logits: Tensor) -> Tensor:
    """The largest logit minus the least, a constant without gradient, shape (N,).

    Examples
    --------
    >>> spread(torch.tensor([[3.0, 1.0, 0.5], [1.0, 1.0, 1.0]]))
    tensor([2.5000, 0.0000])
    """
    return (logits.amax(1) - logits.amin(1)).detach()


def per_image(values: Tensor, like: Tensor) -> Tensor:
    """One number per image, shaped to be multiplied with images.

    Examples
    --------
    >>> images = torch.ones(2, 1, 8, 8)
    >>> (per_image(torch.tensor([0.5, 2.0]), images) * images).amax((1, 2, 3))
    tensor([0.5000, 2.0000])
    """
    return values.view(-1, *[1] * (like.ndim - 1))


def l2_norm(change: Tensor) -> Tensor:
    """L2 norm of each image's change, shape (N,).

    Examples
    --------
    >>> l2_norm(torch.full((2, 1, 4, 4), 0.5))
    tensor([2., 2.])
    """
    return change.flatten(1).norm(dim=1)


def steepest(grad: Tensor, norm: str) -> Tensor:
    """Direction of steepest ascent among changes of norm 1; zero where the gradient is zero.

    Examples
    --------
    >>> grad = torch.tensor([[[[3.0, -4.0]]]])
    >>> steepest(grad, "linf").flatten(), steepest(grad, "l2").flatten()
    (tensor([ 1., -1.]), tensor([ 0.6000, -0.8000]))
    """
    if norm == "linf":
        return grad.sign()
    # By the largest value first: squares of tiny gradients would vanish.
    largest = grad.abs().flatten(1).amax(1).clamp_min(torch.finfo(grad.dtype).tiny)
    grad = grad / per_image(largest, grad)
    return grad / per_image(l2_norm(grad).clamp_min(1e-12), grad)
