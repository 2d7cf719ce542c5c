"""What a cluster adds to a task: throughput by one and two workers, and the caller's own time.

    python -m benchmarks.cluster

A real scheduler and workers of one thread on this machine; two cores at least, and nothing else on
them. It writes benchmarks/results/cluster-PROCESSOR.md.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from tabulate import tabulate

from benchmarks.rows import machine_name, measured
from kit import runtime
from kit.harness import steps
from kit.harness.steps.cluster import _connected

sys.path.append(str(runtime.root() / "tests"))  # the scheduler and its workers belong to the tests

TASKS, SIZE = 60, 700
EMPTY = 300


@steps.step(version=1)
def busy(*, n: int, rounds: int) -> dict:
    """Keep one core busy for some time: products of matrices."""
    matrix = np.random.default_rng(n).random((SIZE, SIZE), dtype=np.float32)
    for _ in range(rounds):
        matrix = matrix @ matrix
        matrix /= matrix.max()
    return {"sum": float(matrix.sum())}


def calibrated(seconds: float) -> int:
    """Rounds that take so long on one thread."""
    started = time.perf_counter()
    with runtime.threads(1):
        busy(n=0, rounds=20)
    return max(1, round(20 * seconds / (time.perf_counter() - started)))


def timed(tasks: list[steps.Task], address: str) -> tuple[float, float]:
    """Seconds that tasks take, and seconds of the caller's processor for it."""
    wall, processor = time.perf_counter(), time.process_time()
    steps.compute(tasks, executor=address)
    return time.perf_counter() - wall, time.process_time() - processor


def measure() -> list[tuple]:
    """Rows of the table."""
    from small_cluster import CODE, SmallCluster

    rounds, rows, seconds = calibrated(0.5), [], {}
    with tempfile.TemporaryDirectory() as folder:
        for workers in (1, 2):
            place = Path(folder, str(workers))
            place.mkdir()
            with SmallCluster(place, code=CODE) as lab:
                lab.workers(*"ab"[:workers])
                with _connected(lab.address) as client:
                    client.run(runtime.device, "cpu")  # imports torch
                timed([busy.task(n=workers * 100 + n, rounds=1) for n in range(4)], lab.address)
                tasks = [busy.task(n=workers * 1000 + n, rounds=rounds) for n in range(TASKS)]
                seconds[workers], _ = timed(tasks, lab.address)
                empty = [busy.task(n=workers * 10_000 + n, rounds=0) for n in range(EMPTY)]
                wall, own = timed(empty, lab.address)
            rows.append((
                workers, f"{TASKS / seconds[workers]:.2f}",
                f"{seconds[1] / seconds[workers]:.2f} ×",
                f"{1000 * own / EMPTY:.1f} ms", f"{1000 * wall / EMPTY:.1f} ms",
            ))  # fmt: skip
    return rows


def main() -> None:
    """Measure and write the page."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"KIT_STEPS": folder, "KIT_IGNORE_COMMITTED": "1"}
        rows = measure()
    heads = (
        "workers", "tasks of 0.5 s in a second", "speed", "caller's processor time for a task",
        "an empty task",
    )  # fmt: skip
    text = (
        "# What a cluster adds to a task\n\n"
        f"{measured()}. `python -m benchmarks.cluster`. A scheduler of dask and workers of one thread on this "
        "machine. The caller's processor time counts all of its threads, with what it writes into "
        "the store; an empty task's time goes from one task to the next.\n\n"
        f"{tabulate(rows, heads, 'pipe')}\n"
    )
    print(text)
    place = Path(__file__).parent / "results" / f"cluster-{machine_name()}.md"
    place.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    from benchmarks import cluster as itself  # where workers find its step

    itself.main()
