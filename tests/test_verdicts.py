"""What a verdict may say: its rules, one by one, and its evidence in words."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kit.harness import results
from kit.harness.results import intervals

SURE, OPEN, FAILS = [5.0, 5.1, 5.2], [1.0, -1.0, 0.5], [-5.0, -5.1, -5.2]


def of(values, **options):
    return results.positive(values, "points", **options)


# --- few repeats ---------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [[], [5.0], [1.0, 1.0], [2.0, 2.1], [-9.0, -9.0, np.nan]])
def test_fewer_than_three_repeats_decide_nothing(values):
    for resolution in (0.0, 0.1):
        found = of(values, resolution=resolution)
        assert found.outcome == results.UNDECIDED
        assert found.p == 1
        assert found.evidence.endswith("(too few to decide)")


def test_fewer_than_five_in_one_of_two_samples_decide_nothing():
    few, many = [9.0, 9.1, 9.2, 9.1], [1.0, 1.1, 0.9, 1.0, 1.2]
    for pair in ((few, many), (many, few)):
        found = results.larger(*pair, "points")
        assert (found.outcome, found.p) == (results.UNDECIDED, 1)
        assert found.evidence.endswith("(too few to decide)")
    assert results.larger([*few, 9.0], many, "points").outcome == results.REPRODUCED


def test_evidence_of_two_repeats_still_shows_their_numbers():
    assert of([2.0, 2.1]).evidence.startswith("2.05 points [1.415, 2.685] over 2 runs")


@pytest.mark.parametrize("ends", [(np.nan, np.nan), (1.0, np.nan), (np.nan, -1.0)])
def test_an_interval_without_an_end_decides_nothing(ends):
    assert results.verdict(*ends) == results.UNDECIDED


def test_values_without_a_number_are_left_out_and_counted():
    found = of([2.0, 2.1, 2.2, np.nan, np.inf])
    assert found.outcome == results.REPRODUCED
    assert "over 3 runs, 2 without a value" in found.evidence


def test_a_doubt_leaves_the_numbers_and_decides_nothing():
    found = of(SURE).doubted("nobody looked")
    assert (found.outcome, found.p) == (results.UNDECIDED, 1)
    assert found.evidence == f"{of(SURE).evidence}; nobody looked"


# --- certainty -----------------------------------------------------------------------------------


@given(st.lists(st.integers(-9, 9), min_size=3, max_size=6), st.sampled_from([0.0, 0.5]))
def test_the_p_value_is_where_the_interval_meets_the_border(values, resolution):
    values = np.array(values) + np.linspace(0, 1, len(values))
    found = of(values, resolution=resolution)
    estimate = found.parts[0].estimate
    at_p, wider = estimate.interval(found.p), estimate.interval(found.p * 0.99)
    if found.outcome == results.UNDECIDED:
        assert found.p == 1
    else:
        assert found.p == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
        assert min(map(abs, at_p)) == pytest.approx(0, abs=1e-6) or resolution
        assert wider[0] <= 0 <= wider[1] or resolution


def test_two_samples_have_the_p_value_of_welchs_test():
    rng = np.random.default_rng(0)
    a, b = rng.normal(2, 1, 6), rng.normal(0, 2, 9)
    found = results.larger(a, b, "points")
    assert found.p == pytest.approx(stats.ttest_ind(a, b, equal_var=False).pvalue)
    assert f"({a.mean():.4g} against {b.mean():.4g}) over 6 and 9 runs" in found.evidence.replace(
        "−", "-"
    )


@given(st.lists(st.floats(0, 1), max_size=9))
def test_holm_goes_from_the_most_certain_to_the_first_that_falls(p_values):
    surviving = results.holm(p_values)
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    for rank, place in enumerate(order):
        stands = all(
            p_values[earlier] <= 0.05 / (len(p_values) - number)
            for number, earlier in enumerate(order[: rank + 1])
        )
        assert surviving[place] == stands


# --- several parts -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "outcome"),
    [
        ([SURE, SURE], results.REPRODUCED),
        ([SURE, OPEN], results.UNDECIDED),
        ([SURE, OPEN, FAILS], results.NOT_REPRODUCED),
        ([], results.UNDECIDED),
    ],
)
def test_a_claim_needs_all_of_its_parts(parts, outcome):
    assert results.all_of([of(values) for values in parts]).outcome == outcome


def test_a_claim_is_as_certain_as_its_least_certain_part():
    certain, less = of([5.0, 5.1, 5.2]), of([5.0, 5.5, 6.0])
    assert results.all_of([certain, less]).p == less.p > certain.p
    failing = of(FAILS)
    assert results.all_of([less, failing]).p == failing.p


def test_of_many_parts_one_fails_at_a_stricter_error_alone():
    """Else a claim that is true would fail the more easily the more it says."""
    barely = of([-0.1, -1.0, -1.9, -1.0, -1.5, 0.0])  # p = 0.03
    assert 0.05 / 3 < barely.p < 0.05
    assert results.all_of([barely, of(SURE)]).outcome == results.NOT_REPRODUCED
    many = results.all_of([barely, of(SURE), of(SURE)])
    assert (many.outcome, many.p) == (results.UNDECIDED, 1)
    assert "(not reproduced alone, undecided as one of 3)" in many.evidence
    surely = results.all_of([of(FAILS), of(SURE), of(SURE)])
    assert surely.outcome == results.NOT_REPRODUCED
    assert surely.p == pytest.approx(3 * of(FAILS).p)
    assert "(not reproduced);" in surely.evidence


def test_a_doubted_part_cannot_fail_and_the_others_can():
    doubted = of(FAILS).doubted("no")
    assert results.all_of([doubted, of(SURE)]).outcome == results.UNDECIDED
    assert results.all_of([doubted, of(FAILS)]).outcome == results.NOT_REPRODUCED


def test_parts_bear_their_names_and_verdicts():
    whole = results.all_of({"a": of(SURE), "b": of(OPEN)}).noted("as drawn")
    first, second, note = whole.evidence.split("; ")[0], whole.evidence, "; as drawn"
    assert first.startswith("a: 5.1 points [")
    assert first.endswith("over 3 runs (reproduced)")
    assert second.endswith(f"(undecided){note}")
    nested = results.all_of({"all": whole})
    assert [part.name for part in nested.parts] == ["all, a", "all, b"]
    assert nested.notes == ("as drawn",)


# --- the printed effect --------------------------------------------------------------------------


def test_a_small_effect_is_reproduced_smaller_than_printed():
    found = of([2.0, 2.1, 2.2], printed=20.0)
    assert found.outcome == results.SMALLER
    assert found.evidence.endswith("the interval ends below half of the paper's 20")
    assert of([2.0, 2.1, 2.2], printed=4.0).outcome == results.REPRODUCED  # half of it is inside
    assert of([2.0, 2.1], printed=20.0).outcome == results.UNDECIDED


def test_more_repeats_never_turn_a_failure_into_a_success():
    """An effect between zero and half of the printed one is no failure, however few the repeats."""
    few = of([-1.0, 2.0, 0.5], printed=20)  # [−3.2, 4.2]
    assert few.outcome == results.UNDECIDED
    assert "; the interval ends below half of the paper's 20; about 73 runs" in few.evidence
    assert of([-1.0, 2.0, 0.5] * 20, printed=20).outcome == results.SMALLER


@given(
    st.lists(st.floats(-100, 100), min_size=3, max_size=9), st.floats(0.1, 100), st.floats(0.5, 20)
)
def test_a_printed_value_says_how_large_and_never_which_sign(values, printed, resolution):
    without = of(values, resolution=resolution).outcome
    within = of(values, resolution=resolution, printed=printed).outcome
    assert within == without or (without, within) == (results.REPRODUCED, results.SMALLER)


def test_smaller_is_as_certain_as_both_of_its_borders():
    values = np.array([2.0, 2.5, 3.0])
    found = of(values, printed=10.0)
    assert found.outcome == results.SMALLER
    p_values = [stats.ttest_1samp(values, border).pvalue for border in (0, 5)]
    assert found.p == pytest.approx(max(p_values))


def test_of_several_parts_one_smaller_makes_the_claim_smaller():
    small, large = of([2.0, 2.1, 2.2], printed=20.0), of(SURE)
    assert results.all_of([small, large]).outcome == results.SMALLER
    assert results.all_of([small, of(OPEN)]).outcome == results.UNDECIDED


# --- borders and scales --------------------------------------------------------------------------


def test_a_border_is_where_the_question_is_asked():
    values = [-1.0, -1.1, -0.9]
    outcomes = [results.above(values, b, "points").outcome for b in (0.0, -1.0, -2.0)]
    assert outcomes == [results.NOT_REPRODUCED, results.UNDECIDED, results.REPRODUCED]
    outcomes = [results.above(values, b, "", below=True).outcome for b in (0.0, -1.0, -2.0)]
    assert outcomes == [results.REPRODUCED, results.UNDECIDED, results.NOT_REPRODUCED]
    said = results.above(values, -2.0, "points").evidence
    assert said == "−1 points [−1.248, −0.7516] over 3 runs, to lie above −2"


@pytest.mark.parametrize(("scale", "border"), [("log", 2.0), ("logit", 30.0)])
def test_scales_keep_the_order_and_stay_in_range(scale, border):
    values = np.array([40.0, 55.0, 70.0, 62.0])
    for below in (False, True):
        found = results.above(values, border, "%", scale=scale, below=below)
        assert found.outcome == (results.NOT_REPRODUCED if below else results.REPRODUCED)
    low, high = (found.parts[0].numbers()[end] for end in ("low", "high"))
    assert 0 < low < found.parts[0].numbers()["estimate"] < high < 100 or scale == "log"


def test_none_and_all_have_a_place_on_the_logit_scale():
    found = results.above([100.0, 100.0, 99.0], 90.0, "%", resolution=1.0, scale="logit")
    assert found.outcome == results.REPRODUCED
    assert np.isfinite(found.parts[0].estimate.value)
    nothing = results.above([0.0, 0.0, 0.0], 90.0, "%", resolution=1.0, scale="logit")
    assert nothing.outcome == results.NOT_REPRODUCED


# --- shared images -------------------------------------------------------------------------------


def test_shared_images_widen_the_interval_and_both_are_shown():
    values = [2.0, 2.5, 3.0, 2.2, 2.8]
    alone, found = of(values), of(values, shared=4.0)
    assert (alone.outcome, found.outcome) == (results.REPRODUCED, results.UNDECIDED)
    reach = stats.t.ppf(0.975, 4) * np.sqrt(np.var(values, ddof=1) / 5 + 4.0)
    low, high = found.parts[0].estimate.interval()
    assert (low, high) == pytest.approx((2.5 - reach, 2.5 + reach))
    assert "on these images)" in found.evidence
    # More repeats on the same images need not decide it.
    assert "would decide" not in found.evidence


def test_resplits_of_one_pool_share_variance():
    values = [2.0, 2.5, 3.0, 2.2, 2.8]
    shared = results.of_resplits(values, test=200, train=800)
    estimate = intervals.mean(values, shared=shared)
    n, s2 = len(values), np.var(values, ddof=1)
    reach = stats.t.ppf(0.975, n - 1) * np.sqrt(s2 * (1 / n + 200 / 800))  # Nadeau & Bengio, (5)
    assert estimate.interval() == pytest.approx((2.5 - reach, 2.5 + reach))


def test_what_repeats_share_is_how_they_vary_together():
    random = np.random.default_rng(0)
    luck, own = random.normal(0, 2, (1, 4000)), random.normal(0, 3, (5, 4000))
    assert results.of_shared_images(luck + own) == pytest.approx(4, rel=0.15)
    assert results.of_shared_images(own) == pytest.approx(0, abs=0.15)
    with_gaps = luck + own
    with_gaps[0, :7] = np.nan
    assert results.of_shared_images(with_gaps) == pytest.approx(4, rel=0.15)
    assert results.of_shared_images(luck) == 0
    for nothing in (own[:, :1], np.full((3, 4), np.nan)):
        assert np.isnan(results.of_shared_images(nothing))


# --- words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("border", [0.0, -5.0])
def test_what_is_open_says_about_how_many_runs_would_decide_it(border):
    values = np.array([-3.0, 9.0, -10.0, -5.0, -6.0])  # their mean is −3
    found = results.above(values, border, "points")
    needed = results.repeats_needed((-3 - border) / values.std(ddof=1))
    assert found.outcome == results.UNDECIDED
    assert found.evidence.endswith(f"about {needed} runs would decide it with a chance of 80 %")


def test_what_is_decided_or_does_not_vary_needs_no_more_runs():
    for values in ([1.0, 1.1, 1.2], [0.0, 0.0, 0.0]):
        assert "would decide" not in of(values).evidence


@pytest.mark.parametrize(
    ("value", "shown"), [(np.nan, "–"), (np.inf, "∞"), (-0.5, "−0.5"), (2, "2"), ("a", "a")]
)
def test_numbers_are_shown_as_people_read_them(value, shown):
    assert results.shown_number(value) == shown


def test_numbers_are_json_even_where_there_are_none():
    for values in (SURE, [1.0], []):
        (numbers,) = (part.numbers() for part in of(values).parts)
        assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers
        assert numbers["n"] == [len(values)]


@pytest.mark.parametrize("two", [False, True])
@pytest.mark.parametrize("effect", [0.3, 0.8, 1.5])
def test_so_many_repeats_and_no_fewer_decide_an_effect(effect, two):
    needed = int(results.repeats_needed(effect, two))
    assert results.smallest_effect(needed, needed if two else None) <= effect
    assert results.smallest_effect(needed - 1, needed - 1 if two else None) > effect
