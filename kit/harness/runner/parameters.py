"""The notebooks, and the values of their parameters: read, checked, refused in one sentence."""

from __future__ import annotations

import ast
import contextlib
import copy
import dataclasses
import difflib
import functools
import importlib
import importlib.util
import json
import logging
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import yaml

from kit.constraints import OF_TYPE, Constraint, shown
from kit.harness.results import Study

# Parameters that options of the command line set, in every notebook that has them.
OPTIONS = {
    "data_root": "--data", "device": "--device", "jobs": "--jobs", "scheduler": "--scheduler",
    "out": "--out",
}  # fmt: skip
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
QUICK = "quick"  # the profile that is the notebooks' defaults
Values = dict[str, Any]  # a notebook's parameters by name


class _Loader(yaml.SafeLoader):
    """Reads numbers as Python does: YAML 1.1 takes 1e-1 for text, 010 for 8 and 1:30 for 90."""

    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in _NUMBERS]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver(
    "!number", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$"), list("-+.0123456789")
)
_Loader.add_constructor("!number", lambda loader, node: _number(node.value, "int"))


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One line of a notebook's parameters cell."""

    name: str
    type: str
    default: Any
    help: str


class Notebook:
    """A notebook of the project, with its parameters and its experiment.

    Parameters
    ----------
    path
        Its name is a number, an underscore, and the name of its experiment's module.
    package
        The package that this module lies in; none where it is empty.

    Raises
    ------
    ValueError
        It is no notebook, or has a parameter that cannot be read.
    """

    def __init__(self, path: Path, package: str = ""):
        self.path, self.name, self.package = path, path.stem, package
        self.number, _, self.module = path.stem.partition("_")
        self.parameters = dict(_inspect(path, path.stat().st_mtime_ns))

    @property
    def experiment(self) -> ModuleType | None:
        """The module of its experiment; None where it has none."""
        name = _experiment(self.path, self.package)
        return importlib.import_module(name) if name else None

    def defaults(self) -> dict[str, Any]:
        """The values of its parameters cell."""
        return {p.name: copy.deepcopy(p.default) for p in self.parameters.values()}

    def constraint(self, name: str) -> Constraint:
        """What a parameter must be: as the experiment declares it, or else by its type."""
        declared = self.experiment.Settings.declared() if self.experiment else {}
        return declared.get(name) or OF_TYPE[self.parameters[name].type]

    def check(self, name: str, value: Any) -> Any:
        """A value for one parameter, or a ValueError with one sentence on what is wrong.

        Only plain JSON types pass: papermill would silently turn others into strings.
        """
        if name not in self.parameters:
            close = difflib.get_close_matches(name, self.parameters, 1)
            hint = f"did you mean {close[0]!r}? It has " if close else "it has "
            names = ", ".join(self.parameters) or "none"
            raise ValueError(f"{self.name} has no parameter {name!r}: {hint}{names}.")
        try:
            plain = json.loads(json.dumps(value, allow_nan=False)) == value
        except (TypeError, ValueError):
            plain = False
        if not plain:
            raise ValueError(
                f"{self.name}.{name} is {shown(value)}: use only text, numbers, lists, and "
                "mappings from text, as JSON has them."
            )
        return self.constraint(name).check(f"{self.name}.{name}", value)

    def parse(self, name: str, text: str) -> Any:
        """The value of a parameter from the command line, read as YAML unless it is a string."""
        if name in OPTIONS:
            raise ValueError(f"{self.name}.{name} is not set with -p: use {OPTIONS[name]}.")
        kind = self.parameters[name].type if name in self.parameters else None
        if kind == "str":
            return self.check(name, text)
        if kind in ("int", "float"):
            return self.check(name, _number(text, kind))
        try:
            value = yaml.load(text, _Loader)
        except (yaml.YAMLError, RecursionError):
            raise ValueError(f"{self.name}.{name}={shown(text)} cannot be read as YAML.")
        return self.check(name, value)


def _experiment(path: Path, package: str) -> str:
    """The name of the module of a notebook's experiment; empty where there is none."""
    module = path.stem.partition("_")[2]
    name = f"{package}.{module}"
    return name if package and module.isidentifier() and importlib.util.find_spec(name) else ""


def notebooks(folder: Path, package: str = "") -> list[Notebook]:
    """The notebooks of a folder, one for each number, with their experiments in a package."""
    left_out = copies(folder, package)
    paths = sorted(folder.glob("[0-9]*.ipynb"))
    return [Notebook(path, package) for path in paths if path not in left_out]


def copies(folder: Path, package: str = "") -> dict[Path, Path]:
    """Notebooks whose number another one has, such as a teacher's copy, and that other one.

    It is the one with an experiment; where none has one, that of the shortest name.
    """
    by_number: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("[0-9]*.ipynb"), key=lambda path: (len(path.name), path.name)):
        by_number.setdefault(path.stem.partition("_")[0], []).append(path)
    found: dict[Path, Path] = {}
    for alike in by_number.values():
        own = next((path for path in alike if _experiment(path, package)), alike[0])
        found |= {path: own for path in alike if path != own}
    return found


def studies(known: Iterable[Notebook]) -> list[Study]:
    """The descriptions of the papers that notebooks are about."""
    modules = [notebook.experiment for notebook in known]
    return [module.STUDY for module in modules if module and hasattr(module, "STUDY")]


def profile(name: str, known: Sequence[Notebook], folder: Path) -> dict[str, dict[str, Any]]:
    """The parameters of a profile per notebook.

    Parameters
    ----------
    name
        ``"quick"`` (the notebooks' defaults), or a file's, without suffix.
    known
        The notebooks that it may name.
    folder
        Of the profiles' files.

    Returns
    -------
    dict
        For each notebook's name the parameters that differ from its defaults.

    Raises
    ------
    ValueError
        There is no such profile, or it names an unknown notebook or parameter.
    """
    values: dict[str, dict[str, Any]] = {notebook.name: {} for notebook in known}
    paths = {p.stem: p for p in folder.glob("*.yaml")}
    if name not in {QUICK, *paths}:
        names = ", ".join(sorted({QUICK, *paths}))
        raise ValueError(f"Unknown profile {name!r}: use one of {names}.")
    if name == QUICK:
        return values
    by_name = {notebook.name: notebook for notebook in known}
    for section, config in _sections(paths[name]).items():
        if section not in by_name:
            raise ValueError(
                f"{name}.yaml has a section {section!r}, but the notebooks are "
                f"{', '.join(by_name)}."
            )
        for key, value in config.items():
            values[section][key] = by_name[section].check(key, value)
    return values


def _sections(path: Path) -> dict[str, dict[str, Any]]:
    try:
        sections = yaml.load(path.read_text(encoding="utf-8"), _Loader) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path.name} is not YAML: {error}")
    if not isinstance(sections, dict) or not all(isinstance(s, dict) for s in sections.values()):
        raise ValueError(f"{path.name} must hold one section of parameters per notebook.")
    return sections


@functools.lru_cache(maxsize=64)
def _inspect(path: Path, modified: int) -> dict[str, Parameter]:
    """The parameters that papermill finds in a file of this age."""
    from kit.harness.runner.fast_papermill import papermill  # takes a moment

    try:
        with _quiet():
            lines = papermill.inspect_notebook(str(path))
    except Exception as error:  # nbformat and papermill have no common one
        raise ValueError(f"{path.name} cannot be read as a notebook: {error}")
    return {name: _parameter(path, line) for name, line in lines.items()}


def _parameter(path: Path, line: dict[str, str]) -> Parameter:
    try:
        default = ast.literal_eval(line["default"])
    except (ValueError, SyntaxError):
        raise ValueError(
            f"{path.name} has the parameter {line['name']} = {line['default']}: write a plain "
            "value (text, a number, true or false, a list or a mapping)."
        )
    kind = line["inferred_type_name"]
    kind = kind if kind in OF_TYPE else type(default).__name__  # no type was written
    return Parameter(line["name"], kind, default, line["help"])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("papermill")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _number(text: str, kind: str) -> int | float | str:
    """A finite number of a kind if the text is one, else any finite number, else the text."""
    for read in (int, float) if kind == "int" else (float,):
        with contextlib.suppress(ValueError):
            number = read(text)
            if abs(number) < math.inf:  # neither infinite nor NaN
                return number
    return text
