"""Tables as a person reads them on the screen; the CSV beside keeps every digit and column."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from kit.results.statistics import shown_number

if TYPE_CHECKING:
    import pandas as pd


def on_screen(frame: pd.DataFrame) -> pd.DataFrame:
    """A table as people read it: in one column each mean ± std and [low, high].

    The standard deviation of a column ``X`` stands in ``X std`` or ``std_of_X``, or right behind it
    in ``std``.

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
        values, spread = frame[name], _spread(name, names[place + 1 :])
        if spread:
            done.add(spread)
            shown[name] = [_with_spread(*pair) for pair in zip(values, frame[spread], strict=True)]
        elif name == "low" and "high" in names:
            done.add("high")
            shown["interval"] = [_interval(*p) for p in zip(values, frame["high"], strict=True)]
        else:
            shown[name] = [shown_number(value) for value in values]
    return pd.DataFrame(shown)


def _spread(name: str, after: list[str]) -> str | None:
    """The column with the standard deviation of another one."""
    stem = name.removesuffix(" (printed)")
    candidates = {f"{stem} std" + name[len(stem) :], f"std_of_{name}", *({"std"} & {*after[:1]})}
    return next((other for other in after if other in candidates), None)


def _with_spread(mean: Any, std: Any) -> str:
    """Mean ± standard deviation, rounded so that the latter has two digits."""
    if not isinstance(mean, float) or not math.isfinite(mean) or math.isnan(std):
        return shown_number(mean)
    return f"{_rounded(mean, std)} ± {_rounded(std, std)}"


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
