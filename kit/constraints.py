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

    def check(self, name: str, value: Any) -> None:
        """Refuse a value, with a ValueError of one sentence."""
        if not self.holds(value):
            raise ValueError(f"{name} is {value!r}: {self.allowed}.")


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

    def check(self, name: str, value: Any) -> None:
        """Refuse a value, with a ValueError of one sentence."""
        if not self.holds(value):
            known = ", ".join(self.names)
            raise ValueError(f"Unknown {self.kind} {value!r} in {name}: use one of {known}.")


class ListOf(Constraint):
    """A list of different values, `least` of them or more, each satisfying a constraint."""

    def __init__(self, each: Constraint, allowed: str, least: int = 1, ascending: bool = False):
        super().__init__(lambda value: type(value) is list and len(value) >= least, allowed)
        self.each, self.ascending = each, ascending

    def check(self, name: str, value: Any) -> None:
        """Refuse a value, with a ValueError of one sentence."""
        super().check(name, value)
        for part in value:
            if isinstance(self.each, OneOf):
                self.each.check(name, part)
            elif not self.each.holds(part):
                raise ValueError(f"{name} is {value!r}: {self.allowed}.")
        if value != (sorted(set(value)) if self.ascending else list(dict.fromkeys(value))):
            order = ", the smallest first" if self.ascending else ""
            raise ValueError(f"{name} is {value}: name each one once{order}.")


class Rates(Constraint):
    """A mapping from names to positive numbers."""

    def __init__(self, names: OneOf):
        super().__init__(lambda value: type(value) is dict, "it must map names to numbers")
        self.names = names

    def check(self, name: str, value: Any) -> None:
        """Refuse a value, with a ValueError of one sentence."""
        super().check(name, value)
        for key, rate in value.items():
            self.names.check(name, key)
            number(above=0).check(f"{name}: the rate of {key}", rate)


ANYTHING = Constraint(lambda value: True, "")  # checked elsewhere
MAPPING = Constraint(lambda value: type(value) is dict, "it must be a mapping")
TEXT = Constraint(lambda value: type(value) is str, "it must be text")
