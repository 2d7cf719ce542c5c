"""Committed tables follow from the results that lie beside them, without any data."""

import io
import json
import re
import zipfile

import notebook
import pandas as pd
import pytest
from matplotlib.figure import Figure

from kit import runtime
from kit.data import splits
from kit.experiments import evolved_perturbations
from kit.harness import runner
from kit.harness.results import claims
from kit.harness.steps import archive

ROOT = runtime.root()
FOLDERS = sorted(path.parent for path in ROOT.glob(f"figures/*/*/{archive.NAME}"))
FOLDERS = [folder for folder in FOLDERS if folder.parent.name in archive.COMMITTED]
DIGEST = re.compile(rb'"digest": ?"[0-9a-f]+"')


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a notebook's cells with the parameters of committed results, where there are no data."""
    monkeypatch.setenv("KIT_DATA", str(tmp_path / "no data"))
    monkeypatch.setenv("KIT_STEPS", str(tmp_path / "steps"))
    # Pictures are drawn, but not rendered: their names alone are compared. Members of an archive
    # are compared as they were before compression.
    monkeypatch.setattr(Figure, "savefig", lambda figure, *a, **k: None)
    write = zipfile.ZipFile.writestr
    monkeypatch.setattr(
        zipfile.ZipFile, "writestr", lambda file, name, data, *a, **k: write(file, name, data)
    )
    splits._load.cache_clear()  # data that another test had

    def run(folder, **changes):
        known = runner.Notebook(ROOT / "notebooks" / f"{folder.name}.ipynb").parameters
        given = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["parameters"]
        own = {"out": str(tmp_path / "results"), "device": "cpu", "jobs": 1}
        assert set(given) <= set(known), "results of a notebook as it was before"
        notebook.run(
            folder.name, lambda *a, **k: None, demonstrations=False, **given | own | changes
        )
        return tmp_path / "results"

    return run


def assert_same_claims(found, committed):
    """But for the last digits of numbers, which are the processor's own."""
    numbers = [
        pd.DataFrame([number for claim in each for number in claim.pop("numbers", ())])
        for each in (found, committed)
    ]
    assert found == committed
    pd.testing.assert_frame_equal(*numbers, rtol=1e-9, atol=1e-15)


def members(folder):
    """What an archive holds, by name, in bytes."""
    with zipfile.ZipFile(folder / archive.NAME) as results:
        return {name: content(name, results.read(name)) for name in results.namelist()}


def content(name, member):
    """Without what depends on Python's version: how a zip file says where its parts lie."""
    if name.endswith(".npz"):
        with zipfile.ZipFile(io.BytesIO(member)) as arrays:
            return {part: arrays.read(part) for part in arrays.namelist()}
    return DIGEST.sub(b"", member)  # of such a zip file


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f"{f.parent.name}-{f.name}")
def test_every_committed_table_is_made_again(folder, run, tmp_path):
    new = run(folder)
    names = {path.name for path in folder.iterdir() if path.suffix in (".csv", ".md")}
    assert names
    for name in sorted(names):
        assert (new / name).read_bytes() == (folder / name).read_bytes(), name
    assert_same_claims(claims.read(new), claims.read(folder))
    assert members(new) == members(folder)
    figures = {path.name for path in folder.iterdir() if path.suffix in (".png", ".svg")}
    assert figures == {path.name for path in new.iterdir() if path.suffix in (".png", ".svg")}
    computed = list((tmp_path / "steps").glob("*/*.npz"))
    assert not computed, "something was computed"


def test_another_z_needs_no_data(run, tmp_path):
    folder = next((f for f in FOLDERS if f.name == "03_knn_tradeoff"), None)
    if folder is None:
        pytest.skip("no committed results of notebook 03")
    new = run(folder, z=5, flat=1.0)
    assert (new / "3.F5.csv").read_text() != (folder / "3.F5.csv").read_text()
    assert not list((tmp_path / "steps").glob("*/*.npz"))


def test_tables_of_evolved_perturbations_count_searches():
    """Not trainings: those on the result of one search are no independent repeats."""
    name = "01_evolved_perturbations"
    folder = ROOT / "figures" / "ci" / name
    given = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["parameters"]
    settings = evolved_perturbations.Settings.read(notebook.parameters(name) | given)
    for dataset in settings.datasets:
        c = settings.on(dataset)
        per_pixels = dict(zip(c.pixels, (c.search_seeds, c.larger_seeds), strict=True))
        equal = pd.read_csv(folder / f"1.X1-{dataset}.csv")
        assert dict(zip(equal["pixels"], equal["searches"], strict=True)) == per_pixels
        assert set(pd.read_csv(folder / f"1.C7-{dataset}.csv")["searches"]) == {c.search_seeds}
        counts = pd.read_csv(folder / f"1.C2-{dataset}.csv").set_index("noise")["repeats"]
        assert set(counts["evolved Np = 1 (Adam)"]) == {c.search_seeds}
        assert set(counts["uniform Np = 1"]) == {c.uniforms}


def test_committed_results_are_small():
    sizes = {folder: (folder / archive.NAME).stat().st_size for folder in FOLDERS}
    assert sum(sizes.values()) <= 26e6
