"""What a net looks at (Grad-CAM), and the loss around its weights."""

import copy
import math

import torch
from torch import nn
from torch.nn.functional import cross_entropy, interpolate

from kit import training
from kit.nets import evaluating

BATCH = 500  # images at once


def grad_cam(model, x, y, *, layer=None):
    """Grad-CAM of a class (Selvaraju et al., ICCV 2017), computed by captum.

    Parameters
    ----------
    model : torch.nn.Module
        From images to logits; is run in evaluation mode and left in the mode it came in.
    x : torch.Tensor
        Images, shape (N, C, H, W), in [0, 1].
    y : torch.Tensor
        The class that each map is about, shape (N,).
    layer : torch.nn.Module, optional
        By default the model's last convolution.

    Returns
    -------
    torch.Tensor
        Shape (N, H, W), not negative, bilinearly resized to the images. Each map sums to 1, so
        that maps of different nets can be compared; to 0 where nothing speaks for the class.

    Raises
    ------
    ValueError
        The model has no convolution, or x and y do not fit together.
    """
    from captum.attr import LayerGradCam  # heavy, and seldom needed

    convolutions = [part for part in model.modules() if isinstance(part, nn.Conv2d)]
    if layer is None and not convolutions:
        raise ValueError("The model has no convolution: name the layer to look at.")
    if len(x) != len(y) or not len(x):
        raise ValueError(f"{len(x)} images and {len(y)} labels: give one label for each image.")
    method = LayerGradCam(model, layer or convolutions[-1])
    maps = []
    with evaluating(model), torch.enable_grad():
        for images, labels in zip(x.split(BATCH), y.split(BATCH), strict=True):
            found = method.attribute(images, labels, relu_attributions=True).detach()
            maps.append(interpolate(found, x.shape[2:], mode="bilinear")[:, 0])
    maps = torch.cat(maps)
    mass = maps.sum((1, 2), keepdim=True)
    return torch.where(mass > 0, maps / mass, 0.0)


def background_share(maps, x, *, darker_than=0.1):
    """Share of each map's mass on the background, the pixels whose brightest channel is dark.

    Parameters
    ----------
    maps : torch.Tensor
        As :func:`grad_cam` gives them, shape (N, H, W).
    x : torch.Tensor
        The images, shape (N, C, H, W).
    darker_than : float

    Returns
    -------
    torch.Tensor
        Shape (N,), in [0, 1]; NaN for a map without mass.
    """
    dark = x.amax(1) < darker_than
    return (maps * dark).sum((1, 2)) / maps.sum((1, 2))


def blend(start, end, alpha, x=None):
    """The net α · end + (1 − α) · start between, or beyond, two nets of one architecture.

    Parameters
    ----------
    start, end : torch.nn.Module
        The nets at α = 0 and α = 1; both are left as they are.
    alpha : float
        Any number; outside [0, 1] the line goes on.
    x : torch.Tensor, optional
        Images, shape (N, C, H, W), on which the statistics of batch norms (where there are any) are
        estimated anew: those of the two nets do not belong to the weights between them.

    Returns
    -------
    torch.nn.Module
        A new net, in evaluation mode.

    Raises
    ------
    ValueError
        The nets are of different architectures.
    """
    sizes = [[weight.shape for weight in net.parameters()] for net in (start, end)]
    if sizes[0] != sizes[1]:
        raise ValueError("The two nets have weights of different shapes: use one architecture.")
    middle = copy.deepcopy(end).eval()
    with torch.no_grad():
        triples = zip(middle.parameters(), start.parameters(), end.parameters(), strict=True)
        for weight, a, b in triples:
            weight.copy_(alpha * b + (1 - alpha) * a)
    if x is not None:
        estimate_statistics(middle, x)
    return middle


@torch.no_grad()
def estimate_statistics(model, x):
    """Estimate the running statistics of a model's batch norms anew, in place, on images `x`.

    They become the average over batches of up to 500 images; nothing else changes.
    """
    norms = [part for part in model.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over the batches
        norm.train()
    for batch in x.tensor_split(-(-len(x) // BATCH)):  # about equal: none of a single image
        model(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def sharpness(model, x, y, *, radius=0.01, steps=10):
    """Largest loss increase within a ball around the weights, found by gradient ascent.

    Maximises CE over ‖Δw‖₂ ≤ radius · ‖w‖₂, w all weights together, in `steps` normalised gradient
    steps of a quarter of the radius, each brought back into the ball. A maximum found so is a
    lower bound.

    Parameters
    ----------
    model : torch.nn.Module
        Is run in evaluation mode and left as it came.
    x : torch.Tensor
        Images, shape (N, C, H, W).
    y : torch.Tensor
        Labels, shape (N,).
    radius : float
        Relative to the norm of the weights, positive.
    steps : int

    Returns
    -------
    float
        Not negative.

    Raises
    ------
    ValueError
        An option is out of range.
    """
    if not 0 < radius < math.inf or steps < 1:
        raise ValueError(f"radius is {radius} and steps {steps}: use a positive number and 1 up.")
    moved = copy.deepcopy(model).eval().requires_grad_()
    weights = list(moved.parameters())
    centre = [weight.detach().clone() for weight in weights]
    reach = radius * _norm(centre)
    base = highest = training.evaluate(moved, x, y)[0]
    for _ in range(steps):
        gradients = _loss_gradients(moved, x, y)
        length = _norm(gradients)
        if not length > 0:
            break
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                weight += reach / 4 / length * gradient
            offsets = [weight - middle for weight, middle in zip(weights, centre, strict=True)]
            shrink = (reach / _norm(offsets)).clamp_max(1)
            for weight, middle, offset in zip(weights, centre, offsets, strict=True):
                weight.copy_(middle + shrink * offset)
        highest = max(highest, training.evaluate(moved, x, y)[0])
    return highest - base


def _loss_gradients(model, x, y):
    """Gradients of the mean loss with respect to the weights."""
    totals = None
    with torch.enable_grad():
        for images, labels in zip(x.split(BATCH), y.split(BATCH), strict=True):
            loss = cross_entropy(model(images), labels, reduction="sum") / len(x)
            found = torch.autograd.grad(loss, list(model.parameters()))
            totals = (
                found if totals is None else [a + b for a, b in zip(totals, found, strict=True)]
            )
    return totals


def _norm(tensors):
    return torch.stack([tensor.norm() for tensor in tensors]).norm()
