"""What a notebook defines, without running it: its functions and its parameters."""

import ast
import functools
import json
import types

import yaml

from kit import runtime


def _cells(name):
    """The code cells of a notebook: tags and the parsed source of each."""
    path = runtime.root() / "notebooks" / f"{name}.ipynb"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [
        (cell["metadata"].get("tags", []), ast.parse("".join(cell["source"])))
        for cell in cells
        if cell["cell_type"] == "code"
    ]


@functools.cache
def functions(name):
    """The functions that the cells of a notebook define; imports run, nothing else does."""
    namespace = {"__name__": name}
    names = []
    for number, (_, cell) in enumerate(_cells(name), 1):
        kept = (ast.Import, ast.ImportFrom, ast.FunctionDef)
        cell.body = [statement for statement in cell.body if isinstance(statement, kept)]
        names += [s.name for s in cell.body if isinstance(s, ast.FunctionDef)]
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
