"""The planted errors of benchmarks/planted_errors.py can be planted; it shows what notices them."""

import pytest

from benchmarks.planted_errors import ERRORS
from kit import runtime


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error[0])
def test_it_can_be_planted(error):
    _, path, right, wrong, tests = error
    assert right != wrong
    assert right in (runtime.root() / path).read_text(encoding="utf-8")
    assert all((runtime.root() / "tests" / f"{name}.py").is_file() for name in tests.split())
