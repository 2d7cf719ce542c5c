"""A template for a fifth paper: how much random noise does a net bear?

A LeNet-5 is trained on each run's split of the data; its test images get noise of several sizes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Annotated, Generic, TypeVar

import numpy as np
import pandas as pd

from kit import attacks, nets, training
from kit.constraints import ListOf, number, whole
from kit.data import Split
from kit.experiments.images import ImageSettings, split
from kit.harness import results
from kit.harness.steps import Result, Task, step
from kit.runtime import derive_seed

STUDY = results.Study(
    notebook="05_noise_tolerance",
    title="Noise tolerance",
    citation="Nobody: A template. 2026.",
    datasets={"mnist": "MNIST"},
    claims={"5.C1": "Accuracy falls as the noise grows."},
    headline="5.F1",
    shown_by={"5.C1": ("5.T1", "5.F1")},
)
T = TypeVar("T")  # Task in a plan, Result in what is computed from it
SIZES = ListOf(number(above=0, to=1), "list numbers above 0, up to 1", ascending=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(ImageSettings):
    """Parameters of the study; the notebook says what each of them means."""

    runs: Annotated[int, whole(1)]
    epochs: Annotated[int, whole(1)]
    sizes: Annotated[list, SIZES]

    def comparisons(self, dataset: str) -> dict[str, tuple[int, int | None]]:
        """Runs: each trains one net, which sees all sizes."""
        return {"change within a run": (self.runs, None)}


@step(
    version=1,
    label="{split}: LeNet-5 under noise",
    work=lambda split, epochs, **_: split.about.train * epochs,
)
def under_noise(*, split: Split, epochs: int, sizes: Sequence[float]) -> dict:
    """Train LeNet-5, and test it on images with noise.

    Returns
    -------
    dict
        ``accuracy``: a share for each size.
    """
    data = split.load()
    start, noise = (derive_seed(split.seed, purpose, split.run) for purpose in ("start", "noise"))
    net = nets.build("lenet5", data.shape, len(data.classes), seed=start).to(data.x_train.device)
    training.fit(net, data.x_train, data.y_train, epochs=epochs, seed=start)
    noisy = [attacks.random_direction(data.x_test, eps=size, seed=noise) for size in sizes]
    return {"accuracy": np.array([training.accuracy(net, x, data.y_test) for x in noisy])}


@dataclasses.dataclass(frozen=True)
class Runs(Generic[T]):
    """The study on one data set: a task for each run, or its result once it is computed."""

    split: Split
    runs: list[T]


def plan(config: Settings) -> dict[str, Runs[Task]]:
    """The tasks of the study by data set."""
    return {name: _plan(config.on(name), name) for name in config.datasets}


def _plan(c: Settings, name: str) -> Runs[Task]:
    images = split(name, c.data_root, train=c.train, test=c.test, seed=c.seed)
    splits = [images.at(run) for run in range(1, c.runs + 1)]
    tasks = [under_noise.task(split=s, epochs=c.epochs, sizes=c.sizes) for s in splits]
    return Runs(images, tasks)


def accuracies(runs: Sequence[Result], sizes: Sequence[float]) -> pd.DataFrame:
    """Accuracy (%) by run and size of the noise, a row for each."""
    rows = [
        (run, size, 100 * share)
        for run, result in enumerate(runs, 1)
        for size, share in zip(sizes, result["accuracy"], strict=True)
    ]
    return pd.DataFrame(rows, columns=["run", "size", "accuracy"])


def verdicts(table: pd.DataFrame, resolution: float) -> Iterator[tuple[str, str, results.Verdict]]:
    """The claims on one data set: ID, what of it is meant, and the verdict.

    Parameters
    ----------
    table
        As :func:`accuracies` gives it.
    resolution
        One test image, in %.
    """
    wide = table.pivot(index="run", columns="size", values="accuracy")
    falls = (wide.iloc[:, 0] - wide.iloc[:, -1]).to_numpy()
    yield "5.C1", "", results.positive(falls, "points lost to the noise", resolution)
