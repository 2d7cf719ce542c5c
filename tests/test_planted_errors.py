"""The planted errors of benchmarks/planted_errors.py can be planted; it shows what notices them."""

import ast

import pytest

from benchmarks.planted_errors import ERRORS, planted
from kit import runtime


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error[0])
def test_it_can_be_planted(error):
    [(path, text)] = planted(error).items()
    assert text != (runtime.root() / path).read_text(encoding="utf-8")
    if path.endswith(".py"):
        ast.parse(text)
    assert all((runtime.root() / "tests" / f"{name}.py").is_file() for name in error[-1].split())
