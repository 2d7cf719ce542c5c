"""What a comparison is, how it is timed, and how it is written down."""

from __future__ import annotations

import dataclasses
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import torch

from kit import runtime
from kit.harness import machine


@dataclasses.dataclass(frozen=True)
class Row:
    """One piece of work against one peer.

    Attributes
    ----------
    work, peer
        What is done, and who else does it.
    ours, theirs
        Seconds.
    target
        How many times as long the peer should take at least.
    same
        In which sense both computed the same thing, checked before anything was timed.
    note
        Why it takes the time it takes, as profiling says; shown where the target is missed.
    """

    work: str
    peer: str
    ours: float
    theirs: float
    target: float
    same: str
    note: str = ""

    @property
    def ratio(self) -> float:
        """How many times as long the peer takes."""
        return self.theirs / self.ours


def in_turn(ways: Mapping[str, Callable[[], Any]], runs: int) -> dict[str, float]:
    """Median seconds of each, one after another in every round, so that a drift hits all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(runs + 1):
        for name, way in ways.items():
            _synchronize()
            started = time.perf_counter()
            way()
            _synchronize()
            if number:  # the first round warms up
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(times) for name, times in seconds.items()}


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def as_table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "| work | peer | kit (s) | peer (s) | peer takes | target | met | both computed | note |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        met, note = ("yes", "") if row.ratio >= row.target else ("**no**", row.note)
        lines.append(
            f"| {row.work} | {row.peer} | {row.ours:.3g} | {row.theirs:.3g} | {row.ratio:.2f} × | "
            f"≥ {row.target:g} × | {met} | {row.same} | {note} |"
        )
    return "\n".join(lines)


def measured() -> str:
    """When, and which code: the day and the commit, with -dirty where files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        found = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return f"{date.today()}, no checkout"
    return f"{date.today()}, commit {found.stdout.strip()}"


def machine_name() -> str:
    """The processor and its vector units, as part of a file's name."""
    kind = torch.backends.cpu.get_cpu_capability()
    processor = machine.hardware(runtime.device())["processor"]
    return re.sub(r"[^a-z0-9]+", "-", f"{processor} {kind}".lower()).strip("-")
