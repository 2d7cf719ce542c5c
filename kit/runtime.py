"""Where and on what a task runs: folders, device, threads, seeds.

This is the only module that knows a folder; nothing depends on the working directory. It imports
torch only where a device or a thread count is asked for.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.constraints import SEED, plain

if TYPE_CHECKING:
    import torch

# Held by what lends a process's shared state for a while: the modes of a net, global generators.
TURNS = threading.RLock()
FOLDERS = {"data": "data", "steps": ".steps", "figures": "figures"}


@dataclasses.dataclass(frozen=True)
class Context:
    """Where a task runs: no part of what it computes, so no argument of it and not in its key."""

    device: str = "auto"
    data_root: str = ""


_AUTOMATIC = Context()
_CONTEXT: contextvars.ContextVar[Context] = contextvars.ContextVar("context", default=_AUTOMATIC)


def context() -> Context:
    """The context of the running task; outside of tasks the automatic one."""
    return _CONTEXT.get()


@contextlib.contextmanager
def use_context(new: Context) -> Iterator[None]:
    """Run the block in a context."""
    token = _CONTEXT.set(new)
    try:
        yield
    finally:
        _CONTEXT.reset(token)


def root() -> Path:
    """Folder of the project: the checkout this module lies in, else the working directory."""
    checkout = Path(__file__).resolve().parent.parent
    return checkout if (checkout / "notebooks").is_dir() else Path.cwd()


def folder(kind: str, path: str | Path | None = None) -> Path:
    """Absolute path of the folder for one kind of files; it need not exist.

    Parameters
    ----------
    kind
        ``"data"``, ``"steps"`` or ``"figures"``. The environment variables ``KIT_DATA``,
        ``KIT_STEPS`` and ``KIT_FIGURES`` move them.
    path
        Used instead, where it is not empty.

    Raises
    ------
    ValueError
        It begins with the home folder of somebody unknown.
    """
    default = root() / FOLDERS[kind]
    named = Path(path or os.environ.get(f"KIT_{kind.upper()}") or default)
    try:
        return named.expanduser().resolve()
    except RuntimeError:
        raise ValueError(f"The folder {named} is in nobody's home: write it without a ~.")


def device(name: str | None = None) -> torch.device:
    """The torch device of a name.

    Parameters
    ----------
    name
        ``"auto"`` (a GPU where there is one), ``"cpu"``, ``"cuda"`` or ``"cuda:N"``; by default
        that of the :func:`context`.

    Raises
    ------
    ValueError
        The name is unknown, or there is no such GPU.

    Examples
    --------
    >>> device("cpu")
    device(type='cpu')
    """
    import torch

    name = context().device if name is None else name
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, index = kind_and_index(name)
    if kind == "cuda" and index >= torch.cuda.device_count():
        raise ValueError(
            f"Device {name!r} asks for a CUDA GPU and torch finds {torch.cuda.device_count()}: "
            "use device auto or cpu, or install a CUDA build of torch and its driver."
        )
    return torch.device(name)


def kind_and_index(name: str) -> tuple[str, int]:
    """The kind of device and its number; a ValueError where the name is unknown."""
    kind, _, index = str(name).partition(":")
    known = kind in ("cpu", "cuda") and (not index or (index.isascii() and index.isdigit()))
    if not known:
        raise ValueError(f"Unknown device {name!r}: use auto, cpu, cuda or cuda:N.")
    return kind, int(index or 0)


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with `count` threads inside the block: floating-point sums depend on it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def derive_seed(*parts: object) -> int:
    """A seed for one purpose, from the study's seed and plain words and numbers.

    Parameters
    ----------
    *parts
        Numbers, words, booleans or None, or lists and tuples of them. A number of NumPy's counts as
        the Python number of its kind that it equals. Kinds differ: 1, 1.0, True and ``"1"`` give
        four seeds.

    Returns
    -------
    int
        From 0 to 2³² − 1.

    Raises
    ------
    TypeError
        A part is something else, whose text would not say what it is.

    Examples
    --------
    >>> derive_seed(0, "split", 3) == derive_seed(0, "split", 3)
    True
    >>> derive_seed(0, "split", 3) == derive_seed(0, "split", 4)
    False
    """
    parts = plain(parts)
    _check_parts(parts)
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:4], "big")


def _check_parts(parts: Any) -> None:
    for part in parts:
        if type(part) in (list, tuple):
            _check_parts(part)
        elif part is not None and type(part) not in (bool, int, float, str):
            raise TypeError(
                f"A seed cannot be derived from a {type(part).__name__}: use numbers and words."
            )


class Draws:
    """A seed for all that torch's global generators draw inside the block, such as dropout's masks.

    Outside, the generators are as they were. A block entered again goes on where it was left.
    Threads take turns, since the generators are the process's.

    Parameters
    ----------
    seed
        From 0 on.
    device
        Where to draw, besides the CPU.

    Examples
    --------
    >>> import torch
    >>> draws, before = Draws(0), torch.get_rng_state()
    >>> with draws:
    ...     first = torch.rand(2)
    >>> with draws:
    ...     second = torch.rand(2)
    >>> torch.equal(torch.get_rng_state(), before)
    True
    >>> with Draws(0):
    ...     torch.equal(torch.rand(2), first), torch.equal(torch.rand(2), second)
    (True, True)
    """

    def __init__(self, seed: int, device: torch.device | None = None) -> None:
        import torch

        seed = SEED.check("seed", seed)
        self.generators = [torch.default_generator]
        if device is not None and device.type == "cuda":
            self.generators.append(torch.cuda.default_generators[device.index])
        self.states = [
            torch.Generator(generator.device).manual_seed(seed).get_state()
            for generator in self.generators
        ]

    def __enter__(self) -> None:
        TURNS.acquire()
        self._swap()

    def __exit__(self, *error: object) -> None:
        self._swap()
        TURNS.release()

    def _swap(self) -> None:
        """Exchange the generators' states with those kept."""
        before = [generator.get_state() for generator in self.generators]
        for generator, state in zip(self.generators, self.states, strict=True):
            generator.set_state(state)
        self.states = before

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the block for a while, as for a caller's own code."""
        self.__exit__()
        try:
            yield
        finally:
            self.__enter__()
