"""Comparing a run with committed results."""

import json
import types

import numpy as np
import pytest
from scipy import stats

from kit.harness import results
from kit.harness.results.comparison import compare
from kit.harness.results.study import Study

SETTINGS = types.SimpleNamespace(parameters={})


def folder(path, samples, images="here", judge=results.positive, **options):
    """What a run leaves behind whose claims were judged on these samples, by their names."""
    report = results.Report(Study("t", claims={"1.C1": "It rises."}), SETTINGS, [], path)
    report.judge(
        ("1.C1", judge(values, "points", **options), None, name) for name, values in samples.items()
    )
    report.finish()
    manifest = {"data": {"digits": {"fingerprint": images}}}
    (path / "manifest.json").write_text(json.dumps(manifest))
    return path


def both(tmp_path, old, new, **options):
    """What is compared of two runs, each of which judged samples by their names."""
    folders = [
        folder(tmp_path / name, samples, **options) for name, samples in (("n", new), ("o", old))
    ]
    return compare(*folders)


def test_a_difference_is_judged_by_the_deviations_of_both_runs(tmp_path):
    a, b = [80.0, 82.0, 81.0, 79.0, 83.0], [81.0, 80.0, 84.0]
    (one,) = both(tmp_path, {"x": a}, {"x": b})
    # A new mean on the edge of the interval is where Student's test has p = 5 %.
    edge = np.array(b) + one.high - np.mean(b)
    assert stats.ttest_ind(edge, a).pvalue == pytest.approx(0.05)
    assert (one.committed, one.new, one.unit) == (81.0, pytest.approx(np.mean(b)), "points")
    assert (one.claim, one.about) == ("1.C1", "x")
    assert one.inside


@pytest.mark.parametrize(("shift", "inside"), [(0.5, True), (15.0, False), (-15.0, False)])
def test_what_lies_outside_is_told(tmp_path, shift, inside):
    a = np.array([80.0, 82.0, 81.0, 79.0, 83.0])
    compared = both(tmp_path, {"x": a, "y": a}, {"x": a + shift, "y": a})
    assert [one.inside for one in compared] == [inside, True]


def test_many_numbers_hold_together(tmp_path):
    """Runs alike in all but chance pass, though one in twenty leaves its own 95 % interval."""
    random, passed = np.random.default_rng(0), 0
    for trial in range(60):
        old, new = (dict(enumerate(random.normal(80, 2, (40, 5)))) for _ in range(2))
        named = [{str(name): values for name, values in each.items()} for each in (old, new)]
        passed += all(one.inside for one in both(tmp_path / str(trial), *named))
    assert passed >= 53


def test_the_visible_shift_is_seen_in_8_of_10_cases(tmp_path):
    random, seen = np.random.default_rng(1), 0
    old, new = random.normal(0, 1, (2, 100, 5))
    shift = compare_one(tmp_path, old[0], new[0]).visible
    assert shift == pytest.approx(2.02, abs=0.01)
    seen = [
        not compare_one(tmp_path / str(i), a, b + shift).inside
        for i, (a, b) in enumerate(zip(old, new, strict=True))
    ]
    assert np.mean(seen) == pytest.approx(0.8, abs=0.1)


def compare_one(tmp_path, old, new):
    (one,) = both(tmp_path, {"x": old}, {"x": new})
    return one


def test_equal_repeats_allow_one_test_image(tmp_path):
    for new, inside in ((89.5, True), (89.4, False)):
        (one,) = both(
            tmp_path / str(new),
            {"x": [90.0] * 5},
            {"x": [new] * 5},
            resolution=0.5,
        )
        assert one.inside == inside


def test_two_samples_are_compared_too(tmp_path):
    pairs = [np.arange(5.0), np.arange(6.0) - 4]
    other = [np.arange(5.0) + 20, np.arange(6.0) - 4]
    (one,) = both(
        tmp_path, {"x": pairs}, {"x": other}, judge=lambda v, unit: results.larger(*v, unit)
    )
    assert not one.inside
    assert one.new - one.committed == pytest.approx(20)


def test_percentages_near_the_end_are_compared_on_their_scale(tmp_path):
    def near_all(values, unit):
        return results.above(values, 90, unit, scale="logit")

    old = {"x": [99.0, 99.5, 99.2, 99.7, 98.8]}
    (one,) = both(tmp_path, old, {"x": [97.0, 96.5, 97.4, 96.9, 97.2]}, judge=near_all)
    assert one.low < one.committed < one.high < 100
    assert not one.inside


def test_what_has_one_repeat_or_no_value_is_not_compared(tmp_path):
    old = {"a": [50.0], "b": [], "c": [70.0, 71.0, 72.0]}
    (one,) = both(tmp_path, old, old | {"c": []})
    assert (one.about, one.inside) == ("c", False)  # where there was one, there has to be one


def test_one_new_repeat_is_compared(tmp_path):
    """The interval holds for a single value, too."""
    old = [80.0, 82.0, 81.0, 79.0, 83.0]
    (one,) = both(tmp_path, {"x": old}, {"x": [10.0]})
    reach = stats.t.ppf(0.975, 4) * np.std(old, ddof=1) * np.sqrt(1 / 5 + 1)
    assert one.high - 81 == pytest.approx(reach)
    assert not one.inside


def test_on_other_images_their_luck_is_added_or_nothing_is_said(tmp_path):
    values = [80.0, 82.0, 81.0, 79.0, 83.0]
    old = folder(tmp_path / "old", {"x": values}, shared=9.0)
    same = folder(tmp_path / "same", {"x": values}, shared=9.0)
    other = folder(tmp_path / "other", {"x": values}, images="there", shared=9.0)
    (narrow,), (wide,) = compare(same, old), compare(other, old)
    spread, limit = np.std(values, ddof=1) * np.sqrt(2 / 5), stats.t.ppf(0.975, 8)
    assert narrow.high - 81 == pytest.approx(limit * spread)
    assert wide.high - 81 == pytest.approx(limit * np.sqrt(spread**2 + 18))
    unknown = [
        folder(tmp_path / name, {"x": values}, images=name) for name in ("here too", "there too")
    ]
    assert compare(*unknown) == []


def test_results_of_an_older_version_have_no_numbers_to_compare(tmp_path):
    new, old = (folder(tmp_path / name, {"x": [1.0, 2.0, 3.0]}) for name in ("new", "old"))
    claims = json.loads((old / "claims.json").read_text())
    (old / "claims.json").write_text(json.dumps([{**claims[0], "numbers": []}]))
    assert compare(new, old) == []
