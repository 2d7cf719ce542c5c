"""The study's numbers over its runs as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from kit.data.splits import Split
    from kit.experiments.neuroevolution_gm.plan import Scale
    from kit.experiments.neuroevolution_gm.settings import Settings


def described(scale: Scale, config: Settings) -> str:
    """What a table's title says of its experiment: data, reference, widths, runs."""
    about = scale.split.about
    height, width = about.shape[1:]
    return (
        f"{about.title}, {about.train} training images of {height}×{width} pixels, reference "
        f"{config.reference}, evolved channels {config.widths[0]}–{config.widths[-1]}, "
        f"λ = {config.strength:g}, {config.epochs} epochs, {config.runs} runs"
    )


def scales(config: Settings) -> list[tuple[str, Settings, str]]:
    """The full and the reduced experiment: name, settings, and a note for titles."""
    note = "" if config.full else " (the full data were not run: the reduced experiment again)"
    return [("full", config.at_full(), note), ("reduced", config, "")]


def plain(split: Split) -> str:
    """Title of a data set without the note on its pixels, as in the paper's tables."""
    return split.about.title.partition(" (")[0]


def over_runs(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Tables of the runs one below the other, with the run's number in column `run`."""
    return pd.concat(
        [table.assign(run=number) for number, table in enumerate(tables, 1)], ignore_index=True
    )


def mean_and_std(table: pd.DataFrame, by: Sequence[str], columns: Sequence[str]) -> pd.DataFrame:
    """Mean and sample standard deviation of columns over the runs."""
    grouped = table.groupby(list(by), sort=False)[list(columns)]
    mean, std = grouped.mean(), grouped.std()
    parts = {
        name: values[column]
        for column in columns
        for name, values in ((column, mean), (f"{column} std", std))
    }
    return pd.DataFrame(parts).reset_index()


def wide(table: pd.DataFrame, by: str | Sequence[str], images: Mapping[str, str]) -> pd.DataFrame:
    """A row for each net, with mean and standard deviation on each set of images.

    Parameters
    ----------
    table
        Columns `by`, run, images and accuracy.
    images
        Sets of images, and the columns that they become.
    """
    by = [by] if isinstance(by, str) else list(by)
    order = table[by].drop_duplicates()
    spread = table.pivot(index=[*by, "run"], columns="images", values="accuracy").reset_index()
    spread = spread.rename(columns=dict(images))
    return order.merge(mean_and_std(spread, by, list(images.values())), on=by)


def scaled(maps: np.ndarray) -> np.ndarray:
    """Maps of shape (N, H, W), each scaled to [-1, 1]."""
    return maps / np.maximum(np.abs(maps).max(axis=(1, 2), keepdims=True), 1e-12)


def map_distances(run: Any) -> pd.DataFrame:
    """Total pixel distance of each net's integrated gradients from Ref's, and mean cosine."""
    import torch

    from kit.explain import attribution_distance

    of_reference = torch.from_numpy(run.attributions["Ref"]["maps"])
    rows = []
    for name, shown in run.attributions.items():
        apart = attribution_distance(torch.from_numpy(shown["maps"]), of_reference)
        cosine = float(np.mean(run.nets[name].examined["cosines"]))
        rows.append((name, float(apart.mean()), cosine))
    return pd.DataFrame(rows, columns=["net", "distance", "cosine"])


def by_strength(table: pd.DataFrame, variant: str, quantity: str) -> tuple[np.ndarray, np.ndarray]:
    """A curve over λ: the values of λ, and those of a quantity, shape (runs, λ)."""
    rows = table[table["variant"] == variant]
    values = rows.pivot(index="run", columns="strength", values=quantity)
    return values.columns.to_numpy(), values.to_numpy()


def per_run(table: pd.DataFrame, net: str, column: str = "accuracy") -> np.ndarray:
    """One number per run, of one net."""
    return table[table["net"] == net].sort_values("run")[column].to_numpy()
