"""The tour: it runs to its end, its controls answer at once, its solutions hold."""

import gc
import json
import re
import subprocess
import sys
import time

import nbformat
import notebook
import pytest

from kit import runtime
from kit.harness import classroom, runner
from kit.harness.classroom import session

NAME = "00_start_here"
SECONDS = 0.5  # of computing: what else runs on the machine is not the tour's fault
EXTREMES = {"classes": (0, 10), "ε": (0.0, 0.3), "K": (1, 15), "training": (-1.0, 1.0)}


@pytest.fixture(scope="module")
def tour():
    """The screen and the names of the tour after a run with its own parameters."""
    with notebook.screen() as screen:
        yield screen, notebook.run(NAME)


def test_every_part_has_one_picture_and_one_slider(tour):
    screen, _ = tour
    assert {label: place for label, (_, place) in screen.sliders.items()} == {
        "classes": 0, "ε": 1, "K": 2, "training": 3
    }  # fmt: skip


@pytest.mark.parametrize("name", EXTREMES)
def test_a_slider_redraws_its_picture_within_half_a_second(tour, name):
    screen, _ = tour
    slider, place = screen.sliders[name]
    low, high = EXTREMES[name]
    assert (min(slider.values), max(slider.values)) == (low, high)
    pictures = []
    gc.collect()  # what other tests left behind is not the tour's to clear away
    for value in (low, high, low):
        if slider.value == value:  # a value that does not change redraws nothing
            slider.position = (slider.position + 1) % len(slider.values)
        changes, started = screen.changes, time.process_time()
        slider.position = slider.values.index(value)
        pictures.append(screen.pictures[place])
        assert time.process_time() - started < SECONDS
        assert screen.changes == changes + 1
    assert pictures[0] == pictures[2] != pictures[1]


def test_the_pictures_show_what_the_text_says(tour):
    """Each with a margin, since another processor's nets are other nets."""
    _, names = tour
    right = {
        name: names["training"].accuracy(names["taught"][name], names["x_test"], names["y_test"])
        for name in (0, 10)
    }
    assert right[10] < right[0] - 0.1
    assert int(names["training"].predict(names["reference"], names["image"])) == names["truth"]
    kept = {
        λ: names["training"].accuracy(net, names["fooling"], names["y_test"])
        for λ, net in names["pulled"].items()
    }
    assert kept[-1.0] < kept[0] < kept[1.0]
    assert kept[1.0] > kept[-1.0] + 0.1


def printed_percents(text):
    return [int(word) for word in text.replace("%", " ").split() if word.isdigit()]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_solution_runs_and_its_answer_is_what_it_prints(tour, number, capsys):
    _, names = tour
    after = dict(names)
    exec(notebook.solutions(NAME)[number - 1], after)
    exercise = classroom.read(runtime.root() / "notebooks" / f"{NAME}.ipynb")[number - 1]
    assert session.judged(exercise, after["answer"], after) == "Right."
    shown = capsys.readouterr().out.splitlines()
    percents = [printed_percents(line.partition(":")[2]) for line in shown]
    if number == 1:
        (own,), (same,) = percents
        assert same > own + 10
    elif number == 2:
        assert all(noise > attacked for noise, attacked in percents)
        assert percents[-1][0] > percents[-1][1] + 40
    else:
        transferred, own = percents[-1]  # of the misaligned net
        assert own < transferred - 20


def test_there_are_three_exercises_with_folded_solutions():
    assert len(notebook.solutions(NAME)) == 3


def test_solutions_are_found_and_nothing_else():
    text = (
        "```python\nshown = 1\n```\n"
        "<details><summary>Solution</summary>\n\n```python\na = 1\n```\nWhy.\n\n"
        "```python\nb = a\n```\n</details>\n"
        "<details><summary>Solution 2</summary>\nIn words.\n</details>\n"
    )
    assert notebook.folded(text) == ["a = 1\n\nb = a\n"]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            "trian: int = 5",
            "no parameter 'trian', so that it changes nothing: did you mean 'train'",
        ),
        ("epochs: 12", "The line epochs: 12 gives it no value: write epochs: int = 12."),
        ("train = 3", "train is 3: use a whole number from 10 to 1437"),
    ],
)
def test_a_mistyped_or_bad_parameter_is_refused_in_one_line(tour, line, sentence):
    """In a running kernel, where the right name still has its old value."""
    _, names = tour
    kernel = dict(names) | {"__annotations__": dict.fromkeys(notebook.parameters(NAME), int)}
    exec(line, kernel)
    with pytest.raises(ValueError, match=re.escape(sentence)) as refused:
        exec(notebook.code(NAME)[1], kernel)
    assert refused.value._render_traceback_() == [str(refused.value)]


def test_it_needs_no_experiment_and_no_results_folder():
    tour = runner.Notebook(runtime.root() / "notebooks" / f"{NAME}.ipynb")
    assert tour.experiment is None
    assert "out" not in tour.parameters


@pytest.fixture(scope="module")
def run_all(tmp_path_factory):
    """``run_all.py --only 00``, small: its figures' folder and what it printed."""
    folder = tmp_path_factory.mktemp("figures")
    options = ["-p", "00.epochs=1", "--out", folder]
    run = subprocess.run(
        [sys.executable, runtime.root() / "run_all.py", "--only", "00", *options],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return folder / "custom", run.stdout


def test_run_all_executes_it(run_all):
    folder, shown = run_all
    assert "finished" in shown
    cells = nbformat.read(folder / f"{NAME}.ipynb", as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    pages = "".join(o["data"]["text/html"] for o in outputs if "text/html" in o.get("data", {}))
    alts = re.findall(r'<img [^>]*alt="([^"]*)"', pages)
    assert len(alts) == pages.count("<img ") == 4
    assert min(map(len, alts)) > 20
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]


def test_its_controls_choose_without_a_kernel_a_script_and_a_network(run_all, browser):
    window = browser.new_context(java_script_enabled=False, offline=True)
    page = window.new_page()
    page.goto((run_all[0] / f"{NAME}.html").as_uri())
    assert page.locator("fieldset").count() == len(EXTREMES)
    assert "object at 0x" not in page.content()  # of the sliders that only a kernel can move
    assert "<script" not in page.content()
    for number in range(1, len(EXTREMES) + 1):
        buttons = page.locator(f".control-{number} input[type=radio]")
        pictures = page.locator(f".control-{number} .at")
        assert 3 <= buttons.count() == pictures.count() <= 20
        buttons.nth(0).check()
        assert [pictures.nth(k).is_visible() for k in range(pictures.count())].index(True) == 0
        buttons.nth(0).press("ArrowRight")
        shown = [pictures.nth(k).is_visible() for k in range(pictures.count())]
        assert shown.index(True) == 1
        assert sum(shown) == 1
    window.close()


def test_a_page_is_made_beside_it(run_all):
    assert (run_all[0] / "index.html").is_file()


def test_check_shows_its_parameters():
    shown = subprocess.check_output(
        [sys.executable, runtime.root() / "run_all.py", "--check", "--only", "00"], text=True
    )
    parameters = json.loads((runtime.root() / "notebooks" / f"{NAME}.ipynb").read_text())
    assert f"{NAME} (profile quick)" in shown
    assert parameters["cells"][1]["metadata"]["tags"] == ["parameters"]
    for name in notebook.parameters(NAME):
        assert name in shown
