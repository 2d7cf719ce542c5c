"""The trainings of the study as tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kit.experiments.evolved_perturbations.settings import OURS, TITLES

if TYPE_CHECKING:
    from kit.experiments.evolved_perturbations.settings import Aim, Settings
    from kit.experiments.evolved_perturbations.tree import Search, Training
    from kit.harness.steps import Result

KINDS = ("clean", "left", "shortcut", "uniform", "evolved")  # of noise, in the order of tables


def curves(trainings: Iterable[Training[Result]]) -> pd.DataFrame:
    """All trainings in one table, a row for each epoch of each.

    Returns
    -------
    pandas.DataFrame
        What is known of the training, and epoch, train_loss, train and test (accuracies in %).
    """
    return pd.concat([_curve(training) for training in trainings])


def _curve(training: Training[Result]) -> pd.DataFrame:
    columns = {f.name: getattr(training, f.name) for f in dataclasses.fields(training)}
    result = columns.pop("result")
    columns |= {
        # Of a course with parts of the first epoch.
        "epoch": result.get("epoch", np.arange(len(result["test_accuracy"]))),
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


# --- what the notebook shows -------------------------------------------------------------------


def compared(config: Settings, final: pd.DataFrame) -> pd.DataFrame:
    """Trainings on every noise, by the search's optimizer and by its rival."""
    both = [config.search_optimizer, config.rival]
    return final.sort_values(
        ["optimizer", "kind"],
        kind="stable",
        key=lambda column: column.map((KINDS if column.name == "kind" else both).index),
    )


def augmented(final: pd.DataFrame) -> pd.DataFrame:
    """1.T1: by noise and net, named as the paper names noises, without the optimizer."""
    noise = final["noise"].str.replace(r" \(\w+\)$", "", regex=True)
    return summary(final.assign(noise=noise), ["noise", "net"]).drop(columns="train")


def by_kind(searches: Mapping[Aim, Search[Result]]) -> dict[str, list]:
    """The generations of all searches that differ in their number alone."""
    found: dict[str, list] = {}
    for aim, search in searches.items():
        found.setdefault(aim.kind, []).append(search.generations)
    return found


def per_epoch(config: Settings, table: pd.DataFrame, pixels: int) -> dict[str, tuple]:
    """Curves over the epochs of trainings on δ* by the search's optimizer: epochs and values."""
    rows = evolved(table, config.search_optimizer, pixels)
    rows = rows[rows["optimizer"] == config.search_optimizer]
    wide = rows.pivot_table(index=["search", "repeat"], columns="epoch", values=["test", "train"])
    return {
        label: (wide[column].columns.to_numpy(), wide[column].to_numpy())
        for label, column in (("clean test", "test"), ("perturbed training", "train"))
    }


def by_search(config: Settings, final: pd.DataFrame) -> pd.DataFrame:
    """Accuracies after training on δ*; trainings on one δ* are averaged."""
    by = ["pixels", "optimizer", "kind", "search"]
    rows = evolved(final, config.search_optimizer)
    return rows.groupby(by, sort=False)[["test", "train"]].mean().reset_index()


def crossed(config: Settings, final: pd.DataFrame) -> pd.DataFrame:
    """Evolved against one of two optimizers, and trained by one of them (1.X2)."""
    rows = final[(final["kind"] == "evolved") & (final["pixels"] == config.pixels[0])]
    both = rows["optimizer"].isin([config.search_optimizer, config.rival])
    return summary(rows[both & (rows["method"] == OURS)], ["noise", "optimizer"])


def first_reaching(values: np.ndarray, level: float, epochs: np.ndarray) -> float:
    """Epoch in which a curve first reaches a level, linearly between two readings."""
    after = int(np.argmax(values >= level))
    if after == 0:
        return float(epochs[0])
    two = slice(after - 1, after + 1)
    return float(np.interp(level, values[two], epochs[two]))


def matched(table: pd.DataFrame, optimizers: Iterable[str]) -> pd.DataFrame:
    """Clean-test accuracy where each optimizer first has the training accuracy that all reach."""
    rows = []
    for (pixels, search, repeat), part in table.groupby(["pixels", "search", "repeat"]):
        curves = {name: one.sort_values("epoch") for name, one in part.groupby("optimizer")}
        level = min(curve["train"].max() for curve in curves.values())
        for name in optimizers:
            curve = curves[name]
            epoch = first_reaching(curve["train"].to_numpy(), level, curve["epoch"].to_numpy())
            test = float(np.interp(epoch, curve["epoch"], curve["test"]))
            rows.append((pixels, name, search, repeat, level, test, epoch))
    columns = ["pixels", "optimizer", "search", "repeat", "train", "test", "epoch"]
    return pd.DataFrame(rows, columns=columns)


def at_equal_training(equal: pd.DataFrame) -> pd.DataFrame:
    """:func:`matched`, as mean and standard deviation over the searches (1.X1)."""
    by = ["pixels", "optimizer"]
    of_search = equal.groupby([*by, "search"], sort=False).mean().reset_index()
    return (
        of_search.groupby(by, sort=False)
        .agg(
            accuracy=("test", "mean"),
            std=("test", "std"),
            train=("train", "mean"),
            epoch=("epoch", "mean"),
            searches=("test", "count"),
        )
        .reset_index()
    )
