"""A run's tables against committed ones: do the new numbers lie where repeats would?"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from kit.harness.results import columns

CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Compared:
    """One number of a table: both values, and where the new one was to be expected."""

    table: str
    row: str
    column: str
    committed: float
    new: float
    low: float
    high: float

    @property
    def inside(self) -> bool:
        """Does the new number lie in the interval?"""
        return self.low <= self.new <= self.high


def compare(new: Path, committed: Path) -> list[Compared]:
    """Compare all means with a standard deviation in the tables of two runs of a notebook.

    A new mean over m repeats is expected in the prediction interval of the committed ones,
    mean ± t · std · √(1/n + 1/m), at least one test image wide to either side. The intervals hold
    together with 95 % confidence (Bonferroni): of many numbers some lie far off by chance.
    Tables with deviations over images are left out: those do not say how far repeats lie apart.

    Parameters
    ----------
    new, committed
        Folders of the same notebook.

    Returns
    -------
    list of Compared
        Empty where the tables have no such numbers in common.
    """
    pairs = [
        pair
        for path in sorted(committed.glob("*.csv"))
        if (new / path.name).is_file()
        for pair in _pairs(path, new / path.name, _repeats(committed), _repeats(new))
    ]
    resolution = _resolution(committed)
    return [_judged(resolution, len(pairs), *pair) for pair in pairs]


def _pairs(path: Path, other: Path, n: int, m: int) -> list[tuple[Any, ...]]:
    """Table, row, column, both means, largest committed one, std, and over how many each mean is.

    Committed means over fewer than two repeats are left out, and those that had no value; one that
    has none any more is not.
    """
    import pandas as pd

    old, new = pd.read_csv(path), pd.read_csv(other)
    # Ours, and not the paper's.
    means = {
        column.name: column.std
        for column in columns.read(old)
        if column.std and not column.name.endswith(columns.PRINTED)
    }
    keys, count = columns.keys(old), columns.count(old)
    if count == columns.IMAGES or not means or not keys or not {*keys, *means} <= set(new):
        return []
    rows, both = [], old.merge(new, on=keys, suffixes=("", " (new)"))
    names = both[keys].astype(str).agg(", ".join, axis=1)
    for name, (_, row) in zip(names, both.iterrows(), strict=True):
        sizes = (row[count], row.get(f"{count} (new)", row[count])) if count else (n, m)
        for column, std in means.items():
            values = row[column], row[f"{column} (new)"]
            if sizes[0] > 1 and sizes[1] > 0 and not np.isnan(row[column]):
                top = old[column].abs().max()
                rows.append((path.stem, name, column, *values, top, row[std], *sizes))
    return rows


def _judged(
    resolution: float, count: int, table: str, row: str, column: str, old: float, new: float,
    top: float, std: float, n: float, m: float,
) -> Compared:  # fmt: skip
    from scipy import stats

    level = (1 - CONFIDENCE) / 2 / count
    reach = stats.t.ppf(1 - level, n - 1) * (0 if np.isnan(std) else std) * np.sqrt(1 / n + 1 / m)
    percent = top > 1 or "(%)" in column  # one image is no measure of a distance of 0.03
    reach = max(reach, resolution if percent else 0, 1e-5 * abs(old))  # tables hold six digits
    return Compared(table, row, column, old, new, old - reach, old + reach)


def _manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def _repeats(folder: Path) -> int:
    """Over how many a mean is where its table does not say it."""
    given = _manifest(folder)["parameters"]
    return next((given[name] for name in ("folds", "runs") if name in given), 0)


def _resolution(folder: Path) -> float:
    """One test image of the smallest data set, in %."""
    return max((100 / data["test"] for data in _manifest(folder)["data"].values()), default=0.0)
