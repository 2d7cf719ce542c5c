"""Comparing a run with committed results."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from kit.results.comparison import compare


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


def test_equal_repeats_allow_one_test_image(tmp_path):
    old = folder(tmp_path / "old", {"t": accuracies(100.0, std=0.0)}, test=200)
    for value, inside in ((99.5, True), (99.4, False)):
        new = folder(tmp_path / f"new {value}", {"t": accuracies(value, std=0.0)}, test=200)
        assert compare(new, old)[0].inside == inside


def test_tables_without_repeats_are_left_out(tmp_path):
    tables = {"a": {"quantity": ["S1"], "difference": [1.5]}, "b": accuracies(50.0)}
    old, new = (folder(tmp_path / name, tables) for name in ("old", "new"))
    (new / "b.csv").unlink()
    assert compare(new, old) == []
