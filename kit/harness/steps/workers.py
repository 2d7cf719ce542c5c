"""Where a task runs, and what is measured while it does."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
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
