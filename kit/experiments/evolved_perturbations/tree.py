"""What the study consists of: a tree of tasks, and of their results once they are computed."""

from __future__ import annotations

import dataclasses
from typing import Any, Generic, TypeVar

from kit.data.splits import Split
from kit.experiments.evolved_perturbations.settings import Aim

T = TypeVar("T")  # Task in a plan, Result in what is computed from it


@dataclasses.dataclass(frozen=True)
class Training(Generic[T]):
    """One training on perturbed images."""

    net: str
    kind: str
    pixels: int
    aim: str  # the optimizer that the noise was evolved against
    method: str  # of the search
    search: int  # in which of the searches
    noise: str
    optimizer: str
    repeat: int
    result: T


@dataclasses.dataclass(frozen=True)
class Search(Generic[T]):
    """One search.

    Attributes
    ----------
    generations
        In their order.
    chosen
        Its δ*, after fresh scores.
    first, last
        Clean-test errors of the candidates of the first and the last generation, one training
        each; None for the controls and where no claim asks for them.
    best
        Likewise of the best candidate so far after each generation.
    """

    generations: list[T]
    chosen: T
    first: Any = None
    last: Any = None
    best: Any = None


@dataclasses.dataclass(frozen=True)
class Searched(Generic[T]):
    """The study on one data set.

    Attributes
    ----------
    split, seen
        The images, and those that the searches see: the same unless ``search_train`` is set.
    baselines
        Titles of the noises that no search made, and their F.
    trainings
        For 1.F5 and the comparisons of noises.
    courses
        For 1.F3 and 1.X1: by every optimizer, for longer, and watched closely in the first epoch.
    blind
        The genomes that searches on a score of pure noise choose.
    lines, backgrounds
        For the δ* of each search for the smallest Np, of each training on it.
    cam
        Of the first training of the first search.
    examples
        Of the first search for each Np.
    """

    split: Split
    seen: Split
    searches: dict[Aim, Search[T]]
    baselines: list[str]
    baseline_scores: T
    trainings: list[Training[T]]
    courses: list[Training[T]]
    blind: T
    lines: list[list[T]]
    backgrounds: list[list[T]]
    cam: T
    examples: dict[int, T]


@dataclasses.dataclass(frozen=True)
class Table(Generic[T]):
    """1.T1 on one data set.

    Attributes
    ----------
    split, seen
        As in :class:`Searched`.
    searches
        Those whose δ* is trained on.
    trainings
        Of the larger nets, with augmentation.
    """

    split: Split
    seen: Split
    searches: dict[Aim, Search[T]]
    trainings: list[Training[T]]


@dataclasses.dataclass(frozen=True)
class Plan(Generic[T]):
    """The whole study, and the table with larger nets, by data set."""

    studies: dict[str, Searched[T]]
    tables: dict[str, Table[T]]
