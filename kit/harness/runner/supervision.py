"""One notebook executed in processes of its own: watched, timed, and killed with all of them.

What the executing process says of itself is not believed: the results count once they are whole.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import filelock
import psutil

from kit import files, runtime
from kit.harness import progress
from kit.harness.results import claims
from kit.harness.runner.parameters import Notebook

LINE = 1000  # characters of a line that are relayed


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one notebook."""

    notebook: str
    failure: str  # empty when it finished
    claims: list[claims.Claim]
    seconds: float
    memory: int  # peak of all its processes together, bytes

    def phrase(self, *, decides: bool = True) -> str:
        """One phrase for the summary; verdicts only of a run that is large enough to decide."""
        if self.failure:
            return "FAILED"
        if not decides:
            return "finished"
        counts = collections.Counter(claim["verdict"] for claim in self.claims)
        phrases = [f"{count} {verdict}" for verdict, count in sorted(counts.items())]
        return f"finished; verdicts: {', '.join(phrases) or 'none'}"


def execute(
    notebook: Notebook,
    values: dict[str, Any],
    folder: Path,
    *,
    report: Callable[[str], object] = print,
    show: Callable[[progress.State | None], object] | None = None,
    timeout: float | None = None,
    stop: threading.Event | None = None,
    threads: int = 0,
) -> Outcome:
    """Execute a notebook in processes of its own and keep its results only if it finished.

    Parameters
    ----------
    notebook
        One that has the parameter ``out`` must leave results; another one must only reach its end.
    values
        Its parameters.
    folder
        Results go to ``folder/NAME``, the executed notebook to ``folder/NAME.ipynb`` and, as a
        page to read, ``folder/NAME.html``. All are written beside and renamed; if it fails, the
        older ones stay and the notebook is kept as ``NAME.failed.ipynb``.
    report
        Gets what the notebook prints, line by line.
    show
        Gets the state of the computation several times a second, None while there is none.
    timeout
        Minutes after which it is killed; by default never.
    stop
        Is set by another thread that wants it killed.
    threads
        For the notebook's own cells, where it shares the cores with others; 0 for all cores. Tasks
        compute with one thread in any case.
    """
    started, judged = time.monotonic(), list[claims.Claim]()
    folder = folder.resolve()
    try:
        files.writable(folder)
        with filelock.FileLock(folder / f".{notebook.name}.lock", timeout=0):
            failure, memory = _execute(
                notebook, values, folder, Watch(report, show, timeout, stop, threads)
            )
            if not failure and "out" in notebook.parameters:
                judged = claims.read(folder / notebook.name)
    except filelock.Timeout:
        failure, memory = f"another run is writing to {folder / notebook.name}", 0
    except OSError as error:
        failure, memory = str(error), 0
    return Outcome(notebook.name, failure, judged, time.monotonic() - started, memory)


def _execute(
    notebook: Notebook, values: dict[str, Any], folder: Path, watch: Watch
) -> tuple[str, int]:
    """Execute in a staging folder and put the results in place; the failure and peak memory."""
    staging, executed = folder / f".{notebook.name}.new", folder / f".{notebook.name}.new.ipynb"
    old = folder / f".{notebook.name}.old"
    if old.exists() and not (folder / notebook.name).exists():
        old.rename(folder / notebook.name)  # a run was killed between two renames
    executed.unlink(missing_ok=True)
    shutil.rmtree(staging, ignore_errors=True)
    mark = files.writable(staging) / f".{uuid.uuid4().hex}"
    mark.touch()
    with tempfile.TemporaryDirectory() as scratch:
        task = Path(scratch, "task.json")
        task.write_text(json.dumps({**values, "out": str(staging)}), encoding="utf-8")
        watch.run([notebook.path, executed, task, os.getpid()], Path(scratch))
        failure = watch.failure or _failure(Path(scratch))
    if not mark.exists():
        failure = f"its folder {staging} was deleted while it ran"
    elif not failure and "out" in notebook.parameters:
        failure = _incomplete(staging)
    mark.unlink(missing_ok=True)
    final = folder / f"{notebook.name}.ipynb"
    failed = final.with_suffix(".failed.ipynb")
    failed.unlink(missing_ok=True)
    if executed.exists():
        executed.replace(failed if failure else final)
    if not failure and "out" in notebook.parameters:
        _replace(folder / notebook.name, staging, old)
    if not failure:
        from kit.harness.runner import notebook_page  # takes a second

        notebook_page.write(final)
    shutil.rmtree(staging, ignore_errors=True)
    return failure, watch.peak


class Watch:
    """Runs the process of one notebook to its end; see :func:`execute` for the arguments."""

    def __init__(
        self,
        report: Callable[[str], object],
        show: Callable[[progress.State | None], object] | None,
        timeout: float | None,
        stop: threading.Event | None,
        threads: int,
    ):
        self.report, self.show, self.timeout, self.stop = report, show, timeout, stop
        self.threads = {"OMP_NUM_THREADS": str(threads)} if threads else {}
        self.failure, self.peak = "", 0

    def run(self, arguments: list[Any], scratch: Path) -> None:
        """Start the process and wait; no process of it is left, come what may."""
        environment = _environment() | self.threads
        environment["KIT_PROGRESS"] = str(scratch / "progress.json")
        with (scratch / "errors").open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "kit.harness.runner", *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
                env=environment,
            )
        tree = psutil.Process(process.pid)
        relay = threading.Thread(target=self._relay, args=[process.stdout], daemon=True)
        relay.start()
        seen = {tree: None}
        try:
            self._wait(process, tree, seen, scratch / "progress.json")
        finally:
            # The kernel has a session of its own: it is found as a child, not through the group.
            for member in {**seen, **dict.fromkeys(_members(tree))}:
                with contextlib.suppress(psutil.Error):
                    member.kill()
            code = process.wait()
            relay.join(timeout=10)
        if code < 0 and not self.failure:
            self.failure = f"it was killed ({signal.Signals(-code).name})"

    def _wait(
        self, process: subprocess.Popen, tree: psutil.Process, seen: dict, state: Path
    ) -> None:
        started = time.monotonic()
        while process.poll() is None:
            members = _members(tree)
            seen |= dict.fromkeys(members)
            self.peak = max(self.peak, sum(map(_resident, members)))
            if self.show:
                self.show(progress.read(state))
            if self.timeout and time.monotonic() - started > 60 * self.timeout:
                unit = "minute" if self.timeout == 1 else "minutes"
                self.failure = f"timed out after {self.timeout:g} {unit}"
                return
            if self.stop and self.stop.is_set():
                self.failure = "interrupted"
                return
            time.sleep(0.2)

    def _relay(self, stream: TextIO) -> None:
        for line in short_lines(stream):
            with contextlib.suppress(OSError, ValueError):  # whoever listened may be gone
                self.report(line)


def short_lines(stream: TextIO, length: int = LINE) -> Iterator[str]:
    """The lines of a stream without their ends, cut where they are long.

    A cell may print 100 MB without a line break: no more than `length` characters are held.
    """
    begins = True
    while piece := stream.readline(length):
        ends = piece.endswith("\n")
        if begins:
            yield piece.rstrip() if ends else piece + " …" * (len(piece) == length)
        begins = ends


def _environment() -> dict[str, str]:
    """The same folders and encoding for the child, wherever its kernel's working directory is."""
    folders = {f"KIT_{kind.upper()}": str(runtime.folder(kind)) for kind in runtime.FOLDERS}
    return {**os.environ, **folders, "PYTHONIOENCODING": "utf-8"}


def _members(tree: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return [tree, *tree.children(recursive=True)]
    return []


def _resident(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return process.memory_info().rss
    return 0


def _failure(scratch: Path) -> str:
    """What the executing process says of how it ended; empty if it reached its end."""
    if (scratch / "finished").exists():
        return ""
    with contextlib.suppress(OSError):
        return (scratch / "failure").read_text(encoding="utf-8")
    errors = (scratch / "errors").read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((line for line in reversed(errors) if line.strip()), "no error was printed")
    return f"it ended early ({last.strip()})"


def _incomplete(staging: Path) -> str:
    """What a folder of results lacks, empty if it is whole. The manifest comes last of all."""
    if not (staging / "manifest.json").is_file():
        return "it ended early, without its last cell: there is no manifest.json"
    try:
        manifest = json.loads((staging / "manifest.json").read_text(encoding="utf-8"))
        names = {".csv": manifest["tables"], ".png": manifest["figures"]}
        claims.read(staging)
        files = [f"{name}{suffix}" for suffix in names for name in names[suffix]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"its results are damaged ({error!r})"
    missing = [name for name in files if not (staging / name).is_file()]
    return f"its results lack {', '.join(missing)}" if missing else ""


def _replace(final: Path, staging: Path, old: Path) -> None:
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        final.rename(old)
    staging.rename(final)
    shutil.rmtree(old, ignore_errors=True)
