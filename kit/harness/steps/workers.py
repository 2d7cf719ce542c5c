"""Where a task runs, and what is measured while it does."""

from __future__ import annotations

import contextlib
import datetime
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from typing import Any

import psutil

from kit import runtime
from kit.harness import machine
from kit.harness.steps.task import Step


class InProcess(Executor):
    """Computes in this process, at once."""

    def submit(self, function: Callable, /, *arguments: Any, **options: Any) -> Future:
        """The function's result or error, as a future that is done."""
        future: Future = Future()
        try:
            future.set_result(function(*arguments, **options))
        except (Exception, SystemExit) as error:
            future.set_exception(error)
        return future


@contextlib.contextmanager
def interrupts_spare(pool: Executor) -> Iterator[None]:
    """Worker processes that start inside never see an interrupt: the caller alone answers it.

    It reaches the whole process group, and a worker that is still importing would fill the cell
    with its traceback.
    """
    if not isinstance(pool, ProcessPoolExecutor) or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # children inherit it
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def work(step: Step, arguments: dict, context: runtime.Context) -> tuple[dict, dict]:
    """In a worker: the step's result, and what was measured."""
    started = time.perf_counter()
    with runtime.use_context(context), runtime.threads(1):
        with machine.device_memory() as held:
            result = step.function(**arguments)
        hardware = machine.hardware(runtime.device())
    return result, {
        "hardware": hardware,
        "seconds": round(time.perf_counter() - started, 2),
        "memory": psutil.Process().memory_info().rss,
        **held,
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
