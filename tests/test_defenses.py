"""Filters and adversarial training."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

import kit
from kit import defenses


@pytest.fixture(scope="module")
def digits():
    return kit.data.load("digits", train=400, test=100, size=16)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_agrees_with_pillow(channels):
    x = torch.rand(2, channels, 16, 16, generator=torch.Generator().manual_seed(0))
    ours = defenses.jpeg(x, quality=75)
    for image, result in zip(x, ours, strict=True):
        pixels = (image * 255).round().byte().permute(1, 2, 0).numpy().squeeze()
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=75)
        theirs = np.asarray(Image.open(buffer), float) / 255
        mine = result.permute(1, 2, 0).numpy().squeeze()
        assert np.abs(mine - theirs).mean() < 0.02  # decoders round differently
        assert np.abs(mine - pixels / 255).mean() > 0.02


def test_the_bilateral_filter_smooths_and_keeps_edges():
    noise = 0.02 * torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    step = torch.zeros(1, 1, 16, 16)
    step[..., 8:] = 1
    noisy = (0.1 + 0.8 * step + noise).clamp(0, 1)
    smooth = defenses.bilateral(noisy)
    assert smooth[..., 2:6].std() < 0.7 * noisy[..., 2:6].std()
    assert float((smooth[..., 8] - smooth[..., 7]).mean()) > 0.75


@pytest.mark.parametrize("kind", defenses.FILTERS)
def test_filters_keep_shape_range_and_device(kind):
    x = torch.rand(3, 3, 9, 12)
    out = defenses.filtered(x, kind=kind)
    assert out.shape == x.shape
    assert out.dtype == torch.float32
    assert 0 <= out.min() <= out.max() <= 1


def test_bad_input_is_one_sentence():
    x = torch.rand(1, 2, 8, 8)
    with pytest.raises(ValueError, match="The images have 2 channels"):
        defenses.jpeg(x)
    with pytest.raises(ValueError, match="quality is 0: use 1 to 100"):
        defenses.jpeg(x[:, :1], quality=0)
    with pytest.raises(ValueError, match="Unknown adversarial training 'pgd'"):
        defenses.adversarial_training("pgd", eps=0.1, epochs=2)
    with pytest.raises(ValueError, match=r"^eps is 0: it must be in \(0, 1\]"):
        defenses.adversarial_training("free", eps=0, epochs=2)


def test_free_training_follows_its_algorithm():
    """Two replays by hand: each uses one backward pass for the weights and for the change."""
    torch.manual_seed(0)
    x, y, eps, lr = torch.rand(6, 1, 4, 4), torch.arange(6) % 3, 0.1, 0.5
    nets = [torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3)) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    options = defenses.adversarial_training("free", eps=eps, epochs=2, replays=2)
    kit.training.fit(nets[0], x, y, batch_size=6, optimizer="sgd", lr=lr, seed=3, **options)
    rows = torch.randperm(6, generator=torch.Generator().manual_seed(3))
    change = torch.zeros(6, 1, 4, 4)
    for _ in range(2):
        images = (x[rows] + change).clamp(0, 1).requires_grad_()
        nets[1].zero_grad()
        torch.nn.functional.cross_entropy(nets[1](images), y[rows]).backward()
        with torch.no_grad():
            for p in nets[1].parameters():
                p -= lr * p.grad
        change = (change + eps * images.grad.sign()).clamp(-eps, eps)
    for a, b in zip(*(net.parameters() for net in nets), strict=True):
        torch.testing.assert_close(a, b)


def test_fast_training_stays_in_the_ball(digits):
    net = kit.nets.build("linear", digits.shape)
    fast = defenses.Fast(0.1)
    out = fast(net, digits.x_train[:50], digits.y_train[:50])
    assert float((out - digits.x_train[:50]).abs().max()) <= 0.1 + 1e-6
    assert 0 <= out.min() <= out.max() <= 1
    assert not torch.equal(out, fast(net, digits.x_train[:50], digits.y_train[:50]))


@pytest.mark.parametrize("kind", ["fast", "free"])
def test_adversarial_training_withstands_white_box_pgd(digits, kind):
    accuracies = {}
    for name in ("plain", kind):
        net = kit.nets.build("graynet", digits.shape, seed=1)
        options = {"epochs": 20}
        if name == kind:
            options = defenses.adversarial_training(kind, eps=0.1, epochs=20, replays=4)
        kit.training.fit(net, digits.x_train, digits.y_train, batch_size=32, **options)
        x = kit.attacks.pgd(net, digits.x_test, digits.y_test, eps=0.1, steps=10)
        accuracies[name] = kit.training.accuracy(net, x, digits.y_test)
    assert accuracies[kind] > accuracies["plain"] + 0.1
