import hashlib
import io
import subprocess
import sys
from unittest import mock

import matplotlib as mpl
import notebook
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg

from kit import optimizers, runtime
from kit.experiments.neuroevolution_gm import drawings
from kit.harness import plots
from kit.harness.plots.appearance import PLACES
from kit.nets import HAND_ENGINEERED
from kit.neuroevolution import random_genome

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
        table,
        {"p": ["a"], "q": ["a", "b"]},
        x="k",
        y="test",
        hue="set",
        labels=("K", "%"),
    )
    yield plots.p_values(slopes())
    yield plots.curves(
        {"p": {"u": (epochs, values), "v": (epochs, values[0])}, "q": {"v": (epochs, values)}},
        x_label="x",
        y_labels=["y", "y"],
        marks=[(0, "start")],
        limits={"y": (0, 1)},
        columns=1,
    )
    labels = {"beside": "train", "y": "%"}
    yield plots.bars(table, "set", x="k", hue="run", y="test", beside="train", labels=labels)
    yield plots.points(table, "set", x="k", y="test", label="%")
    images = rng.integers(0, 255, (2, 3, 8, 8)).astype(np.uint8)
    yield plots.image_rows({"a": images}, {"a": "xy"}, {"a": [[(1, 2)], []]})
    maps = {"i": images / 255, "m": rng.random((2, 8, 8))}
    yield plots.maps(maps, ["a", "b"], label="share")
    yield plots.maps(maps, ["a", "b"], label="share", beneath=images / 255, side=1.5)
    yield drawings.architectures(HAND_ENGINEERED, (3, 32, 32))


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
    assert "p = 0.05" in texts
    assert figure.axes[0].get_ylim()[0] < 1e-9


def test_one_thing_has_one_colour_in_every_figure():
    few, more = plots.colors(["PGD", "FGSM"]), plots.colors(["new", "FGSM", "CW", "PGD", "other"])
    assert few["FGSM"] == more["FGSM"]
    assert few["PGD"] == more["PGD"]
    assert len(set(more.values())) == 5
    # Names with one colour that meet nevertheless, and more names than colours.
    assert len(set(plots.colors(["normal", "adam", "FGSM"]).values())) == 3
    assert len(plots.colors(range(25))) == 25


def test_names_that_meet_in_a_figure_of_the_papers_have_colours_of_their_own():
    for names in (
        ["FGSM", "DeepFool", "noise (control)", "misclassified", "whole test set"],
        ["test", "before attack", "CW", "FGSM", "PGD", "random signs"],
        list(optimizers.TITLES.values()),
    ):
        places = [PLACES[name] for name in names]
        assert len(set(places)) == len(places)


def test_axes_begin_at_zero_unless_that_squeezes_the_curves():
    def bottom(values, **options):
        panels = {"p": {"u": (range(2), [values]), "v": (range(2), [values])}}
        figure = plots.curves(panels, x_label="x", y_labels=["y"], **options)
        return figure.axes[0].get_ylim()[0]

    assert bottom([0.3, 1.0]) == bottom([0.3, 1.0], marks=[(0, "start")]) == 0
    assert bottom([90.0, 95.0]) > 80
    assert bottom([-1.0, 1.0]) < -1
    assert bottom([0.1, 1.0], logarithmic=["y"]) > 0
    assert bottom([0.3, 1.0], limits={"y": (-4, 104)}) == -4
    assert bottom([np.nan, np.nan]) is not None


@pytest.mark.parametrize("seed", [5, 7])
def test_a_circle_at_the_border_is_whole(seed):
    images = np.zeros((10, 1, 28, 28), np.uint8)
    pixels = np.random.default_rng(seed).integers(28, size=(10, 5, 2))
    pixels[8, 0] = 27, 4
    figure = plots.image_rows({"a": images}, {"a": "x" * 10}, {"a": pixels.tolist()})
    figure.suptitle("data set", x=0.01, ha="left", fontsize="small")  # as in a report
    renderer = drawn(figure)
    for axes in figure.axes:
        for circle in axes.lines:
            assert not circle.get_clip_on()
            box = circle.get_window_extent(renderer).padded(1)  # with its line
            assert figure.bbox.contains(*box.min)
            assert figure.bbox.contains(*box.max)


def test_an_image_shows_beneath_a_map_where_the_map_is_near_zero():
    values = np.array([[[0.0, 0.5], [-1.0, 2.0]]])
    images = np.stack([np.full((2, 2), 0.2), np.full((2, 2), 0.4)])[None]
    options = {"label": "for", "scale": (-2, 2), "colors": "PuOr_r"}
    alone, above = (
        plots.maps({"m": values}, ["a"], beneath=beneath, **options) for beneath in (None, images)
    )
    (only,) = alone.axes[0].images
    assert only.get_alpha() is None
    below, shown = above.axes[0].images
    np.testing.assert_allclose(below.get_array(), 0.3)  # its mean over the channels
    np.testing.assert_array_equal(shown.get_alpha(), [[0, 0.25], [0.5, 1]])
    np.testing.assert_array_equal(shown.get_array(), values[0])


# --- drawings of architectures -------------------------------------------------------------------


def drawn(figure):
    """Draw a figure as a PNG would be; where its parts then lie can be asked."""
    canvas = FigureCanvasAgg(figure)
    with plots.style():
        canvas.draw()
    return canvas.get_renderer()


@pytest.mark.parametrize("seed", range(4))
def test_a_drawing_has_no_crossing_text_and_no_crossing_arrows(seed):
    rng = np.random.default_rng(seed)
    genomes = {f"net {k}": random_genome(rng) for k in range(4)}
    figure = drawings.architectures(genomes, (3, 32, 32))
    renderer = drawn(figure)
    for axis, genome in zip(figure.axes, genomes.values(), strict=True):
        texts = [t for t in axis.texts if t.get_text()]
        assert len(texts) == 2 * len(genome) + 3  # what each block is, and its size
        boxes = [t.get_window_extent(renderer) for t in texts]
        for k, box in enumerate(boxes):
            assert axis.bbox.x0 <= box.x0 <= box.x1 <= axis.bbox.x1
            assert not any(box.overlaps(other) for other in boxes[:k])
        skips = [line.get_xydata() for line in axis.lines]
        reads = [(k, n) for n, b in enumerate(genome, 1) for k in b["inputs"] if n - k > 1]
        assert len(skips) == len(reads)
        arrows = [t for t in axis.texts if not t.get_text()]
        assert len(arrows) == sum(len(block["inputs"]) for block in genome) + 1
        for k, a in enumerate(skips):
            for b in skips[:k]:
                same_track = a[1, 0] == b[1, 0]
                apart = a[2, 1] <= b[1, 1] or b[2, 1] <= a[1, 1]
                assert not same_track or apart


def test_the_words_of_a_block_fit_into_its_box():
    genome = [{"kind": "strided", "inputs": [0], "channels": 128, "kernel": 5}]
    figure = drawings.architectures({"one": genome}, (3, 32, 32))
    renderer = drawn(figure)
    (axis,) = figure.axes
    words = {t.get_text(): t.get_window_extent(renderer) for t in axis.texts}
    boxes = [p.get_window_extent(renderer) for p in axis.patches]
    for text in ("strided 5×5, 128", "2 fully connected"):
        assert any(b.x0 <= words[text].x0 and words[text].x1 <= b.x1 for b in boxes), text


# --- what a notebook shows -----------------------------------------------------------------------


def headed(*numbers):
    figure, _ = plt.subplots(figsize=(1, 1))
    figure.suptitle(f"It shows {numbers}")
    plt.close(figure)
    return figure


def test_a_slider_moves_its_picture_and_says_what_it_shows():
    with notebook.screen() as screen:
        plots.control(headed, plots.Slider("K", [1, 3, 5], 3), plots.Slider("ε", {"small": 0.1}))
        slider, _ = screen.sliders["K"]
        assert (slider.label, slider.texts, slider.position) == ("K", ["1", "3", "5"], 1)
        assert screen.sliders["ε"][0].texts == ["small"]
        assert 'alt="It shows (3, 0.1)"' in screen.pictures[0]["text/html"]
        slider.position = 2
        assert 'alt="It shows (5, 0.1)"' in screen.pictures[0]["text/html"]
        assert screen.changes == 1


def test_a_picture_is_drawn_once_for_each_place_of_its_slider():
    drawn = []

    def draw(k):
        drawn.append(k)
        return headed(k)

    with notebook.screen() as screen:
        slider = plots.Slider("K", range(3))
        plots.control(draw, slider)
        for place in (1, 0, 1, 2):
            slider.position = place
    assert drawn == [0, 1, 2]
    assert screen.changes == 4


def test_a_slider_starts_at_one_of_its_values():
    with pytest.raises(ValueError, match="K has no value 4: use one of 1, 3, 5"):
        plots.Slider("K", [1, 3, 5], 4)


def test_a_picture_is_shown_at_its_size_and_with_its_text():
    with mock.patch("IPython.display.display") as display:
        plots.show(headed(), 'A "quoted" <text>')
    page = display.call_args.args[0]["text/html"]
    assert 'width="100"' in page  # an inch, drawn with 150 dots
    assert 'alt="A &quot;quoted&quot; &lt;text&gt;"' in page
