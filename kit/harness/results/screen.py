"""Tables as a person reads them on the screen; the CSV beside keeps every digit and column."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING, Any

from kit.harness.results import columns
from kit.harness.results.verdicts import shown_number

if TYPE_CHECKING:
    import pandas as pd

SENTENCE = 60  # characters
MOST = 5  # decimals; smaller numbers are shown in powers of ten


def on_screen(frame: pd.DataFrame) -> pd.DataFrame:
    """A table as people read it: what belongs together stands in one column.

    See :mod:`~kit.harness.results.columns` for what that is. The paper's value stands in brackets.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"net": ["Ref"], "accuracy": [71.62], "std": [7.511]})
    >>> on_screen(frame).to_dict("records")
    [{'net': 'Ref', 'accuracy': '71.6 ± 7.5'}]
    """
    import pandas as pd

    shown = {}
    for column in columns.read(frame):
        cells, head = _cells(frame, column), column.name
        if column.printed:
            theirs, head = _cells(frame, column.printed), column.printed.name
            cells = [a if b == "–" else f"{a} ({b})" for a, b in zip(cells, theirs, strict=True)]
        shown["interval" if head == "low" else head] = cells
    return pd.DataFrame(shown)


def boxed(frame: pd.DataFrame, label: str) -> dict[str, str]:
    """A table as a notebook displays it: a long one scrolls, and leaves half of the window free.

    Parameters
    ----------
    frame
        As :func:`on_screen` makes it.
    label
        Names the table to who hears it.
    """
    table = frame.to_html(index=False, border=0, justify="left")
    # Numbers stay on one line, so that more rows are seen; sentences do not.
    short = frame.astype(str).map(len).to_numpy().max(initial=0) < SENTENCE
    style = "max-height: 50vh; overflow: auto" + "; white-space: nowrap" * bool(short)
    if not short:  # JupyterLab sets cells flush right
        table = table.replace("<td>", '<td style="text-align: left">')
    box = f'class="scroll" style="{style}" tabindex="0" role="region"'
    return {
        "text/html": f'<div {box} aria-label="{html.escape(label)}">{table}</div>',
        "text/plain": frame.to_string(index=False),
    }


def _cells(frame: pd.DataFrame, column: columns.Column) -> list[str]:
    values = frame[column.name]
    if column.std:
        return list(map(_with_spread, values, frame[column.std]))
    if column.interval:
        low, high = (frame[name] for name in column.interval)
        if column.name in column.interval:
            return list(map(_interval, low, high))
        return list(map(_with_interval, values, low, high))
    return list(
        map("{} of {}".format, values, frame["of"]) if column.of else map(shown_number, values)
    )


def _with_spread(mean: Any, std: float) -> str:
    """Mean ± standard deviation, rounded so that the latter has two digits.

    One that four digits of the mean do not show comes from rounding, and reads as none.
    """
    if not isinstance(mean, int | float) or not math.isfinite(mean) or math.isnan(std):
        return shown_number(mean)
    if _decimals(std) > MOST and 0 < std < 5e-5 * abs(mean):
        decimals = max(2, _decimals(mean) + 2)
        if decimals > MOST:
            return f"{shown_number(float(mean))} ± 0"
        return f"{_fixed(mean, decimals)} ± {_fixed(0, decimals)}"
    return f"{_rounded(mean, std)} ± {_rounded(std, std)}"


def _with_interval(mean: float, low: float, high: float) -> str:
    """Mean and interval, all to two digits of half of its width."""
    if not math.isfinite(high - low):
        return shown_number(mean)
    return f"{_rounded(mean, (high - low) / 2)} {_interval(low, high)}"


def _interval(low: float, high: float) -> str:
    if not (math.isfinite(low) and math.isfinite(high)):
        return "–" if math.isnan(low) else f"[{shown_number(low)}, {shown_number(high)}]"
    width = (high - low) / 2
    return f"[{_rounded(low, width)}, {_rounded(high, width)}]"


def _rounded(value: float, scale: float) -> str:
    """A number to two digits of `scale`."""
    decimals = _decimals(scale) if scale else MOST + 1
    return shown_number(float(value)) if decimals > MOST else _fixed(value, decimals)


def _decimals(scale: float) -> int:
    """Of two digits of a number."""
    return 1 - int(f"{scale:.1e}".partition("e")[2])


def _fixed(value: float, decimals: int) -> str:
    return f"{round(value, decimals) + 0.0:.{max(decimals, 0)}f}".replace("-", "−")
