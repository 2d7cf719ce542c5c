"""Parameters: declared once, read from a notebook's names, refused in one sentence."""

import dataclasses
from typing import Annotated

import pytest

from kit.constraints import ListOf, OneOf, Rates, divides_one, number, odd, whole
from kit.harness import settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(settings.Settings):
    runs: Annotated[int, whole(1)]
    z: Annotated[int, odd(3, "because")]
    epsilon: Annotated[float, number(above=0, to=1)]
    share: Annotated[float, number(least=0, to=1)]
    norm: Annotated[str, OneOf(("linf", "l2"), "norm")]
    pixels: Annotated[list, ListOf(whole(1), "list whole numbers", ascending=True)]
    rates: Annotated[dict, Rates(OneOf(("adam", "sgd"), "optimizer"))]
    grid: Annotated[float, divides_one()] = 0.1
    weights: Annotated[list, ListOf(number(above=0), "list positive numbers")] = dataclasses.field(
        default_factory=lambda: [1.0]
    )

    def check(self):
        if self.runs > 100:
            raise ValueError("too many runs.")


GOOD = {
    "datasets": ["a", "b"], "special": {}, "train": 0, "test": 0, "seed": 0, "runs": 2, "z": 7,
    "epsilon": 0.5, "share": 0.0, "norm": "l2", "pixels": [1, 2], "rates": {"adam": 1e-3},
    "data_root": "x", "device": "cpu", "jobs": 1, "out": "y",
    "scheduler": "tcp://host:8786", "print": print,
}  # fmt: skip


def test_reading_takes_the_parameters_and_nothing_else():
    c = Config.read(GOOD)
    where = {"executor": "tcp://host:8786", "jobs": 1, "device": "cpu", "data_root": "x"}
    assert (c.runs, c.norm, c.where) == (2, "l2", where)
    assert Config.read(GOOD | {"scheduler": ""}).where["executor"] is None
    assert not {"data_root", "device", "jobs", "scheduler", "out", "print"} & set(c.parameters)
    assert set(c.parameters) >= {"datasets", "special", "runs", "seed"}


def test_a_whole_number_is_as_good_as_a_real_one():
    """They must not make two tasks of one, wherever they stand."""
    changed = {"epsilon": 1, "rates": {"adam": 1}, "weights": [1, 2], "grid": 1}
    c = Config.read({**GOOD, **changed, "special": {"a": {"share": 1, "rates": {"sgd": 2}}}})
    assert repr((c.epsilon, c.rates, c.weights, c.grid)) == "(1.0, {'adam': 1.0}, [1.0, 2.0], 1.0)"
    assert repr((c.on("a").share, c.on("a").rates)) == "(1.0, {'sgd': 2.0})"


def test_special_values_hold_on_one_data_set():
    c = Config.read({**GOOD, "special": {"b": {"runs": 9, "pixels": [3], "train": 5}}})
    assert (c.on("a").runs, c.on("b").runs, c.on("b").pixels, c.on("b").train) == (2, 9, [3], 5)
    assert c.on("b").seed == c.seed


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"runs": 0}, "runs is 0: it must be a positive whole number"),
        ({"runs": True}, "runs is True: it must be a positive whole number"),
        ({"runs": 2.0}, "runs is 2.0: it must be a positive whole number"),
        ({"runs": 101}, "too many runs"),
        ({"train": -1}, "train is -1: use a whole number from 0 on"),
        ({"z": 4}, "z is 4: use an odd whole number from 3 on, because"),
        ({"z": 1}, "z is 1: use an odd whole number from 3"),
        ({"epsilon": 0.0}, r"epsilon is 0.0: it must be in \(0, 1\]"),
        ({"epsilon": float("nan")}, r"epsilon is nan: it must be in \(0, 1\]"),
        ({"epsilon": "0.1"}, r"epsilon is '0.1': it must be in \(0, 1\]"),
        ({"share": -0.1}, r"share is -0.1: it must be in \[0, 1\]"),
        ({"norm": "l3"}, "Unknown norm 'l3' in norm: use one of linf, l2"),
        ({"pixels": []}, r"pixels is \[\]: list whole numbers"),
        ({"pixels": [0]}, r"pixels is \[0\]: list whole numbers"),
        ({"pixels": [2, 1]}, r"pixels is \[2, 1\]: name each one once, the smallest first"),
        ({"rates": {"lion": 1.0}}, "Unknown optimizer 'lion' in rates: use one of adam, sgd"),
        ({"rates": {"adam": 0}}, "rates: the rate of adam is 0: it must be a positive number"),
        ({"rates": [1]}, r"rates is \[1\]: it must map names to numbers"),
        ({"grid": 0.3}, "grid is 0.3: it must go into 1.0 a whole number of times"),
        ({"grid": 0}, "grid is 0: it must go into 1.0"),
        ({"grid": True}, "grid is True: it must go into 1.0"),
        ({"datasets": "a"}, "datasets is 'a': list at least one name"),
        ({"datasets": ["a", "a"]}, "name each one once"),
        ({"special": 3}, "special is 3: it must be a mapping"),
        (
            {"special": {"c": {}}},
            r"special names 'c', which is not among this run's data sets, \['a', 'b'\]",
        ),
        ({"special": {"a": {"rnus": 3}}}, r"special of a has 'rnus' \(did you mean 'runs'\?\)"),
        ({"special": {"a": {"seed": 3}}}, "special of a has 'seed': allowed are train, test, runs"),
        ({"special": {"a": {"jobs": 3}}}, "special of a has 'jobs'"),
        ({"special": {"a": 3}}, "special of a has 3"),
        ({"special": {"a": {"runs": 0}}}, "special of a: runs is 0: it must be a positive"),
        ({"special": {"a": {"runs": 101}}}, "special of a: too many runs"),
    ],
)
def test_bad_values_are_one_sentence(change, sentence):
    with pytest.raises(ValueError, match=sentence) as refusal:
        Config.read({**GOOD, **change})
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            "Z: int = 5",
            "There is no parameter 'Z', so that it changes nothing: did you mean 'z'?",
        ),
        (
            "zz: int = 5",
            "There is no parameter 'zz', so that it changes nothing: did you mean 'z'?",
        ),
        (
            "epsylon: float = 0.3",
            "There is no parameter 'epsylon', so that it changes nothing: did",
        ),
        ("runs: 12", "The line runs: 12 gives it no value: write runs: int = 12."),
        ("pixels: [1, 2]", r"The line pixels: \[1, 2\] gives it no value: write pixels: list = "),
    ],
)
def test_a_mistyped_line_of_a_running_notebook_is_not_ignored(line, sentence):
    """The right name still has its old value there, so that nothing would be missing."""
    kernel = dict(GOOD)
    exec("runs: int = 2\nz: int = 7\nother: list = []", kernel)
    assert Config.read(kernel).runs == 2
    exec(line, kernel)
    with pytest.raises(ValueError, match=sentence):
        Config.read(kernel)
    assert Config.read(kernel).runs == 2  # once it is corrected


def test_a_refusal_is_one_line_in_a_notebook():
    with pytest.raises(ValueError, match="too many runs") as refused:
        Config.read(GOOD | {"runs": 101})
    assert refused.value._render_traceback_() == ["too many runs."]
    assert refused.value.__suppress_context__


def test_a_missing_parameter_is_named():
    with pytest.raises(ValueError, match="The parameter 'z' is missing: give it a value"):
        Config.read({k: v for k, v in GOOD.items() if k != "z"})
    with pytest.raises(ValueError, match=r"'z' is missing \(is 'zz' a typing error\?\)"):
        Config.read({"zz" if k == "z" else k: v for k, v in GOOD.items()})


def test_a_name_in_the_parameters_cell_is_taken_at_its_word():
    """Though its line has no type: in a running kernel the right name still has its old value."""
    cell = "\n".join(f"{name} = {value!r}" for name, value in GOOD.items() if name != "print")
    later = "epsilons = runz = 3\nz = 5"  # a cell of one's own
    Config.read(GOOD | {"In": ["", cell, later], "epsilons": 3, "runz": 3})
    with pytest.raises(ValueError, match="There is no parameter 'zz', so that it changes nothing"):
        Config.read(GOOD | {"In": ["", cell.replace("z = ", "zz = "), later]})
