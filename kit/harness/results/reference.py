"""What the papers print, to stand beside our numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kit.harness.results import columns

if TYPE_CHECKING:
    import pandas as pd


def printed_gain(values: pd.Series, better: str, worse: str) -> float | None:
    """How much more the paper prints for one thing than for another.

    Parameters
    ----------
    values
        Printed values by what they are of; of several for one thing, those in equal places belong
        together.
    better, worse
        Two of these things.

    Returns
    -------
    float or None
        The smallest of several gains; None where none is printed, or a loss.
    """
    a, b = (values[values.index == name].to_numpy() for name in (better, worse))
    if not (len(a) and len(b)):
        return None
    smallest = float((a - b).min())
    return smallest if smallest > 0 else None  # NaN is a damaged cell


def beside_printed(theirs: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """Our table with the paper's printed values in columns of their own.

    The keys of ours that both tables have identify the rows.
    """
    keys = [name for name in columns.keys(frame) if name in theirs]
    renamed = {name: f"{name}{columns.PRINTED}" for name in theirs if name not in keys}
    return frame.merge(theirs.rename(columns=renamed), how="left", on=keys)
