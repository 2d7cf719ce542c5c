"""Pictures that only this study draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from kit import divergence
from kit.experiments.evolved_perturbations import measures, tables
from kit.harness import plots

if TYPE_CHECKING:
    from torch import Tensor

    from kit.experiments.evolved_perturbations.settings import Settings


def perturbed(title: str, images: np.ndarray, classes: Sequence[str], noise: Tensor) -> Figure:
    """One perturbed image of each class, the perturbed pixels circled."""
    return plots.image_rows({title: images}, {title: classes}, {title: circles(noise)})


def circles(noise: Tensor) -> list[list[tuple[int, int]]]:
    """Perturbed pixels of every class as (row, column)."""
    return [
        [(row, column) for row, column in eta.nonzero().tolist()] for eta in noise.abs().amax(1)
    ]


def bound(dimension: int, source_risk: float, gamma: float) -> Figure:
    """Theorem 1's bound on the target risk against the number of samples, by divergence.

    Parameters
    ----------
    dimension
        VC dimension of the rules.
    source_risk
        Risk on the source domain.
    gamma
        The bound holds with probability 1 − `gamma`.
    """
    sizes = np.logspace(np.log10(max(1000, dimension)), 8, 60)
    risks = {
        apart: np.array(
            [divergence.risk_bound(source_risk, apart, n, dimension, delta=gamma) for n in sizes]
        )
        for apart in (0.0, 0.5, 1.0, 2.0)
    }
    powers = np.log10(sizes)
    shown = {"1: says nothing": (powers, np.ones((1, 60)))}
    shown |= {f"divergence {apart:g}": (powers, of[None]) for apart, of in risks.items()}
    labels = "samples n (powers of ten)", ["bound on the target risk"]
    figure = plots.curves({"": shown}, x_label=labels[0], y_labels=labels[1])
    enough = np.flatnonzero(risks[0.0] < 1)
    says = f"from 10^{powers[enough[0]]:.1f} samples on" if len(enough) else "nowhere"
    with plots.style():
        figure.suptitle(
            f"VC dimension {dimension}, source risk {source_risk:g}, γ = {gamma:g}:\n"
            f"at divergence 0 the bound is below 1 {says}",
            fontsize="medium",
        )
    return figure


def progress(searches: Mapping[str, Sequence[Sequence[Mapping[str, np.ndarray]]]]) -> Figure:
    """Best and mean score and the largest of its parts per generation.

    Parameters
    ----------
    searches
        By the title of a panel the searches of one kind, each by its generations. A generation of
        which one search has kept no scores is left out.
    """
    panels = {}
    for title, of_kind in searches.items():
        count = min(map(len, of_kind))
        numbers = [k for k in range(count) if all(len(s[k]["fitness"]) for s in of_kind)]
        panels[title] = {
            name: (
                [k + 1 for k in numbers],
                np.array([[of(search[k]) for k in numbers] for search in of_kind]),
            )
            for name, of in _SCORES.items()
        }
    return plots.curves(
        panels, x_label="generation", y_labels=["score"] * len(panels), columns=min(3, len(panels))
    )


_SCORES: dict[str, Callable[[Mapping[str, np.ndarray]], float]] = {
    "best $F$": lambda generation: np.nanmax(generation["fitness"]),
    "mean $F$": lambda generation: np.nanmean(generation["fitness"]),
    "largest mismatch $F_m$": lambda generation: np.nanmax(generation["mismatch"]),
    "largest divergence $F_d$": lambda generation: np.nanmax(generation["divergence"]),
}


def best_so_far(title: str, searches: Mapping[int, Any]) -> Figure:
    """Error on clean test images after training on the best candidate so far.

    Parameters
    ----------
    title
        Of the panel.
    searches
        By number of pixels, as :func:`~.measures.by_pixels` gives them.
    """
    errors = {f"Np = {p}": measures.best_so_far(of) for p, of in searches.items()}
    shown = {name: (range(1, values.shape[1] + 1), values) for name, values in errors.items()}
    label = "error on clean test images (%)"
    return plots.curves({title: shown}, x_label="generation", y_labels=[label])


def compared(table: pd.DataFrame) -> Figure:
    """Every training's accuracy on clean test images, by the noise that it was trained on."""
    rows = table.replace({"noise": {"left column [7]": "left column"}})  # [7]: in the paper
    return plots.points(
        rows,
        "optimizer",
        x="noise",
        y="test",
        label="clean test accuracy (%)",
        stressed="evolved",
        limits=(0, 100),
    )


def per_epoch(config: Settings, table: pd.DataFrame) -> Figure:
    """Accuracies over the epochs of training on δ*, a panel for each number of pixels."""
    panels = {f"Np = {p}": tables.per_epoch(config, table, p) for p in config.pixels}
    return plots.curves(panels, x_label="epoch", y_labels=["accuracy (%)"] * len(panels))


def grad_cam(cam: Mapping[str, np.ndarray], classes: Sequence[str]) -> Figure:
    """The mean image of each class, and the mean maps of both nets."""
    rows = {
        "mean image": cam["image"],
        "clean training": 1000 * cam["clean"],
        "perturbed training": 1000 * cam["perturbed"],
    }
    label = "share of the map (‰ per pixel)"
    return plots.maps(rows, classes, label=label, empty="no mass")


def between(lines: Sequence[Sequence[Mapping[str, np.ndarray]]]) -> Figure:
    """Loss and accuracy along the line from SGD's to Adam's weights."""
    alpha = lines[0][0]["alpha"]
    parts = {"perturbed training": "train", "clean test": "test"}
    panels = {
        quantity: {
            label: (alpha, scale * measures.along(lines, f"{part}_{quantity}"))
            for label, part in parts.items()
        }
        for quantity, scale in (("loss", 1), ("accuracy", 100))
    }
    return plots.curves(
        panels,
        x_label="α",
        y_labels=["cross-entropy", "accuracy (%)"],
        marks=[(0, "SGD"), (1, "Adam")],
        logarithmic=["cross-entropy"],
    )
