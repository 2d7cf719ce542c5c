"""Nets: the sizes of the paper, and weights that depend on the seed alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kit import nets


def count(net):
    return sum(parameter.numel() for parameter in net.parameters())


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(("shape", "size"), [((1, 28, 28), 61_706), ((3, 32, 32), 62_006)])
def test_lenet5_has_the_size_of_the_paper(shape, size):
    assert count(nets.build("lenet5", shape)) == size


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 96, 96), (1, 8, 96)])
def test_logits(shape):
    net, x = nets.build("lenet5", shape), torch.rand(3, *shape)
    assert net(x).shape == (3, 10)
    assert net(x[:0]).shape == (0, 10)
    torch.testing.assert_close(torch.cat([net(image[None]) for image in x]), net(x))


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(8, 40), st.integers(8, 40)),
    classes=st.integers(1, 12),
)
def test_every_image_of_8_pixels_or_more(shape, classes):
    net, x = nets.build("lenet5", shape, classes), torch.rand(2, *shape)
    logits = net(x)
    assert logits.shape == (2, classes)
    assert logits.isfinite().all()
    logits.sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_28_pixels_are_padded_to_32():
    small, large = nets.build("lenet5", (1, 28, 28)), nets.build("lenet5", (1, 32, 32))
    x = torch.rand(2, 1, 28, 28)
    padded = torch.nn.functional.pad(x, (2, 2, 2, 2))
    torch.testing.assert_close(small(x), large(padded))


def test_seed_decides_the_weights():
    nets_of = [nets.build("lenet5", (1, 8, 8), seed=seed) for seed in (0, 0, 1)]
    assert same(nets_of[0], nets_of[1])
    assert not same(nets_of[0], nets_of[2])
    torch.manual_seed(5)
    assert same(nets.build("lenet5", (1, 8, 8)), nets_of[0])


@pytest.mark.parametrize("seed", [0, 7])
def test_global_generator_is_left_alone(seed):
    before = torch.get_rng_state()
    nets.build("lenet5", (1, 8, 8), seed=seed)
    assert torch.equal(torch.get_rng_state(), before)


def test_generators_of_gpus_are_left_alone(monkeypatch):
    # Stands in for a GPU: torch.manual_seed seeds them all, and fork_rng restores but those named.
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    monkeypatch.setattr(torch.cuda, "manual_seed", seeded.append)
    nets.build("lenet5", (1, 8, 8))
    assert not seeded


def test_weights_are_fresh_and_trainable():
    net = nets.build("lenet5", (1, 8, 8))
    assert all(p.requires_grad and p.dtype == torch.float32 for p in net.parameters())
    assert not same(net, nets.build("lenet5", (1, 8, 8), seed=3))


@pytest.mark.parametrize("names", [("cat", "dog", "owl"), ["cat", "dog", "owl"]])
def test_classes_by_name(names):
    named = nets.build("lenet5", (1, 8, 8), names)
    assert named(torch.rand(2, 1, 8, 8)).shape == (2, 3)
    assert same(named, nets.build("lenet5", (1, 8, 8), 3))


def test_unknown_name():
    with pytest.raises(ValueError, match="Unknown net 'lenet': use one of lenet5"):
        nets.build("lenet", (1, 28, 28))


@pytest.mark.parametrize("shape", [(1, 7, 7), (1, 7, 28), (3, 28, 7), (1, 0, 0)])
def test_images_too_small(shape):
    with pytest.raises(ValueError, match="at least 8×8"):
        nets.build("lenet5", shape)
