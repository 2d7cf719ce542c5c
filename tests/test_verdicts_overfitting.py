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


def clever(mean, spread, rise=0.05):
    """At epochs 1, 5 and 12; the last value is the one given."""
    path = np.array([-2 * rise, -rise, 0])
    jitter = 0.02 * FOLDS[:, None] * np.array([1, 1, 1.5])
    return {"CLEVER epochs": np.array([1, 5, EPOCHS])} | {
        f"{output} {name}": value + jitter
        for output in study.OUTPUTS
        for name, value in (("mean", mean + path), ("spread", spread), ("at cap (%)", 0.0))
    }


def attacked(cw, last, fgsm=95.0, pgd=96.0, control=40.0, crafting=None):
    """Success rates; at the crafting epochs they are certain."""
    rates = {
        "ASR CW": cw, "ASR nearest L2": cw, "ASR FGSM": line(fgsm, fgsm), "ASR PGD": line(pgd, pgd),
        "ASR random signs": line(control, control), "ASR nearest L2, last": last,
    }  # fmt: skip
    rates = {name: values.copy() for name, values in rates.items()}
    for name in ("ASR CW", "ASR nearest L2", "ASR FGSM", "ASR PGD"):
        rates[name][np.arange(5), crafting - 1] = 100
    return rates | {"crafting epoch": crafting}


NORMAL = (
    attacked(line(55, 85), last=line(40, 99), crafting=np.array([6, 7, EPOCHS, EPOCHS, EPOCHS]))
    | regime(
        test_accuracy=line(20, 35),
        accuracy_before_attack=line(75, 95),
        validation=line(20, 35),
        loss_sensitivity=line(1.0, 1.4, 0.1),
        empirical_robustness=line(0.10, 0.08, 0.002),
        coarse_empirical_robustness=line(0.20, 0.18, 0.002),
    )
    | clever(0.5, 0.2)
)
OVERFITTING = (
    attacked(line(52, 52), last=line(20, 60), crafting=np.array([5, 6, 7, 7, 8]))
    | regime(
        test_accuracy=line(50, 48),
        accuracy_before_attack=line(90, 90),
        validation=peak(60, 50),
        loss_sensitivity=line(2.0, 6.0, 0.1),
        empirical_robustness=line(0.05, 0.08, 0.002),
        coarse_empirical_robustness=line(0.15, 0.18, 0.002),
    )
    | clever(0.5, 0.6)
)
FALLS, EARLY = "climbs and falls", "peaks at epochs 5 to 10"
NORMS = {"CW": (0.4, 0.05), "FGSM": (9.0, 0.3), "PGD": (8.0, 0.29)}


def norms(last, **changes):
    values = {**NORMS, **changes, "nearest L2, last": (last, 0.06)}
    return {
        f"{attack}: {norm}": value + jitter * FOLDS
        for attack, pair in values.items()
        for norm, value, jitter in zip(("L2", "Linf"), pair, (0.01, 0.001), strict=True)
    }


UNDRAWN = {"normal": {}, "overfitting": {}}


def judged(dataset="cifar10", normal=(), overfitting=(), drawn=UNDRAWN):
    curves = {
        "normal": {**NORMAL, **norms(0.5), **dict(normal)},
        "overfitting": {**OVERFITTING, **norms(0.8), **dict(overfitting)},
    }
    found = claims.verdicts(dataset, curves, drawn, 0.3)
    return {(id, of): verdict.outcome for id, of, verdict in found}


def test_the_made_up_curves_reproduce_everything():
    everything = judged()
    assert set(everything.values()) == {YES}
    assert {id for id, _ in everything} == set(study.STUDY.claims)


COARSE, FINE = "ε in steps of 0.1", "fine ε"
ALL, BEYOND = "CW, from epoch 5, all errors", "CW, last third, beyond clean errors"
BEFORE = "accuracy before attack"
CASES = [
    ("2.C1", "CW, all errors", {"normal": {"ASR CW": line(60, 30)}}, NO),
    ("2.C1", "CW, all errors", {"normal": {"ASR CW": spread(30, 30)}}, OPEN),
    ("2.C1", "CW, all errors", {"normal": {BEFORE: line(95, 10)}}, YES),
    ("2.C1", "CW, all errors", {"normal": {"test accuracy": line(35, 20)}}, NO),
    ("2.C1", "CW, all errors", {"overfitting": {"ASR CW": line(60, 30)}}, YES),
    ("2.C1", "CW, beyond clean errors", {"normal": {"ASR CW": line(90, 75)}}, YES),
    ("2.C1", "CW, beyond clean errors", {"normal": {BEFORE: line(95, 10)}}, NO),
    ("2.C1", "CW, beyond clean errors", {"normal": {"ASR CW": spread(80, 55)}}, OPEN),
    ("2.C1", "CW, beyond clean errors", {"normal": {"test accuracy": line(35, 20)}}, NO),
    ("2.C1", "CW, as drawn", {"normal": {"ASR CW": line(60, 30)}}, NO),
    ("2.C1", "CW, as drawn", {"normal": {BEFORE: line(95, 10)}}, YES),
    ("2.C2", "CW", {"overfitting": {"ASR CW": line(30, 60)}}, NO),  # climbs
    ("2.C2", "CW", {"overfitting": {"ASR CW": line(30, 30)}}, NO),  # too low
    ("2.C2", "CW", {"overfitting": {"ASR CW": line(80, 80)}}, NO),  # too high
    ("2.C2", "CW", {"overfitting": {"ASR CW": line(45.2, 45.2)}}, OPEN),
    ("2.C2", "CW", {"overfitting": {"ASR CW": line(46, 46)}}, YES),
    ("2.C2", "CW", {"overfitting": {"ASR CW": line(64, 64)}}, YES),
    ("2.C2", "CW", {"overfitting": {"ASR CW": line(52, 56)}}, YES),  # below the limit of 5 points
    ("2.C2", "CW", {"overfitting": {"ASR CW": line(50, 58)}}, NO),
    ("2.C2", "CW", {"overfitting": {"ASR nearest L2": line(30, 30)}}, YES),
    ("2.C2", "nearest L2", {"overfitting": {"ASR nearest L2": line(30, 30)}}, NO),
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
    ("2.C5", "FGSM, normal", {"normal": {"ASR FGSM": line(90, 30)}}, NO),  # at the end
    ("2.C5", "FGSM, normal", {"normal": {"ASR FGSM": line(40, 90)}}, OPEN),
    ("2.C5", "FGSM, normal", {"normal": {"ASR FGSM": line(42, 90)}}, YES),
    (
        "2.C5",
        "FGSM, normal",
        {"normal": {"ASR FGSM": line(95, 95), "ASR random signs": line(60, 97)}},
        NO,
    ),
    ("2.C5", "FGSM, overfitting", {"normal": {"ASR FGSM": line(10, 10)}}, YES),
    ("2.C5", "PGD, normal", {"normal": {"ASR FGSM": line(10, 10)}}, YES),
    ("2.C5", "PGD, overfitting", {"overfitting": {"ASR PGD": line(30, 30)}}, NO),
    ("2.C6", "normal", {"normal": norms(0.5, PGD=(0.2, 0.29))}, NO),
    ("2.C6", "normal", {"normal": norms(0.5, FGSM=(9.0, 0.04))}, NO),
    ("2.C6", "normal", {"normal": norms(0.5, CW=(8.0, 0.05))}, OPEN),
    ("2.C6", "overfitting", {"normal": norms(0.5, CW=(10.0, 0.5))}, YES),
    ("2.C7", FINE, {"normal": {"empirical robustness": line(0.08, 0.1, 0.002)}}, NO),
    ("2.C7", FINE, {"overfitting": {"empirical robustness": line(0.08, 0.05, 0.002)}}, NO),
    ("2.C7", FINE, {"overfitting": {"empirical robustness": line(0.08, 0.08, 0.002)}}, OPEN),
    ("2.C7", COARSE, {"overfitting": {"empirical robustness": line(0.08, 0.05, 0.002)}}, YES),
    ("2.C7", COARSE, {"overfitting": {"coarse empirical robustness": line(0.2, 0.1, 0.002)}}, NO),
    ("2.C8", FALLS, {"normal": {"validation": line(35, 20)}}, NO),
    ("2.C8", FALLS, {"overfitting": {"validation": line(20, 60)}}, NO),
    ("2.C8", FALLS, {"overfitting": {"validation": peak(60, 60, best=4)}}, OPEN),
    ("2.C8", EARLY, {"overfitting": {"validation": peak(60, 50, best=3)}}, NO),
    ("2.C8", EARLY, {"overfitting": {"validation": peak(60, 50, best=4)}}, OPEN),
    ("2.C8", EARLY, {"overfitting": {"validation": peak(60, 50, best=5)}}, YES),
    ("2.C8", EARLY, {"overfitting": {"validation": late_peak(10)}}, YES),
    ("2.C8", EARLY, {"overfitting": {"validation": late_peak(11)}}, OPEN),
    ("2.C8", EARLY, {"overfitting": {"validation": late_peak(12)}}, NO),
    ("2.C9", ALL, {"overfitting": {"ASR CW": line(75, 75)}}, NO),
    ("2.C9", ALL, {"overfitting": {"ASR CW": spread(62, 62)}}, OPEN),
    ("2.C9", ALL, {"normal": {"ASR CW": line(98, 25)}}, YES),  # lower at the end alone
    ("2.C9", "CW, last third, all errors", {"normal": {"ASR CW": line(98, 25)}}, NO),
    ("2.C9", ALL, {"normal": {BEFORE: line(10, 10)}}, YES),
    ("2.C9", BEYOND, {"normal": {BEFORE: line(50, 50)}}, NO),
    ("2.C9", BEYOND, {"overfitting": {BEFORE: line(10, 10)}}, YES),
    ("2.C9", "CW, from epoch 5, beyond clean errors", {"normal": {BEFORE: line(40, 95)}}, NO),
    ("2.C9", "CW, as drawn", {"overfitting": {"ASR CW": line(80, 80)}}, NO),
    ("2.C1", "nearest L2, all errors", {"normal": {"ASR CW": line(60, 30)}}, YES),
    ("2.C1", "nearest L2, all errors", {"normal": {"ASR nearest L2": line(60, 30)}}, NO),
    ("2.C9", "nearest L2, as drawn", {"overfitting": {"ASR CW": line(80, 80)}}, YES),
    ("2.C9", "nearest L2, as drawn", {"overfitting": {"ASR nearest L2": line(80, 80)}}, NO),
    ("2.C10", "logits", {"normal": clever(0.5, 0.2, rise=-0.05)}, NO),
    ("2.C10", "softmax", {"normal": clever(0.5, 0.2, rise=0.001)}, OPEN),
    ("2.C10", "softmax", {"overfitting": clever(0.5, 0.6, rise=-0.05)}, YES),
    ("2.C10", "logits", {"normal": {"logits mean": [0.9, 0.4, 0.5] + FOLDS[:, None] / 50}}, YES),
    ("2.C11", "CW", {"overfitting": {"ASR CW": line(52, 52)}}, OPEN),
    ("2.C11", "CW", {"overfitting": {"ASR CW": line(52, 60)}}, NO),
    ("2.C11", "FGSM", {"overfitting": {"ASR FGSM": line(95, 98)}}, NO),
    ("2.C11", "PGD", {"overfitting": {"ASR FGSM": line(95, 98)}}, YES),
    ("2.X1", "FGSM, normal", {"normal": {"ASR random signs": line(99, 99)}}, NO),
    ("2.X1", "PGD, normal", {"normal": {"ASR random signs": line(96.5, 96.5)}}, OPEN),
    ("2.X1", "PGD, overfitting", {"normal": {"ASR random signs": line(99, 99)}}, YES),
    ("2.X2", "", {"overfitting": norms(0.2)}, NO),
    ("2.X2", "", {"overfitting": norms(0.5)}, OPEN),
    ("2.X2", "", {"overfitting": norms(0.8, CW=(0.0, 0.0))}, YES),
    ("2.X3", "", {"overfitting": {"ASR nearest L2, last": line(60, 20)}}, NO),
    ("2.X3", "", {"overfitting": {"ASR nearest L2, last": line(30, 30)}}, OPEN),
    ("2.X3", "", {"normal": {"ASR nearest L2, last": line(60, 20)}}, YES),
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
    assert claims.peaks_early(path).outcome == (OPEN if epochs <= 11 else NO)
    early = -np.abs(np.arange(1, epochs + 1) - 7) + FOLDS[:, None]
    assert claims.peaks_early(early).outcome == (OPEN if epochs <= 10 else YES)


def test_earlier_snapshots_do_not_count():
    """A climb before epoch 5 is none: the paper leaves these epochs out."""
    rates = line(55, 55)
    rates[:, :4] = 10
    assert judged(overfitting={"ASR CW": rates})["2.C2", "CW"] == YES


def test_what_crafts_does_not_count_where_success_settles():
    """There CW succeeds by construction: no start of a fall, and no part of the level."""
    rates, crafting = line(55, 62), OVERFITTING["crafting epoch"]
    rates[np.arange(5), crafting - 1] = 100
    assert judged(overfitting={"ASR CW": rates})["2.C2", "CW"] == NO  # climbs by 7 points
    for at in (np.full(5, 5), np.full(5, EPOCHS)):
        flat = line(64, 64)
        flat[np.arange(5), at - 1] = 100
        changed = {"ASR CW": flat, "crafting epoch": at}
        assert judged(overfitting=changed)["2.C2", "CW"] == YES


def test_what_was_crafted_on_a_snapshot_does_not_count_there():
    """Whether a fold's crafting epoch is the first that counts, or the last, or in between."""
    rates = line(60, 30)
    rates[np.arange(5), NORMAL["crafting epoch"] - 1] = 100
    assert judged(normal={"ASR CW": rates})["2.C1", "CW, all errors"] == NO
    flat = np.full((2, EPOCHS), 40.0)
    flat[0, 4] = flat[1, -1] = 100
    curves = {"ASR CW": flat, "crafting epoch": np.array([5, EPOCHS])}
    assert claims.change(claims.success(curves)).tolist() == [0, 0]
    assert claims.change(claims.success(curves, crafting=True)).tolist() == [-60, 60]
    curves = {"ASR CW": flat[:, :1], "crafting epoch": np.array([1, 1])}
    assert np.isnan(claims.change(claims.success(curves))).all()


def test_the_crafting_epoch_itself_is_no_climb():
    """2.X3 stops one epoch before the last, in which success is certain."""
    rates = line(30, 30)
    rates[:, -1] = 100
    assert judged(overfitting={"ASR nearest L2, last": rates})["2.X3", ""] == OPEN


def test_the_crafting_epoch_counts_as_drawn():
    """The paper's curves show it."""
    rates = line(60, 30)
    rates[:, -1] = 100
    late = {"ASR CW": rates, "crafting epoch": np.full(5, EPOCHS)}
    found = judged(normal=late)
    assert (found["2.C1", "CW, all errors"], found["2.C1", "CW, as drawn"]) == (NO, YES)
    rates = line(51, 51)
    rates[np.arange(5), OVERFITTING["crafting epoch"] - 1] = 400
    found = judged(
        normal=attacked(line(54, 54), line(40, 99), crafting=np.full(5, 1)),
        overfitting={"ASR CW": rates},
    )
    assert (found["2.C9", ALL], found["2.C9", "CW, as drawn"]) == (YES, NO)


# --- the luck of the images --------------------------------------------------------------------


def moved(label, name, by):
    """Two draws of the test images, between which a curve of one regime moves."""
    base = {"normal": {**NORMAL, **norms(0.5)}, "overfitting": {**OVERFITTING, **norms(0.8)}}
    return UNDRAWN | {label: {name: np.stack([base[label][name] + by * k for k in (-1, 1)])}}


@pytest.mark.parametrize(
    ("claim", "of", "label", "name", "by"),
    [
        ("2.C1", "CW, all errors", "normal", "ASR CW", np.linspace(-40, 40, EPOCHS)),
        ("2.C1", "CW, as drawn", "normal", "test accuracy", np.linspace(-40, 40, EPOCHS)),
        ("2.C2", "CW", "overfitting", "ASR CW", 20),
        ("2.C3", "logits", "overfitting", "logits spread", 0.39),
        ("2.C5", "FGSM, normal", "normal", "ASR random signs", 39),
        ("2.C6", "normal", "normal", "CW: L2", 10),
        ("2.C7", COARSE, "normal", "coarse empirical robustness", np.linspace(-0.1, 0.1, EPOCHS)),
        ("2.C9", "CW, as drawn", "overfitting", "ASR CW", 20),
        ("2.C10", "logits", "normal", "logits mean", np.array([0, -0.1, 0.1])),
        ("2.C11", "CW", "overfitting", "ASR CW", np.where(np.arange(EPOCHS) > 7, 40, 0)),
        ("2.X1", "PGD, normal", "normal", "ASR PGD", 40),
        ("2.X2", "", "normal", "nearest L2, last: L2", 1),
        ("2.X3", "", "overfitting", "ASR nearest L2, last", np.linspace(-40, 40, EPOCHS)),
    ],
)
def test_what_other_images_would_change_is_open(claim, of, label, name, by):
    assert judged()[claim, of] == YES
    assert judged(drawn=moved(label, name, by))[claim, of] == OPEN
    assert judged(drawn=moved(label, name, 1e-9 * np.ones(np.shape(by))))[claim, of] == YES


def test_folds_share_their_training_images():
    """A fall that the folds alone would show is open, since they are no independent trainings."""
    falls = np.array([0.1, 0.5, 0.7, 0.9, 1.3])  # t = 3.5 over the folds, 2.4 with what they share
    overfitting = np.tile([50.0, 60, 60, 50, 50, 50, 50, 50, 50, 50, 50, 50], (5, 1))
    overfitting[:, 2:7] = 60
    overfitting[:, 7:] = 60 - falls[:, None]
    normal = line(20, 35)
    found = claims.regimes_are_real(normal, overfitting)
    assert results.positive(falls, "points").outcome == YES
    assert found.parts[1].estimate.value == pytest.approx(falls.mean())
    assert (found.parts[0].outcome(), found.parts[1].outcome()) == (YES, OPEN)
    assert found.parts[1].estimate.shared == pytest.approx(falls.var(ddof=1) / 4)


def test_where_single_images_are_not_kept_the_evidence_says_so():
    curves = {"normal": {**NORMAL, **norms(0.5)}, "overfitting": {**OVERFITTING, **norms(0.8)}}
    judged = claims.verdicts("cifar10", curves, UNDRAWN, 0.3)
    found = {(id, of): verdict for id, of, verdict in judged}
    without = {key for key, verdict in found.items() if claims.NOT_BY_IMAGE in verdict.evidence}
    assert without == {("2.C4", ""), ("2.C7", FINE)}


def test_a_peak_by_luck_is_none():
    """Where to look for a peak is said by the other folds, not by a fold itself."""
    curves = np.array([[9.0, 1, 1], [1, 2, 9], [1, 2, 9], [1, 2, 9]])
    assert claims.where_others_peak(curves).tolist() == [1, 9, 9, 9]
    curves[0, 2] = np.nan  # it crafts there
    assert claims.where_others_peak(curves).tolist() == [1, 9, 9, 9]


def test_the_evidence_says_how_far_an_attack_reached_its_aim():
    """CW with a small budget leaves images as they are, more in one regime than in the other."""
    curves = {"normal": {**NORMAL, **norms(0.5)}, "overfitting": {**OVERFITTING, **norms(0.8)}}
    at = NORMAL["crafting epoch"] - 1
    curves["normal"]["ASR CW"] = NORMAL["ASR CW"].copy()
    curves["normal"]["ASR CW"][np.arange(5), at] = [60, 70, 70, 70, 80]
    found = {(id, of): v.evidence for id, of, v in claims.verdicts("cifar10", curves, UNDRAWN, 0.3)}
    for key in (("2.C1", "CW, as drawn"), ("2.C2", "CW"), ("2.C9", ALL)):
        assert found[key].endswith("fools 70 % (normal), 100 % (overfitting)")
    assert found["2.C2", "nearest L2"].endswith("fools 100 % (normal), 100 % (overfitting)")
