"""Every claim of paper 3 on made-up accuracies: reproduced, not reproduced, undecided, at a limit.

The accuracies below reproduce everything. Each case changes some of them and says what must follow.
The slopes are those of the notebook.
"""

import notebook
import numpy as np
import pandas as pd
import pytest

from kit.experiments import knn_tradeoff as study
from kit.experiments.knn_tradeoff import claims
from kit.harness import results

YES, NO, OPEN = results.REPRODUCED, results.NOT_REPRODUCED, results.UNDECIDED
RUNS, IMAGES, TEST = 5, 100, 1000  # images in each set and run, and in the whole test set
ONE_OF_ALL = 100 / (RUNS * IMAGES)  # one image of all runs, in %
LIMITS = {"mnist": 2.0, "cifar10": 5.0}
TOGETHER = np.array([-4.0, -2.0, 0.0, 2.0, 4.0])  # how far a run lies off the others
WRONG, WHOLE, CONTROL = study.WRONG, study.WHOLE, study.CONTROL
# Accuracy (%) at K = 1, 3, 5, 7: slopes of 1.5 and 2 on adversarial sets, 1.1 and 1.2 beside.
ACCURACY = {
    "FGSM": (60, 40, 20, 0), "DeepFool": (60, 40, 20, 0), WRONG: (39.6, 36, 30, 0),
    CONTROL: (50, 30, 25, 0), WHOLE: (90, 90.4, 91, 90.2),
}  # fmt: skip
cells = notebook.functions("03_knn_tradeoff")


def accuracies(changes=(), runs=RUNS):
    """The notebook's table; where there is anything above 0 %, a run's numbers rise together."""
    return pd.DataFrame([
        (run, name, k, value + TOGETHER[run - 1] * (value > 0), TEST if name == WHOLE else IMAGES)
        for name, values in {**ACCURACY, **dict(changes)}.items()
        for run in range(runs, 0, -1)
        for k, value in zip((7, 5, 3, 1), values[::-1], strict=True)
    ], columns=["run", "set", "k", "accuracy", "images"])  # fmt: skip


def judge(**accuracies_of):
    """The verdicts on tables of accuracies, by claim, data set and attack."""
    return {
        (claim, name, attack): verdict
        for name, table in accuracies_of.items()
        for claim, attack, (verdict, _) in claims.verdicts(
            table, cells.slopes(table), LIMITS[name], 100 / TEST
        )
    }


def test_the_made_up_accuracies_reproduce_everything():
    everything = judge(mnist=accuracies(), cifar10=accuracies())
    assert set(everything.values()) == {YES}
    assert set(everything) == {
        (claim, name, attack)
        for name in LIMITS
        for claim in study.STUDY.claims
        for attack in ([""] if claim == "3.C3" else study.ADVERSARIAL)
    }


def steps_up(first, second, third):
    """Accuracies from their differences A_1 − A_3, A_3 − A_5 and A_5 − A_7."""
    return {"FGSM": (first + second + third, second + third, third, 0)}


CASES = [
    ("3.C1", "FGSM", steps_up(-10, 20, 20), NO),
    ("3.C1", "FGSM", steps_up(20, -10, 20), NO),
    ("3.C1", "FGSM", steps_up(20, 20, -10), NO),
    ("3.C1", "FGSM", steps_up(0, 20, 20), OPEN),
    ("3.C1", "FGSM", steps_up(0.75 * ONE_OF_ALL, 20, 20), OPEN),
    ("3.C1", "FGSM", steps_up(1.25 * ONE_OF_ALL, 20, 20), YES),
    ("3.C1", "DeepFool", steps_up(-10, 20, 20), YES),
    ("3.C1", "DeepFool", {"DeepFool": (40, 60, 20, 0)}, NO),
    ("3.C2", "FGSM", {WRONG: (72, 36, 30, 0)}, NO),  # S_1
    ("3.C2", "FGSM", {WRONG: (99, 90, 30, 0)}, NO),  # S_3
    ("3.C2", "FGSM", {"FGSM": (42, 40, 20, 0)}, NO),
    ("3.C2", "FGSM", {"FGSM": (60, 40, 0, 0)}, OPEN),  # no run has a finite S_3
    ("3.C2", "DeepFool", {"FGSM": (42, 40, 20, 0)}, YES),
    ("3.C2", "DeepFool", {"DeepFool": (42, 40, 20, 0)}, NO),
    ("3.C3", "", {WHOLE: (90, 90, 92.15, 90)}, NO),
    ("3.C3", "", {WHOLE: (90, 90, 92.05, 90)}, OPEN),  # within one test image of the limit
    ("3.C3", "", {WHOLE: (90, 90, 91.95, 90)}, OPEN),
    ("3.C3", "", {WHOLE: (90, 90, 91.85, 90)}, YES),
    ("3.C3", "", {WHOLE: (90, 87, 90, 90)}, NO),  # downwards, too
    ("3.X1", "FGSM", {CONTROL: (80, 30, 25, 0)}, NO),
    ("3.X1", "FGSM", {CONTROL: (60, 30, 25, 0)}, OPEN),
    ("3.X1", "FGSM", {CONTROL: (60 - 0.75 * ONE_OF_ALL, 30, 25, 0)}, OPEN),
    ("3.X1", "FGSM", {CONTROL: (60 - 1.25 * ONE_OF_ALL, 30, 25, 0)}, YES),
    ("3.X1", "FGSM", {CONTROL: (65, 64, 10, 0)}, NO),  # the whole rise counts, not its first step
    ("3.X1", "FGSM", {CONTROL: (55, 10, 10, 0)}, YES),
    ("3.X1", "DeepFool", {"FGSM": (20, 10, 5, 0)}, YES),
    ("3.X1", "DeepFool", {"DeepFool": (20, 10, 5, 0)}, NO),
]


@pytest.mark.parametrize(("claim", "attack", "changes", "wanted"), CASES)
def test_verdicts(claim, attack, changes, wanted):
    assert judge(mnist=accuracies(changes))[claim, "mnist", attack] == wanted


def test_every_claim_has_a_case_of_each_kind():
    for claim in study.STUDY.claims:
        assert {wanted for id, *_, wanted in CASES if id == claim} == {YES, NO, OPEN}


@pytest.mark.parametrize(
    ("name", "at_its_worst", "fail"),
    [
        ("FGSM", (5, 20, 40, 0), {("3.C1", "FGSM"), ("3.C2", "FGSM"), ("3.X1", "FGSM")}),
        (WRONG, (99, 50, 10, 0), {("3.C2", "FGSM"), ("3.C2", "DeepFool")}),
        (CONTROL, (99, 50, 10, 0), {("3.X1", "FGSM"), ("3.X1", "DeepFool")}),
        (WHOLE, (99, 50, 10, 0), {("3.C3", "")}),
    ],
)
def test_a_claim_looks_at_its_sets_alone(name, at_its_worst, fail):
    verdicts = judge(mnist=accuracies({name: at_its_worst}), cifar10=accuracies())
    for (claim, dataset, attack), verdict in verdicts.items():
        assert verdict == (NO if dataset == "mnist" and (claim, attack) in fail else YES)


def test_two_runs_decide_nothing():
    assert set(judge(mnist=accuracies(runs=2)).values()) == {OPEN}


def test_each_data_set_has_its_own_limit():
    table = accuracies({WHOLE: (90, 94, 90, 90)})
    verdicts = judge(mnist=table, cifar10=table)
    assert verdicts["3.C3", "mnist", ""] == NO
    assert verdicts["3.C3", "cifar10", ""] == YES


def with_slopes(name, first):
    """The table, with a set's S_1 in each run."""
    table = accuracies()
    for run, slope in enumerate(first, 1):
        rows = (table["set"] == name) & (table["run"] == run)
        third = table.loc[rows & (table["k"] == 3), "accuracy"].item()
        table.loc[rows & (table["k"] == 1), "accuracy"] = slope * third
    return table


@pytest.mark.parametrize(("share", "wanted"), [(0.95, OPEN), (1.05, YES), (-1.05, NO)])
def test_3c2_is_decided_by_welchs_test_at_five_per_cent(share, wanted):
    """Run by run the slopes differ by the same; as two samples they differ by chance, or hardly."""
    spread = np.array([-0.02, -0.01, 0.0, 0.01, 0.02])
    at_five_per_cent = 2.306 * np.std(spread, ddof=1) * np.sqrt(2 / RUNS)  # t of 8 degrees, 97.5 %
    beside = (1.1 + spread).tolist()
    table = with_slopes(WRONG, beside)
    ours = with_slopes("FGSM", [slope + share * at_five_per_cent for slope in beside])
    table = pd.concat([table[table["set"] != "FGSM"], ours[ours["set"] == "FGSM"]])
    assert judge(mnist=table)["3.C2", "mnist", "FGSM"] == wanted


def test_a_run_without_images_decides_nothing_by_itself():
    """It is left out of 3.C1 and 3.X1; 3.C2 stays open without its slope."""
    table = accuracies()
    empty = (table["set"] == "FGSM") & (table["run"] == 1)
    table.loc[empty, "accuracy"], table.loc[empty, "images"] = np.nan, 0
    verdicts = judge(mnist=table)
    assert verdicts["3.C1", "mnist", "FGSM"] == verdicts["3.X1", "mnist", "FGSM"] == YES
    assert verdicts["3.C2", "mnist", "FGSM"] == OPEN
