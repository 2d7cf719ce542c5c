"""Grad-CAM: what speaks for a class, and how much of it lies on the background."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from kit.gradients import BATCH
from kit.nets import eval_mode

DARK = 0.1  # brightness below which a pixel is background


def grad_cam(model: nn.Module, x: Tensor, y: Tensor, *, layer: nn.Module | None = None) -> Tensor:
    """Grad-CAM of a class (Selvaraju et al., ICCV 2017), computed by captum.

    Parameters
    ----------
    model
        From images to logits; is run in evaluation mode and left in the mode it came in.
    x
        Images, shape (N, C, H, W), in [0, 1].
    y
        The class that each map is about, shape (N,).
    layer
        By default the activation after the model's last convolution, or this convolution where no
        ReLU comes after it. (Before a ReLU, maps also hold what the net never sees.)

    Returns
    -------
    torch.Tensor
        Shape (N, H, W), not negative, bilinearly resized to the images. Each map sums to 1, so
        that maps of different nets can be compared; to 0 where nothing speaks for the class.

    Raises
    ------
    ValueError
        The model has no convolution, or x and y do not fit together.

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
    from captum.attr import LayerGradCam  # heavy, and seldom needed

    if len(x) != len(y) or not len(x):
        raise ValueError(f"{len(x)} images and {len(y)} labels: give one label for each image.")
    method = LayerGradCam(model, layer or _last_activation(model))
    batches = []
    with eval_mode(model), torch.enable_grad():
        for images, labels in zip(x.split(BATCH), y.split(BATCH), strict=True):
            coarse = method.attribute(images, labels, relu_attributions=True).detach()
            batches.append(functional.interpolate(coarse, x.shape[2:], mode="bilinear")[:, 0])
    maps = torch.cat(batches)
    mass = maps.sum((1, 2), keepdim=True)
    return torch.where(mass > 0, maps / mass, 0.0)


def _last_activation(model: nn.Module) -> nn.Module:
    """The first ReLU after the last convolution, or else this convolution."""
    modules = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.ReLU, nn.Flatten))]
    places = [i for i, module in enumerate(modules) if isinstance(module, nn.Conv2d)]
    if not places:
        raise ValueError("The model has no convolution: name the layer to look at.")
    after = modules[places[-1] + 1 : places[-1] + 2]
    return after[0] if after and isinstance(after[0], nn.ReLU) else modules[places[-1]]


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

    Examples
    --------
    >>> image = torch.tensor([[[[0.0, 0.0], [0.5, 1.0]]]])
    >>> background_share(torch.tensor([[[0.1, 0.2], [0.3, 0.4]]]), image)
    tensor([0.3000])
    """
    dark = x.amax(1) < darker_than
    return (maps * dark).sum((1, 2)) / maps.sum((1, 2))
