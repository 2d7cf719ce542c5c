import json
import re
import shutil
import warnings

import numpy as np
import pandas as pd
import pytest
import small_notebooks
from test_report import CIFAR, MNIST, SETTINGS, STUDY, report_in, split

import run_all
from kit import runtime
from kit.harness import page, plots, results, runner
from kit.harness.runner import notebook_page

TABLE = pd.DataFrame({"k": [1], "accuracy": [1 / 3], "std": [0.0123]})


@pytest.fixture
def folder(tmp_path):
    """A folder of results with one finished notebook."""
    report = report_in(tmp_path / "03_x")
    report.show("3.T1", TABLE, title="A table of <things>")
    images = plots.image_rows({"a": np.zeros((2, 1, 4, 4), np.uint8)}, {"a": "xy"})
    for id in ("3.F10", "3.F9"):
        report.show(id, images, title=f"Images of {id}")
    report.show("3.F9", TABLE, title="Numbers")
    report.show("3.F11", images)
    report.claim("3.C1", results.NOT_REPRODUCED, "−1 point", MNIST, "FGSM", survives_holm=True)
    report.claim("3.C1", results.UNDECIDED, "0 points", MNIST, "DeepFool", survives_holm=False)
    report.claim("3.C2", results.NOT_TESTED, "no such data", "CIFAR-10")
    report.finish()
    return tmp_path


def html_of(folder, *studies):
    return page.write(folder, studies).read_text(encoding="utf-8")


def claims_in(folder, claims):
    (folder / "03_x" / "claims.json").write_text(json.dumps(claims))


def claim(id, dataset, part, verdict, survives=None):
    return {
        "claim": id, "dataset": dataset, "part": part, "verdict": verdict, "statement": "s",
        "evidence": "e", "survives Holm": survives,
    }  # fmt: skip


def test_the_page_shows_everything(folder):
    html = html_of(folder)
    for expected in (
        "0.333 ± 0.012", "&lt;things&gt;", "03_x/3.F10.png", "not reproduced", "Some CPU",
        "print of mnist", "A table of", "−1 point",
    ):  # fmt: skip
        assert expected in html
    assert re.findall(r'<(?:section|div) id="(3.*?)"', html) == ["3.F9", "3.F10", "3.F11", "3.T1"]
    assert html.count("<img") == 3
    assert "<script" not in html
    assert not re.search(r'(?:src|href)="(?:https?:)?//', html)


def test_a_table_and_a_figure_of_one_name_both_show_their_titles(folder):
    html = html_of(folder)
    assert "<figcaption><b>3.F9</b> Images of 3.F9" in html
    assert '<span id="caption-3.F9"><b>3.F9</b> Numbers. The paper prints no such table.' in html
    assert re.search(r'src="03_x/3.F9.png" width="\d+" height="\d+" alt="Images of 3.F9."', html)


def test_the_matrix_comes_first_and_folds_away_what_was_not_tested(folder):
    html = html_of(folder)
    matrix = html[html.index('<table class="matrix"') :].partition("</table>")[0]
    assert html.index('<table class="matrix"') < html.index("<h2", html.index("<h2") + 1)
    assert re.findall(r'scope="col" role="columnheader">(.*?)<', matrix) == ["claim", "MNIST"]
    assert re.findall(r'id="claim-(.*?)"', matrix) == ["3.C1"]
    assert matrix.count("<details>") == 2
    assert "(✗)" not in matrix  # it survives
    folded = html[html.index("<summary>What was not tested") :].partition("</details>")[0]
    assert "03_x, CIFAR-10: no such data (3.C2)" in folded


@pytest.fixture
def committed(folder, tmp_path, monkeypatch):
    """The repository has results of the same notebook, on MNIST; its folder."""
    root = tmp_path / "repository"
    shutil.copytree(folder / "03_x", root / "figures" / "ci" / "03_x")
    monkeypatch.setattr(runtime, "root", lambda: root)
    return root / "figures" / "ci"


NUMBER = {"name": "", "estimate": 7.8431, "low": -3.877, "high": 11.81, "unit": "points"}


def test_a_run_stands_beside_the_results_of_the_repository(folder, committed):
    claims_in(folder, [
        claim("3.C1", "digits", "FGSM", results.REPRODUCED, True) | {"numbers": [NUMBER]},
        claim("3.C1", "digits", "DeepFool", results.REPRODUCED) | {"numbers": [NUMBER] * 2},
        claim("3.C9", "digits", "", results.NOT_REPRODUCED),
    ])  # fmt: skip
    study = results.Study("03_x", title="About x", finding="It holds.")
    html = html_of(folder, study)
    before, matrix = html[: html.index("<table")], html[html.index("<table") :]
    matrix = matrix.partition("</table>")[0]
    assert "<b>About x.</b> It holds." in before
    assert 'src="data:image/png;base64,' in before
    heads = re.findall(r'role="columnheader"(?: class="own")?>(.*?)<', matrix)
    assert heads == ["claim", "MNIST", "your run"]
    cells = re.findall(r'<td role="cell" class="own">.*?</td>', matrix, re.DOTALL)
    assert "<p>FGSM: 7.84 [−3.88, 11.8] points</p>" in cells[0]
    assert "DeepFool: 2 numbers" in cells[0]
    assert not any("verdict" in cell or "(✓)" in cell for cell in cells)
    assert re.findall(r'id="claim-(.*?)"', matrix) == ["3.C1", "3.C9"]
    assert "not reproduced" in matrix  # what the repository's says of MNIST


def test_a_run_on_the_same_data_has_verdicts_and_differences_are_marked(folder, committed):
    claims_in(folder, [
        claim("3.C1", "MNIST (part)", "FGSM", results.REPRODUCED, False),
        claim("3.C1", "MNIST (part)", "DeepFool", results.UNDECIDED),
    ])  # fmt: skip
    matrix = html_of(folder).partition('<table class="matrix"')[2]
    (cell,) = re.findall(r'<td role="cell" class="own">.*?</td>', matrix, re.DOTALL)
    ours, same = re.findall(r"<details>.*?</details>", cell, re.DOTALL)
    assert ("≠" in ours, "≠" in same) == (True, False)
    assert 'title="the larger run: not reproduced"' in ours
    assert "(✓)" in ours
    assert "may be luck" in ours


def test_every_paper_has_its_finding_in_a_sentence():
    studies = runner.studies(runner.notebooks(run_all.NOTEBOOKS, run_all.EXPERIMENTS))
    assert len(studies) == 4
    assert all(study.finding.endswith(".") and study.title for study in studies)


def test_the_page_of_the_repository_itself_has_one_column_for_each_data_set(committed):
    assert "your run" not in html_of(committed)


def test_claims_are_counted_once_by_their_worst_verdict(folder):
    good, bad, open_ = results.REPRODUCED, results.NOT_REPRODUCED, results.UNDECIDED
    claims_in(folder, [
        claim("3.C1", "MNIST", "FGSM", good), claim("3.C1", "MNIST", "DeepFool", bad),
        claim("3.C2", "MNIST", "", good), claim("3.C3", "MNIST", "", good),
        claim("3.C3", "SVHN", "", open_), claim("3.C4", "SVHN", "", results.NOT_TESTED),
    ])  # fmt: skip
    html = html_of(folder)
    counts = re.findall(r"<li>(\d) <span class=\"verdict (.*?)\"", html)
    assert counts == [("1", "reproduced"), ("1", "not-reproduced"), ("1", "undecided")]
    assert "Of 3 claims" in html


def test_tables_look_as_in_the_notebook(folder):
    table = pd.DataFrame({"net": ["a"], "distance": [296.2], "std": [270.4]})
    report = report_in(folder / "04_y")
    report.show("4.T1", table)
    report.finish()
    assert "<td>300 ± 270</td>" in html_of(folder)


@pytest.mark.parametrize("survives", [True, False, None])
def test_a_decided_verdict_says_whether_it_survives_holm(folder, survives):
    claims_in(folder, [claim("3.C1", "MNIST", "", results.REPRODUCED, survives)])
    html = html_of(folder)
    assert ("Survives Holm's correction." in html) == (survives is True)
    assert ("does not survive Holm's correction." in html) == (survives is False)
    assert ("(✓)" in html) == (survives is False)


def test_the_study_chooses_the_headline_and_names_the_paper(folder):
    study = results.Study("03_x", title="A title", citation="Who & Who", headline="3.F10")
    html = html_of(folder, study)
    assert "A title</h2>" in html
    assert "Who &amp; Who" in html
    assert re.findall(r'<(?:section|div) id="(3.*?)"', html)[0] == "3.F10"


def test_a_headline_of_several_data_sets_is_that_of_the_first():
    study = results.Study("03_x", headline="3.F9")
    found = [
        {"name": f"3.F9-{on}", "id": "3.F9", "dataset": on, "figure": "title"}
        for on in ("cifar10", "mnist")
    ]
    assert page._headline(found, study, ["mnist", "cifar10"])["dataset"] == "mnist"
    assert page._headline([{**found[0], "figure": None}], study, ["mnist"]) is None


def test_a_figure_says_what_was_found_on_its_own_data(tmp_path):
    report = results.Report(STUDY, SETTINGS, [MNIST, CIFAR], tmp_path / "b")
    images = plots.image_rows({"a": np.zeros((2, 1, 4, 4), np.uint8)}, {"a": "xy"})
    report.show("3.C1", images, MNIST, "Curves")
    report.claim("3.C1", results.REPRODUCED, "2 points [1, 3]", MNIST)
    report.claim("3.C1", results.UNDECIDED, "7 points", CIFAR)
    report.finish()
    html = html_of(tmp_path, results.Study("b", claims=STUDY.claims))
    assert 'alt="Curves. 3.C1 on MNIST: reproduced, 2 points [1, 3]."' in html


def test_data_sets_whose_names_begin_alike_keep_their_own_verdicts(tmp_path):
    mine, more = split("my", "my"), split("my-digits", "my-digits")
    report = results.Report(STUDY, SETTINGS, [mine, more], tmp_path / "b")
    for data, verdict in ((mine, results.REPRODUCED), (more, results.UNDECIDED)):
        report.show("3.C1", TABLE, data, "Of one data set")
        report.claim("3.C1", verdict, f"of {data.name} alone", data, "FGSM")
    report.show("3.C1", TABLE, title="Of both")
    report.show("3.C1", TABLE, mine, "Part of it", part="FGSM")
    report.finish()
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    study = results.Study("b", claims=STUDY.claims)
    found = page._results(tmp_path / "b", manifest, report.claims, study)
    assert {one["name"]: (one["dataset"], one["claims"]) for one in found} == {
        "3.C1": ("", {"3.C1": results.UNDECIDED}),
        "3.C1-my": ("my", {"3.C1": results.REPRODUCED}),
        "3.C1-my.digits": ("my-digits", {"3.C1": results.UNDECIDED}),
        "3.C1-my-FGSM": ("my", {}),
    }


def test_studies_name_results_that_their_notebooks_show():
    studies = runner.studies(runner.notebooks(run_all.NOTEBOOKS, run_all.EXPERIMENTS))
    assert len(studies) == 4
    for study in studies:
        assert study.title
        assert study.citation
        assert set(study.shown_by) <= set(study.claims)
        source = (runtime.root() / "notebooks" / f"{study.notebook}.ipynb").read_text()
        for id in {study.headline, *(id for ids in study.shown_by.values() for id in ids)}:
            assert id in study.names or f'\\"{id}\\"' in source, id


def test_lost_files_do_not_stop_the_page(folder):
    (folder / "03_x" / "3.F10.png").unlink()
    (folder / "03_x" / "3.T1.csv").unlink()
    assert re.findall(r'<(?:section|div) id="(3.*?)"', html_of(folder)) == ["3.F9", "3.F11"]


def test_an_unfinished_notebook_is_left_out(folder):
    report_in(folder / "04_y").show("3.T1", pd.DataFrame({"k": [1]}), title="Half")
    assert "04_y" not in html_of(folder)


DRAW = """
import matplotlib.pyplot as plt
from IPython.display import HTML, Markdown, display
display(Markdown("so $a_1$"), HTML("<table><tr><td>cell</td></tr></table>"))
figure, axes = plt.subplots()
display(figure, metadata={"image/png": {"alt": "What it shows"}})
plt.close(figure)
"""


@pytest.fixture
def executed(tmp_path):
    """The page of a small notebook that the runner executed, with a finished one beside it."""
    small = small_notebooks.notebook(tmp_path / "03_a.ipynb", DRAW, small_notebooks.FINISH)
    whole = json.loads(small.path.read_text())
    text = "# Title\n\n$$\\lVert x \\rVert_2$$ and $\\frac{$, see [it](../figures/a.md), <b>x</b>"
    whole["cells"].insert(0, {"cell_type": "markdown", "source": text, "metadata": {}})
    small.path.write_text(json.dumps(whole))
    outcome = runner.execute(small, {}, tmp_path / "out")
    assert outcome.failure == ""
    return tmp_path / "out"


def test_an_executed_notebook_becomes_a_page_that_needs_no_network(executed):
    html = (executed / "03_a.html").read_text(encoding="utf-8")
    assert "<title>Title</title>" in html
    assert "<script" not in html
    assert "default-src 'none'" in html  # nor would a browser run or fetch one
    assert set(re.findall(r'https?://[^"\s<)]+', html)) == {"http://www.w3.org/1998/Math/MathML"}
    assert html.count("<math") == 2
    assert "<code>\\frac{</code>" in html  # a broken equation stays as it was written
    assert 'alt="What it shows"' in html
    assert "<td>cell</td>" in html
    link = re.search(r'href="([^"]*a\.md)"', html)[1]
    assert (executed / link).resolve() == runtime.root() / "figures" / "a.md"


def test_a_notebooks_page_is_made_without_a_warning(executed):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as PYTHONWARNINGS=error does
        notebook_page.write(executed / "03_a.ipynb")


def test_the_page_links_to_the_executed_notebook(executed):
    assert '<a href="03_a.html">' in html_of(executed)
    assert "Also executed" not in html_of(executed)


def test_a_notebook_without_claims_is_linked_too(folder):
    (folder / "00_tour.html").write_text("")
    assert '<p>Also executed: <a href="00_tour.html">00_tour</a>.</p>' in html_of(folder)
