"""What a notebook defines: its functions, parameters and solutions; and a run of its cells here."""

import ast
import contextlib
import functools
import json
import re
import types
from unittest import mock

import yaml

from kit import runtime
from kit.harness import plots


def _read(name, kind):
    """The tags and the source of each cell of a kind, "code" or "markdown"."""
    path = runtime.root() / "notebooks" / f"{name}.ipynb"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [
        (cell["metadata"].get("tags", []), "".join(cell["source"]))
        for cell in cells
        if cell["cell_type"] == kind
    ]


def _cells(name):
    """The code cells of a notebook: tags and the parsed source of each."""
    return [(tags, ast.parse(source)) for tags, source in _read(name, "code")]


def code(name):
    """The sources of the code cells of a notebook."""
    return [source for _, source in _read(name, "code")]


class Screen:
    """Stands for IPython's display: sliders by label, and what every picture shows by now."""

    def __init__(self):
        self.sliders, self.pictures, self.changes = {}, [], 0

    def __call__(self, shown, *, display_id=None, **options):
        if isinstance(shown, plots.Slider):
            self.sliders[shown.label] = shown, len(self.pictures) - 1
        elif display_id:
            place = len(self.pictures)
            self.pictures.append(shown)
            return types.SimpleNamespace(update=functools.partial(self._update, place))
        return None

    def _update(self, place, shown, **options):
        self.pictures[place] = shown
        self.changes += 1


@contextlib.contextmanager
def screen():
    """A `Screen` on which everything is displayed inside the block."""
    shown = Screen()
    with mock.patch("IPython.display.display", shown):
        yield shown


KEPT = (ast.Import, ast.ImportFrom, ast.FunctionDef)


def _definitions(cell):
    """A cell without all that it does but import and define functions."""
    return ast.Module([part for part in cell.body if isinstance(part, KEPT)], type_ignores=[])


@functools.cache
def functions(name):
    """The functions that the cells of a notebook define; imports run, nothing else does."""
    namespace = {"__name__": name}
    names = []
    for number, (_, cell) in enumerate(_cells(name), 1):
        cell = _definitions(cell)
        names += [part.name for part in cell.body if isinstance(part, ast.FunctionDef)]
        exec(compile(cell, f"{name}, code cell {number}", "exec"), namespace)
    return types.SimpleNamespace(**{function: namespace[function] for function in names})


def parameters(name):
    """The parameters of a notebook with their defaults, as its parameters cell has them."""
    (cell,) = [cell for tags, cell in _cells(name) if "parameters" in tags]
    return {line.target.id: ast.literal_eval(line.value) for line in cell.body}


def profiles():
    """By the names of the profiles, their parameters for each notebook."""
    paths = sorted((runtime.root() / "notebooks" / "profiles").glob("*.yaml"))
    return {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in paths}


def solutions(name):
    """The code in the folded solutions of a notebook's exercises, one text per solution."""
    return folded("\n".join(source for _, source in _read(name, "markdown")))


def folded(text):
    """The Python code in each folded solution of a Markdown text, where it has some."""
    parts = re.findall(r"<details>\s*<summary>Solution.*?</summary>(.*?)</details>", text, re.S)
    blocks = [re.findall(r"^```python\n(.*?)^```", part, re.S | re.M) for part in parts]
    return ["\n".join(code) for code in blocks if code]


def run(name, display=None, *, demonstrations=True, **values):
    """What a notebook's names mean after its code cells ran in this process.

    `display` stands for the one that cells find; `values` replace parameters. Without
    `demonstrations` what stands between the imports and the computation of the plan only defines
    its functions.
    """
    namespace = {"__name__": name, "display": display}
    cells = _cells(name)
    computes = [
        number for number, (_, cell) in enumerate(cells) if ".compute(" in ast.unparse(cell)
    ]
    for number, (tags, cell) in enumerate(cells):
        if not demonstrations and 2 <= number < computes[0]:
            cell = _definitions(cell)
        exec(compile(cell, f"{name}, code cell {number + 1}", "exec"), namespace)
        if "parameters" in tags:
            namespace |= values
    return namespace
