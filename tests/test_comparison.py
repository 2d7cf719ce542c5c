"""Comparing a run with committed results."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from kit.harness.results.comparison import compare


def folder(path, tables, test=1000, **parameters):
    path.mkdir(parents=True)
    for name, table in tables.items():
        pd.DataFrame(table).to_csv(path / f"{name}.csv", index=False)
    manifest = {"parameters": parameters, "data": {"digits": {"test": test}}}
    (path / "manifest.json").write_text(json.dumps(manifest))
    return path


def accuracies(*means, std=2.0, runs=5):
    names = [f"net {i}" for i in range(len(means))]
    return {"net": names, "accuracy": list(means), "std": [std] * len(means), "runs": runs}


def test_the_interval_is_the_prediction_interval(tmp_path):
    old = folder(tmp_path / "old", {"3.F5": accuracies(80.0)})
    new = folder(tmp_path / "new", {"3.F5": accuracies(81.0, runs=3)})
    (one,) = compare(new, old)
    reach = stats.t.ppf(0.975, 4) * 2 * np.sqrt(1 / 5 + 1 / 3)
    assert (one.low, one.high) == pytest.approx((80 - reach, 80 + reach))
    assert one.inside
    assert (one.table, one.row, one.column) == ("3.F5", "net 0", "accuracy")


@pytest.mark.parametrize(("value", "inside"), [(80.3, True), (95.0, False), (65.0, False)])
def test_what_lies_outside_is_told(tmp_path, value, inside):
    old = folder(tmp_path / "old", {"3.F5": accuracies(80.0, 70.0)})
    new = folder(tmp_path / "new", {"3.F5": accuracies(value, 70.0)})
    assert [one.inside for one in compare(new, old)] == [inside, True]


def test_many_numbers_hold_together(tmp_path):
    """Runs alike in all but chance pass, though one in twenty leaves its own 95 % interval."""
    random, passed = np.random.default_rng(0), 0
    for trial in range(60):
        samples = random.normal(80, 2, (2, 5, 40))
        paths = [
            folder(tmp_path / f"{trial} {i}", {"t": {
                "net": range(40), "accuracy": s.mean(0), "std": s.std(0, ddof=1), "runs": 5,
            }})
            for i, s in enumerate(samples)
        ]  # fmt: skip
        passed += all(one.inside for one in compare(paths[1], paths[0]))
    assert passed >= 53


def test_rows_are_found_by_what_they_are_about(tmp_path):
    old = folder(tmp_path / "old", {"2.F4": {
        "epoch": [1, 5], "ASR CW": [50.0, 60.0], "ASR CW std": [1.0, 1.0]}}, folds=5)  # fmt: skip
    new = folder(tmp_path / "new", {"2.F4": {
        "epoch": [5, 9], "ASR CW": [60.5, 90.0], "ASR CW std": [1.0, 1.0]}}, folds=5)  # fmt: skip
    (one,) = compare(new, old)
    assert (one.row, one.committed, one.new, one.inside) == ("5", 60.0, 60.5, True)


@pytest.mark.parametrize("mean", [100.0, 40.0])
def test_equal_repeats_allow_one_test_image(tmp_path, mean):
    old = folder(tmp_path / "old", {"t": accuracies(mean, std=0.0)}, test=200)
    for value, inside in ((mean - 0.5, True), (mean - 0.6, False)):
        new = folder(tmp_path / f"new {value}", {"t": accuracies(value, std=0.0)}, test=200)
        assert compare(new, old)[0].inside == inside


def both(tmp_path, old, new, test=1000, **parameters):
    """What is compared of a table and another one like it."""
    folders = [
        folder(tmp_path / name, {"t": table}, test, **parameters)
        for name, table in (("new", new), ("old", old))
    ]
    return compare(*folders)


def test_what_stands_before_the_first_mean_says_what_a_row_is_about(tmp_path):
    """Be it a fraction; and a count behind it may differ between two runs."""
    old = {"variant": ["a", "a", "b"], "strength": [0.1, 0.3, 0.1], "clean": [50.0, 60.0, 70.0],
           "clean std": [1.0] * 3, "unchanged": [0, 1, 2]}  # fmt: skip
    new = old | {"clean": [50.1, 60.1, 70.1], "unchanged": [3, 1, 0]}
    compared = both(tmp_path, old, new, runs=5)
    assert [one.row for one in compared] == ["a, 0.1", "a, 0.3", "b, 0.1"]
    assert [one.new - one.committed for one in compared] == pytest.approx([0.1] * 3)


def test_a_std_belongs_to_the_mean_before_it(tmp_path):
    """As in 4.T2; what the paper prints is not compared."""
    old = {"source": ["vgg"], "adversarial": [30.0], "std": [1.0], "clean (printed)": [90.0],
           "clean std (printed)": [2.0]}  # fmt: skip
    (one,) = both(tmp_path, old, old | {"adversarial": [31.0]}, runs=5)
    assert (one.column, one.new) == ("adversarial", 31.0)


def test_what_has_one_repeat_or_no_value_is_not_compared(tmp_path):
    old = {"net": ["a", "b", "c"], "clean": [50.0, np.nan, 70.0], "clean std": [1.0, np.nan, 2.0],
           "searches": [1, 5, 5]}  # fmt: skip
    (one,) = both(tmp_path, old, old | {"clean": [51.0, 60.0, np.nan]})
    assert (one.row, one.inside) == ("c", False)  # where there was one, there has to be one


def test_one_test_image_is_no_measure_of_a_distance(tmp_path):
    """A change of at most 0.3 is not given in %."""
    old = {"epoch": [5], "robustness": [0.3], "robustness std": [0.0], "at cap (%)": [0.5],
           "at cap (%) std": [0.0]}  # fmt: skip
    new = old | {"robustness": [0.31], "at cap (%)": [1.5]}
    compared = {one.column: one.inside for one in both(tmp_path, old, new, test=100, folds=5)}
    assert compared == {"robustness": False, "at cap (%)": True}


def test_means_over_images_are_left_out(tmp_path):
    """2.T2's images are shared by the folds: they are no independent repeats."""
    old = {"attack": ["CW"], "L2": [0.5], "L2 std": [0.5], "images": [1500]}
    assert both(tmp_path, old, old, folds=5) == []
    (one,) = both(tmp_path / "3.F5", old | {"runs": [5]}, old | {"runs": [5]})
    assert one.inside


def test_one_new_repeat_is_compared(tmp_path):
    """The interval holds for a single value, too."""
    old, new = accuracies(80.0), accuracies(10.0, runs=1)
    (one,) = both(tmp_path, old, new)
    assert one.high - 80 == pytest.approx(stats.t.ppf(0.975, 4) * 2 * np.sqrt(1 / 5 + 1))
    assert not one.inside


def test_tables_without_repeats_are_left_out(tmp_path):
    tables = {"a": {"quantity": ["S1"], "difference": [1.5]}, "b": accuracies(50.0)}
    old, new = (folder(tmp_path / name, tables) for name in ("old", "new"))
    (new / "b.csv").unlink()
    assert compare(new, old) == []
