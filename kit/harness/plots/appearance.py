"""What all figures have in common: style, colours, panels, legends."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import matplotlib as mpl
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import ColorType

_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "kit",  # equal pictures are equal files
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "figure.constrained_layout.use": True,
    "axes.titlesize": "medium",
    "legend.frameon": False,
}
# One colour for one thing, by its place in the palette: names that meet in a figure differ.
PLACES = {
    "FGSM": 0, "CW": 1, "DeepFool": 3, "PGD": 4, "random signs": 7, "noise (control)": 7,
    "train": 1, "perturbed training": 1, "validation": 0, "test": 2, "clean test": 2,
    "whole test set": 2, "misclassified": 4, "before attack": 5,
    "normal": 0, "overfitting": 3, "logits": 0, "softmax": 1,
    "Adam": 0, "SGD": 1, "RMSProp": 2, "AdaBound": 3, "Np = 1": 0, "Np = 5": 1,
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
        place = PLACES.get(str(name))
        if place is not None and place not in taken.values():
            taken[name] = place
    palette = sns.color_palette("colorblind")
    free = itertools.cycle([k for k in range(len(palette)) if k not in taken.values()] or [0])
    return {name: palette[taken[name] if name in taken else next(free)] for name in names}


def headed(text: str) -> str:
    """The title of a panel."""
    return text[:1].upper() + text[1:] if text[:1].isascii() else text  # λ is not Λ


@contextlib.contextmanager
def in_panels(titles: Collection[str], height: float = 3.6) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure with one panel per title, in the common style; closed so that it shows once."""
    with style():
        figure, axes = plt.subplots(
            1, len(titles), figsize=(4.2 * len(titles), height), sharey=True, squeeze=False
        )
        yield figure, list(axes[0])
        sns.despine(figure)
        plt.close(figure)


def shared_legend(figure: Figure, axes: Collection[Axes], place: Axes | None = None) -> None:
    """One legend, each name once: beside all panels, or in the place of one."""
    entries: dict[str, Artist] = {}
    for axis in axes:
        handles, labels = axis.get_legend_handles_labels()
        entries |= zip(labels, handles, strict=True)
    if place is not None:
        place.legend(entries.values(), entries.keys(), loc="center left")
    else:
        figure.legend(
            entries.values(), entries.keys(), loc="outside right center", fontsize="small"
        )
