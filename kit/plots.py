"""Figures: they know numbers, not methods. Colours are safe for colour-blind readers."""

import contextlib

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib import pyplot as plt

_STYLE = {
    "svg.hashsalt": "kit",  # equal pictures are equal files
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "figure.constrained_layout.use": True,
    "axes.titlesize": "medium",
    "legend.frameon": False,
}


@contextlib.contextmanager
def style():
    """The look of every figure, inside the block."""
    with sns.axes_style("ticks"), sns.color_palette("colorblind"), mpl.rc_context(_STYLE):
        yield


def lines(table, panels, *, x, y, hue, labels, limits=None, printed=None):
    """Curves with one-standard-deviation bars over repeats, in panels side by side.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per repeat and point.
    panels : dict of str to list of str
        Title of each panel, and which values of column `hue` it shows.
    x, y, hue : str
        Columns.
    labels : tuple of str
        Of the two axes, with units.
    limits : tuple of float, optional
        Ends of the y axis.
    printed : pandas.DataFrame, optional
        The paper's values in columns `hue`, `x` and `y`, marked as crosses.

    Returns
    -------
    matplotlib.figure.Figure
    """
    names = list(dict.fromkeys(name for shown in panels.values() for name in shown))
    palette = sns.color_palette("colorblind", len(names))
    looks = {name: (palette[i], "osD^vPX*"[i]) for i, name in enumerate(names)}
    with _panels(panels) as (figure, axes):
        for axis, (title, shown) in zip(axes, panels.items(), strict=True):
            for place, name in enumerate(shown):
                points = table[table[hue] == name].groupby(x)[y].agg(["mean", "std"])
                shift = 0.08 * (place - (len(shown) - 1) / 2)  # so that bars do not hide each other
                color, marker = looks[name]
                axis.errorbar(
                    points.index + shift, points["mean"], points["std"].fillna(0), label=name,
                    color=color, marker=marker, capsize=3,
                )  # fmt: skip
            if printed is not None:
                crosses = printed[printed[hue].isin(shown)]
                axis.plot(crosses[x], crosses[y], "x", color="black", label="printed", zorder=5)
            axis.set(title=title, xlabel=labels[0], xticks=sorted(table[x].unique()))
        axes[0].set(ylabel=labels[1], ylim=limits)
        _shared_legend(figure, axes)
    return figure


@contextlib.contextmanager
def _panels(titles, height=3.6):
    """A figure with one panel per title, in the common style; closed so that it shows once."""
    with style():
        figure, axes = plt.subplots(
            1, len(titles), figsize=(4.2 * len(titles), height), sharey=True, squeeze=False
        )
        yield figure, axes[0]
        sns.despine(figure)
        plt.close(figure)


def _shared_legend(figure, axes):
    """One legend beside all panels, each name once."""
    found = [axis.get_legend_handles_labels() for axis in axes]
    entries = {
        label: handle
        for handles, labels in found
        for handle, label in zip(handles, labels, strict=True)
    }
    figure.legend(entries.values(), entries.keys(), loc="outside right center", fontsize="small")


def p_values(table, *, levels=(0.05, 0.01)):
    """p-values on a logarithmic axis; a hollow mark is a difference in the other direction.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns attack, quantity, difference, "p Welch", "p paired".
    levels : sequence of float
        Where to draw the dashed lines of significance.

    Returns
    -------
    matplotlib.figure.Figure
    """
    attacks = list(dict.fromkeys(table["attack"]))
    colors = sns.color_palette("colorblind")
    tests = {"p Welch": ("o", colors[0], -0.1), "p paired": ("s", colors[1], 0.1)}
    with _panels(attacks) as (figure, axes):
        for axis, attack in zip(axes, attacks, strict=True):
            rows = table[table["attack"] == attack].reset_index(drop=True)
            for test, (marker, color, shift) in tests.items():
                for place, row in rows.iterrows():
                    face = color if row["difference"] > 0 else "none"
                    axis.plot(
                        place + shift, row[test], marker=marker, color=color, markersize=8,
                        markerfacecolor=face, linestyle="none",
                    )  # fmt: skip
            for place in rows[rows["p Welch"].isna()].index:
                why = "infinite" if np.isinf(rows["mean"][place]) else "undefined"
                axis.annotate(
                    why, (place, 0.99), xycoords=("data", "axes fraction"), ha="center",
                    fontsize="small", va="top",
                )  # fmt: skip
            for level in levels:
                axis.axhline(level, color="black", linestyle="--", linewidth=0.8)
                axis.annotate(
                    f"{100 * (1 - level):.0f} %", (1, level), xytext=(-2, 2), va="bottom",
                    xycoords=("axes fraction", "data"), textcoords="offset points", ha="right",
                    fontsize="small",
                )  # fmt: skip
            axis.set(title=attack, xlabel="slope", xlim=(-0.5, len(rows) - 0.5))
            axis.set_xticks(range(len(rows)), rows["quantity"])
        smallest = np.nanmin([levels[-1], *table["p Welch"], *table["p paired"]])
        axes[0].set(yscale="log", ylabel="p-value", ylim=(smallest / 3, 2))
        handles = _test_handles(colors)
        figure.legend(handles=handles, loc="outside right center", fontsize="small")
    return figure


def _test_handles(colors):
    def mark(marker, color, face, label):
        return mpl.lines.Line2D(
            [], [], marker=marker, color=color, markerfacecolor=face, linestyle="none", label=label
        )

    return [
        mark("o", colors[0], colors[0], "Welch"),
        mark("s", colors[1], colors[1], "paired"),
        mark("o", "gray", "gray", "slope larger\non attacked images"),
        mark("o", "gray", "none", "slope smaller\non attacked images"),
    ]


def image_rows(rows, captions):
    """Rows of small images with a caption over each.

    Parameters
    ----------
    rows : dict of str to numpy.ndarray
        Title of each row, and its images: uint8, shape (N, C, H, W).
    captions : dict of str to list of str
        For each row one caption per image.

    Returns
    -------
    matplotlib.figure.Figure
    """
    count = max(map(len, rows.values()))
    with style():
        figure, axes = plt.subplots(
            len(rows), count, figsize=(1.05 * count + 0.6, 1.35 * len(rows)), squeeze=False
        )
        for line, (title, images) in zip(axes, rows.items(), strict=True):
            for place, axis in enumerate(line):
                axis.set(xticks=[], yticks=[])
                sns.despine(ax=axis, left=True, bottom=True)
                if place < len(images):
                    shown = np.moveaxis(images[place], 0, 2).squeeze()
                    axis.imshow(shown, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
                    axis.set_title(captions[title][place], fontsize="small")
            line[0].set_ylabel(title, rotation=0, ha="right", va="center", fontsize="small")
        plt.close(figure)
    return figure
