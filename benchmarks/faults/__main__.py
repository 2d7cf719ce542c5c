"""Inject faults at random moments into runs, and see what became of them.

    python -m benchmarks.faults --count 300 --jobs 2      # 15 minutes and more; writes the table
    python -m benchmarks.faults --count 8                 # a sample; writes nothing

After each fault nothing false is said ("done" only with the right tables), no process is left over,
no finished task is lost, and there is a sentence in place of a traceback. A further run, without a
fault, gives tables that are byte-equal to those of a run that was never disturbed. It writes
benchmarks/results/faults.md, and exits with 1 if something of this did not hold.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import psutil

from benchmarks.faults.kinds import EARLIER, KINDS, MOUNTED, Kind, Scene, may_mount, nothing
from benchmarks.faults.project import Project
from benchmarks.rows import measured

WRITES = 100  # faults from which on the table is written
REAL = 20  # one run in so many is that of a real notebook
POOL = 4  # and one in so many has processes side by side, where its fault is not about them anyway
SLOWER = 1.5  # than the run without a fault, while others run beside it
LONGEST = 180  # seconds until a run counts as hanging
FAULTS = ("said done, and was not", "hangs", "a process is left over", "a task is lost",
          "no sentence", "another run differs")  # fmt: skip


def main() -> int:
    """Inject them; 1 if something was lost, or said that is not so."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--count", type=int, default=300, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="chooses kinds and moments")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side")
    parser.add_argument("--only", default="", help="kinds with this in their name")
    options = parser.parse_args()
    names = [n for n in KINDS if options.only in n and (may_mount() or n not in MOUNTED)]
    if not names:
        parser.error(f"no kind of fault has {options.only!r} in its name: see KINDS.")
    rng = random.Random(options.seed)
    order = rng.sample(names, len(names))
    cases = [(order[k % len(names)], rng.random(), k) for k in range(options.count)]
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        wanted = {is_real(number) for _, _, number in cases}
        references = {real: Reference(Path(folder), real=real) for real in wanted}
        with ThreadPoolExecutor(options.jobs) as pool:
            rows = list(pool.map(lambda case: injected(Path(folder), *case, references), cases))
    return report(rows, write=options.count >= WRITES and not options.only)


class Reference:
    """A run without a fault: its tables, how long it took, and what it left."""

    def __init__(self, folder: Path, *, real: bool):
        place = folder / f"undisturbed-{real}"
        place.mkdir()
        self.project = Project(place, real=real)
        started = time.perf_counter()
        process = self.project.start(place / "log", {})
        if process.wait(LONGEST) or not self.project.tables():
            raise SystemExit(f"a run without a fault fails: {(place / 'log').read_text()}")
        self.seconds = time.perf_counter() - started
        self.tables = self.project.tables()

    def copy_to(self, project: Project) -> None:
        """Leave there what this run has left."""
        for name in ("steps", "figures"):
            shutil.copytree(getattr(self.project, name), getattr(project, name))


def is_real(number: int) -> bool:
    """Is the fault of this number injected into a real notebook?"""
    return number % REAL == REAL - 1


def injected(
    folder: Path, name: str, moment: float, number: int, references: dict[bool, Reference]
) -> tuple[str, str, str]:
    """One fault: its kind, how the run ended, and what went wrong."""
    kind, real = KINDS[name], is_real(number)
    reference = references[real]
    place = folder / str(number)
    place.mkdir()
    jobs = 2 if "worker" in name or number % POOL == 0 else 1
    scene = Scene(Project(place, real=real, jobs=jobs), random.Random(number), log=place / "log")
    try:
        if any(word in name for word in EARLIER):
            reference.copy_to(scene.project)
        kind.before(scene)
        kept = scene.project.finished_tasks()
        scene.process = scene.project.start(scene.log, kind.environment, kind.shell)
        if kind.during is not nothing:
            with contextlib.suppress(subprocess.TimeoutExpired):
                scene.process.wait(moment * SLOWER * reference.seconds)
            kept |= scene.project.finished_tasks()
            kind.during(scene)
        outcome, wrong = ended(scene, kind, reference.tables)
        kind.after(scene)
        if not (outcome == "finished" and kind.during is nothing):  # else it was that further run
            wrong = wrong or again(scene, reference.tables)
        wrong = wrong or lost(scene, kept)
        print(
            f"{number}: {name}: {outcome}{' · ' * bool(wrong)}{wrong}", file=sys.stderr, flush=True
        )
        if wrong:
            for log in (scene.log, scene.log.with_suffix(".again")):
                print(
                    log.read_text(errors="replace")[-600:] if log.is_file() else "", file=sys.stderr
                )
        return name, outcome, wrong
    finally:
        subprocess.run(["umount", scene.project.steps], check=False, capture_output=True)


def ended(scene: Scene, kind: Kind, tables: dict[str, bytes]) -> tuple[str, str]:
    """How the run ended, and what was wrong with that."""
    assert scene.process is not None
    try:
        status = scene.process.wait(LONGEST)
    except subprocess.TimeoutExpired:
        return "hung", "hangs"
    finally:
        left = left_over(scene.project)
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
    said = scene.log.read_text(errors="replace") if scene.log.is_file() else ""
    if left:
        return "ended", "a process is left over"
    if status == 0 and not kind.shell:
        true = scene.took_results or scene.project.tables() == tables
        return "finished", "" if true else "said done, and was not"
    if "Traceback" in said:
        return "stopped", "no sentence"
    if not (said.strip() or kind.kills or kind.shell):
        return "stopped", "no sentence"
    return ("finished" if status == 0 else "stopped"), ""


def left_over(project: Project) -> list[psutil.Process]:
    """Processes of a run that are still there some seconds after its end."""
    for _ in range(50):
        found = list(_of(project))
        if not found:
            return []
        time.sleep(0.1)
    return found


def _of(project: Project) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            own = process.environ().get("KIT_STEPS") == str(project.steps)
            if own and process.status() != psutil.STATUS_ZOMBIE:
                yield process


def again(scene: Scene, tables: dict[str, bytes]) -> str:
    """Run it without a fault: what was wrong then."""
    log = scene.log.with_suffix(".again")
    process = scene.project.start(log, {})
    try:
        status = process.wait(LONGEST)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return "another run differs"
    if status or scene.project.tables() != tables:
        return "another run differs"
    return ""


def lost(scene: Scene, kept: dict[Path, int]) -> str:
    """Was a finished task computed again, whose record nobody had damaged?"""
    now = scene.project.finished_tasks()
    gone = [p for p, written in kept.items() if now.get(p) != written and p not in scene.damaged]
    return "a task is lost" if gone else ""


def report(rows: list[tuple[str, str, str]], *, write: bool) -> int:
    """Show the table of kinds and what became of them."""
    frame = pd.DataFrame(rows, columns=["fault", "ended", "wrong"])
    wrong = int((frame["wrong"] != "").sum())
    columns = {
        "injected": frame.groupby("fault").size(),
        **{
            end: frame[frame["ended"] == end].groupby("fault").size()
            for end in sorted(frame["ended"].unique())
        },
        **{
            word: frame[frame["wrong"] == word].groupby("fault").size()
            for word in FAULTS
        },
    }  # fmt: skip
    table = (
        pd.DataFrame(columns)
        .fillna(0)
        .astype(int)
        .reindex([name for name in KINDS if name in set(frame["fault"])])
    )
    table.index.name = "fault"
    summary = f"{len(frame)} faults of {len(table)} kinds were injected; {wrong} times something was wrong."
    text = f"# Faults\n\n{measured()}. {summary}\n\n{__doc__.partition(chr(10))[0]}\n\n{table.to_markdown()}\n"
    if write:
        out = Path(__file__).parents[1] / "results" / "faults.md"
        out.write_text(text, encoding="utf-8")
    print(text)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
