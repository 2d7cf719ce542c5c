"""The process that executes one notebook.

Called as ``python -m kit.harness.runner NOTEBOOK OUTPUT TASK PARENT``.

It leaves one of two files beside TASK (a JSON file with the parameters): ``finished``, or
``failure`` with one sentence.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from kit import runtime
from kit.harness import positions, processes
from kit.harness.runner.fast_papermill import ENGINE, papermill

# Seconds that a cell's last output may take to arrive once the cell is done. By default 4, and then
# the notebook fails: too few for a cell that prints 100 MB at once. After ours it merely goes on,
# since the message that all output was sent may be lost among 100,000 others.
LATE_OUTPUT = 120


def main(notebook: str, output: str, task: str, parent: str) -> None:
    """Execute the notebook with papermill and print what it prints."""
    processes.die_with_parent(int(parent))
    processes.adopt_orphans()
    os.environ[positions.ALL] = "1"  # the kernel inherits it
    values = json.loads(Path(task).read_text(encoding="utf-8"))
    failure = execute(notebook, output, values)
    name = "failure" if failure else "finished"
    Path(task).with_name(name).write_text(failure, encoding="utf-8")


def execute(notebook: str, output: str, values: dict) -> str:
    """Why it failed, in one sentence; empty if its last cell was executed."""
    try:
        executed = papermill.execute_notebook(
            notebook,
            output,
            values,
            engine_name=ENGINE,
            progress_bar=False,
            stdout_file=sys.stdout,
            stderr_file=sys.stdout,
            cwd=str(runtime.root()),
            iopub_timeout=LATE_OUTPUT,
            raise_on_iopub_timeout=False,
        )
    except papermill.PapermillExecutionError as error:
        return f"cell {error.exec_count}: {error.ename}: {error.evalue}"
    except Exception as error:
        dead = type(error).__name__ == "DeadKernelError"
        why = "its kernel died: killed, or out of memory" if dead else f"{error}"
        return f"{why} ({type(error).__name__})"
    for cell in executed.cells:
        # Papermill takes sys.exit(0) for success and leaves out the rest.
        if any(part.get("ename") == "SystemExit" for part in cell.get("outputs", ())):
            return f"cell {cell.execution_count}: it ended early, by sys.exit"
    return ""


if __name__ == "__main__":
    main(*sys.argv[1:])
