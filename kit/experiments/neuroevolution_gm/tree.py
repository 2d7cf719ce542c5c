"""What the study consists of: a tree of tasks, and of their results once they are computed."""

from __future__ import annotations

import dataclasses
from typing import Any, Generic, TypeVar

from kit.data.splits import Split
from kit.experiments.neuroevolution_gm.roles import Role, label

T = TypeVar("T")  # Task in a plan, Result in what is computed from it


@dataclasses.dataclass(frozen=True)
class Net(Generic[T]):
    """A trained net.

    Attributes
    ----------
    role
        What it is in the study.
    genome
        Its blocks, or the name of an architecture.
    trained
        Of :func:`steps.train`, or of :func:`search_steps.finalist`.
    examined
        Of :func:`steps.examine` on the clean images and all adversarial ones.
    """

    role: Role
    genome: Any
    trained: T
    examined: T

    @property
    def label(self) -> str:
        """How readers see it."""
        return label(self.role)


@dataclasses.dataclass(frozen=True)
class Run(Generic[T]):
    """One repetition of everything, on one data set.

    Attributes
    ----------
    nets
        By role, those of `COMPARED`.
    attacks
        By method, the reference's adversarial examples; by architecture those of other nets.
    search
        The selections, generation by generation; the first one is the random population.
    children
        Of each generation.
    random
        As many random architectures, trained alike, as the search has tried.
    again
        The first of these, trained once more from other weights.
    finalists
        Of :func:`search_steps.judge`, by what chose them, ``"evolved"`` and ``"random"``: the last
        population, and as many of the random architectures, trained to the end.
    defenses
        By role, those of `DEFENDED`.
    white_box
        By role: L∞-PGD on the net itself.
    twins
        By role: the reference and the best evolved net, examined on examples of twins, trained
        alike from another start.
    sweep
        By variant of the GM loss and λ: the reference's architecture trained with it.
    accuracy_by_eps
        Of the reference under its own attack.
    attributions
        By role, of :func:`steps.integrated_gradients`.
    transfer
        By data set and role: nets trained there.
    """

    nets: dict[Role, Net[T]]
    attacks: dict[str, T]
    search: list[T]
    children: list[list[T]]
    random: list[T]
    again: list[T]
    finalists: dict[str, list[T]]
    defenses: dict[Role, Net[T]]
    white_box: dict[Role, T]
    twins: dict[Role, T]
    sweep: dict[str, dict[float, Net[T]]]
    accuracy_by_eps: T
    attributions: dict[Role, T]
    transfer: dict[str, dict[Role, Net[T]]]


@dataclasses.dataclass(frozen=True)
class Scale(Generic[T]):
    """The experiment on the reduced data, or on the full."""

    split: Split
    transfer: dict[str, Split]
    runs: list[Run[T]]
