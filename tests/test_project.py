"""The files around the code agree with each other."""

import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import kit
from kit import page, runtime

ROOT = runtime.root()
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
REQUIREMENTS = [Requirement(text) for text in PYPROJECT["project"]["dependencies"]]
TESTING = [Requirement(r) for r in PYPROJECT["project"]["optional-dependencies"]["test"]]
CONSTRAINTS = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
)


@pytest.mark.parametrize("requirement", [*REQUIREMENTS, *TESTING], ids=lambda r: r.name)
def test_constraints_lie_within_the_bounds(requirement):
    assert Version(CONSTRAINTS[requirement.name]) in requirement.specifier
    assert any(s.operator == "<" for s in requirement.specifier) or requirement in TESTING


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda r: r.name)
def test_what_is_installed_lies_within_the_bounds(requirement):
    assert importlib.metadata.version(requirement.name) in requirement.specifier


def test_environment_names_python_pip_and_this_package_alone():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, packages = environment["dependencies"]
    assert python == f"python{PYPROJECT['project']['requires-python']}"
    assert pip == "pip"
    assert packages == {"pip": ["-e ."]}


def test_every_package_of_kit_is_installed():
    found = {
        str(p.parent.relative_to(ROOT)).replace("/", ".") for p in ROOT.glob("kit/**/__init__.py")
    }
    assert set(PYPROJECT["tool"]["setuptools"]["packages"]) == found


def test_one_version():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == kit.__version__


def test_readme_and_environment_use_files_that_exist():
    for document in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / document).read_text()
        for link in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (ROOT / link).exists(), f"{document} links to {link}"


def test_readme_shows_the_verdicts_of_the_reference_results():
    text = (ROOT / "README.md").read_text()
    notebooks = {claims.parent.name for claims in ROOT.glob("figures/*/*/claims.json")}
    assert notebooks == {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    for name in notebooks:
        folders = [ROOT / "figures" / profile / name for profile in ("paper", "ci")]
        shown = next(folder for folder in folders if (folder / "claims.json").is_file())
        assert page.at_a_glance(shown) in text


def test_reference_results_are_whole_and_name_no_place():
    for claims in ROOT.glob("figures/*/*/claims.json"):
        manifest = json.loads((claims.parent / "manifest.json").read_text())
        assert not {"data_root", "device", "out"} & set(manifest["parameters"])
        for title in manifest["titles"]:
            assert list(claims.parent.glob(f"{title}.*"))


FLOORS = {
    "runtime": 0, "steps": 0.5, "data": 1, "nets": 1, "training": 2, "attacks": 2, "neighbors": 2,
    "perturbations": 2, "robustness": 3, "divergence": 3, "explain": 3, "evolution": 4, "plots": 1,
    "pictures": 1.5, "results": 1, "page": 1.5, "experiments": 5, "analysis": 6, "runner": 7,
}  # fmt: skip


def test_rooms_import_only_from_floors_below():
    for path in ROOT.glob("kit/**/*.py"):
        room = path.relative_to(ROOT / "kit").parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        text = path.read_text()
        named = re.findall(r"^ *from kit\.(\w+)", text, re.M)
        listed = re.findall(r"^ *from kit import ([\w, ]+)", text, re.M)
        for other in [*named, *(n.strip() for line in listed for n in line.split(","))]:
            if other not in (room, "__version__"):
                assert FLOORS[other] < FLOORS[room] or other == "plots", f"{room} imports {other}"


def test_importing_kit_loads_nothing_heavy_that_it_may_not_need():
    heavy = {"seaborn", "torchvision", "papermill", "cma", "captum"}
    code = f"import sys, kit; print({heavy} & set(sys.modules))"
    out = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT)
    assert out.strip() == "set()"
