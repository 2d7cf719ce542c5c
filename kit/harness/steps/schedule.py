"""Tasks in the order of their needs: sent to workers, kept, and what failed told."""

from __future__ import annotations

import heapq
import time
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from graphlib import TopologicalSorter
from typing import Any

from kit import runtime
from kit.harness import progress
from kit.harness.steps.cluster import Cluster
from kit.harness.steps.interrupts import interrupts_spare
from kit.harness.steps.records import Records, seconds
from kit.harness.steps.store import Result, Store
from kit.harness.steps.task import Field, Step, Task, dependencies, mapped
from kit.harness.steps.workers import UnfitWorkerError, source, versions, work

_FATAL = (BrokenExecutor, KeyboardInterrupt, UnfitWorkerError)  # nothing more can be computed
_SHARE = 0.02  # of the time that may go into estimates of the time left
_SHOWN = 3  # failures that are told one by one


class Schedule:
    """The tasks to compute: which wait for others, which run, and how long the rest will take."""

    def __init__(
        self,
        missing: list[Task],
        results: dict,
        store: Store,
        context: runtime.Context,
        jobs: int,
        bar: progress.Bar,
    ):
        self.missing, self.results, self.store = missing, results, store
        self.context, self.jobs, self.bar = context, jobs, bar
        self.most, self.remarked = jobs, ""
        self.left: float | None = None
        self.next_estimate = 0.0
        self.source, self.wanted = source(), dict[Step, dict[str, str]]()
        self.records = Records({task.step.name for task in missing}, store)
        self.started: dict[Task, float] = {}
        self.failed: dict[Task, BaseException] = {}
        self.lost: set[Task] = set()  # what needs a failed task
        self.place = {task: place for place, task in enumerate(missing)}
        self.needs = {
            task: [other for other in dependencies(task.arguments) if other in self.place]
            for task in missing
        }
        self.order = TopologicalSorter(self.needs)
        self.order.prepare()
        self.ready: list[int] = []  # places, as a heap: what stands first is computed first
        self.release()

    def run(self, pool: Executor) -> None:
        """Compute all of them that can be, as many at once as there are jobs."""
        if isinstance(pool, (ProcessPoolExecutor, Cluster)):
            for step in {task.step.name: task.step for task in self.missing}.values():
                step.check_importable(elsewhere=isinstance(pool, Cluster))
        if isinstance(pool, Cluster):
            pool.begin(self.missing, self.source, self.context, self.remark)
        running: dict[Any, Task] = {}
        while self.ready or running:
            self.look(pool)
            while self.ready and len(running) < self.jobs:
                task = self.missing[heapq.heappop(self.ready)]
                self.started[task] = time.monotonic()
                self.show()
                running[self.submit(task, pool)] = task
            done = wait(running, timeout=1, return_when=FIRST_COMPLETED).done
            ended = [(running.pop(future), future) for future in done]
            fatal = [error for _, f in ended if isinstance(error := error_of(f), _FATAL)]
            for task, future in ended:
                self.finish(task, future)
            if fatal:
                self.look(pool)  # says more of a scheduler that is gone
                raise fatal[0]
            self.show()
        if self.failed:
            raise RuntimeError(self.sentence()) from next(iter(self.failed.values()))

    def look(self, pool: Executor) -> None:
        """See how many tasks fit, where workers come and go, and what keeps them waiting."""
        if isinstance(pool, Cluster):
            room = max(1, pool.room(self.remark))
            self.jobs = min(room, self.most) if self.most else room

    def remark(self, trouble: str) -> None:
        """Say once what keeps tasks waiting; nothing while it is empty."""
        if trouble and trouble != self.remarked:
            self.bar.note(f"{trouble} {self.kept()}.")
        self.remarked = trouble

    def submit(self, task: Task, pool: Executor) -> Future:
        """Send a task to a worker, with values in place of other tasks."""
        try:
            arguments = mapped(
                task.arguments, lambda leaf: value_of(leaf, self.results, whole=True)
            )
        except (LookupError, TypeError) as error:  # no such part of another task's result
            future: Future = Future()
            future.set_exception(error)
            return future
        if task.step not in self.wanted:
            self.wanted[task.step] = versions(task.step, self.source)
        wanted = self.wanted[task.step]
        with interrupts_spare(pool):
            return pool.submit(work, task.step, wanted, arguments, self.context)

    def finish(self, task: Task, future: Future) -> None:
        """Keep what a task returned, or note that it failed."""
        if error := error_of(future):
            self.fail(task, error)
            return
        try:
            self.keep(task, *future.result())
        except (TypeError, ValueError, RecursionError) as refused:  # it cannot be kept
            self.fail(task, refused)

    def fail(self, task: Task, error: BaseException) -> None:
        """Note why a task failed."""
        self.failed[task] = error
        self.end(task)

    def sentence(self) -> str:
        """What failed, what was lost with it, and what is kept."""
        reasons = [f"{t.label} ({type(e).__name__}: {e})" for t, e in self.failed.items()]
        shown = "; ".join(reasons[:_SHOWN]) + ("; …" if len(reasons) > _SHOWN else "")
        needing = f", {len(self.lost)} that need them were not begun" if self.lost else ""
        return (
            f"{len(self.failed)} of {self.bar.total} tasks failed{needing}, and "
            f"{len(self.results)} are kept: {shown}"
        )

    def kept(self) -> str:
        """How many results are stored."""
        return f"{len(self.results)} of {self.bar.total} tasks are kept"

    def keep(self, task: Task, result: dict, measured: dict) -> None:
        """Store a result."""
        about = {"step": task.step.name, "version": task.step.version, "arguments": task.keyed}
        record = about | {"work": task.work} | measured
        self.results[task] = self.store.write(*task.identity, result, record, task.step.bulky)
        self.records.add(record)
        self.end(task)

    def end(self, task: Task) -> None:
        """Go on with the tasks that waited for one alone."""
        del self.started[task]
        self.order.done(task)
        self.release()

    def release(self) -> None:
        """Note which tasks wait for no others; what needs a failed one is lost."""
        while waiting := self.order.get_ready():
            for task in waiting:
                if any(other in self.failed or other in self.lost for other in self.needs[task]):
                    self.lost.add(task)
                    self.order.done(task)
                else:
                    heapq.heappush(self.ready, self.place[task])

    def show(self) -> None:
        """Tell the bar how things stand."""
        now = time.monotonic()
        if now >= self.next_estimate:  # it looks at all tasks, which may be very many
            self.left = self._seconds_left(now)
            self.next_estimate = now + (time.monotonic() - now) / _SHARE
        self.bar.update(len(self.results), self.left, [task.label for task in self.started])

    def _seconds_left(self, now: float) -> float | None:
        left = 0.0
        for task in self.missing:
            if task in self.results or task in self.failed or task in self.lost:
                continue
            record = self.records.nearest(task)
            if record is None:
                return None
            elapsed = now - self.started.get(task, now)
            left += max(seconds(task, record) - elapsed, 0.0)
        return left / self.jobs


def error_of(future: Future) -> BaseException | None:
    """What a task raised; an executor whose scheduler is gone cancels its tasks instead."""
    try:
        return future.exception()
    except CancelledError:
        return BrokenExecutor("it has cancelled its tasks; is its scheduler still there?")


def value_of(leaf: Any, results: dict[Task, Result], whole: bool) -> Any:
    """What stands for a leaf: of a task its result, in workers (`whole`) with all arrays read."""
    if isinstance(leaf, Field):
        return results[leaf.task].field(leaf.path)
    if isinstance(leaf, Task):
        return results[leaf].field() if whole else results[leaf]
    return leaf
