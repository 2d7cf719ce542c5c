"""The study of noise tolerance: each of its claims, judged on numbers that decide it."""

import numpy as np
import pytest

from kit.experiments import noise_tolerance as study
from kit.harness import results

SIZES = [0.1, 0.4]


def judged(falls):
    """What is said of nets that lose so many points from the smallest to the largest noise."""
    runs = [{"accuracy": np.array([0.9, 0.9 - fall / 100])} for fall in falls]
    return {
        claim: verdict.outcome
        for claim, _, verdict in study.verdicts(study.accuracies(runs, SIZES), 0.1)
    }


@pytest.mark.parametrize(
    ("falls", "verdict"),
    [
        ([30, 32, 31], results.REPRODUCED),
        ([-30, -32, -31], results.NOT_REPRODUCED),
        ([30, -32, 1], results.UNDECIDED),
        ([30, 32], results.UNDECIDED),  # two runs decide nothing
    ],
)
def test_accuracy_falls(falls, verdict):
    assert judged(falls) == {"5.C1": verdict}


def test_a_row_for_each_run_and_size():
    table = study.accuracies([{"accuracy": np.array([0.5, 0.25])}] * 3, SIZES)
    assert table["accuracy"].tolist() == [50, 25] * 3
