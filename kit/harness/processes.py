"""Processes that compute side by side, and end with the one that started them."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import Executor, ProcessPoolExecutor

import psutil

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # of glibc's mallopt


def process_pool(jobs: int) -> ProcessPoolExecutor:
    """A pool of `jobs` fresh processes that end when this one ends, however it ends."""
    # A forked copy of a process in which torch has started threads may hang: always spawn.
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(jobs, mp_context=spawn, initializer=_start_worker)


def _start_worker() -> None:
    # An interrupt reaches the whole process group; only the caller answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()
    keep_memory()


def keep_memory() -> None:
    """Let this process keep the memory that it frees, where the C library is glibc.

    By default it goes back to the system and is handed out anew, page by page, in the next
    operation: a training step frees and takes all of its tensors, thousands of pages.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, size in (
            (_MMAP_THRESHOLD, 2**25),  # the most that glibc allows
            (_TRIM_THRESHOLD, 2**31 - 1),
            (_TOP_PAD, 2**26),
        ):
            mallopt(option, size)


def abandon(pool: Executor) -> None:
    """End a pool without waiting for the tasks that run in it."""
    workers = list((getattr(pool, "_processes", None) or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for worker in workers:
        worker.terminate()


def adopt_orphans() -> None:
    """Become the parent of what this process's descendants leave behind, where Linux allows it.

    A process that has started twice anew, in a session of its own, would otherwise be found by
    nobody who ends this one and all that belongs to it.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


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
