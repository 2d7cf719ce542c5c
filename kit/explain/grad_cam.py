"""Grad-CAM: what speaks for a class, and how much of it lies on the background."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from kit.checks import check_attack, check_images, check_maps, check_module
from kit.constraints import number
from kit.gradients import BATCH, gradient
from kit.nets import eval_mode

DARK = 0.1  # brightness below which a pixel is background


def grad_cam(model: nn.Module, x: Tensor, y: Tensor, *, layer: nn.Module | None = None) -> Tensor:
    """Grad-CAM of a class (Selvaraju et al., ICCV 2017).

    Parameters
    ----------
    model
        From images to logits; is run in evaluation mode and left in the mode it came in.
    x
        Images, shape (N, C, H, W), in [0, 1].
    y
        The class that each map is about, int64, shape (N,).
    layer
        A part of the model that gives feature maps, (N, channels, height, width); where it is
        called several times, the last call counts. By default, in the order in which a forward pass
        calls them, the first ReLU after the last convolution, or this convolution where no ReLU
        comes after it. (Before a ReLU, maps also hold what the net never sees.)

    Returns
    -------
    torch.Tensor
        Shape (N, H, W), not negative, bilinearly resized to the images. Each map sums to 1, so
        that maps of different nets can be compared; to 0 where nothing speaks for the class.

    Raises
    ------
    ValueError
        The model calls no convolution, or `layer` not at all or not for feature maps; or x and y do
        not fit together or to the model.

    Examples
    --------
    >>> import kit
    >>> digits = kit.data.load("digits")
    >>> net = kit.nets.build("lenet5", digits.shape)
    >>> history = kit.training.fit(net, digits.x_train, digits.y_train, epochs=10, lr=0.003)
    >>> maps = grad_cam(net, digits.x_test[:5], kit.training.predict(net, digits.x_test[:5]))
    >>> maps.shape, [round(mass, 3) for mass in maps.sum((1, 2)).tolist()]
    (torch.Size([5, 8, 8]), [1.0, 1.0, 1.0, 1.0, 1.0])
    """
    check_module(model)
    with eval_mode(model):
        check_attack(model, x, y)
    batches = []
    with eval_mode(model):
        place = _last_activation(model, x) if layer is None else _last_call(model, x, layer)
        for images, labels in zip(x.split(BATCH), y.split(BATCH), strict=True):
            coarse = _coarse_map(model, images, labels, *place)
            batches.append(functional.interpolate(coarse, x.shape[2:], mode="bilinear")[:, 0])
    maps = torch.cat(batches)
    mass = maps.sum((1, 2), keepdim=True)
    return torch.where(mass > 0, maps / mass, 0.0)


Place = tuple[nn.Module, int]  # a layer, and which of its calls in a forward pass, from 1


def _last_activation(model: nn.Module, x: Tensor) -> Place:
    """The first ReLU after the last convolution, or else this convolution."""
    layers = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.ReLU))]
    calls = _calls(model, x, layers)
    places = [i for i, (layer, _) in enumerate(calls) if isinstance(layer, nn.Conv2d)]
    if not places:
        raise ValueError("The model has no convolution: name the layer to look at.")
    return calls[min(places[-1] + 1, len(calls) - 1)]


def _last_call(model: nn.Module, x: Tensor, layer: nn.Module) -> Place:
    calls = _calls(model, x, [layer])
    if not calls:
        raise ValueError(
            "The model does not call this layer, or it gives no feature maps of shape (N, channels,"
            " height, width): name a layer that does."
        )
    return calls[-1]


@torch.no_grad()
def _calls(model: nn.Module, x: Tensor, layers: Sequence[nn.Module]) -> list[Place]:
    """Calls of the layers that give feature maps, in the order in which the first image has them.

    Modules are registered in any order, and one ReLU may serve after every convolution.
    """
    calls: list[Place] = []
    times: Counter[nn.Module] = Counter()

    def note(layer: nn.Module, _: object, features: object) -> None:
        times[layer] += 1
        if isinstance(features, Tensor) and features.ndim == 4:
            calls.append((layer, times[layer]))

    with contextlib.ExitStack() as hooks:
        for layer in layers:
            hooks.enter_context(layer.register_forward_hook(note))
        model(x[:1].clone())
    return calls


def _coarse_map(model: nn.Module, x: Tensor, y: Tensor, layer: nn.Module, number: int) -> Tensor:
    """The feature maps of a call, weighted by their gradients' means (Eq. 1 and 2), (N, 1, …)."""
    seen: list[Tensor] = []

    def keep(_: nn.Module, __: object, features: Tensor) -> Tensor:
        seen.append(features)
        # The net goes on with a copy: what comes next may work in place.
        return features.clone() if len(seen) == number else features

    with torch.enable_grad(), layer.register_forward_hook(keep):
        images = x.detach().requires_grad_()  # for nets whose weights want no gradient
        logits = model(images.clone())
        features = seen[number - 1]
        grads = gradient(logits.gather(1, y[:, None]).sum(), features)
    weights = grads.mean((2, 3), keepdim=True)
    return (weights * features.detach()).sum(1, keepdim=True).relu()


def background_share(maps: Tensor, x: Tensor, *, darker_than: float = DARK) -> Tensor:
    """Share of each map's mass on the background, the pixels whose brightest channel is dark.

    Parameters
    ----------
    maps
        As :func:`grad_cam` gives them, shape (N, H, W).
    x
        The images, shape (N, C, H, W).
    darker_than
        Brightness, in [0, 1].

    Returns
    -------
    torch.Tensor
        Shape (N,), in [0, 1]; NaN for a map without mass.

    Raises
    ------
    ValueError
        There is not one map of an image's size for each image, a map has negative values, as
        signed attributions have, or `darker_than` is out of range.

    Examples
    --------
    >>> image = torch.tensor([[[[0.0, 0.0], [0.5, 1.0]]]])
    >>> background_share(torch.tensor([[[0.1, 0.2], [0.3, 0.4]]]), image)
    tensor([0.3000])
    """
    check_images(x)
    check_maps(maps, (len(x), *x.shape[2:]))
    number(least=0, to=1).check("darker_than", darker_than)
    if not maps.min() >= 0:
        raise ValueError(
            f"The maps reach down to {float(maps.min()):.3g}: a share is one of values from 0 on; "
            "of signed maps take maps.relu() or maps.abs()."
        )
    dark = x.amax(1) < darker_than
    return (maps * dark).sum((1, 2)) / maps.sum((1, 2))
