"""Robustness metrics: by definition, against brute force, on models whose answer is known."""

import copy
import importlib
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import Deaf, Diverged, Linear, random
from torch import nn

from kit import attacks, checks, data, gradients, nets, robustness, training
from kit.attacks.noise import uniform_ball

# In the package the function's name hides that of its module.
clever_module = importlib.import_module("kit.robustness.clever")


def constants(*bias):
    """A constant model with a graph, and one without."""
    return Linear(torch.zeros(len(bias), 16), torch.tensor(bias)), Deaf(*bias)


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module")
def net(digits):
    net = nets.build("lenet5", digits.shape)
    training.fit(net, digits.x_train, digits.y_train, epochs=6, batch_size=32, lr=3e-3)
    return net


@pytest.fixture(scope="module")
def exact(net):
    """The same net in float64: rounding differs between batches."""
    return copy.deepcopy(net).double()


@pytest.fixture(scope="module")
def correct(digits, net):
    right = training.predict(net, digits.x_test) == digits.y_test
    return digits.x_test[right][:100], digits.y_test[right][:100]


@pytest.fixture(scope="module")
def peer(net, digits):
    """The same net for the Adversarial Robustness Toolbox."""
    pytest.importorskip("art", reason="the Adversarial Robustness Toolbox is only for comparison")
    from art.estimators.classification import PyTorchClassifier

    return PyTorchClassifier(
        net,
        loss=nn.CrossEntropyLoss(),
        input_shape=digits.shape,
        nb_classes=10,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )


# --- norms of a change ---


@settings(deadline=None, max_examples=80)
@given(
    shape=st.tuples(*(st.integers(1, 4) for _ in range(4))),
    channel=st.none() | st.integers(0, 3),
    share=st.floats(0, 1),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 10_000),
)
def test_norms_by_brute_force(shape, channel, share, dtype, seed):
    x, x_adv = random(*shape, seed=seed, dtype=dtype), random(*shape, seed=seed + 1, dtype=dtype)
    x_adv = torch.where(random(*shape, seed=seed + 2) < share, x_adv, x)
    if channel is not None and channel >= shape[1]:
        with pytest.raises(ValueError, match=f"channel is {channel}: use a number from 0 to"):
            robustness.perturbation_norms(x, x_adv, channel=channel)
        return
    result = robustness.perturbation_norms(x, x_adv, channel=channel)
    assert set(result) == {"l0", "l2", "linf"}
    for n in range(shape[0]):
        changed, squares, largest = set(), 0.0, 0.0
        for c in range(shape[1]) if channel is None else [channel]:
            for h in range(shape[2]):
                for w in range(shape[3]):
                    change = float(x_adv[n, c, h, w]) - float(x[n, c, h, w])
                    squares, largest = squares + change**2, max(largest, abs(change))
                    changed |= {(h, w)} if change else set()
        assert int(result["l0"][n]) == len(changed)
        assert float(result["l2"][n]) == pytest.approx(math.sqrt(squares), rel=1e-5, abs=1e-7)
        assert float(result["linf"][n]) == pytest.approx(largest, rel=1e-5, abs=1e-7)


def test_norms_of_large_images_as_numpy():
    x, x_adv = random(5, 3, 32, 32), random(5, 3, 32, 32, seed=1)
    x_adv[:, :, :16] = x[:, :, :16]
    for channel in None, 2:
        change = (x_adv - x).numpy()[:, slice(None) if channel is None else [channel]]
        result = robustness.perturbation_norms(x, x_adv, channel=channel)
        flat = change.reshape(5, -1)
        np.testing.assert_allclose(result["l2"], np.linalg.norm(flat, axis=1), rtol=1e-5)
        np.testing.assert_allclose(result["linf"], np.abs(flat).max(1), rtol=1e-6)
        np.testing.assert_array_equal(result["l0"], (change != 0).any(1).sum((1, 2)))


def test_l0_counts_pixels_not_values():
    x, x_adv = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    x_adv[0, :, 1, 1] = 0.5  # one pixel in all channels
    x_adv[1, 0, 0, 0] = x_adv[1, 1, 2, 2] = 0.5  # two pixels in one channel each
    assert robustness.perturbation_norms(x, x_adv)["l0"].tolist() == [1, 2]
    assert robustness.perturbation_norms(x, x_adv, channel=1)["l0"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("shape", "other"),
    [((2, 1, 4, 4), (2, 1, 4, 5)), ((2, 1, 4, 4), (1, 1, 4, 4)), ((4, 4), (4, 4))],
)
def test_norms_refuse_other_shapes(shape, other):
    with pytest.raises(ValueError, match=r"^The images (have the shapes|are) .*\(N, C, H, W\)"):
        robustness.perturbation_norms(torch.zeros(shape), torch.zeros(other))


@pytest.mark.parametrize("channel", [-1, 3])
def test_norms_refuse_other_channels(channel):
    x = torch.zeros(2, 3, 4, 4)
    with pytest.raises(ValueError, match=f"channel is {channel}: use a number from 0 to 2"):
        robustness.perturbation_norms(x, x, channel=channel)


# --- rates ---


def step_model():
    """Class 1 where the only pixel exceeds 0.5."""
    return Linear(torch.tensor([[0.0], [1.0]]), torch.tensor([0.5, 0.0]))


def pixels(*values):
    return torch.tensor(values).view(-1, 1, 1, 1)


def test_rates():
    model, x, x_adv = step_model(), pixels(0.1, 0.2, 0.8, 0.9), pixels(0.9, 0.3, 0.1, 0.7)
    y = torch.tensor([0, 0, 0, 1])
    assert robustness.attack_success_rate(model, x, y) == 0.25
    assert robustness.attack_success_rate(model, x_adv, y) == 0.25
    assert robustness.attack_success_rate(model, x_adv, 1 - y) == 0.75
    assert robustness.fooling_rate(model, x, x_adv) == 0.5
    assert robustness.fooling_rate(model, x_adv, x) == 0.5
    assert robustness.fooling_rate(model, x, x) == 0


def test_success_rate_is_one_minus_accuracy(net, digits, monkeypatch):
    x, y = digits.x_test[:70], digits.y_test[:70]
    x_adv = attacks.fgsm(net, x, y, eps=0.1)
    result = [robustness.attack_success_rate(net, x_adv, y), robustness.fooling_rate(net, x, x_adv)]
    assert result[0] == pytest.approx(1 - training.accuracy(net, x_adv, y))
    changed = training.predict(net, x) != training.predict(net, x_adv)
    assert result[1] == pytest.approx(changed.float().mean().item())
    assert 0.1 < result[1] < 0.99
    monkeypatch.setattr(gradients, "BATCH", 30)
    assert result[0] == robustness.attack_success_rate(net, x_adv, y)
    assert result[1] == robustness.fooling_rate(net, x, x_adv)


def test_rates_of_nothing(net, digits):
    x, y = digits.x_test[:0], digits.y_test[:0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert math.isnan(robustness.attack_success_rate(net, x, y))
        assert math.isnan(robustness.fooling_rate(net, x, x))


BAD_PIXELS = [-0.01, 1.01, 255.0, float("nan")]


@pytest.mark.parametrize("value", BAD_PIXELS)
def test_rates_refuse_other_pixels(value):
    model, good, bad = step_model(), pixels(0.5, 0.5), pixels(0.5, value)
    for call in (
        lambda: robustness.attack_success_rate(model, bad, torch.tensor([0, 1])),
        lambda: robustness.fooling_rate(model, bad, good),
        lambda: robustness.fooling_rate(model, good, bad),
    ):
        with pytest.raises(ValueError, match=r"pixels reach from .* must lie in \[0, 1\]"):
            call()


def test_rates_refuse_what_does_not_fit():
    model, x = step_model(), pixels(0.1, 0.2, 0.3)
    with pytest.raises(ValueError, match="3 images and 2 labels"):
        robustness.attack_success_rate(model, x, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="0 images and 2 labels"):
        robustness.attack_success_rate(model, x[:0], torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="labels reach from 0 to 2"):
        robustness.attack_success_rate(model, x, torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match="both must be the same"):
        robustness.fooling_rate(model, x, x[:2])


# --- loss sensitivity ---


def test_loss_sensitivity_does_not_depend_on_the_number_of_images(exact, digits, monkeypatch):
    x, y = digits.x_test[:20].double(), digits.y_test[:20]
    alone = [
        robustness.loss_sensitivity(exact, *p) for p in zip(x.split(1), y.split(1), strict=True)
    ]
    for image, label, expected in list(zip(x, y, alone, strict=True))[:3]:
        for count in 10, 200:
            copies = image.expand(count, *image.shape), label.expand(count)
            assert robustness.loss_sensitivity(exact, *copies) == pytest.approx(expected, rel=1e-9)
    assert robustness.loss_sensitivity(exact, x, y) == pytest.approx(np.mean(alone), rel=1e-9)
    monkeypatch.setattr(gradients, "BATCH", 7)
    assert robustness.loss_sensitivity(exact, x, y) == pytest.approx(np.mean(alone), rel=1e-9)


def test_loss_sensitivity_as_art(net, digits, peer):
    from art.metrics import loss_sensitivity

    for n in range(10):
        x, y = digits.x_test[n : n + 1], digits.y_test[n : n + 1]
        one_hot = nn.functional.one_hot(y, 10).numpy()
        theirs = loss_sensitivity(peer, x.numpy(), one_hot)
        assert robustness.loss_sensitivity(net, x, y) == pytest.approx(float(theirs), rel=1e-5)


@pytest.mark.parametrize("scale", [0.01, 1, 5])
def test_loss_sensitivity_of_a_linear_model(scale):
    weight = torch.randn(4, 16, generator=torch.Generator().manual_seed(0)).double()
    model = Linear(scale * weight, torch.zeros(4).double())
    x, y = random(30, 1, 4, 4, dtype=torch.float64), torch.arange(30) % 4
    share = model(x).detach().softmax(1) - nn.functional.one_hot(y, 4)
    expected = scale * (share @ weight).norm(dim=1).mean()
    assert robustness.loss_sensitivity(model, x, y) == pytest.approx(expected.item(), rel=1e-9)


def test_loss_sensitivity_of_constant_models():
    x, y = random(4, 1, 4, 4), torch.tensor([0, 1, 2, 0])
    for model in constants(1.0, 0.0, -1.0):
        assert robustness.loss_sensitivity(model, x, y) == 0


def test_loss_sensitivity_refuses_bad_input(net, digits):
    x, y = digits.x_test[:3], digits.y_test[:3]
    for images, labels, sentence in (
        (x[:2], y, "2 images and 3 labels"),
        (x[:0], y[:0], "0 images and 0 labels"),
        (x + 1, y, "pixels reach from"),
        (x, y + 10, "labels reach from"),
    ):
        with pytest.raises(ValueError, match=sentence):
            robustness.loss_sensitivity(net, images, labels)


# --- empirical robustness ---


def by_brute_force(model, x, grid):
    """FGSM at every ε on each image alone: the first that changes the prediction, and its size."""
    eps, relative = [], []
    for image in x.split(1):
        label = model(image).argmax(1)
        result = math.nan, math.nan
        for step in grid:
            moved = attacks.fgsm(model, image, label, eps=step)
            if model(moved).argmax(1) != label:
                result = step, float((moved - image).abs().max() / image.max())
                break
        eps.append(result[0]), relative.append(result[1])
    return eps, relative


@pytest.mark.parametrize(("eps_step", "eps_max"), [(0.1, 1.0), (0.02, 0.1), (0.05, 0.05)])
def test_empirical_robustness_by_brute_force(exact, digits, monkeypatch, eps_step, eps_max):
    x = digits.x_test[:60].double()
    grid = np.linspace(eps_step, eps_max, round(eps_max / eps_step)).tolist()
    eps, relative = by_brute_force(exact, x, grid)
    result = robustness.empirical_robustness(
        exact, x, eps_step=eps_step, eps_max=eps_max, details=True
    )
    assert result.value == pytest.approx(np.nanmean(relative), rel=1e-9)
    np.testing.assert_allclose(result.eps, eps, rtol=1e-9)
    assert result.successes == np.isfinite(eps).sum()
    assert 5 < result.successes <= 60
    if eps_max < 1:
        assert result.successes < 60
    monkeypatch.setattr(gradients, "BATCH", 7)
    options = dict(eps_step=eps_step, eps_max=eps_max)
    assert robustness.empirical_robustness(exact, x, **options) == pytest.approx(result.value)


def test_empirical_robustness_tries_every_multiple():
    # One bright pixel shines for class 0; the prediction falls with it below 0.75.
    model = Linear(torch.tensor([[1.0], [0.0]]), torch.tensor([0.0, 0.75]))
    for need, expected in [
        (0.05, 0.1),
        (0.15, 0.2),
        (0.25, 0.3),
        (0.45, 0.5),
        (0.55, 0.6),
        (0.65, 0.7),
        (0.85, 0.9),
        (0.95, 1.0),
    ]:
        model.bias.data[1] = 1 - need
        result = robustness.empirical_robustness(model, pixels(1.0), details=True)
        assert result.eps.item() == pytest.approx(expected)
        assert result.value == pytest.approx(expected)
        assert result.successes == 1


def test_empirical_robustness_measures_the_clipped_change():
    # Class 1 from 0.6 on; the pixel cannot rise by more than what is left up to 1.
    model = Linear(torch.tensor([[0.0], [1.0]]), torch.tensor([0.95, 0.0]))
    result = robustness.empirical_robustness(
        model, pixels(0.8), eps_step=0.5, eps_max=1.0, details=True
    )
    assert result.eps.item() == 0.5
    assert result.value == pytest.approx(0.2 / 0.8, rel=1e-5)


def test_empirical_robustness_of_constant_models():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for model in constants(1.0, 0.0, -1.0):
            result = robustness.empirical_robustness(model, random(4, 1, 4, 4), details=True)
            assert math.isnan(result.value)
            assert result.eps.isnan().all()
            assert result.successes == 0
            assert math.isnan(robustness.empirical_robustness(model, random(4, 1, 4, 4)))


def test_empirical_robustness_leaves_black_images_out():
    model = step_model()
    x = pixels(0.0, 0.25, 0.4)
    result = robustness.empirical_robustness(model, x, details=True)
    assert result.successes == 2
    assert result.value == pytest.approx((0.3 / 0.25 + 0.2 / 0.4) / 2, rel=1e-5)
    assert robustness.empirical_robustness(model, x[1:]) == pytest.approx(result.value)
    assert math.isnan(robustness.empirical_robustness(model, x[:1]))


def test_empirical_robustness_as_art(net, digits, peer):
    from art.metrics import empirical_robustness

    x = digits.x_test[:60]
    # ART adds 0.25 + 0.25 + …, which is exact; 0.1 + 0.1 + 0.1 is not, and misses multiples.
    for eps_max, eps_step in ((1.0, 0.25), (0.3, 0.15)):
        theirs = empirical_robustness(
            peer, x.numpy(), "fgsm", {"eps": eps_max, "eps_step": eps_step}
        )
        ours = robustness.empirical_robustness(net, x, eps_step=eps_step, eps_max=eps_max)
        assert ours == pytest.approx(float(theirs), rel=1e-5)
    by_default = float(empirical_robustness(peer, x.numpy(), "fgsm"))
    assert robustness.empirical_robustness(net, x, eps_max=0.2) == pytest.approx(by_default)
    assert robustness.empirical_robustness(net, x) > 1.01 * by_default  # up to 1.0


@pytest.mark.parametrize(
    ("eps_step", "eps_max"),
    [(0, 1), (-0.1, 1), (0.2, 0.1), (0.1, 1.1), (0.3, 1), (float("nan"), 1), (0.1, float("nan"))],
)
def test_empirical_robustness_refuses_bad_grids(net, digits, eps_step, eps_max):
    with pytest.raises(ValueError, match=f"eps_step is {eps_step}|eps_max is {eps_max}"):
        robustness.empirical_robustness(net, digits.x_test[:2], eps_step=eps_step, eps_max=eps_max)


# --- CLEVER ---


SMALL = dict(batches=4, batch_size=10)


def inner_linear(scale, norm):
    """A linear model, images in the middle of the box, and their distances to the boundary."""
    generator = torch.Generator().manual_seed(1)
    weight = scale * torch.randn(4, 16, generator=generator)
    model = Linear(weight, -weight.sum(1) / 2)
    x = 0.3 + 0.4 * torch.rand(8, 1, 4, 4, generator=generator)
    logits = model(x).detach()
    y = logits.argmax(1)
    steep = (weight[y][:, None] - weight).norm({"l2": 2, "linf": 1}[norm], dim=2)
    distance = (logits.gather(1, y[:, None]) - logits) / steep
    return model, x, distance.scatter(1, y[:, None], torch.inf).amin(1)


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("scale", [1e-3, 1, 1e3])
def test_clever_is_the_distance_on_linear_models(scale, norm):
    model, x, distance = inner_linear(scale, norm)
    result = robustness.clever(model, x, norm=norm, radius=9.0, details=True, **SMALL)
    torch.testing.assert_close(result.scores, distance, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(result.margin / result.largest, distance, rtol=1e-4, atol=1e-6)
    assert not result.at_cap.any()
    assert not result.fell_back.any()
    scores = robustness.clever(model, x, norm=norm, radius=9.0, **SMALL)
    assert torch.equal(scores, result.scores)
    # The radius is the most that can be said.
    radius = float(distance.median()) * 1.01
    capped = robustness.clever(model, x, norm=norm, radius=radius, details=True, **SMALL)
    torch.testing.assert_close(capped.scores, distance.clamp_max(radius), rtol=1e-4, atol=1e-6)
    assert torch.equal(capped.at_cap, distance >= radius)
    assert 0 < capped.at_cap.sum() < len(x)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_clever_by_definition(exact, correct, norm):
    for image in correct[0][:3].double():
        result = robustness.clever(exact, image[None], norm=norm, radius=1.0, details=True, **SMALL)
        points = uniform_ball((40, *image.shape), norm, seed=0, dtype=image.dtype)
        samples = (image + points).clamp(0, 1)  # the radius is 1
        logits = exact(image[None])[0].detach()
        label, scores, plain = int(logits.argmax()), [], []
        for other in sorted(set(range(10)) - {label}):
            sizes = []
            for sample in samples:
                sample = sample[None].clone().requires_grad_()
                values = exact(sample)[0]
                (grad,) = torch.autograd.grad(values[label] - values[other], sample)
                sizes.append(float(grad.norm() if norm == "l2" else grad.abs().sum()))
            maxima = [max(sizes[k : k + 10]) for k in range(0, 40, 10)]
            end = clever_module._upper_end(torch.tensor(maxima, dtype=torch.float64)[:, None])[
                0
            ].item()
            scores.append(float(logits[label] - logits[other]) / end)
            plain.append(float(logits[label] - logits[other]) / max(sizes))
        assert result.scores.item() == pytest.approx(min(1.0, *scores), rel=1e-8)
        least = plain[int(np.argmin(scores))]
        assert (result.margin / result.largest).item() == pytest.approx(least, rel=1e-8)


def test_clever_knows_no_attack_that_is_nearer(net, correct):
    x, y = correct[0][:12], correct[1][:12]
    scores = robustness.clever(net, x, radius=2.0, batches=5)
    sizes = (attacks.nearest_l2(net, x, y) - x).flatten(1).norm(dim=1)
    # An estimate of a lower bound: hardly ever above what an attack needs, and of its order.
    assert (scores <= 1.05 * sizes).float().mean() > 0.9
    assert (scores > 0.2 * sizes).float().mean() > 0.9


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_clever_extrapolates_little(net, correct, norm):
    x = correct[0][:12]
    result = robustness.clever(net, x, norm=norm, radius=2.0 if norm == "l2" else 0.3, details=True)
    plain = result.margin / result.largest
    assert (result.scores <= plain.clamp_max(2.0) * (1 + 1e-5)).all()
    fitted = ~result.fell_back & ~result.at_cap
    assert fitted.any()
    assert (result.scores[fitted] > plain[fitted] / 10).all()
    assert (result.scores[fitted] < plain[fitted]).all()
    same = result.fell_back & ~result.at_cap
    torch.testing.assert_close(result.scores[same], plain[same], rtol=1e-5, atol=0)


def test_clever_seeds_agree(net, correct):
    scores = [robustness.clever(net, correct[0][:5], radius=0.5, seed=seed) for seed in range(5)]
    scores = torch.stack(scores)
    assert (scores.amax(0) <= 1.15 * scores.amin(0)).all()
    assert not (scores[0] == scores[1]).all()


def test_clever_of_a_seed_and_of_each_image_alone(exact, correct, monkeypatch):
    x = correct[0][:6].double()
    result = robustness.clever(exact, x, seed=3, radius=2.0, details=True, **SMALL)
    again = robustness.clever(exact, x, seed=3, radius=2.0, details=True, **SMALL)
    alone = [
        robustness.clever(exact, image, seed=3, radius=2.0, details=True, **SMALL)
        for image in x.split(1)
    ]
    monkeypatch.setattr(gradients, "BATCH", 7)
    split = robustness.clever(exact, x, seed=3, radius=2.0, details=True, **SMALL)
    for name in result._fields:
        one = getattr(result, name)
        assert one.shape == (6,)
        assert torch.equal(one, getattr(again, name))
        parts = torch.cat([getattr(part, name) for part in alone])
        torch.testing.assert_close(one, parts, rtol=1e-9, atol=0)
        torch.testing.assert_close(one, getattr(split, name), rtol=1e-9, atol=0)
    other = robustness.clever(exact, x, seed=4, radius=2.0, **SMALL)
    assert not torch.equal(other, result.scores)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_points_fill_the_ball_evenly(norm):
    points = uniform_ball((4000, 1, 2, 2), norm, seed=0, dtype=torch.float64).flatten(1)
    sizes = points.norm(dim=1) if norm == "l2" else points.abs().amax(1)
    for share in 0.1, 0.5, 0.9:
        inside = (sizes <= share**0.25).double().mean().item()
        assert inside == pytest.approx(share, abs=0.03)
    assert sizes.max() <= 1
    assert points.mean(0).abs().max() < 0.03


def detached(model):
    class Detached(nn.Module):
        def forward(self, x):
            return model(x).detach()

    return Detached()


def test_a_model_that_detaches_its_graph_is_refused(net, correct):
    """It would get the best score there is."""
    x, y = correct[0][:3], correct[1][:3]
    for measure in (
        lambda model: robustness.clever(model, x, **SMALL),
        lambda model: robustness.loss_sensitivity(model, x, y),
        lambda model: robustness.empirical_robustness(model, x),
    ):
        with pytest.raises(ValueError, match="carry no gradient"):
            measure(detached(net))
    assert robustness.attack_success_rate(detached(net), x, y) == 0  # needs none
    assert robustness.fooling_rate(detached(net), x, x) == 0


def test_loss_sensitivity_counts_images_without_a_gradient(net, correct):
    x, y = correct[0][:50], correct[1][:50]

    class Saturated(nn.Module):
        def forward(self, x):
            return 1000 * net(x)

    result = robustness.loss_sensitivity(Saturated(), x, y, details=True)
    assert result.no_gradient == (result.grad_norms == 0).sum() > 40
    assert result.value == robustness.loss_sensitivity(Saturated(), x, y)
    assert robustness.loss_sensitivity(net, x, y, details=True).no_gradient == 0


def test_clever_samples_lie_in_the_box_and_in_the_ball(correct):
    seen = []

    class Watching(nn.Module):
        def forward(self, x):
            if not checks.looking():
                seen.append(x.detach())
            return torch.stack([x.sum((1, 2, 3)), 2 * x.sum((1, 2, 3))], 1)

    image = correct[0][:1]
    for norm, radius in ("l2", 1.0), ("linf", 0.2):
        seen.clear()
        robustness.clever(Watching(), image, norm=norm, radius=radius, **SMALL)
        samples = torch.cat(seen)
        assert len(samples) == 1 + 1 + 4 * 10  # to check the model, at the image, the points
        assert samples.min() >= 0
        assert samples.max() <= 1
        change = (samples - image).flatten(1)
        sizes = change.norm(dim=1) if norm == "l2" else change.abs().amax(1)
        assert sizes.max() <= radius + 1e-6
        assert sizes.max() > 0.5 * radius  # zero pixels cannot fall


def test_clever_of_softmax(net, correct):
    x = correct[0][:4]
    with_softmax = nn.Sequential(net, nn.Softmax(1))
    result = robustness.clever(net, x, radius=1.0, output="softmax", details=True, **SMALL)
    as_logits = robustness.clever(with_softmax, x, radius=1.0, details=True, **SMALL)
    for ours, theirs in zip(result, as_logits, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)
    logits = robustness.clever(net, x, radius=1.0, **SMALL)
    assert not torch.allclose(result.scores, logits)


def test_clever_of_constant_models():
    for output in "logits", "softmax":
        for model in constants(2.0, 0.0, -1.0):
            result = robustness.clever(
                model, random(3, 1, 4, 4), radius=0.7, output=output, details=True, **SMALL
            )
            assert result.scores.tolist() == pytest.approx([0.7] * 3)
            assert result.at_cap.all()
            assert not result.fell_back.any()
            assert (result.largest == 0).all()


def test_clever_of_a_tie():
    for model in constants(1.0, 1.0, 0.0):
        assert robustness.clever(model, random(2, 1, 4, 4), **SMALL).tolist() == [0, 0]
    weight = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    weight[2] = -10  # far behind
    x = torch.full((1, 1, 4, 4), 0.5)
    gap = (weight[0] - weight[1]).sum() / 2
    model = Linear(weight.double(), torch.stack([torch.zeros(()), gap, torch.zeros(())]).double())
    assert robustness.clever(model, x.double(), **SMALL).item() == pytest.approx(0, abs=1e-5)


def test_clever_leaves_out_only_classes_that_do_not_matter(net, correct, monkeypatch):
    x = correct[0][:12]
    options = dict(radius=2.0, details=True, batches=6, batch_size=50)
    result = robustness.clever(net, x, **options)
    monkeypatch.setattr(clever_module, "OUT_OF_REACH", math.inf)
    for ours, complete in zip(result, robustness.clever(net, x, **options), strict=True):
        torch.testing.assert_close(ours, complete, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"radius": 0}, "radius is 0"),
        ({"radius": -1.0}, "radius is -1"),
        ({"radius": float("inf")}, "radius is inf"),
        ({"radius": float("nan")}, "radius is nan"),
        ({"batches": 1}, "batches is 1"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"norm": "l1"}, "Unknown norm 'l1'"),
        ({"output": "loss"}, "Unknown output 'loss'"),
    ],
)
def test_clever_refuses_bad_options(net, correct, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        robustness.clever(net, correct[0][:2], **options)


# --- the end of a reverse Weibull distribution ---


@settings(deadline=None, max_examples=25)
@given(
    batches=st.integers(2, 20),
    classes=st.integers(1, 3),
    spread=st.floats(1e-3, 100),
    power=st.floats(0.2, 5),
    scale=st.sampled_from([1e-6, 1e-2, 1e3, 1e6]),
    seed=st.integers(0, 10_000),
)
def test_upper_end_is_near_the_largest(batches, classes, spread, power, scale, seed):
    maxima = 1 + spread * random(batches, classes, seed=seed, dtype=torch.float64) ** power
    top, reach = maxima.amax(0), maxima.amax(0) - maxima.amin(0)
    end, fitted = clever_module._upper_end(maxima)
    assert end.shape == fitted.shape == (classes,)
    assert (end >= top).all()
    assert (end <= top + reach).all()
    assert torch.equal(end[~fitted], top[~fitted])
    again, same = clever_module._upper_end(scale * maxima)
    torch.testing.assert_close(again, scale * end, rtol=1e-9, atol=0)
    assert torch.equal(same, fitted)
    # Classes do not look at each other.
    for k in range(classes):
        torch.testing.assert_close(clever_module._upper_end(maxima[:, [k]])[0], end[[k]])


def test_upper_end_of_a_bell_curve():
    # It has no end: many fits find none, and none may lie far beyond the largest.
    generator = torch.Generator().manual_seed(0)
    maxima = torch.randn(10, 120, generator=generator, dtype=torch.float64)
    top, reach = maxima.amax(0), maxima.amax(0) - maxima.amin(0)
    end, fitted = clever_module._upper_end(maxima)
    assert 0.1 < fitted.double().mean() < 0.9
    assert torch.equal(end[~fitted], top[~fitted])
    assert (end < top + reach).all()


def test_upper_end_in_float32_is_not_below_the_largest():
    for seed in range(20):
        maxima = 1 + 1e-4 * random(10, 3, seed=seed)
        end = clever_module._upper_end(maxima)[0]
        assert end.dtype == torch.float32
        assert (end >= maxima.amax(0)).all()


@pytest.mark.parametrize(("shape", "end"), [(2, 50.0), (3, 1.0), (5, 1.0)])
def test_upper_end_of_simulated_samples(shape, end):
    # Reverse Weibull: end − scale·E^(1/shape), where E is exponential.
    generator = torch.Generator().manual_seed(0)
    waits = torch.empty(200, 12, dtype=torch.float64).exponential_(generator=generator)
    maxima = end - 0.3 * waits ** (1 / shape)
    result, fitted = clever_module._upper_end(maxima)
    top, reach = maxima.amax(0), maxima.amax(0) - maxima.amin(0)
    assert fitted.float().mean() > 0.9
    assert (result - end).abs().mean() < 0.15 * reach.mean()
    # Nearer than the largest sample, and not on one side of the truth.
    assert (result - end).abs().mean() < 0.8 * (top - end).abs().mean()
    assert abs((result - end).mean()) < 0.5 * abs((top - end).mean())


def test_upper_end_by_likelihood():
    # The likelihood as scipy has it, on the same question: no end in the grid is more likely.
    from scipy.stats import weibull_max

    generator = torch.Generator().manual_seed(5)
    waits = torch.empty(60, dtype=torch.float64).exponential_(generator=generator)
    maxima = (7 - 0.5 * waits ** (1 / 3)).numpy()
    result, fitted = clever_module._upper_end(torch.from_numpy(maxima)[:, None])
    assert fitted.all()

    def likelihood(end):
        shape, _, scale = weibull_max.fit(maxima, floc=end)
        return weibull_max.logpdf(maxima, shape, end, scale).sum()

    reach = maxima.max() - maxima.min()
    ends = maxima.max() + reach * np.linspace(0.01, 1, 40)
    best = max(map(likelihood, ends))
    assert likelihood(result.item()) > best - 0.02


def test_upper_end_of_flat_columns():
    flat = torch.tensor([0.0, 2.5, 1e-7, 1e7])
    for dtype in torch.float32, torch.float64:
        maxima = flat.to(dtype).expand(10, 4)
        end, fitted = clever_module._upper_end(maxima)
        assert torch.equal(end, flat.to(dtype))
        assert fitted.all()
    # Equal but for rounding is flat, too.
    noise = 1e-6 * torch.randn(10, 50, generator=torch.Generator().manual_seed(0))
    end, fitted = clever_module._upper_end(1 + noise)
    assert torch.equal(end, (1 + noise).amax(0))
    assert fitted.all()


# --- what holds for all of them ---


METRICS = {
    "success_rate": lambda model, x: robustness.attack_success_rate(model, x, labels(x)),
    "fooling_rate": lambda model, x: robustness.fooling_rate(model, x, 1 - x),
    "loss_sensitivity": lambda model, x: robustness.loss_sensitivity(model, x, labels(x)),
    "empirical": lambda model, x: robustness.empirical_robustness(model, x),
    "clever": lambda model, x: robustness.clever(model, x, **SMALL),
    "clever_softmax": lambda model, x: robustness.clever(model, x, output="softmax", **SMALL),
}
each_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)


def labels(x):
    return torch.arange(len(x)) % 3


def touchy_net():
    """Everything that training leaves in a model: statistics, gradients, frozen weights."""
    layers = nn.Linear(16, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(), nn.Linear(6, 3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), *layers)
        model(random(5, 1, 4, 4)).sum().backward()
    model[1].weight.requires_grad_(False)
    model[3].eval()
    return model


def state(model):
    parts = {f"mode of {name}": part.training for name, part in model.named_modules()}
    for name, parameter in model.named_parameters():
        parts[f"wanted {name}"] = parameter.requires_grad
        parts[f"gradient {name}"] = None if parameter.grad is None else parameter.grad.tolist()
    return parts | {name: value.tolist() for name, value in model.state_dict().items()}


def same(one, other):
    return torch.equal(torch.as_tensor(one).nan_to_num(-1), torch.as_tensor(other).nan_to_num(-1))


@each_metric
@pytest.mark.parametrize("training_mode", [True, False])
def test_model_and_images_are_left_as_they_came(metric, training_mode):
    model, x = touchy_net(), random(6, 1, 4, 4).requires_grad_()
    model.train(training_mode)
    model[2].train(not training_mode)
    before, images, generator = state(model), x.detach().clone(), torch.get_rng_state()
    result = metric(model, x)
    assert state(model) == before
    assert torch.equal(x.detach(), images)
    assert x.grad is None
    assert torch.equal(torch.get_rng_state(), generator)
    assert not torch.is_tensor(result) or not result.requires_grad
    assert same(metric(model, x), result)  # dropout would make them differ
    with torch.no_grad():
        assert same(metric(model, x), result)


@each_metric
def test_model_is_left_as_it_came_by_a_failure(metric):
    model, x = touchy_net().train(), random(6, 1, 4, 4)
    for good in 0, 1, 2:
        left = [good]

        def fail(*_, left=left):
            left[0] -= 1
            if left[0] < 0:
                raise RuntimeError("out of order")

        before = state(model)
        hook = model[5].register_forward_pre_hook(fail)
        # Of the first image, the model's error is what it is refused for.
        with pytest.raises((RuntimeError, ValueError), match="out of order"):
            metric(model, x), metric(model, x), metric(model, x)
        hook.remove()
        assert state(model) == before


@each_metric
@pytest.mark.parametrize("value", BAD_PIXELS)
def test_pixels_out_of_range(metric, value):
    x = random(3, 1, 4, 4)
    x[1, 0, 2, 2] = value
    with pytest.raises(ValueError, match=r"pixels reach from .* must lie in \[0, 1\]"):
        metric(touchy_net(), x)


@pytest.mark.parametrize("name", ["loss_sensitivity", "empirical", "clever"])
def test_no_images(name):
    with pytest.raises(ValueError, match=r"There are no images|0 images"):
        METRICS[name](touchy_net(), torch.zeros(0, 1, 4, 4))


@each_metric
@pytest.mark.parametrize("position", [0, 2])
def test_diverged_model(metric, position):
    x = 0.3 * random(4, 1, 4, 4)
    x[position] += 0.7
    with pytest.raises(ValueError, match="NaN"):
        metric(Diverged(), x)


@pytest.mark.parametrize("name", ["loss_sensitivity", "empirical", "clever", "clever_softmax"])
def test_diverged_gradient(name):
    x = 0.3 * random(4, 1, 4, 4)
    x[2] += 0.7
    with pytest.raises(ValueError, match="NaN"):
        METRICS[name](Diverged(steep=True), x)
