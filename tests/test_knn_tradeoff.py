import golden
import numpy as np
import pandas as pd
import pytest

from kit import data, neighbors, results, steps
from kit.analysis import knn_tradeoff as analysis
from kit.experiments import knn_tradeoff as study

TINY = {
    "dataset": "digits", "train": 60, "test": 300, "z": 5, "epsilon": 0.5, "epochs": 60,
    "control_draws": 2, "seed": 0, "run": 1, "data_root": "", "device": "cpu",
}  # fmt: skip
NOTEBOOK = {
    "datasets": ["digits"], "runs": 2, "max_runs": {}, "train": 200, "test": 100, "z": 5,
    "epsilon": 0.2, "epochs": 1, "control_draws": 1, "flat": 2.0, "seed": 0, "data_root": "",
    "device": "cpu",
}  # fmt: skip


@pytest.fixture(scope="module")
def tiny():
    fingerprint = data.load("digits", train=60, test=300).fingerprint
    return {**TINY, "fingerprint": fingerprint}


@pytest.fixture(scope="module")
def entry(tiny):
    return study.study(**tiny)


def tiny_steps():
    """Tiny parameters of every step of this study, for its golden numbers."""
    parameters = {**TINY, "fingerprint": data.load("digits", train=60, test=300).fingerprint}
    return {"knn_tradeoff.lenet": parameters, "knn_tradeoff.study": parameters}


@pytest.mark.parametrize("name", sorted(n for n in steps.REGISTRY if n.startswith("knn_")))
def test_golden(name):
    golden.check(name, tiny_steps()[name])


def test_the_adversarial_set_is_what_the_paper_says(entry, tiny):
    """Recomputed from the definition: right before the attack, wrong after it, for Z-NN."""
    split = study._split(
        **{k: tiny[k] for k in ("dataset", "train", "test", "fingerprint", "seed", "run")},
        data_root="", device="cpu",
    )  # fmt: skip
    clean = neighbors.predict(split.x_train, split.y_train, split.x_test, (1, 3, 5))
    assert np.array_equal(np.stack([v.numpy() for v in clean.values()], 1), entry["test_votes"])
    for attack in analysis.ATTACKS.values():
        assert (clean[5] == split.y_test)[entry[f"{attack}_image"]].all()
        rows = entry[f"{attack}_examples"]
        assert len(rows)
        originals = split.x_test[entry[f"{attack}_image"][rows]]
        assert np.array_equal(entry[f"{attack}_originals"], data.as_bytes(originals))
        moved = entry[f"{attack}_pixels"] / 255 - originals.numpy()
        assert np.abs(moved).max() <= TINY["epsilon"] + 1 / 255
        assert len(set(entry[f"{attack}_image"][rows])) == len(rows)
    assert len(entry["fgsm_image"]) == 9 * len(entry["deepfool_image"])
    assert len(entry["control_image"]) == 2 * len(entry["deepfool_image"])


def test_accuracies_follow_from_the_votes(entry):
    table = analysis.accuracies([entry], 5)
    at_z = table[(table["k"] == 5) & table["images"].gt(0)].set_index("set")["accuracy"]
    assert at_z[analysis.WRONG] == 0
    assert all(at_z[name] == 0 for name in analysis.ATTACKS if name in at_z)
    whole = table[(table["set"] == analysis.WHOLE) & (table["k"] == 1)]
    truth = (entry["test_votes"][:, 0] == entry["labels"]).mean()
    assert whole["accuracy"].item() == pytest.approx(100 * truth)
    assert whole["images"].item() == 300


def synthetic(**accuracy_by_set):
    """Runs with given accuracies per set: one row per run, one column per K = 1, 3, 5."""
    rows = [
        (run, name, k, value, 10)
        for name, runs in accuracy_by_set.items()
        for run, values in enumerate(runs, 1)
        for k, value in zip((1, 3, 5), values, strict=True)
    ]
    return pd.DataFrame(rows, columns=["run", "set", "k", "accuracy", "images"])


def test_slopes_never_divide_by_zero():
    table = analysis.slopes(synthetic(a=[(60, 40, 0)], b=[(10, 0, 0)], c=[(np.nan,) * 3]))
    slope = table.set_index(["set", "j"])["slope"]
    assert slope["a", 1] == 1.5
    assert np.isinf(slope["a", 3])
    assert np.isinf(slope["b", 1])
    assert np.isnan(slope["b", 3])
    assert np.isnan(slope["c", 1])


def test_compare_reports_the_direction_and_shows_infinity():
    table = analysis.slopes(
        synthetic(
            FGSM=[(50, 40, 0), (51, 40, 0), (50, 41, 0)],
            misclassified=[(60, 30, 0), (61, 30, 0), (62, 31, 0)],
        )
    )
    found = analysis.compare(table, "FGSM").set_index("quantity")
    assert found.loc["S1", "difference"] < 0
    assert found.loc["S1", "p Welch"] < 0.01
    assert np.isinf(found.loc["S3", ["mean", "mean against"]].astype(float)).all()
    assert np.isnan(found.loc["S3", "p Welch"])
    assert found.loc["A3 − A5", "difference"] > 0
    verdict, evidence = analysis.faster(analysis.compare(table, "FGSM"), "FGSM")
    assert verdict == results.NOT_REPRODUCED
    assert "3 of 3 runs" in evidence


def test_a_claim_without_any_finite_slope_is_undecided():
    table = analysis.slopes(synthetic(FGSM=[(5, 0, 0)] * 2, misclassified=[(5, 0, 0)] * 2))
    verdict, evidence = analysis.faster(analysis.compare(table, "FGSM"), "FGSM")
    assert verdict == results.UNDECIDED
    assert "0 of 2 runs" in evidence


def test_a_claim_with_a_slope_missing_in_one_run_is_undecided():
    runs = [(60, 30, 5), (61, 30, 5), (62, 31, 5)]
    others = [(50, 40, 5), (50, 41, 5), (5, 0, 0)]
    table = study_slopes(FGSM=runs, misclassified=others)
    verdict, evidence = analysis.faster(analysis.compare(table, "FGSM"), "FGSM")
    assert verdict == results.UNDECIDED
    assert "2 of 3 runs" in evidence


def study_slopes(**accuracy_by_set):
    return analysis.slopes(synthetic(**accuracy_by_set))


def test_empty_sets_are_reported_not_divided_by():
    entry = {
        "labels": np.array([0, 1], np.int16),
        "test_votes": np.array([[0, 0], [1, 1]], np.int16),
    }
    for attack in analysis.ATTACKS.values():
        entry |= {f"{attack}_image": np.zeros(0, int), f"{attack}_votes": np.zeros((0, 2), int)}
    table = analysis.accuracies([entry, entry], 3)
    assert analysis.summary(table).set_index(["set", "k"]).loc[("FGSM", 1), "images"] == 0
    assert analysis.beyond_control(table)["runs"].tolist() == [0, 0]
    assert analysis.stays_flat(table, 2.0)[0] == results.REPRODUCED


def test_control_share_and_what_is_beyond():
    table = synthetic(
        FGSM=[(60, 40, 0), (62, 40, 0)],
        DeepFool=[(30, 1, 0)] * 2,
        **{analysis.CONTROL: [(30, 20, 0), (31, 20, 0)], analysis.WHOLE: [(90, 90, 90)] * 2},
    )
    fgsm = analysis.beyond_control(table).set_index("attack").loc["FGSM"]
    assert fgsm["control share"] == pytest.approx(50)
    assert fgsm["beyond"] == pytest.approx(30.5)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"z": 1}, r"z is 1: use an odd number from 3"),
        ({"z": 4}, r"z is 4: use an odd number from 3"),
        ({"epsilon": 0.0}, r"epsilon is 0.0: it must be in \(0, 1\]"),
        ({"epsilon": 1.5}, r"epsilon is 1.5"),
        ({"epsilon": float("nan")}, r"epsilon is nan"),
        ({"runs": 0}, r"runs is 0: it must be a positive whole number"),
        ({"epochs": -1}, r"epochs is -1"),
        ({"control_draws": 0}, r"control_draws is 0"),
        ({"max_runs": {"digits": 0}}, r"max_runs of digits is 0"),
        ({"max_runs": {"digits": "x"}}, r"max_runs of digits is 'x'"),
        ({"max_runs": {"digit": 3}}, r"not among datasets"),
        ({"runs": 2.5}, r"runs is 2.5"),
        ({"flat": 0}, r"flat is 0"),
        ({"datasets": "digits"}, r"list at least one name"),
        ({"train": -5}, r"train is -5"),
        ({"datasets": []}, r"list at least one name"),
        ({"datasets": [3]}, r"list at least one name"),
        ({"datasets": ["digits", "digits"]}, r"name each data set once"),
    ],
)
def test_bad_parameters_are_one_sentence(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        study.check(**{**NOTEBOOK, **change})


def test_k_above_the_number_of_training_images():
    with pytest.raises(ValueError, match="only 10 training images"):
        study.plan(**{**NOTEBOOK, "train": 10, "z": 11})


def test_the_plan_depends_on_the_data_not_on_where_they_are(tmp_path, store):
    calls = [
        call
        for root in ("", str(tmp_path))
        for call in study.plan(**{**NOTEBOOK, "data_root": root})["digits"][1]
    ]
    paths = [call.step.path(call.parameters) for call in calls]
    assert paths[:4] == paths[4:]
    assert len(set(paths)) == 4  # two nets, two runs


def test_changed_data_are_noticed(tiny, store):
    with pytest.raises(ValueError, match="has changed since"):
        study.lenet(**{k: v for k, v in tiny.items() if k not in ("z", "epsilon", "control_draws")}
                    | {"fingerprint": "other"})  # fmt: skip
