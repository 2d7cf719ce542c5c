"""Plans of very many tasks, and many workers: what a task costs beside its own work.

    KIT_DATA=DATA_FOLDER python -m benchmarks.scale

Plans of 1,000, 10,000 and 100,000 tasks of no work are planned, computed, looked up and packed, each
in a fresh process; and the plan of notebook 04 is scheduled for many workers, by the real scheduler
with the durations that its committed results recorded, on a clock that is only counted. It writes
benchmarks/results/scale-PROCESSOR.md and .png.
"""

from __future__ import annotations

import heapq
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import unittest.mock
from collections import namedtuple
from collections.abc import Iterable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

import run_all
from benchmarks.rows import machine_name, measured
from kit import runtime
from kit.harness import progress, runner, steps
from kit.harness.steps import archive, schedule
from kit.harness.steps.compute import _lookup
from kit.harness.steps.records import Records
from kit.harness.steps.records import seconds as judged_seconds
from kit.harness.steps.store import Store
from kit.harness.steps.task import dependencies

SIZES = (1_000, 10_000, 100_000)
PARTS = ("plan", "schedule", "store", "look up", "report")
WORKERS = (1, 8, 64)
NOTEBOOK = "04_neuroevolution_gm"
PROFILES = ("ci", "paper")
NO_TIME = {"seconds": 0.0, "work": 1.0}  # of a step that was never timed


@steps.step(version=1)
def nothing(*, n: int, before: int | None = None) -> dict:
    """Stand for a task; it needs another one, and does nothing."""
    return {"n": n}


def plan(count: int) -> list[steps.Task]:
    """A tree of tasks: each needs the one at half its place."""
    tasks = [nothing.task(n=0)]
    for n in range(1, count):
        tasks.append(nothing.task(n=n, before=tasks[n // 2]["n"]))
    return tasks


def measure(count: int) -> dict[str, float]:
    """Milliseconds for each task of a plan in each part, and kilobytes of memory."""
    seconds = dict.fromkeys(PARTS, 0.0)
    write = Store.write

    def timed(store: Store, *arguments: Any) -> steps.Result:
        started = time.perf_counter()
        result = write(store, *arguments)
        seconds["store"] += time.perf_counter() - started
        return result

    def clocked(part: str, function: Any) -> Any:
        started = time.perf_counter()
        result = function()
        seconds[part] += time.perf_counter() - started
        return result

    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tasks = clocked("plan", lambda: plan(count))
    with unittest.mock.patch.object(Store, "write", timed):
        clocked("schedule", lambda: steps.compute(tasks, jobs=1, device="cpu"))
    seconds["schedule"] -= seconds["store"]
    results = clocked("look up", lambda: steps.compute(tasks, jobs=1, device="cpu"))
    path = runtime.folder("steps") / archive.NAME
    clocked("report", lambda: archive.write(path, results, []))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    each = {f"{part} (ms)": 1000 * taken / count for part, taken in seconds.items()}
    return each | {"memory (kB)": (peak - idle) / count}


class Lab(Executor):
    """So many workers on a clock of its own: a task takes the seconds that it is sent with."""

    def __init__(self, workers: int):
        self.workers, self.now = workers, 0.0
        self.running: list[tuple[float, int, Future]] = []

    def submit(self, seconds: float, /, *arguments: Any, **options: Any) -> Future:  # type: ignore
        """Begin a task."""
        future: Future = Future()
        heapq.heappush(self.running, (self.now + seconds, id(future), future))
        return future

    def wait(self, futures: Iterable[Future], **options: Any) -> Any:
        """Let the clock go on to the end of the next task."""
        self.now, _, future = heapq.heappop(self.running)
        future.set_result(({}, {}))
        return namedtuple("Waited", "done")({future})


class Counted(schedule.Schedule):
    """Sends durations in place of tasks, and keeps nothing."""

    def submit(self, task: steps.Task, pool: Executor) -> Future:
        """Send what a task took."""
        return pool.submit(self.seconds[task])  # type: ignore

    def keep(self, task: steps.Task, result: dict, measured: dict) -> None:
        """Count it as done."""
        self.results[task] = None
        self.end(task)

    def show(self) -> None:
        """Nobody looks on."""


def simulated(tasks: list[steps.Task], seconds: dict, workers: int) -> float:
    """How long a lab takes for some tasks."""
    lab = Lab(workers)
    bar = progress.Bar(len(tasks), 0, progress.Display())
    counted = Counted(tasks, {}, Store(), runtime.Context(), workers, bar)
    counted.seconds = seconds  # type: ignore[attr-defined]
    with unittest.mock.patch.object(schedule, "wait", lab.wait):
        counted.run(lab)
    return lab.now


def critical_path(tasks: list[steps.Task], seconds: dict) -> list[steps.Task]:
    """The tasks that wait for each other and take longest together; `tasks` are in order."""
    ends: dict[steps.Task, tuple[float, steps.Task | None]] = {}
    for task in tasks:
        before = max(
            (other for other in dependencies(task.arguments) if other in ends),
            key=lambda other: ends[other][0], default=None,
        )  # fmt: skip
        ends[task] = (ends[before][0] if before else 0.0) + seconds[task], before
    path: list[steps.Task] = []
    last = max(ends, key=lambda task: ends[task][0], default=None)
    while last:
        path.append(last)
        last = ends[last][1]
    return path[::-1]


def recorded(profile: str) -> tuple[list[steps.Task], dict[steps.Task, float]]:
    """All tasks of notebook 04, those that others need first, and the seconds that each takes.

    What the committed results do not hold is judged by the nearest task in them, as estimates are.
    """
    known = runner.notebooks(run_all.NOTEBOOKS, run_all.EXPERIMENTS)
    notebook = next(n for n in known if n.name == NOTEBOOK)
    given = runner.profile(profile, known, run_all.NOTEBOOKS / "profiles")[NOTEBOOK]
    read = notebook.experiment.Settings.read(notebook.defaults() | given)
    with tempfile.TemporaryDirectory() as folder:
        empty, kept = (Store(Path(folder), found) for found in ((), archive.committed()))
        _, tasks = _lookup(notebook.experiment.plan(read), empty)
        records = Records({task.step.name for task in tasks}, empty)
        found = {task: kept.read(*task.identity) for task in tasks}
    judged = {task: records.nearest(task) for task in tasks if not found[task]}
    return tasks, {
        task: result.record["seconds"] if result else judged_seconds(task, judged[task] or NO_TIME)
        for task, result in found.items()
    }


def labs() -> tuple[list[tuple], str]:
    """How well workers are used, and the longest chain of tasks in words."""
    rows, chains = [], []
    for profile in PROFILES:
        tasks, seconds = recorded(profile)
        total = sum(seconds[task] for task in tasks)
        path = critical_path(tasks, seconds)
        longest = sum(seconds[task] for task in path)
        for workers in WORKERS:
            taken = simulated(tasks, seconds, workers)
            least = max(longest, total / workers)
            rows.append((
                profile, f"{len(tasks):,}", workers, f"{taken / 60:.1f} min",
                f"{least / 60:.1f} min", f"{total / workers / taken:.0%}", f"{least / taken:.0%}",
            ))  # fmt: skip
        names = [task.step.name.partition(".")[2] for task in path]
        counts = pd.Series(names).value_counts(sort=False)
        of = ", ".join(f"{count} × {step}" for step, count in counts.items())
        chains.append(
            f"The longest chain of `{profile}` takes {longest / 60:.1f} of {total / 60:.1f} minutes "
            f"of work: {of}. No more than {total / longest:.0f} workers can be busy all the time."
        )
    return rows, "\n".join(chains)


def main() -> None:
    """Measure, simulate, write the page and the picture."""
    points = []
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            environment = {**os.environ, "KIT_STEPS": folder, "KIT_IGNORE_COMMITTED": "1"}
            command = [sys.executable, "-m", "benchmarks.scale", str(size)]
            text = subprocess.check_output(command, cwd=runtime.root(), env=environment)
        points.append({"tasks": size, **json.loads(text)})
        print(points[-1], flush=True)
    table = pd.DataFrame(points)
    place = Path(__file__).parent / "results" / f"scale-{machine_name()}"
    draw(table).savefig(place.with_suffix(".png"), dpi=110)
    place.with_suffix(".md").write_text(as_text(table), encoding="utf-8")


def as_text(table: pd.DataFrame) -> str:
    """The page."""
    shown = table.assign(tasks=[f"{n:,}" for n in table["tasks"]])
    rows, chains = labs()
    heads = (
        "profile",
        "tasks",
        "workers",
        "time",
        "least time",
        "utilisation",
        "of the least time",
    )
    return "\n".join([
        "# Very many tasks, and many workers", "",
        f"{measured()}. `python -m benchmarks.scale`. What a task of no work costs, in one process, by the size of "
        "the plan: its place in the plan; its scheduling; its two files in the store; finding it "
        "there again; packing it into `results.zip`.", "",
        tabulate(shown, shown.columns, "pipe", floatfmt=".3g", showindex=False), "",
        "What workers would take for notebook 04, by the durations in the committed results (those of "
        "`paper` are judged by like tasks in them, and so rough) and the kit's own "
        "scheduler; sending takes no time here. *Least time*: the longest chain of tasks, or all "
        "work by the number of workers. *Utilisation*: the share of the workers' time that goes "
        "into tasks.", "",
        tabulate(rows, heads, "pipe"), "", chains, "",
    ])  # fmt: skip


def draw(table: pd.DataFrame) -> Any:
    """Milliseconds and kilobytes for each task over the size of the plan."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.5), layout="constrained")
    time_axes, memory_axes = figure.subplots(1, 2)
    for part in PARTS:
        time_axes.plot(table["tasks"], table[f"{part} (ms)"], "o-", label=part)
    memory_axes.plot(table["tasks"], table["memory (kB)"], "o-", color="#555555")
    time_axes.set(ylabel="ms for each task", xlabel="tasks", xscale="log", ylim=(0, None))
    memory_axes.set(ylabel="kB for each task", xlabel="tasks", xscale="log", ylim=(0, None))
    time_axes.legend()
    return figure


if __name__ == "__main__":
    if len(sys.argv) == 2:
        print(json.dumps(measure(int(sys.argv[1]))))
    else:
        main()
