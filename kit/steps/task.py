"""Steps, and tasks as values."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
from collections.abc import Callable, Iterator
from typing import Any

from kit.steps.store import Result

REGISTRY: dict[str, Step] = {}


class Step:
    """A function whose results are kept; made by :func:`step`, called like the function itself."""

    def __init__(
        self, function: Callable, version: int, label: str, work: Callable | None,
        bulky: tuple[str, ...],
    ):  # fmt: skip
        self.function, self.version, self.bulky = function, version, bulky
        self.label, self.work = label or function.__name__, work
        functools.update_wrapper(self, function)
        self.signature = inspect.signature(function)

    def __reduce__(self) -> str:
        return self.function.__qualname__  # travels to other processes by name, as functions do

    @property
    def name(self) -> str:
        """Name in the store: experiment and function, as in ``knn_tradeoff.study``."""
        module = self.function.__module__.removeprefix("kit.experiments.").partition(".")[0]
        return f"{module}.{self.function.__name__}"

    def __call__(self, **arguments: Any) -> dict:
        """The function's result, neither read from disk nor kept there."""
        return self.function(**arguments)

    def task(self, **arguments: Any) -> Task:
        """A task: the step with its arguments, to be computed.

        Raises
        ------
        TypeError
            An argument is missing, unknown, or neither JSON nor a split nor a task.
        """
        self.signature.bind(**arguments)
        return Task(self, arguments)


def step(
    version: int, *, label: str = "", work: Callable[..., float] | None = None,
    bulky: tuple[str, ...] = (),
) -> Callable:  # fmt: skip
    """Make a function a step.

    Parameters
    ----------
    version
        Raise it whenever the function's numbers change: old entries are then left alone.
    label
        What a person reads while it runs; ``{name}`` stands for an argument.
    work
        How the work grows with the arguments, in any unit; seconds are then estimated from those of
        recorded runs of other sizes.
    bulky
        Which of its results only other tasks need, such as weights: they are not kept beside the
        tables in the repository.

    Examples
    --------
    >>> @step(version=1, label="the square of {n}")
    ... def square(*, n):
    ...     return {"square": n * n}
    >>> square(n=3)
    {'square': 9}
    >>> square.task(n=3).label
    'the square of 3'
    """

    def decorate(function: Callable) -> Step:
        decorated = Step(function, version, label, work, bulky)
        REGISTRY[decorated.name] = decorated
        return decorated

    return decorate


class Task:
    """A step with its arguments. Equal tasks have equal keys and are computed once."""

    def __init__(self, step: Step, arguments: dict):
        self.step, self.arguments = step, arguments
        self.keyed = {name: _keyed(value, name, step) for name, value in arguments.items()}
        text = json.dumps([step.name, step.version, self.keyed], sort_keys=True, allow_nan=False)
        self.key = hashlib.sha256(text.encode()).hexdigest()[:20]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Task) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.identity)

    def __getitem__(self, name: str) -> Field:
        return Field(self, (name,))

    @property
    def identity(self) -> tuple[str, str]:
        """Name of the step, and key."""
        return self.step.name, self.key

    @property
    def label(self) -> str:
        """A few words on what it does."""
        return self.step.label.format(**self.arguments)

    @property
    def work(self) -> float:
        """How much there is to do, in the unit of its step."""
        return float(self.step.work(**self.arguments)) if self.step.work else 1.0


@dataclasses.dataclass(frozen=True)
class Field:
    """A part of a task's result, by the names and positions that lead to it."""

    task: Task
    path: tuple

    def __getitem__(self, name: str | int) -> Field:
        return Field(self.task, (*self.path, name))


def _keyed(value: Any, name: str, step: Step) -> Any:
    """An argument as it enters the key: tasks by their own keys."""
    if isinstance(value, Task):
        return {"task": value.key}
    if isinstance(value, Field):
        return {"task": value.task.key, "field": list(value.path)}
    if isinstance(value, dict):
        return {str(key): _keyed(part, name, step) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_keyed(part, name, step) for part in value]
    if hasattr(value, "identity"):  # a split of data
        return {"split": value.identity}
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise TypeError(
        f"{step.name} was given {name} of type {type(value).__name__}: an argument of a task is a "
        "JSON value, a split, a task, or a field of one."
    )


def leaves(tree: Any) -> Iterator[Any]:
    """All leaves of a tree of lists, tuples, dictionaries and dataclasses.

    Examples
    --------
    >>> list(leaves({"a": [1, 2], "b": (3, {"c": 4})}))
    [1, 2, 3, 4]
    """
    collected: list[Any] = []
    mapped(tree, collected.append)
    yield from collected


def mapped(tree: Any, function: Callable[[Any], Any]) -> Any:
    """A tree of the same shape with the function's values in place of the leaves.

    Examples
    --------
    >>> mapped({"a": [1, 2], "b": (3, {"c": 4})}, lambda leaf: 10 * leaf)
    {'a': [10, 20], 'b': (30, {'c': 40})}
    """
    if isinstance(tree, (Task, Field, Result)) or hasattr(tree, "identity"):
        return function(tree)
    if isinstance(tree, dict):
        return {key: mapped(part, function) for key, part in tree.items()}
    if isinstance(tree, (list, tuple)):
        parts = [mapped(part, function) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        fields = {f.name: mapped(getattr(tree, f.name), function) for f in dataclasses.fields(tree)}
        return dataclasses.replace(tree, **fields)
    return function(tree)


def dependencies(tree: Any) -> list[Task]:
    """Tasks in a tree, each once, in their order; those they need in turn are not listed.

    Examples
    --------
    >>> @step(version=1)
    ... def square(*, n):
    ...     return {"square": n * n}
    >>> nine = square.task(n=3)
    >>> eighty_one = square.task(n=nine["square"])
    >>> dependencies([nine["square"], eighty_one, nine]) == [nine, eighty_one]
    True
    >>> dependencies(eighty_one.arguments) == [nine]
    True
    """
    tasks = [leaf.task if isinstance(leaf, Field) else leaf for leaf in leaves(tree)]
    return list(dict.fromkeys(task for task in tasks if isinstance(task, Task)))
