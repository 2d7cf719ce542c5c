"""Curves and points over a quantity."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import ColorType
from numpy.typing import ArrayLike

from kit.harness.plots.appearance import colors, headed, in_panels, shared_legend, style

_DASHES = ("-", "--", "-.", ":")


def lines(
    table: pd.DataFrame,
    panels: Mapping[str, Sequence[str]],
    *,
    x: str,
    y: str,
    hue: str,
    labels: tuple[str, str],
    limits: tuple[float, float] | None = None,
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
    """
    names = list(dict.fromkeys(name for shown in panels.values() for name in shown))
    looks = {
        name: (color, marker)
        for (name, color), marker in zip(colors(names).items(), itertools.cycle("osD^vPX*"))
    }
    with in_panels(panels) as (figure, axes):
        for axis, (title, shown) in zip(axes, panels.items(), strict=True):
            for place, name in enumerate(shown):
                points = table[table[hue] == name].groupby(x)[y].agg(["mean", "std"])
                shift = 0.08 * (place - (len(shown) - 1) / 2)  # so that bars do not hide each other
                color, marker = looks[name]
                axis.errorbar(
                    points.index + shift,
                    points["mean"],
                    points["std"].fillna(0),
                    capsize=3,
                    color=color,
                    marker=marker,
                    label=name,
                )
            axis.set(title=headed(title), xlabel=labels[0], xticks=sorted(table[x].unique()))
        axes[0].set(ylabel=labels[1], ylim=limits)
        shared_legend(figure, axes)
    return figure


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
            if y_label in logarithmic:
                axis.set_yscale("log")
            for name, (x, values) in shown.items():
                _band(axis, x, values, looks[name], _DASHES[names.index(name) % 4], name)
            if "%" in y_label:  # no share of anything lies beyond
                _cut(axis, 0, 100)
            for place, word in marks:
                axis.axvline(place, color="gray", linestyle=":", linewidth=1)
                axis.annotate(
                    word,
                    (place, 1),
                    xycoords=("data", "axes fraction"),
                    ha="center",
                    va="bottom",
                    fontsize="small",
                    color="dimgray",
                )
            axis.set_title(headed(title), pad=16 if marks else None)
            axis.set(xlabel=x_label, ylabel=y_label)
            axis.xaxis.get_major_locator().set_params(integer=not marks)
            if first.setdefault(y_label, axis) is not axis:
                axis.sharey(first[y_label])
            elif limits and y_label in limits:
                axis.set_ylim(limits[y_label])
        _begin_at_zero([axis for label, axis in first.items() if label not in (limits or {})])
        for axis in axes[len(panels) :]:
            axis.set_axis_off()
        sns.despine(figure)
        shared_legend(figure, axes, axes[len(panels)] if len(panels) < len(axes) else None)
        plt.close(figure)
    return figure


def _cut(axis: Axes, low: float, high: float) -> None:
    """Let bands end where values do."""
    for band in axis.collections:
        for path in band.get_paths():
            vertices = np.asarray(path.vertices)
            vertices[:, 1] = vertices[:, 1].clip(low, high)


def _band(
    axis: Axes, x: ArrayLike, values: ArrayLike, color: ColorType, linestyle: str, name: str
) -> None:
    values = np.atleast_2d(values)
    mean = values.mean(0)
    few = len(mean) <= 25
    axis.plot(
        x,
        mean,
        color=color,
        linestyle=linestyle,
        label=name,
        marker="o" if few else None,
        markersize=3,
    )
    if len(values) > 1:
        spread = values.std(0, ddof=1)
        low = mean - spread
        if (
            axis.get_yscale() == "log"
        ):  # where the band would pass zero, it ends at the lowest repeat
            low = np.where(low > 0, low, values.min(0))
        axis.fill_between(x, low, mean + spread, color=color, alpha=0.2, linewidth=0)


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
    with in_panels([""]) as (figure, (axis,)):
        for (name, color), marker in zip(colors(names).items(), itertools.cycle("osD^vPX*")):
            rows = table[table[hue] == name]
            axis.plot(rows[x], rows[y], marker, color=color, label=name, alpha=0.7)
        axis.set(xlabel=labels[0], ylabel=labels[1])
        shared_legend(figure, [axis])
    return figure
