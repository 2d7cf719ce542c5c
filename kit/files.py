"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil


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


_REMEDIES = {
    errno.EISDIR: "remove the folder of this name",
    errno.EROFS: "name another folder",
    errno.EACCES: "name another folder or change its permissions",
}


def owner() -> str:
    """Where this process runs, among the machines and containers that may share a folder."""
    try:
        namespace = os.stat("/proc/self/ns/pid").st_ino  # of process numbers
    except OSError:
        namespace = 0
    return f"{socket.gethostname()}-{namespace}"


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
    beside = path.with_name(f".{path.stem}.{owner()}.{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        beside.replace(path)
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "free some space or name another folder")
        raise OSError(
            f"Could not write {path} ({error.strerror or error}): {remedy}, then run again; what "
            "was finished is kept."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def clear_unfinished(path: Path) -> None:
    """Delete what killed processes of this machine left behind in :func:`atomic_write`."""
    for beside in path.glob(f"*/.*.{owner()}.*"):
        pid = beside.stem.rpartition(".")[2]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            beside.unlink(missing_ok=True)
