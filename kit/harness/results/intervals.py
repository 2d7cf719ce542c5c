"""Intervals over repeats: of a mean, and of the difference of two."""

from __future__ import annotations

import contextlib
import contextvars
import warnings
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from kit.harness.results.power import ERROR

_confidence = contextvars.ContextVar("confidence", default=1 - ERROR)


@contextlib.contextmanager
def confidence(level: float) -> Iterator[None]:
    """Intervals of another confidence than 95 % inside the block.

    Examples
    --------
    >>> mean_interval([1.0, 2.0, 3.0])[1] > 0
    False
    >>> with confidence(0.9):
    ...     mean_interval([1.0, 2.0, 3.0])[1] > 0
    True
    """
    if not 0 < level < 1:
        raise ValueError(f"confidence is {level}: use a number between 0 and 1, such as 0.95.")
    token = _confidence.set(level)
    try:
        yield
    finally:
        _confidence.reset(token)


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
