"""What the columns of a table are for, as their names say it; every reader of tables asks here.

A standard deviation stands in ``X std``, in ``std_of_X``, or right behind its mean in ``std``; the
ends of an interval right behind it in ``low`` and ``high``; the paper's value in ``X (printed)``;
and what a count is a count of right behind it in ``of``. Keys, which say what a row is about, come
first.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

PRINTED = " (printed)"  # ends the names of columns with the paper's values


@dataclasses.dataclass(frozen=True)
class Column:
    """A column with those that belong to it, by their names; empty where there is none."""

    name: str
    std: str = ""
    interval: tuple[str, ...] = ()
    of: str = ""
    printed: Column | None = None

    @property
    def names(self) -> list[str]:
        """Of all these columns."""
        own = filter(None, (self.name, self.std, *self.interval, self.of))
        return list(dict.fromkeys([*own, *(self.printed.names if self.printed else ())]))


def read(frame: pd.DataFrame) -> list[Column]:
    """The columns of a table, each with those that belong to it.

    Examples
    --------
    >>> import pandas as pd
    >>> t = pd.DataFrame({"net": ["Ref"], "clean": [72.0], "std": [7.5], "clean (printed)": [78]})
    >>> [column.names for column in read(t)]
    [['net'], ['clean', 'std', 'clean (printed)']]
    """
    names, found = list(frame), list[Column]()
    for place, name in enumerate(names, 1):
        if any(name in column.names for column in found):
            continue
        column = _column(frame, name, names[place:])
        if (printed := f"{name}{PRINTED}") in names[place:]:
            column = dataclasses.replace(column, printed=_column(frame, printed, names[place:]))
        found.append(column)
    return found


def keys(frame: pd.DataFrame) -> list[str]:
    """Names of the columns that say what a row is about.

    They stand before the first mean with a standard deviation or, where no column has one, before
    the first fraction.
    """
    from pandas.api.types import is_float_dtype

    names, means = list(frame), [column.name for column in read(frame) if column.std]
    measures = means or [name for name in names if is_float_dtype(frame[name])]
    return names[: names.index(measures[0])] if measures else names


def _column(frame: pd.DataFrame, name: str, after: list[str]) -> Column:
    """A column with what belongs to it of those after it."""
    from pandas.api.types import is_float_dtype

    stem = name.removesuffix(PRINTED)
    possible = {f"{stem} std{name[len(stem) :]}", f"std_of_{name}", *({"std"} & {*after[:1]})}
    if std := next((other for other in after if other in possible), ""):
        return Column(name, std=std)
    with_ends = after[:2] == ["low", "high"] and is_float_dtype(frame[name])
    if with_ends or [name, *after[:1]] == ["low", "high"]:
        return Column(name, interval=("low", "high"))
    return Column(name, of="of" if after[:1] == ["of"] else "")
