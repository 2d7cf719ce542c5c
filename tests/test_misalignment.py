"""The GM loss: its value, its double backward, and what training with it does."""

import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import kit
from kit import misalignment


class Smooth(nn.Module):
    """A tiny net with smooth activations, so that finite differences mean something."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.net = nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.Softplus(), nn.Flatten(), nn.Linear(3 * 4, 3)
        )

    def forward(self, x):
        return self.net(x)


def batch(count=5, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(count, 1, 4, 4, generator=generator, dtype=dtype)
    return x, torch.arange(count) % 3


@pytest.mark.parametrize("variant", misalignment.VARIANTS)
def test_the_double_backward_equals_finite_differences(variant):
    x, y = batch()
    model, reference = Smooth(1).double(), Smooth(2).double()
    units = misalignment.unit(kit.training.input_gradients(reference, x, y)).view(x.shape)
    loss = misalignment.misaligned(units, strength=2.5, variant=variant)
    rows = torch.arange(len(x))

    def value():
        return loss(model, x, y, rows)[0]

    value().backward()
    for parameter in model.parameters():
        flat = parameter.data.view(-1)
        for k in range(0, len(flat), 3):
            before, step = float(flat[k]), 1e-5
            flat[k] = before + step
            above = float(value().detach())
            flat[k] = before - step
            below = float(value().detach())
            flat[k] = before
            numeric = (above - below) / (2 * step)
            assert float(parameter.grad.view(-1)[k]) == pytest.approx(numeric, rel=1e-5, abs=1e-8)


def test_the_loss_is_the_mean_cosine_of_the_gradients():
    x, y = batch()
    model, reference = Smooth(1).double(), Smooth(2).double()
    ours, theirs = (kit.training.input_gradients(m, x, y).flatten(1) for m in (model, reference))
    expected = torch.nn.functional.cosine_similarity(ours, theirs).mean()
    units = misalignment.unit(theirs).view(x.shape)
    assert float(misalignment.gradient_alignment(model, x, y, units).detach()) == pytest.approx(
        float(expected), abs=1e-12
    )
    same = misalignment.unit(ours).view(x.shape)
    assert float(misalignment.gradient_alignment(model, x, y, same).detach()) == pytest.approx(1)


def test_half_precision_units_keep_the_cosine_of_tiny_gradients():
    x, y = batch(dtype=torch.float32)
    model, reference = Smooth(1), Smooth(2)
    with torch.no_grad():
        reference.net[3].weight *= 20  # so sure of some images that raw halves vanish
    raw = kit.training.input_gradients(reference, x, y)
    units = misalignment.reference_gradients(reference, x, y)
    assert units.dtype == torch.float16
    alive = raw.flatten(1).abs().amax(1) > misalignment.SATURATED
    norms = units.float().flatten(1).norm(dim=1)
    torch.testing.assert_close(norms[alive], torch.ones(int(alive.sum())), rtol=2e-3, atol=0)
    exact = misalignment.unit(raw).view(x.shape)
    cosines = [misalignment.cosines(model, x, y, u) for u in (units, exact)]
    torch.testing.assert_close(*cosines, atol=1e-3, rtol=0)


def test_a_saturated_image_contributes_zero_and_no_nan():
    x, y = batch(dtype=torch.float32)
    model = Smooth(1)
    with torch.no_grad():
        for parameter in model.net[3].parameters():
            parameter.zero_()
        model.net[3].bias[0] = 1e4  # class 0 for sure: gradient zero everywhere
    units = misalignment.reference_gradients(Smooth(2), x, y)
    sure = y == 0
    value = misalignment.gradient_alignment(model, x[sure], y[sure], units[sure])
    value.backward()
    assert float(value) == 0
    for parameter in model.parameters():
        assert torch.isfinite(parameter.grad).all()
    blind = torch.zeros_like(x)  # a reference without gradients
    assert float(misalignment.gradient_alignment(Smooth(1), x, y, blind)) == 0


def test_the_variants_reward_what_they_say():
    cosine = torch.tensor([-1.0, 0.0, 0.5])
    combined = {name: float(f(cosine)) for name, f in misalignment.VARIANTS.items()}
    assert combined["cosine"] == pytest.approx(-1 / 6)
    assert combined["absolute"] == pytest.approx(0.5)
    assert combined["logsumexp"] == pytest.approx(np.log(np.exp([-1, 0, 0.5]).mean()))


def test_without_strength_it_is_plain_training():
    data = kit.data.load("digits", train=100, test=20)
    nets = [kit.nets.build("lenet5", data.shape, seed=1) for _ in range(2)]
    units = misalignment.reference_gradients(nets[0], data.x_train, data.y_train)
    for net, loss in zip(nets, (None, misalignment.misaligned(units, strength=0)), strict=True):
        kit.training.fit(net, data.x_train, data.y_train, epochs=1, loss=loss)
    for a, b in zip(*(net.parameters() for net in nets), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": -0.1}, "strength (λ) is -0.1: use a number from 0 on."),
        ({"variant": "sine"}, "Unknown variant 'sine': use one of cosine, absolute, logsumexp."),
    ],
)
def test_bad_options_are_one_sentence(options, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        misalignment.misaligned(torch.zeros(1, 1, 4, 4), **options)


def test_a_reference_with_other_classes_is_refused():
    x, y = batch(dtype=torch.float32)
    with pytest.raises(ValueError, match="The reference net has 3 classes and the net to train 10"):
        misalignment.reference_gradients(Smooth(), x, y, classes=10)


def test_too_few_gradients_are_refused():
    data = kit.data.load("digits", train=100, test=20)
    net = kit.nets.build("linear", data.shape)
    loss = misalignment.misaligned(torch.zeros(99, *data.shape))
    with pytest.raises(ValueError, match=r"^There are reference gradients of 99 images, "):
        kit.training.fit(net, data.x_train, data.y_train, epochs=1, loss=loss)


@pytest.mark.parametrize("raw", [lambda u: 0.5 * u, lambda u: u * torch.nan, torch.ones_like])
def test_gradients_of_another_length_are_refused(raw):
    """Their products with unit vectors would be no cosines."""
    data = kit.data.load("digits", train=30, test=20)
    net, (x, y) = kit.nets.build("linear", data.shape), (data.x_train, data.y_train)
    units = misalignment.reference_gradients(net, x, y)
    units[0] = 0  # an image without a gradient
    for use in (
        lambda grads: misalignment.cosines(net, x, y, grads),
        lambda grads: misalignment.gradient_alignment(net, x, y, grads),
        misalignment.misaligned,
    ):
        use(units)
        use(units.float())
        with pytest.raises(ValueError, match=r"make them unit vectors|use finite numbers"):
            use(raw(units))


@pytest.mark.parametrize("reference", [None, [[0.0]], torch.ones(3), torch.ones(3, 1, 4, 4).int()])
def test_what_is_no_gradient_is_refused(reference):
    with pytest.raises(ValueError, match=r"^The reference's gradients are [^\n]*\.$"):
        misalignment.misaligned(reference)


class Reads(TorchDispatchMode):
    """Counts the numbers that Python reads off a device, each of which makes a GPU wait."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["linear", "hand_b_narrow", "resnet8"])
def test_a_step_never_waits_for_the_device(name):
    x, y, rows = torch.rand(4, 3, 16, 16), torch.arange(4), torch.arange(4)
    net, loss = (
        kit.nets.build(name, (3, 16, 16)).train(),
        misalignment.misaligned(misalignment.unit(torch.ones_like(x)).view(x.shape)),
    )
    with Reads() as reads:
        loss(net, x, y, rows)[0].backward()
    assert reads.count == 0


def test_gradients_of_other_images_are_refused():
    x, y = batch(dtype=torch.float32)
    with pytest.raises(ValueError, match="compute them on the same images"):
        misalignment.gradient_alignment(Smooth(), x, y, torch.zeros(5, 1, 3, 3))


def trained_pair(data, strength, epochs=6):
    """A reference, its test examples, and nets trained with λ = 0 and with GM."""
    reference = kit.nets.build("hand_a_narrow", data.shape, data.classes, seed=0)
    kit.training.fit(reference, data.x_train, data.y_train, epochs=epochs, batch_size=64)
    units = misalignment.reference_gradients(reference, data.x_train, data.y_train)
    nets = []
    for value in (0.0, strength):
        net = kit.nets.build("hand_a_narrow", data.shape, data.classes, seed=1)
        loss = misalignment.misaligned(units, strength=value)
        kit.training.fit(net, data.x_train, data.y_train, epochs=epochs, batch_size=64, loss=loss)
        nets.append(net)
    return reference, nets


def assert_gm_works(data, eps):
    reference, nets = trained_pair(data, strength=1.0)
    x, y = data.x_test, data.y_test
    examples = kit.attacks.pgd(reference, x, y, eps=eps, steps=10)
    held_out = misalignment.reference_gradients(reference, x, y)
    plain, opposed = (float(misalignment.cosines(net, x, y, held_out).mean()) for net in nets)
    assert opposed < plain - 0.3
    accuracies = [kit.training.accuracy(net, examples, y) for net in nets]
    assert accuracies[1] > accuracies[0]
    assert kit.training.accuracy(nets[1], x, y) > 0.8


def test_gm_turns_gradients_and_withstands_the_reference_on_digits():
    assert_gm_works(kit.data.load("digits", train=800, test=200, size=16), eps=0.06)


def test_gm_turns_gradients_and_withstands_the_reference_on_mnist(shared_data):
    mnist = kit.data.load("mnist", shared_data, train=3000, test=500, size=16)
    assert_gm_works(mnist, eps=8 / 255)
