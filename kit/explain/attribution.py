"""Which pixels speak for a class: integrated gradients (Sundararajan, Taly & Yan, ICML 2017)."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from kit.checks import check_attack, check_maps
from kit.constraints import whole
from kit.gradients import BATCH, frozen, in_batches, outputs


def integrated_gradients(model: nn.Module, x: Tensor, y: Tensor, *, steps: int = 50) -> Tensor:
    """Signed share of each pixel in the logit of a class, against a black image (captum's).

    Parameters
    ----------
    model
        From images to logits; run in evaluation mode.
    x
        Images, shape (N, C, H, W), in [0, 1].
    y
        The class of each image that is asked about, int64, shape (N,).
    steps
        Points on the line from black to the image.

    Returns
    -------
    torch.Tensor
        Shape (N, H, W), summed over channels. An image's sum is its logit less the black image's.

    Raises
    ------
    ValueError
        x and y do not fit together or to the model, or `steps` is below 1.

    Examples
    --------
    >>> import kit
    >>> digits = kit.data.load("digits")
    >>> net, x, y = kit.nets.build("linear", digits.shape), digits.x_test[:5], digits.y_test[:5]
    >>> maps = integrated_gradients(net, x, y)
    >>> risen = (net(x) - net(torch.zeros_like(x))).gather(1, y[:, None])[:, 0]
    >>> torch.allclose(maps.sum((1, 2)), risen, atol=1e-4)
    True
    """
    from captum.attr import IntegratedGradients

    steps = whole(1).check("steps", steps)
    method = IntegratedGradients(functools.partial(outputs, model))

    def attribute(x: Tensor, y: Tensor) -> Tensor:
        maps = method.attribute(x, target=y, n_steps=steps, internal_batch_size=BATCH)
        return maps.sum(1).detach().to(x.dtype)

    with frozen(model), torch.enable_grad():
        check_attack(model, x, y)
        return in_batches(attribute, x, y, copies=steps)


def attribution_distance(a: Tensor, b: Tensor) -> Tensor:
    """Total pixel distance of two attribution maps, each scaled to a total mass of 1.

    The paper (Fig. 3) does not say how it computes its distance; this one is the sum over pixels
    of the absolute difference: 0 for equal maps, 2 for maps that are opposed or apart.

    Parameters
    ----------
    a, b
        Maps, shape (N, H, W).

    Returns
    -------
    torch.Tensor
        Shape (N,), in [0, 2].

    Raises
    ------
    ValueError
        The maps are of different shapes.

    Examples
    --------
    >>> a = torch.tensor([[[1.0, -1.0]]])
    >>> attribution_distance(a, -a)
    tensor([2.])
    """
    check_maps(a)
    check_maps(b, a.shape)
    scaled = [m / m.abs().sum((1, 2), keepdim=True).clamp_min(1e-12) for m in (a, b)]
    return (scaled[0] - scaled[1]).abs().sum((1, 2))
