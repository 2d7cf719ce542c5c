"""Notebooks executed one after the other or side by side, and what is said of them."""

from __future__ import annotations

import argparse
import functools
import signal
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tabulate import tabulate

from kit.harness import machine, progress, runner
from kit.harness.progress import say
from kit.harness.runner.parameters import QUICK, Values


def side_by_side(
    options: argparse.Namespace, known_results: bool, notebooks: int
) -> tuple[int, int]:
    """How many notebooks run at once, and how many tasks of each; 0 tasks are one per core.

    Much of a short run passes on one core: kernels start, lessons train a net, figures are drawn.
    """
    cores = machine.workers(options.jobs, "cpu")
    if known_results:
        return min(notebooks, cores), 0
    small = options.profile == QUICK and not options.jobs and not options.scheduler
    if small and min(notebooks, cores) > 1 and machine.device_type(options.device) == "cpu":
        return 2, -(-cores // 2)
    return 1, 0  # what takes long gets all cores


def run(
    chosen: Sequence[runner.Notebook],
    values: dict[str, Values],
    folder: Path,
    known: Sequence[runner.Notebook],
    timeout: float | None = None,
    at_once: int = 1,
) -> int:
    """Execute notebooks, so many at once; a failed one does not stop the others.

    The page about them uses the descriptions of all that are known.
    """
    for name in ("SIGTERM", "SIGHUP"):  # Windows knows no SIGHUP
        number = getattr(signal, name, None)
        if number and signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores it
            signal.signal(number, signal.default_int_handler)
    stop = threading.Event()
    # Two processes of two threads each on two cores wait for each other more than they compute.
    threads = max(1, machine.workers(0, "cpu") // at_once) if at_once > 1 else 0
    with ThreadPoolExecutor(at_once) as pool:
        try:
            running = [
                pool.submit(execute, n, values[n.name], folder, timeout, stop, threads)
                for n in chosen
            ]
            outcomes = [future.result() for future in running]
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    decides = folder.name != QUICK
    rows = [
        (
            o.notebook,
            o.phrase(decides=decides),
            progress.duration(o.seconds),
            f"{o.memory / 1e9:.1f} GB",
        )
        for o in sorted(outcomes, key=lambda o: o.notebook)
    ]
    say("\n" + tabulate(rows, ("notebook", "outcome", "time", "peak memory")), sys.stdout)
    try:
        from kit.harness import page  # loads pandas

        say(f"\nResults: {page.write(folder, runner.studies(known))}", sys.stdout)
    except (OSError, ValueError, KeyError) as error:
        say(f"run_all.py: no page could be made of {folder}: {error!r}", sys.stderr)
        return 1
    return 1 if any(o.failure for o in outcomes) else 0


def execute(
    notebook: runner.Notebook,
    values: Values,
    folder: Path,
    timeout: float | None,
    stop: threading.Event,
    threads: int,
) -> runner.Outcome:
    """Execute one notebook and show what it prints and how far it is."""
    say(f"{notebook.name} …", sys.stdout)
    display = progress.console(f"  {notebook.number} | ")

    def show(state: progress.State | None) -> None:
        if state and state.done < state.total:
            display.show(state)
        else:
            display.clear()

    report = functools.partial(display.note, stream=sys.stdout)
    try:
        outcome = runner.execute(
            notebook,
            values,
            folder,
            report=report,
            show=show,
            timeout=timeout,
            stop=stop,
            threads=threads,
        )
    finally:
        display.clear()
    if outcome.failure and not stop.is_set():
        say(f"{notebook.name} failed: {outcome.failure}", sys.stderr)
    return outcome
