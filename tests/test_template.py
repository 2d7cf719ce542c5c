"""The template of a fifth paper: put where CONTRIBUTING says, it runs and its tests pass."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from kit import runtime

TEMPLATE = runtime.root() / "docs" / "template"
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
    text = (runtime.root() / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert all(f"docs/template/{name}" in text for name in PLACES)
