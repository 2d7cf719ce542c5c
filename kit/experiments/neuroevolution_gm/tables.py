"""The study's numbers over the runs, as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kit.experiments.neuroevolution_gm.roles import BEST, MISALIGNED, REFERENCE, label
from kit.experiments.neuroevolution_gm.settings import STUDY
from kit.experiments.neuroevolution_gm.steps import LINF

if TYPE_CHECKING:
    from kit.data.splits import Split
    from kit.experiments.neuroevolution_gm.settings import Settings
    from kit.experiments.neuroevolution_gm.tree import Scale
    from kit.harness.steps import Result

PAPERS = {"full": 50_000, "reduced": 10_000}  # training images of the paper's CIFAR-10
BOTH = {"clean": "clean", LINF: "adversarial"}  # sets of images, and what tables call them


def described(scale: Scale[Result], config: Settings) -> str:
    """What a table's title says of its experiment: data, reference, widths, runs."""
    about = scale.split.about
    height, width = about.shape[1:]
    return (
        f"{about.title}, {about.train} training images of {height}×{width} pixels, reference "
        f"{config.reference}, evolved channels {config.widths[0]}–{config.widths[-1]}, "
        f"λ = {config.strength:g}, {config.epochs} epochs, {config.runs} runs"
    )


def scales(config: Settings) -> dict[str, Settings]:
    """The experiments that were run, each with its settings: on the full data, and the reduced."""
    return ({"full": config.at_full()} if config.full else {}) | {"reduced": config}


def comparable(scales: Mapping[str, Scale]) -> list[str]:
    """The scales on which the paper's values are of an experiment of the same size."""
    return [
        scale
        for scale, experiment in scales.items()
        if experiment.split.name in STUDY.datasets and experiment.split.about.train == PAPERS[scale]
    ]


def plain(split: Split) -> str:
    """Title of a data set without the note on its pixels, as in the paper's tables."""
    return split.about.title.partition(" (")[0]


def over_runs(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Tables of the runs one below the other, with the run's number in column `run`."""
    return pd.concat(
        [table.assign(run=number) for number, table in enumerate(tables, 1)], ignore_index=True
    )


def mean_and_std(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Mean and sample standard deviation over the runs of all other columns."""
    grouped = table.drop(columns="run").groupby(list(by), sort=False)
    mean, std = grouped.mean(), grouped.std()
    parts = {
        name: values[column]
        for column in mean
        for name, values in ((column, mean), (f"{column} std", std))
    }
    return pd.DataFrame(parts).reset_index()


def wide(
    table: pd.DataFrame, by: Sequence[str] = ("net",), images: Mapping[str, str] = BOTH
) -> pd.DataFrame:
    """A row for each net, with mean and standard deviation on each set of images.

    Parameters
    ----------
    table
        Columns `by`, run, images and accuracy.
    images
        Sets of images, and the columns that they become.
    """
    by = list(by)
    order = table[by].drop_duplicates()
    spread = table.pivot(index=[*by, "run"], columns="images", values="accuracy").reset_index()
    spread = spread.rename(columns=dict(images))[[*by, "run", *images.values()]]
    return order.merge(mean_and_std(spread, by), on=by)


def on_other_nets(table: pd.DataFrame, sources: Sequence[str]) -> pd.DataFrame:
    """Accuracy on the examples of each source, a row each, by net (4.T2)."""
    spread = table[table["images"].isin(sources)].pivot(
        index=["images", "run"], columns="net", values="accuracy"
    )
    three = spread[[label(role) for role in (REFERENCE, MISALIGNED, BEST)]]
    named = three.reset_index().rename(columns={"images": "source"})
    return mean_and_std(named, ["source"]).set_index("source").loc[list(sources)].reset_index()


def by_strength(table: pd.DataFrame, variant: str, quantity: str) -> tuple[np.ndarray, np.ndarray]:
    """A curve over λ: the values of λ, and those of a quantity, shape (runs, λ)."""
    rows = table[table["variant"] == variant]
    values = rows.pivot(index="run", columns="strength", values=quantity)
    return values.columns.to_numpy(), values.to_numpy()


def per_run(table: pd.DataFrame, net: str, column: str = "accuracy") -> np.ndarray:
    """One number per run, of one net; where cells hold several, shape (runs, numbers)."""
    return np.array(table[table["net"] == net].sort_values("run")[column].to_list())
