"""How long all notebooks take at quick size: first, with no step stored, and again.

    python -m benchmarks.notebooks

takes about six minutes on two cores that do nothing else, needs no data, and writes
benchmarks/results/notebooks-PROCESSOR.md.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from benchmarks.rows import machine_name, measured
from kit import runtime
from kit.harness import machine

TARGETS = {"first": 360, "again": 45}  # seconds, at most


def main() -> None:
    """Run everything twice, write."""
    with tempfile.TemporaryDirectory() as folder:
        runs = {name: timed(Path(folder)) for name in TARGETS}
    table = pd.DataFrame({
        "run": list(runs),
        "seconds": [round(seconds, 1) for seconds, _ in runs.values()],
        "target": [f"≤ {most}" for most in TARGETS.values()],
        "met": ["yes" if runs[n][0] <= most else "**no**" for n, most in TARGETS.items()],
    })  # fmt: skip
    here = machine.hardware(runtime.device())
    text = [
        f"# All notebooks at quick size on {here['processor']}", "",
        f"{measured()}; {os.cpu_count()} cores, Python {here['python']}, torch "
        f"{here['torch']}. `python run_all.py`, first with nothing stored, then again.", "",
        table.to_markdown(index=False), "",
    ]  # fmt: skip
    for name, (_, by_notebook) in runs.items():
        text += [f"## {name.capitalize()}", "", "```", *by_notebook, "```", ""]
    out = Path(__file__).parent / "results" / f"notebooks-{machine_name()}.md"
    out.write_text("\n".join(text), encoding="utf-8")
    print(table.to_string(index=False))


def timed(folder: Path) -> tuple[float, list[str]]:
    """Seconds of one run, and the lines of its table that say how long each notebook took."""
    folders = {"KIT_STEPS": str(folder / "steps"), "KIT_FIGURES": str(folder / "figures")}
    started = time.perf_counter()
    run = subprocess.run(
        [sys.executable, str(runtime.root() / "run_all.py")],
        env={**os.environ, **folders},
        check=True,
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - started
    lines = run.stdout.splitlines()
    start = max(i for i, line in enumerate(lines) if line.startswith("notebook "))
    count = len(list((runtime.root() / "notebooks").glob("*.ipynb")))
    return seconds, lines[start : start + 2 + count]


if __name__ == "__main__":
    main()
