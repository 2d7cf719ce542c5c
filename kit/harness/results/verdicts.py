"""Verdicts as values: what repeats say of a statement, and, where it is shown, in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from kit.harness.results import intervals
from kit.harness.results.power import ERROR, MIN_CONTROLS, MIN_REPEATS, repeats_needed

if TYPE_CHECKING:
    import pandas as pd

REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
SMALLER = "reproduced, smaller than printed"
UNDECIDED, NOT_TESTED = "undecided", "not tested in this profile"
VERDICTS = (REPRODUCED, SMALLER, NOT_REPRODUCED, UNDECIDED, NOT_TESTED)


class Scale(NamedTuple):
    """Where values are judged, and the way back."""

    judged: Callable[[Any], Any]
    shown: Callable[[Any], Any]


# Near 0 and 100 % percentages are skewed, and so are positive scores: the t interval of a few of
# them misses too often. On these scales it does not.
SCALES = {
    "linear": Scale(lambda x: x, lambda x: x),
    "log": Scale(np.log, np.exp),
    "logit": Scale(lambda x: np.log(x / (100 - x)), lambda x: 100 / (1 + np.exp(-x))),
}


@dataclasses.dataclass(frozen=True)
class Part:
    """A statement of the kind "this quantity lies above that border", and what repeats say of it.

    Attributes
    ----------
    estimate
        The quantity, on the scale on which it is judged.
    unit
        Stands behind it.
    name
        What it is, where a claim has several.
    border, below
        Above what it has to lie, or below.
    scale
        A key of `SCALES`.
    printed
        The paper's value of the quantity, positive, where it prints one.
    means
        Of both samples, where it is the difference of two.
    missing
        How many repeats gave no value.
    doubts
        Why nothing is decided, whatever the numbers say.
    """

    estimate: intervals.Estimate
    unit: str
    name: str = ""
    border: float = 0.0
    below: bool = False
    scale: str = "linear"
    printed: float | None = None
    means: tuple[float, ...] = ()
    missing: int = 0
    doubts: tuple[str, ...] = ()

    def outcome(self, error: float = ERROR) -> str:
        """Reproduced, not reproduced or undecided, at an accepted chance of error.

        An interval that holds the border leaves the question open, and so do fewer than three
        repeats, or fewer than five in one of two samples. An effect whose interval ends below half
        of the printed one is smaller than printed. (Simonsohn 2015 draws this line by the power of
        the original study, which needs its spread; the papers print that of few effects.)
        """
        if self.doubts or self._too_few():
            return UNDECIDED
        low, high = self.estimate.interval(error)
        border = SCALES[self.scale].judged(self.border)
        found = verdict(low - border, high - border)
        if self.below and found != UNDECIDED:
            found = REPRODUCED if found == NOT_REPRODUCED else NOT_REPRODUCED
        return SMALLER if found == REPRODUCED and self._smaller(high) else found

    def p(self) -> float:
        """The smallest error at which it is decided as it is; 1 where it is not."""
        found = self.outcome()
        if found == UNDECIDED:
            return 1.0
        p = self.estimate.p(SCALES[self.scale].judged(self.border))
        return max(p, self.estimate.p((self.printed or 0) / 2)) if found == SMALLER else p

    def words(self) -> str:
        """The estimate with its interval, over how many repeats, and what would decide it."""
        value, low, high = map(shown_number, self._shown(self.estimate.interval()))
        sizes = self.estimate.repeats
        said = f"{self.name}: " if self.name else ""
        said += f"{value} {self.unit}".rstrip() + f" [{low}, {high}]"
        if self.means:
            said += f" ({' against '.join(shown_number(each) for each in self.means)})"
        said += f" over {' and '.join(map(str, sizes))} run{'s' * (sizes != (1,))}"
        if self.estimate.shared:
            alone = dataclasses.replace(self.estimate, shared=0.0)
            _, low, high = map(shown_number, self._shown(alone.interval()))
            said += f" ([{low}, {high}] on these images)"
        said += f", {self.missing} without a value" if self.missing else ""
        if self.border or self.below:
            side = "below" if self.below else "above"
            said += f", to lie {side} {shown_number(float(self.border))}"
        if self._too_few():
            return f"{said} (too few to decide)"
        if self._smaller(self.estimate.interval()[1]):
            printed = shown_number(float(self.printed or 0))
            said += f"; the interval ends below half of the paper's {printed}"
        return said + (self._needed() if self.outcome() == UNDECIDED else "")

    def numbers(self) -> dict[str, Any]:
        """All of it as JSON values; None where there is no number.

        ``error``, ``shared`` and ``resolution`` are on the scale on which it is judged.
        """
        value, low, high = self._shown(self.estimate.interval())
        shown = {
            "estimate": value, "low": low, "high": high, "p": self.p(),
            "error": self.estimate.error, "shared": self.estimate.shared,
            "resolution": self.estimate.resolution,
        }  # fmt: skip
        finite = {name: number if np.isfinite(number) else None for name, number in shown.items()}
        return {
            "name": self.name, **finite, "n": list(self.estimate.repeats), "unit": self.unit,
            "border": self.border, "below": self.below, "scale": self.scale,
            "printed": self.printed, "verdict": self.outcome(),
        }  # fmt: skip

    def _shown(self, interval: tuple[float, float]) -> list[float]:
        back = SCALES[self.scale].shown
        return [float(back(number)) for number in (self.estimate.value, *interval)]

    def _too_few(self) -> bool:
        sizes = self.estimate.repeats
        return min(sizes) < (MIN_REPEATS if len(sizes) == 1 else MIN_CONTROLS)

    def _smaller(self, high: float) -> bool:
        """Than half of the printed effect, and yet not of the other sign."""
        return self.printed is not None and 0 <= high < self.printed / 2

    def _needed(self) -> str:
        """About how many repeats would decide such a quantity."""
        sizes = self.estimate.repeats
        # Of a repeat; of one in each sample, where it is the difference of two.
        spread = self.estimate.error / np.sqrt(sum(1 / n for n in sizes))
        distance = abs(self.estimate.value - SCALES[self.scale].judged(self.border))
        if not spread > 0 or self.estimate.shared or self.doubts:
            return ""  # more repeats on the same images need not decide
        needed = repeats_needed(distance / spread, two_samples=len(sizes) > 1)
        of_each = " of each" if len(sizes) > 1 else ""
        about = "" if needed.startswith("more") else "about "
        return f"; {about}{needed} runs{of_each} would decide it with a chance of 80 %"


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
        """All parts have to be reproduced, and one that is not fails the claim.

        Of many true parts one may well seem to fail: of three and more each has to fail at an error
        of 5 % divided by their number.
        """
        if NOT_REPRODUCED in [part.outcome(ERROR / self._chances) for part in self.parts]:
            return NOT_REPRODUCED
        found = [part.outcome() for part in self.parts]
        return worst([UNDECIDED if each == NOT_REPRODUCED else each for each in found])

    def _said_of(self, part: Part) -> str:
        alone = part.outcome()
        if alone == NOT_REPRODUCED != part.outcome(ERROR / self._chances):
            return f"{NOT_REPRODUCED} alone, {UNDECIDED} as one of {len(self.parts)}"
        return alone

    @property
    def _chances(self) -> int:
        """To fail by luck."""
        return len(self.parts) if len(self.parts) > 2 else 1

    @property
    def p(self) -> float:
        """The smallest error at which the verdict comes out as it does; 1 where it is undecided.

        A claim of several parts is as certain as the least certain of them (intersection–union,
        Berger 1982), and it fails as certainly as the part that fails most certainly.
        """
        found = self.outcome
        if found == UNDECIDED:
            return 1.0
        if found == NOT_REPRODUCED:
            failing = [part.p() for part in self.parts if part.outcome() == NOT_REPRODUCED]
            return self._chances * min(failing)
        return max(part.p() for part in self.parts)

    @property
    def evidence(self) -> str:
        """The numbers behind it, in words."""
        of_several = len(self.parts) > 1
        said = [p.words() + (f" ({self._said_of(p)})" if of_several else "") for p in self.parts]
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
    shared: float = 0.0,
) -> Verdict:
    """Is a quantity positive, by its values over the repeats?

    Parameters
    ----------
    values
        One number per repeat; those that are not finite are left out, and counted.
    unit, printed
        As for :class:`Part`.
    resolution, shared
        As for :class:`~kit.harness.results.intervals.Estimate`.

    Examples
    --------
    >>> found = positive([1.0, 2.0, 3.0], "points")
    >>> found.outcome, found.parts[0].estimate.value
    ('undecided', 2.0)
    >>> positive([2.0, 2.1, 2.2], "points").evidence
    '2.1 points [1.852, 2.348] over 3 runs'
    >>> positive([1.0, 1.1, 1.2], "points", printed=20).outcome
    'reproduced, smaller than printed'
    """
    values = np.asarray(values, dtype=float)
    finite = values[np.isfinite(values)]
    estimate = intervals.mean(finite, resolution, shared)
    return Verdict((Part(estimate, unit, printed=printed, missing=len(values) - len(finite)),))


def above(
    values: ArrayLike,
    border: float,
    unit: str,
    resolution: float = 0.0,
    shared: float = 0.0,
    *,
    scale: str = "linear",
    below: bool = False,
) -> Verdict:
    """Does a quantity lie above a border, or `below` it?

    Parameters
    ----------
    values, unit, resolution
        As for :func:`positive`.
    border
        In the unit of the values.
    shared
        On the scale on which they are judged.
    scale
        ``"logit"`` for percentages, ``"log"`` for positive scores that are skewed, else
        ``"linear"``.

    Examples
    --------
    >>> above([99.5, 98.0, 99.9, 97.0], 85, "%", scale="logit").evidence
    '99.25 % [91.85, 99.94] over 4 runs, to lie above 85'
    >>> above([99.5, 98.0, 99.9, 97.0], 95, "%", scale="logit").outcome
    'undecided'
    """
    values, judged = np.asarray(values, dtype=float), SCALES[scale].judged
    finite = values[np.isfinite(values)]
    if scale == "logit":  # half an image stands for none and for all
        image = max(resolution, 1e-6)
        finite = np.clip(finite, image / 2, 100 - image / 2)
    if scale != "linear" and resolution and len(finite):  # as far as one image reaches there
        middle = np.clip(finite.mean(), resolution, 100 - resolution)
        resolution = float(np.ptp(judged(middle + resolution / 2 * np.array([-1, 1]))))
    estimate = intervals.mean(judged(finite), resolution, shared)
    part = Part(estimate, unit, "", border, below, scale, missing=len(values) - len(finite))
    return Verdict((part,))


def larger(
    a: Sequence[float] | np.ndarray | pd.Series,
    b: Sequence[float] | np.ndarray | pd.Series,
    unit: str,
    resolution: float = 0.0,
    printed: float | None = None,
) -> Verdict:
    """Is the mean of `a` larger than that of `b`, two independent samples of their own sizes?

    The parameters are those of :func:`positive`.

    Examples
    --------
    >>> larger([5.0, 5.1, 4.9, 5.0, 5.2], [4.0, 4.1, 3.9, 4.2, 4.0], "points").outcome
    'reproduced'
    """
    estimate = intervals.difference(a, b, resolution)
    means = tuple(float(np.mean(sample)) if len(sample) else np.nan for sample in (a, b))
    return Verdict((Part(estimate, unit, printed=printed, means=means),))


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
    for outcome in (NOT_REPRODUCED, UNDECIDED, NOT_TESTED, SMALLER):
        if outcome in outcomes:
            return outcome
    return REPRODUCED if outcomes else UNDECIDED


def holm(p_values: Sequence[float]) -> list[bool]:
    """Which of several verdicts still stand when they are judged at once (Holm 1979).

    The most certain one has to stand at an error of 5 % divided by the number of verdicts, the next
    at 5 % divided by one fewer, and so on: then the chance that *any* of those that survive came by
    luck is 5 % at most. It corrects for how many verdicts there are, not for looking at them again
    and again while repeats come in.

    Examples
    --------
    >>> holm([0.06, 0.001, 0.02])
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
