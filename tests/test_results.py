import hashlib
import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from kit import data, page, pictures, plots, results


@pytest.fixture(scope="module")
def record():
    hardware = {"processor": "Some CPU", "threads": 1, "torch": "2.15.0"}
    return {"result": {}, "record": {"hardware": hardware, "seconds": 1.5, "step": "s"}}


@pytest.fixture
def report(tmp_path, record):
    settings = {"runs": 2, "data_root": "/secret/place", "device": "cpu"}
    return results.Report("03_x", settings, [data.load("digits")], [record], tmp_path / "03_x")


def test_two_samples_agree_with_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 1, 12), rng.normal(0, 2, 12)
    found = results.two_samples(a, b)
    assert found["p Welch"] == stats.ttest_ind(a, b, equal_var=False).pvalue
    assert found["p paired"] == stats.ttest_rel(a, b).pvalue
    assert found["low"] < found["difference"] < found["high"]
    # The interval and the test must agree, since verdicts are read off the interval.
    assert (found["p Welch"] < 0.05) == (found["low"] > 0 or found["high"] < 0)


@pytest.mark.parametrize(("a", "b"), [([], []), ([1.0], [2.0]), ([1.0, 1.0], [2.0, 2.0])])
def test_samples_that_allow_no_test_give_nan(a, b):
    found = results.two_samples(np.array(a), np.array(b))
    assert np.isnan(found["p paired"])
    assert results.verdict(found["low"], found["high"]) in results.VERDICTS


def test_mean_interval_agrees_with_scipy():
    values = [3.0, 1.0, 4.0, 1.5]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert results.mean_interval(values)[1:] == pytest.approx(tuple(expected))


def test_values_without_a_number_are_left_out_and_counted():
    verdict, evidence = results.positive([2.0, 2.1, np.nan, np.inf], "points")
    assert verdict == results.REPRODUCED
    assert "over 2 runs, 2 without a value" in evidence


@pytest.mark.parametrize(
    ("value", "shown"), [(np.nan, "–"), (np.inf, "∞"), (-0.5, "−0.5"), (2, "2"), ("a", "a")]
)
def test_numbers_are_shown_as_people_read_them(value, shown):
    assert results.shown_number(value) == shown


def test_printed_values_stand_beside_ours_and_only_where_the_data_are_the_papers(report):
    ours = pd.DataFrame({"set": ["FGSM", "FGSM"], "k": [1, 7], "accuracy": [55.0, 0.0]})
    written = report.table("3.F5", ours, "title")
    assert list(written.columns) == ["set", "k", "accuracy", "accuracy (printed)"]
    assert np.isnan(written["accuracy (printed)"][0])
    assert written["accuracy (printed)"][1] == 0
    assert list(report.table("3.F5-digits", ours, "title").columns) == list(ours.columns)


def test_every_reference_table_is_readable():
    names = [path.stem for path in results._REFERENCE.glob("*.csv")]
    assert names
    for name in names:
        table = results.printed(name)
        assert len(table)
        assert not table.isna().any().any()


def test_tables_and_figures_are_byte_stable(tmp_path, record):
    def digests(folder):
        report = results.Report("n", {}, [], [record], folder)
        frame = pd.DataFrame({"run": [1, 2] * 2, "k": [1, 1, 3, 3], "accuracy": [1.0, 2, 3, 4]})
        report.table("t", frame, "title")
        lines = frame.assign(set="a")
        figure = plots.lines(lines, {"p": ["a"]}, x="k", y="accuracy", hue="set", labels=("K", "%"))
        report.figure("f", figure, "title")
        return {p.name: hashlib.sha256(p.read_bytes()).digest() for p in folder.iterdir()}

    first, second = digests(tmp_path / "a"), digests(tmp_path / "b")
    assert set(first) == {"t.csv", "t.md", "f.png", "f.svg"}
    assert first == second


def test_the_manifest_comes_last_and_names_no_place(report):
    report.claim("3.C1", "It rises.", "digits", results.UNDECIDED, "1 point")
    assert not (report.folder / "manifest.json").exists()
    report.finish()
    manifest = json.loads((report.folder / "manifest.json").read_text())
    assert manifest["parameters"] == {"runs": 2}
    assert manifest["data"]["digits"]["fingerprint"] == data.load("digits").fingerprint
    assert json.loads((report.folder / "claims.json").read_text())[0]["verdict"] == "undecided"


def test_an_invented_verdict_is_refused(report):
    with pytest.raises(ValueError, match="none of reproduced"):
        report.claim("3.C1", "It rises.", "digits", "probably", "")


def test_the_page_shows_everything(report):
    frame = pd.DataFrame({"k": [1], "accuracy": [1 / 3]})
    report.table("3.T1", frame, "A table of <things>")
    report.figure(
        "3.F9", pictures.image_rows({"a": np.zeros((2, 1, 4, 4), np.uint8)}, {"a": "xy"}), "F"
    )
    report.claim("3.C1", "It rises.", "digits", results.NOT_REPRODUCED, "−1 point")
    report.finish()
    html = page.write(report.folder.parent).read_text()
    for expected in ("0.3333", "&lt;things&gt;", "03_x/3.F9.png", "not reproduced", "Some CPU"):
        assert expected in html


def test_p_value_figure_takes_undefined_and_infinite_slopes():
    rows = {"attack": "a", "difference": [1.0, -1.0, np.nan], "quantity": ["S1", "S3", "S5"]}
    rows |= {"p Welch": [0.01, 1e-9, np.nan], "p paired": [0.02, 0.5, np.nan]}
    figure = plots.p_values(pd.DataFrame(rows).assign(mean=[1.0, 2.0, np.inf]))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert "infinite" in texts
    assert "95 %" in texts
    assert figure.axes[0].get_ylim()[0] < 1e-9
