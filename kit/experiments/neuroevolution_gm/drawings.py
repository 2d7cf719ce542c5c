"""Drawings of architectures, in the style of all figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from kit.harness.plots import style
from kit.nets.genome import Genome, shapes

_BLOCK_COLORS = {"conv": 0, "strided": 4, "pool": 2, "sum": 1, "concat": 3}  # of the palette
_BOX, _BESIDE = 1.6, 3.2  # half a box's width, and the width for the arrows beside it


def architectures(genomes: Mapping[str, Genome], shape: Sequence[int]) -> Figure:
    """Drawings of architectures side by side, from the image down to the classes.

    Parameters
    ----------
    genomes
        Title of each drawing, and its blocks (:mod:`kit.nets.genome`).
    shape
        Of an image, (C, H, W): the sizes at the left follow from it.
    """
    tallest = max(map(len, genomes.values())) + 2
    with style():
        figure, axes = plt.subplots(
            1, len(genomes), figsize=(3.3 * len(genomes), 0.48 * tallest + 0.6), squeeze=False
        )
        for axis, (title, genome) in zip(axes[0], genomes.items(), strict=True):
            _draw(axis, genome, shapes(genome, shape))
            axis.set(title=title, xlim=(-4.6, 5.2), ylim=(tallest - 0.4, -0.6))
            axis.set_axis_off()
        plt.close(figure)
    return figure


def _draw(axis: Axes, genome: Genome, outputs: Sequence[Sequence[int]]) -> None:
    palette = sns.color_palette("colorblind")
    texts = ["image", *map(_describe, genome), "2 fully connected"]
    faces: list[Any] = ["white", *(palette[_BLOCK_COLORS[b["kind"]]] for b in genome), "white"]
    for place, (text, face) in enumerate(zip(texts, faces, strict=True)):
        box = FancyBboxPatch(
            (-_BOX, place - 0.25),
            2 * _BOX,
            0.5,
            boxstyle="round,pad=0.05",
            linewidth=0.8,
            facecolor=(*face[:3], 0.35) if face != "white" else face,
            edgecolor="black",
        )
        axis.add_patch(box)
        axis.text(0, place, text, ha="center", va="center", fontsize="small")
        if place < len(outputs):
            size = "×".join(map(str, outputs[place]))
            axis.text(
                -_BOX - 0.25,
                place,
                size,
                ha="right",
                va="center",
                fontsize="x-small",
                color="dimgray",
            )
    reads = [(k, number) for number, block in enumerate(genome, 1) for k in block["inputs"]]
    skips = sorted((pair for pair in reads if pair[1] - pair[0] > 1), key=lambda p: p[1] - p[0])
    arrow = {"arrowstyle": "-|>", "linewidth": 0.9, "color": "black", "shrinkA": 0, "shrinkB": 0}
    for start, end in (*reads, (len(genome), len(genome) + 1)):
        if end - start == 1:
            axis.annotate("", (0, end - 0.31), (0, start + 0.31), arrowprops=arrow)
    tracks = _tracks(skips)
    apart = min(0.55, _BESIDE / (1 + max(tracks.values(), default=0)))
    for start, end in skips:
        out = _BOX + 0.15 + apart * (tracks[start, end] + 1)
        x = [_BOX + 0.06, out, out]
        axis.plot(x, [start + 0.1, start + 0.1, end - 0.1], color="black", linewidth=0.9)
        axis.annotate("", (_BOX + 0.06, end - 0.1), (out, end - 0.1), arrowprops=arrow)


def _tracks(skips: Sequence[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """For each arrow beside the boxes a track on which no other one overlaps it."""
    tracks: dict[tuple[int, int], int] = {}
    for start, end in skips:
        taken = {t for (a, b), t in tracks.items() if a < end and start < b}
        tracks[start, end] = min(set(range(len(skips))) - taken)
    return tracks


def _describe(block: Mapping[str, Any]) -> str:
    if "kernel" in block:
        name = block["kind"]
        return f"{name} {block['kernel']}×{block['kernel']}, {block['channels']}"
    return f"{block['pool']} pool" if "pool" in block else str(block["kind"])
