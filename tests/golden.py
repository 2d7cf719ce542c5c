"""Golden numbers: what every step computed at tiny size when its version was recorded.

Record the steps whose names contain PART anew by ``python golden.py PART`` in this folder.
"""

import inspect
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from kit import runtime, steps

PATH = Path(__file__).with_name("golden.json")


def numbers(result):
    """A few numbers that change when any array of a result does."""
    found = {}
    for name, value in result.items():
        if isinstance(value, str):
            continue
        array = np.asarray(value if value is not None else np.nan, dtype=float).ravel()
        array = np.nan_to_num(array, nan=-1.0)
        weights = np.cos(np.arange(array.size))  # so that a permutation changes the sum as well
        found[name] = [array.size, float(np.abs(array).sum()), float(array @ weights)]
    return found


def machine():
    """What rounding depends on."""
    return [runtime.hardware(runtime.device("cpu"))[key] for key in ("processor", "torch")]


def given_to(made, parameters):
    """Those of some parameters that a step takes."""
    return {name: parameters[name] for name in inspect.signature(made).parameters}


def check(name, parameters, elsewhere=0.03):
    """Compare a step's numbers with the recorded ones.

    On another machine training rounds otherwise; a changed formula still shows beyond a share
    `elsewhere` of the numbers.
    """
    golden = json.loads(PATH.read_text(encoding="utf-8"))
    made = steps.REGISTRY[name]
    assert name in golden, f"record the numbers of the new step {name}"
    wanted = golden[name]
    assert wanted["version"] == made.version, f"record the new numbers of step {name}"
    found = numbers(made(**given_to(made, parameters)))
    assert set(found) == set(wanted["numbers"])
    tolerance = 1e-6 if wanted["machine"] == machine() else elsewhere
    for key, value in wanted["numbers"].items():
        scale = tolerance * (1 + value[1])
        assert found[key] == pytest.approx(value, rel=0, abs=scale), (
            f"The numbers of {name} have changed ({key}): bump the version of step {name} "
            "and record them anew."
        )


def record(part):
    """Write down what the steps compute whose names contain `part`."""
    import conftest  # noqa: F401  a step store of its own
    import test_evolved_perturbations
    import test_knn_tradeoff
    import test_overfitting_vs_robustness

    golden = json.loads(PATH.read_text(encoding="utf-8"))
    rooms = (test_knn_tradeoff, test_evolved_perturbations, test_overfitting_vs_robustness)
    for room in rooms:
        for name, parameters in room.tiny_steps().items():
            if part in name:
                made = steps.REGISTRY[name]
                with runtime.threads(1):
                    found = numbers(made.function(**given_to(made, parameters)))
                golden[name] = {"version": made.version, "machine": machine(), "numbers": found}
    PATH.write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    record(sys.argv[1])
