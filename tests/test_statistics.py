import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kit.harness import results


def test_two_samples_agree_with_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 1, 12), rng.normal(0, 2, 12)
    compared = results.two_samples(a, b)
    assert compared["p Welch"] == stats.ttest_ind(a, b, equal_var=False).pvalue
    assert compared["p paired"] == stats.ttest_rel(a, b).pvalue
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
    assert results.positive([1.0] * 5, "points", resolution)[0] == results.UNDECIDED
    assert results.positive([3.0] * 5, "points", resolution)[0] == results.REPRODUCED


def test_a_coarse_measurement_leaves_wider_intervals_as_they_are():
    rng = np.random.default_rng(0)
    a, b = rng.normal(5, 3, 6), rng.normal(0, 3, 8)
    assert results.mean_interval(a, resolution=0.1) == results.mean_interval(a)
    assert results.welch_interval(a, b, 0.1) == results.welch_interval(a, b)
    assert results.positive(a, "points", 0.1) == results.positive(a, "points")


@pytest.mark.parametrize("values", [[], [5.0], [1.0, 1.0], [2.0, 2.1], [-9.0, -9.0, np.nan]])
def test_fewer_than_three_repeats_decide_nothing(values):
    for resolution in (0.0, 0.1):
        verdict, evidence = results.positive(values, "points", resolution)
        assert verdict == results.UNDECIDED
        assert evidence.endswith("(too few to decide)")


def test_evidence_of_two_repeats_still_shows_their_numbers():
    assert results.positive([2.0, 2.1], "points")[1].startswith("2.05 points [1.415, 2.685] over 2")


@pytest.mark.parametrize("ends", [(np.nan, np.nan), (1.0, np.nan), (np.nan, -1.0)])
def test_an_interval_without_an_end_decides_nothing(ends):
    assert results.verdict(*ends) == results.judge(*ends, repeats=9) == results.UNDECIDED


def test_an_interval_is_judged_by_its_repeats():
    assert results.judge(1, 2, repeats=3) == results.REPRODUCED
    assert results.judge(-2, -1, repeats=3) == results.NOT_REPRODUCED
    assert results.judge(1, 2, repeats=2) == results.judge(-2, -1, 0) == results.UNDECIDED


def test_values_without_a_number_are_left_out_and_counted():
    verdict, evidence = results.positive([2.0, 2.1, 2.2, np.nan, np.inf], "points")
    assert verdict == results.REPRODUCED
    assert "over 3 runs, 2 without a value" in evidence


def test_nan_in_a_sample_never_becomes_an_interval():
    assert np.isnan(results.mean_interval([1.0, np.nan, 2.0], resolution=0.5)).all()
    assert np.isnan(results.welch_interval([1.0, np.nan, 2.0], [0.0] * 3, 0.5)).all()


@pytest.mark.parametrize("resolution", [-1.0, np.nan, np.inf])
def test_a_resolution_that_is_none_is_refused(resolution):
    with pytest.raises(ValueError, match=r"use 0 \(unknown\) or a positive number"):
        results.mean_interval([1.0, 2.0], resolution=resolution)
    with pytest.raises(ValueError, match=r"use 0 \(unknown\) or a positive number"):
        results.welch_interval([1.0, 2.0], [1.0, 3.0], resolution)


@pytest.mark.parametrize("level", [0, 1, 95, np.nan])
def test_a_confidence_that_is_none_is_refused(level):
    with pytest.raises(ValueError, match="between 0 and 1"), results.confidence(level):
        pass


def test_all_intervals_take_the_present_confidence():
    a, b = [1.0, 2.0, 4.0, 3.0], [0.0, 1.0, 0.5, 0.7]
    before = results.mean_interval(a), results.welch_interval(a, b), results.two_samples(a, b)
    with results.confidence(0.99):
        low, high = stats.t.interval(0.99, 3, np.mean(a), stats.sem(a))
        assert results.mean_interval(a) == pytest.approx((2.5, low, high))
        wider = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.99)
        assert results.welch_interval(a, b) == pytest.approx(tuple(wider))
        assert results.two_samples(a, b)["low"] == pytest.approx(wider.low)
    after = results.mean_interval(a), results.welch_interval(a, b), results.two_samples(a, b)
    assert before == after


@given(st.lists(st.lists(st.integers(-9, 9), min_size=3, max_size=5), max_size=9))
def test_holm_as_by_p_values(samples):
    samples = [np.array(sample) + np.linspace(0, 1, len(sample)) for sample in samples]
    surviving = results.holm(lambda: [results.positive(s, "")[0] for s in samples])
    p_values = [stats.ttest_1samp(sample, 0).pvalue for sample in samples]
    expected, rejected = [False] * len(samples), 0
    for i in np.argsort(p_values):
        if p_values[i] > 0.05 / (len(samples) - rejected):
            break
        expected[i], rejected = True, rejected + 1
    assert surviving == expected


def test_a_verdict_that_turns_into_its_opposite_does_not_survive():
    """A small effect is real by its interval and, by a wider one, ruled out in the paper's size."""
    small, others = [0.2, 1.0, 1.1, 1.9, 0.9], [[-1.0, 1.0, 0.5]] * 19

    def judge_all():
        return [
            results.positive(small, "", printed=20)[0],
            *(results.positive(values, "")[0] for values in others),
        ]

    assert judge_all()[0] == results.REPRODUCED
    with results.confidence(1 - 0.05 / 20):
        assert judge_all()[0] == results.NOT_REPRODUCED
    assert not any(results.holm(judge_all))


@pytest.mark.parametrize(
    ("options", "distance"),
    [({}, 3.0), ({"allowed": 1.0}, 2.0), ({"allowed": 5.0}, 2.0), ({"printed": 9.0}, 7.5)],
)
def test_the_repeats_to_decide_are_those_of_the_border_that_decides(options, distance):
    values = np.array([-3.0, 9.0, -10.0, -5.0, -6.0])  # their mean is −3
    verdict, evidence = results.positive(values, "points", **options)
    needed = results.repeats_needed(distance / values.std(ddof=1))
    assert verdict == results.UNDECIDED
    assert evidence.endswith(f"to decide such a mean takes {needed} runs")
    assert ("allowed;" in evidence) == ("allowed" in options)


def test_what_is_allowed_moves_the_border():
    values = [-1.0, -1.1, -0.9]
    verdicts = [results.positive(values, "", allowed=allowed)[0] for allowed in (0.0, 1.0, 2.0)]
    assert verdicts == [results.NOT_REPRODUCED, results.UNDECIDED, results.REPRODUCED]


@pytest.mark.parametrize(("repeats", "against"), [(3, None), (8, None), (5, 5), (8, 24)])
def test_the_smallest_effect_is_decided_as_often_as_promised(repeats, against):
    effect, rng = results.smallest_effect(repeats, against), np.random.default_rng(0)
    decided = []
    for _ in range(2000):
        ours = rng.normal(effect, 1, repeats)
        if against is None:
            decided.append(results.positive(ours, "")[0])
        else:
            low, high = results.welch_interval(ours, rng.normal(0, 1, against))
            decided.append(results.verdict(low, high))
    assert decided.count(results.REPRODUCED) / 2000 == pytest.approx(0.8, abs=0.05)


def test_two_repeats_decide_nothing_however_large_the_effect():
    assert results.smallest_effect(2) == results.smallest_effect(2, 9) == np.inf


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


def test_an_undecided_mean_says_how_many_repeats_it_needs():
    verdict, evidence = results.positive([1.0, -1.0, 0.5, 0.2], "points")
    effect = np.mean([1.0, -1.0, 0.5, 0.2]) / np.std([1.0, -1.0, 0.5, 0.2], ddof=1)
    assert verdict == results.UNDECIDED
    assert evidence.endswith(f"takes {results.repeats_needed(effect)} runs")
    assert "takes" not in results.positive([1.0, 1.1, 1.2], "points")[1]
    assert "takes" not in results.positive([0.0, 0.0, 0.0], "points")[1]


@pytest.mark.parametrize(
    ("printed", "wanted"),
    [
        (None, results.UNDECIDED),
        (8.9, results.UNDECIDED),  # half of it lies inside of the interval, [−4.5, 4.5]
        (9.1, results.NOT_REPRODUCED),
    ],
)
def test_an_effect_of_less_than_half_of_the_printed_one_is_not_reproduced(printed, wanted):
    sample = np.array([-1.0, 0.0, 1.0]) * 4.5 / stats.t.ppf(0.975, 2) * np.sqrt(3)
    verdict, evidence = results.positive(sample, "points", printed=printed)
    assert verdict == wanted
    assert ("less than half of the paper's 9.1" in evidence) == (printed == 9.1)


def test_a_small_effect_stays_reproduced_and_is_called_small():
    verdict, evidence = results.positive([2.0, 2.1, 2.2], "points", printed=20.0)
    assert (verdict, "less than half" in evidence) == (results.REPRODUCED, True)
    verdict, evidence = results.positive([0.0, 0.1], "points", printed=20.0)
    assert (verdict, "less than half" in evidence) == (results.UNDECIDED, False)


@given(
    st.lists(st.floats(-100, 100), min_size=3, max_size=9), st.floats(0.1, 100), st.floats(0.5, 20)
)
def test_a_printed_value_decides_only_what_is_open(values, printed, resolution):
    without, _ = results.positive(values, "points", resolution)
    within, _ = results.positive(values, "points", resolution, printed)
    assert within == without or (without, within) == (results.UNDECIDED, results.NOT_REPRODUCED)
