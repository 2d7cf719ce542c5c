"""A run's tables against committed ones: do the new numbers lie where repeats would?"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

COUNTS = ("repeats", "runs", "searches", "images")  # columns that say how many a mean is over
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
    """Table, row, column, both means, the committed std, and over how many each mean is."""
    import pandas as pd
    from pandas.api.types import is_float_dtype

    old, new = pd.read_csv(path), pd.read_csv(other)
    means = {c: _std_of(c, old) for c in old if _std_of(c, old) and c in new}
    keys = [c for c in old if not is_float_dtype(old[c]) and c not in (*COUNTS, *means)]
    if not means or not set(keys) <= set(new):
        return []
    if keys:
        both = old.merge(new, on=keys, suffixes=("", " (new)"))
    else:
        both = old.join(new, rsuffix=" (new)")
    count = next((c for c in COUNTS if c in old), None)
    rows, names = [], both[keys].astype(str).agg(", ".join, axis=1) if keys else both.index
    for name, (_, row) in zip(names, both.iterrows(), strict=True):
        sizes = (row[count], row.get(f"{count} (new)", row[count])) if count else (n, m)
        rows += [
            (path.stem, str(name), c, row[c], row[f"{c} (new)"], row[std], *sizes)
            for c, std in means.items()
        ]
    return rows


def _std_of(column: str, table: pd.DataFrame) -> str:
    """The column with the standard deviation of a mean; empty where there is none."""
    names = [f"{column} std", *(["std"] if column in ("accuracy", "share") else [])]
    return next((name for name in names if name in table), "")


def _judged(
    resolution: float, count: int, table: str, row: str, column: str, old: float, new: float,
    std: float, n: float, m: float,
) -> Compared:  # fmt: skip
    from scipy import stats

    if np.isnan(old) or np.isnan(new) or n < 2:
        return Compared(table, row, column, old, new, -np.inf, np.inf)
    level = (1 - CONFIDENCE) / 2 / max(count, 1)
    reach = stats.t.ppf(1 - level, n - 1) * (0 if np.isnan(std) else std) * np.sqrt(1 / n + 1 / m)
    reach = max(reach, resolution, 1e-5 * abs(old))  # tables hold six digits
    return Compared(table, row, column, old, new, old - reach, old + reach)


def _manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def _repeats(folder: Path) -> int:
    """Over how many a mean is where its table does not say it."""
    given = _manifest(folder)["parameters"]
    return next((given[name] for name in ("folds", "runs", "repeats") if name in given), 0)


def _resolution(folder: Path) -> float:
    """One test image of the smallest data set, in %."""
    return max((100 / data["test"] for data in _manifest(folder)["data"].values()), default=0.0)
