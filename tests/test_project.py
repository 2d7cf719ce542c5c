"""The files around the code agree with each other."""

import ast
import importlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import setuptools
import yaml
from packaging.requirements import Requirement
from packaging.version import Version
from prose import linked

import kit
from kit import runtime
from kit.harness.results import claims

ROOT = runtime.root()
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
REQUIREMENTS = [Requirement(text) for text in PYPROJECT["project"]["dependencies"]]
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
TESTING, CLUSTER = ([Requirement(r) for r in EXTRAS[name]] for name in ("test", "cluster"))
CONSTRAINTS = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
)


@pytest.mark.parametrize("requirement", [*REQUIREMENTS, *TESTING, *CLUSTER], ids=lambda r: r.name)
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
        p.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for p in ROOT.glob("kit/**/__init__.py")
    }
    packages = setuptools.find_packages(ROOT, **PYPROJECT["tool"]["setuptools"]["packages"]["find"])
    assert set(packages) == found
    data = PYPROJECT["tool"]["setuptools"]["package-data"]["kit"]
    suffixes = (".css", ".csv", ".html", ".js", ".pyi", ".typed")
    wanted = {p for p in (ROOT / "kit").rglob("*") if p.suffix in suffixes}
    assert {p for pattern in data for p in (ROOT / "kit").glob(pattern)} == wanted


def test_a_folder_called_kit_does_not_hide_an_editable_installation(tmp_path):
    """Such as a clone of that name, in the folder where Python was started."""
    for name in ("pyproject.toml", "README.md", "LICENSE", "kit/__init__.py"):
        (tmp_path / "clone" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "clone" / name)
    build = f"from setuptools.build_meta import build_editable; build_editable({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=tmp_path / "clone", check=True)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    (tmp_path / "here" / "kit").mkdir(parents=True)
    code = (
        f"import site; site.addsitedir({str(tmp_path / 'site')!r}); import importlib.util; "
        "print(importlib.util.find_spec('kit').origin)"
    )
    # Without the packages of this environment, in which the kit itself is installed.
    run = [sys.executable, "-S", "-c", code]
    found = subprocess.check_output(run, cwd=tmp_path / "here", text=True, env={})
    assert found.strip() == str(tmp_path / "clone" / "kit" / "__init__.py")


def test_one_version():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == kit.__version__


def test_links_lead_to_files():
    for document in [ROOT / "CONTRIBUTING.md", *DOCUMENTS]:
        for link in linked(document.read_text(), document.parent):
            assert link.exists(), f"{document.name} links to {link}"


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < 150


def test_example_in_readme_runs(capsys):
    [example] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    exec(example, {})
    clean, attacked, by_k = capsys.readouterr().out.splitlines()
    assert float(attacked) < 0.5 < 0.8 < float(clean)
    assert set(ast.literal_eval(by_k)) == {1, 3, 5, 7}


def reference_results():
    """The folder with the reference results of each notebook: the paper's sizes go first."""
    for notebook in sorted((ROOT / "notebooks").glob("0[1-9]_*.ipynb")):
        folders = [ROOT / "figures" / profile / notebook.stem for profile in ("paper", "ci")]
        yield next(folder for folder in folders if (folder / "claims.json").is_file())


@pytest.mark.parametrize("folder", reference_results(), ids=lambda folder: folder.name)
def test_every_claim_has_a_verdict_on_every_data_set_of_its_paper(folder):
    study = importlib.import_module(f"kit.experiments.{folder.name[3:]}").STUDY
    known = {(claim["claim"], claims.dataset(claim)) for claim in claims.read(folder)}
    for dataset, title in study.datasets.items():
        for claim in study.claims:
            judged = (claim, title) in known
            assert judged == study.concerns(claim, dataset), (claim, title)


def test_reference_results_are_whole_and_name_no_place():
    for path in ROOT.glob("figures/*/*/manifest.json"):
        manifest = json.loads(path.read_text())
        assert not {"data_root", "device", "out"} & set(manifest["parameters"])
        for kind, suffix in (("tables", ".csv"), ("figures", ".png")):
            for name in manifest[kind]:
                assert (path.parent / f"{name}{suffix}").is_file()
        with zipfile.ZipFile(path.with_name("results.zip")) as results:
            names = [n for n in results.namelist() if n.endswith(".json") and "/" in n]
            assert names
            assert all(json.loads(results.read(name))["record"]["work"] > 0 for name in names)


def contracts(folder):
    """What import-linter says of a copy of kit: the contracts stand in pyproject.toml."""
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", code, str(ROOT / "pyproject.toml"), "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_no_module_imports_what_its_wing_may_not_know():
    status, said = contracts(ROOT)
    assert status == 0, said
    assert "0 broken" in said


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("attacks/noise.py", "from kit.harness import steps"),
        ("misalignment.py", "def f():\n    from kit.experiments import knn_tradeoff"),
        ("harness/results/report.py", "from kit.data import Split"),
        ("harness/plots/curves.py", "import kit.optimizers"),
        ("harness/steps/task.py", "from kit.harness.results import judge"),
        ("training/losses.py", "from kit.robustness import clever"),
        ("data/loading.py", "from kit.data import splits"),
        ("constraints.py", "from kit import runtime"),
    ],
)
def test_a_planted_import_is_found(module, line, tmp_path):
    shutil.copytree(ROOT / "kit", tmp_path / "kit")
    path = tmp_path / "kit" / module
    path.write_text(f"{path.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    status, said = contracts(tmp_path)
    assert status == 1
    assert Path(module).stem in said


def test_only_papers_reach_modules_through_the_package():
    """Whatever is written ``kit.attacks.pgd`` after ``import kit``, import-linter does not see."""
    for path in (ROOT / "kit").rglob("*.py"):
        if not path.is_relative_to(ROOT / "kit" / "experiments"):
            nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            names = [a.name for n in nodes if isinstance(n, ast.Import) for a in n.names]
            assert "kit" not in names, path


def test_run_all_imports_the_harness_alone():
    lines = (ROOT / "run_all.py").read_text(encoding="utf-8").splitlines()
    imported = [
        line.split()[1] for line in map(str.strip, lines) if re.match("(from|import) kit", line)
    ]
    assert imported
    assert all(name.startswith("kit.harness") for name in imported)


def loaded(code):
    """Which heavy packages some code imports in a fresh process."""
    heavy = {"torch", "pandas", "scipy", "sklearn", "matplotlib", "seaborn", "torchvision", "cma"}
    heavy |= {"papermill", "captum", "cv2"}
    code = f"import sys\n{code}\nprint(*sorted({heavy} & set(sys.modules)))"
    return subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT).split()


def test_importing_kit_loads_nothing():
    assert loaded("import kit, kit.data, kit.nets, kit.harness.steps, kit.harness.results") == []


def test_planning_a_study_on_known_data_loads_no_torch(tmp_path, monkeypatch):
    """What is known of a data set is kept beside the steps; then its images are not needed."""
    monkeypatch.setenv("KIT_STEPS", str(tmp_path))
    (tmp_path / "steps").mkdir()
    code = """
from kit.experiments.images import split
from kit.experiments import evolved_perturbations, knn_tradeoff, neuroevolution_gm
from kit.experiments import overfitting_vs_robustness
print("torch" in sys.modules)
split("digits", train=100)
"""
    assert loaded(code)[0] == "False"
    assert "torch" not in loaded(
        "from kit.experiments.images import split; split('digits', train=100)"
    )
