"""Results in place of tasks: looked up in the store, or computed and kept."""

from __future__ import annotations

import dataclasses
from concurrent.futures import Executor
from typing import Any

from kit import files, runtime
from kit.harness import machine, progress
from kit.harness.steps import archive
from kit.harness.steps.cluster import Cluster, recognised
from kit.harness.steps.interrupts import Interrupted, running
from kit.harness.steps.records import Records, names_of_data, same_data, seconds
from kit.harness.steps.schedule import Schedule, value_of
from kit.harness.steps.store import Result, Store
from kit.harness.steps.task import Field, Task, leaves, mapped

_CUDA = 0.5e9  # bytes of a GPU's memory that CUDA takes for each process, about


def compute(
    tree: Any,
    *,
    executor: Executor | str | None = None,
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
        Where tasks run: anything with ``submit``, such as a process pool, or the address of a dask
        scheduler (see :func:`kit.harness.steps.executor`). Workers receive values and return
        values; only this process touches the store. By default a pool of processes.
    jobs
        Tasks side by side; 0 means one per core (one in all on a GPU), as many as a pool of
        ``concurrent.futures`` has workers, or as many as a scheduler's workers have threads. Other
        executors do not say how many they have. It changes no number.
    device
        As in :func:`kit.runtime.device`.
    data_root
        Data folder of the workers; empty for the project's. Workers of a scheduler that is given
        by its address have their own.
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
        need them were computed all the same and stay on disk. Or a worker process was killed, or a
        scheduler or its workers cannot be used; then what was finished stays.
    ValueError
        `jobs` is no number from 0 on. Or other processes would not find a step, such as one of a
        notebook: use ``jobs=1``.
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
    jobs = machine.JOBS.check("jobs", jobs)
    try:
        pool = recognised(executor, data_root)
        root = pool.data_root if isinstance(pool, Cluster) else data_root
        return _compute(tree, pool, jobs, runtime.Context(device, root), whole)
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
            if not isinstance(executor, Cluster):  # which says itself how many it computes
                jobs = jobs or getattr(executor, "_max_workers", 0)
                most = jobs or machine.workers(0, machine.device_type(context.device))
                jobs = min(len(missing), most)
            schedule = Schedule(missing, results, store, context, jobs, bar)
            with running(executor, jobs, schedule.kept) as pool:
                schedule.run(pool)
    return mapped(tree, lambda leaf: value_of(leaf, results, whole=False))


def stored(tree: Any) -> Any:
    """Results in place of tasks if all of these are on disk, else None: nothing is computed.

    Examples
    --------
    >>> from kit.harness.steps import step
    >>> @step(version=1)
    ... def cube(*, n):
    ...     return {"cube": n**3}
    >>> task = cube.task(n=5)
    >>> stored(task) is None, compute(task, jobs=1) == stored(task)
    (True, True)
    """
    results, missing = _lookup(tree, Store(archives=archive.committed()))
    return None if missing else mapped(tree, lambda leaf: value_of(leaf, results, whole=False))


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
    elsewhere = sum(seconds(*pair) for pair in known if not same_data(*pair))
    return Estimate(
        total=len(results) + len(missing),
        stored=len(results),
        unknown=len(missing) - len(known),
        seconds=total / jobs,
        rough=elsewhere > total / 2,
        memory=max((record.get("memory", 0.0) for _, record in known), default=0.0),
        device_memory=_device_memory(missing, store),
        gpu=any(
            record["hardware"]["device"] != "cpu" for _, record in known if "hardware" in record
        ),
        disk=sum(record.get("disk", 0.0) for _, record in known),
        data=tuple(sorted(set().union(*map(names_of_data, missing)))),
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
    rough
        Whether most of the seconds are those of other data sets.
    data
        Names of the data sets that the rest needs.
    """

    total: int
    stored: int
    unknown: int
    seconds: float
    memory: float
    disk: float
    device_memory: float = 0.0
    gpu: bool = False
    rough: bool = False
    data: tuple[str, ...] = ()


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
