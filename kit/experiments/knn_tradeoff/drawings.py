"""Pictures that only this study draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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

_EXAMPLES = 6  # images of an adversarial set
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

    They are the first ones of the first runs, each image once. Captions are K-NN's labels at K = 1
    and K = `z`.
    """
    pixels, votes = zip(*(_examples(run, ATTACKS[attack]) for run in runs), strict=True)
    shown = _first(pixels)
    if not len(shown["clean"]):
        return None
    labels = {
        row: captions(of_row[:, : z // 2 + 1], classes) for row, of_row in _first(votes).items()
    }
    return plots.image_rows(shown, labels, side=1.6)


def _first(runs: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {row: np.concatenate([run[row] for run in runs])[:_EXAMPLES] for row in runs[0]}


def _examples(run: Mapping[str, np.ndarray], key: str) -> tuple[dict, dict]:
    """Clean and attacked images of a run, and K-NN's labels of them; of each image one version."""
    kept = run[f"{key}_examples"]
    of_image = run[f"{key}_image"][kept]
    first = np.sort(np.unique(of_image, return_index=True)[1])
    pixels = {"clean": run[f"{key}_originals"][first], "attacked": run[f"{key}_pixels"][first]}
    votes = {"clean": run["test_votes"][of_image], "attacked": run[f"{key}_votes"][kept]}
    return pixels, {row: of_row[first] for row, of_row in votes.items()}


def captions(votes: np.ndarray, classes: Sequence[str]) -> list[str]:
    """Of each image the labels by the smallest and by the largest K; a column for each odd K."""
    largest = 2 * votes.shape[1] - 1
    return [f"1-NN: {classes[row[0]]}\n{largest}-NN: {classes[row[-1]]}" for row in votes]


def accuracies(table: pd.DataFrame) -> Figure:
    """Accuracy by K, a panel for each attack.

    Parameters
    ----------
    table
        As :func:`~kit.experiments.knn_tradeoff.tables.accuracies` makes it.
    """
    panels = {attack: [attack, CONTROL, WRONG, WHOLE] for attack in ADVERSARIAL}
    labels = ("← tighter fit        K (neighbours)", "accuracy (%)")
    return plots.lines(
        table, panels, x="k", y="accuracy", hue="set", labels=labels, limits=(-4, 104)
    )
