"""The study of overfitting and robustness: its steps, what is read off them, its verdicts."""

import golden
import numpy as np
import pytest
import torch

from kit import attacks, data, nets, results, steps, training
from kit.analysis import overfitting_claims as claims
from kit.analysis import overfitting_vs_robustness as analysis
from kit.experiments import overfitting_vs_robustness as study

GIVEN = {
    "datasets": ["digits"], "train": 90, "test": 60, "folds": 3, "epochs": 3, "batch_size": 15,
    "lr_normal": 1e-3, "lr_overfitting": 1e-2, "epsilon": 0.3, "norm": "linf", "pgd_steps": 3,
    "attack_images": 12, "metric_images": 20, "eps_step": 0.1, "clever_images": 3,
    "clever_every": 2, "clever_batches": 3, "clever_batch_size": 10, "clever_radius": 5.0,
    "seed": 0, "data_root": "", "device": "cpu",
}  # fmt: skip


def calls_of(**changes):
    ((_, calls),) = study.plan(**{**GIVEN, **changes}).values()
    return calls


def tiny_steps():
    """Tiny parameters of every step of this study, for its golden numbers."""
    found = {call.step.name: call.parameters for call in calls_of()}
    return dict(sorted(found.items()))


@pytest.fixture(scope="module")
def gathered():
    calls = calls_of()
    return calls, steps.gather(calls, jobs=1, device="cpu", report=lambda line: None)


@pytest.fixture(scope="module")
def found(gathered):
    return analysis.by_regime(*gathered, GIVEN)["digits"]


@pytest.mark.parametrize("name", sorted(n for n in steps.REGISTRY if n.startswith("overfitting")))
def test_golden(name):
    golden.check(name, tiny_steps()[name])


def test_every_fold_is_measured_in_every_way(gathered, found):
    calls, _ = gathered
    count = {}
    for call in calls:
        count[call.step.name] = count.get(call.step.name, 0) + 1
        assert all(other.step.name.endswith(".regime") for other in call.after)
    made = [count[f"overfitting_vs_robustness.{n}"] for n in ("regime", "attacked", "measured")]
    assert made == [2, 12, 6]
    assert count["overfitting_vs_robustness.scored"] == 2 * 3 * 3  # epochs 1, 2 and 3
    for regime in found.values():
        assert len(regime.best) == len(regime.last) == len(regime.measured) == 3
        assert [len(fold) for fold in regime.scored] == [3, 3, 3]


@pytest.mark.parametrize(
    ("epochs", "every", "expected"),
    [(35, 10, [1, 10, 20, 30, 35]), (4, 2, [1, 2, 4]), (1, 5, [1]), (3, 1, [1, 2, 3])],
)
def test_measured_epochs(epochs, every, expected):
    assert study.measured_epochs(epochs, every) == expected


def test_a_fold_is_what_fit_makes_of_its_images(gathered):
    """Retrained from scratch by `fit`, snapshots and validation accuracies are the same."""
    calls, entries = gathered
    result, own = entries[1]["result"], calls[1].parameters
    assert own["lr"] == GIVEN["lr_overfitting"]
    digits = data.load("digits", train=90, test=60)
    rows, held_out = digits.folds(3, study.runtime.derive_seed(0, "folds"))[1]
    x, y = digits.x_train[rows], digits.y_train[rows]
    net = nets.build("lenet5", digits.shape, seed=study.runtime.derive_seed(0, "net", 1))

    def compare(epoch, model):
        for name, value in model.state_dict().items():
            kept = torch.from_numpy(result[f"weights {name}"][1, epoch - 1])
            torch.testing.assert_close(kept, value, rtol=0, atol=1e-5)
        accuracy = training.accuracy(model, digits.x_train[held_out], digits.y_train[held_out])
        assert result["validation_accuracy"][1, epoch - 1] == pytest.approx(accuracy)

    training.fit(
        net, x, y, epochs=3, batch_size=15, lr=1e-2, on_epoch=compare,
        seed=study.runtime.derive_seed(0, "order"),
    )  # fmt: skip


def test_examples_are_crafted_on_the_best_snapshot_and_judged_by_all(gathered):
    calls, entries = gathered
    places = [
        i for i, c in enumerate(calls) if c.step is study.attacked and c.parameters["fold"] == 2
    ]
    for i in places:
        own, result = calls[i].parameters, entries[i]["result"]
        fold = study._Fold(own["trained"], 2, "", "cpu")
        accuracies = entries[calls.index(calls[i].after[0])]["result"]["validation_accuracy"][1]
        epoch = 3 if own["crafted"] == "last" else 1 + int(np.argmax(accuracies))
        assert result["epoch"] == epoch
        net = fold.snapshot(epoch)
        right = (training.predict(net, fold.split.x_test) == fold.split.y_test).numpy()
        assert np.array_equal(result["image"], np.flatnonzero(right)[:12])
        x, y = (part[result["image"]] for part in (fold.split.x_test, fold.split.y_test))
        sets = {"cw": attacks.cw_l2(net, x, y), "test": fold.split.x_test}
        if own["crafted"] == "best":
            sets["fgsm"] = attacks.fgsm(net, x, y, eps=0.3)
        else:
            assert "fgsm_predictions" not in result
        for name, images in sets.items():
            judged = [training.predict(fold.snapshot(e), images).numpy() for e in (1, 2, 3)]
            assert np.array_equal(result[f"{name}_predictions"], judged)
        l2 = (sets["cw"] - x).flatten(1).norm(dim=1).numpy()
        assert result["cw_norms"][0, 1] == pytest.approx(l2, abs=1e-6)
        # The crafting snapshot itself is fooled by every success.
        fooled = result["cw_predictions"][epoch - 1] != result["labels"][result["image"]]
        assert fooled[l2 > 0].all()


def test_equal_rates_are_equal_regimes(store):
    first, second = calls_of(lr_overfitting=1e-3)[:2]
    assert first.step.path(first.parameters) == second.step.path(second.parameters)


def test_nothing_classified_correctly(monkeypatch, store):
    """No image to attack: rates are not defined, and nothing fails."""
    wrong = training.predict
    monkeypatch.setattr(
        study.training, "predict", lambda net, x: (wrong(net, x) * 0 + 11).to(torch.int64)
    )
    calls = [c for c in calls_of(folds=2, epochs=2, clever_images=1) if c.step is study.attacked]
    result = calls[0].step(**calls[0].parameters)
    assert result["image"].shape == (0,)
    assert result["cw_predictions"].shape == (2, 0)
    assert result["pgd_norms"].shape == (2, 3, 0)
    regime = analysis.Regime({"validation_accuracy": np.zeros((1, 2))}, [result], [], [], [], [])
    assert np.isnan(regime.success("cw")).all()
    assert np.isnan(regime.untouched()).all()
    table = analysis.distances(regime)
    assert table["images"].tolist() == [0] * 4
    assert table["L2"].isna().all()


def fake(predictions, norms, epoch=2):
    """One fold's result: two test images of class 0, both attacked."""
    out = {
        "epoch": epoch, "labels": np.zeros(2, np.int16), "image": np.arange(2),
        "test_predictions": np.array([[0, 1], [0, 0], [0, 0]]),
        "originals": np.zeros((2, 3, 1, 1), np.uint8),
    }  # fmt: skip
    for attack in study.ATTACKS:
        out |= {f"{attack}_predictions": np.array(predictions), f"{attack}_norms": np.array(norms)}
    return out


def test_rates_and_norms_follow_from_the_stored_results():
    norms = [[[3, 0], [2, 0], [1, 0]], [[1, 0], [0.5, 0], [0.5, 0]]]
    regime = analysis.Regime(
        {"validation_accuracy": np.zeros((1, 3))}, [fake([[1, 0], [1, 1], [0, 0]], norms)], [], [],
        [], [],
    )  # fmt: skip
    assert regime.success("cw").tolist() == [[50, 100, 0]]
    assert regime.untouched().tolist() == regime.test().tolist() == [[50, 100, 100]]
    table = analysis.distances(regime).set_index(["attack", "values"])
    assert table.loc[("CW", "all channels"), ["L0", "L2", "Linf"]].tolist() == [3, 2, 1]
    assert table.loc[("PGD", "one channel"), ["L0", "L2", "Linf"]].tolist() == [1, 0.5, 0.5]
    assert table["images"].tolist() == table["unchanged"].tolist() == [1] * 8
    assert regime.mean_norm("cw", "L2").tolist() == [2]


def alike(*rates):
    """Two folds with nearly the same rates."""
    return [rates, [rate + 1 for rate in rates]]


@pytest.mark.parametrize(
    ("rates", "verdict"),
    [
        (alike(90, 55, 56, 55, 54, 55, 56, 55), results.REPRODUCED),
        (alike(90, 55, 56, 55, 30, 45, 85, 95), results.NOT_REPRODUCED),  # climbs
        (alike(90, 55, 56, 55, 10, 10, 10, 10), results.NOT_REPRODUCED),  # elsewhere
        ([[90, 55, 56, 55, 55, 55, 30, 20], [90, 55, 5, 5, 55, 55, 80, 90]], results.UNDECIDED),
    ],
)
def test_a_settled_rate(rates, verdict):
    assert claims._settled(np.asarray(rates, float))[0] == verdict


def test_verdicts_name_every_claim_and_the_data(found):
    digits = data.load("digits")
    judged = list(claims.verdicts(digits, found))
    assert {claim for claim, *_ in judged} == set(claims.CLAIMS)
    assert all(verdict in results.VERDICTS for *_, verdict, _ in judged)
    assert all(where.startswith("digits") for _, _, where, _, _ in judged)
    missing = list(claims.not_tested(["digits", "cifar10"]))
    assert {where for _, _, where, _, _ in missing} == {"STL-10"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"datasets": []}, "list at least one name"),
        ({"folds": 1}, "both must be at least 2"),
        ({"clever_batches": 1}, "both must be at least 2"),
        ({"epochs": 0}, "epochs is 0: it must be a positive whole number"),
        ({"attack_images": -1}, "attack_images is -1: use a whole number from 0"),
        ({"lr_normal": 0}, "lr_normal is 0: it must be a positive number"),
        ({"lr_overfitting": float("inf")}, "lr_overfitting is inf"),
        ({"epsilon": 0}, r"epsilon is 0: it must be in \(0, 1\]"),
        ({"epsilon": 2.0}, r"epsilon is 2.0: it must be in \(0, 1\]"),
        ({"norm": "l3"}, "Unknown norm 'l3': use one of linf, l2"),
        ({"eps_step": 0.3}, "eps_step is 0.3: it must go into 1.0 a whole number of times"),
        ({"eps_step": 0}, "eps_step is 0"),
        ({"clever_radius": -1.0}, "clever_radius is -1.0"),
        ({"metric_images": 0}, "metric_images is 0"),
    ],
)
def test_bad_parameters_are_one_sentence(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        study.check(**{**GIVEN, **change})


def test_large_radius_in_l2_is_allowed():
    study.check(**{**GIVEN, "epsilon": 3.0, "norm": "l2"})


def test_more_folds_than_images_of_a_class():
    with pytest.raises(ValueError, match="fewer training images than there are folds, 10"):
        study.plan(**{**GIVEN, "folds": 10})


def test_long_tables_are_thinned():
    curves = {"a": np.arange(70.0).reshape(2, 35)}
    table = analysis.over_epochs(np.arange(1, 36), curves)
    assert table["epoch"].tolist() == [1, 5, 10, 15, 20, 25, 30, 35]
    assert table["a"].tolist() == [17.5 + epoch - 1 for epoch in table["epoch"]]
    assert len(analysis.over_epochs([1, 10, 20], {"a": np.ones((2, 3))})) == 3
