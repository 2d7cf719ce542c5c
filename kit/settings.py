"""A paper's parameters: declared once, with their bounds, and read from a notebook's names.

Examples
--------
>>> @dataclasses.dataclass(frozen=True, kw_only=True)
... class Tiny(Settings):
...     runs: Annotated[int, whole(1)]
...     epsilon: Annotated[float, number(above=0, to=1)]
>>> common = {"datasets": ["digits"], "train": 0, "test": 0, "seed": 0}
>>> c = Tiny.read(common | {"runs": 3, "epsilon": 1, "special": {"digits": {"runs": 5}}})
>>> c.runs, c.epsilon, c.on("digits").runs
(3, 1.0, 5)
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Annotated, Any, Self, get_type_hints


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


def whole(least: int) -> Constraint:
    """A whole number from `least` on."""
    positive = "it must be a positive whole number"
    allowed = positive if least == 1 else f"use a whole number from {least} on"
    return Constraint(lambda value: type(value) is int and value >= least, allowed)


def odd(least: int, why: str) -> Constraint:
    """An odd whole number from `least` on."""
    return Constraint(
        lambda value: type(value) is int and value >= least and value % 2 == 1,
        f"use an odd number from {least} on, {why}",
    )


def number(
    *, least: float = -math.inf, above: float = -math.inf, to: float = math.inf
) -> Constraint:
    """A finite number: from `least` on, above `above`, up to `to`."""
    lower = f"({above:g}" if above >= least else f"[{least:g}"
    allowed = f"it must be in {lower}, {to:g}]" if to < math.inf else "it must be a positive number"

    def holds(value: Any) -> bool:
        real = type(value) in (int, float) and math.isfinite(value)
        return real and value > above and least <= value <= to

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
DATASETS = ListOf(TEXT, "list at least one name, such as ['digits']")
_PLACES = ("data_root", "device", "jobs", "out")  # where it runs, not what it computes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The parameters that all papers have; each paper adds its own.

    Attributes
    ----------
    datasets
        Names of data sets.
    special
        Other values for single data sets, such as ``{"cifar10": {"runs": 8}}``.
    train, test
        Images to keep in all, evenly over the classes; 0 keeps all.
    seed
        Everything random follows from it.
    data_root, device, jobs, out
        Where it runs; they change no number.
    """

    datasets: Annotated[list, DATASETS]
    special: Annotated[dict, MAPPING] = dataclasses.field(default_factory=dict)
    train: Annotated[int, whole(0)]
    test: Annotated[int, whole(0)]
    seed: Annotated[int, whole(0)]
    data_root: Annotated[str, ANYTHING] = ""
    device: Annotated[str, ANYTHING] = "auto"
    jobs: Annotated[int, whole(0)] = 0
    out: Annotated[str, ANYTHING] = ""

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Take the parameters out of a mapping, such as a notebook's ``globals()``; check them.

        Raises
        ------
        ValueError
            One is missing or bad, with one sentence on what is allowed.
        """
        fields = dataclasses.fields(cls)
        taken = {f.name: values[f.name] for f in fields if f.name in values}
        missing = [f.name for f in fields if f.name not in taken and _required(f)]
        if missing:
            raise ValueError(f"The parameter {missing[0]!r} is missing: give it a value.")
        settings = cls(**{name: _typed(cls, name, value) for name, value in taken.items()})
        settings.check()
        for name in settings.datasets:
            settings.on(name)
        return settings

    def __post_init__(self) -> None:
        for name, constraint in _constraints(type(self)).items():  # type: ignore[arg-type]
            constraint.check(name, getattr(self, name))
        self._check_special()

    def _check_special(self) -> None:
        allowed = [
            f.name for f in dataclasses.fields(self) if f.name not in (*_PLACES, *self.shared())
        ]
        self.listed("special", self.special)
        for name, values in self.special.items():
            wrong = [k for k in values if k not in allowed] if type(values) is dict else [values]
            if wrong:
                close = difflib.get_close_matches(str(wrong[0]), allowed, 1)
                hint = f" (did you mean {close[0]!r}?)" if close else ""
                raise ValueError(
                    f"special of {name} has {wrong[0]!r}{hint}: allowed are {', '.join(allowed)}."
                )

    @classmethod
    def shared(cls) -> tuple[str, ...]:
        """Parameters that are the same for all data sets."""
        return ("datasets", "special", "seed")

    def check(self) -> None:
        """Refuse what does not fit together on one data set, with a ValueError."""

    def listed(self, name: str, datasets: Iterable[str]) -> None:
        """Refuse data sets that are not among this run's, with a ValueError."""
        for dataset in datasets:
            if dataset not in self.datasets:
                raise ValueError(
                    f"{name} names {dataset!r}, which is not among datasets, {self.datasets}."
                )

    def on(self, dataset: str) -> Self:
        """The parameters that hold for one data set."""
        if dataset not in self.special:
            return self
        values = {k: _typed(type(self), k, v) for k, v in self.special[dataset].items()}
        try:
            config = dataclasses.replace(self, special={}, **values)
            config.check()
        except ValueError as error:
            raise ValueError(f"special of {dataset}: {error}")
        return config

    @property
    def parameters(self) -> dict[str, Any]:
        """What determines the results, as plain JSON values."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if name not in _PLACES}

    @property
    def where(self) -> dict[str, Any]:
        """Where to compute: options of :func:`kit.steps.compute`."""
        return {"jobs": self.jobs, "device": self.device, "data_root": self.data_root}


@functools.cache
def _constraints(cls: type) -> dict[str, Constraint]:
    hints = get_type_hints(cls, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items()}


def _typed(cls: type, name: str, value: Any) -> Any:
    """A whole number where a real one is wanted is as good."""
    wanted = get_type_hints(cls).get(name)
    return float(value) if wanted is float and type(value) is int else value


def _required(field: dataclasses.Field) -> bool:
    return field.default is field.default_factory is dataclasses.MISSING
