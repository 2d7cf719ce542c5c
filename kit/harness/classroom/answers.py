"""Is an answer right, and if not, in which way is it wrong?"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

RELATIVE = 0.01  # how far an answer may be from the right one where an exercise does not say
_CLOSE = 0.1
_SLIPS: dict[str, Callable[[float], float]] = {  # those that any number may have
    "Percent are not shares: divide by 100.": lambda value: value / 100,
    "Shares are not percent: multiply by 100.": lambda value: value * 100,
    "It has the wrong sign.": lambda value: -value,
}


def agree(answer: Any, right: Any, within: float | None = None) -> bool:
    """Is an answer the right one?

    Parameters
    ----------
    answer, right
        A number, text, a set, a sequence, or a mapping of these; arrays and tensors are sequences.
    within
        How far numbers may be apart; None stands for 1 % of the right one.

    Examples
    --------
    >>> agree({"FGSM": 0.501}, {"FGSM": 0.5}), agree([1, 2], (1, 2)), agree(3, 3.2, within=0.1)
    (True, True, False)
    """
    answer, right = plain(answer), plain(right)
    if isinstance(right, Mapping):
        return (
            isinstance(answer, Mapping)
            and answer.keys() == right.keys()
            and all(agree(answer[key], right[key], within) for key in right)
        )
    if isinstance(right, Set):
        return isinstance(answer, (Set, list)) and set(answer) == right
    if isinstance(right, list):
        return (
            isinstance(answer, list)
            and len(answer) == len(right)
            and all(agree(*pair, within) for pair in zip(answer, right, strict=True))
        )
    if _is_number(right):
        return _is_number(answer) and _apart(answer, right, within) <= 0
    if isinstance(right, str):
        return isinstance(answer, str) and answer.strip().casefold() == right.casefold()
    return type(answer) is type(right) and answer == right


def judge(
    answer: Any,
    right: Any,
    *,
    wanted: str = "",
    within: float | None = None,
    slips: Mapping[str, Any] | None = None,
) -> str:
    """One or two sentences on an answer, which do not give the right one away.

    Parameters
    ----------
    answer, right, within
        As for :func:`agree`; ``...`` stands for no answer.
    wanted
        What is to be answered.
    slips
        Likely wrong answers, by what to say of them.

    Examples
    --------
    >>> judge(0.3, 0.3)
    'Right.'
    >>> judge(30, 0.3)
    'Not yet. Percent are not shares: divide by 100.'
    >>> judge({"a": 1, "b": 5}, {"a": 1, "b": 2})
    "Not yet. 1 of 2 values is right; look again at 'b'."
    """
    if answer is ...:
        return f"No answer yet. Asked for: {_typed(wanted)}"
    if agree(answer, right, within):
        return "Right."
    for sentence, value in (slips or {}).items():
        # What cannot be told from the right answer says nothing of a wrong one.
        if agree(answer, value, within) and not agree(value, right, within):
            return f"Not yet. {sentence}"
    return f"Not yet. {_difference(plain(answer), plain(right), within)}"


def _typed(text: str) -> str:
    """A Markdown text as a cell prints it: A_1 in place of $A_1$."""
    return re.sub(r"\$([^$]+)\$", lambda found: re.sub(r"[{}\\]", "", found[1]), text)


def plain(value: Any) -> Any:
    """Arrays, tensors, tuples, tables' columns and single elements as Python's own types."""
    if hasattr(value, "to_dict"):
        value = value.to_dict()
    elif hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):  # a minus sign may be typed as a hyphen
        value = {k.replace("−", "-") if isinstance(k, str) else k: v for k, v in value.items()}
    return list(value) if isinstance(value, (tuple, range)) else value


def _difference(answer: Any, right: Any, within: float | None) -> str:
    if _kind(answer) != _kind(right):
        return f"Asked for is {_kind(right)}, and this is {_kind(answer)}."
    for sentence, changed in _SLIPS.items():
        if agree(_each(changed, answer), right, within):
            return sentence
    if isinstance(right, Mapping):
        return _difference_of_values(answer, right, within)
    if isinstance(right, Set) or (isinstance(right, Sequence) and not isinstance(right, str)):
        if len(answer) != len(right):
            return "The number of entries is another one."
        return "Some entries are others."
    if _is_number(right) and _apart(answer, right, _CLOSE * abs(right)) <= 0:
        return "It is close: was it rounded too early, or made with other images or seeds?"
    return "Something else comes out."


def _difference_of_values(answer: Mapping, right: Mapping, within: float | None) -> str:
    if answer.keys() != right.keys():
        return f"Asked for are values for {', '.join(map(repr, right))}."
    wrong = [key for key in right if not agree(answer[key], right[key], within)]
    count = len(right) - len(wrong)
    other = next((key for key in wrong if _kind(answer[key]) != _kind(right[key])), None)
    if other is not None:
        return (
            f"Of {other!r}, asked for is {_kind(right[other])}, and this is {_kind(answer[other])}."
        )
    if not count:
        return "None of the values is right."
    verb = "is" if count == 1 else "are"
    again = ", ".join(map(repr, wrong))
    return f"{count} of {len(right)} values {verb} right; look again at {again}."


def _apart(answer: float, right: float, within: float | None) -> float:
    """By how much more than allowed two numbers differ; 0 or less where they agree."""
    if math.isnan(right) or math.isnan(answer):
        return 0.0 if math.isnan(right) and math.isnan(answer) else math.inf
    if answer == right:  # infinite ones, too
        return 0.0
    allowed = RELATIVE * abs(right) if within is None else within
    return abs(answer - right) - allowed - 1e-12 * abs(right)  # what rounding adds is right


def _each(changed: Callable[[float], float], value: Any) -> Any:
    """A value with all its numbers changed."""
    value = plain(value)
    if isinstance(value, Mapping):
        return {key: _each(changed, part) for key, part in value.items()}
    if isinstance(value, list):
        return [_each(changed, part) for part in value]
    return changed(value) if _is_number(value) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    kinds: dict[str, Any] = {
        "a mapping": Mapping, "a set": Set, "a sequence": list, "text": str,
        "True or False": bool, "a number": (int, float),
    }  # fmt: skip
    known = (name for name, kind in kinds.items() if isinstance(value, kind))
    return next(known, f"a value of type {type(value).__name__}")
