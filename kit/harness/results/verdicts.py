"""Verdicts, read off intervals over repeats, and their evidence in words."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from kit.harness.results.intervals import confidence, mean_interval
from kit.harness.results.power import ERROR, MIN_REPEATS, repeats_needed

REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
UNDECIDED, NOT_TESTED = "undecided", "not tested in this profile"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, UNDECIDED, NOT_TESTED)


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


def judge(low: float, high: float, repeats: int, printed: float | None = None) -> str:
    """:func:`verdict` on an interval over repeats, of which fewer than three decide nothing.

    An interval that holds zero leaves the question open, unless the paper prints how large the
    effect is and the interval lies below half of that: such an effect is ruled out. (Simonsohn 2015
    draws this line by the power of the original study, which needs its spread; the papers print
    that of few effects.)

    Parameters
    ----------
    low, high
        The interval.
    repeats
        Over how many.
    printed
        The paper's value of the quantity, positive, where it prints one.

    Examples
    --------
    >>> judge(0.2, 0.4, repeats=3), judge(0.2, 0.4, repeats=2)
    ('reproduced', 'undecided')
    >>> judge(-1, 2, repeats=3), judge(-1, 2, repeats=3, printed=20)
    ('undecided', 'not reproduced')
    """
    if repeats < MIN_REPEATS:
        return UNDECIDED
    if low <= 0 and ruled_out(high, printed):
        return NOT_REPRODUCED
    return verdict(low, high)


def ruled_out(high: float, printed: float | None) -> str:
    """Words on an effect whose interval ends below half of the printed one; empty elsewhere.

    Examples
    --------
    >>> ruled_out(2.0, 20.0), ruled_out(12.0, 20.0)
    (", less than half of the paper's 20", '')
    """
    if printed is None or not 0 <= high < printed / 2:
        return ""
    return f", less than half of the paper's {shown_number(float(printed))}"


def distance_to_decide(effect: float, printed: float | None = None) -> float:
    """How far an effect lies from a border: zero or, where it is farther, half of the printed one.

    Parameters
    ----------
    effect
        A mean, or a difference of means.
    printed
        As for :func:`judge`.

    Examples
    --------
    >>> distance_to_decide(-4.0), distance_to_decide(1.0), distance_to_decide(1.0, printed=20)
    (4.0, 1.0, 9.0)
    """
    return max(abs(effect), printed / 2 - effect) if printed else abs(effect)


def positive(
    values: ArrayLike,
    unit: str,
    resolution: float = 0.0,
    printed: float | None = None,
    allowed: float = 0.0,
) -> tuple[str, str]:
    """Is a quantity positive? Verdict and evidence from its values over the repeats.

    Parameters
    ----------
    values
        One number per repeat; those that are not finite are left out, and counted.
    unit
        Stands behind the mean.
    resolution
        As for `mean_interval`.
    printed
        As for :func:`judge`.
    allowed
        Is it above −`allowed`, rather than above zero?

    Returns
    -------
    tuple of str
        Verdict and evidence. Fewer than three finite values decide nothing.

    Examples
    --------
    >>> positive([1.0, 2.0, 3.0], "points")
    ('undecided', '2 points [−0.4841, 4.484] over 3 runs; to decide such a mean takes 5 runs')
    >>> positive([2.0, 2.1, 2.2], "points")[0]
    'reproduced'
    >>> positive([-1.0, 2.0, 0.5], "points", printed=20)[0]
    'not reproduced'
    """
    values = np.asarray(values, dtype=float)
    finite = values[np.isfinite(values)]
    mean, low, high = mean_interval(finite, resolution=resolution)
    span = f"[{shown_number(low)}, {shown_number(high)}]"
    evidence = f"{shown_number(mean)} {unit} {span} over {plural(len(finite), 'run')}"
    if len(finite) < len(values):
        evidence += f", {len(values) - len(finite)} without a value"
    if allowed:
        evidence += f", {allowed:g} allowed"
    verdict = judge(low + allowed, high + allowed, len(finite), printed)
    if len(finite) < MIN_REPEATS:
        evidence += " (too few to decide)"
    elif words := ruled_out(high, printed):
        evidence += words
    elif verdict == UNDECIDED and finite.std(ddof=1) > 0:
        needed = repeats_needed(distance_to_decide(mean + allowed, printed) / finite.std(ddof=1))
        evidence += f"; to decide such a mean takes {needed} runs"
    return verdict, evidence


def all_of(verdicts: Collection[str]) -> str:
    """Verdict on a claim that needs several: one failure fails it, one doubt leaves it open.

    Examples
    --------
    >>> all_of(["reproduced", "undecided"]), all_of([])
    ('undecided', 'undecided')
    """
    for worst in (NOT_REPRODUCED, UNDECIDED, NOT_TESTED):
        if worst in verdicts:
            return worst
    return REPRODUCED if verdicts else UNDECIDED


def combine(parts: Iterable[tuple[str, str]]) -> tuple[str, str]:
    """Verdict and evidence on a claim that needs several, from those on each of them.

    Examples
    --------
    >>> combine([("reproduced", "a: 1"), ("undecided", "b: 0")])
    ('undecided', 'a: 1 (reproduced); b: 0 (undecided)')
    """
    parts = list(parts)
    if len(parts) == 1:
        return parts[0]
    evidence = "; ".join(f"{numbers} ({verdict})" for verdict, numbers in parts)
    return all_of([verdict for verdict, _ in parts]), evidence


def holm(judge_all: Callable[[], Sequence[str]]) -> list[bool]:
    """Which of several verdicts still stand when they are judged at once (Holm 1979).

    The most certain one has to stand at an error of 5 % divided by the number of verdicts, the next
    at 5 % divided by one fewer, and so on: then the chance that *any* of those that survive came by
    luck is 5 % at most.

    Parameters
    ----------
    judge_all
        Gives all verdicts, by intervals of the present :func:`confidence`.

    Returns
    -------
    list of bool
        For each verdict whether it is decided and comes out the same by the stricter intervals.

    Examples
    --------
    >>> holm(lambda: [positive(values, "points")[0] for values in ([5, 5.1, 5.2], [1, 2, 1.5])])
    [True, True]
    >>> holm(lambda: [positive(values, "points")[0] for values in ([1, 2, 1.4], [1, 2, 1.5])])
    [False, False]
    """
    first = judge_all()
    surviving = [False] * len(first)
    while not all(surviving):
        with confidence(1 - ERROR / surviving.count(False)):
            again = judge_all()
        # A wider interval may turn a small effect that is reproduced into one that is ruled out.
        now = [
            old or (before == after and after in (REPRODUCED, NOT_REPRODUCED))
            for old, before, after in zip(surviving, first, again, strict=True)
        ]
        if now == surviving:
            break
        surviving = now
    return surviving


def shown_number(value: object) -> str:
    """A number as people read it: four digits, ∞ and – where there is none."""
    if not isinstance(value, float):
        return str(value)
    if np.isnan(value):
        return "–"
    text = f"{value:.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"
    return text.replace("inf", "∞").replace("-", "−", 1)


def plural(count: int, noun: str) -> str:
    """A count with its noun.

    Examples
    --------
    >>> plural(1, "run"), plural(2, "run")
    ('1 run', '2 runs')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"
