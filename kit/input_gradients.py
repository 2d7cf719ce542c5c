"""Gradients by a net's images, quicker than PyTorch's where a convolution sees few channels.

The gradient of a convolution by what it sees is itself a convolution: of the gradient that arrives,
with the kernels turned round. It has an output channel for each input channel, and images have one,
or three; but a processor computes sixteen at once, so most of it idles. Here the 4×4 or 2×2 pixels
of a square become channels of their own. Each has the same kernel, shifted by the pixel's place in
the square, and the convolution takes steps of a whole square. Then the channels are put back side
by side (`pixel_shuffle`). The numbers are the same but for rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.autograd import Function
from torch.nn import functional
from torch.overrides import TorchFunctionMode

LANES = 16  # channels that a processor computes at once


class QuickInputGradients(TorchFunctionMode):
    """Inside the block, a CPU is quicker with gradients by images of nets whose weights are fixed.

    Examples
    --------
    >>> net = torch.nn.Conv2d(1, 6, 5, padding=2).requires_grad_(False)
    >>> images = torch.rand(2, 1, 28, 28, requires_grad=True)
    >>> usual = torch.autograd.grad(net(images).square().sum(), images)[0]
    >>> with QuickInputGradients():
    ...     quick = torch.autograd.grad(net(images).square().sum(), images)[0]
    >>> torch.allclose(usual, quick, atol=1e-5)
    True
    """

    def __torch_function__(
        self, func: Callable, types: Any, args: Sequence = (), kwargs: dict | None = None
    ) -> Any:
        """Call a function, or what stands in for a convolution."""
        if func is functional.conv2d:
            return _conv2d(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    side = _side(input, weight, stride, padding, dilation, groups)
    if side < 2:
        return functional.conv2d(input, weight, bias, stride, padding, dilation, groups)
    return _Convolution.apply(input, weight, bias, pair(padding), side)


def _side(x, weight, stride, padding, dilation, groups):
    """How many rows and columns to compute at once; 1 where PyTorch's own way is as quick."""
    if not (
        x.requires_grad
        and torch.is_grad_enabled()
        and not weight.requires_grad
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.ndim == 4
        and pair(stride) == pair(dilation) == (1, 1)
        and groups == 1
        and not isinstance(padding, str)
        and all(k > 1 and p < k for k, p in zip(weight.shape[2:], pair(padding), strict=True))
    ):
        return 1
    fits = (
        s for s in (4, 2) if s * s * x.shape[1] <= LANES and not any(n % s for n in x.shape[2:])
    )
    return next(fits, 1)


def pair(value: int | Sequence[int]) -> tuple[int, ...]:
    """An option of a convolution for rows and columns, as PyTorch reads it."""
    return (value, value) if isinstance(value, int) else tuple(value) * (2 // len(value))


class _Convolution(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x, weight, bias, padding, side):
        return functional.conv2d(x, weight, bias, padding=padding)

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, weight, _, ctx.padding, ctx.side = inputs
        ctx.save_for_backward(weight)

    @staticmethod
    def backward(ctx, g):
        (weight,) = ctx.saved_tensors
        padding = [k - 1 - p for k, p in zip(weight.shape[2:], ctx.padding, strict=True)]
        parts = functional.conv2d(g, _shifted(weight, ctx.side), stride=ctx.side, padding=padding)
        return functional.pixel_shuffle(parts, ctx.side), *[None] * 4


def _shifted(weight, side):
    """The kernels turned round, once for each place in a square of pixels.

    From shape (outputs, inputs, h, w) to (inputs · side², outputs, h + side − 1, w + side − 1).
    """
    height, width = (k + side - 1 for k in weight.shape[2:])
    wide = functional.pad(weight.flip(2, 3), [side - 1] * 4)
    # Windows into the padded kernel: the last of them has it at its left end.
    places = wide.unfold(2, height, 1).unfold(3, width, 1).flip(2, 3)
    return places.permute(1, 2, 3, 0, 4, 5).reshape(-1, len(weight), height, width)
