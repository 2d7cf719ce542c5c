"""Intervals over repeats, and the verdicts that are read off them."""

from __future__ import annotations

import contextlib
import contextvars
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike

from kit.results.power import ERROR, MIN_REPEATS, repeats_needed

REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
UNDECIDED, NOT_TESTED = "undecided", "not tested in this profile"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, UNDECIDED, NOT_TESTED)
_confidence = contextvars.ContextVar("confidence", default=1 - ERROR)


@contextlib.contextmanager
def confidence(level: float) -> Iterator[None]:
    """Intervals of another confidence than 95 % inside the block.

    Examples
    --------
    >>> with confidence(0.9):
    ...     positive([1.0, 2.0, 3.0], "points")[0]
    'reproduced'
    """
    if not 0 < level < 1:
        raise ValueError(f"confidence is {level}: use a number between 0 and 1, such as 0.95.")
    token = _confidence.set(level)
    try:
        yield
    finally:
        _confidence.reset(token)


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


def mean_interval(values: ArrayLike, resolution: float = 0.0) -> tuple[float, float, float]:
    """Mean and its Student t interval, of the present :func:`confidence` (by default 95 %).

    Parameters
    ----------
    values
        One number per repeat.
    resolution
        The smallest step that the measurement can show, in the unit of the values: for accuracies
        in per cent it is ``100 / len(test)``, one test image. The interval reaches at least as far
        to either side of the mean, so that equal values are no proof of certainty.

    Returns
    -------
    tuple of float
        Mean, lower and upper end; the ends are NaN for fewer than two values.

    Examples
    --------
    >>> mean_interval([1.0, 1.0, 1.0])
    (1.0, 1.0, 1.0)
    >>> mean_interval([1.0, 1.0, 1.0], resolution=0.5)
    (1.0, 0.5, 1.5)
    """
    from scipy import stats

    _check_resolution(resolution)
    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        return float(values.mean()) if len(values) else np.nan, np.nan, np.nan
    reach = stats.t.ppf((1 + _confidence.get()) / 2, len(values) - 1) * stats.sem(values)
    reach = float(np.maximum(reach, resolution))  # NaN stays NaN
    mean = float(values.mean())
    return mean, mean - reach, mean + reach


def _check_resolution(resolution: float) -> None:
    if not 0 <= resolution < np.inf:
        raise ValueError(f"resolution is {resolution}: use 0 (unknown) or a positive number.")


def two_samples(a: ArrayLike, b: ArrayLike) -> dict[str, float]:
    """Compare the means of two samples whose members belong together in pairs.

    Parameters
    ----------
    a, b
        One number per repeat, in the same order.

    Returns
    -------
    dict of str to float
        The means, the difference a − b with Welch's interval, and the p-values of Welch's
        test (which takes the samples for independent) and of the paired t-test. NaN where fewer
        than two pairs are given or nothing varies.
    """
    from scipy import stats

    names = ("mean", "mean against", "difference", "low", "high", "p Welch", "p paired")
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if len(a) < 2 or np.ptp(a) == np.ptp(b) == 0:
        means = (np.mean(a), np.mean(b), np.mean(a) - np.mean(b)) if len(a) else (np.nan,) * 3
        return dict(zip(names, (*means, *[np.nan] * 4), strict=True))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # one sample, or the difference, does not vary
        welch = stats.ttest_ind(a, b, equal_var=False)
        paired = stats.ttest_rel(a, b)
        low, high = welch.confidence_interval(_confidence.get())
    numbers = (np.mean(a), np.mean(b), np.mean(a) - np.mean(b), low, high, welch.pvalue)
    return dict(zip(names, map(float, (*numbers, paired.pvalue)), strict=True))


def welch_interval(a: ArrayLike, b: ArrayLike, resolution: float = 0.0) -> tuple[float, float]:
    """Welch's interval for the difference of two means, of the present :func:`confidence`.

    Parameters
    ----------
    a, b
        One number per repeat; the sizes may differ.
    resolution
        As for `mean_interval`: the interval reaches at least as far to either side.

    Returns
    -------
    tuple of float
        NaN where a sample has fewer than two values, or where nothing varies and the resolution
        is unknown.

    Examples
    --------
    >>> low, high = welch_interval([1.0, 1.1, 0.9], [0.0, 0.1])
    >>> 0 < low < 0.95 < high
    True
    """
    from scipy import stats

    _check_resolution(resolution)
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if min(len(a), len(b)) < 2:
        return np.nan, np.nan
    difference = float(a.mean() - b.mean())
    if np.ptp(a) == np.ptp(b) == 0:
        reach = resolution or np.nan
        return difference - reach, difference + reach
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a sample may hardly vary
        interval = stats.ttest_ind(a, b, equal_var=False).confidence_interval(_confidence.get())
    low, high = float(interval.low), float(interval.high)
    if high - low < 2 * resolution:
        return difference - resolution, difference + resolution
    return low, high


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
