"""Notebooks run headless: parameters are checked first, and only the finished stamp is believed.

``python -m kit.runner NOTEBOOK OUTPUT PARAMETERS.json PARENT`` is the process that executes one
notebook; :func:`execute` starts, watches and, if need be, kills it together with its kernel.
"""

import ast
import contextlib
import dataclasses
import difflib
import importlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import filelock
import papermill
import psutil
import yaml

from kit import runtime

TYPES = {"str": str, "int": int, "float": float, "bool": bool, "list": list, "dict": dict}
PLACES = {"data_root": "--data", "device": "--device", "jobs": "--jobs", "out": "--out"}


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One line of a notebook's parameters cell."""

    name: str
    type: str
    default: object
    help: str


class Notebook:
    """A notebook of the project, with its parameters and its experiment.

    Parameters
    ----------
    path : pathlib.Path
        Its name is a number, an underscore, and the name of its room in ``kit.experiments``.
    """

    def __init__(self, path):
        self.path, self.name = path, path.stem
        self.number, _, self.room = path.stem.partition("_")
        with _quiet():
            found = papermill.inspect_notebook(str(path))
        self.parameters = {
            name: Parameter(
                name, p["inferred_type_name"], ast.literal_eval(p["default"]), p["help"]
            )
            for name, p in found.items()
        }

    @property
    def experiment(self):
        """The module in ``kit.experiments`` that holds its steps."""
        return importlib.import_module(f"kit.experiments.{self.room}")

    def checked(self, name, value):
        """A value for one parameter, or a ValueError with one sentence on what is wrong.

        Only plain JSON types pass: papermill would silently turn others into strings.
        """
        if name not in self.parameters:
            close = difflib.get_close_matches(name, self.parameters, 1)
            hint = f"did you mean {close[0]!r}? It has " if close else "it has "
            raise ValueError(
                f"{self.name} has no parameter {name!r}: {hint}{', '.join(self.parameters)}."
            )
        wanted = self.parameters[name].type
        if wanted == "float" and type(value) is int:
            value = float(value)
        if type(value) is not TYPES[wanted]:
            raise ValueError(
                f"{self.name}.{name} must be {_article(wanted)}, such as "
                f"{json.dumps(self.parameters[name].default)}; {value!r} is "
                f"{_article(type(value).__name__)}."
            )
        try:
            plain = json.loads(json.dumps(value, allow_nan=False)) == value
        except (TypeError, ValueError):
            plain = False
        if not plain:
            raise ValueError(
                f"{self.name}.{name} is {value!r}: use only text, numbers, lists, and mappings "
                "from text, as JSON has them."
            )
        return value

    def parsed(self, name, text):
        """The value of a parameter from the command line, read as YAML unless it is a string."""
        if name in PLACES:
            raise ValueError(f"{self.name}.{name} is not set with -p: use {PLACES[name]}.")
        kind = self.parameters[name].type if name in self.parameters else None
        if kind == "str":
            return text
        if kind in ("int", "float"):  # YAML 1.1 takes 1e-1 for text, 010 for 8 and 1:30 for 90
            with contextlib.suppress(ValueError):
                return self.checked(name, TYPES[kind](text))
            return self.checked(name, str(text))
        try:
            return self.checked(name, yaml.safe_load(text))
        except yaml.YAMLError:
            raise ValueError(f"{self.name}.{name}={text} cannot be read as YAML.")


def notebooks():
    """All notebooks of the project, in order."""
    return [Notebook(path) for path in sorted((runtime.root() / "notebooks").glob("[0-9]*.ipynb"))]


def profile(name, known):
    """The parameters of a profile per notebook.

    Parameters
    ----------
    name : str
        A file in ``notebooks/profiles``.
    known : sequence of Notebook

    Returns
    -------
    dict of str to dict
        For each notebook's name its parameters.

    Raises
    ------
    ValueError
        There is no such profile, or it names an unknown notebook or parameter.
    """
    folder = runtime.root() / "notebooks" / "profiles"
    path = folder / f"{name}.yaml"
    if path not in folder.glob("*.yaml"):
        names = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
        raise ValueError(f"Unknown profile {name!r}: use one of {names}.")
    try:
        sections = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path.name} is not YAML: {error}")
    if not isinstance(sections, dict) or not all(isinstance(s, dict) for s in sections.values()):
        raise ValueError(f"{path.name} must hold one section of parameters per notebook.")
    by_name = {notebook.name: notebook for notebook in known}
    values = {notebook.name: {} for notebook in known}
    for section, given in sections.items():
        if section not in by_name:
            raise ValueError(
                f"{path.name} has a section {section!r}, but the notebooks are "
                f"{', '.join(by_name)}."
            )
        for key, value in given.items():
            values[section][key] = by_name[section].checked(key, value)
    return values


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one notebook."""

    notebook: str
    failure: str  # empty when it finished
    claims: list
    seconds: float
    memory: int  # peak of all its processes together, bytes

    @property
    def verdict(self):
        """One phrase for the summary."""
        if self.failure:
            return "FAILED"
        counts = {}
        for claim in self.claims:
            counts[claim["verdict"]] = counts.get(claim["verdict"], 0) + 1
        return "finished; claims: " + (
            ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())) or "none"
        )


def execute(notebook, parameters, folder, report=print):
    """Execute a notebook in processes of its own and keep its results only if it finished.

    Parameters
    ----------
    notebook : Notebook
    parameters : dict
    folder : pathlib.Path
        Results go to ``folder/NAME``, the executed notebook to ``folder/NAME.ipynb``. Both are
        written beside and renamed; if it fails, the older results stay and the notebook is kept
        as ``NAME.failed.ipynb``.
    report : callable
        Is told what the notebook prints, line by line.

    Returns
    -------
    Outcome
    """
    started = time.monotonic()
    runtime.writable(folder)
    lock = filelock.FileLock(folder / f".{notebook.name}.lock", timeout=0)
    try:
        with lock:
            failure, memory = _executed(notebook, parameters, folder, report)
    except filelock.Timeout:
        failure, memory = f"another run is writing to {folder / notebook.name}", 0
    claims = []
    if not failure:
        claims = json.loads((folder / notebook.name / "claims.json").read_text(encoding="utf-8"))
    return Outcome(notebook.name, failure, claims, time.monotonic() - started, memory)


def _executed(notebook, parameters, folder, report):
    """Execute in a staging folder and put the results in place; the failure and peak memory."""
    staging, executed = folder / f".{notebook.name}.new", folder / f".{notebook.name}.new.ipynb"
    old = folder / f".{notebook.name}.old"
    if old.exists() and not (folder / notebook.name).exists():
        old.rename(folder / notebook.name)  # a run was killed between two renames
    shutil.rmtree(staging, ignore_errors=True)
    runtime.writable(staging)
    with tempfile.TemporaryDirectory() as scratch:
        task = Path(scratch, "task.json")
        given = {**parameters, "out": str(staging)}
        task.write_text(json.dumps(given), encoding="utf-8")
        command = [sys.executable, "-m", "kit.runner", notebook.path, executed, task]
        memory = _watched([*command, str(os.getpid())], task.with_name("errors"), report)
        failure = _failure(staging, task)
    final = folder / f"{notebook.name}.ipynb"
    (folder / f"{notebook.name}.failed.ipynb").unlink(missing_ok=True)
    if failure:
        final = final.with_suffix(".failed.ipynb")
    if executed.exists():
        executed.replace(final)
    if not failure:
        _replace(folder / notebook.name, staging, old)
    shutil.rmtree(staging, ignore_errors=True)
    return failure, memory


def _watched(command, errors, report):
    """Run a command in a group of its own to its end; no process of it is left, come what may."""
    with errors.open("wb") as sink:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=sink, text=True, encoding="utf-8",
            errors="replace", stdin=subprocess.DEVNULL, start_new_session=True,
            env=_environment(),
        )  # fmt: skip
    tree = psutil.Process(process.pid)
    relay = threading.Thread(target=_relay, args=(process.stdout, report), daemon=True)
    relay.start()
    peak, seen = 0, {tree}
    try:
        while process.poll() is None:
            members = _members(tree)
            seen |= set(members)
            peak = max(peak, sum(map(_resident, members)))
            time.sleep(0.2)
    finally:
        # The kernel has a session of its own: it is found as a child, not through the group.
        for member in {*seen, *_members(tree)}:
            with contextlib.suppress(psutil.Error):
                member.kill()
        process.wait()
        relay.join(timeout=10)
    return peak


def _relay(lines, report):
    for line in lines:
        with contextlib.suppress(OSError, ValueError):  # whoever listened may be gone
            report(line.rstrip())


def _environment():
    """The same folders and encoding for the child, wherever its kernel's working directory is."""
    folders = {f"KIT_{kind.upper()}": str(runtime.folder(kind)) for kind in runtime.FOLDERS}
    return {**os.environ, **folders, "PYTHONIOENCODING": "utf-8"}


def _members(tree):
    with contextlib.suppress(psutil.Error):
        return [tree, *tree.children(recursive=True)]
    return []


def _resident(process):
    with contextlib.suppress(psutil.Error):
        return process.memory_info().rss
    return 0


def _failure(staging, task):
    if (staging / "manifest.json").is_file():
        return ""
    with contextlib.suppress(OSError):
        return task.with_name("failure").read_text(encoding="utf-8")
    # What papermill leaves behind looks finished even when its kernel was killed.
    errors = task.with_name("errors").read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((line for line in reversed(errors) if line.strip()), "no error was printed")
    return f"it ended early, without its last cell ({last.strip()})"


def _replace(final, staging, old):
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        final.rename(old)
    staging.rename(final)
    shutil.rmtree(old, ignore_errors=True)


def _main(notebook, output, task, parent):
    """Execute one notebook with papermill; leave one sentence in a file if that fails."""
    runtime.die_with_parent(int(parent))
    handler = logging.StreamHandler(sys.stdout)
    handler.addFilter(_printed_by_notebook)
    handler.terminator = ""
    logging.basicConfig(level=logging.INFO, handlers=[handler], format="%(message)s")
    parameters = json.loads(Path(task).read_text(encoding="utf-8"))
    try:
        papermill.execute_notebook(
            notebook, output, parameters, progress_bar=False, log_output=True,
            cwd=str(runtime.root()),
        )  # fmt: skip
    except papermill.PapermillExecutionError as error:
        sentence = f"cell {error.exec_count}: {error.ename}: {error.evalue}"
    except Exception as error:
        dead = type(error).__name__ == "DeadKernelError"
        why = "its kernel died: killed, or out of memory" if dead else f"{error}"
        sentence = f"{why} ({type(error).__name__})"
    else:
        return
    Path(task).with_name("failure").write_text(sentence, encoding="utf-8")


def _printed_by_notebook(record):
    # Papermill logs what cells print and what they show; only the former ends in a line break.
    return record.funcName == "log_output_message" and record.getMessage().endswith("\n")


@contextlib.contextmanager
def _quiet():
    logger = logging.getLogger("papermill")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _article(kind):
    names = {"str": "text", "list": "a list", "dict": "a mapping", "int": "a whole number"}
    return names.get(kind) or {"float": "a number", "bool": "true or false"}.get(kind, kind)


if __name__ == "__main__":
    _main(*sys.argv[1:])
