"""How far apart two architectures are (eq. 3 of the paper)."""

from __future__ import annotations

import math

from kit.nets.genome import KINDS, Genome


def spectrum(genome: Genome) -> tuple[int, ...]:
    """Numbers of conv, pool, strided, sum and concat blocks.

    Examples
    --------
    >>> from kit.nets.genome import HAND_ENGINEERED
    >>> spectrum(HAND_ENGINEERED["hand_b"])
    (4, 1, 0, 1, 1)
    """
    kinds = [block["kind"] for block in genome]
    return tuple(kinds.count(kind) for kind in KINDS)


def distance(a: Genome, b: Genome) -> float:
    """Euclidean distance of two spectra."""
    return math.dist(spectrum(a), spectrum(b))
