"""Pictures that only this study draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from kit.experiments.neuroevolution_gm import measures, searched, tables
from kit.experiments.neuroevolution_gm.roles import BEST, REFERENCE, SECOND
from kit.harness import plots
from kit.nets import HAND_ENGINEERED
from kit.nets.genome import Genome, shapes

if TYPE_CHECKING:
    from torch import Tensor

    from kit.experiments.neuroevolution_gm.tree import Run, Scale
    from kit.harness.steps import Result

_VARIANTS = ("cosine", "absolute")  # of the GM loss
_BLOCK_COLORS = {"conv": 0, "strided": 4, "pool": 2, "sum": 1, "concat": 3}  # of the palette
_BOX, _BESIDE = 1.6, 3.2  # half a box's width, and the width for the arrows beside it


def ceiling(
    cosines: Mapping[float, Tensor], right: Mapping[str, Mapping[float, float]]
) -> Callable[[float], Figure]:
    """What the weight λ of the GM loss does to a net: gives the picture for one λ.

    Parameters
    ----------
    cosines
        By λ the cosine of the net's and the reference's gradients at each image.
    right
        By sets of images the share that the net gets right for each λ.
    """
    edges = np.linspace(-1, 1, 21)
    counts = {weight: np.histogram(of.cpu(), edges)[0] for weight, of in cosines.items()}
    highest = max(int(count.max()) for count in counts.values())
    lowest = min(min(shares.values()) for shares in right.values())

    def draw(strength: float) -> Figure:
        mean = float(cosines[strength].mean())
        with plots.style():
            figure, (turned, curves) = plt.subplots(1, 2, figsize=(9, 3.4))
            turned.stairs(counts[strength], edges, fill=True, color="silver")
            turned.axvline(mean, color="black", label=f"mean {mean:+.2f}")
            turned.set(xlabel="cosine with the reference's gradient", ylabel="number of images")
            turned.set(xticks=[-1, -0.5, 0, 0.5, 1], xlim=(-1, 1), ylim=(0, 1.05 * highest))
            turned.legend(fontsize="small", loc="upper left")
            looks = zip(plots.colors(right).values(), "os", strict=False)
            for (name, shares), (color, marker) in zip(right.items(), looks, strict=False):
                values = [100 * share for share in shares.values()]
                curves.plot(list(shares), values, marker, ls="-", color=color, ms=4, label=name)
                curves.plot(strength, 100 * shares[strength], marker, color=color, ms=11)
            curves.axvline(strength, color="gray", linestyle=":")
            curves.set(xlabel="λ", ylabel="right (%)", ylim=(min(60, 100 * lowest - 2), 101))
            curves.legend(fontsize="small", loc="lower right")
            shown = [f"{shares[strength]:.1%} of the {name}" for name, shares in right.items()]
            in_words = f"mean cosine {mean:+.2f}, right on {' and '.join(shown)}"
            figure.suptitle(f"λ = {strength:g}: {in_words}")
            sns.despine(figure)
            plt.close(figure)
        return figure

    return draw


def progress(runs: Sequence[Run[Result]]) -> Figure:
    """The best fitness so far over the nets that were tried: evolved, and random ones."""
    found = [searched.progress(run) for run in runs]
    shown = {kind: np.array([of_run[kind] for of_run in found]) for kind in found[0]}
    panel = {kind: (range(1, values.shape[1] + 1), values) for kind, values in shown.items()}
    return plots.curves({"": panel}, x_label="architectures tried", y_labels=["fitness (%)"])


def attributions(run: Run[Result], classes: Sequence[str]) -> Figure:
    """Images, and over each in grey the integrated gradients of some nets, each map scaled."""
    reference = run.attributions[REFERENCE]
    rows = {"image": reference["images"]} | {
        run.nets[role].label: measures.scaled(found["maps"])
        for role, found in run.attributions.items()
    }
    return plots.maps(
        rows,
        [classes[k] for k in reference["labels"]],
        label="against / for the class",
        scale=(-1, 1),
        colors="PuOr_r",
        beneath=reference["images"],
        side=1.5,
    )


def swept(table: pd.DataFrame, strengths: Sequence[float]) -> Figure:
    """Clean and adversarial accuracy by λ, with the signed and with the absolute cosine.

    Parameters
    ----------
    table
        As :func:`~.measures.sweep` makes it, of all runs.
    strengths
        The values of λ to mark.
    """
    panels = {
        quantity: {variant: tables.by_strength(table, variant, quantity) for variant in _VARIANTS}
        for quantity in ("clean", "adversarial")
    }
    y_labels = ["clean accuracy (%)", "accuracy on Ref's examples (%)"]
    marks = [(strength, f"{strength:g}") for strength in strengths]
    return plots.curves(panels, x_label="λ", marks=marks, y_labels=y_labels)


def by_hand_and_evolved(scale: Scale[Result], names: Sequence[str]) -> Figure:
    """Drawings of the best two nets of run 1, and before them of nets by hand that are genomes."""
    evolved = [scale.runs[0].nets[role] for role in (BEST, SECOND)]
    drawn = {name: HAND_ENGINEERED[name] for name in names if name in HAND_ENGINEERED}
    drawn |= {f"{net.label}, run 1": net.genome for net in evolved}
    return architectures(drawn, scale.split.about.shape)


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
    with plots.style():
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
