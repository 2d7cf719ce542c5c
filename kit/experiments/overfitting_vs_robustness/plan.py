"""The tasks of the study, from its settings."""

from __future__ import annotations

import dataclasses
from typing import Any, Generic, TypeVar

from kit.constraints import in_one_line
from kit.data.splits import Split
from kit.experiments.images import split
from kit.experiments.overfitting_vs_robustness.settings import Settings
from kit.experiments.overfitting_vs_robustness.steps import (
    ATTACKS,
    BUDGET,
    COARSE,
    attack,
    clever,
    gradient_metrics,
    smallest_steps,
    textbook,
    train_folds,
)
from kit.harness.steps import Result, Task

T = TypeVar("T")  # Task in a plan, Result in what is computed from it


@dataclasses.dataclass(frozen=True)
class Regime(Generic[T]):
    """One regime on one data set.

    Attributes
    ----------
    trained
        Of :func:`train_folds`.
    best, last
        Of :func:`attack` on each fold's best and last snapshot.
    textbook
        Of :func:`textbook` on each fold's best snapshot.
    gradients
        Of :func:`gradient_metrics`, for each fold.
    coarse
        Of :func:`smallest_steps` on the coarse grid, for each fold.
    clever
        Of :func:`clever`: for each fold one for each measured epoch.
    """

    trained: T
    best: list[T]
    last: list[T]
    textbook: list[T]
    gradients: list[T]
    coarse: list[T]
    clever: list[list[T]]

    @property
    def crafted(self: Regime[Result]) -> list[dict[str, Any]]:
        """Of each fold all that was crafted on its best snapshot."""
        return [_together(*both) for both in zip(self.best, self.textbook, strict=True)]


def _together(best: Result, textbook: Result) -> dict[str, Any]:
    made = {**textbook, **best}
    if "passes" in best:  # older results did not count them
        return made | {"passes": {**textbook["passes"], **best["passes"]}}
    return {name: value for name, value in made.items() if name != "passes"}


@dataclasses.dataclass(frozen=True)
class Regimes(Generic[T]):
    """Both regimes on one data set."""

    split: Split
    regimes: dict[str, Regime[T]]


@in_one_line
def plan(c: Settings) -> dict[str, Regimes[Task]]:
    """The tasks of the study by data set; one that is too small for the folds is refused."""
    return {name: _plan(c.on(name), name) for name in c.datasets}


def _plan(config: Settings, name: str) -> Regimes[Task]:
    images = split(name, config.data_root, train=config.train, test=config.test, seed=config.seed)
    if images.about.fewest < config.folds:
        raise ValueError(
            f"A class of {name} has fewer training images than there are folds, {config.folds}: "
            "use more images or fewer folds."
        )
    trained = {
        label: train_folds.task(
            split=images,
            folds=config.folds,
            epochs=config.epochs,
            batch_size=config.batch_size,
            lr=lr,
            **config.precise,
        )
        for label, lr in config.rates.items()
    }
    return Regimes(
        images, {label: _regime(config, images, task) for label, task in trained.items()}
    )


def _regime(config: Settings, images: Split, trained: Task) -> Regime[Task]:
    options = {
        "split": images, "eps": config.epsilon, "norm": config.norm, "pgd_steps": config.pgd_steps,
        "images": config.attack_images,
    }  # fmt: skip
    scoring = {
        "images": config.clever_images, "batches": config.clever_batches,
        "batch_size": config.clever_batch_size, "radius": config.clever_radius,
    }  # fmt: skip
    folds = range(config.folds)
    weights = [trained["snapshots"][fold] for fold in folds]
    return Regime(
        trained,
        best=[
            attack.task(
                snapshots=weights[fold],
                epoch=trained["best"][fold],
                fold=fold + 1,
                attacks=[key for key in ATTACKS.values() if key != "textbook"],
                **options,
            )
            for fold in folds
        ],
        last=[
            attack.task(
                snapshots=weights[fold],
                epoch=config.epochs,
                fold=fold + 1,
                attacks=["cw"],
                **options,
            )
            for fold in folds
        ],
        textbook=[
            textbook.task(
                split=images,
                snapshots=weights[fold],
                epoch=trained["best"][fold],
                images=config.attack_images,
                **BUDGET,
            )
            for fold in folds
        ],
        gradients=[
            gradient_metrics.task(
                split=images,
                snapshots=weights[fold],
                images=config.metric_images,
                eps_step=config.eps_step,
            )
            for fold in folds
        ],
        coarse=[
            smallest_steps.task(
                split=images, snapshots=weights[fold], images=config.metric_images, **COARSE
            )
            for fold in folds
        ],
        clever=[
            [
                clever.task(split=images, snapshots=weights[fold], epoch=epoch, **scoring)
                for epoch in config.clever_epochs
            ]
            for fold in folds
        ],
    )
