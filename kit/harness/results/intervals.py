"""Estimates over repeats and their intervals: of a mean, and of the difference of two."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
from numpy.typing import ArrayLike

from kit.harness.results.power import ERROR


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean, or a difference of means, as far as repeats tell it.

    Attributes
    ----------
    value
        The mean or difference.
    error
        Its standard error.
    freedom
        Degrees of freedom of Student's t distribution, which the value follows.
    repeats
        Size of the sample, or of both.
    resolution
        The smallest step that the measurement can show, in the unit of the values: for accuracies
        in per cent it is ``100 / len(test)``, one test image. The interval reaches at least as far
        to either side, so that equal values are no proof of certainty.
    shared
        Variance that the repeats have in common, and so do not show: that of the images which all
        of them use. What is to be known is the value on *new images of this kind*.
    """

    value: float
    error: float
    freedom: float
    repeats: tuple[int, ...]
    resolution: float = 0.0
    shared: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.resolution < np.inf:
            raise ValueError(
                f"resolution is {self.resolution}: use 0 (unknown) or a positive number."
            )

    def interval(self, error: float = ERROR) -> tuple[float, float]:
        """Student's interval, which misses the truth with the given chance, by default 5 %."""
        from scipy import special

        reach = special.stdtrit(self.freedom, 1 - error / 2) * self._whole_error
        reach = float(np.maximum(reach, self.resolution))  # NaN stays NaN
        return self.value - reach, self.value + reach

    @property
    def _whole_error(self) -> float:
        return float(np.sqrt(self.error**2 + self.shared))

    def p(self, border: float = 0.0) -> float:
        """The smallest error at which the interval leaves a border out; 1 where none does."""
        from scipy import special

        distance = abs(self.value - border)
        error = self._whole_error
        if not distance > self.resolution or np.isnan(error):
            return 1.0
        return float(2 * special.stdtr(self.freedom, -distance / error)) if error else 0.0


def middle(values: ArrayLike) -> float:
    """The mean; NaN of nothing, and zero where rounding alone has moved it from there.

    Examples
    --------
    >>> middle([0.3, -0.1, -0.2]), middle([1e-30, 3e-30])
    (0.0, 2e-30)
    """
    values = np.asarray(values, dtype=float)
    if not len(values):
        return np.nan
    value, size = float(values.mean()), np.abs(values).max()
    return 0.0 if abs(value) < 1e-13 * size else value


def mean(values: ArrayLike, resolution: float = 0.0, shared: float = 0.0) -> Estimate:
    """The mean of one number per repeat; of fewer than two nothing is known of its error."""
    values = np.asarray(values, dtype=float)
    n = len(values)
    value = middle(values)
    error = float(values.std(ddof=1) / np.sqrt(n)) if n > 1 else np.nan
    return Estimate(value, error, n - 1, (n,), resolution, shared)


def difference(a: ArrayLike, b: ArrayLike, resolution: float = 0.0) -> Estimate:
    """The mean of `a` less that of `b`, two independent samples of their own sizes (Welch 1947).

    Nothing is known of its error where a sample has fewer than two values, or where nothing varies
    and the resolution is unknown.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    sizes = len(a), len(b)
    value = middle(a) - middle(b)
    if min(sizes) < 2 or (np.ptp(a) == np.ptp(b) == 0 and not resolution):
        return Estimate(value, np.nan, np.nan, sizes, resolution)
    parts = np.array([a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)])
    freedom = sum(sizes) - 2.0
    if parts.any():
        freedom = parts.sum() ** 2 / (parts**2 / (np.array(sizes) - 1)).sum()
    return Estimate(value, float(np.sqrt(parts.sum())), float(freedom), sizes, resolution)


def of_resplits(values: ArrayLike, test: int, train: int) -> float:
    """The variance that repeats share which split one pool of images anew (Nadeau & Bengio 2003).

    Parameters
    ----------
    values
        One number per repeat.
    test, train
        Images in each part of a split.

    Examples
    --------
    >>> of_resplits([1.0, 2.0, 3.0], test=100, train=400)
    0.25
    """
    return float(np.nanvar(np.asarray(values, dtype=float), ddof=1) * test / train)


def of_shared_images(drawn: ArrayLike) -> float:
    """The variance that repeats share because they use the same images.

    It is the mean covariance of two repeats when the images are drawn anew (a bootstrap of the
    images, the same one for all repeats). What the images do to each repeat by itself shows between
    the repeats already.

    Parameters
    ----------
    drawn
        One number for each repeat and draw of the images, shape (repeats, draws); NaN where a
        repeat has none.

    Returns
    -------
    float
        NaN where no two repeats have numbers.

    Examples
    --------
    >>> of_shared_images([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]])
    2.0
    """
    drawn = np.ma.masked_invalid(np.atleast_2d(np.asarray(drawn, dtype=float)))
    repeats, draws = drawn.shape
    if repeats < 2:
        return 0.0  # no two that could share it
    if draws < 2:
        return np.nan
    covariances = np.ma.masked_invalid(np.ma.cov(drawn))
    pairs = covariances[~np.eye(repeats, dtype=bool)]
    return max(0.0, float(pairs.mean())) if pairs.count() else np.nan


def mean_interval(values: ArrayLike, resolution: float = 0.0) -> tuple[float, float, float]:
    """Mean and its 95 % interval (Student's t).

    Parameters
    ----------
    values
        One number per repeat.
    resolution
        As for :class:`Estimate`.

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
    estimate = mean(values, resolution)
    return estimate.value, *estimate.interval()


def welch_interval(a: ArrayLike, b: ArrayLike, resolution: float = 0.0) -> tuple[float, float]:
    """Welch's 95 % interval for the difference of two means.

    Parameters
    ----------
    a, b
        One number per repeat; the sizes may differ.
    resolution
        As for :class:`Estimate`.

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
    return difference(a, b, resolution).interval()


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
        means = middle(a), middle(b), middle(a) - middle(b)
        return dict(zip(names, (*means, *[np.nan] * 4), strict=True))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # one sample, or the difference, does not vary
        paired = stats.ttest_rel(a, b)
    welch = difference(a, b)
    numbers = (middle(a), middle(b), welch.value, *welch.interval(), welch.p(), paired.pvalue)
    return dict(zip(names, map(float, numbers), strict=True))
