"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
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
