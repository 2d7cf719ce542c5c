"""Every claim of paper 4 on made-up tables: reproduced, not reproduced, undecided, at a threshold.

The tables below reproduce everything. Each case changes some numbers and says what must follow. In
every table the numbers of a run rise and fall together, so that only differences within a run
decide, and the runs stand in no order.
"""

import copy
import dataclasses

import numpy as np
import pandas as pd
import pytest

from kit.experiments import neuroevolution_gm as study
from kit.experiments.neuroevolution_gm import claims
from kit.experiments.neuroevolution_gm.evidence import Evidence
from kit.harness import results

YES, NO, OPEN = results.REPRODUCED, results.NOT_REPRODUCED, results.UNDECIDED
SMALL = results.SMALLER
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


CARRIED = by_net(clean=(80, 70, 90, 79, 90, 90), PGD=(20, 40, 90, 80, 90, 90))
VALUES = {
    "full": by_net(
        clean=(80, 70, 90, 79, 90, 90), PGD=(20, 40, 90, 50, 90, 90),
        resnet8=(20, 40, 90, 50, 90, 90), lenet5=(30, 40, 90, 50, 90, 90),
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
        ("Ref+GM", L_INF): 20, ("HE+GM", L_INF): 22, (NE, L_INF): 10, ("NE+GM 2", L_INF): 9,
        ("Ref+GM", "L2-PGD"): 40, ("HE+GM", "L2-PGD"): 44, (NE, "L2-PGD"): 20,
        ("NE+GM 2", "L2-PGD"): 18,
        ("Ref+GM", "FGSM"): 60, ("HE+GM", "FGSM"): 30, (NE, "FGSM"): 55, ("NE+GM 2", "FGSM"): 50,
    },
    "elsewhere": {
        (source, other): 5 for source in ("resnet8", "lenet5") for other in ("Ref", "Ref+GM")
    },
    "beside": {
        (L_INF, other): 5
        for other in ("Ref, JPEG", "Ref, bilateral", "Ref, free AT", "Ref, fast AT")
    },
    "maps": {
        ("distance", "Ref+GM"): 1.2, ("distance", NE): 1.4, ("distance", "Ref of another run"): 1.1,
        ("cosine", "Ref+GM"): -0.1, ("cosine", NE): -0.3, ("cosine", "Ref retrained"): 0.3,
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


def evidence(changes=(), wobble=TOGETHER, comparable=("full", "reduced")):
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
        {
            "variant": variant,
            "strength": strength,
            "run": run,
            "clean": clean + off,
            "adversarial": adversarial + off,
        }
        for (variant, strength), (clean, adversarial) in values["swept"].items()
        for run, off in wobble.items()
    ]
    carried = table(values["carried"], "scale", "dataset", "net", "images", wobble=wobble)
    maps = table(values["maps"], "quantity", "net", wobble=wobble)
    return Evidence(
        full=table(values["full"], "net", "images", wobble=wobble),
        reduced=table(values["reduced"], "net", "images", wobble=wobble),
        # The other way of counting says the opposite, as do the errors on clean images.
        fooled=fooled.assign(
            **{"both right": fooled["accuracy"], "clean errors counted": 100 - fooled["accuracy"]}
        ),
        against=against.assign(
            **{"fooled": against["accuracy"], "clean errors": 100 - against["accuracy"]}
        ),
        elsewhere=pairs(values["elsewhere"], wobble),
        beside=pairs(values["beside"], wobble),
        carried=dict(list(carried.groupby("scale"))),
        maps=maps.pivot(index=["net", "run"], columns="quantity", values="accuracy")
        .reset_index()
        .sample(frac=1, random_state=1),
        stronger=pd.concat(stronger)
        .pivot(index=["net", "run"], columns="from", values="accuracy")
        .reset_index()
        .sample(frac=1, random_state=1),
        swept=pd.DataFrame(swept).sample(frac=1, random_state=1),
        resolution=ONE_IMAGE,
        comparable=comparable,
    )


def pairs(values, wobble):
    """How much less NE+GM is fooled than others, of what both get right: a difference already."""
    made = table(values, "images", "other net", wobble=dict.fromkeys(wobble, 0.0))
    return made.rename(columns={"accuracy": "difference"}).assign(net=NE)


def judged(changes=(), wobble=TOGETHER, sources=SOURCES, **how):
    found = list(claims.verdicts(sources, evidence(changes, wobble, **how)))
    verdicts = {(id, of): verdict.outcome for id, of, verdict in found}
    assert len(verdicts) == len(found)
    return verdicts


def outcome(claim, label, changes):
    """One of them alone: nothing behind it is judged."""
    found = claims.verdicts(SOURCES, evidence(changes))
    return next(verdict.outcome for id, of, verdict in found if (id, of) == (claim, label))


ALL, BOTH = "clean errors counted", "both right"
LABELS = {
    "4.C1": [""],
    "4.C2": [f"{source}, {way}" for source in SOURCES for way in (ALL, BOTH)],
    "4.C3": [f"trained anew on {d}{s}" for s in (", full", "") for d in ("MNIST", "KMNIST")],
    "4.C4": [L_INF, "L2-PGD"],
    "4.C5": [
        f"{defense}, {way}"
        for defense in ("JPEG", "bilateral", "free AT", "fast AT") for way in (ALL, BOTH)
    ],
    "4.C6": [""],
    "4.C7": [
        "GM nets above Ref on clean images", "NE+GM best on clean images", "on adversarial images",
    ],
    "4.C8": ["attribution distance", "gradient cosine"],
    "4.C9": [""],
    "4.C10": [""],
    "4.C11": [""],
    "4.X1": ["white-box", "twin's"],
    "4.X2": [""],
}  # fmt: skip
ABOVE_REF, BEST_CLEAN, ON_ADVERSARIAL = LABELS["4.C7"]
ON_RESNET8, OF_RESNET8, ON_LENET5, OF_LENET5 = LABELS["4.C2"]


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
    # A spread of 5 gives an interval of ± 12.4, of 2 one of ± 5. The paper's nets spare 40 % of
    # Ref's errors and 20 % of Ref+GM's: less than half of that is smaller than printed.
    ("4.C1", "", accuracy("full", "Ref", L_INF, spread(46, 5)), OPEN),
    ("4.C1", "", accuracy("full", "Ref+GM", L_INF, spread(49, 2)), OPEN),
    ("4.C1", "", accuracy("full", "Ref", L_INF, 39), SMALL),
    ("4.C1", "", accuracy("full", "Ref", L_INF, 36), YES),
    ("4.C1", "", accuracy("full", "Ref+GM", L_INF, 46), SMALL),
    ("4.C1", "", accuracy("full", "Ref+GM", L_INF, 44), YES),
    ("4.C1", "", accuracy("full", "Ref+GM", L_INF, 60), NO),
    ("4.C1", "", accuracy("full", NE, "clean", 78.05), OPEN),  # less than one test image
    ("4.C1", "", accuracy("full", "Ref+GM", L_INF, 49.85), SMALL),  # more than one test image
    ("4.C1", "", accuracy("full", "Ref+GM", L_INF, 49.95), OPEN),
    ("4.C1", "", accuracy("full", NE, "clean", 70), NO),
    ("4.C1", "", accuracy("full", NE, "clean", 77.85), NO),  # 2 points are allowed
    ("4.C1", "", accuracy("full", NE, "clean", 78.15), YES),
    ("4.C1", "", accuracy("full", "Ref+GM", "clean", 99), YES),  # that of Ref counts
    ("4.C2", ON_RESNET8, accuracy("full", "Ref", "resnet8", 60), NO),
    ("4.C2", ON_RESNET8, accuracy("full", "Ref+GM", "resnet8", 60), NO),
    # Of the paper's sources that count which spare least: 19 and 5 % of the errors.
    ("4.C2", ON_RESNET8, accuracy("full", "Ref", "resnet8", spread(50, 2)), OPEN),
    ("4.C2", ON_RESNET8, accuracy("full", "Ref", "resnet8", 45), SMALL),
    ("4.C2", ON_RESNET8, accuracy("full", "Ref", "resnet8", 44), YES),
    ("4.C2", ON_RESNET8, accuracy("full", "Ref+GM", "resnet8", 49), SMALL),
    ("4.C2", ON_RESNET8, accuracy("full", "Ref+GM", "resnet8", 48), YES),
    ("4.C2", ON_LENET5, accuracy("full", "Ref+GM", "resnet8", 60), YES),
    ("4.C2", ON_LENET5, accuracy("full", NE, L_INF, 0), YES),
    ("4.C2", ON_LENET5, accuracy("full", NE, "clean", 0), YES),  # 4.C1 asks for that
    ("4.C2", OF_RESNET8, {"elsewhere": {("resnet8", "Ref"): -1}}, NO),
    ("4.C2", OF_RESNET8, {"elsewhere": {("resnet8", "Ref+GM"): -1}}, NO),
    ("4.C2", OF_RESNET8, {"elsewhere": {("resnet8", "Ref+GM"): 0.05}}, OPEN),
    ("4.C2", OF_RESNET8, {"elsewhere": {("resnet8", "Ref+GM"): 0.15}}, YES),
    ("4.C2", OF_LENET5, {"elsewhere": {("resnet8", "Ref+GM"): -1}}, YES),
    ("4.C2", ON_RESNET8, {"elsewhere": {("resnet8", "Ref+GM"): -1}}, YES),
    ("4.C3", "trained anew on MNIST", carried("Ref", L_INF, 90), NO),
    ("4.C3", "trained anew on MNIST", carried("Ref+GM", L_INF, 90), NO),
    ("4.C3", "trained anew on MNIST", carried("Ref+GM", L_INF, spread(80, 1)), OPEN),
    ("4.C3", "trained anew on MNIST", carried("Ref+GM", L_INF, 78), SMALL),
    ("4.C3", "trained anew on MNIST", carried("Ref+GM", L_INF, 73), YES),  # 4.T7, not 4.T3
    ("4.C3", "trained anew on MNIST", carried(NE, "clean", 77.25), NO),
    ("4.C3", "trained anew on MNIST", carried(NE, "clean", 78.25), OPEN),
    ("4.C3", "trained anew on MNIST", carried(NE, "clean", 78.75), YES),
    ("4.C3", "trained anew on KMNIST", carried("Ref", L_INF, 90), YES),
    ("4.C3", "trained anew on MNIST, full", carried("Ref", L_INF, 90), YES),
    ("4.C3", "trained anew on MNIST, full", carried("Ref", L_INF, 90, scale="full"), NO),
    ("4.C3", "trained anew on MNIST, full", carried("Ref+GM", L_INF, 73, scale="full"), SMALL),
    ("4.C3", "trained anew on MNIST, full", carried(NE, "clean", 78.15, scale="full"), YES),
    ("4.C4", L_INF, {"fooled": {("Ref+GM", L_INF): 5}}, NO),
    ("4.C4", L_INF, {"fooled": {("HE+GM", L_INF): 5}}, NO),
    ("4.C4", L_INF, {"fooled": {("HE+GM", L_INF): spread(10, 2)}}, OPEN),
    # Half of what the paper's net spares of HE+GM's 30 %, which is 14 points, or 47 %.
    ("4.C4", L_INF, {"fooled": {("HE+GM", L_INF): 12}}, SMALL),
    ("4.C4", L_INF, {"fooled": {("HE+GM", L_INF): 16}}, YES),
    # Under L2-PGD it is 20 % of Ref+GM's, and 8 % under L∞-PGD.
    ("4.C4", "L2-PGD", {"fooled": {("Ref+GM", "L2-PGD"): 21}}, SMALL),
    ("4.C4", L_INF, {"fooled": {("Ref+GM", L_INF): 11}}, YES),
    ("4.C4", "L2-PGD", {"fooled": {(NE, "L2-PGD"): 50}}, NO),
    ("4.C4", "L2-PGD", {"fooled": {(NE, L_INF): 30}}, YES),
    ("4.C5", f"JPEG, {ALL}", {"against": {"Ref, JPEG": 10}}, NO),
    ("4.C5", f"JPEG, {ALL}", {"against": {"Ref, JPEG": spread(20, 12)}}, OPEN),
    ("4.C5", f"JPEG, {ALL}", {"against": {"Ref, JPEG": 20.75}}, SMALL),
    ("4.C5", f"JPEG, {ALL}", {"against": {"Ref, JPEG": 33}}, YES),  # by points it were smaller
    ("4.C5", f"JPEG, {ALL}", {"against": {"Ref, bilateral": 10}}, YES),
    ("4.C5", f"bilateral, {ALL}", {"against": {"Ref, bilateral": 10}}, NO),
    ("4.C5", f"free AT, {ALL}", {"against": {"Ref, free AT": 10}}, NO),
    ("4.C5", f"fast AT, {ALL}", {"against": {"Ref, fast AT": 10}}, NO),
    ("4.C5", f"JPEG, {ALL}", {"beside": {(L_INF, "Ref, JPEG"): -1}}, YES),
    ("4.C5", f"JPEG, {BOTH}", {"beside": {(L_INF, "Ref, JPEG"): -1}}, NO),
    ("4.C5", f"JPEG, {BOTH}", {"beside": {(L_INF, "Ref, JPEG"): 0.25}}, OPEN),
    ("4.C5", f"JPEG, {BOTH}", {"beside": {(L_INF, "Ref, JPEG"): 0.75}}, YES),
    ("4.C5", f"fast AT, {BOTH}", {"beside": {(L_INF, "Ref, JPEG"): -1}}, YES),
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
    ("4.C7", BEST_CLEAN, accuracy("reduced", "HE+GM", "clean", spread(75, 0.4)), OPEN),
    ("4.C7", BEST_CLEAN, accuracy("reduced", "HE+GM", "clean", 74.25), YES),
    ("4.C7", ON_ADVERSARIAL, accuracy("reduced", "Ref+GM", L_INF, 42.75), NO),
    ("4.C7", ON_ADVERSARIAL, accuracy("reduced", "Ref+GM", L_INF, 41.75), OPEN),
    ("4.C7", ON_ADVERSARIAL, accuracy("reduced", "Ref+GM", L_INF, 41.25), YES),  # 2 are allowed
    ("4.C7", ON_ADVERSARIAL, accuracy("reduced", "HE+GM", L_INF, 41), NO),  # but not here
    ("4.C7", ON_ADVERSARIAL, accuracy("reduced", "HE+GM", L_INF, 39.75), OPEN),
    ("4.C7", ON_ADVERSARIAL, accuracy("reduced", "HE+GM", L_INF, 39.25), YES),
    ("4.C8", "attribution distance", {"maps": {("distance", NE): 1.0}}, NO),
    ("4.C8", "attribution distance", {"maps": {("distance", NE): spread(1.3, 0.1)}}, OPEN),
    ("4.C8", "attribution distance", {"maps": {("distance", NE): spread(1.3, 0.01)}}, YES),
    ("4.C8", "attribution distance", {"maps": {("cosine", NE): 0.5}}, YES),
    ("4.C8", "gradient cosine", {"maps": {("cosine", NE): 0.0}}, NO),
    ("4.C8", "gradient cosine", {"maps": {("cosine", NE): spread(-0.2, 0.1)}}, OPEN),
    ("4.C8", "gradient cosine", {"maps": {("cosine", NE): spread(-0.2, 0.01)}}, YES),
    ("4.C9", "", {"fooled": {("Ref+GM", "FGSM"): 25}}, NO),
    ("4.C9", "", {"fooled": {(NE, "FGSM"): 25}}, NO),
    ("4.C9", "", {"fooled": {("NE+GM 2", "FGSM"): 25}}, NO),
    ("4.C9", "", {"fooled": {(NE, "FGSM"): spread(35, 5)}}, OPEN),
    ("4.C9", "", {"fooled": {("Ref+GM", "FGSM"): 33}}, SMALL),
    ("4.C9", "", {"fooled": {("Ref+GM", "FGSM"): 35}}, YES),
    ("4.C9", "", {"fooled": {("HE+GM", L_INF): 99}}, YES),
    ("4.C10", "", {"fooled": {("Ref+GM", L_INF): 50}}, NO),
    ("4.C10", "", {"fooled": {("NE+GM 2", L_INF): 50}}, NO),
    ("4.C10", "", {"fooled": {("HE+GM", L_INF): 44.25}}, OPEN),
    ("4.C10", "", {"fooled": {(NE, L_INF): 17}}, SMALL),  # the paper's spares 44 %
    ("4.C10", "", {"fooled": {(NE, L_INF): 15}}, YES),
    ("4.C10", "", {"fooled": {("Ref+GM", "FGSM"): 0}}, YES),
    ("4.C11", "", accuracy("full", "Ref", "resnet8", 40), NO),
    ("4.C11", "", accuracy("full", "Ref", "resnet8", 29.95), OPEN),
    ("4.C11", "", accuracy("full", "Ref", "resnet8", 29.85), YES),
    ("4.C11", "", accuracy("full", NE, "resnet8", 0), YES),
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
    assert outcome(claim, label, changes) == wanted


def test_every_claim_has_a_case_of_each_kind():
    for claim in study.STUDY.claims:
        assert {wanted for id, *_, wanted in CASES if id == claim} >= {YES, NO, OPEN}


# For each table the claims that must look at it, and where NE+GM is at its worst in it.
WORST = {
    "full": (0, {"4.C1": "", "4.C2": ALL}), "reduced": (0, {"4.C6": "", "4.C7": ""}),
    "carried": (0, {"4.C3": ""}), "elsewhere": (-5, {"4.C2": BOTH}), "beside": (-5, {"4.C5": BOTH}),
    "fooled": (100, {"4.C4": ""}), "against": (100, {"4.C5": ALL}), "stronger": (0, {"4.X1": ""}),
}  # fmt: skip


@pytest.mark.parametrize("name", WORST)
def test_a_claim_looks_at_its_table_alone(name):
    worst, fail = WORST[name]
    of_pairs = name in ("elsewhere", "beside")
    keys = [k for k in VALUES[name] if of_pairs or NE in ((k,) if isinstance(k, str) else k)]
    kept = {key: VALUES[name][key] for key in keys if key[-1] == "reference's"}
    verdicts = judged({name: dict.fromkeys(keys, worst) | kept})
    if name == "fooled":  # then both attacks fool it equally
        assert verdicts.pop(("4.C10", "")) == OPEN
    assert verdicts == {
        (id, of): NO if id in fail and of.endswith(fail[id]) else YES for id, of in verdicts
    }


@pytest.mark.parametrize(("strength", "row"), [(0.5, (85, 27)), (0.0, (90, 99)), (3.0, (60, 99))])
def test_the_best_lambda_alone_does_not_decide(strength, row):
    """Neither the net without GM nor one whose clean accuracy |cos| never has is compared."""
    changes = at_85(13)["swept"] | {("cosine", strength): row}
    assert judged({"swept": changes})["4.X2", ""] == (YES if strength == 0.5 else NO)


def renamed(changes, **names):
    """The evidence with other names of sources."""
    made = evidence(changes)
    swapped = {name: made_of.replace({"images": names}) for name, made_of in (
        ("full", made.full), ("elsewhere", made.elsewhere)
    )}  # fmt: skip
    return dataclasses.replace(made, **swapped)


def test_a_source_of_the_papers_is_held_against_its_own_effect():
    """13 % of Ref's errors are spared: half of the 27 of resnet18, not of the 19 of the least."""
    changes, found = accuracy("full", "Ref", "resnet8", 43), {}
    for source in ("resnet8", "resnet18"):
        made = renamed(changes, resnet8=source)
        judged = {
            of: verdict for id, of, verdict in claims.verdicts([source], made) if id == "4.C2"
        }
        found[source] = judged[f"{source}, {ALL}"].outcome
    assert found == {"resnet8": YES, "resnet18": SMALL}


def test_skips_are_held_against_what_the_paper_prints():
    """With its nets: Ref errs less by 10 % of the errors, from 63 to 57, on vgg11's examples."""
    for accuracy_of_ref, wanted in ((27, SMALL), (24, YES)):
        changes = accuracy("full", "Ref", "resnet8", accuracy_of_ref)
        made = renamed(changes, resnet8="resnet18", lenet5="vgg11")
        judged = {id: v for id, _, v in claims.verdicts(["resnet18", "vgg11"], made)}
        assert judged["4.C11"].outcome == wanted


@pytest.mark.parametrize("sources", [["lenet5"], ["resnet8"]])
def test_without_one_kind_of_sources_nothing_is_said_of_skips(sources):
    (found,) = [v for id, _, v in claims.verdicts(sources, evidence()) if id == "4.C11"]
    assert found.outcome == OPEN
    assert found.evidence == "needs sources with skip connections, and others"


@pytest.mark.parametrize(
    ("comparable", "smaller"),
    [(["full"], ["4.C1"]), (["reduced"], ["4.C4"]), ([], [])],
)
def test_an_effect_of_another_size_is_no_yardstick(comparable, smaller):
    changes = accuracy("full", "Ref+GM", L_INF, 46) | {"fooled": {("HE+GM", L_INF): 12}}
    found = judged(changes, comparable=comparable)
    assert [id for (id, _), outcome in found.items() if outcome == SMALL] == smaller


@pytest.mark.parametrize(
    ("printed", "ours", "effect"),
    [
        ({"a": [10.0], "b": [20.0]}, 60.0, 30.0),
        ({"a": [10.0, 15.0], "b": [20.0, 20.0]}, 60.0, 15.0),  # the smallest share
        ({"a": [20.0], "b": [10.0]}, 60.0, None),  # a loss
        ({"a": [float("nan")], "b": [10.0]}, 60.0, None),
        ({"b": [10.0]}, 60.0, None),
    ],
)
def test_a_printed_effect_spares_a_share_of_ours(printed, ours, effect):
    series = pd.Series(printed).explode().astype(float)
    assert claims.printed_effect(series, "a", "b", ours) == effect


def test_plain_nets_stand_beside_as_the_control():
    found = {of: v.evidence for id, of, v in claims.verdicts(SOURCES, evidence()) if id == "4.C8"}
    assert "two plain references are 1.1 apart" in found["attribution distance"]
    assert "a plain net's cosine with the reference is 0.3" in found["gradient cosine"]


def on_other_images(table):
    """Each cell with the numbers that it would hold on other images, for all runs alike."""
    rng = np.random.default_rng(0)
    numbers = [name for name in table.select_dtypes("number") if name not in ("run", "strength")]
    keys = [name for name in table if name not in ("run", *numbers)]
    luck = {key: [0.0, *rng.normal(0, 5, 20)] for key, _ in table.groupby(keys)}
    cells = [
        [np.add(row[name], luck[tuple(row[keys])]) for name in numbers]
        for _, row in table.iterrows()
    ]
    moved = dict(zip(numbers, map(list, zip(*cells, strict=True)), strict=True))
    return table.assign(**moved)


def test_the_luck_of_the_images_widens_every_interval():
    """The runs agree with each other; on other images all of them would say something else."""
    made = evidence()
    tables = ("full", "reduced", "elsewhere", "fooled", "against", "beside", "maps", "stronger")
    lucky = {name: on_other_images(getattr(made, name)) for name in tables} | {
        "carried": {scale: on_other_images(table) for scale, table in made.carried.items()}
    }
    lucky = dataclasses.replace(made, **lucky)
    both = zip(claims.verdicts(SOURCES, made), claims.verdicts(SOURCES, lucky), strict=True)
    for (id, _, before), (_, _, after) in both:
        for alone, part in zip(before.parts, after.parts, strict=True):
            assert part.estimate.value == pytest.approx(alone.estimate.value)
            assert alone.estimate.shared == 0
            assert part.estimate.shared > 1 or id == "4.X2"  # of which see test_neuroevolution_gm
