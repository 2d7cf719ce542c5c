"""A paper's parameters: declared once, with their bounds, and read from a notebook's names.

Examples
--------
>>> @dataclasses.dataclass(frozen=True, kw_only=True)
... class Tiny(Settings):
...     runs: Annotated[int, whole(1)]
...     net: Annotated[str, TEXT]
>>> common = {"datasets": ["digits"], "train": 0, "test": 0, "seed": 0}
>>> c = Tiny.read(common | {"runs": 3, "net": "lenet5", "special": {"digits": {"runs": 5}}})
>>> c.runs, c.net, c.on("digits").runs
(3, 'lenet5', 5)
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self, get_type_hints

from kit.constraints import (
    ANYTHING,
    MAPPING,
    SEED,
    TEXT,
    Constraint,
    ListOf,
    in_one_line,
    whole,
)
from kit.harness import guidance

ADDRESS = Constraint(
    lambda value: bool(re.fullmatch(r"|(tcp|tls)://\S+:\d{1,5}", str(value))),
    "write it as tcp://host:8786 or tls://host:8786",
    {"type": "string", "pattern": r"^$|^(tcp|tls)://\S+:\d{1,5}$"},
)
DATASETS = ListOf(TEXT, "list at least one name, such as ['digits']")
_PLAIN = (str, int, float, bool, list, dict)  # types of parameters
PLACES = ("data_root", "device", "jobs", "scheduler", "out")  # where it runs, not what it computes


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
    data_root, device, jobs, scheduler, out
        Where it runs; they change no number.
    """

    datasets: Annotated[list, DATASETS]
    special: Annotated[dict, MAPPING] = dataclasses.field(default_factory=dict)
    train: Annotated[int, whole(0)]
    test: Annotated[int, whole(0)]
    seed: Annotated[int, SEED]
    data_root: Annotated[str, ANYTHING] = ""
    device: Annotated[str, ANYTHING] = "auto"
    jobs: Annotated[int, whole(0)] = 0
    scheduler: Annotated[str, ADDRESS] = ""
    out: Annotated[str, ANYTHING] = ""

    @classmethod
    @in_one_line
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Take the parameters out of a mapping, such as a notebook's ``globals()``; check them.

        Raises
        ------
        ValueError
            One is missing or bad, or its line in the parameters cell is mistyped, with one sentence
            on what is allowed.
        """
        fields = dataclasses.fields(cls)
        required = [f.name for f in fields if _required(f)]
        settings = cls(**_taken(values, [f.name for f in fields], required))
        settings.check()
        for name in settings.all_datasets:
            settings.on(name)
        return settings

    def __post_init__(self) -> None:
        for name, constraint in self.declared().items():
            # Frozen, and here still in the making.
            object.__setattr__(self, name, constraint.check(name, getattr(self, name)))
        self._check_special()

    def _check_special(self) -> None:
        allowed = self.may_be_special()
        for name, values in self.special.items():
            if name not in self.all_datasets:
                raise ValueError(
                    f"special names {name!r}, which is not among this run's data sets, "
                    f"{self.all_datasets}."
                )
            wrong = [k for k in values if k not in allowed] if type(values) is dict else [values]
            if wrong:
                close = difflib.get_close_matches(str(wrong[0]), allowed, 1)
                hint = f" (did you mean {close[0]!r}?)" if close else ""
                raise ValueError(
                    f"special of {name} has {wrong[0]!r}{hint}: allowed are {', '.join(allowed)}."
                )

    @classmethod
    @functools.cache
    def declared(cls) -> dict[str, Constraint]:
        """What each parameter must be."""
        hints = get_type_hints(cls, include_extras=True)
        return {name: hint.__metadata__[0] for name, hint in hints.items()}

    @classmethod
    def may_be_special(cls) -> list[str]:
        """Parameters that may have other values on single data sets."""
        return [name for name in cls.declared() if name not in (*PLACES, *cls.shared())]

    @classmethod
    def shared(cls) -> tuple[str, ...]:
        """Parameters that are the same for all data sets."""
        return ("datasets", "special", "seed")

    def check(self) -> None:
        """Refuse what does not fit together on one data set, with a ValueError."""

    @property
    def all_datasets(self) -> list[str]:
        """Every data set of a run: `datasets`, and what a paper has besides."""
        return list(self.datasets)

    @property
    def read_datasets(self) -> list[str]:
        """Every data set whose images a run reads; it may read some that have no parameters."""
        return self.all_datasets

    def is_there(self, dataset: str) -> bool:
        """Is a data set on disk?"""
        return True

    def fetch(self, dataset: str) -> None:
        """Put a data set on disk, or say with an OSError that it cannot be had."""

    def unknown(self) -> list[str]:
        """Data sets that would have to be fetched to plan the study."""
        return []

    def comparisons(self, dataset: str) -> dict[str, tuple[int, int | None]]:
        """What claims compare: repeats, and those of a second, independent sample if there is one.

        They limit the smallest effect that the claims can decide.
        """
        return {}

    def remarks(self, plan: Any) -> list[str]:
        """What else is to be known of a study before it runs, a line each."""
        return []

    def on(self, dataset: str) -> Self:
        """The parameters that hold for one data set."""
        if dataset not in self.special:
            return self
        try:
            config = dataclasses.replace(self, special={}, **self.special[dataset])
            config.check()
        except ValueError as error:
            raise ValueError(f"special of {dataset}: {error}")
        return config

    @property
    def parameters(self) -> dict[str, Any]:
        """What determines the results, as plain JSON values."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if name not in PLACES}

    @property
    def where(self) -> dict[str, Any]:
        """Where to compute: options of :func:`kit.harness.steps.compute`."""
        return {
            "executor": self.scheduler or None,
            "jobs": self.jobs,
            "device": self.device,
            "data_root": self.data_root,
        }


@in_one_line
def check(values: Mapping[str, Any], **constraints: Constraint) -> None:
    """Check the parameters of a notebook that has no `Settings`.

    Parameters
    ----------
    values
        The notebook's ``globals()``.
    **constraints
        What each parameter must be.

    Raises
    ------
    ValueError
        As :meth:`Settings.read`.

    Examples
    --------
    >>> check({"epochs": 8}, epochs=whole(1))
    """
    for name, value in _taken(values, list(constraints), list(constraints)).items():
        constraints[name].check(name, value)


def _taken(
    values: Mapping[str, Any], known: Sequence[str], required: Sequence[str]
) -> dict[str, Any]:
    """The parameters among a notebook's names."""
    guidance.explain_errors()
    _check_lines(values.get("__annotations__", {}), known)
    _check_assignments(values.get("In", ()), known, required)
    taken = {name: values[name] for name in known if name in values}
    if not taken:
        raise ValueError("The parameters have no values yet: first run the cell that sets them.")
    missing = [name for name in required if name not in taken]
    if missing:
        others = [name for name in values if name not in taken and type(values[name]) in _PLAIN]
        close = _like(missing[0], others)
        hint = f" (is {close!r} a typing error?)" if close else ""
        raise ValueError(f"The parameter {missing[0]!r} is missing{hint}: give it a value.")
    return taken


def _check_lines(annotations: dict[str, Any], known: Sequence[str]) -> None:
    """Refuse mistyped lines of the parameters cell, ``zz: int = 5`` and ``runs: 12``.

    In a running kernel the right name would still have its old value. A name that is unlike any
    parameter's is a variable of another cell. What is refused is forgotten, so that the corrected
    cell can be run.
    """
    for name in list(annotations):
        if name not in known and (close := _like(name, known)):
            del annotations[name]
            raise ValueError(_unknown(name, close))
        if (
            name in known
            and type(value := annotations[name]) in _PLAIN
            and not isinstance(value, str)
        ):
            del annotations[name]
            kind = type(value).__name__
            raise ValueError(
                f"The line {name}: {value!r} gives it no value: write {name}: {kind} = {value!r}."
            )


def _check_assignments(cells: Sequence[str], known: Sequence[str], most: Sequence[str]) -> None:
    """Refuse ``epsilom = 0.3`` in the parameters cell, the last that sets `most` of them.

    Parameters
    ----------
    cells
        The sources that a kernel has run, IPython's ``In``; what follows in other cells is no
        parameter.
    """
    for source in reversed(cells):
        names = guidance.made(source)
        if len(names & set(most)) > len(most) / 2:
            for name in sorted(names - set(known)):
                if close := _like(name, known):
                    raise ValueError(_unknown(name, close))
            return


def _unknown(name: str, close: str) -> str:
    return f"There is no parameter {name!r}, so that it changes nothing: did you mean {close!r}?"


def _like(name: str, names: Sequence[str]) -> str:
    """The name that is most like another one, capitals aside; empty if none is."""
    lower = {other.lower(): other for other in names}
    close = difflib.get_close_matches(name.lower(), list(lower), 1)
    return lower[close[0]] if close else ""


def _required(field: dataclasses.Field) -> bool:
    return field.default is field.default_factory is dataclasses.MISSING
