"""Rows of small images and maps, in the style of all figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from kit.harness.plots.appearance import style

_CENTRED: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": "small"}


def image_rows(
    rows: Mapping[str, np.ndarray],
    captions: Mapping[str, Sequence[str]],
    circles: Mapping[str, Sequence[Sequence[tuple[int, int]]]] | None = None,
    side: float = 1.05,
) -> Figure:
    """Rows of small images with a caption over each.

    Parameters
    ----------
    rows
        Title of each row, and its images: uint8, shape (N, C, H, W).
    captions
        For each row one caption per image.
    circles
        For each row and image the pixels to circle, as (row, column).
    side
        Of an image, in inches.
    """
    count = max(map(len, rows.values()))
    with style():
        size = side * count + 0.6, (side + (0.45 if circles else 0.3)) * len(rows)
        figure, axes = plt.subplots(len(rows), count, figsize=size, squeeze=False)
        if circles:  # inches: the radius of a circle around a pixel at the border
            figure.set_layout_engine("constrained", w_pad=0.09, h_pad=0.09)
        for line, (title, images) in zip(axes, rows.items(), strict=True):
            for place, axis in enumerate(line):
                axis.set(xticks=[], yticks=[])
                sns.despine(ax=axis, left=True, bottom=True)
                if place < len(images):
                    shown = np.moveaxis(images[place], 0, 2).squeeze()
                    axis.imshow(shown, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
                    axis.set_title(captions[title][place], fontsize="small")
                    for y, x in (circles or {}).get(title, [()] * count)[place]:
                        # At the border, too, a whole circle.
                        axis.plot(
                            x,
                            y,
                            "o",
                            markersize=11,
                            markerfacecolor="none",
                            color="#d55e00",
                            clip_on=False,
                        )
            line[0].set_ylabel(title, rotation=0, ha="right", va="center", fontsize="small")
        plt.close(figure)
    return figure


def maps(
    rows: Mapping[str, np.ndarray],
    captions: Sequence[str],
    *,
    label: str,
    scale: tuple[float, float] | None = None,
    colors: str = "viridis",
    empty: str = "",
    beneath: np.ndarray | None = None,
    side: float = 1.05,
) -> Figure:
    """Rows of small maps on one colour scale.

    Parameters
    ----------
    rows
        Title of each row, and its maps, shape (N, H, W); or images in [0, 1], shape (N, C, H, W).
    captions
        One for each column.
    label
        What the colours mean, with unit.
    scale
        Ends of the scale; by default those of all maps.
    colors
        A colour map; for values of both signs one that is neutral in the middle.
    empty
        What stands in a map that is 0 everywhere.
    beneath
        Images in [0, 1], shape (N, C, H, W), that shine in grey through the maps of every row: the
        more, the nearer to 0 a map is.
    side
        Of a map, in inches.
    """
    heights = [part for part in rows.values() if part.ndim == 3]
    low, high = scale or (0, max(float(part.max()) for part in heights))
    with style():
        figure, grid = plt.subplots(
            len(rows),
            len(captions),
            figsize=(side * len(captions) + 2, (side + 0.15) * len(rows) + 0.3),
            squeeze=False,
        )
        shown: Any = None  # any of the maps: they share one scale
        for line, (title, values) in zip(grid, rows.items(), strict=True):
            for place, (axis, value) in enumerate(zip(line, values, strict=True)):
                axis.set(xticks=[], yticks=[])
                sns.despine(ax=axis, left=True, bottom=True)
                if value.ndim == 3:
                    picture = np.moveaxis(value, 0, 2).squeeze()
                    axis.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
                else:
                    if beneath is not None:  # in light grey, so that both colours stand out
                        gray: dict[str, Any] = {"cmap": "gray", "vmin": -1, "vmax": 1}
                        axis.imshow(beneath[place].mean(0), interpolation="bilinear", **gray)
                    opaque = None if beneath is None else np.abs(value) / high
                    shown = axis.imshow(value, cmap=colors, vmin=low, vmax=high, alpha=opaque)
                    if not np.any(value):
                        middle = (0.5, 0.5, empty)
                        axis.text(*middle, transform=axis.transAxes, color="white", **_CENTRED)
            line[0].set_ylabel(title, rotation=0, ha="right", va="center", fontsize="small")
        for axis, caption in zip(grid[0], captions, strict=True):
            axis.set_title(caption, fontsize="small")
        figure.colorbar(shown, ax=grid, label=label, shrink=0.7)
        plt.close(figure)
    return figure
