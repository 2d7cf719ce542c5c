"""Every claim of paper 4 on made-up tables: reproduced, not reproduced, undecided, at a threshold.

The tables below reproduce everything. Each case changes some numbers and says what must follow. In
every table the numbers of a run rise and fall together, so that only differences within a run
decide, and the runs stand in no order.
"""

import copy
import dataclasses

import pandas as pd
import pytest

from kit.experiments import neuroevolution_gm as study
from kit.experiments.neuroevolution_gm import claims
from kit.harness import results

YES, NO, OPEN = results.REPRODUCED, results.NOT_REPRODUCED, results.UNDECIDED
SOURCES = ["resnet8", "lenet5"]
ONE_IMAGE = {"full": 0.1, "reduced": 0.5}  # in %
TOGETHER = {1: -8.0, 2: 0.0, 3: 8.0}  # how far a run lies off the others
NE, L_INF = "NE+GM 1", "L∞-PGD"


def by_net(**sets):
    """Accuracies of Ref, Ref+GM, HE+GM, NE+GM 1, NE+GM 2 and Random+GM on sets of images."""
    nets = ("Ref", "Ref+GM", "HE+GM", NE, "NE+GM 2", "Random+GM")
    return {
        (net, images.replace("PGD", L_INF)): value
        for images, values in sets.items()
        for net, value in zip(nets, values, strict=True)
    }


CARRIED = by_net(clean=(80, 70, 90, 79, 90, 90), PGD=(20, 40, 90, 50, 90, 90))
VALUES = {
    "full": by_net(
        clean=(80, 70, 90, 79, 90, 90), PGD=(20, 40, 90, 50, 90, 90),
        resnet8=(20, 40, 90, 50, 90, 90), lenet5=(20, 40, 90, 50, 90, 90),
        FGSM=(20, 40, 90, 0, 90, 90),
    ),
    "reduced": by_net(
        clean=(70, 72, 73, 75, 90, 60), PGD=(60, 41, 30, 40, 90, 35), FGSM=(90, 90, 90, 0, 90, 90)
    ),
    "carried": {
        (scale, dataset, *key): value
        for scale in ("full", "reduced")
        for dataset in ("MNIST", "KMNIST")
        for key, value in CARRIED.items()
    },
    "fooled": {
        ("Ref+GM", L_INF): 20, ("HE+GM", L_INF): 22, (NE, L_INF): 10, ("NE+GM 2", L_INF): 0,
        ("Ref+GM", "L2-PGD"): 20, ("HE+GM", "L2-PGD"): 22, (NE, "L2-PGD"): 10,
        ("NE+GM 2", "L2-PGD"): 0, ("Ref+GM", "FGSM"): 20, ("HE+GM", "FGSM"): 22, (NE, "FGSM"): 99,
    },
    "against": {
        "Ref": 1, "Ref, JPEG": 40, "Ref, bilateral": 45, "Ref, free AT": 30, "Ref, fast AT": 35,
        NE: 20, "Ref+GM": 0, "HE+GM": 0,
    },
    "stronger": {
        (NE, "reference's"): 50, (NE, "white-box"): 30, (NE, "twin's"): 32,
        ("Ref", "reference's"): 90, ("Ref", "white-box"): 5, ("Ref", "twin's"): 6,
        ("Ref+GM", "reference's"): 90, ("Ref+GM", "white-box"): 90, ("Ref+GM", "twin's"): 90,
    },
    # Clean and adversarial accuracy. At 85 % |cos| lies at 20 %; 60 % it does not reach.
    "swept": {
        ("cosine", 0.0): (90, 10), ("cosine", 0.5): (85, 27), ("cosine", 3.0): (60, 0),
        ("absolute", 0.0): (90, 10), ("absolute", 1.0): (80, 30), ("absolute", 3.0): (70, 90),
    },
}  # fmt: skip


def spread(value, by):
    """A number that varies from run to run on its own account, too: a difference of that size."""
    return (value - by, value, value + by)


def table(values, *names, wobble=TOGETHER):
    """A row for each key and run; values rise and fall with the run."""
    rows = [
        dict(zip((*names, "run", "accuracy"), (*key, run, each + off), strict=True))
        for key, value in values.items()
        for each, (run, off) in zip(
            value if isinstance(value, tuple) else [value] * len(wobble),
            wobble.items(),
            strict=True,
        )
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=1)


def evidence(changes=(), wobble=TOGETHER):
    values = copy.deepcopy(VALUES)
    for name, changed in dict(changes).items():
        assert set(changed) <= set(values[name])
        values[name] |= changed
    fooled = table(values["fooled"], "net", "attack", wobble=wobble)
    against = table({(net,): v for net, v in values["against"].items()}, "net", wobble=wobble)
    # Half of the accuracy has to fall and rise as the rest does.
    doubled = {run: 2 * off for run, off in wobble.items()}
    stronger = [
        table({key: v}, "net", "from", wobble=doubled if key[1] == "reference's" else wobble)
        for key, v in values["stronger"].items()
    ]
    swept = [
        {"variant": variant, "strength": strength, "run": run, "clean": clean + off,
         "adversarial": adversarial + off}
        for (variant, strength), (clean, adversarial) in values["swept"].items()
        for run, off in wobble.items()
    ]  # fmt: skip
    carried = table(values["carried"], "scale", "dataset", "net", "images", wobble=wobble)
    return claims.Evidence(
        full=table(values["full"], "net", "images", wobble=wobble),
        reduced=table(values["reduced"], "net", "images", wobble=wobble),
        # The other way of counting says the opposite, as do the errors on clean images.
        fooled=fooled.assign(**{"both right": fooled["accuracy"],
                                "clean errors counted": 100 - fooled["accuracy"]}),
        against=against.assign(**{"fooled": against["accuracy"],
                                  "clean errors": 100 - against["accuracy"]}),
        carried=dict(list(carried.groupby("scale"))),
        stronger=pd.concat(stronger).pivot(index=["net", "run"], columns="from", values="accuracy")
        .reset_index().sample(frac=1, random_state=1),
        swept=pd.DataFrame(swept).sample(frac=1, random_state=1),
        resolution=ONE_IMAGE,
    )  # fmt: skip


def judged(changes=(), wobble=TOGETHER):
    found = list(claims.verdicts(SOURCES, evidence(changes, wobble)))
    verdicts = {(id, of): verdict for id, of, (verdict, _) in found}
    assert len(verdicts) == len(found)
    return verdicts


LABELS = {
    "4.C1": [""],
    "4.C2": SOURCES,
    "4.C3": [f"trained anew on {d}{s}" for s in (", full", "") for d in ("MNIST", "KMNIST")],
    "4.C4": [L_INF, "L2-PGD"],
    "4.C5": ["JPEG", "bilateral", "free AT", "fast AT"],
    "4.C6": [""],
    "4.C7": [
        "GM nets above Ref on clean images", "NE+GM best on clean images", "on adversarial images",
    ],
    "4.X1": ["white-box", "twin's"],
    "4.X2": [""],
}  # fmt: skip
ABOVE_REF, BEST_CLEAN, ON_ADVERSARIAL = LABELS["4.C7"]


def test_the_made_up_tables_reproduce_everything():
    everything = judged()
    assert {id for id, _ in everything} == set(study.STUDY.claims)
    assert everything == {(id, label): YES for id, of in LABELS.items() for label in of}


def test_two_runs_decide_nothing():
    assert set(judged(wobble={1: -8.0, 2: 8.0}).values()) == {OPEN}


def accuracy(table, net, images, value):
    return {table: {(net, images): value}}


def carried(net, images, value, dataset="MNIST", scale="reduced"):
    return {"carried": {(scale, dataset, net, images): value}}


def at_85(adversarial):
    return {"swept": {("cosine", 0.5): (85, adversarial)}}


CASES = [
    ("4.C1", "", accuracy("full", "Ref", L_INF, 60), NO),
    # A spread of 5 gives an interval of ± 12.4. The paper prints gains of 31 and 11 points: that
    # the upper end lies above half of it leaves the claim open, below it is ruled out.
    ("4.C1", "", accuracy("full", "Ref", L_INF, spread(46, 5)), OPEN),
    ("4.C1", "", accuracy("full", "Ref", L_INF, spread(48, 5)), NO),
    ("4.C1", "", accuracy("full", "Ref+GM", L_INF, spread(50, 2)), NO),
    ("4.C1", "", accuracy("full", "Ref+GM", L_INF, spread(49, 2)), OPEN),
    ("4.C1", "", accuracy("full", "Ref+GM", L_INF, 60), NO),
    ("4.C1", "", accuracy("full", NE, "clean", 78.05), OPEN),  # less than one test image
    ("4.C1", "", accuracy("full", "Ref+GM", L_INF, 49.85), YES),
    ("4.C1", "", accuracy("full", NE, "clean", 70), NO),
    ("4.C1", "", accuracy("full", NE, "clean", 77.85), NO),  # 2 points are allowed
    ("4.C1", "", accuracy("full", NE, "clean", 78.15), YES),
    ("4.C1", "", accuracy("full", "Ref+GM", "clean", 99), YES),  # that of Ref counts
    ("4.C2", "resnet8", accuracy("full", "Ref", "resnet8", 60), NO),
    ("4.C2", "resnet8", accuracy("full", "Ref+GM", "resnet8", 60), NO),
    # Of the paper's sources the smallest gain that is printed counts: 10.9 and 2.6 points.
    ("4.C2", "resnet8", accuracy("full", "Ref", "resnet8", spread(50, 2)), NO),
    ("4.C2", "resnet8", accuracy("full", "Ref", "resnet8", spread(50, 3)), OPEN),
    ("4.C2", "resnet8", accuracy("full", "Ref+GM", "resnet8", spread(50, 0.5)), NO),
    ("4.C2", "resnet8", accuracy("full", "Ref+GM", "resnet8", spread(50, 0.6)), OPEN),
    ("4.C2", "resnet8", accuracy("full", "Ref+GM", "resnet8", 49.85), YES),
    ("4.C2", "lenet5", accuracy("full", "Ref+GM", "resnet8", 60), YES),
    ("4.C2", "lenet5", accuracy("full", NE, L_INF, 0), YES),
    ("4.C2", "lenet5", accuracy("full", NE, "clean", 0), YES),  # 4.C1 asks for that
    ("4.C3", "trained anew on MNIST", carried("Ref", L_INF, 60), NO),
    ("4.C3", "trained anew on MNIST", carried("Ref+GM", L_INF, 60), NO),
    ("4.C3", "trained anew on MNIST", carried("Ref+GM", L_INF, spread(50, 1)), NO),
    ("4.C3", "trained anew on MNIST", carried("Ref+GM", L_INF, spread(50, 2)), OPEN),
    ("4.C3", "trained anew on MNIST", carried("Ref+GM", L_INF, 49.25), YES),
    ("4.C3", "trained anew on MNIST", carried(NE, "clean", 77.25), NO),
    ("4.C3", "trained anew on MNIST", carried(NE, "clean", 78.25), OPEN),
    ("4.C3", "trained anew on MNIST", carried(NE, "clean", 78.75), YES),
    ("4.C3", "trained anew on KMNIST", carried("Ref", L_INF, 60), YES),
    ("4.C3", "trained anew on MNIST, full", carried("Ref", L_INF, 60), YES),
    ("4.C3", "trained anew on MNIST, full", carried("Ref", L_INF, 60, scale="full"), NO),
    ("4.C3", "trained anew on MNIST, full", carried("Ref", L_INF, 49.75, scale="full"), YES),
    ("4.C4", L_INF, {"fooled": {("Ref+GM", L_INF): 5}}, NO),
    ("4.C4", L_INF, {"fooled": {("HE+GM", L_INF): 5}}, NO),
    ("4.C4", L_INF, {"fooled": {("HE+GM", L_INF): spread(10, 2)}}, NO),
    ("4.C4", L_INF, {"fooled": {("HE+GM", L_INF): spread(10, 3)}}, OPEN),
    ("4.C4", L_INF, {"fooled": {("HE+GM", L_INF): 10.75}}, YES),
    ("4.C4", "L2-PGD", {"fooled": {(NE, "L2-PGD"): 30}}, NO),
    ("4.C4", "L2-PGD", {"fooled": {(NE, L_INF): 30}}, YES),
    ("4.C5", "JPEG", {"against": {"Ref, JPEG": 10}}, NO),
    ("4.C5", "JPEG", {"against": {"Ref, JPEG": spread(20, 12)}}, NO),
    ("4.C5", "JPEG", {"against": {"Ref, JPEG": spread(20, 13)}}, OPEN),
    ("4.C5", "JPEG", {"against": {"Ref, JPEG": 20.75}}, YES),
    ("4.C5", "JPEG", {"against": {"Ref, bilateral": 10}}, YES),
    ("4.C5", "bilateral", {"against": {"Ref, bilateral": 10}}, NO),
    ("4.C5", "free AT", {"against": {"Ref, free AT": 10}}, NO),
    ("4.C5", "fast AT", {"against": {"Ref, fast AT": 10}}, NO),
    ("4.C6", "", accuracy("reduced", "Random+GM", L_INF, 50), NO),
    ("4.C6", "", accuracy("reduced", "Random+GM", L_INF, 39.75), OPEN),
    ("4.C6", "", accuracy("reduced", "Random+GM", L_INF, 39.25), YES),
    ("4.C6", "", accuracy("reduced", NE, "clean", 30), NO),  # the smaller accuracy counts
    ("4.C6", "", accuracy("reduced", "Random+GM", "clean", 99), YES),
    ("4.C6", "", accuracy("full", "Random+GM", L_INF, 99), YES),
    ("4.C7", ABOVE_REF, accuracy("reduced", "Ref+GM", "clean", 69), NO),
    ("4.C7", ABOVE_REF, accuracy("reduced", "HE+GM", "clean", 69), NO),
    ("4.C7", ABOVE_REF, accuracy("reduced", NE, "clean", 69), NO),
    ("4.C7", ABOVE_REF, accuracy("reduced", "HE+GM", "clean", 70.25), OPEN),
    ("4.C7", ABOVE_REF, accuracy("reduced", "HE+GM", "clean", 70.75), YES),
    ("4.C7", ABOVE_REF, accuracy("reduced", "Random+GM", "clean", 0), YES),
    ("4.C7", BEST_CLEAN, accuracy("reduced", "Ref+GM", "clean", 76), NO),
    ("4.C7", BEST_CLEAN, accuracy("reduced", "HE+GM", "clean", 76), NO),
    ("4.C7", BEST_CLEAN, accuracy("reduced", "HE+GM", "clean", spread(75, 0.4)), NO),
    ("4.C7", BEST_CLEAN, accuracy("reduced", "HE+GM", "clean", spread(75, 0.6)), OPEN),
    ("4.C7", BEST_CLEAN, accuracy("reduced", "HE+GM", "clean", 74.25), YES),
    ("4.C7", ON_ADVERSARIAL, accuracy("reduced", "Ref+GM", L_INF, 42.75), NO),
    ("4.C7", ON_ADVERSARIAL, accuracy("reduced", "Ref+GM", L_INF, 41.75), OPEN),
    ("4.C7", ON_ADVERSARIAL, accuracy("reduced", "Ref+GM", L_INF, 41.25), YES),  # 2 are allowed
    ("4.C7", ON_ADVERSARIAL, accuracy("reduced", "HE+GM", L_INF, 41), NO),  # but not here
    ("4.C7", ON_ADVERSARIAL, accuracy("reduced", "HE+GM", L_INF, 39.75), OPEN),
    ("4.C7", ON_ADVERSARIAL, accuracy("reduced", "HE+GM", L_INF, 39.25), YES),
    ("4.X1", "white-box", accuracy("stronger", NE, "white-box", 20), NO),
    ("4.X1", "white-box", accuracy("stronger", NE, "white-box", 25.05), OPEN),
    ("4.X1", "white-box", accuracy("stronger", NE, "white-box", 25.15), YES),
    ("4.X1", "white-box", accuracy("stronger", "Ref", "white-box", 40), NO),
    ("4.X1", "white-box", accuracy("stronger", "Ref", "white-box", 29.95), OPEN),
    ("4.X1", "white-box", accuracy("stronger", "Ref", "white-box", 29.85), YES),
    ("4.X1", "white-box", accuracy("stronger", NE, "reference's", 70), NO),
    ("4.X1", "white-box", accuracy("stronger", NE, "twin's", 0), YES),
    ("4.X1", "twin's", accuracy("stronger", NE, "twin's", 20), NO),
    ("4.X1", "twin's", accuracy("stronger", "Ref", "twin's", 40), NO),
    ("4.X1", "twin's", accuracy("stronger", "Ref", "white-box", 40), YES),
    ("4.X2", "", at_85(13), NO),
    ("4.X2", "", at_85(20.25), OPEN),
    ("4.X2", "", at_85(20.75), YES),  # without GM both are one net: that counts for neither
    ("4.X2", "", {"swept": {("absolute", 1.0): (80, 50)}}, NO),
    ("4.X2", "", {"swept": {("absolute", 3.0): (70, 0)}}, YES),  # not the neighbour at 85 %
    ("4.X2", "", {"swept": {("cosine", 0.5): (95, 99)}}, OPEN),  # nothing to compare with
]


@pytest.mark.parametrize(("claim", "label", "changes", "wanted"), CASES)
def test_verdicts(claim, label, changes, wanted):
    assert judged(changes)[claim, label] == wanted


def test_every_claim_has_a_case_of_each_kind():
    for claim in study.STUDY.claims:
        assert {wanted for id, *_, wanted in CASES if id == claim} == {YES, NO, OPEN}


# For each table the claims that must look at it, and where NE+GM is at its worst in it.
WORST = {
    "full": (0, ["4.C1", "4.C2"]), "reduced": (0, ["4.C6", "4.C7"]), "carried": (0, ["4.C3"]),
    "fooled": (100, ["4.C4"]), "against": (100, ["4.C5"]), "stronger": (0, ["4.X1"]),
}  # fmt: skip


@pytest.mark.parametrize("name", WORST)
def test_a_claim_looks_at_its_table_alone(name):
    worst, fail = WORST[name]
    keys = [key for key in VALUES[name] if NE in ((key,) if isinstance(key, str) else key)]
    kept = {key: VALUES[name][key] for key in keys if key[-1] == "reference's"}
    verdicts = judged({name: dict.fromkeys(keys, worst) | kept})
    assert {id for id, _ in verdicts if verdicts[id, _] == NO} == set(fail)
    assert all(verdicts[id, label] == (NO if id in fail else YES) for id, label in verdicts)


@pytest.mark.parametrize(("strength", "row"), [(0.5, (85, 27)), (0.0, (90, 99)), (3.0, (60, 99))])
def test_the_best_lambda_alone_does_not_decide(strength, row):
    """Neither the net without GM nor one whose clean accuracy |cos| never has is compared."""
    changes = at_85(13)["swept"] | {("cosine", strength): row}
    assert judged({"swept": changes})["4.X2", ""] == (YES if strength == 0.5 else NO)


def test_a_source_of_the_papers_is_held_against_its_own_gain():
    """Above Ref by 7 points at most: half of resnet18's 17.2, and not of the others' 10.9."""
    made = evidence(accuracy("full", "Ref", "resnet8", spread(47, 1.5)))
    found = {}
    for source in ("resnet8", "resnet18"):
        renamed = made.full.replace({"images": {"resnet8": source}})
        judged = claims.verdicts([source], dataclasses.replace(made, full=renamed))
        (found[source],) = [text for id, _, (_, text) in judged if id == "4.C2"]
    assert "the paper's" not in found["resnet8"].split(";")[0]
    assert "less than half of the paper's 17.15 (not reproduced)" in found["resnet18"]
