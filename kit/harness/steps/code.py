"""What a function computes, as far as its own code tells."""

from __future__ import annotations

import dataclasses
import dis
import functools
import hashlib
import inspect
import types
from collections.abc import Callable
from typing import Any

import numpy as np

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_OF_EVERY_CLASS = {
    "__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__annotations__",
    "__firstlineno__", "__static_attributes__", "__parameters__",
}  # fmt: skip
# Methods by which a container is changed.
_CHANGING = {
    "append", "extend", "insert", "add", "update", "setdefault", "pop", "popitem", "remove",
    "discard", "clear", "sort", "reverse", "fill",
}  # fmt: skip


def digest(function: Callable) -> str:
    """A digest of a function's code: equal for functions that compute in the same way.

    It covers the function and what it reads of its own module: functions, classes, plain values,
    and arrays, containers and objects of them, unless it changes these itself (``SEEN.append(n)``,
    ``CACHE[n] = m``). Comments and line numbers do not count, nor what lies in other modules.
    Another version of Python may give another digest.

    Examples
    --------
    >>> def twice(n):
    ...     return 2 * n
    >>> def also_twice(n):
    ...     return 2 * n  # the same
    >>> def thrice(n):
    ...     return 3 * n
    >>> digest(twice) == digest(also_twice), digest(twice) == digest(thrice)
    (True, False)
    """
    return hashlib.sha256(repr(_Reading(function).parts).encode()).hexdigest()[:20]


class _Reading:
    """What a function reads of its own module, function by function."""

    def __init__(self, function: Callable) -> None:
        first = inspect.unwrap(function)
        self.functions, self.names = [first], first.__globals__
        self.known: set[int] = set()  # containers and classes, which may hold themselves
        self._all(frozenset())  # finds the functions, and so what they change
        self.parts = self._all(frozenset().union(*(_changed(f.__code__) for f in self.functions)))

    def _all(self, changed: frozenset[str]) -> list[Any]:
        parts: list[Any] = []
        self.known.clear()
        for one in self.functions:  # grows while it is read
            parts.append(own(one))
            for name in _globals(one.__code__):
                if name in self.names and (said := self.read(self.names[name], name in changed)):
                    parts.append((name, said))
        return parts

    def read(self, value: Any, changed: bool = False) -> Any:
        """What a global says; nothing where it lies in another module, or is ``changed``."""
        if isinstance(value, _PLAIN):
            return _described(value)
        if isinstance(value, functools.partial):
            return [self.read(part) for part in (value.func, value.args, value.keywords)]
        if isinstance(value, type):
            ours = value.__module__ == self.names.get("__name__") and not self._again(value)
            return self._class(value) if ours else None
        if changed:
            return None
        if isinstance(value, (list, tuple, set, frozenset, dict)):
            return None if self._again(value) else self._container(value)
        if hasattr(value, "__array__"):
            return self._array(value)
        plain = isinstance(value, types.SimpleNamespace) or dataclasses.is_dataclass(value)
        if plain or type(value).__module__ == self.names.get("__name__"):  # an object of ours
            names = [*getattr(value, "__dict__", ()), *getattr(type(value), "__slots__", ())]
            held = {name: getattr(value, name, None) for name in names}
            return None if self._again(value) else [self.read(type(value)), self._container(held)]
        helper = inspect.unwrap(value) if callable(value) else None
        ours = isinstance(helper, types.FunctionType) and helper.__globals__ is self.names
        if ours and helper not in self.functions:
            self.functions.append(helper)
        return None

    def _again(self, value: Any) -> bool:
        seen = id(value) in self.known
        self.known.add(id(value))
        return seen

    def _container(self, value: Any) -> Any:
        if isinstance(value, dict):
            return "dict", [(repr(key), self.read(part)) for key, part in value.items()]
        parts = [self.read(part) for part in value]
        ordered = isinstance(value, (list, tuple))
        return type(value).__name__, parts if ordered else sorted(map(repr, parts))

    def _array(self, value: Any) -> Any:
        """Of an array or tensor; nothing of one of objects, which have no bytes of their own."""
        array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
        if array.dtype.hasobject:
            return None
        return str(array.dtype), array.shape, hashlib.sha256(array.tobytes()).hexdigest()

    def _class(self, value: type) -> Any:
        bases = [self.read(base) for base in value.__bases__]
        members = []
        for name, member in sorted(vars(value).items()):
            if name not in _OF_EVERY_CLASS:
                parts = [getattr(member, n, None) for n in ("__func__", "fget", "fset", "fdel")]
                members.append((name, [self.read(part) for part in (member, *parts)]))
        return bases, members


def own(function: Callable) -> Any:
    """A function's bytecode, constants and defaults, in a form that can be compared."""
    function = inspect.unwrap(function)
    return _described((function.__code__, function.__defaults__, function.__kwdefaults__))


def _described(value: Any) -> Any:
    """What a constant says, in an order that does not vary from process to process."""
    if isinstance(value, types.CodeType):
        arguments = value.co_varnames, value.co_argcount, value.co_kwonlyargcount, value.co_flags
        constants = [_described(constant) for constant in value.co_consts]
        return value.co_code.hex(), constants, value.co_names, arguments, value.co_freevars
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [_described(part) for part in value]
    if isinstance(value, (set, frozenset)):
        return type(value).__name__, sorted(repr(_described(part)) for part in value)
    if isinstance(value, dict):
        return "dict", [(_described(key), _described(part)) for key, part in value.items()]
    return type(value).__name__, repr(value)


@functools.lru_cache(maxsize=1024)
def _globals(code: types.CodeType) -> tuple[str, ...]:
    """The global names that some code reads and does not assign, functions within it included."""
    inner = [c for c in code.co_consts if isinstance(c, types.CodeType)]
    read = {name for c in inner for name in _globals(c)}
    instructions = list(dis.get_instructions(code))
    read |= {i.argval for i in instructions if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return tuple(sorted(read - {i.argval for i in instructions if i.opname == "STORE_GLOBAL"}))


@functools.lru_cache(maxsize=1024)
def _changed(code: types.CodeType) -> frozenset[str]:
    """The globals that some code changes in place, functions within it included."""
    inner = [c for c in code.co_consts if isinstance(c, types.CodeType)]
    found = {name for c in inner for name in _changed(c)}
    instructions = list(dis.get_instructions(code))
    for place, now in enumerate(instructions):
        # Just before: the object whose method is asked for; before its key, that which is filled.
        back = {"STORE_SUBSCR": 2, "DELETE_SUBSCR": 2, "STORE_ATTR": 1}.get(now.opname, 0)
        if now.opname in ("LOAD_METHOD", "LOAD_ATTR") and now.argval in _CHANGING:
            back = 1
        if back and instructions[place - back].opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            found.add(instructions[place - back].argval)
    return frozenset(found)
