"""A run against committed results: do the numbers that its verdicts read lie where they should?"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kit.harness.results import claims
from kit.harness.results.power import ERROR
from kit.harness.results.verdicts import SCALES

Numbers = Mapping[str, Any]  # of one part of a verdict, as claims.json holds them


@dataclasses.dataclass(frozen=True)
class Compared:
    """One number that a verdict reads: both values, and where the new one was to be expected.

    Attributes
    ----------
    claim, about, unit
        Which number it is.
    committed, new
        Both values; the new one is NaN where it has none any more.
    low, high
        Ends of the interval in which the new one should lie.
    visible
        The shift that would be noticed with a chance of 80 %, in standard deviations of a repeat.
    """

    claim: str
    about: str
    unit: str
    committed: float
    new: float
    low: float
    high: float
    visible: float

    @property
    def inside(self) -> bool:
        """Does the new number lie in the interval?"""
        return self.low <= self.new <= self.high


def compare(new: Path, committed: Path) -> list[Compared]:
    """Compare what the verdicts of two runs of a notebook were read off.

    The difference of both values is judged by the deviations of both runs' repeats together
    (Student's t), and allowed one test image at least. The intervals hold together with 95 %
    confidence (Bonferroni): of many numbers some lie far off by chance. Where the runs used other
    images, the luck of these is added, if it is known; numbers for which it is not are left out.

    Parameters
    ----------
    new, committed
        Folders of the same notebook.

    Returns
    -------
    list of Compared
        Empty where the verdicts have no such numbers in common.
    """
    same_images = _images(new) == _images(committed)
    pairs = [
        (about, old, other)
        for about, old, other in _pairs(claims.read(new), claims.read(committed))
        if min(old["n"]) > 1 and old["estimate"] is not None and (same_images or old["shared"])
    ]
    return [
        judged(*about, old, other, ERROR / len(pairs), same_images) for about, old, other in pairs
    ]


def _pairs(
    new: list[claims.Claim], committed: list[claims.Claim]
) -> Iterator[tuple[tuple[str, str], Numbers, Numbers]]:
    """What a number is about, and what both runs say of it."""
    found = {(c["claim"], c["dataset"], c["part"]): c.get("numbers", []) for c in new}
    for claim in committed:
        ours = found.get((claim["claim"], claim["dataset"], claim["part"]), [])
        for old, other in zip(claim.get("numbers", []), ours, strict=False):
            about = ", ".join(filter(None, (claims.about(claim), old["name"])))
            yield (claim["claim"], about), old, other


def judged(
    claim: str, about: str, old: Numbers, new: Numbers, error: float, same_images: bool
) -> Compared:
    """One number of both runs, at an accepted chance of a false alarm."""
    from scipy import special

    scale, shown = SCALES[old["scale"]]
    samples = [np.maximum(numbers["n"], 1) for numbers in (old, new)]
    sizes = np.array([1 / (1 / sample).sum() for sample in samples])
    freedom = np.array([(sample - 1).sum() for sample in samples])
    variances = sizes * [numbers["error"] ** 2 if numbers["error"] else 0 for numbers in (old, new)]
    spread = np.sqrt((freedom * variances).sum() / freedom.sum())  # of one repeat
    factor = np.sqrt((1 / sizes).sum())
    limit = special.stdtrit(freedom.sum(), 1 - error / 2)
    luck = 0 if same_images else old["shared"] + new["shared"]
    reach = limit * np.hypot(spread * factor, np.sqrt(luck))
    middle = scale(old["estimate"])
    reach = max(reach, old["resolution"], 1e-9 * abs(middle))  # rounding
    visible = float(special.nctdtrinc(freedom.sum(), 0.2, limit) * factor)
    value = np.nan if new["estimate"] is None else new["estimate"]
    ends = float(shown(middle - reach)), float(shown(middle + reach))
    return Compared(claim, about, old["unit"], old["estimate"], value, *ends, visible)


def _images(folder: Path) -> set[str]:
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return {data["fingerprint"] for data in manifest["data"].values()}
