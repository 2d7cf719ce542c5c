"""Where and on what things run: folders, device, threads, seeds, processes.

This is the only module that knows a folder; nothing depends on the working directory. It imports
torch only where a device or a thread count is asked for.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import hashlib
import multiprocessing
import os
import platform
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

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
    """
    default = root() / FOLDERS[kind]
    return Path(path or os.environ.get(f"KIT_{kind.upper()}") or default).expanduser().resolve()


def writable(path: Path) -> Path:
    """Make a folder and show that files can be written there.

    Raises
    ------
    OSError
        With one sentence that names the folder.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        raise OSError(
            f"Cannot write to the folder {path} ({error.strerror}): "
            "name another one or change its permissions."
        ) from error


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Write beside, then rename: the file appears complete or not at all.

    Yields
    ------
    pathlib.Path
        The place to write to, with the same suffix, in the same folder.

    Raises
    ------
    OSError
        For example when the disk is full; the unfinished file is removed.
    """
    beside = path.with_name(f".{path.stem}.{socket.gethostname()}.{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        beside.replace(path)
    except OSError as error:
        raise OSError(
            f"Could not write {path} ({error.strerror or error}): "
            "free some space or name another folder, then run again; what was finished is kept."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def clear_unfinished(path: Path) -> None:
    """Delete what killed processes of this machine left behind in :func:`atomic_write`."""
    for beside in path.glob(f"*/.*.{socket.gethostname()}.*"):
        pid = beside.stem.rpartition(".")[2]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            beside.unlink(missing_ok=True)


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
    kind, index = _kind_and_index(name)
    if kind == "cuda" and index >= torch.cuda.device_count():
        raise ValueError(
            f"Device {name!r} asks for a CUDA GPU and torch finds {torch.cuda.device_count()}: "
            "use device auto or cpu, or install a CUDA build of torch and its driver."
        )
    return torch.device(name)


def _kind_and_index(name: str) -> tuple[str, int]:
    kind, _, index = str(name).partition(":")
    known = kind in ("cpu", "cuda") and (not index or (index.isascii() and index.isdigit()))
    if not known:
        raise ValueError(f"Unknown device {name!r}: use auto, cpu, cuda or cuda:N.")
    return kind, int(index or 0)


def device_type(name: str) -> str:
    """``"cpu"`` or ``"cuda"``; torch is asked only where a GPU may be, whether there is one.

    Raises
    ------
    ValueError
        The name is unknown.
    """
    if name == "auto":
        return device(name).type if has_driver() else "cpu"
    return _kind_and_index(name)[0]


def has_driver() -> bool:
    """Is NVIDIA's driver here? Without one there is no GPU to be used."""
    return bool(shutil.which("nvidia-smi")) or Path("/dev/nvidiactl").exists()


def hardware(where: torch.device) -> dict[str, str | int]:
    """What computes: processor or GPU, threads, versions."""
    import torch

    gpu = where.type == "cuda"
    return {
        "device": where.type,
        "processor": torch.cuda.get_device_name(where) if gpu else _processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__.split("+")[0],
        "python": platform.python_version(),
        "system": platform.system(),
    }


@contextlib.contextmanager
def device_memory() -> Iterator[dict[str, int]]:
    """Measure the bytes that the block takes on a GPU: ``device_memory``, after its end."""
    import torch

    held: dict[str, int] = {}
    gpu = device() if torch.cuda.is_available() else None
    if gpu is None or gpu.type != "cuda":
        yield held
        return
    torch.cuda.reset_peak_memory_stats(gpu)
    yield held
    held["device_memory"] = torch.cuda.max_memory_allocated(gpu)


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


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


def workers(jobs: int, kind: str) -> int:
    """How many processes to use: `jobs`, or for 0 one per core (one in all on a GPU).

    Parameters
    ----------
    jobs
        From 0 on.
    kind
        Type of the device: ``"cpu"`` or ``"cuda"``.
    """
    if jobs < 0:
        raise ValueError(f"jobs is {jobs}: use 0 (one process per core) or a positive number.")
    if jobs or kind == "cuda":
        return jobs or 1
    import joblib  # knows what share of the cores a container may use

    return joblib.cpu_count()


def process_pool(jobs: int) -> ProcessPoolExecutor:
    """A pool of `jobs` fresh processes that end when this one ends, however it ends."""
    # A forked copy of a process in which torch has started threads may hang: always spawn.
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(jobs, mp_context=spawn, initializer=_start_worker)


def _start_worker() -> None:
    # An interrupt reaches the whole process group; only the caller answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()


def abandon(pool: Executor) -> None:
    """End a pool without waiting for the tasks that run in it."""
    workers = list((getattr(pool, "_processes", None) or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for worker in workers:
        worker.terminate()


def die_with_parent(pid: int | None = None) -> None:
    """End this process as soon as its parent is gone, even by ``kill -9``.

    Parameters
    ----------
    pid
        The parent's process number; by default that of the process which started the pool.
    """
    # Not os.getppid(): the parent may already have ended.
    parent = multiprocessing.parent_process()
    pid = pid or (parent.pid if parent else None) or os.getppid()

    def watch() -> None:
        while os.getppid() == pid and psutil.pid_exists(pid):
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
