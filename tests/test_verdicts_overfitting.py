"""Every claim of paper 2 on made-up curves: reproduced, not reproduced, undecided, at a threshold.

The curves below reproduce everything. Each case changes some of them and says what must follow.
"""

import numpy as np
import pytest

from kit.experiments import overfitting_vs_robustness as study
from kit.experiments.overfitting_vs_robustness import claims
from kit.harness import results

YES, NO, OPEN = results.REPRODUCED, results.NOT_REPRODUCED, results.UNDECIDED
FOLDS = np.array([-0.4, -0.2, 0.0, 0.2, 0.4])
EPOCHS = 12


def line(start, end, jitter=1.0):
    """From one value in epoch 5 to another in the last; shape (folds, epochs)."""
    path = np.interp(np.arange(1, EPOCHS + 1), [1, 5, EPOCHS], [start, start, end])
    return path + jitter * FOLDS[:, None] * np.linspace(0.5, 1.5, EPOCHS)


def spread(start, end):
    """As `line`, and the folds change by very different amounts."""
    return line(start, end, jitter=40)


def peak(top, end, best=7):
    path = np.interp(np.arange(1, EPOCHS + 1), [1, best, EPOCHS], [top - 10, top, end])
    return path + FOLDS[:, None]


def late_peak(best):
    """A curve over more epochs."""
    return 60.0 - np.abs(np.arange(1, 21) - best) + FOLDS[:, None]


def regime(**lines):
    return {name.replace("__", ", ").replace("_", " "): values for name, values in lines.items()}


def clever(mean, spread):
    return {
        f"{output} {name}": value + 0.02 * FOLDS[:, None] * np.ones(3)
        for output in study.OUTPUTS
        for name, value in (("mean", mean), ("spread", spread), ("at cap (%)", 0.0))
    }


NORMAL = {"crafting epoch": np.array([5, 7, EPOCHS, EPOCHS, EPOCHS])} | regime(
    test_accuracy=line(20, 35), accuracy_before_attack=line(40, 95), validation=line(20, 35),
    ASR_CW=line(30, 60), ASR_FGSM=line(95, 95),
    ASR_PGD=line(96, 96), ASR_random_signs=line(40, 40), ASR_CW__last=line(40, 99),
    loss_sensitivity=line(1.0, 1.4, 0.1), empirical_robustness=line(0.10, 0.08, 0.002),
) | clever(0.5, 0.2)  # fmt: skip
OVERFITTING = {"crafting epoch": np.array([5, 6, 7, 7, 8])} | regime(
    test_accuracy=line(50, 48), validation=peak(60, 50), ASR_CW=line(55, 55), ASR_FGSM=line(95, 95),
    ASR_PGD=line(96, 96), ASR_random_signs=line(40, 40), ASR_CW__last=line(20, 60),
    loss_sensitivity=line(2.0, 6.0, 0.1), empirical_robustness=line(0.05, 0.08, 0.002),
) | clever(0.5, 0.6)  # fmt: skip
FALLS, EARLY = "climbs and falls", "peaks at epochs 5 to 10"
NORMS = {"CW": (0.4, 0.05), "FGSM": (9.0, 0.3), "PGD": (8.0, 0.29), "CW, last": (0.5, 0.06)}


def norms(farther=0.0, **changes):
    values = NORMS | {name.replace("__", ", "): pair for name, pair in changes.items()}
    values["CW, last"] = values["CW, last"][0] + farther, values["CW, last"][1]
    return {
        attack: {"L2": l2 + 0.01 * FOLDS, "Linf": linf + 0.001 * FOLDS}
        for attack, (l2, linf) in values.items()
    }


def judged(dataset="cifar10", normal=(), overfitting=(), normal_norms=(), overfitting_norms=()):
    curves = {
        "normal": {**NORMAL, **dict(normal)},
        "overfitting": {**OVERFITTING, **dict(overfitting)},
    }
    distances = {
        "normal": norms(**dict(normal_norms)),
        "overfitting": norms(**{"farther": 0.3, **dict(overfitting_norms)}),
    }
    found = claims.verdicts(dataset, curves, distances, 0.3)
    return {(id, of): verdict for id, of, (verdict, _) in found}


def test_the_made_up_curves_reproduce_everything():
    everything = judged()
    assert set(everything.values()) == {YES}
    assert {id for id, _ in everything} == set(study.STUDY.claims)


CASES = [
    ("2.C1", "all errors", {"normal": {"ASR CW": line(60, 30)}}, NO),
    ("2.C1", "all errors", {"normal": {"ASR CW": spread(30, 30)}}, OPEN),
    ("2.C1", "all errors", {"normal": {"accuracy before attack": line(95, 10)}}, YES),
    ("2.C1", "all errors", {"normal": {"test accuracy": line(35, 20)}}, NO),
    ("2.C1", "all errors", {"overfitting": {"ASR CW": line(60, 30)}}, YES),
    ("2.C1", "beyond clean errors", {"normal": {"ASR CW": line(90, 60)}}, YES),
    ("2.C1", "beyond clean errors", {"normal": {"accuracy before attack": line(95, 10)}}, NO),
    ("2.C1", "beyond clean errors", {"normal": {"ASR CW": spread(80, 25)}}, OPEN),
    ("2.C1", "beyond clean errors", {"normal": {"test accuracy": line(35, 20)}}, NO),
    ("2.C2", "", {"overfitting": {"ASR CW": line(30, 60)}}, NO),  # climbs
    ("2.C2", "", {"overfitting": {"ASR CW": line(30, 30)}}, NO),  # too low
    ("2.C2", "", {"overfitting": {"ASR CW": line(80, 80)}}, NO),  # too high
    ("2.C2", "", {"overfitting": {"ASR CW": line(45.2, 45.2)}}, OPEN),
    ("2.C2", "", {"overfitting": {"ASR CW": line(46, 46)}}, YES),
    ("2.C2", "", {"overfitting": {"ASR CW": line(64, 64)}}, YES),
    ("2.C2", "", {"overfitting": {"ASR CW": line(52, 56)}}, YES),  # below the limit of 5 points
    ("2.C2", "", {"overfitting": {"ASR CW": line(50, 58)}}, NO),
    ("2.C3", "logits", {"overfitting": clever(0.5, 0.1)}, NO),
    ("2.C3", "logits", {"overfitting": clever(0.5, 0.2)}, OPEN),
    # On CIFAR-10 means are to be similar, and the spread larger.
    ("2.C3", "softmax", {"overfitting": clever(0.1, 0.6)}, NO),
    ("2.C3", "softmax", {"overfitting": clever(0.252, 0.6)}, OPEN),
    ("2.C3", "softmax", {"overfitting": clever(0.3, 0.6)}, YES),
    ("2.C3", "softmax", {"overfitting": clever(0.95, 0.6)}, YES),
    ("2.C3", "softmax", {"overfitting": clever(1.1, 0.6)}, NO),
    ("2.C3", "softmax", {"dataset": "stl10", "overfitting": clever(0.1, 0.6)}, NO),
    ("2.C3", "softmax", {"dataset": "stl10", "overfitting": clever(0.9, 0.1)}, YES),
    ("2.C4", "", {"overfitting": {"loss sensitivity": line(1.0, 1.5, 0.1)}}, NO),  # not above 2
    ("2.C4", "", {"normal": {"loss sensitivity": line(1.0, 2.5, 0.1)}}, NO),  # not below 2
    ("2.C4", "", {"normal": {"loss sensitivity": line(1.0, 2.0, 0.1)}}, OPEN),
    ("2.C4", "", {"dataset": "digits", "normal": {"loss sensitivity": line(1, 2.5, 0.1)}}, YES),
    ("2.C5", "FGSM, normal", {"normal": {"ASR FGSM": line(60, 40)}}, NO),
    ("2.C5", "FGSM, normal", {"normal": {"ASR FGSM": line(50.2, 90)}}, OPEN),
    ("2.C5", "FGSM, normal", {"normal": {"ASR FGSM": line(51, 90)}}, YES),
    ("2.C5", "FGSM, overfitting", {"normal": {"ASR FGSM": line(10, 10)}}, YES),
    ("2.C5", "PGD, normal", {"normal": {"ASR FGSM": line(10, 10)}}, YES),
    ("2.C5", "PGD, overfitting", {"overfitting": {"ASR PGD": line(40, 40)}}, NO),
    ("2.C6", "normal", {"normal_norms": {"PGD": (0.2, 0.29)}}, NO),
    ("2.C6", "normal", {"normal_norms": {"FGSM": (9.0, 0.04)}}, NO),
    ("2.C6", "normal", {"normal_norms": {"CW": (8.0, 0.05)}}, OPEN),
    ("2.C6", "overfitting", {"normal_norms": {"CW": (10.0, 0.5)}}, YES),
    ("2.C7", "", {"normal": {"empirical robustness": line(0.08, 0.1, 0.002)}}, NO),
    ("2.C7", "", {"overfitting": {"empirical robustness": line(0.08, 0.05, 0.002)}}, NO),
    ("2.C7", "", {"overfitting": {"empirical robustness": line(0.08, 0.08, 0.002)}}, OPEN),
    ("2.C8", FALLS, {"normal": {"validation": line(35, 20)}}, NO),
    ("2.C8", FALLS, {"overfitting": {"validation": line(20, 60)}}, NO),
    ("2.C8", FALLS, {"overfitting": {"validation": peak(60, 60, best=4)}}, OPEN),
    ("2.C8", EARLY, {"overfitting": {"validation": peak(60, 50, best=3)}}, NO),
    ("2.C8", EARLY, {"overfitting": {"validation": peak(60, 50, best=4)}}, OPEN),
    ("2.C8", EARLY, {"overfitting": {"validation": peak(60, 50, best=5)}}, YES),
    ("2.C8", EARLY, {"overfitting": {"validation": late_peak(10)}}, YES),
    ("2.C8", EARLY, {"overfitting": {"validation": late_peak(11)}}, OPEN),
    ("2.C8", EARLY, {"overfitting": {"validation": late_peak(12)}}, NO),
    ("2.X1", "FGSM, normal", {"normal": {"ASR random signs": line(99, 99)}}, NO),
    ("2.X1", "PGD, normal", {"normal": {"ASR random signs": line(96, 96)}}, OPEN),
    ("2.X1", "PGD, overfitting", {"normal": {"ASR random signs": line(99, 99)}}, YES),
    ("2.X2", "", {"overfitting_norms": {"farther": -0.3}}, NO),
    ("2.X2", "", {"overfitting_norms": {"farther": 0.0}}, OPEN),
    ("2.X2", "", {"overfitting_norms": {"CW": (0.0, 0.0)}}, YES),
    ("2.X3", "", {"overfitting": {"ASR CW, last": line(60, 20)}}, NO),
    ("2.X3", "", {"overfitting": {"ASR CW, last": line(30, 30)}}, OPEN),
    ("2.X3", "", {"normal": {"ASR CW, last": line(60, 20)}}, YES),
]


@pytest.mark.parametrize(("claim", "label", "changes", "wanted"), CASES)
def test_verdicts(claim, label, changes, wanted):
    assert judged(**changes)[claim, label] == wanted


def test_every_claim_has_a_case_of_each_kind():
    for claim in study.STUDY.claims:
        assert {NO, OPEN} <= {wanted for id, *_, wanted in CASES if id == claim}


@pytest.mark.parametrize("epochs", range(2, 16))
def test_a_peak_shows_only_where_later_epochs_do(epochs):
    """Neither a climb to the last of few epochs is a peak, nor the lack of later ones evidence."""
    path = np.arange(epochs) + FOLDS[:, None]
    assert claims.peaks_early(path)[0] == (OPEN if epochs <= 11 else NO)
    early = -np.abs(np.arange(1, epochs + 1) - 7) + FOLDS[:, None]
    assert claims.peaks_early(early)[0] == (OPEN if epochs <= 10 else YES)


def test_earlier_snapshots_do_not_count():
    """A climb before epoch 5 is none: the paper leaves these epochs out."""
    rates = line(55, 55)
    rates[:, :4] = 10
    assert judged(overfitting={"ASR CW": rates})["2.C2", ""] == YES


def test_what_crafts_does_not_count_where_success_settles():
    """There CW succeeds by construction: no start of a fall, and no part of the level."""
    rates, crafting = line(55, 62), OVERFITTING["crafting epoch"]
    rates[np.arange(5), crafting - 1] = 100
    assert judged(overfitting={"ASR CW": rates})["2.C2", ""] == NO  # climbs by 7 points
    for at in (np.full(5, 5), np.full(5, EPOCHS)):
        flat = line(64, 64)
        flat[np.arange(5), at - 1] = 100
        changed = {"ASR CW": flat, "crafting epoch": at}
        assert judged(overfitting=changed)["2.C2", ""] == YES


def test_what_was_crafted_on_a_snapshot_does_not_count_there():
    """Whether a fold's crafting epoch is the first that counts, or the last, or in between."""
    rates = line(60, 30)
    rates[np.arange(5), NORMAL["crafting epoch"] - 1] = 100
    assert judged(normal={"ASR CW": rates})["2.C1", "all errors"] == NO
    flat = np.full((2, EPOCHS), 40.0)
    flat[0, 4] = flat[1, -1] = 100
    assert claims.change(flat, without=np.array([5, EPOCHS])).tolist() == [0, 0]
    assert claims.change(flat).tolist() == [-60, 60]
    assert np.isnan(claims.change(flat[:, :1], without=np.array([1, 1]))).all()


def test_the_crafting_epoch_itself_is_no_climb():
    """2.X3 stops one epoch before the last, in which success is certain."""
    rates = line(30, 30)
    rates[:, -1] = 100
    assert judged(overfitting={"ASR CW, last": rates})["2.X3", ""] == OPEN
