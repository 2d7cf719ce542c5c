"""Bars, points and p-values by category."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kit.harness.plots.appearance import colors, headed, in_panels, shared_legend


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
    with in_panels(titles) as (figure, axes):
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
                    places,
                    rows[y]["mean"],
                    width * 0.92,
                    yerr=rows[y]["std"].fillna(0),
                    capsize=3,
                    color=looks[name],
                    label=name,
                    error_kw={"linewidth": 1},
                )
                axis.plot(
                    places,
                    rows[beside]["mean"],
                    "D",
                    color="black",
                    markerfacecolor="white",
                    markersize=4,
                    linestyle="none",
                    label=labels["beside"],
                )
            axis.set(title=headed(title), ylim=limits)
            _name(axis, groups)
        axes[0].set_ylabel(labels["y"])
        shared_legend(figure, axes)
    return figure


def points(
    table: pd.DataFrame,
    panels: str,
    *,
    x: str,
    y: str,
    label: str,
    stressed: str = "",
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Every repeat as a point and the mean as a bar, a line of them for each category.

    Parameters
    ----------
    table
        One row per repeat.
    panels, x, y
        Columns of the panels' titles, of the categories and of the values.
    label
        Of the values, with unit.
    stressed
        Categories that begin so have a colour; the others are grey.
    limits
        Ends of the axis of values.
    """
    titles, categories = (list(dict.fromkeys(table[column])) for column in (panels, x))
    color = sns.color_palette("colorblind")[0]
    with in_panels(titles, height=0.36 * len(categories) + 1) as (figure, axes):
        for axis, title in zip(axes, titles, strict=True):
            rows = table[table[panels] == title]
            for place, name in enumerate(categories):
                values = rows[rows[x] == name][y].to_numpy()
                if not len(values):
                    continue
                spread = np.linspace(-0.2, 0.2, len(values)) if len(values) > 1 else np.zeros(1)
                look = color if str(name).startswith(stressed) else "gray"
                axis.plot(values, place + spread, "o", color=look, alpha=0.6, markersize=5)
                axis.vlines(values.mean(), place - 0.35, place + 0.35, color="black", linewidth=2)
            axis.set(title=headed(title), xlabel=label, xlim=limits)
        axes[0].set_yticks(range(len(categories)), map(str, categories))
        axes[0].invert_yaxis()
    return figure


def _name(axis: Axes, categories: Sequence[object]) -> None:
    """Write the categories below an axis, aslant."""
    axis.set_xticks(
        range(len(categories)),
        map(str, categories),
        rotation=35,
        ha="right",
        rotation_mode="anchor",
    )


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
    with in_panels(attacks) as (figure, axes):
        for axis, attack in zip(axes, attacks, strict=True):
            rows = table[table["attack"] == attack].reset_index(drop=True)
            for test, (marker, color, shift) in tests.items():
                for place, row in rows.iterrows():
                    face = color if row["difference"] > 0 else "none"
                    axis.plot(
                        place + shift,
                        row[test],
                        marker=marker,
                        color=color,
                        markersize=8,
                        markerfacecolor=face,
                        linestyle="none",
                    )
            for place in rows[rows["p Welch"].isna()].index:
                why = "infinite" if np.isinf(rows["mean"][place]) else "undefined"
                axis.annotate(
                    why,
                    (place, 0.99),
                    xycoords=("data", "axes fraction"),
                    ha="center",
                    fontsize="small",
                    va="top",
                )
            for level in levels:
                axis.axhline(level, color="black", linestyle="--", linewidth=0.8)
                axis.annotate(
                    f"p = {level:g}",
                    (1, level),
                    xytext=(-2, 2),
                    va="bottom",
                    xycoords=("axes fraction", "data"),
                    textcoords="offset points",
                    ha="right",
                    fontsize="small",
                )
            axis.set(title=headed(attack), xlabel="slope", xlim=(-0.5, len(rows) - 0.5))
            axis.set_xticks(range(len(rows)), rows["quantity"])
        smallest = np.nanmin([levels[-1], *table["p Welch"], *table["p paired"]])
        axes[0].set(yscale="log", ylabel="p-value", ylim=(smallest / 3, 2))
        marks = {
            "Welch": ("o", palette[0], palette[0]),
            "paired": ("s", palette[1], palette[1]),
            "slope larger\non attacked images": ("o", "gray", "gray"),
            "slope smaller\non attacked images": ("o", "gray", "none"),
        }
        handles = [
            Line2D([], [], ls="none", marker=marker, color=color, markerfacecolor=face, label=label)
            for label, (marker, color, face) in marks.items()
        ]
        figure.legend(handles=handles, loc="outside right center", fontsize="small")
    return figure
