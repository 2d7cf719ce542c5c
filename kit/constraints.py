"""What a value must be, declared once: for parameters of papers and options of functions."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Collection
from typing import Any


class Constraint:
    """What a parameter's value must be.

    Parameters
    ----------
    holds
        Does a value satisfy it? Types are part of it.
    allowed
        The same in words.
    """

    def __init__(self, holds: Callable[[Any], bool], allowed: str):
        self.holds, self.allowed = holds, allowed

    def check(self, name: str, value: Any) -> Any:
        """The value, as :func:`plain` has it, unless it is refused.

        Raises
        ------
        ValueError
            One sentence with the name, the value and what is allowed.

        Examples
        --------
        >>> import numpy as np
        >>> whole(1).check("epochs", np.int64(3))
        3
        """
        if not self.holds(value):
            raise ValueError(f"{name} is {plain(value)!r}: {self.allowed}.")
        return plain(value)


def plain(value: Any) -> Any:
    """Numbers and words of NumPy's types as Python's own, within lists and mappings too.

    What has another type stays as it is. PyTorch's generators take Python's numbers alone, and
    ``repr`` and JSON tell the two apart.

    Examples
    --------
    >>> import numpy as np
    >>> plain([np.int64(1), np.float64(0.5), np.bool_(True), {np.str_("a"): None}])
    [1, 0.5, True, {'a': None}]
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, str):
        return str.__str__(value)
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    if type(value) is dict:
        return {plain(key): plain(part) for key, part in value.items()}
    is_numpy_bool = type(value).__module__ == "numpy" and type(value).__name__ in ("bool", "bool_")
    return bool(value) if is_numpy_bool else value


def is_whole(value: Any) -> bool:
    """A whole number, of Python's or NumPy's types."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_real(value: Any) -> bool:
    """A finite number, of Python's or NumPy's types."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def whole(least: int) -> Constraint:
    """A whole number from `least` on."""
    positive = "it must be a positive whole number"
    allowed = positive if least == 1 else f"use a whole number from {least} on"
    return Constraint(lambda value: is_whole(value) and value >= least, allowed)


# What the generators of PyTorch, NumPy and scikit-learn all take, and what derive_seed gives.
SEED = Constraint(
    lambda value: is_whole(value) and 0 <= value < 2**32,
    f"use a whole number from 0 to {2**32 - 1}",
)


def odd(least: int, why: str) -> Constraint:
    """An odd whole number from `least` on."""
    return Constraint(
        lambda value: is_whole(value) and value >= least and value % 2 == 1,
        f"use an odd number from {least} on, {why}",
    )


def number(
    *, least: float = -math.inf, above: float = -math.inf, to: float = math.inf
) -> Constraint:
    """A finite number: from `least` on, above `above`, up to `to`."""
    lower = f"({above:g}" if above >= least else f"[{least:g}"
    allowed = f"it must be in {lower}, {to:g}]"
    if to == math.inf:
        positive = "it must be a positive number, and finite"
        allowed = positive if above == 0 else f"use a number from {least:g} on"

    def holds(value: Any) -> bool:
        return is_real(value) and value > above and least <= value <= to

    return Constraint(holds, allowed)


def divides_one() -> Constraint:
    """A number in (0, 1] that goes into 1 a whole number of times."""

    def holds(value: Any) -> bool:
        return 0 < value <= 1 and abs(round(1 / value) * value - 1) <= 1e-9

    return Constraint(holds, "it must go into 1.0 a whole number of times, and not exceed it")


class OneOf(Constraint):
    """One of some names, of a kind such as ``"net"``."""

    def __init__(self, names: Collection[str], kind: str):
        super().__init__(lambda value: isinstance(value, str) and value in names, "")
        self.names, self.kind = names, kind

    def check(self, name: str, value: Any) -> Any:
        """The value, as :func:`plain` has it, unless it is refused with a ValueError."""
        if not self.holds(value):
            known = ", ".join(self.names)
            raise ValueError(f"Unknown {self.kind} {plain(value)!r} in {name}: use one of {known}.")
        return plain(value)


class ListOf(Constraint):
    """A list of different values, `least` of them or more, each satisfying a constraint."""

    def __init__(self, each: Constraint, allowed: str, least: int = 1, ascending: bool = False):
        super().__init__(lambda value: type(value) is list and len(value) >= least, allowed)
        self.each, self.ascending = each, ascending

    def check(self, name: str, value: Any) -> Any:
        """The value, as :func:`plain` has it, unless it is refused with a ValueError."""
        value = super().check(name, value)
        for part in value:
            if isinstance(self.each, OneOf):
                self.each.check(name, part)
            elif not self.each.holds(part):
                raise ValueError(f"{name} is {value!r}: {self.allowed}.")
        if value != (sorted(set(value)) if self.ascending else list(dict.fromkeys(value))):
            order = ", the smallest first" if self.ascending else ""
            raise ValueError(f"{name} is {value}: name each one once{order}.")
        return value


class Rates(Constraint):
    """A mapping from names to positive numbers."""

    def __init__(self, names: OneOf):
        super().__init__(lambda value: type(value) is dict, "it must map names to numbers")
        self.names = names

    def check(self, name: str, value: Any) -> Any:
        """The value, as :func:`plain` has it, unless it is refused with a ValueError."""
        value = super().check(name, value)
        for key, rate in value.items():
            self.names.check(name, key)
            number(above=0).check(f"{name}: the rate of {key}", rate)
        return value


ANYTHING = Constraint(lambda value: True, "")  # checked elsewhere
MAPPING = Constraint(lambda value: type(value) is dict, "it must be a mapping")
TEXT = Constraint(lambda value: isinstance(value, str), "it must be text")
