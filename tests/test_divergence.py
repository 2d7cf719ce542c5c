"""Divergence: the theory's formulas as printed, and discriminators that are measured fairly."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from kit import checks, data, divergence, nets, perturbations, training

SHARE = st.floats(0, 1)


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", train=300)


@pytest.fixture
def double():
    """Nets and images in float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def errors(digits, noise, **options):
    options = dict(epochs=8, batch_size=50) | options
    return divergence.discriminator_errors(noise, digits.x_train, digits.y_train, **options)


def candidates(shape, count=4, pixels=2):
    """Some of them easy to see, some not."""
    genomes = np.random.default_rng(0).random(
        (count, perturbations.genome_length(10, pixels, shape[0]))
    )
    return perturbations.decode(genomes, 10, pixels, shape)


def black_pixel(digits):
    """Full amplitude on a spot that is black on every image."""
    dark = (digits.x_train.amax((0, 1)) == 0).nonzero()[0]
    noise = torch.zeros(10, *digits.shape)
    noise[:, :, dark[0], dark[1]] = 1
    return noise


# Formulas ---------------------------------------------------------------------------------------


def printed_bound(risk, apart, n, d, delta, beta):
    """Eq. 3, term by term from left to right; log a/b written as log a − log b."""
    log_2en_d = math.log(2) + 1 + math.log(n) - math.log(d)
    log_2n_d = log_2en_d - 1
    log_4_delta = math.log(4) - math.log(delta)
    bound = risk
    bound += (4 / n * (d * log_2en_d + log_4_delta)) ** 0.5
    bound += apart
    bound += 4 * (1 / n * (d * log_2n_d + log_4_delta)) ** 0.5
    return bound + beta


@st.composite
def bounds(draw):
    """Arguments of Eq. 3 with n ≥ 2d, so that more images help and a larger d does not."""
    dimension = draw(st.integers(1, 4000))
    return dict(
        source_risk=draw(SHARE),
        divergence=draw(st.floats(0, 2)),
        n=draw(st.integers(2 * dimension, 10**9)),
        dimension=dimension,
        delta=draw(st.floats(1e-6, 0.999)),
        beta=draw(SHARE),
    )


@settings(deadline=None, max_examples=200)
@given(bounds())
def test_risk_bound_as_printed(arguments):
    result = divergence.risk_bound(**arguments)
    assert result == pytest.approx(printed_bound(*arguments.values()), rel=1e-9)
    assert result > arguments["source_risk"] + arguments["divergence"] + arguments["beta"]


def test_risk_bound_by_hand():
    # 4/100 · (2 ln 271.8 + ln 80) and 1/100 · (2 ln 100 + ln 80), by a pocket calculator
    first, second = math.sqrt(0.04 * (2 * 5.605170 + 4.382027)), 4 * math.sqrt(0.1359237)
    result = divergence.risk_bound(0.1, 0.5, 100, 2)
    assert result == pytest.approx(0.1 + first + 0.5 + second, abs=1e-5)


@settings(deadline=None, max_examples=200)
@given(bounds(), st.floats(0, 1))
def test_risk_bound_adds_what_it_adds(values, more):
    base = divergence.risk_bound(**values)
    for name in ("source_risk", "divergence", "beta"):
        moved = divergence.risk_bound(**values | {name: values[name] + more})
        assert moved == pytest.approx(base + more)


@settings(deadline=None, max_examples=200)
@given(bounds(), bounds(), st.sampled_from(["n", "dimension", "delta"]))
def test_risk_bound_is_monotone(values, others, name):
    low, high = sorted((values[name], others[name]))
    assume(low < high)
    if name == "dimension":
        values["n"] = max(values["n"], 2 * high)
    elif name == "n":
        assume(2 * values["dimension"] <= low)
    at_low, at_high = (divergence.risk_bound(**values | {name: v}) for v in (low, high))
    if name == "dimension":  # a richer class of hypotheses; else more images, less confidence
        assert at_low <= at_high
    else:
        assert at_low >= at_high


def test_risk_bound_approaches_what_no_number_of_images_removes():
    assert divergence.risk_bound(0.1, 0.5, 10**12, 785, beta=0.2) == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize(("n", "dimension"), [(0, 5), (-3, 5), (100, 0), (100, -1)])
def test_risk_bound_needs_images_and_a_dimension(n, dimension):
    match = rf"^n is {n} and dimension {dimension}: .*\.$"
    with pytest.raises(ValueError, match=match):
        divergence.risk_bound(0.1, 0.5, n, dimension)


@pytest.mark.parametrize("delta", [0, 1, -0.1, 1.5, math.nan])
def test_risk_bound_needs_a_chance(delta):
    with pytest.raises(ValueError, match=rf"^delta is {delta}: it must be in \(0, 1\)\.$"):
        divergence.risk_bound(0.1, 0.5, 1000, 5, delta=delta)


@pytest.mark.parametrize("n", [1, 100, 380])
def test_risk_bound_of_too_few_images(n):
    # Below about d / 2 images there is no number under the second root.
    with pytest.raises(ValueError, match=r"dimension.* 785.*\.$"):
        divergence.risk_bound(0.1, 0.5, n, 785)


# Discriminators ---------------------------------------------------------------------------------


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("net", ["linear", "graynet"])
def test_a_pixel_where_all_is_black_gives_it_away(digits, net, stacked):
    result = errors(digits, black_pixel(digits)[None], net=net, stacked=stacked, epochs=20)
    assert result.shape == (1,)
    assert result.dtype == torch.float64
    assert result < 0.02


@pytest.mark.parametrize("stacked", [False, True])
def test_no_noise_leaves_only_guessing(digits, stacked):
    # Twins are equal: whatever is said, it is right about one of the two.
    result = errors(digits, torch.zeros(3, 10, *digits.shape), stacked=stacked)
    assert result.tolist() == pytest.approx([0.5] * 3, abs=1e-6)


def test_louder_noise_is_seen_better(digits):
    loud = black_pixel(digits)
    result = errors(digits, torch.stack([loud * 0, loud * 0.05, loud]), epochs=5)
    assert result[0] > result[1] > result[2]


@pytest.mark.parametrize("stacked", [False, True])
def test_errors_do_not_depend_on_the_other_members(digits, stacked):
    noise, order = candidates(digits.shape), [2, 0, 3, 1]
    result = errors(digits, noise, stacked=stacked)
    assert ((result >= 0) & (result <= 0.6)).all()
    assert len(result.unique()) > 1
    # Of 300 measured images none or hardly one lies so close that rounding turns it.
    near = dict(rtol=0, atol=0.01) if stacked else dict(rtol=0, atol=0)
    permuted = errors(digits, noise[order], stacked=stacked)
    torch.testing.assert_close(permuted, result[order], **near)
    alone = torch.cat([errors(digits, noise[i : i + 1], stacked=stacked) for i in range(4)])
    torch.testing.assert_close(alone, result, **near)


@pytest.mark.parametrize("stacked", [False, True])
def test_errors_follow_the_seed_alone(digits, stacked):
    noise, before = candidates(digits.shape), torch.get_rng_state()
    result = errors(digits, noise, seed=1, stacked=stacked)
    assert torch.equal(result, errors(digits, noise, seed=1, stacked=stacked))
    assert not torch.equal(result, errors(digits, noise, seed=2, stacked=stacked))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("net", ["linear", "graynet"])
def test_stacked_or_not(digits, net):
    noise = candidates(digits.shape, count=3)
    pair = [errors(digits, noise, net=net, stacked=stacked, epochs=3) for stacked in (True, False)]
    torch.testing.assert_close(*pair, rtol=0, atol=0.02)


@pytest.mark.parametrize("net", ["linear", "graynet"])
def test_stacked_or_not_in_double_precision(digits, net, double):
    x, y, noise = digits.x_train.double(), digits.y_train, candidates(digits.shape, count=3)
    options = dict(net=net, epochs=3, batch_size=50, seed=5)
    one, other = (
        divergence.discriminator_errors(noise.double(), x, y, stacked=stacked, **options)
        for stacked in (True, False)
    )
    torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize("stacked", [True, False, None])
def test_stacked_is_passed_on(digits, stacked, monkeypatch):
    seen = []
    monkeypatch.setattr(training, "fit_many", lambda *_, **options: seen.append(options))
    errors(digits, candidates(digits.shape, count=2), stacked=stacked)
    assert [options["stacked"] for options in seen] == [stacked]


def test_inputs_are_left_alone(digits):
    noise = candidates(digits.shape, count=2)
    before = copy.deepcopy((noise, digits.x_train, digits.y_train))
    errors(digits, noise, epochs=1)
    after = noise, digits.x_train, digits.y_train
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert not noise.requires_grad


# No image on both sides -------------------------------------------------------------------------


class Witness(nn.Module):
    """Notes which images it is shown while it learns, and which while it is measured.

    Every image carries its number in its first pixel; the second one shows the corruption.
    """

    def __init__(self, log):
        super().__init__()
        self.layer, self.log = nn.Linear(4, 2), log

    def forward(self, x):
        for number, mark in [] if checks.looking() else x.flatten(1)[:, :2].tolist():
            self.log.append((self.training, round(number * 1000), mark == 1))
        return self.layer(x.flatten(1))


def numbered(count):
    x = torch.zeros(count, 1, 2, 2)
    x[:, 0, 0, 0] = torch.arange(count) / 1000
    noise = torch.zeros(2, 2, 1, 2, 2)
    noise[:, :, 0, 0, 1] = 1
    return noise, x, torch.arange(count) % 2


@pytest.mark.parametrize("count", [2, 3, 10, 41])
@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_measured_was_never_learnt(count, seed, monkeypatch):
    log = []
    monkeypatch.setattr(nets, "build", lambda *_, **__: Witness(log))
    noise, x, y = numbered(count)
    options = dict(epochs=2, batch_size=4, seed=seed, stacked=False)
    divergence.discriminator_errors(noise, x, y, **options)
    learnt, measured = ({seen[1:] for seen in log if seen[0] is mode} for mode in (True, False))
    fitted, held_out = {number for number, _ in learnt}, {number for number, _ in measured}
    assert not fitted & held_out
    assert fitted | held_out == set(range(count))
    assert abs(len(fitted) - len(held_out)) <= 1
    # Both twins of each image lie on the same side, and each was shown.
    assert learnt == {(number, mark) for number in fitted for mark in (False, True)}
    assert measured == {(number, mark) for number in held_out for mark in (False, True)}


@pytest.mark.parametrize("stacked", [False, True])
def test_halves_on_their_way_to_training(stacked, monkeypatch):
    fitted, measured = [], []
    fit_many, evaluate = training.fit_many, training.evaluate_or_nan

    def spying_fit_many(models, x, y, **options):
        fitted.extend((x[:, 0, 0, 0] * 1000).round().int().tolist())
        return fit_many(models, x, y, **options)

    def spying_evaluate(model, x, y):
        measured.append((x[:, 0, 0, 0] * 1000).round().int().tolist())
        assert torch.equal(y, (x[:, 0, 0, 1] == 0).long()), "corrupted is 0, clean is 1"
        return evaluate(model, x, y)

    monkeypatch.setattr(training, "fit_many", spying_fit_many)
    monkeypatch.setattr(training, "evaluate_or_nan", spying_evaluate)
    divergence.discriminator_errors(*numbered(20), epochs=1, stacked=stacked)
    assert len(measured) == 2  # once for each candidate
    for images in measured:
        assert sorted(images + fitted + fitted) == sorted(2 * list(range(20)))


def test_halves_follow_the_seed(monkeypatch):
    halves = []

    def fit_many(models, x, y, **options):
        halves.append((x[:, 0, 0, 0] * 1000).round().int().tolist())

    monkeypatch.setattr(training, "fit_many", fit_many)
    for seed in (0, 0, 1):
        divergence.discriminator_errors(*numbered(40), seed=seed)
    assert halves[0] == halves[1]
    assert set(halves[0]) != set(halves[2])


def test_what_was_learnt_by_heart_does_not_count(monkeypatch):
    # Noise that differs from image to image and is 0 on average: there is nothing else to learn.
    histories, fit_many = [], training.fit_many

    def spying(*args, **options):
        histories.extend(fit_many(*args, **options))

    monkeypatch.setattr(training, "fit_many", spying)
    random = torch.Generator().manual_seed(0)
    x = 0.3 + 0.4 * torch.rand(60, 1, 9, 9, generator=random)
    noise = 0.3 * torch.randn(1, 60, 1, 9, 9, generator=random).sign()
    result = divergence.discriminator_errors(
        noise, x, torch.arange(60), epochs=200, batch_size=30, lr=0.03
    )
    assert histories[0]["accuracy"][-1] == 1
    assert 0.35 < result < 0.65


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_images(count):
    noise, x, y = numbered(2)
    with pytest.raises(ValueError, match=rf"^{count} images: .* at least 2\.$"):
        divergence.discriminator_errors(noise, x[:count], y[:count])


def test_two_images_are_enough():
    assert divergence.discriminator_errors(*numbered(2), epochs=30, lr=0.1).tolist() == [0, 0]


def test_unknown_discriminator(digits):
    with pytest.raises(ValueError, match="Unknown net 'forest'"):
        errors(digits, candidates(digits.shape), net="forest")
