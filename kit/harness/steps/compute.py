"""Tasks looked up in the store, scheduled, computed by workers, and kept."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import heapq
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from graphlib import TopologicalSorter
from typing import Any

import psutil

from kit import files, runtime
from kit.harness import machine, processes, progress
from kit.harness.steps import archive
from kit.harness.steps.records import Records, seconds
from kit.harness.steps.store import Result, Store
from kit.harness.steps.task import Field, Step, Task, dependencies, leaves, mapped

_FATAL = (BrokenExecutor, KeyboardInterrupt)  # nothing more can be computed
_SHOWN = 3  # failures that are told one by one


_CUDA = 0.5e9  # bytes of a GPU's memory that CUDA takes for each process, about


class Interrupted(KeyboardInterrupt):
    """The user stopped a computation; finished tasks are kept. Shown without a traceback."""

    def _render_traceback_(self) -> list[str]:  # IPython asks for it
        return [str(self)]


def compute(
    tree: Any,
    *,
    executor: Executor | None = None,
    jobs: int = 0,
    device: str = "auto",
    data_root: str = "",
    whole: bool = False,
) -> Any:
    """Results in place of tasks: read from disk, or computed side by side and kept.

    Parameters
    ----------
    tree
        Lists, tuples, dictionaries and dataclasses with tasks, or fields of tasks, in them.
    executor
        Where tasks run: anything with ``submit``, such as a process pool,
        ``dask.distributed.Client(...).get_executor()`` or MPI's. Workers receive values and return
        values; only this process touches the store. By default a pool of processes.
    jobs
        Tasks side by side; 0 means one per core (one in all on a GPU), or as many as a pool of
        ``concurrent.futures`` has workers. Other executors do not say how many they have. It
        changes no number.
    device
        As in :func:`kit.runtime.device`.
    data_root
        Data folder of the workers; empty for the project's.
    whole
        Compute again what lies in the repository without its bulky parts, such as weights.

    Returns
    -------
    tree
        Of the same shape, with a :class:`Result` for each task, which reads its arrays when they
        are asked for.

    Raises
    ------
    RuntimeError
        Some tasks failed: they raised an error, or returned what cannot be kept. All that do not
        need them were computed all the same and stay on disk. Or a worker process was killed; then
        what was finished stays.
    ValueError
        Other processes would not find a step, such as one of a notebook: use ``jobs=1``.
    Interrupted
        Likewise, when the user stops it.

    Examples
    --------
    >>> from kit.harness.steps import step
    >>> @step(version=1)
    ... def square(*, n):
    ...     return {"square": n * n}
    >>> nine = square.task(n=3)
    >>> found = compute({"nine": nine, "power": square.task(n=nine["square"])}, jobs=1)
    >>> found["power"]["square"]
    81
    >>> compute(nine, jobs=1).record["arguments"]  # read from disk
    {'n': 3}
    """
    try:
        return _compute(tree, executor, jobs, runtime.Context(device, data_root), whole)
    except Interrupted:
        raise
    except KeyboardInterrupt:  # before the first task began, or after the last one
        raise Interrupted(
            "Interrupted: finished tasks are kept; run the cell again to go on."
        ) from None


def _compute(
    tree: Any, executor: Executor | None, jobs: int, context: runtime.Context, whole: bool
) -> Any:
    store = Store(archives=archive.committed())
    files.clear_unfinished(store.folder)
    results, missing = _lookup(tree, store, whole)
    with progress.track(len(results) + len(missing), len(results)) as bar:
        if store.damaged:
            bar.note(f"{len(store.damaged)} stored results do not fit and are computed again.")
        if missing:
            files.writable(store.folder)  # known before hours of computing
            jobs = jobs or getattr(executor, "_max_workers", 0)
            most = jobs or machine.workers(0, machine.device_type(context.device))
            jobs = min(len(missing), most)
            schedule = _Schedule(missing, results, store, context, jobs, bar)
            with _running(executor, jobs, schedule) as pool:
                schedule.run(pool)
    return mapped(tree, lambda leaf: _value(leaf, results, whole=False))


def estimate(tree: Any, jobs: int = 0, device: str = "auto") -> Estimate:
    """What :func:`compute` would take, as far as records of the same steps tell.

    Parameters
    ----------
    tree, jobs, device
        As for :func:`compute`.

    Examples
    --------
    >>> from kit.harness.steps import step
    >>> @step(version=1)
    ... def square(*, n):
    ...     return {"square": n * n}
    >>> tasks = [square.task(n=n) for n in (3, 4)]
    >>> results = compute(tasks, jobs=1)
    >>> found = estimate(tasks)
    >>> found.total, found.stored
    (2, 2)
    """
    store = Store(archives=archive.committed())
    results, missing = _lookup(tree, store)
    records = Records({task.step.name for task in missing}, store)
    jobs = min(machine.workers(jobs, machine.device_type(device)), max(len(missing), 1))
    nearest = [(task, records.nearest(task)) for task in missing]
    known = [(task, record) for task, record in nearest if record]
    total = sum(seconds(task, record) for task, record in known)
    return Estimate(
        total=len(results) + len(missing),
        stored=len(results),
        unknown=len(missing) - len(known),
        seconds=total / jobs,
        memory=max((record["memory"] for _, record in known), default=0.0),
        device_memory=_device_memory(missing, store),
        gpu=any(
            record["hardware"]["device"] != "cpu" for _, record in known if "hardware" in record
        ),
        disk=sum(record.get("disk", 0.0) for _, record in known),
    )


def _device_memory(tasks: list[Task], store: Store) -> float:
    records = Records({task.step.name for task in tasks}, store, "device_memory")
    nearest = filter(None, map(records.nearest, tasks))
    return max((_CUDA + record["device_memory"] for record in nearest), default=0.0)


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What is stored of some tasks, and what the rest would take.

    Attributes
    ----------
    unknown
        How many of the rest are of steps that were never recorded.
    seconds
        Of the others, on this many workers.
    memory, device_memory, disk
        Bytes: of the largest process, of what such a process takes on a GPU, and of all results to
        come.
    gpu
        Whether the seconds are those of a GPU.
    """

    total: int
    stored: int
    unknown: int
    seconds: float
    memory: float
    disk: float
    device_memory: float = 0.0
    gpu: bool = False


def _lookup(tree: Any, store: Store, whole: bool = False) -> tuple[dict[Task, Result], list[Task]]:
    """Stored results, and the tasks to compute: dependencies first, else in the tree's order."""
    results: dict[Task, Result] = {}
    missing: dict[Task, None] = {}
    stack = [(part, False, whole) for part in reversed(_parts(tree))]
    while stack:
        part, visited, needed = stack.pop()
        task, path = (part.task, part.path) if isinstance(part, Field) else (part, ())
        if visited:
            missing[task] = None
        if task in missing or (task in results and not needed):
            continue
        stored = results.pop(task, None) or store.read(*task.identity, task.step.bulky)
        if stored is not None and (not needed or stored.has(path)):
            results[task] = stored
        else:
            stack.append((task, True, False))
            stack += [(other, False, True) for other in reversed(_parts(task.arguments))]
    return results, list(missing)


def _parts(tree: Any) -> list[Task | Field]:
    """Tasks and fields of tasks in a tree, each once, in their order."""
    return list(dict.fromkeys(leaf for leaf in leaves(tree) if isinstance(leaf, (Task, Field))))


def _value(leaf: Any, results: dict[Task, Result], whole: bool) -> Any:
    """What stands for a leaf: of a task its result, in workers (`whole`) with all arrays read."""
    if isinstance(leaf, Field):
        return results[leaf.task].field(leaf.path)
    if isinstance(leaf, Task):
        return results[leaf].field() if whole else results[leaf]
    return leaf


class _Schedule:
    """The tasks to compute: which wait for others, which run, and how long the rest will take."""

    def __init__(
        self, missing: list[Task], results: dict, store: Store, context: runtime.Context,
        jobs: int, bar: progress.Bar,
    ):  # fmt: skip
        self.missing, self.results, self.store = missing, results, store
        self.context, self.jobs, self.bar = context, jobs, bar
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
        if isinstance(pool, ProcessPoolExecutor):
            for step in {task.step.name: task.step for task in self.missing}.values():
                step.check_importable()
        running: dict[Any, Task] = {}
        while self.ready or running:
            while self.ready and len(running) < self.jobs:
                task = self.missing[heapq.heappop(self.ready)]
                self.started[task] = time.monotonic()
                self.show()
                running[self.submit(task, pool)] = task
            done = wait(running, timeout=1, return_when=FIRST_COMPLETED).done
            ended = [(running.pop(future), future) for future in done]
            fatal = [f.exception() for _, f in ended if isinstance(f.exception(), _FATAL)]
            for task, future in ended:
                self.finish(task, future)
            for failure in filter(None, fatal):
                raise failure
            self.show()
        if self.failed:
            raise RuntimeError(self.sentence()) from next(iter(self.failed.values()))

    def submit(self, task: Task, pool: Executor) -> Future:
        """Send a task to a worker, with values in place of other tasks."""
        try:
            arguments = mapped(task.arguments, lambda leaf: _value(leaf, self.results, whole=True))
        except (LookupError, TypeError) as error:  # no such part of another task's result
            future: Future = Future()
            future.set_exception(error)
            return future
        with _interrupts_spare_workers(pool):
            return pool.submit(_work, task.step, arguments, self.context)

    def finish(self, task: Task, future: Future) -> None:
        """Keep what a task returned, or note that it failed."""
        if error := future.exception():
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
        self.bar.update(
            len(self.results), self._seconds_left(), [task.label for task in self.started]
        )

    def _seconds_left(self) -> float | None:
        now, left = time.monotonic(), 0.0
        for task in self.missing:
            if task in self.results or task in self.failed or task in self.lost:
                continue
            record = self.records.nearest(task)
            if record is None:
                return None
            elapsed = now - self.started.get(task, now)
            left += max(seconds(task, record) - elapsed, 0.0)
        return left / self.jobs


@contextlib.contextmanager
def _running(executor: Executor | None, jobs: int, schedule: _Schedule) -> Iterator[Executor]:
    """The executor, or one of our own; an error or an interrupt does not wait for its tasks."""
    pool = executor or (_InProcess() if jobs == 1 else processes.process_pool(jobs))
    try:
        yield pool
    except BaseException as error:
        if executor is None:
            processes.abandon(pool)
        kept = f"{len(schedule.results)} of {schedule.bar.total} tasks are kept"
        if isinstance(error, KeyboardInterrupt):
            raise Interrupted(f"Interrupted: {kept}; run the cell again to go on.") from None
        if isinstance(error, BrokenProcessPool):
            raise RuntimeError(
                f"A worker process was killed, perhaps for lack of memory: {kept}; "
                "run again with fewer jobs."
            ) from error
        raise
    if executor is None:
        pool.shutdown()


@contextlib.contextmanager
def _interrupts_spare_workers(pool: Executor) -> Iterator[None]:
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


class _InProcess(Executor):
    """Computes in this process, at once."""

    def submit(self, function: Callable, /, *arguments: Any, **options: Any) -> Future:
        future: Future = Future()
        try:
            future.set_result(function(*arguments, **options))
        except (Exception, SystemExit) as error:
            future.set_exception(error)
        return future


def _work(step: Step, arguments: dict, context: runtime.Context) -> tuple[dict, dict]:
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
