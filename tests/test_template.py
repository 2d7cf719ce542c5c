"""What CONTRIBUTING says, done: a fifth paper from the template, and an attack of one's own."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from kit import runtime

CONTRIBUTING = (runtime.root() / "CONTRIBUTING.md").read_text(encoding="utf-8")
TEMPLATE = runtime.root() / "docs" / "template"
# A comment of the document says where the code below it goes.
SHOWN = re.compile(r"<!-- (file|line): (.*?) -->\n```python\n(.*?)```\n<!-- end -->", re.DOTALL)
PLACES = {
    "noise_tolerance.py": "kit/experiments",
    "05_noise_tolerance.ipynb": "notebooks",
    "test_noise_tolerance.py": "tests",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project with a fifth paper."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("kit", "notebooks", "pyproject.toml", "run_all.py"):
        source = runtime.root() / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    (folder / "tests").mkdir()
    for name, place in PLACES.items():
        shutil.copy(TEMPLATE / name, folder / place)
    return folder


def run(project, *command):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("KIT_")}
    environment |= {"PYTHONPATH": str(project), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *command]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)


def test_its_notebook_runs(project):
    smaller = ("-p", "05.train=400", "-p", "05.test=200", "-p", "05.epochs=10")
    done = run(project, "run_all.py", "--only", "05", "--device", "cpu", "--jobs", "1", *smaller)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = project / "figures" / "custom" / "05_noise_tolerance"
    claims = json.loads((folder / "claims.json").read_text(encoding="utf-8"))
    assert [claim["verdict"] for claim in claims] == ["reproduced", "not tested in this profile"]
    assert (folder / "5.F1-digits.png").is_file()
    assert "Noise tolerance" in (project / "figures" / "custom" / "index.html").read_text("utf-8")


def test_its_own_tests_pass(project):
    done = run(project, "-m", "pytest", "-q", "-n0", "tests", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout + done.stderr


def test_contributing_names_every_file():
    assert all(f"docs/template/{name}" in CONTRIBUTING for name in PLACES)


def follow(project):
    """Put the code that the document shows where it says; how many files it concerns."""
    changed = set()
    for kind, where, code in SHOWN.findall(CONTRIBUTING):
        name, _, how = where.partition(", ")
        path, (verb, _, begin) = project / name, how.partition(": ")
        changed.add(name)
        if kind == "file":
            assert not path.exists()
            path.write_text(code, encoding="utf-8")
            continue
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        (place,) = [number for number, line in enumerate(lines) if line.startswith(begin)]
        lines[place] = code if verb == "for" else lines[place] + code
        path.write_text("".join(lines), encoding="utf-8")
    return changed


def test_an_attack_of_ones_own_stands_in_every_table_of_notebook_03(project):
    assert len(follow(project)) == 4
    steps = project / "kit" / "experiments" / "knn_tradeoff" / "steps.py"
    text = steps.read_text(encoding="utf-8")
    steps.write_text(text.replace("version=4", "version=5"), encoding="utf-8")
    values = ("runs=2", "train=300", "test=200", "epochs=1", "control_draws=1")
    smaller = [word for value in values for word in ("-p", f"03.{value}")]
    done = run(project, "run_all.py", "--only", "03", "--device", "cpu", "--jobs", "1", *smaller)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = project / "figures" / "custom" / "03_knn_tradeoff"
    for name in ("3.F5-digits", "3.F7-digits", "3.Net-digits"):
        assert "momentum" in (folder / f"{name}.csv").read_text(encoding="utf-8")
    claims = json.loads((folder / "claims.json").read_text(encoding="utf-8"))
    assert any("momentum" in json.dumps(claim) for claim in claims)
