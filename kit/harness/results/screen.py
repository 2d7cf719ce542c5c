"""Tables as a person reads them on the screen; the CSV beside keeps every digit and column."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kit.harness.results.verdicts import shown_number

if TYPE_CHECKING:
    import pandas as pd

PRINTED = " (printed)"  # ends the names of columns with the paper's values


def on_screen(frame: pd.DataFrame) -> pd.DataFrame:
    """A table as people read it: what belongs together stands in one column.

    That is a mean with its standard deviation (in ``X std``, ``std_of_X``, or right behind it in
    ``std``), with the interval behind it (``low`` and ``high``), and with the paper's value in
    ``X (printed)``; and a count with what it is a count ``of``.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"net": ["Ref"], "accuracy": [71.62], "std": [7.511]})
    >>> on_screen(frame).to_dict("records")
    [{'net': 'Ref', 'accuracy': '71.6 ± 7.5'}]
    """
    import pandas as pd

    names, shown, done = list(frame), dict[str, list[str]](), set[str]()
    for place, name in enumerate(names):
        if name in done:
            continue
        head, after = "interval" if name == "low" else name, names[place + 1 :]
        cells, taken = _cells(frame, name, after)
        printed = f"{name}{PRINTED}"
        if printed in after:
            theirs, more = _cells(frame, printed, after)
            cells = [a if b == "–" else f"{a} ({b})" for a, b in zip(cells, theirs, strict=True)]
            head, taken = printed, [printed, *taken, *more]
        shown[head] = cells
        done.update(taken)
    return pd.DataFrame(shown)


def _cells(frame: pd.DataFrame, name: str, after: list[str]) -> tuple[list[str], list[str]]:
    """A column with what belongs to it of those after it, and the names of these."""
    from pandas.api.types import is_float_dtype

    spread = spread_of(name, after)
    taken: list[str] = []
    join: Callable[..., str] = shown_number
    if spread:
        taken, join = [spread], _with_spread
    elif after[:2] == ["low", "high"] and is_float_dtype(frame[name]):
        taken, join = after[:2], _with_interval
    elif name == "low" and after[:1] == ["high"]:
        taken, join = ["high"], _interval
    elif after[:1] == ["of"]:
        taken, join = ["of"], "{} of {}".format
    columns = [frame[other] for other in (name, *taken)]
    return [join(*numbers) for numbers in zip(*columns, strict=True)], taken


def spread_of(name: str, after: list[str]) -> str | None:
    """Of the columns after one, that with its standard deviation.

    Examples
    --------
    >>> spread_of("clean", ["clean std"]), spread_of("share", ["std", "searches"])
    ('clean std', 'std')
    """
    stem = name.removesuffix(PRINTED)
    candidates = {f"{stem} std" + name[len(stem) :], f"std_of_{name}", *({"std"} & {*after[:1]})}
    return next((other for other in after if other in candidates), None)


def _with_spread(mean: Any, std: Any) -> str:
    """Mean ± standard deviation, rounded so that the latter has two digits."""
    if not isinstance(mean, float) or not math.isfinite(mean) or math.isnan(std):
        return shown_number(mean)
    return f"{_rounded(mean, std)} ± {_rounded(std, std)}"


def _with_interval(mean: Any, low: Any, high: Any) -> str:
    """Mean and interval, all to two digits of half of its width."""
    if not math.isfinite(high - low):
        return shown_number(mean)
    return f"{_rounded(mean, (high - low) / 2)} {_interval(low, high)}"


def _interval(low: Any, high: Any) -> str:
    if not (math.isfinite(low) and math.isfinite(high)):
        return "–" if math.isnan(low) else f"[{shown_number(low)}, {shown_number(high)}]"
    width = (high - low) / 2
    return f"[{_rounded(low, width)}, {_rounded(high, width)}]"


def _rounded(value: float, scale: float) -> str:
    """A number to two digits of `scale`."""
    decimals = 1 - int(f"{scale:.1e}".partition("e")[2]) if scale else 99
    if decimals > 5:  # a spread of rounding errors alone
        return shown_number(float(value))
    return f"{round(value, decimals) + 0.0:.{max(decimals, 0)}f}".replace("-", "−")
