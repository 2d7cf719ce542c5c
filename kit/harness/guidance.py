"""Errors in a notebook, in a sentence: bad input, and cells that were run out of order."""

from __future__ import annotations

import ast
import json
import os
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

_OWN_SCOPE = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def explain_errors() -> None:
    """From now on errors of two kinds are shown in one sentence, without a traceback.

    What the kit refuses with a ValueError says what was wrong. A name that has no value yet is
    explained by the cell that makes it. Only in a notebook whose file is known, as in JupyterLab
    and VS Code: elsewhere the traceback is what one reads afterwards.
    """
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None:
        shell.set_custom_exc((NameError, ValueError), _explain)


def _explain(
    shell: Any,
    kind: type[Exception],
    error: Any,
    traceback: TracebackType,
    tb_offset: int | None = None,
) -> None:
    path = shell.user_ns.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME", "")
    frames = traceback
    while frames.tb_next:
        frames = frames.tb_next
    names, sentence = frames.tb_frame.f_globals, ""
    if not Path(path).is_file():
        pass
    elif kind is ValueError and names.get("__name__", "").startswith("kit."):
        sentence = str(error)
    elif kind is NameError and names is shell.user_ns:
        cells = json.loads(Path(path).read_text(encoding="utf-8"))["cells"]
        sentence = explanation(error.name or "", cells, shell.user_ns["In"][-1])
    if sentence:
        error._render_traceback_ = lambda: [sentence]
    shell.showtraceback((kind, error, traceback), tb_offset=tb_offset)


def explanation(name: str, cells: list[dict[str, Any]], running: str = "") -> str:
    """Which cell of a notebook to run first for a name; empty if no other cell makes it.

    Parameters
    ----------
    name
        That has no value.
    cells
        Of the notebook, as its file has them.
    running
        The source of the cell that asks for it.

    Examples
    --------
    >>> first = {"cell_type": "markdown", "source": "## 2 · Images"}
    >>> explanation("a", [first, {"cell_type": "code", "source": "a = 1"}])
    "'a' has no value yet: first run the cell that begins with “a = 1” (2 · Images), or choose \
Run › Run All Above Selected Cell."
    """
    section = "at the beginning"
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            heads = [line for line in source.splitlines() if line.startswith("## ")]
            section = heads[-1].removeprefix("## ") if heads else section
        elif cell["cell_type"] == "code" and name in made(source):
            if source.strip() == running.strip():
                return ""
            begin = textwrap.shorten(source.splitlines()[0], 70, placeholder=" …")
            return (
                f"{name!r} has no value yet: first run the cell that begins with “{begin}” "
                f"({section}), or choose Run › Run All Above Selected Cell."
            )
    return ""


def made(source: str) -> set[str]:
    """The names that a cell gives a value."""
    try:
        return set(_bound(ast.parse(source)))
    except SyntaxError:  # a magic command
        return set()


def _bound(node: ast.AST) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            yield child.name
        elif isinstance(child, ast.alias):
            yield child.asname or child.name.partition(".")[0]
        elif isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
            yield child.id
        elif not isinstance(child, _OWN_SCOPE):
            yield from _bound(child)
