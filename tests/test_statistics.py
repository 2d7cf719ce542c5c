import numpy as np
import pytest
from scipy import stats

from kit.harness import results


def test_two_samples_agree_with_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 1, 12), rng.normal(0, 2, 12)
    compared = results.two_samples(a, b)
    welch = stats.ttest_ind(a, b, equal_var=False)
    assert compared["p Welch"] == pytest.approx(welch.pvalue)
    assert compared["p paired"] == stats.ttest_rel(a, b).pvalue
    assert (compared["low"], compared["high"]) == pytest.approx(tuple(welch.confidence_interval()))
    assert compared["low"] < compared["difference"] < compared["high"]
    # The interval and the test must agree, since verdicts are read off the interval.
    assert (compared["p Welch"] < 0.05) == (compared["low"] > 0 or compared["high"] < 0)
    assert results.welch_interval(a, b) == (compared["low"], compared["high"])


@pytest.mark.parametrize(("a", "b"), [([], []), ([1.0], [2.0]), ([1.0, 1.0], [2.0, 2.0])])
def test_samples_that_allow_no_test_give_nan(a, b):
    compared = results.two_samples(np.array(a), np.array(b))
    assert np.isnan(compared["p paired"])
    assert results.verdict(compared["low"], compared["high"]) == results.UNDECIDED
    assert np.isnan(results.welch_interval(a, b)).all()


def test_mean_interval_agrees_with_scipy():
    values = [3.0, 1.0, 4.0, 1.5]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert results.mean_interval(values)[1:] == pytest.approx(tuple(expected))


def test_an_interval_is_never_narrower_than_one_test_image():
    resolution = 100 / 40  # points
    assert results.mean_interval([90.0] * 5, resolution=resolution) == (90.0, 87.5, 92.5)
    low, high = results.welch_interval([92.0] * 4, [91.0] * 4, resolution)
    assert (low, high) == (-1.5, 3.5)
    low, high = results.welch_interval([92.0, 92.0, 92.01], [91.0] * 4, resolution)
    assert high - low == pytest.approx(2 * resolution)
    assert results.positive([1.0] * 5, "points", resolution).outcome == results.UNDECIDED
    assert results.positive([3.0] * 5, "points", resolution).outcome == results.REPRODUCED


def test_a_coarse_measurement_leaves_wider_intervals_as_they_are():
    rng = np.random.default_rng(0)
    a, b = rng.normal(5, 3, 6), rng.normal(0, 3, 8)
    assert results.mean_interval(a, resolution=0.1) == results.mean_interval(a)
    assert results.welch_interval(a, b, 0.1) == results.welch_interval(a, b)


def test_nan_in_a_sample_never_becomes_an_interval():
    assert np.isnan(results.mean_interval([1.0, np.nan, 2.0], resolution=0.5)).all()
    assert np.isnan(results.welch_interval([1.0, np.nan, 2.0], [0.0] * 3, 0.5)).all()


@pytest.mark.parametrize("resolution", [-1.0, np.nan, np.inf])
def test_a_resolution_that_is_none_is_refused(resolution):
    with pytest.raises(ValueError, match=r"use 0 \(unknown\) or a positive number"):
        results.mean_interval([1.0, 2.0], resolution=resolution)
    with pytest.raises(ValueError, match=r"use 0 \(unknown\) or a positive number"):
        results.welch_interval([1.0, 2.0], [1.0, 3.0], resolution)


@pytest.mark.parametrize(("repeats", "against"), [(3, None), (8, None), (5, 5), (8, 24)])
def test_the_smallest_effect_is_decided_as_often_as_promised(repeats, against):
    effect, rng = results.smallest_effect(repeats, against), np.random.default_rng(0)
    decided = []
    for _ in range(2000):
        ours = rng.normal(effect, 1, repeats)
        if against is None:
            decided.append(results.positive(ours, "").outcome)
        else:
            decided.append(results.larger(ours, rng.normal(0, 1, against), "").outcome)
    assert decided.count(results.REPRODUCED) / 2000 == pytest.approx(0.8, abs=0.05)


def test_two_repeats_decide_nothing_however_large_the_effect():
    assert results.smallest_effect(2) == results.smallest_effect(4, 9) == np.inf
    assert max(results.smallest_effect(3), results.smallest_effect(5, 9)) < np.inf


@pytest.mark.parametrize(
    ("value", "shown"), [(np.nan, "–"), (np.inf, "∞"), (-0.5, "−0.5"), (2, "2"), ("a", "a")]
)
def test_numbers_are_shown_as_people_read_them(value, shown):
    assert results.shown_number(value) == shown


@pytest.mark.parametrize("two", [False, True])
@pytest.mark.parametrize("effect", [0.3, 0.8, 2.0])
def test_so_many_repeats_and_no_fewer_decide_an_effect(effect, two):
    needed = int(results.repeats_needed(effect, two))
    assert results.smallest_effect(needed, needed if two else None) <= effect
    assert results.smallest_effect(needed - 1, needed - 1 if two else None) > effect
