"""Where and on what things run: folders, device, threads, seeds, processes.

This is the only room that knows a folder; nothing depends on the working directory.
"""

import contextlib
import hashlib
import multiprocessing
import os
import platform
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import joblib
import psutil
import torch

FOLDERS = {"data": "data", "steps": ".steps", "figures": "figures"}


def root():
    """Folder of the project: the checkout this module lies in, else the working directory.

    Returns
    -------
    pathlib.Path
    """
    checkout = Path(__file__).resolve().parent.parent
    return checkout if (checkout / "notebooks").is_dir() else Path.cwd()


def folder(kind, given=None):
    """Folder of one kind of files.

    Parameters
    ----------
    kind : {"data", "steps", "figures"}
        The environment variables ``KIT_DATA``, ``KIT_STEPS`` and ``KIT_FIGURES`` move them.
    given : str or pathlib.Path, optional
        Used instead, where it is not empty.

    Returns
    -------
    pathlib.Path
        An absolute path; it need not exist.
    """
    default = root() / FOLDERS[kind]
    return Path(given or os.environ.get(f"KIT_{kind.upper()}") or default).expanduser().resolve()


def writable(path):
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
def written_whole(path):
    """Write beside, then rename: the file appears complete or not at all.

    Parameters
    ----------
    path : pathlib.Path
        The file to make; its folder is made where it is missing.

    Yields
    ------
    pathlib.Path
        The place to write to, with the same suffix.

    Raises
    ------
    OSError
        For example when the disk is full; the unfinished file is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield beside
        beside.replace(path)
    except OSError as error:
        raise OSError(
            f"Could not write {path} ({error.strerror or error}): "
            "free some space or name another folder, then run again; what was finished is kept."
        ) from error
    finally:
        beside.unlink(missing_ok=True)


def device(name="auto"):
    """The torch device of a name.

    Parameters
    ----------
    name : str
        ``"auto"`` (a GPU where there is one), ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.

    Returns
    -------
    torch.device

    Raises
    ------
    ValueError
        The name is unknown, or there is no such GPU.

    Examples
    --------
    >>> device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = str(name).partition(":")
    if kind not in ("cpu", "cuda") or not (index.isdigit() or not index):
        raise ValueError(f"Unknown device {name!r}: use auto, cpu, cuda or cuda:N.")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"Device {name!r} asks for a CUDA GPU and torch finds {torch.cuda.device_count()}: "
            "use device auto or cpu, or install a CUDA build of torch and its driver."
        )
    return torch.device(name)


def hardware(where):
    """What computes: processor or GPU, threads, torch.

    Parameters
    ----------
    where : torch.device

    Returns
    -------
    dict of str to str or int
    """
    gpu = where.type == "cuda"
    return {
        "device": where.type,
        "processor": torch.cuda.get_device_name(where) if gpu else _processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__.split("+")[0],
        "python": platform.python_version(),
        "system": platform.system(),
    }


def _processor():
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@contextlib.contextmanager
def threads(count):
    """Compute with `count` threads inside the block: floating-point sums depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def derive_seed(*parts):
    """A seed for one purpose, from the study's seed and plain words and numbers.

    Examples
    --------
    >>> derive_seed(0, "split", 3) == derive_seed(0, "split", 3)
    True
    >>> derive_seed(0, "split", 3) == derive_seed(0, "split", 4)
    False
    """
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:4], "big")


def workers(jobs, where):
    """How many processes to use: `jobs`, or for 0 one per core (one in all on a GPU)."""
    if jobs < 0:
        raise ValueError(f"jobs is {jobs}: use 0 (one process per core) or a positive number.")
    available = 1 if where.type == "cuda" else joblib.cpu_count()
    return jobs or available


def process_pool(jobs):
    """A pool of `jobs` fresh processes that end when this one ends, however it ends.

    Returns
    -------
    concurrent.futures.ProcessPoolExecutor
    """
    # A forked copy of a process in which torch has started threads may hang: always spawn.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(jobs, mp_context=context, initializer=die_with_parent)


def die_with_parent(pid=None):
    """End this process as soon as its parent is gone, even by ``kill -9``.

    Parameters
    ----------
    pid : int, optional
        The parent's process number; by default that of the process which started the pool.
    """
    # Not os.getppid(): the parent may already have ended.
    pid = pid or multiprocessing.parent_process().pid

    def watch():
        while os.getppid() == pid and psutil.pid_exists(pid):
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
