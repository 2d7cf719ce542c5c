"""The tasks of the study, from its settings."""

from __future__ import annotations

import dataclasses
from typing import Generic, TypeVar

from kit.constraints import in_one_line
from kit.data.splits import Split
from kit.experiments.images import split
from kit.experiments.knn_tradeoff.settings import Settings
from kit.experiments.knn_tradeoff.steps import lenet, study
from kit.harness.steps import Task

LARGEST = 7  # K-NN labels are kept up to this K, or up to a larger Z, so that Z is chosen after
T = TypeVar("T")  # Task in a plan, Result in what is computed from it


@dataclasses.dataclass(frozen=True)
class Runs(Generic[T]):
    """The study on one data set: the nets of :func:`lenet` and the runs of :func:`study`."""

    split: Split
    nets: list[T]
    runs: list[T]


@in_one_line
def plan(c: Settings) -> dict[str, Runs[Task]]:
    """The tasks of the study by data set; one that is too small for `z` is refused."""
    return {name: _plan(c.on(name), name) for name in c.datasets}


def _plan(config: Settings, name: str) -> Runs[Task]:
    images = split(name, config.data_root, train=config.train, test=config.test, seed=config.seed)
    if config.z > images.about.train:
        raise ValueError(f"z is {config.z}: there are only {images.about.train} training images.")
    splits = [images.at(run) for run in range(1, config.runs + 1)]
    nets = [lenet.task(split=s, epochs=config.epochs, **config.precise) for s in splits]
    largest = max(config.z, min(LARGEST, (images.about.train - 1) | 1))
    options = {"largest_k": largest, "eps": config.epsilon, "control_draws": config.control_draws}
    runs = [
        study.task(split=s, weights=net["weights"], **options)
        for s, net in zip(splits, nets, strict=True)
    ]
    return Runs(images, nets, runs)
