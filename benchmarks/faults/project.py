"""What is run while faults are injected: a study of ten light steps, and notebook 03 at small size."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from kit import runtime

STUDY = """
import dataclasses
import time
from typing import Annotated

import numpy as np

from kit.constraints import whole
from kit.harness.results import Study
from kit.harness.settings import Settings as Common
from kit.harness.steps import step

STUDY = Study(notebook="01_waves", title="Waves", citation="Nobody.", datasets={}, claims={"1.C1": "They are."})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(Common):
    count: Annotated[int, whole(1)]


@step(version=1, label="wave {n}")
def wave(*, n):
    time.sleep(0.15)
    return {"wave": np.sin(np.arange(20_000.0) * n)}


@step(version=1, label="sum {n}")
def total(*, n, waves):
    time.sleep(0.1)
    return {"total": float(sum(np.abs(w).sum() for w in waves))}


def plan(settings):
    waves = [wave.task(n=n) for n in range(settings.count)]
    parts = [waves[k : k + 3] for k in range(0, len(waves), 3)]
    return {"sums": [total.task(n=n, waves=[w["wave"] for w in part]) for n, part in enumerate(parts)]}
"""
RUN = """
import sys
from pathlib import Path

from kit.harness.runner import command_line

if __name__ == "__main__":
    try:
        sys.exit(command_line.main(None, Path(__file__).with_name("notebooks"), "studies"))
    except KeyboardInterrupt:
        print("Interrupted. Finished steps are kept: run the same again to go on.", file=sys.stderr)
        sys.exit(1)
"""
CELLS = (
    'datasets: list = ["none"]  # data sets\ncount: int = 9  # waves\ntrain: int = 0  # unused\n'
    'test: int = 0  # unused\nseed: int = 0  # unused\njobs: int = 2  # processes\n'
    'out: str = ""  # folder for the results',
    "import pandas as pd\n\nfrom studies import waves as study\nfrom kit.harness import results, steps\n\n"
    "c = study.Settings.read(globals())\ncomputed = steps.compute(study.plan(c), **c.where)",
    'report = results.Report(study.STUDY, c, computed, out)\n'
    'sums = [result["total"] for result in computed["sums"]]\n'
    'report.show("1.T1", pd.DataFrame({"sum": sums}), title="Sums")\n'
    'report.claim("1.C1", results.REPRODUCED, f"{sum(sums):.6f}")\nreport.finish()',
)  # fmt: skip
SHELL = shutil.which("bash") or "bash"  # also where a run has no PATH
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
SMALL = (
    "runs=2",
    "z=5",
    "train=300",
    "test=200",
    "epochs=1",
    "control_draws=1",
    "datasets=[digits]",
)


def _hear_signals() -> None:
    """What ignores signals, as nohup and the background of a shell do, hands that on."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


class Project:
    """A command to run in a folder of its own, and what it leaves there.

    Parameters
    ----------
    folder
        An empty one: results, the store, and what is run lie in it.
    real
        Run notebook 03 instead of the light study.
    jobs
        Processes side by side; with 1 tasks run in the notebook's own.
    """

    def __init__(self, folder: Path, *, real: bool = False, jobs: int = 2):
        self.folder, self.steps, self.figures = folder, folder / "steps", folder / "figures"
        root = runtime.root()
        self.environment = os.environ | {
            "KIT_STEPS": str(self.steps),
            "KIT_FIGURES": str(self.figures),
            "PYTHONPATH": os.pathsep.join([str(folder), str(root)]),
            "OMP_NUM_THREADS": "1",
        }
        if real:
            values = [word for value in SMALL for word in ("-p", f"03.{value}")]
            self.command = [str(root / "run_all.py"), *values, "--device", "cpu"]
            self.results = self.figures / "custom" / "03_knn_tradeoff"
        else:
            self._write()
            self.command = [str(folder / "run.py")]
            self.results = self.figures / "quick" / "01_waves"
        self.command += ["--jobs", str(jobs)]

    def _write(self) -> None:
        (self.folder / "studies").mkdir()
        (self.folder / "studies" / "__init__.py").touch()
        (self.folder / "studies" / "waves.py").write_text(STUDY)
        (self.folder / "run.py").write_text(RUN)
        cells = [
            {"cell_type": "code", "source": source, "outputs": [], "execution_count": None}
            | {"metadata": {"tags": [] if number else ["parameters"]}, "id": str(number)}
            for number, source in enumerate(CELLS)
        ]
        text = {
            "cells": cells,
            "metadata": {"kernelspec": KERNEL},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        (self.folder / "notebooks" / "profiles").mkdir(parents=True)
        (self.folder / "notebooks" / "01_waves.ipynb").write_text(json.dumps(text))

    def start(self, log: Path, environment: Mapping[str, str], shell: str = "") -> subprocess.Popen:
        """Begin a run in a session of its own; what it prints goes to a file.

        Parameters
        ----------
        shell
            Redirections of its streams; by default both go to `log`.
        """
        redirect = shell.format(log=log) if shell else f">{log} 2>&1"
        words = " ".join(f"'{word}'" for word in (sys.executable, *self.command))
        return subprocess.Popen(
            [SHELL, "-c", f"exec {words} {redirect}"],
            cwd=self.folder,
            env=self.environment | dict(environment),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_hear_signals,
        )

    def tables(self) -> dict[str, bytes]:
        """The tables and verdicts of a finished run; nothing of one that has not finished."""
        if not (self.results / "manifest.json").is_file():
            return {}
        found = [*self.results.glob("*.csv"), self.results / "claims.json"]
        return {path.name: path.read_bytes() for path in found if path.is_file()}

    def finished_tasks(self) -> dict[Path, int]:
        """The records of finished tasks, and when each was written."""
        found = {}
        for path in self.steps.glob("*/[!.]*.json"):
            if path.is_file() and path.parent.name != "splits":
                found[path] = path.stat().st_mtime_ns
        return found
