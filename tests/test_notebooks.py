"""The notebooks: stripped, inspectable, and executed by papermill as a user would."""

import json
import os
import subprocess
import sys

import nbformat
import papermill
import pytest

from kit import runner, runtime

PATHS = sorted((runtime.root() / "notebooks").glob("*.ipynb"))
TINY = {
    "01_evolved_perturbations": {
        "train": 200, "test": 100, "search_train": 60, "generations": 2, "popsize": 3, "epochs": 2,
        "repeats": 2, "uniforms": 2, "table_epochs": 1, "alphas": 5, "cam_images": 5,
    },
    "02_overfitting_vs_robustness": {
        "train": 100, "test": 50, "folds": 2, "epochs": 2, "pgd_steps": 2, "attack_images": 10,
        "metric_images": 10, "eps_step": 0.1, "clever_images": 2, "clever_batches": 2,
        "clever_batch_size": 5,
    },
    "03_knn_tradeoff": {
        "runs": 2, "z": 5, "train": 300, "test": 200, "epochs": 1, "control_draws": 1,
    }
}  # fmt: skip


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request):
    return request.param


def test_in_git_without_outputs_and_with_parameters(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    tagged = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    assert tagged[0] is code[0]


def test_no_cell_is_longer_than_a_screen_and_none_defines_a_function(path):
    for cell in nbformat.read(path, as_version=4).cells:
        assert cell.source.count("\n") < 40
        if cell.cell_type == "code":
            assert "def " not in cell.source
            assert "class " not in cell.source


def test_inspection_sees_every_parameter_with_its_type_and_help(path):
    cells = nbformat.read(path, as_version=4).cells
    source = next(c.source for c in cells if "parameters" in c.metadata.get("tags", []))
    lines = [line for line in source.splitlines() if line and not line.startswith("#")]
    found = papermill.inspect_notebook(str(path))
    assert list(found) == [line.partition(":")[0] for line in lines]
    for name, parameter in found.items():
        assert parameter["inferred_type_name"] in runner.TYPES, name
        assert len(parameter["help"]) > 10, name
    for parameter in runner.Notebook(path).parameters.values():
        assert type(parameter.default) is runner.TYPES[parameter.type]


def test_defaults_are_the_quick_profile(path):
    notebook = runner.Notebook(path)
    for name, value in runner.profile("quick", runner.notebooks())[notebook.name].items():
        assert notebook.parameters[name].default == value, name


def test_papermill_executes_it_from_any_folder(path, tmp_path):
    """``papermill NOTEBOOK out.ipynb -p runs 2 …``, without the runner."""
    options = [str(o) for item in TINY[path.stem].items() for o in ("-p", *item)]
    environment = {**os.environ, "KIT_FIGURES": str(tmp_path / "figures")}
    subprocess.run(
        [sys.executable, "-m", "papermill", path, "out.ipynb", *options], cwd=tmp_path,
        env=environment, check=True, capture_output=True,
    )  # fmt: skip
    folder = tmp_path / "figures" / "custom" / path.stem
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["parameters"].items() >= TINY[path.stem].items()
    for name in manifest["titles"]:
        assert list(folder.glob(f"{name}.*")), name
    executed = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    images = [
        o for c in executed.cells for o in c.get("outputs", ()) if "image/png" in o.get("data", {})
    ]
    assert len(images) >= 3
