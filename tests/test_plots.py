import hashlib
import io
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from kit import pictures, plots, runtime

RC = {
    "font.size": 20, "font.family": "serif", "svg.fonttype": "none", "savefig.bbox": "tight",
    "savefig.facecolor": "yellow", "lines.linewidth": 4, "errorbar.capsize": 9,
    "axes.unicode_minus": False, "image.cmap": "gray", "legend.fontsize": 20,
}  # fmt: skip


def all_figures():
    rng = np.random.default_rng(0)
    rows = [
        (run, name, k, 100 * rng.random(), 100 * rng.random())
        for run in range(3)
        for name in "ab"
        for k in (1, 3)
    ]
    table = pd.DataFrame(rows, columns=["run", "set", "k", "test", "train"])
    epochs, values = range(5), rng.random((3, 5))
    yield plots.lines(
        table, {"p": ["a"], "q": ["a", "b"]}, x="k", y="test", hue="set", labels=("K", "%"),
        printed=table[table["run"] == 0],
    )  # fmt: skip
    yield plots.p_values(slopes())
    yield plots.curves(
        {"p": {"u": (epochs, values), "v": (epochs, values[0])}, "q": {"v": (epochs, values)}},
        x_label="x", y_labels=["y", "y"], marks=[(0, "start")], limits={"y": (0, 1)}, columns=1,
    )  # fmt: skip
    labels = {"beside": "train", "y": "%"}
    yield plots.bars(table, "set", x="k", hue="run", y="test", beside="train", labels=labels)
    yield plots.points(table, "set", x="k", y="test", label="%")
    images = rng.integers(0, 255, (2, 3, 8, 8)).astype(np.uint8)
    yield pictures.image_rows({"a": images}, {"a": "xy"}, {"a": [[(1, 2)], []]})
    yield pictures.maps({"i": images / 255, "m": rng.random((2, 8, 8))}, ["a", "b"], label="share")


def slopes():
    rows = {"attack": "a", "difference": [1.0, -1.0, np.nan], "quantity": ["S1", "S3", "S5"]}
    rows |= {"p Welch": [0.01, 1e-9, np.nan], "p paired": [0.02, 0.5, np.nan]}
    return pd.DataFrame(rows).assign(mean=[1.0, 2.0, np.inf])


def digests():
    """One line for each figure and format."""
    for number, figure in enumerate(all_figures()):
        for suffix, date in (("png", {}), ("svg", {"Date": None})):
            buffer = io.BytesIO()
            with plots.style():
                figure.savefig(buffer, format=suffix, metadata=date)
            yield f"{number} {suffix} {hashlib.sha256(buffer.getvalue()).hexdigest()}"


@pytest.fixture(scope="module")
def usual():
    return list(digests())


def test_a_users_settings_change_no_byte(usual):
    with mpl.rc_context(RC):
        assert list(digests()) == usual
        assert mpl.rcParams["font.size"] == 20  # they are only set aside


def test_a_users_matplotlibrc_changes_no_byte(usual, tmp_path, monkeypatch):
    lines = [f"{name}: {value}" for name, value in RC.items()]
    (tmp_path / "matplotlibrc").write_text("\n".join(lines))
    monkeypatch.setenv("MATPLOTLIBRC", str(tmp_path))
    code = "import matplotlib, test_plots; lines = test_plots.digests()"
    code += "; print(next(lines), next(lines), sep='\\n')"
    code += "; assert matplotlib.rcParams['font.size'] == 20"
    tests = runtime.root() / "tests"
    out = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=tests)
    assert out.splitlines() == usual[:2]


def test_the_style_leaves_the_backend_alone():
    backend = mpl.get_backend()
    with plots.style():
        assert mpl.get_backend() == backend


def test_p_value_figure_takes_undefined_and_infinite_slopes():
    figure = plots.p_values(slopes())
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert "infinite" in texts
    assert "95 %" in texts
    assert figure.axes[0].get_ylim()[0] < 1e-9
