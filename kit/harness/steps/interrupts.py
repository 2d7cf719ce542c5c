"""What happens on Ctrl-C, and when a worker dies: tasks stop, and what is finished is kept."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from kit.harness import processes
from kit.harness.steps.cluster import Cluster
from kit.harness.steps.workers import InProcess, UnfitWorkerError


class Interrupted(KeyboardInterrupt):
    """The user stopped a computation; finished tasks are kept. Shown without a traceback."""

    def _render_traceback_(self) -> list[str]:  # IPython asks for it
        return [str(self)]


@contextlib.contextmanager
def running(executor: Executor | None, jobs: int, kept: Callable[[], str]) -> Iterator[Executor]:
    """The executor, or one of our own; an error or an interrupt does not wait for its tasks.

    `kept` says what of the results is stored by then.
    """
    pool = executor or (InProcess() if jobs == 1 else processes.process_pool(jobs))
    try:
        yield pool
    except BaseException as error:
        if executor is None:
            processes.abandon(pool)
        if isinstance(error, KeyboardInterrupt):
            raise Interrupted(f"Interrupted: {kept()}; run the cell again to go on.") from None
        if isinstance(error, BrokenProcessPool):
            raise RuntimeError(
                f"A worker process was killed, perhaps for lack of memory: {kept()}; "
                "run again with fewer jobs."
            ) from error
        if isinstance(error, BrokenExecutor):
            raise RuntimeError(f"The executor has ended: {error} {kept()}.") from error
        if isinstance(error, UnfitWorkerError):
            raise RuntimeError(f"{error} {kept()}.") from error
        raise
    finally:
        if isinstance(pool, Cluster):
            pool.settle()
    if executor is None:
        pool.shutdown()


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
