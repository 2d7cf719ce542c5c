"""Every claim of paper 3 on made-up accuracies: reproduced, not reproduced, undecided, at a limit.

The accuracies below reproduce everything. Each case changes some of them and says what must follow.
The slopes are those of the notebook.
"""

import notebook
import numpy as np
import pandas as pd
import pytest

from kit.data.splits import About, Split
from kit.experiments import knn_tradeoff as study
from kit.experiments.knn_tradeoff import claims, tables
from kit.harness import results

YES, NO, OPEN = results.REPRODUCED, results.NOT_REPRODUCED, results.UNDECIDED
RUNS, IMAGES, TRAIN, TEST = 5, 100, 6000, 1000  # runs; images in each set and run, in each part
ONE_OF_ALL = 100 / (RUNS * IMAGES)  # one image of all runs, in %
LIMITS = {"mnist": 2.0, "cifar10": 5.0, "digits": 2.0}
TOGETHER = np.array([-4.0, -2.0, 0.0, 2.0, 4.0])  # how far a run lies off the others
WRONG, WHOLE, CONTROL = study.WRONG, study.WHOLE, study.CONTROL
# Accuracy (%) at K = 1, 3, 5, 7: slopes of 1.5 and 2 on adversarial sets, lower ones beside.
ACCURACY = {
    "FGSM": (60, 40, 20, 0), "DeepFool": (60, 40, 20, 0), WRONG: (39.6, 36, 30, 0),
    CONTROL: (50, 40, 32, 0), WHOLE: (97, 97.4, 98, 97.2),
}  # fmt: skip
DIFFER, RISE, SLOPES = "slopes differ", "larger A1 − A7", "larger S1 and S3"
BY_SLOPES, BY_LATE, BY_RISE = "by S1 and S3", "by A1 − A5", "by A1 − A7"
PARTS = {
    "3.C1": [""], "3.C2": [RISE, SLOPES, DIFFER], "3.C4": [""],
    "3.X1": [BY_SLOPES, BY_LATE, BY_RISE],
}  # fmt: skip
cells = notebook.functions("03_knn_tradeoff")


def split(name):
    about = About(name, "made up", (1, 28, 28), tuple("0123456789"), TRAIN, TEST, TRAIN // 10)
    return Split(name, about=about)


def label(attack, part):
    return ", ".join(filter(None, (attack, part)))


def accuracies(changes=(), runs=RUNS):
    """The notebook's table; where there is anything above 0 %, a run's numbers rise together."""
    return pd.DataFrame(
        [
            (run, name, k, value + off * (value > 0), TEST if name == WHOLE else IMAGES)
            for name, values in {**ACCURACY, **dict(changes)}.items()
            for run in range(runs, 0, -1)
            for off in [TOGETHER[run - 1] / (10 if name == WHOLE else 1)]
            for k, value in zip((7, 5, 3, 1), values[::-1], strict=True)
        ],
        columns=["run", "set", "k", "accuracy", "images"],
    )


def beside_noise(table, counted=None):
    """Tables as :func:`tables.beside_noise` gives them; for one way to count, another table."""
    return {
        (attack, how): cells.slopes(whole[whole["set"].isin([attack, CONTROL])])
        for attack in study.ADVERSARIAL
        for how in tables.COUNTED
        for whole in [(counted or {}).get(how, table)]
    }


def found(name, table, counted=None):
    """Claim, label and verdict on a table of accuracies, one after another."""
    return claims.verdicts(
        split(name), table, cells.slopes(table), beside_noise(table, counted), LIMITS[name]
    )


def verdicts(name, table, counted=None):
    """The verdicts by claim and label."""
    return {(claim, label): verdict for claim, label, verdict in found(name, table, counted)}


def judge(table=None, name="mnist", counted=None):
    """Their outcomes."""
    table = accuracies() if table is None else table
    return {key: each.outcome for key, each in verdicts(name, table, counted).items()}


@pytest.mark.parametrize("name", LIMITS)
def test_the_made_up_accuracies_reproduce_everything(name):
    everything = judge(name=name)
    assert set(everything.values()) == {YES}
    of_attacks = {
        (claim, label(attack, part))
        for claim, parts in PARTS.items()
        for attack in study.ADVERSARIAL
        for part in parts
    }
    # The paper does not say of CIFAR-10 that the accuracy is close to 100 %.
    whole = {("3.C3", ""), ("3.C5", "")} if name != "cifar10" else {("3.C3", "")}
    assert set(everything) == of_attacks | whole
    assert {claim for claim, _ in judge()} == set(study.STUDY.claims)


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
    ("3.C2", f"FGSM, {SLOPES}", {WRONG: (72, 36, 30, 0)}, NO),  # S_1
    ("3.C2", f"FGSM, {SLOPES}", {WRONG: (99, 90, 30, 0)}, NO),  # S_3
    ("3.C2", f"FGSM, {SLOPES}", {"FGSM": (42, 40, 20, 0)}, NO),
    ("3.C2", f"FGSM, {SLOPES}", {"FGSM": (60, 40, 0, 0)}, OPEN),  # no run has a finite S_3
    ("3.C2", f"DeepFool, {SLOPES}", {"FGSM": (42, 40, 20, 0)}, YES),
    ("3.C2", f"DeepFool, {SLOPES}", {"DeepFool": (42, 40, 20, 0)}, NO),
    ("3.C2", f"FGSM, {DIFFER}", {WRONG: (72, 36, 30, 0)}, YES),  # to either side
    ("3.C2", f"FGSM, {DIFFER}", {WRONG: (99, 90, 30, 0)}, YES),
    ("3.C2", f"FGSM, {DIFFER}", {WRONG: (54, 36, 18, 0)}, OPEN),  # S_3 is the same
    ("3.C2", f"FGSM, {DIFFER}", {WRONG: (60, 40, 20, 0)}, OPEN),
    ("3.C2", f"FGSM, {DIFFER}", {"FGSM": (60, 40, 0, 0)}, OPEN),
    ("3.C2", f"FGSM, {RISE}", {WRONG: (72, 36, 30, 0)}, NO),
    ("3.C2", f"FGSM, {RISE}", {WRONG: (60 - 0.75 * ONE_OF_ALL, 36, 30, 0)}, OPEN),
    ("3.C2", f"FGSM, {RISE}", {WRONG: (60 - 1.25 * ONE_OF_ALL, 36, 30, 0)}, YES),
    ("3.C2", f"FGSM, {RISE}", {"FGSM": (42, 40, 20, 0)}, YES),  # though the slopes are smaller
    ("3.C2", f"FGSM, {RISE}", {"FGSM": (60, 40, 0, 0)}, YES),
    ("3.C3", "", {WHOLE: (98.15, 97, 97, 96)}, NO),
    ("3.C3", "", {WHOLE: (98.05, 97, 97, 96)}, OPEN),  # within one test image of the limit
    ("3.C3", "", {WHOLE: (97.95, 97, 97, 96)}, OPEN),
    ("3.C3", "", {WHOLE: (97.85, 97, 97, 96)}, YES),
    ("3.C3", "", {WHOLE: (93.85, 97, 97, 96)}, NO),  # downwards, too
    ("3.C3", "", {WHOLE: (94.05, 97, 97, 96)}, OPEN),
    ("3.C3", "", {WHOLE: (94.15, 97, 97, 96)}, YES),
    ("3.C3", "", {WHOLE: (97, 92, 99, 97)}, YES),  # a dent between is no trend
    ("3.C4", "FGSM", {"FGSM": (20, 40, 20, 0)}, NO),  # S_1
    ("3.C4", "FGSM", {"FGSM": (90, 20, 40, 0)}, NO),  # S_3
    ("3.C4", "FGSM", {"FGSM": (60, 40, 0, 0)}, OPEN),
    ("3.C4", "FGSM", {WHOLE: (97, 40, 20, 10)}, NO),
    ("3.C4", "DeepFool", {"FGSM": (20, 40, 20, 0)}, YES),
    ("3.C5", "", {WHOLE: (97, 97, 94, 97)}, NO),  # at its worst K
    ("3.C5", "", {WHOLE: (95.2, 97, 97, 97)}, OPEN),
    ("3.C5", "", {WHOLE: (95.8, 97, 97, 97)}, YES),
    ("3.X1", f"FGSM, {BY_RISE}", {CONTROL: (80, 40, 32, 0)}, NO),
    ("3.X1", f"FGSM, {BY_RISE}", {CONTROL: (60 - 0.75 * ONE_OF_ALL, 40, 32, 0)}, OPEN),
    ("3.X1", f"FGSM, {BY_RISE}", {CONTROL: (60 - 1.25 * ONE_OF_ALL, 40, 32, 0)}, YES),
    # What the filter forces, the first step, is all that speaks for noise here.
    ("3.X1", f"FGSM, {BY_RISE}", {CONTROL: (65, 64, 60, 0)}, NO),
    ("3.X1", f"FGSM, {BY_LATE}", {CONTROL: (65, 64, 60, 0)}, YES),
    ("3.X1", f"FGSM, {BY_SLOPES}", {CONTROL: (65, 64, 60, 0)}, YES),
    ("3.X1", f"FGSM, {BY_RISE}", {CONTROL: (55, 20, 10, 0)}, YES),
    ("3.X1", f"FGSM, {BY_LATE}", {CONTROL: (55, 20, 10, 0)}, NO),
    ("3.X1", f"FGSM, {BY_SLOPES}", {CONTROL: (55, 20, 10, 0)}, NO),
    ("3.X1", f"FGSM, {BY_SLOPES}", {CONTROL: (50, 40, 0, 0)}, OPEN),
    ("3.X1", f"FGSM, {BY_LATE}", {CONTROL: (55, 40, 15, 0)}, OPEN),
    ("3.X1", f"DeepFool, {BY_RISE}", {"FGSM": (20, 10, 5, 0)}, YES),
    ("3.X1", f"DeepFool, {BY_RISE}", {"DeepFool": (20, 10, 5, 0)}, NO),
]


@pytest.mark.parametrize(("claim", "part", "changes", "wanted"), CASES)
def test_verdicts(claim, part, changes, wanted):
    judged = found("mnist", accuracies(changes))  # up to the one that is asked for
    assert next(v.outcome for *key, v in judged if key == [claim, part]) == wanted


def test_every_claim_has_a_case_of_each_kind():
    for claim in study.STUDY.claims:
        assert {wanted for id, *_, wanted in CASES if id == claim} == {YES, NO, OPEN}


@pytest.mark.parametrize(
    ("name", "at_its_worst", "fail"),
    [
        ("FGSM", (5, 20, 40, 0), {"3.C1 FGSM", "3.C2 FGSM", "3.C4 FGSM", "3.X1 FGSM"}),
        (WRONG, (99, 50, 10, 0), {"3.C2 FGSM", "3.C2 DeepFool"}),
        (CONTROL, (99, 50, 10, 0), {"3.X1 FGSM", "3.X1 DeepFool"}),
        (WHOLE, (98, 40, 10, 5), {"3.C3 ", "3.C4 FGSM", "3.C4 DeepFool", "3.C5 "}),
    ],
)
def test_a_claim_looks_at_its_sets_alone(name, at_its_worst, fail):
    for (claim, part), verdict in judge(accuracies({name: at_its_worst})).items():
        attack, _, what = part.partition(", ")
        failing = f"{claim} {attack}" in fail and what != DIFFER
        assert verdict == (NO if failing else YES), (claim, part)


def test_two_runs_decide_nothing():
    assert set(judge(accuracies(runs=2)).values()) == {OPEN}


def test_each_data_set_has_its_own_limit():
    table = accuracies({WHOLE: (98, 97, 96, 95)})
    assert judge(table)["3.C3", ""] == NO
    assert judge(table, "cifar10")["3.C3", ""] == YES


@pytest.mark.parametrize("counted", tables.COUNTED)
@pytest.mark.parametrize("part", PARTS["3.X1"])
def test_images_count_once_and_shared_ones_alone(counted, part):
    """Noise rises further where images are counted in one way: versions of one do not matter."""
    otherwise = accuracies({CONTROL: (90, 40, 10, 0)})
    wanted = YES if counted == "each version" else NO
    assert judge(counted={counted: otherwise})["3.X1", f"FGSM, {part}"] == wanted


# --- intervals -----------------------------------------------------------------------------------

SPREAD = np.array([-0.02, -0.01, 0.0, 0.01, 0.02])
# What an interval just leaves out, in spreads: Student's t of 4 degrees. Runs split one pool anew.
OF_RUNS = 2.776 * np.std(SPREAD, ddof=1) * np.sqrt(1 / RUNS)
OF_RESPLITS = 2.776 * np.std(SPREAD, ddof=1) * np.sqrt(1 / RUNS + TEST / TRAIN)
BOTH_SIDES = [(0.95, OPEN), (1.05, YES), (-0.95, OPEN), (-1.05, NO)]


def with_first(name, values, table=None):
    """The table, with a set's A_1 in each run."""
    table = accuracies() if table is None else table.copy()
    for run, value in enumerate(values, 1):
        table.loc[
            (table["set"] == name) & (table["run"] == run) & (table["k"] == 1), "accuracy"
        ] = value
    return table


def at(name, k):
    """Made-up accuracies of a set at one K, run by run."""
    table = accuracies()
    return table[(table["set"] == name) & (table["k"] == k)].sort_values("run")["accuracy"].array


# Of its three parts one has to fail at a third of the error.
@pytest.mark.parametrize(("share", "wanted"), [*BOTH_SIDES[:3], (-1.05, OPEN), (-1.7, NO)])
def test_3c1_knows_that_runs_share_their_images(share, wanted):
    steps = 100 * (share * OF_RESPLITS + SPREAD)
    table = with_first("FGSM", at("FGSM", 3) + steps)
    assert judge(table)["3.C1", "FGSM"] == wanted


@pytest.mark.parametrize(("share", "wanted"), BOTH_SIDES)
def test_3c2_compares_run_by_run_and_knows_that_runs_share_their_images(share, wanted):
    """The slopes vary far more than their differences: Welch's test would see nothing."""
    beside = 1.5 + 10 * SPREAD[[2, 0, 4, 1, 3]]
    table = with_first(WRONG, beside * at(WRONG, 3))
    ours = beside + share * OF_RESPLITS + SPREAD
    found = verdicts("mnist", with_first("FGSM", ours * at("FGSM", 3), table))
    assert found["3.C2", f"FGSM, {SLOPES}"].outcome == wanted
    differ = found["3.C2", f"FGSM, {DIFFER}"]
    assert differ.outcome == (OPEN if wanted == OPEN else YES)  # to both sides alike
    assert differ.parts[0].name == ("S1 larger" if share > 0 else "S1 smaller")
    assert differ.parts[0].estimate.p() == found["3.C2", f"FGSM, {SLOPES}"].parts[0].estimate.p()


@pytest.mark.parametrize(("share", "wanted"), BOTH_SIDES)
@pytest.mark.parametrize("side", [1, -1])
def test_3c3_knows_that_runs_share_their_images(side, share, wanted):
    changes = side * (LIMITS["mnist"] - 10 * (share * OF_RESPLITS + SPREAD))
    assert judge(with_first(WHOLE, at(WHOLE, 7) + changes))["3.C3", ""] == wanted


@pytest.mark.parametrize(("share", "wanted"), BOTH_SIDES)
def test_3c5_is_judged_on_a_logit_scale_and_knows_that_runs_share_their_images(share, wanted):
    logit = np.log(95 / 5) + share * OF_RESPLITS + SPREAD
    table = with_first(WHOLE, 100 / (1 + np.exp(-logit)))
    assert judge(table)["3.C5", ""] == wanted


@pytest.mark.parametrize(("share", "wanted"), BOTH_SIDES)
def test_3x1_adds_nothing_for_shared_images(share, wanted):
    beyond = 100 * (share * OF_RUNS + SPREAD)
    table = with_first("FGSM", at(CONTROL, 1) + beyond)
    assert judge(table)["3.X1", f"FGSM, {BY_RISE}"] == wanted


def test_a_run_without_images_decides_nothing_by_itself():
    """It is left out where points are compared; what needs its slope stays open."""
    table = accuracies()
    empty = (table["set"] == "FGSM") & (table["run"] == 1)
    table.loc[empty, "accuracy"], table.loc[empty, "images"] = np.nan, 0
    found = judge(table)
    open_ones = {
        ("3.C2", f"FGSM, {SLOPES}"), ("3.C2", f"FGSM, {DIFFER}"), ("3.C4", "FGSM"),
        ("3.X1", f"FGSM, {BY_SLOPES}"),
    }  # fmt: skip
    assert {key for key, outcome in found.items() if outcome != YES} == open_ones
    assert {found[key] for key in open_ones} == {OPEN}
