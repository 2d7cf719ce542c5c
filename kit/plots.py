"""Figures: they know numbers, not methods. Colours are safe for colour-blind readers."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.typing import ColorType
from numpy.typing import ArrayLike

from kit.optimizers import called

_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "kit",  # equal pictures are equal files
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "figure.constrained_layout.use": True,
    "axes.titlesize": "medium",
    "legend.frameon": False,
}
_DASHES = ("-", "--", "-.", ":")
# One colour for one thing, by its place in the palette: names that meet in a figure differ.
_PLACES = {
    "FGSM": 0, "CW": 1, "DeepFool": 3, "PGD": 4, "random signs": 7, "noise (control)": 7,
    "train": 1, "perturbed training": 1, "validation": 0, "test": 2, "clean test": 2,
    "whole test set": 2, "misclassified": 5, "before attack": 5,
    "normal": 0, "overfitting": 3, "logits": 0, "softmax": 1,
    "adam": 0, "sgd": 1, "rmsprop": 2, "adabound": 3, "Np = 1": 0, "Np = 5": 1,
    "evolved": 0, "random": 1, "cosine": 0, "absolute": 1,
}  # fmt: skip


@contextlib.contextmanager
def style() -> Iterator[None]:
    """The look of every figure, inside the block: the same whatever the user's settings are."""
    # "default" is matplotlib's own, without any matplotlibrc; the backend stays as it is.
    with (
        plt.style.context("default"),
        sns.axes_style("ticks"),
        sns.color_palette("colorblind"),
        mpl.rc_context(_STYLE),
    ):
        yield


def colors(names: Iterable[object]) -> dict[object, ColorType]:
    """A colour for each name: its own in every figure, where it has one; else the next free one."""
    names = list(dict.fromkeys(names))
    taken: dict[object, int] = {}
    for name in names:
        place = _PLACES.get(str(name))
        if place is not None and place not in taken.values():
            taken[name] = place
    palette = sns.color_palette("colorblind")
    free = itertools.cycle([k for k in range(len(palette)) if k not in taken.values()] or [0])
    return {name: palette[taken[name] if name in taken else next(free)] for name in names}


def _headed(text: str) -> str:
    """The title of a panel."""
    text = called(text)
    return text[:1].upper() + text[1:] if text[:1].isascii() else text  # λ is not Λ


def lines(
    table: pd.DataFrame,
    panels: Mapping[str, Sequence[str]],
    *,
    x: str,
    y: str,
    hue: str,
    labels: tuple[str, str],
    limits: tuple[float, float] | None = None,
    printed: pd.DataFrame | None = None,
) -> Figure:
    """Curves with one-standard-deviation bars over repeats, in panels side by side.

    Parameters
    ----------
    table
        One row per repeat and point.
    panels
        Title of each panel, and which values of column `hue` it shows.
    x, y, hue
        Columns.
    labels
        Of the two axes, with units.
    limits
        Ends of the y axis.
    printed
        The paper's values in columns `hue`, `x` and `y`, marked as crosses.
    """
    names = list(dict.fromkeys(name for shown in panels.values() for name in shown))
    looks = {
        name: (color, marker)
        for (name, color), marker in zip(colors(names).items(), itertools.cycle("osD^vPX*"))
    }
    with _panels(panels) as (figure, axes):
        for axis, (title, shown) in zip(axes, panels.items(), strict=True):
            for place, name in enumerate(shown):
                points = table[table[hue] == name].groupby(x)[y].agg(["mean", "std"])
                shift = 0.08 * (place - (len(shown) - 1) / 2)  # so that bars do not hide each other
                color, marker = looks[name]
                axis.errorbar(
                    points.index + shift, points["mean"], points["std"].fillna(0), capsize=3,
                    color=color, marker=marker, label=called(name),
                )  # fmt: skip
            if printed is not None:
                crosses = printed[printed[hue].isin(shown)]
                axis.plot(crosses[x], crosses[y], "x", color="black", label="printed", zorder=5)
            axis.set(title=_headed(title), xlabel=labels[0], xticks=sorted(table[x].unique()))
        axes[0].set(ylabel=labels[1], ylim=limits)
        _shared_legend(figure, axes)
    return figure


@contextlib.contextmanager
def _panels(titles: Collection[str], height: float = 3.6) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure with one panel per title, in the common style; closed so that it shows once."""
    with style():
        figure, axes = plt.subplots(
            1, len(titles), figsize=(4.2 * len(titles), height), sharey=True, squeeze=False
        )
        yield figure, list(axes[0])
        sns.despine(figure)
        plt.close(figure)


def _shared_legend(figure: Figure, axes: Collection[Axes]) -> None:
    """One legend beside all panels, each name once."""
    entries: dict[str, Artist] = {}
    for axis in axes:
        handles, labels = axis.get_legend_handles_labels()
        entries |= zip(labels, handles, strict=True)
    figure.legend(entries.values(), entries.keys(), loc="outside right center", fontsize="small")


def p_values(table: pd.DataFrame, *, levels: Sequence[float] = (0.05, 0.01)) -> Figure:
    """p-values on a logarithmic axis; a hollow mark is a difference in the other direction.

    Parameters
    ----------
    table
        Columns attack, quantity, mean, difference, "p Welch", "p paired".
    levels
        Where to draw the dashed lines of significance.
    """
    attacks = list(dict.fromkeys(table["attack"]))
    palette = sns.color_palette("colorblind")
    tests = {"p Welch": ("o", palette[0], -0.1), "p paired": ("s", palette[1], 0.1)}
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
            axis.set(title=_headed(attack), xlabel="slope", xlim=(-0.5, len(rows) - 0.5))
            axis.set_xticks(range(len(rows)), rows["quantity"])
        smallest = np.nanmin([levels[-1], *table["p Welch"], *table["p paired"]])
        axes[0].set(yscale="log", ylabel="p-value", ylim=(smallest / 3, 2))
        handles = _test_handles(palette)
        figure.legend(handles=handles, loc="outside right center", fontsize="small")
    return figure


def _test_handles(palette: Sequence[ColorType]) -> list[Line2D]:
    def mark(marker: str, color: ColorType, face: ColorType, label: str) -> Line2D:
        return Line2D(
            [], [], marker=marker, color=color, markerfacecolor=face, linestyle="none", label=label
        )

    return [
        mark("o", palette[0], palette[0], "Welch"),
        mark("s", palette[1], palette[1], "paired"),
        mark("o", "gray", "gray", "slope larger\non attacked images"),
        mark("o", "gray", "none", "slope smaller\non attacked images"),
    ]


def curves(
    panels: Mapping[str, Mapping[str, tuple[ArrayLike, ArrayLike]]],
    *,
    x_label: str,
    y_labels: Sequence[str],
    columns: int | None = None,
    marks: Sequence[tuple[float, str]] = (),
    limits: Mapping[str, tuple[float, float]] | None = None,
    logarithmic: Collection[str] = (),
) -> Figure:
    """Curves with a band of one standard deviation over repeats, in a grid of panels.

    Parameters
    ----------
    panels
        Title of each panel, and by name its curves: pairs of the points on the x axis, shape (P,),
        and the values of the repeats, shape (repeats, P).
    x_label
        With unit.
    y_labels
        One for each panel, with unit; panels of equal labels share their y axis.
    columns
        Panels side by side; by default all of them.
    marks
        Places on the x axis to mark by a dotted line and a word.
    limits
        Ends of the y axis by label; by default as the curves need them.
    logarithmic
        Labels of y axes with a logarithmic scale.
    """
    names = list(dict.fromkeys(name for shown in panels.values() for name in shown))
    looks = colors(names)
    columns = columns or len(panels)
    rows = -(-len(panels) // columns)
    with style():
        figure, grid = plt.subplots(
            rows, columns, figsize=(4.2 * columns + 1, 3.2 * rows), squeeze=False
        )
        axes, first = grid.ravel(), dict[str, Axes]()
        for axis, (title, shown), y_label in zip(axes, panels.items(), y_labels, strict=False):
            for name, (x, values) in shown.items():
                _band(axis, x, values, looks[name], _DASHES[names.index(name) % 4], name)
            for place, word in marks:
                axis.axvline(place, color="gray", linestyle=":", linewidth=1)
                axis.annotate(
                    word, (place, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom",
                    fontsize="small", color="dimgray",
                )  # fmt: skip
            axis.set_title(_headed(title), pad=16 if marks else None)
            axis.set(xlabel=x_label, ylabel=y_label)
            if y_label in logarithmic:
                axis.set_yscale("log")
            axis.xaxis.get_major_locator().set_params(integer=not marks)
            if first.setdefault(y_label, axis) is not axis:
                axis.sharey(first[y_label])
            elif limits and y_label in limits:
                axis.set_ylim(limits[y_label])
        _begin_at_zero([axis for label, axis in first.items() if label not in (limits or {})])
        for axis in axes[len(panels) :]:
            axis.set_axis_off()
        sns.despine(figure)
        _shared_legend(figure, axes)
        plt.close(figure)
    return figure


def _band(
    axis: Axes, x: ArrayLike, values: ArrayLike, color: ColorType, linestyle: str, name: str
) -> None:
    values = np.atleast_2d(values)
    mean = values.mean(0)
    few = len(mean) <= 25
    axis.plot(
        x, mean, color=color, linestyle=linestyle, label=called(name), marker="o" if few else None,
        markersize=3,
    )  # fmt: skip
    if len(values) > 1:
        spread = values.std(0, ddof=1)
        axis.fill_between(x, mean - spread, mean + spread, color=color, alpha=0.2, linewidth=0)


def _begin_at_zero(axes: Collection[Axes]) -> None:
    """Let axes of positive values begin at 0, unless that would squeeze the curves."""
    for axis in axes:
        # Of those that share their y axis, all curves count.
        together = axis.get_shared_y_axes().get_siblings(axis)
        curves = [line for a in together for line in a.lines if line.get_label()[:1] != "_"]
        values = np.array([y for line in curves for y in np.ravel(line.get_ydata())], float)
        values = values[np.isfinite(values)]
        if axis.get_yscale() == "linear" and len(values) and 0 <= values.min() < values.max() / 2:
            axis.set_ylim(bottom=0)


def scatter(table: pd.DataFrame, *, x: str, y: str, hue: str, labels: tuple[str, str]) -> Figure:
    """Every row as a point.

    Parameters
    ----------
    table
        One row per point.
    x, y, hue
        Columns of the axes and of the colours.
    labels
        Of the two axes, with units.
    """
    names = list(dict.fromkeys(table[hue]))
    with _panels([""]) as (figure, (axis,)):
        for (name, color), marker in zip(colors(names).items(), itertools.cycle("osD^vPX*")):
            rows = table[table[hue] == name]
            axis.plot(rows[x], rows[y], marker, color=color, label=called(name), alpha=0.7)
        axis.set(xlabel=labels[0], ylabel=labels[1])
        _shared_legend(figure, [axis])
    return figure


def bars(
    table: pd.DataFrame,
    panels: str,
    *,
    x: str,
    hue: str,
    y: str,
    beside: str,
    labels: Mapping[str, str],
    limits: tuple[float, float] = (0, 104),
) -> Figure:
    """Groups of bars with one-standard-deviation error bars, and a second quantity as diamonds.

    Parameters
    ----------
    table
        One row per repeat.
    panels
        Column whose values are the panels' titles.
    x, hue
        Columns of the groups and of the bars in each group.
    y, beside
        Columns of the bars' heights and of the diamonds.
    labels
        Under ``"beside"`` the name of the diamonds in the legend, under ``"y"`` that of the axis.
    limits
        Ends of the y axis.
    """
    titles, groups = list(dict.fromkeys(table[panels])), list(dict.fromkeys(table[x]))
    hues = list(dict.fromkeys(table[hue]))
    looks = colors(hues)
    width = 0.8 / len(hues)
    with _panels(titles) as (figure, axes):
        for axis, title in zip(axes, titles, strict=True):
            rows = table[table[panels] == title]
            shown = rows.groupby([x, hue])[[y, beside]].agg(["mean", "std"])
            for i, name in enumerate(hues):
                rows = shown[shown.index.get_level_values(hue) == name].droplevel(hue)
                if rows.empty:
                    continue
                places = np.array([groups.index(group) for group in rows.index])
                places = places + (i - (len(hues) - 1) / 2) * width
                axis.bar(
                    places, rows[y]["mean"], width * 0.92, yerr=rows[y]["std"].fillna(0), capsize=3,
                    color=looks[name], label=called(name), error_kw={"linewidth": 1},
                )  # fmt: skip
                axis.plot(
                    places, rows[beside]["mean"], "D", color="black", markerfacecolor="white",
                    markersize=4, linestyle="none", label=labels["beside"],
                )  # fmt: skip
            axis.set(title=_headed(title), ylim=limits)
            axis.set_xticks(
                range(len(groups)), map(called, groups), rotation=35, ha="right",
                rotation_mode="anchor",
            )  # fmt: skip
        axes[0].set_ylabel(labels["y"])
        _shared_legend(figure, axes)
    return figure


def points(table: pd.DataFrame, panels: str, *, x: str, y: str, label: str) -> Figure:
    """Every repeat as a point and the mean as a bar, by category; panels share the y axis.

    Parameters
    ----------
    table
        One row per repeat.
    panels, x, y
        Columns of the panels' titles, of the categories and of the values.
    label
        Of the y axis, with unit.
    """
    titles, categories = list(dict.fromkeys(table[panels])), list(dict.fromkeys(table[x]))
    looks = colors(categories)
    with _panels(titles, height=4) as (figure, axes):
        for axis, title in zip(axes, titles, strict=True):
            rows = table[table[panels] == title]
            for place, name in enumerate(categories):
                values = rows[rows[x] == name][y].to_numpy()
                if not len(values):
                    continue
                spread = np.linspace(-0.15, 0.15, len(values)) if len(values) > 1 else [0]
                axis.plot(place + np.array(spread), values, "o", color=looks[name], alpha=0.7)
                axis.hlines(values.mean(), place - 0.3, place + 0.3, color="black", linewidth=2)
            axis.set_title(_headed(title))
            axis.set_xticks(
                range(len(categories)), map(called, categories), rotation=35, ha="right",
                rotation_mode="anchor",
            )  # fmt: skip
        axes[0].set_ylabel(label)
    return figure
