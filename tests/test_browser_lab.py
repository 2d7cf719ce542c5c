"""The notebooks in a real JupyterLab, driven by chromium as a reader would drive it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import types
import urllib.error
import urllib.request

import nbformat
import pytest

from kit import runtime
from kit.harness.classroom import editions

TOKEN = "only-for-this-test"
# JupyterLab shows errors and what is written to the error stream alike.
WARNINGS = "[data-mime-type='application/vnd.jupyter.stderr']"
PICTURES = ".jp-OutputArea-output img"
SLIDERS = ".jp-OutputArea-output input[type=range]"
MINUTES = 60_000  # of Playwright's milliseconds
WAITING = (  # in JavaScript: is there a cell marked [*]?
    "[...document.querySelectorAll('.jp-Notebook .jp-InputPrompt')]"
    ".some(prompt => prompt.innerText.includes('*'))"
)
# Long enough to be interrupted, short enough for a test.
SMALL = {"train": 300, "test": 200, "z": 5, "epochs": 30, "control_draws": 1}
# In the kernel itself: an interrupt of its processes has tests of its own (test_steps.py).
DEFAULTS = {"00_start_here": {"epochs": 1}, "03_knn_tradeoff": SMALL | {"jobs": 1}}
NO_PICTURE_HIDDEN = {"windowingMode": "none"}  # cells out of sight are in the page, too


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def copy_notebooks(folder):
    """Students' editions of the tour and of notebook 03 with small defaults."""
    for name, values in DEFAULTS.items():
        path = editions.write(runtime.root() / "notebooks" / f"{name}.ipynb", folder, "student")
        notebook = nbformat.read(path, as_version=4)
        cell = next(c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
        for parameter, value in values.items():
            begin = rf"(?m)^({parameter}: \w+) = \S+"
            cell.source, count = re.subn(begin, rf"\1 = {value}", cell.source)
            assert count == 1
        nbformat.write(notebook, path)


def environment(home):
    """Nothing of the user's is read or written: Jupyter, IPython, results and steps are here."""
    settings = home / "settings" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True)
    (settings / "tracker.jupyterlab-settings").write_text(json.dumps(NO_PICTURE_HIDDEN))
    own = {
        "JUPYTER_TOKEN": TOKEN, "JUPYTERLAB_SETTINGS_DIR": home / "settings",
        "PYTHONPATH": os.pathsep.join([str(runtime.root()), os.environ.get("PYTHONPATH", "")]),
    }  # fmt: skip
    for name in (
        "JUPYTER_CONFIG_DIR",
        "JUPYTER_DATA_DIR",
        "JUPYTER_RUNTIME_DIR",
        "IPYTHONDIR",
        "JUPYTERLAB_WORKSPACES_DIR",
        "KIT_STEPS",
        "KIT_FIGURES",
    ):
        own[name] = home / name.lower()
    return os.environ | {name: str(value) for name, value in own.items()}


def answer(url, path):
    request = urllib.request.Request(url + path, headers={"Authorization": f"token {TOKEN}"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


@pytest.fixture(scope="module")
def lab(tmp_path_factory, browser):
    """A JupyterLab of this test's own: its address, and the folders it works in."""
    home = tmp_path_factory.mktemp("lab")
    copy_notebooks(home / "notebooks")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    options = [
        "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0", "--LabApp.news_url=None",
        f"--ServerApp.root_dir={home / 'notebooks'}",
    ]  # fmt: skip
    log = home / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options],
            env=environment(home),
            stdout=output,
            stderr=output,
        )
    try:
        wait_until_it_answers(server, url, log)
        yield types.SimpleNamespace(url=url, home=home)
    finally:
        server.send_signal(signal.SIGTERM)  # it shuts its kernels down
        try:
            server.wait(timeout=30)
        except subprocess.TimeoutExpired:
            server.kill()


def wait_until_it_answers(server, url, log):
    for _ in range(1200):
        assert server.poll() is None, log.read_text()
        try:
            return answer(url, "/api/status")
        except urllib.error.URLError:
            time.sleep(0.1)
    raise AssertionError(f"JupyterLab does not answer: {log.read_text()}")


def open_notebook(lab, browser, name):
    """A page with a notebook whose kernel is ready."""
    page = browser.new_page(viewport={"width": 1300, "height": 900})
    page.set_default_timeout(MINUTES)
    page.goto(f"{lab.url}/lab/tree/{name}.ipynb?token={TOKEN}&reset")
    page.wait_for_selector("#jp-main-statusbar >> text=/\\| Idle/")
    return page


def choose(page, menu, entry):
    """Click an entry of a menu."""
    page.locator(".lm-MenuBar-itemLabel", has_text=re.compile(f"^{menu}$")).click()
    page.locator(".lm-Menu-itemLabel", has_text=re.compile(f"^{entry}$")).click()


def prompts(page):
    return page.locator(".jp-Notebook .jp-CodeCell .jp-InputPrompt").all_inner_texts()


def wait_for_the_end(page, minutes=4):
    """Wait until no cell is computing or waiting."""
    page.wait_for_function(f"() => !({WAITING})", timeout=minutes * MINUTES)


def run_all(page):
    choose(page, "Run", "Run All Cells")
    page.wait_for_function(f"() => {WAITING}")


@pytest.fixture(scope="module")
def tour(lab, browser):
    """The tour after Run All."""
    page = open_notebook(lab, browser, "00_start_here")
    run_all(page)
    wait_for_the_end(page)
    yield page
    page.close()


def test_it_finds_a_kernel(lab):
    found = answer(lab.url, "/api/kernelspecs")
    wanted = nbformat.read(lab.home / "notebooks" / "00_start_here.ipynb", as_version=4)
    assert wanted.metadata.kernelspec.name in found["kernelspecs"]


def test_the_tour_runs_without_an_error_or_a_warning(tour):
    assert all(re.fullmatch(r"\[\d+\]:", prompt) for prompt in prompts(tour))
    assert tour.locator(WARNINGS).count() == 0
    assert tour.locator(".jp-Dialog").count() == 0


def tracebacks(page):
    """What cells show that failed with more than one sentence."""
    return [text for text in page.locator(WARNINGS).all_inner_texts() if "Traceback" in text]


def texts(page):
    """The alternative texts of all pictures."""
    return page.locator(PICTURES).evaluate_all("images => images.map(img => img.alt)")


def test_every_picture_and_slider_of_the_tour_is_there(tour):
    tour.wait_for_selector(SLIDERS)
    assert tour.locator(PICTURES).count() == tour.locator(SLIDERS).count() == 4
    assert all(
        tour.locator(PICTURES).nth(i).evaluate("img => img.naturalWidth > 300") for i in range(4)
    )
    assert min(map(len, texts(tour))) > 20


def moved(page, label, move):
    """Which pictures `move` changes, once one has, and whether the slider says its new value."""
    slider = page.get_by_role("slider", name=label, exact=True)  # as a screen reader finds it
    before, said = texts(page), slider.get_attribute("aria-valuetext")
    move(slider)
    page.wait_for_function(
        "([pictures, before]) => [...document.querySelectorAll(pictures)]"
        ".some((img, i) => img.alt !== before[i])",
        arg=[PICTURES, before],
        timeout=30_000,  # half a second on a quiet machine, which this one may not be
    )
    assert slider.get_attribute("aria-valuetext") != said
    return [i for i, (a, b) in enumerate(zip(before, texts(page), strict=True)) if a != b]


@pytest.mark.parametrize(
    ("label", "place", "key"),
    [
        ("classes", 0, "ArrowLeft"),
        ("ε", 1, "ArrowRight"),
        ("K", 2, "ArrowRight"),
        ("training", 3, "Home"),
    ],
)
def test_a_slider_moved_by_the_keyboard_changes_its_picture(tour, label, place, key):
    assert moved(tour, label, lambda slider: slider.press(key)) == [place]
    assert tracebacks(tour) == []


def test_a_slider_moved_by_the_mouse_changes_its_picture(tour):
    def click(slider):
        box = slider.bounding_box()
        slider.click(position={"x": 0.9 * box["width"], "y": box["height"] / 2})

    assert moved(tour, "ε", click) == [1]


def replace_line(page, begin, line):
    """Type a line of code in place of the one that begins so."""
    page.locator(".cm-line", has_text=re.compile(f"^{begin}")).first.click()
    for key in ("Home", "Shift+End", "Delete"):
        page.keyboard.press(key)
    page.keyboard.type(line)


@pytest.fixture
def study(lab, browser):
    """Notebook 03, not yet run."""
    page = open_notebook(lab, browser, "03_knn_tradeoff")
    yield page
    page.close()


def run_cell(page, begin):
    """Run the cell with a line that begins so, and wait until it has run."""
    page.locator(".cm-line", has_text=re.compile(f"^{begin}")).first.click()
    before = prompts(page)
    page.keyboard.press("Control+Enter")
    page.wait_for_function(
        f"before => !({WAITING}) && before !== [...document.querySelectorAll("
        "'.jp-Notebook .jp-CodeCell .jp-InputPrompt')].map(prompt => prompt.innerText).join()",
        arg=",".join(before),
    )


def refusal(page):
    """What the one cell that failed says."""
    (said,) = page.locator(WARNINGS).all_inner_texts()
    return said.strip()


def test_what_is_run_out_of_order_or_mistyped_is_refused_in_one_line(study):
    run_cell(study, "import numpy")
    assert refusal(study) == "The parameters have no values yet: first run the cell that sets them."
    run_cell(study, "runs: int")
    run_cell(study, "import numpy")
    run_cell(study, "A = ")
    assert refusal(study) == (
        "'computed' has no value yet: first run the cell that begins with “computed = "
        "steps.compute(plan, **c.where)” (2 · Images that fool), or choose Run › Run All Above "
        "Selected Cell."
    )
    study.locator(".cm-line", has_text=re.compile("^A = ")).first.click()
    choose(study, "Edit", "Clear Cell Output")
    replace_line(study, "runs: int", "rnus: int = 4")
    run_cell(study, "rnus: int")
    run_cell(study, "import numpy")
    assert refusal(study) == (
        "There is no parameter 'rnus', so that it changes nothing: did you mean 'runs'?"
    )


def test_a_parameter_is_changed_and_a_run_interrupted_and_run_again(lab, study):
    replace_line(study, "runs: int", "runs: int = 4  # typed by hand")
    run_all(study)
    kept = interrupt_after_the_first_task(study, lab.home / "kit_steps")
    wait_for_the_end(study)
    assert tracebacks(study) == []
    assert re.search(r"Interrupted: \d+ of \d+ tasks", study.locator(WARNINGS).inner_text())
    assert prompts(study)[-1] == "[ ]:"

    run_all(study)
    wait_for_the_end(study)
    assert tracebacks(study) == []
    assert not [text for text in study.locator(WARNINGS).all_inner_texts() if "Warning" in text]
    assert all(re.fullmatch(r"\[\d+\]:", prompt) for prompt in prompts(study))
    assert {path: path.stat().st_mtime_ns for path in kept} == kept  # nothing was done twice
    results = lab.home / "kit_figures" / "custom" / "03_knn_tradeoff"
    manifest = json.loads((results / "manifest.json").read_text())
    assert manifest["parameters"].items() >= (SMALL | {"runs": 4}).items()
    of_slider, committed = 1, 3
    assert len(texts(study)) == of_slider + committed + len(manifest["figures"])
    assert min(map(len, texts(study))) > 20
    assert moved(study, "K", lambda slider: slider.press("ArrowLeft")) == [0]


def interrupt_after_the_first_task(page, store):
    """Interrupt the kernel from the menu; the records stored until then, and their dates."""
    for _ in range(1200):
        records = list(store.glob("knn_tradeoff.*/[!.]*.json"))
        if records:
            break
        page.wait_for_timeout(100)
    assert records
    choose(page, "Kernel", "Interrupt Kernel")
    return {path: path.stat().st_mtime_ns for path in records}


ANSWERS = {  # what a student types, and what the check says
    "{5: 5 / 7, 3: 22 / 35, 1: 4 / 7}": "Not yet. Those are the shares of wrong ones.",
    "{5: '29 %', 3: '37 %', 1: '43 %'}": "Not yet. Of 5, asked for is a number, and this is text.",
    "0.29": "Not yet. Asked for is a mapping, and this is a number.",
    "{5: 2 / 7, 3: 13 / 35, 1: 3 / 7}": "Right.",
}


def test_a_student_makes_three_mistakes_and_then_is_right(study):
    run_all(study)
    wait_for_the_end(study)
    said = study.locator(".jp-CodeCell", has_text="check(4, answer_4)").locator(
        ".jp-OutputArea-output"
    )
    assert said.inner_text().startswith("No answer yet. Asked for: the share of orders")
    for typed, sentence in ANSWERS.items():
        replace_line(study, "answer_4 =", f"answer_4 = {typed}")
        study.keyboard.press("Shift+Enter")
        study.keyboard.press("Shift+Enter")
        study.wait_for_function(f"() => !({WAITING})")
        study.wait_for_timeout(200)
        assert said.inner_text().strip() == sentence
    assert not tracebacks(study)
    question = study.locator(".jp-CodeCell", has_text="guess(4)")
    question.get_by_label("No, it stays at none.").check()
    question.get_by_text("No. Compute it and see.").wait_for()
