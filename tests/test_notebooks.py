"""The notebooks: stripped, inspectable, and executed by papermill as a user would."""

import functools
import json
import os
import re
import subprocess
import sys
import time

import nbformat
import papermill
import psutil
import pytest
from papermill.cli import papermill as papermill_command

import run_all
from kit import runtime
from kit.constraints import OF_TYPE
from kit.harness import runner

DATED = ("manifest.json", "ro-crate-metadata.json", "results.zip")  # what holds dates and seconds
PATHS = sorted((runtime.root() / "notebooks").glob("*.ipynb"))
PAPERS = [path for path in PATHS if not path.stem.startswith("00_")]  # the tour has its own tests
TINY = {
    "01_evolved_perturbations": {
        "train": 100, "test": 60, "search_train": 60, "generations": 2, "popsize": 3, "epochs": 2,
        "curve_epochs": 2,
        "search_seeds": 2, "larger_seeds": 1, "control_seeds": 1, "rescored": 2, "repeats": 1,
        "uniforms": 2, "table_nets": ["resnet8"], "table_epochs": 1, "alphas": 3, "cam_images": 5,
    },
    "02_overfitting_vs_robustness": {
        "train": 100, "test": 50, "folds": 2, "epochs": 2, "pgd_steps": 2, "attack_images": 10,
        "metric_images": 10, "eps_step": 0.1, "clever_images": 2, "clever_batches": 2,
        "clever_batch_size": 5,
    },
    "03_knn_tradeoff": {
        "runs": 2, "z": 5, "train": 300, "test": 200, "epochs": 1, "control_draws": 1,
    },
    "04_neuroevolution_gm": {
        "runs": 1, "train": 100, "test": 50, "size": 8, "sources": ["linear"], "pgd_steps": 2,
        "population": 2, "children": 1, "generations": 1, "distance": 1.0, "blocks": 6,
        "search_train": 50, "search_epochs": 1, "epochs": 1, "strengths": [1.0],
    },
}  # fmt: skip
LISTS = ("sources", "strengths", "table_nets")


@pytest.fixture(scope="module", params=PATHS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture(scope="module", params=PAPERS, ids=lambda path: path.stem)
def paper(request):
    return request.param


def cells(path):
    return nbformat.read(path, as_version=4).cells


def test_in_git_without_outputs_and_with_parameters(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    tagged = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    assert tagged[0] is code[0]


def test_no_cell_is_longer_than_a_screen(path):
    for cell in cells(path):
        shown = re.sub("<details>.*?</details>", "", cell.source, flags=re.DOTALL).splitlines()
        if "parameters" in cell.metadata.get("tags", []):  # a line for each of them, and no other
            shown = [line for line in shown if not re.match(r"\w+: \w+ = |# Change a value", line)]
        assert len(shown) <= 30


def test_no_cell_is_there_twice_or_unfinished(path):
    sources = [cell.source for cell in cells(path)]
    assert len(set(sources)) == len(sources)
    assert not [source for source in sources if "TODO" in source]


def test_nothing_is_announced_on_a_terminal_that_it_does_not_show(path):
    """It shows what is printed, and nothing that is displayed."""
    for cell in cells(path):
        assert not re.search(r"print\(.*:\W*\)\n\s*display\(", cell.source), cell.source


def test_the_header_says_what_it_takes_and_what_came_out(path):
    header = cells(path)[0].source
    takes, result = (
        next(line for line in header.splitlines() if line.startswith(start))
        for start in ("**Takes", "**Result")
    )
    assert "quick" in takes
    assert "figures/" in result  # where the numbers come from


def test_inspection_sees_every_parameter_with_its_type_and_help(path):
    source = next(c.source for c in cells(path) if "parameters" in c.metadata.get("tags", []))
    lines = [line for line in source.splitlines() if line and not line.startswith("#")]
    found = papermill.inspect_notebook(str(path))
    assert list(found) == [line.partition(":")[0] for line in lines]
    for name, parameter in found.items():
        assert parameter["inferred_type_name"] in OF_TYPE, name
        assert len(parameter["help"]) > 10, name
    for parameter in runner.Notebook(path).parameters.values():
        assert type(parameter.default).__name__ == parameter.type


def test_parameters_and_settings_are_the_same(paper):
    """A parameter stands on one line of the notebook and in one declaration of its settings."""
    notebook = runner.Notebook(paper, run_all.EXPERIMENTS)
    declared = notebook.experiment.Settings.__dataclass_fields__
    assert set(notebook.parameters) == set(declared)
    defaults = {p.name: p.default for p in notebook.parameters.values()}
    config = notebook.experiment.Settings.read(defaults)
    assert config.parameters.items() <= defaults.items()


@pytest.fixture(scope="module")
def execute(tmp_path_factory):
    """``papermill NOTEBOOK out.ipynb -p runs 2 …`` from another folder, once per notebook."""

    @functools.cache
    def execute(path):
        folder = tmp_path_factory.mktemp("executed")
        options = ["-p", "jobs", "1"]  # one process; process pools have tests of their own
        for name, value in TINY[path.stem].items():  # -p takes no lists
            listed = ["-y", json.dumps({name: value})]
            options += listed if name in LISTS else ["-p", name, str(value)]
        with pytest.MonkeyPatch.context() as here:
            here.setenv("KIT_FIGURES", str(folder / "figures"))
            here.chdir(folder)
            papermill_command([str(path), "out.ipynb", *options], standalone_mode=False)
        return folder / "out.ipynb", folder / "figures" / "custom" / path.stem

    return execute


@pytest.fixture
def executed(paper, execute):
    return execute(paper)


def test_papermill_executes_it_from_any_folder(paper, executed):
    manifest = json.loads((executed[1] / "manifest.json").read_text())
    assert manifest["parameters"].items() >= TINY[paper.stem].items()
    assert not {"data_root", "device", "out", "jobs", "scheduler"} & set(manifest["parameters"])
    for kind, suffix in (("tables", "csv"), ("figures", "png")):
        assert manifest[kind]
        for name, entry in manifest[kind].items():
            assert (executed[1] / f"{name}.{suffix}").is_file(), name
            assert len(entry["title"]) > 10, name


def test_every_claim_gets_a_verdict(paper, executed):
    claims = json.loads((executed[1] / "claims.json").read_text())
    study = runner.Notebook(paper, run_all.EXPERIMENTS).experiment.STUDY
    assert {claim["claim"] for claim in claims} == set(study.claims)
    judged = {claim["claim"] for claim in claims if claim["dataset"].startswith("digits")}
    assert judged == set(study.claims)


def test_every_result_is_displayed(paper, executed):
    outputs = [o for cell in cells(executed[0]) for o in cell.get("outputs", ())]
    manifest = json.loads((executed[1] / "manifest.json").read_text())
    pages = [o["data"]["text/html"] for o in outputs if "text/html" in o.get("data", {})]
    for kind, element in (("figures", "<img "), ("tables", "<table ")):
        assert sum(page.count(element) for page in pages) >= len(manifest[kind])
    assert not [o for o in outputs if "image/png" in o.get("data", {})]
    alts = re.findall(r'<img [^>]*alt="([^"]*)"', "".join(pages))
    assert len(alts) == sum(page.count("<img ") for page in pages)
    assert min(map(len, alts)) > 20


def test_nothing_is_written_to_the_error_stream_but_progress(executed):
    outputs = [o for cell in cells(executed[0]) for o in cell.get("outputs", ())]
    errors = [o["text"] for o in outputs if o.get("name") == "stderr"]
    assert not [text for text in errors if "Warning" in text], errors


def test_a_killed_kernel_is_reported_and_its_finished_runs_are_kept(execute, tmp_path):
    """Killed after its first study and run again: the bytes of the undisturbed run by papermill."""
    path = next(path for path in PATHS if path.stem == "03_knn_tradeoff")
    options = [f"-p03.{name}={value}" for name, value in TINY[path.stem].items()]

    def run_all():
        return subprocess.Popen(
            [sys.executable, runtime.root() / "run_all.py", *options, "--jobs=1", "--device=cpu"],
            env={**os.environ, "KIT_STEPS": str(tmp_path / "steps"), "KIT_FIGURES": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )

    disturbed = run_all()
    studies = tmp_path / "steps" / "knn_tradeoff.study"
    while not list(studies.glob("[!.]*.json")):
        assert disturbed.poll() is None, disturbed.stderr.read()
        time.sleep(0.02)
    kernels = [
        p
        for p in psutil.Process(disturbed.pid).children(recursive=True)
        if "ipykernel_launcher" in " ".join(p.cmdline())
    ]
    assert len(kernels) == 1
    kernels[0].kill()
    out, err = disturbed.communicate(timeout=120)
    assert disturbed.returncode == 1
    assert "its kernel died" in err
    assert "FAILED" in out
    results = tmp_path / "custom"
    assert not (results / path.stem).exists()
    assert (results / f"{path.stem}.failed.ipynb").exists()
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "steps").rglob("[!.]*.json")}
    assert before

    resumed = run_all()
    shown, err = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, shown + err
    assert before.items() <= {p: p.stat().st_mtime_ns for p in before}.items()
    tables, undisturbed = (
        {p.name: p.read_bytes() for p in folder.iterdir() if p.name not in DATED}
        for folder in (results / path.stem, execute(path)[1])
    )
    assert tables == undisturbed
    assert {"3.F5-digits.md", "3.F5-digits.csv", "3.F5-digits.svg", "claims.json"} <= set(tables)
    assert (results / "index.html").exists()
    assert not (results / f"{path.stem}.failed.ipynb").exists()
    hidden = [p.name for p in results.iterdir() if p.name.startswith(".")]
    assert hidden == [f".{path.stem}.lock"]


def test_a_lesson_fits_its_time_and_every_section_has_its_minutes(paper):
    """Goals, what to know before, and minutes stand before the first cell of code."""
    texts = [cell.source for cell in cells(paper) if cell.cell_type == "markdown"]
    (head,) = [text for text in texts if text.startswith("**Goals.**")]
    assert texts.index(head) == 1
    assert "**You should know**" in head
    plan = head.partition("**Minutes.**")[2]
    lessons = [re.findall(r"(\d+) \((\d+)\)", lesson) for lesson in plan.split(". ")]
    sections = re.findall(r"^## (\d+) · ", "\n\n".join(texts), re.MULTILINE)
    assert [section for lesson in lessons for section, _ in lesson] == sections
    assert all(sum(int(minutes) for _, minutes in lesson) <= 45 for lesson in lessons)
    begun = [text for text in texts if "*The second lesson begins here." in text]
    assert len(begun) == ("Second lesson" in plan)
    for text in begun:
        assert f"## {lessons[1][0][0]} · " in text
