"""Gradients by images: PyTorch's own numbers, by larger kernels with longer steps."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import random
from torch import nn
from torch.nn import functional

import kit
from kit.gradients import frozen
from kit.input_gradients import QuickInputGradients


def convolution(inputs=1, outputs=6, kernel=5, padding=2, **options):
    torch.manual_seed(0)
    layer = nn.Conv2d(inputs, outputs, kernel, padding=padding, **options)
    return layer.requires_grad_(False)


def gradients(function, x, quick):
    """The gradient by the images, and whether it was computed the quick way."""
    x = x.clone().requires_grad_()
    with QuickInputGradients() if quick else torch.enable_grad():
        outputs = function(x)
        (found,) = torch.autograd.grad(outputs.tanh().square().sum(), x)
    return found, "_ConvolutionBackward" in str(outputs.grad_fn)


def assert_equal(function, x):
    quick, ours = gradients(function, x, quick=True)
    usual, _ = gradients(function, x, quick=False)
    torch.testing.assert_close(quick, usual, rtol=1e-4, atol=1e-5)
    return ours


KERNEL = st.integers(2, 5)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_convolutions_of_all_kinds(data):
    kernel = data.draw(st.tuples(KERNEL, KERNEL))
    layer = convolution(
        data.draw(st.sampled_from([1, 2, 3, 4])),
        data.draw(st.sampled_from([1, 3, 8])),
        kernel,
        tuple(data.draw(st.integers(0, k - 1)) for k in kernel),
        bias=data.draw(st.booleans()),
    )
    sides = data.draw(st.tuples(*[st.sampled_from([6, 8, 12])] * 2))
    layout = data.draw(st.sampled_from([torch.contiguous_format, torch.channels_last]))
    x = random(3, layer.in_channels, *sides).to(memory_format=layout)
    assert assert_equal(layer.to(memory_format=layout), x)


OTHERS = {
    "many channels": (convolution(5, 3), (2, 5, 8, 8)),
    "a step of two": (convolution(stride=2), (2, 1, 8, 8)),
    "dilated": (convolution(dilation=2), (2, 1, 12, 12)),
    "in groups": (convolution(2, 4, groups=2), (2, 2, 8, 8)),
    "padded beyond its kernel": (convolution(kernel=3, padding=3), (2, 1, 8, 8)),
    "padded by name": (convolution(padding="same"), (2, 1, 8, 8)),
    "a kernel of one pixel": (convolution(kernel=1, padding=0), (2, 1, 8, 8)),
    "odd sides": (convolution(), (2, 1, 7, 9)),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_others_are_left_to_pytorch(kind):
    layer, shape = OTHERS[kind]
    assert not assert_equal(layer, random(*shape))


def test_double_precision_is_left_to_pytorch():
    assert not assert_equal(convolution().double(), random(2, 1, 8, 8, dtype=torch.float64))


def test_weights_that_are_trained_get_their_gradients():
    layer, x = convolution().requires_grad_(True), random(2, 1, 8, 8).requires_grad_()
    with QuickInputGradients():
        layer(x).square().sum().backward()
    assert layer.weight.grad.abs().sum() > 0


def test_mapped_over_gradients_and_over_images():
    layer, x = convolution(), random(3, 1, 8, 8)
    leaf = x.clone().requires_grad_()
    with QuickInputGradients():
        outputs = layer(leaf).flatten(1)[:, :4]
        rows = torch.eye(4)[:, None].expand(4, 3, 4)
        (quick,) = torch.autograd.grad(outputs, leaf, rows, is_grads_batched=True)
        mapped = torch.func.vmap(torch.func.grad(lambda image: layer(image[None]).sum()))(x)
    usual = [torch.autograd.grad(layer(leaf).flatten(1)[:, k].sum(), leaf)[0] for k in range(4)]
    torch.testing.assert_close(quick, torch.stack(usual))
    torch.testing.assert_close(mapped, gradients_of_sum(layer, x))


def gradients_of_sum(layer, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(layer(x).sum(), x)[0]


def test_the_gradient_can_be_differentiated():
    layer, found = convolution(), []
    for quick in (True, False):
        x = random(2, 1, 8, 8).requires_grad_()
        with QuickInputGradients() if quick else torch.enable_grad():
            value = layer(x).tanh().square().sum()
            (grads,) = torch.autograd.grad(value, x, create_graph=True)
            found.append(torch.autograd.grad(grads.square().sum(), x)[0])
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


def test_attacks_compute_with_them(monkeypatch):
    calls = []
    shuffle = functional.pixel_shuffle
    monkeypatch.setattr(functional, "pixel_shuffle", lambda *a: calls.append(a) or shuffle(*a))
    net, x = kit.nets.build("lenet5", (1, 28, 28)), random(4, 1, 28, 28)
    with frozen(net):
        kit.gradients.loss_gradient(net, x, torch.arange(4))
    assert calls
