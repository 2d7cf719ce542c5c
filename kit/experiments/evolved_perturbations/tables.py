"""The trainings of the study as tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kit.experiments.evolved_perturbations.settings import OURS
from kit.optimizers import TITLES

if TYPE_CHECKING:
    from kit.experiments.evolved_perturbations.plan import Training


def curves(trainings: Iterable[Training]) -> pd.DataFrame:
    """All trainings in one table, a row for each epoch of each.

    Returns
    -------
    pandas.DataFrame
        What is known of the training, and epoch, train_loss, train and test (accuracies in %).
    """
    return pd.concat([_curve(training) for training in trainings])


def _curve(training: Training) -> pd.DataFrame:
    columns = {f.name: getattr(training, f.name) for f in dataclasses.fields(training)}
    result = columns.pop("result")
    columns |= {
        "epoch": np.arange(len(result["test_accuracy"])),
        "train_loss": result["train_loss"],
        # Rounded, since accuracies are stored as float32 shares of up to 10⁵ images.
        "train": np.round(100 * result["train_accuracy"], 4),
        "test": np.round(100 * result["test_accuracy"], 4),
    }
    return pd.DataFrame(columns)


def final(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of :func:`curves` after the last epoch."""
    return table[table["epoch"] == table["epoch"].max()].reset_index(drop=True)


def evolved(
    table: pd.DataFrame, aim: str, pixels: int | None = None, method: str = OURS
) -> pd.DataFrame:
    """The rows about noise that a method evolved against an optimizer."""
    kind, against, by = (table[column] for column in ("kind", "aim", "method"))
    rows = table[(kind == "evolved") & (against == aim) & (by == method)]
    return rows if pixels is None else rows[rows["pixels"] == pixels]


def summary(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Mean and sample standard deviation over :func:`units` of accuracies (%), by some columns."""
    rows = []
    for entries, part in table.groupby(by, sort=False):
        test = units(part)
        row = dict(zip(by, entries, strict=True)) | {"accuracy": test.mean(), "std": test.std()}
        rows.append(row | {"train": units(part, "train").mean(), "repeats": len(test)})
    return named(pd.DataFrame(rows))


def named(table: pd.DataFrame) -> pd.DataFrame:
    """A table for readers, with the optimizers' names as the field writes them."""
    return table.replace({"optimizer": TITLES})


def units(table: pd.DataFrame, value: str = "test") -> pd.Series:
    """What counts as one repeat: a search, or a training on noise that no search made.

    Trainings on the δ* of one search are no independent results: their mean counts once.
    """
    searched = (table["kind"] == "evolved").all()
    return table.groupby("search")[value].mean() if searched else table[value]


def paired(
    table: pd.DataFrame, column: str, better: object, worse: object, value: str = "test"
) -> np.ndarray:
    """Differences of a value between two entries of a column, one for each search."""
    wide = table.pivot_table(index="search", columns=column, values=value)
    return (wide[better] - wide[worse]).dropna().to_numpy()
