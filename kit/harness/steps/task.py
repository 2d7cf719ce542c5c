"""Steps, and tasks as values."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
import math
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

from kit.constraints import plain
from kit.harness.steps import code
from kit.harness.steps.store import Result

REGISTRY: dict[str, Step] = {}
_EXPERIMENTS = "kit.experiments."
_MARKS = ({"task"}, {"task", "field"}, {"split"}, {"mapping"})  # what _keyed writes


class Step:
    """A function whose results are kept; made by :func:`step`, called like the function itself."""

    def __init__(
        self,
        function: Callable,
        version: int,
        label: str,
        work: Callable | None,
        bulky: tuple[str, ...],
    ):
        self.function, self.version, self.bulky = function, version, bulky
        self.label, self.work = label or function.__name__, work
        functools.update_wrapper(self, function)
        self.signature = inspect.signature(function)

    def __reduce__(self) -> str:
        return self.function.__qualname__  # travels to other processes by name, as functions do

    @property
    def name(self) -> str:
        """Name in the store: module and qualified name, as in ``helpers.Nets.train``.

        Of the kit's own experiments it is paper and function, as in ``knn_tradeoff.study``, under
        which their results lie in the repository.
        """
        module, place = self.origin
        if self._is_experiment:
            return f"{module.removeprefix(_EXPERIMENTS).partition('.')[0]}.{self.function.__name__}"
        return f"{module}.{place}".replace("<", "").replace(">", "")  # allowed in no file's name

    @property
    def origin(self) -> tuple[str, str]:
        """Where the function is defined: module and qualified name."""
        return self.function.__module__, self.function.__qualname__

    @property
    def _is_experiment(self) -> bool:
        return self.function.__module__.startswith(_EXPERIMENTS)

    @property
    def code(self) -> str | None:
        """What enters keys beside the version: the function's code, in the kit's experiments not.

        These have golden numbers, which tell when a version has to be raised.
        """
        return None if self._is_experiment else code.digest(self.function)

    def check_importable(self, elsewhere: bool = False) -> None:
        """Refuse a function that other processes would not find, with a ValueError.

        Those that run `elsewhere` do not run a script again, as the processes of a pool do.
        """
        module, place = self.origin
        found: Any = sys.modules.get(module)
        reachable = _reachable(found) and not (elsewhere and module == "__main__")
        for name in place.split("."):
            found = getattr(found, name, None)
        if found is not self or not reachable:
            raise ValueError(
                f"Other processes cannot import {self.name}, since it is defined in a notebook or "
                "within a function, or goes by another name: define it at the top of a module, or "
                "compute with jobs=1."
            )

    def __call__(self, **arguments: Any) -> dict:
        """The function's result, neither read from disk nor kept there."""
        return self.function(**arguments)

    def task(self, **arguments: Any) -> Task:
        """A task: the step with its arguments, to be computed.

        Numbers of NumPy's become Python's, and tuples lists.

        Raises
        ------
        TypeError
            An argument is missing, unknown, or neither JSON nor a split nor a task.
        """
        self.signature.bind(**arguments)
        return Task(self, arguments)


def step(
    version: int,
    *,
    label: str = "",
    work: Callable[..., float] | None = None,
    bulky: tuple[str, ...] = (),
) -> Callable:
    """Make a function a step.

    Its results are kept under its module and qualified name, its version and its arguments. Outside
    of the kit's own experiments its code counts, too: what is edited, in a cell of a notebook or
    elsewhere, is computed again (:func:`kit.harness.steps.code.digest` says what belongs to the
    code).

    Parameters
    ----------
    version
        Raise it whenever the function's numbers change, by what it calls, for example: old entries
        are then left alone.
    label
        What a person reads while it runs; ``{name}`` stands for an argument.
    work
        How the work grows with the arguments, in any unit; seconds are then estimated from those of
        recorded runs of other sizes.
    bulky
        Which of its results only other tasks need, such as weights: they are not kept beside the
        tables in the repository.

    Raises
    ------
    TypeError
        It is no function, or reads variables of a function around it, which no key would tell.
    ValueError
        There is another step of this name, or of this version with other code. A notebook or
        script may define a step again.

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
        bare = inspect.unwrap(function)
        if not isinstance(bare, types.FunctionType):
            raise TypeError(f"A step is a function, and {function!r} is none: write one with def.")
        if outer := bare.__code__.co_freevars:
            raise TypeError(
                f"The step {bare.__qualname__} reads {', '.join(outer)} of the function around it, "
                "which its results would not be told apart by: make it an argument."
            )
        decorated = Step(function, version, label, work, bulky)
        _check_new(decorated)
        REGISTRY[decorated.name] = decorated
        return decorated

    return decorate


def _check_new(new: Step) -> None:
    """Refuse a step under whose name the results of another one are kept."""
    old = REGISTRY.get(new.name)
    if old is None or new.origin[0] == "__main__":
        return
    if old.origin != new.origin:
        raise ValueError(
            f"{'.'.join(new.origin)} and {'.'.join(old.origin)} would share the results of a step "
            f"{new.name}: give one of them another name."
        )
    if old.version == new.version and code.own(old.function) != code.own(new.function):
        raise ValueError(
            f"There is a step {new.name} of version {new.version} with other code: raise the "
            "version if this is the same step, changed, or give it another name."
        )


def _reachable(module: Any) -> bool:
    """Will a fresh process find a module by its name, and in the same file?"""
    spec, file = getattr(module, "__spec__", None), getattr(module, "__file__", None)
    if getattr(module, "__name__", "") == "__main__":
        return bool(spec or file)  # a script is run again under another name; a notebook is not
    if spec is None:
        return False
    parent = sys.modules.get(spec.parent) if "." in spec.name else None
    path = getattr(parent, "__path__", None)
    found = (finder.find_spec(spec.name, path) for finder in sys.meta_path)
    return any(other.origin == spec.origin for other in found if other)


class Task:
    """A step with its arguments. Equal tasks have equal keys and are computed once."""

    def __init__(self, step: Step, arguments: dict):
        self.step = step
        self.arguments = {name: _argument(v, name, step) for name, v in arguments.items()}
        self.keyed = {name: _keyed(value) for name, value in self.arguments.items()}
        identity = [step.name, step.version, self.keyed, *([step.code] if step.code else [])]
        text = json.dumps(identity, sort_keys=True, allow_nan=False)
        self.key = hashlib.sha256(text.encode()).hexdigest()[:20]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Task) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.identity)

    def __getitem__(self, name: str) -> Field:
        return Field(self, (plain(name),))

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
        return Field(self.task, (*self.path, plain(name)))


def _argument(value: Any, name: str, step: Step) -> Any:
    """An argument with plain values in it: what has equal keys must compute the same."""
    value = plain(value)
    if isinstance(value, (Task, Field)) or hasattr(value, "identity"):
        return value
    if type(value) in (list, tuple):
        return [_argument(part, name, step) for part in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {str(key): _argument(part, name, step) for key, part in value.items()}
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    what = f"of type {type(value).__name__}"
    if isinstance(value, dict):
        what = "with a key that is no text"
    elif isinstance(value, float):
        what = f"with {value}"
    raise TypeError(
        f"{step.name} was given {name} {what}: an argument of a task is a JSON value, a split, a "
        "task, or a field of one."
    )


def _keyed(value: Any) -> Any:
    """An argument as it enters the key: tasks by their own keys."""
    if isinstance(value, Task):
        return {"task": value.key}
    if isinstance(value, Field):
        return {"task": value.task.key, "field": list(value.path)}
    if isinstance(value, dict):
        keyed = {key: _keyed(part) for key, part in value.items()}
        # A mapping that looks like what stands for something else.
        return {"mapping": sorted(keyed.items())} if set(keyed) in _MARKS else keyed
    if isinstance(value, list):
        return [_keyed(part) for part in value]
    return {"split": value.identity} if hasattr(value, "identity") else value


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
