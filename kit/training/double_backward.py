"""Gradients of input gradients by the weights ("double backward"), as cheap as they can be.

A loss on a net's input gradients, as the GM loss is, is differentiated by the weights through the
backward pass that computed them. With the forward pass and the backward passes of both, that is
twice the arithmetic of a plain step; PyTorch's own double backward takes five to seven times a
plain step. It computes a convolution's part by a convolution with kernels as large as images, batch
norm's by some seventy operations, and adds zeros for what ReLU and pooling do not change, and for
what a part of a concatenation leaves out.

:class:`DoubleBackward` puts operations in place of these five that compute the same numbers but for
rounding. For each, g is the gradient that arrives from behind, and v the one that arrives for the
input gradient when that is differentiated itself:

- *Convolution.* The input gradient is the transposed convolution of g, linear in g and in the
  kernels; PyTorch differentiates a transposed convolution as it does any layer.
- *Batch norm* has a closed form, in :class:`_BatchNormGradient`.
- *ReLU and pooling* are linear piece by piece: the slope does not change with the input, so
  nothing is added for it.
- *Concatenation.* Its gradient is g cut into parts; that of the cutting is v's parts, concatenated.

Every other operation, and every case in which this would not be certain, is left to PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from kit.input_gradients import pair

aten = torch.ops.aten


class DoubleBackward(TorchFunctionMode):
    """Inside the block, the images' gradients are cheap to differentiate by the weights.

    Nets stay as they are: it is the functions of :mod:`torch.nn.functional` that are replaced.

    Parameters
    ----------
    images
        The leaf that gradients are taken of.

    Examples
    --------
    >>> net, images = nn.Conv2d(1, 2, 3), torch.rand(5, 1, 8, 8, requires_grad=True)
    >>> with DoubleBackward(images):
    ...     (grads,) = torch.autograd.grad(net(images).square().sum(), images, create_graph=True)
    >>> grads.square().sum().backward()
    >>> net.weight.grad.shape
    torch.Size([2, 1, 3, 3])
    """

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.images = images
        self.images_alone = False  # whether a backward pass runs that wants no weight's gradient

    def __torch_function__(
        self, func: Callable, types: Any, args: Sequence = (), kwargs: dict | None = None
    ) -> Any:
        """Call a function, or what stands in for it."""
        kwargs, result = kwargs or {}, NotImplemented
        if func in _RULES:
            result = _RULES[func](self, *args, **kwargs)
        return func(*args, **kwargs) if result is NotImplemented else result

    def certain(self, x: Tensor, *weights: Tensor | None) -> bool:
        """Whether numbers are kept as usual, and the weights cannot depend on the images."""
        given = [weight for weight in weights if weight is not None]
        return (
            x.dtype in (torch.float32, torch.float64)
            and not torch.is_autocast_enabled(x.device.type)
            and all(_plain(t) and t.dtype == x.dtype for t in (x, *given))
            and all(weight.is_leaf and weight is not self.images for weight in given)
        )


def _plain(tensor):
    kind = type(tensor)  # one that has functions of its own is PyTorch's
    usual = kind is Tensor or kind.__torch_function__ is nn.Parameter.__torch_function__
    return usual and tensor.layout == torch.strided


class _Convolution(Function):
    @staticmethod
    def forward(ctx, mode, x, weight, bias, stride, padding, dilation, groups):
        ctx.save_for_backward(x, weight)
        ctx.mode, ctx.options = mode, (stride, padding, dilation, groups)
        ctx.bias = None if bias is None else bias.shape
        return functional.conv2d(x, weight, bias, *ctx.options)

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.options
        if ctx.mode.images_alone:
            sides = zip(x.shape[2:], weight.shape[2:], *ctx.options[:3], strict=True)
            # Rows and columns at the end that no kernel reached.
            left = [(side + 2 * p - d * (k - 1) - 1) % s for side, k, s, p, d in sides]
            gradient = functional.conv_transpose2d(
                g, weight, None, stride, padding, left, groups, dilation
            )
            return None, gradient, *[None] * 6
        gradients = aten.convolution_backward(
            g,
            x,
            weight,
            ctx.bias,
            stride,
            padding,
            dilation,
            False,
            [0, 0],
            groups,
            ctx.needs_input_grad[1:4],
        )
        return None, *gradients, *[None] * 4


class _BatchNorm(Function):
    """By the statistics of the batch."""

    @staticmethod
    def forward(ctx, mode, x, running_mean, running_var, weight, bias, momentum, eps):
        y, mean, r = aten.native_batch_norm(
            x, weight, bias, running_mean, running_var, True, momentum, eps
        )
        ctx.save_for_backward(x, weight, mean, r)
        ctx.mode, ctx.eps = mode, eps
        return y

    @staticmethod
    def backward(ctx, g):
        x, weight, mean, r = ctx.saved_tensors
        if ctx.mode.images_alone:
            return None, _BatchNormGradient.apply(g, x, weight, mean, r, ctx.eps), *[None] * 6
        wanted = [ctx.needs_input_grad[k] for k in (1, 4, 5)]
        of_x, of_weight, of_bias = _batch_norm_backward(g, x, weight, mean, r, ctx.eps, wanted)
        return None, of_x, None, None, of_weight, of_bias, None, None


class _BatchNormGradient(Function):
    """The input gradient B(g) = γr (g − mean(g) − x̂·mean(g x̂)), with x̂ = r (x − mean(x)).

    Means and sums Σ are over the n values of a channel, r is one over their standard deviation.
    B is its own transpose: what arrives for it as v passes on to g as B(v). With S = Σ v·B(g),
    γ gets S/γ, and x, on which x̂ and r depend, −r/n (Σ(g x̂)·B(v) + Σ(v x̂)·B(g) + S x̂).
    """

    @staticmethod
    def forward(ctx, g, x, weight, mean, r, eps):
        result, g_x, g_sum = _batch_norm_backward(g, x, weight, mean, r, eps)
        ctx.save_for_backward(g, x, weight, mean, r, result, g_x, g_sum)
        ctx.eps = eps
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx, v):
        g, x, weight, mean, r, result, g_x, g_sum = ctx.saved_tensors
        n = x.numel() // len(mean)
        of_g, v_x, _ = _batch_norm_backward(v, x, weight, mean, r, ctx.eps)
        # The same kernel sums r·v·(g − mean(g)), given g for x; so that γ may be 0, S comes after.
        only_weight = False, True, False
        of_weight = _batch_norm_backward(v, g, weight, g_sum / n, r, ctx.eps, only_weight)[1]
        of_weight = torch.addcmul(of_weight, g_x, r * v_x, value=-1 / n)
        s_r = weight * of_weight * r
        factors = torch.stack([g_x, v_x, s_r, s_r * mean]) * (r / n)
        a, b, c, d = factors.view(4, 1, -1, *[1] * (x.ndim - 2))
        of_x = torch.addcmul(d, c, x, value=-1)
        of_x.addcmul_(a, of_g, value=-1).addcmul_(b, result, value=-1)
        return of_g, of_x, of_weight, None, None, None


def _batch_norm_backward(g, x, weight, mean, r, eps, wanted=(True, True, True)):
    """Gradients of x, γ and β: B(g), Σ g x̂ and Σ g."""
    return aten.native_batch_norm_backward(g, x, weight, None, None, mean, r, True, eps, wanted)


class _PiecewiseLinear(Function):
    """`forward(x)` returns y and what ``backward(g, …)`` needs of x to compute x's gradient."""

    @staticmethod
    def forward(ctx, forward, backward, x):
        y, *kept = forward(x)
        if y is x:
            ctx.mark_dirty(x)
        ctx.save_for_backward(*kept)
        ctx.slope = backward
        return y

    @staticmethod
    def backward(ctx, g):
        return None, None, ctx.slope(g, *(tensor.detach() for tensor in ctx.saved_tensors))


class _Concatenation(Function):
    @staticmethod
    def forward(ctx, dim, *tensors):
        ctx.dim, ctx.sizes = dim, [tensor.shape[dim] for tensor in tensors]
        return torch.cat(tensors, dim)

    @staticmethod
    def backward(ctx, g):
        return None, *_Parts.apply(g, ctx.dim, ctx.sizes)


class _Parts(Function):
    @staticmethod
    def forward(ctx, g, dim, sizes):
        ctx.dim = dim
        return g.split(sizes, dim)

    @staticmethod
    def backward(ctx, *parts):
        return torch.cat(parts, ctx.dim), None, None


# What stands in for a function takes the same arguments, and returns NotImplemented for a case that
# is PyTorch's.


def _grad(mode, outputs, inputs, **options):
    if any(tensor is not mode.images for tensor in inputs):
        return NotImplemented
    mode.images_alone = True
    try:
        return torch.autograd.grad(outputs, inputs, **options)
    finally:
        mode.images_alone = False


def _conv2d(mode, input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    if input.ndim != 4 or isinstance(padding, str) or not mode.certain(input, weight, bias):
        return NotImplemented
    options = (pair(stride), pair(padding), pair(dilation), groups)
    return _Convolution.apply(mode, input, weight, bias, *options)


def _batch_norm(
    mode,
    input,
    running_mean,
    running_var,
    weight=None,
    bias=None,
    training=False,
    momentum=0.1,
    eps=1e-5,
):
    several = input.ndim > 1 and input.numel() > input.shape[1]  # values per channel
    if not training or not several or not mode.certain(input, weight, bias):
        return NotImplemented
    if weight is None:
        weight = input.new_ones(input.shape[1])
    return _BatchNorm.apply(mode, input, running_mean, running_var, weight, bias, momentum, eps)


def _relu(mode, input, inplace=False):
    overwrites = inplace and (input.is_leaf or input._base is not None)
    if overwrites or not mode.certain(input):
        return NotImplemented

    def forward(x):
        y = x.relu_() if inplace else x.relu()
        return y, y

    return _PiecewiseLinear.apply(forward, lambda g, y: aten.threshold_backward(g, y, 0), input)


def _max_pool2d(
    mode,
    input,
    kernel_size,
    stride=None,
    padding=0,
    dilation=1,
    ceil_mode=False,
    return_indices=False,
):
    if return_indices or not mode.certain(input):
        return NotImplemented
    options = kernel_size, [] if stride is None else stride, padding, dilation, ceil_mode

    def forward(x):
        y, places = aten.max_pool2d_with_indices(x, *options)
        return y, x, places

    def backward(g, x, places):
        return aten.max_pool2d_with_indices_backward(g, x, *options, places)

    return _PiecewiseLinear.apply(forward, backward, input)


def _avg_pool2d(
    mode,
    input,
    kernel_size,
    stride=None,
    padding=0,
    ceil_mode=False,
    count_include_pad=True,
    divisor_override=None,
):
    if not mode.certain(input):
        return NotImplemented
    options = (
        kernel_size,
        [] if stride is None else stride,
        padding,
        ceil_mode,
        count_include_pad,
        divisor_override,
    )
    return _PiecewiseLinear.apply(
        lambda x: (aten.avg_pool2d(x, *options), x),
        lambda g, x: aten.avg_pool2d_backward(g, x, *options),
        input,
    )


def _adaptive_avg_pool2d(mode, input, output_size):
    if not mode.certain(input):
        return NotImplemented
    return _PiecewiseLinear.apply(
        lambda x: (functional.adaptive_avg_pool2d(x, output_size), x),
        aten._adaptive_avg_pool2d_backward,
        input,
    )


def _cat(mode, tensors, dim=0, *, out=None):
    if out is not None or not all(mode.certain(tensor) for tensor in tensors):
        return NotImplemented
    return _Concatenation.apply(dim, *tensors)


_RULES: dict[Callable, Callable] = {
    torch.autograd.grad: _grad,
    functional.conv2d: _conv2d,
    functional.batch_norm: _batch_norm,
    functional.relu: _relu,
    torch.relu: _relu,
    Tensor.relu: _relu,
    functional.max_pool2d: _max_pool2d,
    functional.avg_pool2d: _avg_pool2d,
    functional.adaptive_avg_pool2d: _adaptive_avg_pool2d,
    torch.cat: _cat,
}
