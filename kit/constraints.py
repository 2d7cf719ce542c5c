"""What a value must be, declared once: for parameters of papers and options of functions."""

from __future__ import annotations

import functools
import math
import numbers
from collections.abc import Callable, Collection, Mapping
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class BadInputError(ValueError):
    """What a person wrote is refused; in a notebook the sentence stands alone, without a traceback.

    Examples
    --------
    >>> @in_one_line
    ... def half(n):
    ...     return whole(0).check("n", n) / 2
    >>> try:
    ...     half("many")
    ... except BadInputError as error:
    ...     print(error)
    n is 'many': use a whole number from 0 on.
    """

    def _render_traceback_(self) -> list[str]:  # IPython asks for it
        return [str(self)]


def in_one_line(function: Callable[P, R]) -> Callable[P, R]:
    """The same function, whose ValueErrors are of the kind that a notebook shows in one line."""

    @functools.wraps(function)
    def refusing(*arguments: P.args, **options: P.kwargs) -> R:
        try:
            return function(*arguments, **options)
        except ValueError as error:
            raise BadInputError(str(error)) from None

    return refusing


class Constraint:
    """What a parameter's value must be.

    Parameters
    ----------
    holds
        Does a value satisfy it? Types are part of it.
    allowed
        The same in words.
    schema
        The same as a JSON schema, for editors and documentation.
    typed
        Gives an allowed value its type: two values that are equal must not differ in it.
    """

    def __init__(
        self,
        holds: Callable[[Any], bool],
        allowed: str,
        schema: Mapping[str, Any],
        typed: Callable[[Any], Any] | None = None,
    ):
        self.holds, self.allowed, self.schema, self.typed = holds, allowed, schema, typed or plain

    def check(self, name: str, value: Any) -> Any:
        """The value in its type, with NumPy's types made Python's, unless it is refused.

        Raises
        ------
        ValueError
            One sentence with the name, the value and what is allowed.

        Examples
        --------
        >>> import numpy as np
        >>> whole(1).check("epochs", np.int64(3)), number(above=0).check("eps", 1)
        (3, 1.0)
        """
        if not self.holds(value):
            raise ValueError(f"{name} is {shown(plain(value))}: {self.allowed}.")
        return self.typed(value)


def shown(value: Any) -> str:
    """A value in a message, cut off where it is long.

    Examples
    --------
    >>> shown("paper"), len(shown("9" * 6000))
    ("'paper'", 202)
    """
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]} …"


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


def whole(least: int, to: int | None = None) -> Constraint:
    """A whole number from `least` on, up to `to`."""
    allowed = f"use a whole number from {least} {'on' if to is None else f'to {to}'}"
    if least == 1:
        allowed = "it must be a positive whole number"
        allowed += f", {to:,} at most" if to is not None else ""
    schema = {"type": "integer", "minimum": least} | ({} if to is None else {"maximum": to})

    def holds(value: Any) -> bool:
        return is_whole(value) and least <= value and (to is None or value <= to)

    return Constraint(holds, allowed, schema)


# How often something is done in a study: more would not end, not even as a plan.
REPEATS = whole(1, 10_000)
# What the generators of PyTorch, NumPy and scikit-learn all take, and what derive_seed gives.
SEED = whole(0, 2**32 - 1)


def odd(least: int, why: str) -> Constraint:
    """An odd whole number from `least` on."""
    return Constraint(
        lambda value: is_whole(value) and value >= least and value % 2 == 1,
        f"use an odd whole number from {least} on, {why}",
        {"type": "integer", "minimum": least, "not": {"multipleOf": 2}},
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
    bounds = {"minimum": least, "exclusiveMinimum": above, "maximum": to}
    finite = {name: bound for name, bound in bounds.items() if math.isfinite(bound)}

    def holds(value: Any) -> bool:
        return is_real(value) and value > above and least <= value <= to

    return Constraint(holds, allowed, {"type": "number"} | finite, float)


def generator(kind: type, words: str) -> Constraint:
    """A random generator of NumPy's or PyTorch's, named in `words`; a seed is none.

    Examples
    --------
    >>> import numpy as np
    >>> words = "a numpy.random.Generator, such as numpy.random.default_rng(0)"
    >>> generator(np.random.Generator, words).check("rng", 3)
    Traceback (most recent call last):
        ...
    ValueError: rng is 3: give a numpy.random.Generator, such as numpy.random.default_rng(0).
    """
    return Constraint(lambda value: isinstance(value, kind), f"give {words}", {})


def divides_one() -> Constraint:
    """A number in (0, 1] that goes into 1 a whole number of times."""

    def holds(value: Any) -> bool:
        return is_real(value) and 0 < value <= 1 and abs(round(1 / value) * value - 1) <= 1e-9

    allowed = "it must go into 1.0 a whole number of times, and not exceed it"
    return Constraint(holds, allowed, number(above=0, to=1).schema, float)


class OneOf(Constraint):
    """One of some names, of a kind such as ``"net"``."""

    def __init__(self, names: Collection[str], kind: str):
        allowed = f"use one of {', '.join(names)}"
        schema = {"enum": list(names)}
        super().__init__(lambda value: isinstance(value, str) and value in names, allowed, schema)
        self.kind = kind

    def check(self, name: str, value: Any) -> Any:
        """The value, unless it is refused with a ValueError."""
        if not self.holds(value):
            raise ValueError(f"Unknown {self.kind} {plain(value)!r} in {name}: {self.allowed}.")
        return self.typed(value)


class ListOf(Constraint):
    """A list of different values, `least` of them or more, each satisfying a constraint."""

    def __init__(self, each: Constraint, allowed: str, least: int = 1, ascending: bool = False):
        schema = {"type": "array", "items": each.schema, "minItems": least, "uniqueItems": True}
        super().__init__(lambda value: type(value) is list and len(value) >= least, allowed, schema)
        self.each, self.ascending = each, ascending

    def check(self, name: str, value: Any) -> Any:
        """The values in their type, unless they are refused with a ValueError."""
        value = super().check(name, value)
        if not isinstance(self.each, OneOf) and not all(map(self.each.holds, value)):
            raise ValueError(f"{name} is {shown(value)}: {self.allowed}.")
        value = [self.each.check(name, part) for part in value]
        if value != (sorted(set(value)) if self.ascending else list(dict.fromkeys(value))):
            order = ", the smallest first" if self.ascending else ""
            raise ValueError(f"{name} is {value}: name each one once{order}.")
        return value


class Rates(Constraint):
    """A mapping from names to positive numbers."""

    def __init__(self, names: OneOf):
        self.names, self.rate = names, number(above=0)
        schema = {
            "type": "object",
            "propertyNames": names.schema,
            "additionalProperties": self.rate.schema,
        }
        super().__init__(lambda value: type(value) is dict, "it must map names to numbers", schema)

    def check(self, name: str, value: Any) -> Any:
        """Names and numbers, unless they are refused with a ValueError."""
        rates = super().check(name, value)
        for key in rates:
            self.names.check(name, key)
        return {
            key: self.rate.check(f"{name}: the rate of {key}", rate) for key, rate in rates.items()
        }


ANYTHING = Constraint(lambda value: True, "", {})  # checked elsewhere
MAPPING = Constraint(lambda value: type(value) is dict, "it must be a mapping", {"type": "object"})
TEXT = Constraint(lambda value: isinstance(value, str), "it must be text", {"type": "string"})
# What a parameter of a type must be where nothing more is declared.
OF_TYPE = {
    "str": TEXT,
    "int": Constraint(is_whole, "it must be a whole number", {"type": "integer"}),
    "float": Constraint(is_real, "it must be a number", {"type": "number"}, float),
    "bool": Constraint(
        lambda value: type(value) is bool, "it must be true or false", {"type": "boolean"}
    ),
    "list": Constraint(lambda value: type(value) is list, "it must be a list", {"type": "array"}),
    "dict": MAPPING,
}
