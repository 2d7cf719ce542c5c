"""Pictures that only this study draws."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib import pyplot as plt
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from kit import neighbors
from kit.experiments.knn_tradeoff.settings import ADVERSARIAL, ATTACKS, CONTROL, WHOLE, WRONG
from kit.harness import plots

if TYPE_CHECKING:
    from kit.data import Dataset

_EXAMPLES = 10  # images of an adversarial set
_SHOWN, _CLASSES, _GRID = 400, 4, 120  # points and classes in the plane, and its resolution


def dial(images: Dataset, right: Mapping[str, Mapping[int, float]]) -> Callable[[int], Figure]:
    """How K-NN's borders and accuracies change with K: gives the picture for one K.

    Parameters
    ----------
    images
        Training images of a few classes are drawn as points of a plane, that of their first two
        principal components, in which K-NN is easy to see.
    right
        By sets of images the share that K-NN gets right for each K, all pixels seen.
    """
    count = min(_CLASSES, len(images.classes))
    few = (images.y_train < count).nonzero()[:_SHOWN, 0]
    labels = images.y_train[few].cpu()
    pixels = images.x_train[few].cpu().flatten(1)
    centred = pixels - pixels.mean(0)
    points = centred @ torch.linalg.svd(centred, full_matrices=False).Vh[:2].T
    low, high = points.amin(0) - 0.3, points.amax(0) + 0.3
    sides = [torch.linspace(float(a), float(b), _GRID) for a, b in zip(low, high, strict=True)]
    places = torch.cartesian_prod(*sides)
    ks = [k for k in next(iter(right.values())) if k <= len(points)]
    regions = neighbors.predict(points, labels, places, ks)
    colors = ListedColormap(sns.color_palette("colorblind", count))
    scale = {"cmap": colors, "vmin": 0, "vmax": count - 1}
    lowest = 100 * min(min(shares.values()) for shares in right.values())

    def draw(k: int) -> Figure:
        with plots.style():
            figure, (plane, curves) = plt.subplots(1, 2, figsize=(9, 3.4))
            region = regions[min(k, ks[-1])].reshape(_GRID, _GRID).T
            extent = (float(low[0]), float(high[0]), float(low[1]), float(high[1]))
            plane.imshow(region, extent=extent, origin="lower", aspect="auto", alpha=0.4, **scale)
            plane.scatter(*points.T, c=labels, s=9, edgecolors="white", linewidths=0.3, **scale)
            plane.set(xticks=[], yticks=[], title=f"{count} classes in a plane")
            for (name, shares), marker in zip(right.items(), "os", strict=False):
                values = [100 * share for share in shares.values()]
                (line,) = curves.plot(list(shares), values, marker=marker, label=name, markersize=4)
                curves.plot(k, 100 * shares[k], marker, color=line.get_color(), markersize=11)
            curves.axvline(k, color="gray", linestyle=":")
            curves.set(xlabel="K (neighbours)", ylabel="right (%)", title="All classes, all pixels")
            curves.set(xticks=list(shares), ylim=(min(90, lowest - 2), 101))
            curves.legend(fontsize="small", loc="lower right")
            in_words = ", ".join(f"{shares[k]:.1%} of the {name}" for name, shares in right.items())
            figure.suptitle(f"K = {k}: right on {in_words}")
            sns.despine(figure)
            plt.close(figure)
        return figure

    return draw


def examples(
    runs: Sequence[Mapping[str, np.ndarray]], attack: str, z: int, classes: Sequence[str]
) -> Figure | None:
    """Images of an attack's adversarial sets, clean and attacked; None if the sets are empty.

    They are the first ones of the first runs. Captions are K-NN's labels at K = 1 and K = `z`.
    """
    key = ATTACKS[attack]
    images = {"clean": f"{key}_originals", "attacked": f"{key}_pixels"}
    shown = {row: np.concatenate([run[k] for run in runs])[:_EXAMPLES] for row, k in images.items()}
    if not len(shown["clean"]):
        return None
    kept = [run[f"{key}_examples"] for run in runs]
    votes = {
        "clean": [
            run["test_votes"][run[f"{key}_image"][rows]]
            for run, rows in zip(runs, kept, strict=True)
        ],
        "attacked": [run[f"{key}_votes"][rows] for run, rows in zip(runs, kept, strict=True)],
    }
    labels = {
        row: captions(np.concatenate(of_runs)[:_EXAMPLES, : z // 2 + 1], classes)
        for row, of_runs in votes.items()
    }
    return plots.image_rows(shown, labels)


def captions(votes: Iterable[Sequence[int]], classes: Sequence[str]) -> list[str]:
    """Of each image the labels by the smallest and by the largest K."""
    pairs = [(classes[row[0]], classes[row[-1]]) for row in votes]
    return [f"{a} / {b}" if len(a + b) < 8 else f"{a} /\n{b}" for a, b in pairs]


def accuracies(table: pd.DataFrame) -> Figure:
    """Accuracy by K, a panel for each attack.

    Parameters
    ----------
    table
        As :func:`~kit.experiments.knn_tradeoff.tables.accuracies` makes it.
    """
    panels = {attack: [attack, CONTROL, WRONG, WHOLE] for attack in ADVERSARIAL}
    labels = ("K (neighbours)", "accuracy (%)")
    return plots.lines(
        table, panels, x="k", y="accuracy", hue="set", labels=labels, limits=(-4, 104)
    )
