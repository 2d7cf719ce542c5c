"""What a function computes, as far as its own code tells."""

from __future__ import annotations

import dis
import functools
import hashlib
import inspect
import types
from collections.abc import Callable
from typing import Any

_PLAIN = (bool, int, float, complex, str, bytes, type(None))


def digest(function: Callable) -> str:
    """A digest of a function's code: equal for functions that compute in the same way.

    It covers the function and what it reads of its own module, if that is a function too, or a
    plain value that it does not assign. Comments and line numbers do not count, nor what lies in
    other modules. Another version of Python may give another digest.

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
    parts: list[Any] = []
    functions = [inspect.unwrap(function)]
    for one in functions:  # grows while it is read
        parts.append(own(one))
        for name in _globals(one.__code__):
            value = one.__globals__.get(name, parts)
            if isinstance(value, _PLAIN):
                parts.append((name, _described(value)))
            helper = inspect.unwrap(value) if callable(value) else None
            if (
                isinstance(helper, types.FunctionType)
                and helper.__globals__ is one.__globals__
                and helper not in functions
            ):
                functions.append(helper)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:20]


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
