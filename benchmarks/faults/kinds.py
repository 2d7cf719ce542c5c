"""The kinds of faults: what happens to a run, before it begins or at a random moment of it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from benchmarks.faults.project import Project


@dataclasses.dataclass
class Scene:
    """A run into which something is injected."""

    project: Project
    rng: random.Random
    process: subprocess.Popen | None = None
    log: Path = Path()
    damaged: set[Path] = dataclasses.field(default_factory=set)  # what may be computed again
    took_results: bool = False  # after the run had finished them

    def find(self, role: str) -> list[psutil.Process]:
        """The processes of the run that have a role; the runner is there from its start."""
        assert self.process is not None
        with contextlib.suppress(psutil.Error):
            runner = psutil.Process(self.process.pid)
            if role == "runner":
                return [runner]
            return [p for p in runner.children(recursive=True) if _role(p) == role]
        return []


def _role(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        words = " ".join(process.cmdline())
        if "kit.harness.runner" in words:
            return "notebook"
        if "ipykernel_launcher" in words:
            return "kernel"
        return "worker"
    return "gone"


def nothing(scene: Scene) -> None:
    """Let it be."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """A fault.

    Attributes
    ----------
    before, during, after
        What is done to the project before the run, at a random moment of it, and when it has ended.
    environment, shell
        Variables of the run, and where its streams go.
    kills
        It may leave the runner no time for a sentence.
    """

    before: Callable[[Scene], None] = nothing
    during: Callable[[Scene], None] = nothing
    after: Callable[[Scene], None] = nothing
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    shell: str = ""
    kills: bool = False


def send(role: str, number: signal.Signals) -> Callable[[Scene], None]:
    """A signal to one process of a role."""

    def inject(scene: Scene) -> None:
        if found := scene.find(role):
            with contextlib.suppress(psutil.Error):
                scene.rng.choice(found).send_signal(number)

    return inject


def stop(role: str) -> Callable[[Scene], None]:
    """A process stands still for a second."""

    def inject(scene: Scene) -> None:
        for process in scene.find(role)[:1]:
            with contextlib.suppress(psutil.Error):
                process.suspend()
                time.sleep(1)
                process.resume()

    return inject


def second_runner(scene: Scene) -> None:
    """The same again, while the first one runs."""
    other = scene.project.start(scene.log.with_suffix(".second"), {})
    with contextlib.suppress(subprocess.TimeoutExpired):
        other.wait(60)
    if other.poll() is None:
        os.killpg(other.pid, signal.SIGKILL)


def remove(name: str) -> Callable[[Scene], None]:
    """The store or the results go away in the middle of a run."""

    def inject(scene: Scene) -> None:
        scene.took_results = name == "figures" and bool(scene.project.tables())
        scene.damaged |= set(scene.project.finished_tasks()) if name == "steps" else set()
        shutil.rmtree(getattr(scene.project, name), ignore_errors=True)

    return inject


def replace_by_file(scene: Scene) -> None:
    """A file stands where the folder of the results should be."""
    scene.took_results = bool(scene.project.tables())
    shutil.rmtree(scene.project.figures, ignore_errors=True)
    with contextlib.suppress(OSError):
        scene.project.figures.write_text("not a folder")


def take_away_file(scene: Scene) -> None:
    """And is taken away again."""
    if scene.project.figures.is_file():
        scene.project.figures.unlink()


def damage(how: Callable[[Path, random.Random], None], pattern: str) -> Callable[[Scene], None]:
    """A file of an earlier run is no longer what it was."""

    def inject(scene: Scene) -> None:
        found = sorted(scene.project.folder.glob(pattern))
        found = [path for path in found if not path.name.startswith(".") and path.is_file()]
        for path in scene.rng.sample(found, min(3, len(found))):
            scene.damaged |= {path.with_suffix(".json")}
            how(path, scene.rng)

    return inject


def truncate(path: Path, rng: random.Random) -> None:
    """Cut it somewhere."""
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(max(1, len(content)))])


def flip(path: Path, rng: random.Random) -> None:
    """Turn a bit."""
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def empty(path: Path, _: random.Random) -> None:
    """Leave nothing in it."""
    path.write_bytes(b"")


def foreign(path: Path, rng: random.Random) -> None:
    """Put something else in its place."""
    path.write_bytes(rng.choice([b"version https://git-lfs", b"[]", b"null", rng.randbytes(500)]))


def make_folder(path: Path, _: random.Random) -> None:
    """Put a folder in its place."""
    path.unlink()
    path.mkdir()


def remove_folders(scene: Scene) -> None:
    """Do what the sentence asks for: nothing of ours deletes a folder that someone has made."""
    for path in scene.project.steps.glob("*/*.json"):
        if path.is_dir():
            path.rmdir()


def make_pipe(path: Path, _: random.Random) -> None:
    """Put a pipe in its place, from which nothing comes."""
    path.unlink()
    os.mkfifo(path)


def unlink(path: Path, _: random.Random) -> None:
    """Delete it."""
    path.unlink()


def read_only(scene: Scene) -> None:
    """The store's disk turns read-only."""
    command = ["mount", "-o", "remount,ro", scene.project.steps]
    subprocess.run(command, check=False, capture_output=True)


def own_disk(size: str) -> Callable[[Scene], None]:
    """The store lies on a disk of its own."""

    def inject(scene: Scene) -> None:
        scene.project.steps.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", scene.project.steps]
        subprocess.run(command, check=True, capture_output=True)

    return inject


def writable_again(scene: Scene) -> None:
    """The disk takes files again, and has room."""
    command = ["mount", "-o", "remount,rw,size=50m", scene.project.steps]
    subprocess.run(command, check=True, capture_output=True)


@functools.cache
def may_mount() -> bool:
    """Disks of one's own need rights that not everyone has, root in a container neither."""
    if shutil.which("mount") is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        command = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", folder]
        done = subprocess.run(command, check=False, capture_output=True).returncode == 0
        if done:
            subprocess.run(["umount", folder], check=True)
    return done


STORED, ARRAYS, RESULTS = "steps/*/*.json", "steps/*/*.npz", "figures/*/*/*"
KINDS = {
    "Ctrl-C": Kind(during=send("runner", signal.SIGINT)),
    "SIGTERM to the runner": Kind(during=send("runner", signal.SIGTERM)),
    "SIGHUP to the runner": Kind(during=send("runner", signal.SIGHUP)),
    "SIGKILL to the runner": Kind(during=send("runner", signal.SIGKILL), kills=True),
    "SIGTERM to the notebook": Kind(during=send("notebook", signal.SIGTERM)),
    "SIGKILL to the notebook": Kind(during=send("notebook", signal.SIGKILL)),
    "SIGINT to the kernel": Kind(during=send("kernel", signal.SIGINT)),
    "SIGTERM to the kernel": Kind(during=send("kernel", signal.SIGTERM)),
    "SIGKILL to the kernel": Kind(during=send("kernel", signal.SIGKILL)),
    "SIGTERM to a worker": Kind(during=send("worker", signal.SIGTERM)),
    "SIGKILL to a worker": Kind(during=send("worker", signal.SIGKILL)),
    "a worker stands still for a second": Kind(during=stop("worker")),
    "the kernel stands still for a second": Kind(during=stop("kernel")),
    "the runner stands still for a second": Kind(during=stop("runner")),
    "a second runner": Kind(during=second_runner),
    "the store is deleted": Kind(during=remove("steps")),
    "the results are deleted": Kind(during=remove("figures")),
    "a file in place of the results": Kind(during=replace_by_file, after=take_away_file),
    "a record is cut": Kind(before=damage(truncate, STORED)),
    "a record is empty": Kind(before=damage(empty, STORED)),
    "a record is something else": Kind(before=damage(foreign, STORED)),
    "a record is a folder": Kind(before=damage(make_folder, STORED), after=remove_folders),
    "a record is a pipe": Kind(before=damage(make_pipe, STORED)),
    "a record is gone": Kind(before=damage(unlink, STORED)),
    "a bit of an array is turned": Kind(before=damage(flip, ARRAYS)),
    "an array is cut": Kind(before=damage(truncate, ARRAYS)),
    "an array is a pipe": Kind(before=damage(make_pipe, ARRAYS)),
    "an array is gone": Kind(before=damage(unlink, ARRAYS)),
    "a result is cut": Kind(before=damage(truncate, RESULTS)),
    "a result is something else": Kind(before=damage(foreign, RESULTS)),
    "warnings are errors": Kind(environment={"PYTHONWARNINGS": "error"}),
    "a terminal of ASCII": Kind(environment={"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}),
    "no home": Kind(environment={"HOME": "/nonexistent"}),
    "no variable TERM, no PATH": Kind(environment={"TERM": "", "PATH": ""}),
    "a folder for temporary files that is not there": Kind(environment={"TMPDIR": "/nonexistent"}),
    "a back end that matplotlib lacks": Kind(environment={"MPLBACKEND": "nonexistent"}),
    "odd numbers of threads": Kind(environment={"OMP_NUM_THREADS": "many"}),
    "closed streams": Kind(shell=">&- 2>&-"),
    "full streams": Kind(shell=">/dev/full 2>/dev/full"),
    "a reader that goes away": Kind(shell="2>&1 | head -1 >{log}"),
    "a full disk": Kind(before=own_disk("600k"), after=writable_again),  # room for some tasks
    "a disk that turns read-only": Kind(
        before=own_disk("50m"), during=read_only, after=writable_again
    ),
}
MOUNTED = ("a full disk", "a disk that turns read-only")
EARLIER = ("record", "array", "result")  # what these kinds damage stems from an earlier run
