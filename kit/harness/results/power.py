"""How many repeats decide how large an effect."""

from __future__ import annotations

import bisect

import numpy as np

MIN_REPEATS = 3  # two repeats may agree by luck, and then their interval has no width
MIN_CONTROLS = 5  # in each of two samples: fewer say little of how far they spread
ERROR = 0.05  # accepted chance of a verdict by luck


def smallest_effect(repeats: int, against: int | None = None, power: float = 0.8) -> float:
    """The effect that so many repeats decide with the given chance, by 95 % intervals.

    Parameters
    ----------
    repeats
        Differences, each of one repeat.
    against
        For two independent samples (Welch) the size of the other one.
    power
        Chance that the interval leaves zero out.

    Returns
    -------
    float
        In standard deviations of a repeat; infinite for fewer than three repeats, or fewer than
        five in one of two samples.

    Examples
    --------
    >>> round(smallest_effect(5), 2), round(smallest_effect(8, 24), 2)
    (1.68, 1.25)
    """
    from scipy import special  # scipy.stats would take as long to load as all the rest

    sizes = np.array([n for n in (repeats, against) if n is not None])
    if sizes.min() < (MIN_REPEATS if against is None else MIN_CONTROLS):
        return np.inf
    error = np.sqrt((1 / sizes).sum())
    freedom = error**4 / (1 / (sizes**2 * (sizes - 1))).sum()  # Welch's, of equal variances
    limit = special.stdtrit(freedom, 1 - ERROR / 2)
    return float(special.nctdtrinc(freedom, 1 - power, limit) * error)


def repeats_needed(effect: float, two_samples: bool = False, most: int = 1000) -> str:
    """Fewest repeats that decide an effect of so many standard deviations with a chance of 80 %.

    Parameters
    ----------
    effect
        A mean, or the difference of the means of two independent samples of equal size.
    most
        More are not counted.

    Examples
    --------
    >>> repeats_needed(1.7), repeats_needed(-0.5, two_samples=True), repeats_needed(0.01)
    ('5', '64', 'more than 1,000')
    """

    def decided(n: int) -> float:
        return -smallest_effect(n, n if two_samples else None)

    enough = range(MIN_REPEATS, most + 1)
    place = bisect.bisect_left(enough, -abs(effect), key=decided)
    return str(enough[place]) if place < len(enough) else f"more than {most:,}"
