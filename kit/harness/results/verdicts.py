"""Verdicts as values: what repeats say of a statement, and, where it is shown, in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kit.harness.results import intervals
from kit.harness.results.power import ERROR, MIN_REPEATS, repeats_needed

REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
UNDECIDED, NOT_TESTED = "undecided", "not tested in this profile"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, UNDECIDED, NOT_TESTED)


@dataclasses.dataclass(frozen=True)
class Part:
    """A statement of the kind "this quantity is positive", and what repeats say of it.

    Attributes
    ----------
    estimate
        The quantity.
    unit
        Stands behind it.
    name
        What it is, where a claim has several.
    printed
        The paper's value of the quantity, positive, where it prints one.
    allowed
        Is it above −`allowed`, rather than above zero?
    missing
        How many repeats gave no value.
    doubts
        Why nothing is decided, whatever the numbers say.
    """

    estimate: intervals.Estimate
    unit: str
    name: str = ""
    printed: float | None = None
    allowed: float = 0.0
    missing: int = 0
    doubts: tuple[str, ...] = ()

    def outcome(self, error: float = ERROR) -> str:
        """Reproduced, not reproduced or undecided, at an accepted chance of error.

        Fewer than three repeats decide nothing. An interval that holds zero leaves the question
        open, unless the paper prints how large the effect is and the interval lies below half of
        that: such an effect is ruled out. (Simonsohn 2015 draws this line by the power of the
        original study, which needs its spread; the papers print that of few effects.)
        """
        if self.doubts or min(self.estimate.repeats) < MIN_REPEATS:
            return UNDECIDED
        low, high = self.estimate.interval(error)
        if low + self.allowed <= 0 and self._ruled_out(high):
            return NOT_REPRODUCED
        return verdict(low + self.allowed, high + self.allowed)

    def p(self) -> float:
        """The smallest error at which it is decided as it is; 1 where it is not."""
        found = self.outcome()
        if found == UNDECIDED:
            return 1.0
        below_half = found == NOT_REPRODUCED and self.printed
        border = self.printed / 2 if below_half and self.printed else -self.allowed
        return self.estimate.p(border)

    def words(self) -> str:
        """The estimate with its interval, over how many repeats, and what would decide it."""
        low, high = self.estimate.interval()
        sizes = self.estimate.repeats
        over = " and ".join(map(str, sizes))
        said = f"{self.name}: " if self.name else ""
        said += f"{shown_number(self.estimate.value)} {self.unit} "
        said += f"[{shown_number(low)}, {shown_number(high)}] over {over} "
        said += "runs" if len(sizes) > 1 or sizes[0] != 1 else "run"
        said += f", {self.missing} without a value" if self.missing else ""
        said += f", {self.allowed:g} allowed" if self.allowed else ""
        if min(sizes) < MIN_REPEATS:
            return f"{said} (too few to decide)"
        if self._ruled_out(high):
            return f"{said}, less than half of the paper's {shown_number(float(self.printed or 0))}"
        return said + (self._needed() if self.outcome() == UNDECIDED else "")

    def _ruled_out(self, high: float) -> bool:
        return self.printed is not None and 0 <= high < self.printed / 2

    def _needed(self) -> str:
        """How many repeats would decide such a quantity."""
        # Of a repeat; of one in each sample, where it is the difference of two.
        sizes = self.estimate.repeats
        spread = self.estimate.error / np.sqrt(sum(1 / n for n in sizes))
        if not spread > 0:
            return ""
        value = self.estimate.value
        # From a border: zero or, where it is farther, half of the printed value.
        distance = abs(value + self.allowed)
        distance = max(distance, self.printed / 2 - value) if self.printed else distance
        needed = repeats_needed(distance / spread, two_samples=len(sizes) > 1)
        return f"; to decide it takes {needed} {'of each' if len(sizes) > 1 else 'runs'}"

    def numbers(self) -> dict[str, Any]:
        """All of it as JSON values; None where there is no number."""
        low, high = self.estimate.interval()
        shown = {"estimate": self.estimate.value, "low": low, "high": high, "p": self.p()}
        found = {name: number if np.isfinite(number) else None for name, number in shown.items()}
        return {
            "name": self.name, **found, "n": list(self.estimate.repeats), "unit": self.unit,
            "printed": self.printed, "allowed": self.allowed, "verdict": self.outcome(),
        }  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A verdict on a claim: on all statements that it needs.

    Attributes
    ----------
    parts
        The statements; where there are none, nothing is decided.
    notes
        What else a reader should know.

    Examples
    --------
    >>> both = all_of({"a": positive([1, 1.1, 1.2], "points"), "b": positive([1, -1, 0], "points")})
    >>> both.outcome
    'undecided'
    """

    parts: tuple[Part, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def outcome(self) -> str:
        """Reproduced, not reproduced or undecided."""
        return worst([part.outcome() for part in self.parts])

    @property
    def p(self) -> float:
        """The smallest error at which the verdict comes out as it does; 1 where it is undecided.

        A claim of several parts is as certain as the least certain of them (intersection–union,
        Berger 1982), and it fails as certainly as the part that fails most certainly.
        """
        found = self.outcome
        if found == UNDECIDED:
            return 1.0
        certain = [part.p() for part in self.parts if part.outcome() == found]
        return max(certain) if found == REPRODUCED else min(certain)

    @property
    def evidence(self) -> str:
        """The numbers behind it, in words."""
        of_several = len(self.parts) > 1
        said = [p.words() + (f" ({p.outcome()})" if of_several else "") for p in self.parts]
        doubts = [doubt for part in self.parts for doubt in part.doubts]
        return "; ".join([*said, *self.notes, *dict.fromkeys(doubts)])

    def doubted(self, why: str) -> Verdict:
        """The same numbers, which for some reason decide nothing."""
        parts = [dataclasses.replace(p, doubts=(*p.doubts, why)) for p in self.parts]
        return dataclasses.replace(self, parts=tuple(parts))

    def noted(self, *notes: str) -> Verdict:
        """The same verdict with something else to know."""
        return dataclasses.replace(self, notes=(*self.notes, *notes))


def verdict(low: float, high: float) -> str:
    """Verdict on "this quantity is positive" from its interval; undecided where an end is NaN.

    Examples
    --------
    >>> verdict(0.2, 0.4), verdict(-0.1, 0.1), verdict(-2, -1)
    ('reproduced', 'undecided', 'not reproduced')
    """
    if np.isnan(low) or np.isnan(high):
        return UNDECIDED
    return REPRODUCED if low > 0 else NOT_REPRODUCED if high < 0 else UNDECIDED


def positive(
    values: ArrayLike,
    unit: str,
    resolution: float = 0.0,
    printed: float | None = None,
    allowed: float = 0.0,
) -> Verdict:
    """Is a quantity positive, by its values over the repeats?

    Parameters
    ----------
    values
        One number per repeat; those that are not finite are left out, and counted.
    unit, printed, allowed
        As for :class:`Part`.
    resolution
        As for :class:`~kit.harness.results.intervals.Estimate`.

    Examples
    --------
    >>> found = positive([1.0, 2.0, 3.0], "points")
    >>> found.outcome, found.evidence
    ('undecided', '2 points [−0.4841, 4.484] over 3 runs; to decide it takes 5 runs')
    >>> positive([2.0, 2.1, 2.2], "points").outcome
    'reproduced'
    >>> positive([-1.0, 2.0, 0.5], "points", printed=20).outcome
    'not reproduced'
    """
    values = np.asarray(values, dtype=float)
    finite = values[np.isfinite(values)]
    missing = len(values) - len(finite)
    estimate = intervals.mean(finite, resolution)
    return Verdict((Part(estimate, unit, "", printed, allowed, missing),))


def larger(
    a: ArrayLike,
    b: ArrayLike,
    unit: str,
    resolution: float = 0.0,
    printed: float | None = None,
) -> Verdict:
    """Is the mean of `a` larger than that of `b`, two independent samples of their own sizes?

    The parameters are those of :func:`positive`.

    Examples
    --------
    >>> larger([5.0, 5.1, 4.9], [4.0, 4.1, 3.9, 4.2], "points").outcome
    'reproduced'
    """
    return Verdict((Part(intervals.difference(a, b, resolution), unit, "", printed),))


def all_of(verdicts: Mapping[str, Verdict] | Iterable[Verdict]) -> Verdict:
    """The verdict on a claim that needs several: one failure fails it, one doubt leaves it open.

    Parameters
    ----------
    verdicts
        Those on each of them; by their names, where they have not got one.
    """
    pairs = verdicts.items() if isinstance(verdicts, Mapping) else [("", v) for v in verdicts]
    parts, notes = list[Part](), list[str]()
    for name, each in pairs:
        parts += [
            dataclasses.replace(part, name=", ".join(filter(None, (name, part.name))))
            for part in each.parts
        ]
        notes += each.notes
    return Verdict(tuple(parts), tuple(notes))


def worst(outcomes: Collection[str]) -> str:
    """What all of several come to: one failure fails, one doubt leaves open.

    Examples
    --------
    >>> worst(["reproduced", "undecided"]), worst([])
    ('undecided', 'undecided')
    """
    for outcome in (NOT_REPRODUCED, UNDECIDED, NOT_TESTED):
        if outcome in outcomes:
            return outcome
    return REPRODUCED if outcomes else UNDECIDED


def holm(p_values: Sequence[float]) -> list[bool]:
    """Which of several verdicts still stand when they are judged at once (Holm 1979).

    The most certain one has to stand at an error of 5 % divided by the number of verdicts, the next
    at 5 % divided by one fewer, and so on: then the chance that *any* of those that survive came by
    luck is 5 % at most. It corrects for how many verdicts there are, neither for looking at them
    again and again while repeats come in, nor for repeats that share images.

    Examples
    --------
    >>> holm([0.03, 0.001, 0.02])
    [False, True, True]
    """
    surviving = [False] * len(p_values)
    for rank, place in enumerate(np.argsort(p_values, kind="stable")):
        if p_values[place] > ERROR / (len(p_values) - rank):
            break
        surviving[place] = True
    return surviving


def shown_number(value: object) -> str:
    """A number as people read it: four digits, ∞ and – where there is none."""
    if not isinstance(value, float):
        return str(value)
    if np.isnan(value):
        return "–"
    text = f"{value:.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"
    return text.replace("inf", "∞").replace("-", "−", 1)
