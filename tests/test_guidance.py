"""Errors in a notebook, in a sentence: bad input, and cells that were run out of order."""

import pytest
from IPython.testing.globalipapp import start_ipython

import kit
from kit.harness import guidance

CELLS = [
    {"cell_type": "code", "source": "import numpy as np\nz: int = 7"},
    {"cell_type": "markdown", "source": ["# Title\n", "\n", "## 1 · Nets\n", "Text."]},
    {"cell_type": "code", "source": "%matplotlib inline\nbroken ="},
    {"cell_type": "code", "source": "few = [hidden for hidden in range(3)]\nfor step in few: pass"},
    {"cell_type": "markdown", "source": "More.\n\n## 2 · Attacks"},
    {"cell_type": "code", "source": "def attack(x):\n    local = x\n    return local"},
    {"cell_type": "code", "source": "few = 1"},
]


@pytest.mark.parametrize(
    ("name", "begin", "section"),
    [
        ("np", "import numpy as np", "at the beginning"),
        ("z", "import numpy as np", "at the beginning"),
        ("few", "few = [hidden for hidden in range(3)]", "1 · Nets"),
        ("step", "few = [hidden for hidden in range(3)]", "1 · Nets"),
        ("attack", "def attack(x):", "2 · Attacks"),
    ],
)
def test_the_first_cell_that_gives_a_value_is_named(name, begin, section):
    said = guidance.explanation(name, CELLS, "print(1)")
    assert said.startswith(f"{name!r} has no value yet: first run the cell that begins with")
    assert f"“{begin}” ({section})" in said
    assert "\n" not in said


@pytest.mark.parametrize("name", ["hidden", "local", "broken", "unknown"])
def test_what_no_cell_gives_a_value_is_a_common_error(name):
    assert guidance.explanation(name, CELLS, "print(1)") == ""


def test_a_cell_is_not_told_to_run_itself_first():
    assert (
        guidance.explanation("attack", CELLS, "def attack(x):\n    local = x\n    return local\n")
        == ""
    )


def test_a_long_beginning_is_shortened():
    cells = [{"cell_type": "code", "source": f"a = [{', '.join(map(str, range(100)))}]"}]
    said = guidance.explanation("a", cells)
    assert "…” (at the beginning)" in said
    assert len(said) < 230


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """A notebook's kernel, in which errors are explained."""
    notebook = tmp_path / "a.ipynb"
    notebook.write_text('{"cells": []}')
    monkeypatch.setenv("JPY_SESSION_NAME", str(notebook))
    shell = start_ipython() or get_ipython()  # noqa: F821 there is one already
    shell.user_ns["kit"] = kit
    guidance.explain_errors()
    yield shell
    shell.custom_exceptions = ()


def test_what_the_kit_refuses_is_one_line(shell, capsys):
    shell.run_cell("kit.runtime.device('gpu')")
    (line,) = capsys.readouterr().out.strip().splitlines()
    assert "gpu" in line


def test_other_errors_keep_their_tracebacks(shell, capsys):
    shell.run_cell("int('a')")
    assert "Traceback" in capsys.readouterr().out
