"""Solutions of the exercises: every exercise has one, and its code runs after the notebook."""

import re
import types

import nbformat
import notebook
import pytest
from matplotlib.figure import Figure
from test_notebooks import TINY

from kit import runtime
from kit.harness import classroom
from kit.harness.classroom import session

NAMES = (
    "01_evolved_perturbations", "02_overfitting_vs_robustness", "03_knn_tradeoff",
    "04_neuroevolution_gm",
)  # fmt: skip
FOLDED = re.compile(r"<details><summary>Solution</summary>\n\n(.*?)\n\n</details>", re.DOTALL)
CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module", params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def cells(name):
    return nbformat.read(runtime.root() / "notebooks" / f"{name}.ipynb", as_version=4).cells


def exercises(cells):
    """The cells from the heading on: one for each exercise, after the heading's own."""
    markdown = [cell.source for cell in cells if cell.cell_type == "markdown"]
    start = next(k for k, text in enumerate(markdown) if text.startswith("## Exercises"))
    return markdown[start + 1 :]


def test_every_exercise_has_one_folded_solution(cells):
    texts = exercises(cells)
    assert [int(re.match(r"(\d+)\. ", text)[1]) for text in texts] == [*range(1, len(texts) + 1)]
    for text in texts:
        (solution,) = FOLDED.findall(text)
        assert len(CODE.sub("", solution).split()) > 10  # it says what comes out, and why


def test_there_is_something_to_try_before_the_exercises(cells):
    markdown = [cell.source for cell in cells if cell.cell_type == "markdown"]
    (text,) = [text for text in markdown if text.startswith("## Try it")]
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert 3 <= len(rows) <= 5
    source = next(c.source for c in cells if "parameters" in c.metadata.get("tags", []))
    for row in rows:
        for parameter in re.findall(r"(\w+) = ", row.split("|")[1]):
            assert f"\n{parameter}: " in source


def shown(*arguments, **options):
    return types.SimpleNamespace(display_id=0, update=shown)


def test_the_solutions_run_in_the_finished_notebook(name, monkeypatch, tmp_path):
    monkeypatch.setattr(Figure, "savefig", lambda figure, *a, **k: None)  # drawn, but not rendered
    values = TINY[name] | {"out": str(tmp_path / "results"), "device": "cpu", "jobs": 1}
    names = notebook.run(name, shown, **values)
    assert (tmp_path / "results" / "manifest.json").is_file()
    for exercise in classroom.read(runtime.root() / "notebooks" / f"{name}.ipynb"):
        assert_checked(exercise, names)


def assert_checked(exercise, names):
    """The solution passes its own check, and likely wrong answers are recognised."""
    solved = session.run(exercise, names)
    assert session.judged(exercise, solved["answer"], solved) == "Right."
    for say, code in exercise.slips.items():
        slip = eval(str(code), dict(solved))
        if not classroom.agree(slip, solved["answer"], exercise.within):
            assert session.judged(exercise, slip, solved).startswith("Not yet.")
            told = session.judged(exercise, slip, solved).removeprefix("Not yet. ")
            assert told == say or told in exercise.slips
