import base64
import dataclasses
import hashlib
import json
import re
import subprocess
import sys
import zipfile
from types import SimpleNamespace

import hypothesis
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from matplotlib import pyplot as plt

from kit import data, runtime
from kit.experiments.reference import REFERENCE
from kit.harness import plots, results, steps
from kit.harness.results.screen import on_screen

STUDY = results.Study(
    notebook="03_x",
    reference=REFERENCE,
    datasets={"mnist": "MNIST", "cifar10": "CIFAR-10"},
    claims={"3.C1": "It rises.", "3.C2": "Mirror images do no harm."},
    names={"3.F5": {"mnist": "3.F5", "cifar10": "3.F6"}, "3.F7": {"mnist": "3.F7"}},
    only={"3.C2": ("cifar10",), "flip": ("cifar10", "svhn")},
)
SETTINGS = SimpleNamespace(parameters={"runs": 2})
TABLE = pd.DataFrame({"set": ["FGSM", "FGSM"], "k": [1, 7], "accuracy": [55.0, 0.0]})


def split(name, title):
    about = data.About(title, "somewhere", (1, 8, 8), ("a", "b"), 1000, 200, 500)
    return data.Split(name, fingerprint=f"print of {name}", about=about)


MNIST, CIFAR = split("mnist", "MNIST"), split("cifar10", "CIFAR-10 (JPEG copy)")
DIGITS = split("digits", "digits")


def result(seconds=1.5):
    hardware = {"processor": "Some CPU", "threads": 1, "torch": "2.15.0", "device": "cpu"}
    record = {"hardware": hardware, "seconds": seconds, "step": "s"}
    return steps.Result({"answer": 42}, None, record, key=f"key {seconds}")


def report_in(folder):
    return results.Report(STUDY, SETTINGS, {"mnist": [MNIST, result()]}, folder)


@pytest.fixture
def report(tmp_path):
    return report_in(tmp_path / "03_x")


@pytest.fixture
def figure():
    figure, axes = plt.subplots(figsize=(1, 1))
    axes.plot([1, 2])
    plt.close(figure)
    return figure


@pytest.fixture
def published(monkeypatch):
    """What a notebook displays."""
    shown = []
    monkeypatch.setattr("kit.harness.results.report._shell", lambda: object())
    monkeypatch.setattr("IPython.display.display", lambda result, **options: shown.append(result))
    return shown


def manifest_of(report):
    return json.loads((report.folder / "manifest.json").read_text(encoding="utf-8"))


def test_a_result_has_the_papers_name_or_its_data_sets():
    assert STUDY.name("3.F5", "mnist") == STUDY.name("3.F5") == "3.F5"
    assert STUDY.name("3.F5", "cifar10") == "3.F6"
    assert STUDY.name("3.F5", "cifar10", "FGSM") == "3.F6-FGSM"
    assert STUDY.name("3.F5", "digits") == "3.F5-digits"
    assert STUDY.name("3.X9", "mnist", "FGSM") == "3.X9-mnist-FGSM"
    assert STUDY.name("3.X9", part="FGSM") == "3.X9-FGSM"


NAMES = st.from_regex(r"\w[\w-]{0,9}", fullmatch=True)


@hypothesis.settings(max_examples=200, deadline=None)
@given(st.sets(st.tuples(NAMES, st.sampled_from(["", "FGSM", "white-box"])), max_size=6))
@example({("my-digits", ""), ("my", "digits"), ("my", ""), ("my-", "FGSM"), ("my-digits", "FGSM")})
def test_no_two_results_have_one_name(about):
    study = results.Study("03_x")
    assert len({study.name("3.X9", dataset, part) for dataset, part in about}) == len(about)


def test_the_names_of_an_index_are_shown_and_written(report):
    table = pd.DataFrame({"net": list("aab"), "attack": list("xyx"), "rate": [1.5, 2.0, 3.0]})
    named = {
        "one": table.groupby("net")[["rate"]].mean(),
        "two": table.set_index(["net", "attack"]),
        "unnamed": table[["rate"]].set_axis(list("xyz")),
        "twice": table.set_index(table["net"] + "!"),
        "rows": table[["rate"]][::-1],
    }
    columns = {"one": ["net", "rate"], "two": ["net", "attack", "rate"], "rows": ["rate"],
               "unnamed": ["index 1", "rate"],
               "twice": ["index 1", "net", "attack", "rate"]}  # fmt: skip
    for part, frame in named.items():
        report.show("3.X9", frame, part=part)
        written = pd.read_csv(report.folder / f"3.X9-{part}.csv")
        assert list(written) == columns[part]
    assert pd.read_csv(report.folder / "3.X9-twice.csv")["index 1"].tolist() == ["a!", "a!", "b!"]
    assert "| b" in (report.folder / "3.X9-one.md").read_text()


def test_claims_and_traits_may_concern_some_data_sets_alone():
    assert STUDY.concerns("3.C1", "digits")
    assert STUDY.concerns("3.C2", "cifar10")
    assert not STUDY.concerns("3.C2", "mnist")
    assert not STUDY.concerns("flip", "mnist")
    with pytest.raises(
        ValueError, match=r"knows no claim or trait 'flips': it has 3\.C1, 3\.C2, flip"
    ):
        STUDY.concerns("flips", "cifar10")


def test_what_a_run_did_not_test_is_listed_in_the_papers_order():
    rows = [("3.C1", "MNIST"), ("3.C1", "CIFAR-10"), ("3.C2", "CIFAR-10")]
    assert list(STUDY.not_tested(["digits"])) == rows
    assert list(STUDY.not_tested(["digits", "mnist"])) == rows[1:]
    assert not list(STUDY.not_tested(["cifar10", "mnist"]))


def test_a_claim_that_was_judged_is_not_listed_as_not_tested(report):
    """A run may use a data set for some claims alone."""
    report.claim("3.C1", results.REPRODUCED, "2 [1, 3]", "CIFAR-10", "FGSM")
    report.not_tested(["mnist"])
    listed = [(c["claim"], c["dataset"]) for c in report.claims[1:]]
    assert listed == [("3.C2", "CIFAR-10")]
    assert report.claims[1]["verdict"] == results.NOT_TESTED


def test_a_study_needs_no_more_than_its_notebook():
    assert results.Study("00_x").name("0.F1", "digits") == "0.F1-digits"
    assert not list(results.Study("00_x").not_tested([]))


def test_printed_values_stand_beside_ours_and_only_where_the_data_are_the_papers(report):
    report.show("3.F5", TABLE, MNIST, "title")
    written = pd.read_csv(report.folder / "3.F5.csv")
    assert list(written.columns) == ["set", "k", "accuracy", "accuracy (printed)"]
    assert np.isnan(written["accuracy (printed)"][0])
    assert written["accuracy (printed)"][1] == 0
    report.show("3.F5", TABLE, DIGITS, "title")
    report.show("3.F5", TABLE, MNIST, "title", as_printed=False)
    endings = {
        "3.F5": "The paper's values are of another size",
        "3.F5-digits": "The paper prints no",
    }
    for name, ending in endings.items():
        written = pd.read_csv(report.folder / f"{name}.csv")
        pd.testing.assert_frame_equal(written, TABLE, check_dtype=False)
        text = (report.folder / f"{name}.md").read_text()
        assert f"title. {ending}" in text


def test_every_reference_table_is_readable():
    names = [path.stem for path in REFERENCE.glob("*.csv")]
    assert names
    for name in names:
        table = results.Study("x", reference=REFERENCE).printed(name)
        assert len(table)
        # Of the paper's Table 4 our copy is damaged.
        assert table.isna().any().any() == (name == "4.T4")


def test_tables_and_figures_are_byte_stable(tmp_path):
    def digests(folder):
        report = report_in(folder)
        frame = pd.DataFrame({"run": [1, 2] * 2, "k": [1, 1, 3, 3], "accuracy": [1.0, 2, 3, 4]})
        report.show("t", frame, title="title")
        lines = frame.assign(set="a")
        figure = plots.lines(lines, {"p": ["a"]}, x="k", y="accuracy", hue="set", labels=("K", "%"))
        report.show("f", figure, DIGITS, "title", part="FGSM")
        return {p.name: hashlib.sha256(p.read_bytes()).digest() for p in folder.iterdir()}

    first = digests(tmp_path / "a")
    with mpl.rc_context({"font.size": 20, "svg.fonttype": "none", "savefig.bbox": "tight"}):
        second = digests(tmp_path / "b")
    stem = "f-digits-FGSM"
    assert set(first) == {"t.csv", "t.md", f"{stem}.png", f"{stem}.svg"}
    assert first == second


def test_a_table_and_a_figure_of_one_name_keep_their_titles(report, figure):
    report.show("3.F7", TABLE, MNIST, "Slopes")
    report.show("3.F7", figure, MNIST, "p-values")
    report.finish()
    manifest = manifest_of(report)
    about = {"id": "3.F7", "dataset": "mnist", "part": ""}
    title = "Slopes. The paper prints no such table."
    assert manifest["tables"] == {"3.F7": about | {"title": title}}
    assert manifest["figures"] == {"3.F7": about | {"title": "p-values"}}


def test_the_manifest_says_what_each_result_is_about(report):
    report.show("3.F5", TABLE, CIFAR, part="FGSM")
    report.show("3.F5", TABLE)
    fields = [(e["id"], e["dataset"], e["part"]) for e in report.tables.values()]
    assert list(report.tables) == ["3.F6-FGSM", "3.F5"]
    assert fields == [("3.F5", "cifar10", "FGSM"), ("3.F5", "", "")]


def test_neither_table_nor_figure_is_refused(report):
    with pytest.raises(ValueError, match=r"3\.F5 is a list: show a pandas DataFrame or"):
        report.show("3.F5", [1, 2], MNIST)
    assert not list(report.folder.iterdir())


def test_the_manifest_comes_last_and_says_how_the_numbers_were_made(tmp_path):
    once = result(2.25)
    tree = {"mnist": [MNIST, once, result(1)], "cifar10": {"net": once, "split": CIFAR, "n": 3}}
    report = results.Report(STUDY, SETTINGS, tree, tmp_path)
    report.claim("3.C1", results.UNDECIDED, "1 point", MNIST)
    assert not (tmp_path / "manifest.json").exists()
    report.finish()
    assert [claim["verdict"] for claim in report.claims] == ["undecided"]
    manifest = manifest_of(report)
    assert list(manifest) == [
        "notebook", "kit", "finished", "seconds", "hardware", "parameters", "packages", "data",
        "tables", "figures",
    ]  # fmt: skip
    assert (manifest["notebook"], manifest["seconds"]) == ("03_x", 3.2)
    assert manifest["parameters"] == {"runs": 2}
    assert [machine["processor"] for machine in manifest["hardware"]] == ["Some CPU"]
    with zipfile.ZipFile(tmp_path / "results.zip") as archive:  # what says more of each task
        entries = [
            json.loads(archive.read(n))
            for n in archive.namelist()
            if n.startswith("s/") and n.endswith(".json")
        ]
    assert sorted(entry["record"]["seconds"] for entry in entries) == [1, 2.25]
    assert manifest["data"]["cifar10"] == {
        "title": "CIFAR-10 (JPEG copy)", "source": "somewhere", "fingerprint": "print of cifar10",
        "train": 1000, "test": 200,
    }  # fmt: skip
    results.Report(STUDY, SETTINGS, tree, tmp_path)
    assert not (tmp_path / "manifest.json").exists()  # a new run has begun


def test_results_lie_among_the_custom_ones_unless_a_folder_is_named():
    assert report_in("").folder == runtime.folder("figures") / "custom" / "03_x"


@pytest.mark.parametrize(
    ("dataset", "title"),
    [(MNIST, "MNIST"), (SimpleNamespace(title="MNIST"), "MNIST"), ("SVHN", "SVHN"), (None, "")],
)
def test_a_claim_says_what_it_was_tested_on(report, dataset, title):
    report.claim("3.C1", results.REPRODUCED, "2 points", dataset, "FGSM")
    report.finish()
    (claim,) = json.loads((report.folder / "claims.json").read_text())
    assert list(claim.items()) == [
        ("claim", "3.C1"), ("dataset", title), ("part", "FGSM"), ("verdict", "reproduced"),
        ("statement", "It rises."), ("evidence", "2 points"), ("survives Holm", None),
    ]  # fmt: skip


def test_verdicts_are_there_to_read_too(report):
    report.claim("3.C1", results.UNDECIDED, "|cos| grows by 2 points", MNIST, "FGSM", False)
    report.finish()
    text = (report.folder / "claims.md").read_text()
    assert re.search(r"\| 3.C1 +\| MNIST, FGSM \| \*\*undecided\*\* \| +\| \\\|cos\\\| grows", text)
    assert "- **3.C1** It rises." in text


def test_verdicts_judged_at_once_say_whether_they_survive(report, published):
    samples = {"sure": [5.0, 5.1, 5.2], "lucky": [1.0, 2.0, 1.4], "open": [1.0, -1.0, 0.5]}

    def judged():
        for label, values in samples.items():
            yield "3.C1", results.positive(values, "points"), MNIST, label

    report.claim("3.C2", results.NOT_TESTED, "no such data", MNIST)
    report.judge(judged())
    # Where they are judged, without what was not tested.
    cells = re.findall("<td[^>]*>(.*?)</td>", published[-1]["text/html"])
    assert list(zip(cells[2::5], cells[3::5], strict=True)) == [
        ("reproduced", "yes"), ("reproduced", "no"), ("undecided", "")
    ]  # fmt: skip
    report.claims.pop(0)
    found = [(claim["part"], claim["verdict"], claim["survives Holm"]) for claim in report.claims]
    assert found == [
        ("sure", results.REPRODUCED, True), ("lucky", results.REPRODUCED, False),
        ("open", results.UNDECIDED, None),
    ]  # fmt: skip


def test_an_invented_verdict_or_claim_is_refused(report):
    with pytest.raises(ValueError, match="none of reproduced"):
        report.claim("3.C1", "probably", "", MNIST)
    with pytest.raises(ValueError, match=r"'3\.C9' is none of 3\.C1, 3\.C2"):
        report.claim("3.C9", results.REPRODUCED, "", MNIST)
    assert not report.claims


@pytest.mark.parametrize(
    ("mean", "std", "text"),
    [
        (71.62, 7.511, "71.6 ± 7.5"), (71.62, 0.0996, "71.62 ± 0.10"), (94.9, 12.3, "95 ± 12"),
        (296.2, 270.4, "300 ± 270"), (-0.1096, 0.062, "−0.110 ± 0.062"), (0.3, 0.0, "0.3 ± 0"),
        (1.0, 2.94e-7, "1.000 ± 0.000"), (-0.1234, 1e-9, "−0.1234 ± 0.0000"),
        (99.5, 1e-6, "99.50 ± 0.00"), (54321.5, 0.2, "54321.50 ± 0.20"),
        (3e-7, 1e-7, "3e−07 ± 1e−07"), (3e-7, 1e-17, "3e−07 ± 0"),
        (2.0, 1.8e-4, "2.00000 ± 0.00018"), (5.0, np.nan, "5"), (np.nan, np.nan, "–"),
        (np.inf, np.nan, "∞"), (-0.01, 1.4, "0.0 ± 1.4"),
    ],
)  # fmt: skip
def test_on_screen_a_standard_deviation_has_two_digits(mean, std, text):
    shown = on_screen(pd.DataFrame({"net": ["a"], "accuracy": [mean], "std": [std]}))
    assert shown.to_dict("list") == {"net": ["a"], "accuracy": [text]}


def test_on_screen_each_column_meets_its_own_spread():
    names = ["L0", "L0 std", "L0 (printed)", "L0 std (printed)", "sharpness", "std_of_sharpness"]
    shown = on_screen(pd.DataFrame([[8.0, 1.0, 9.0, 2.0, 3.0, 0.5]], columns=names))
    assert shown.iloc[0].to_dict() == {
        "L0 (printed)": "8.0 ± 1.0 (9.0 ± 2.0)", "sharpness": "3.00 ± 0.50",
    }  # fmt: skip
    alone = pd.DataFrame({"mean": [2.0], "images": [3], "low": [-0.549], "high": [0.027]})
    assert on_screen(alone).iloc[0].to_dict() == {
        "mean": "2", "images": "3", "interval": "[−0.55, 0.03]",
    }  # fmt: skip
    from_file = pd.DataFrame({"L0": [1024], "L0 std": [0]})  # whole numbers, as a CSV has them
    assert on_screen(from_file).iloc[0].to_dict() == {"L0": "1024 ± 0"}
    tested = {"difference": [-0.33, np.nan], "low": [-0.413, np.nan], "high": [-0.244, np.nan]}
    behind = on_screen(pd.DataFrame({"S": ["S1", "S5"], **tested, "used": [8, 0], "of": [9, 9]}))
    assert behind.to_dict("list") == {
        "S": ["S1", "S5"], "difference": ["−0.330 [−0.413, −0.244]", "–"],
        "used": ["8 of 9", "0 of 9"],
    }  # fmt: skip
    printed = {"net": ["Ref", "HE"], "clean": [50.0, 51.0], "clean (printed)": [53.4, np.nan]}
    assert list(on_screen(pd.DataFrame(printed))["clean (printed)"]) == ["50 (53.4)", "51"]
    unknown = pd.DataFrame({"low": [np.nan, -np.inf], "high": [np.nan, 1.0]})
    assert list(on_screen(unknown)["interval"]) == ["–", "[−∞, 1]"]


def test_a_figure_names_its_data_once(report, figure):
    report.show("3.F7", figure, MNIST, "p-values")
    assert figure.get_suptitle() == "MNIST"
    named, axes = plt.subplots()
    axes.set_title("MNIST")
    plt.close(named)
    report.show("3.F7", named, MNIST, "p-values", part="b")
    report.show("3.F7", plt.Figure(), None, "p-values")
    assert not named.get_suptitle()


CELLS = """
import sys, tempfile
import pandas as pd
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config
sys.path.insert(0, {tests!r})
from test_report import report_in, STUDY
shell = InteractiveShell(config=Config(HistoryManager={{"enabled": False}}))
InteractiveShell._instance = shell
shell.user_ns |= dict(
    report=report_in(tempfile.mkdtemp()), frame=pd.DataFrame({{"unicorn": [1.0], "std": [0.5]}})
)
for cell in (
    "report.show('t', frame)",
    "for _ in range(2): report.show('t', frame)",
    "import matplotlib.figure; report.show('f', matplotlib.figure.Figure())",
):
    print("=== cell")
    shell.run_cell(cell, store_history=True)
"""


def test_a_cell_shows_a_result_once(tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    code = CELLS.format(tests=str(runtime.root() / "tests"))
    out = subprocess.check_output([sys.executable, "-c", code], text=True)
    shown = out.split("=== cell")[1:]
    assert [cell.count("unicorn") for cell in shown] == [1, 2, 0]
    assert [cell.count("1.00 ± 0.50") for cell in shown] == [1, 2, 0]
    assert shown[-1].count("Figure") == 1


def test_a_figure_in_a_notebook_has_an_alternative_text(report, figure, published):
    report.show("3.F7", figure, MNIST, 'p-values on "MNIST"')
    assert 'alt="p-values on &quot;MNIST&quot;"' in published[-1]["text/html"]
    assert set(published[-1]) == {"text/html", "text/plain"}


def test_a_long_table_scrolls_by_keyboard_too(report, published):
    report.show("3.F7", pd.DataFrame({"k": range(100)}), MNIST, "Hundred rows")
    page = published[-1]["text/html"]
    assert page.count("<tr") == 101
    assert re.search(
        r'<div [^>]*max-height[^>]*tabindex="0" role="region" aria-label="3.F7">', page
    )


COMMITTED = runtime.root() / "figures" / "paper" / "03_knn_tradeoff"


@pytest.fixture
def of_03(report):
    """A report of notebook 03, of which there are committed results."""
    report.study = dataclasses.replace(STUDY, notebook=COMMITTED.name)
    return report


def test_the_committed_figure_stands_beside(of_03, published):
    """Once, from the larger of two profiles, with its title as its text."""
    of_03.committed("3.F5", "mnist")
    name, picture = published
    title = json.loads((COMMITTED / "manifest.json").read_text())["figures"]["3.F5"]["title"]
    assert name.data == f"**3.F5** of the committed results, profile paper: {title}"
    assert title in picture["text/html"]
    content = base64.b64encode((COMMITTED / "3.F5.png").read_bytes()).decode()
    assert content in picture["text/html"]


def test_a_figure_that_is_not_committed_is_one_sentence(of_03, published):
    of_03.committed("3.F5", "stl10")
    (said,) = published
    assert said.data.startswith("**3.F5-stl10** is not among the committed results")


def test_committed_results_do_not_stand_beside_themselves(of_03, published):
    of_03.parameters = json.loads((COMMITTED / "manifest.json").read_text())["parameters"]
    of_03.committed("3.F5", "mnist")
    assert published == []


def test_a_title_is_text_and_no_page(report, figure, published):
    report.show("3.F7", figure, MNIST, "<img src=x onerror=alert(1)> & co")
    assert published[0].data == "**3.F7** &lt;img src=x onerror=alert(1)&gt; &amp; co"


def test_importing_results_loads_nothing_heavy():
    heavy = {"scipy", "pandas", "matplotlib", "seaborn", "torch", "IPython"}
    code = f"import sys, kit.harness.results; print({heavy} & set(sys.modules))"
    out = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=runtime.root())
    assert out.strip() == "set()"
