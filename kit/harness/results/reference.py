"""What the papers print, to stand beside our numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kit.harness.results import columns

if TYPE_CHECKING:
    import pandas as pd


def beside_printed(theirs: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """Our table with the paper's printed values in columns of their own.

    The keys of ours that both tables have identify the rows.
    """
    keys = [name for name in columns.keys(frame) if name in theirs]
    renamed = {name: f"{name}{columns.PRINTED}" for name in theirs if name not in keys}
    return frame.merge(theirs.rename(columns=renamed), how="left", on=keys)
