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


def test_every_method_has_tests_that_notice_mutants():
    pytest.importorskip("mutmut")
    from benchmarks import mutants

    tests = {name for names in mutants.TESTS.values() for name in names.split()}
    assert all((runtime.root() / "tests" / f"{name}.py").is_file() for name in tests)
    folder = runtime.root() / "kit"
    paths = [path.relative_to(folder.parent).as_posix() for path in folder.rglob("*.py")]
    without = [path for path in paths if not mutants.part(path) and "/harness/" not in path]
    assert all(path.endswith(("__init__.py", "experiments/images.py")) for path in without)
