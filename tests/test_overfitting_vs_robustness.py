"""The study of overfitting and robustness: its steps, what its notebook computes, its verdicts."""

import dataclasses
import io
import time

import golden
import notebook
import numpy as np
import pytest
import torch

from kit import attacks, data, nets, robustness, runtime, training
from kit.experiments import overfitting_vs_robustness as study
from kit.experiments.overfitting_vs_robustness import claims, drawings, resampling, tables
from kit.experiments.overfitting_vs_robustness import steps as made
from kit.harness import results, steps

NAME = "02_overfitting_vs_robustness"
GIVEN = {
    "datasets": ["digits"], "special": {}, "train": 90, "test": 60, "folds": 3, "epochs": 3,
    "batch_size": 15, "lr_normal": 1e-3, "lr_overfitting": 1e-2, "epsilon": 0.3, "norm": "linf",
    "pgd_steps": 3, "attack_images": 12, "metric_images": 20, "eps_step": 0.1,
    "clever_images": 3, "clever_every": 2, "clever_batches": 3, "clever_batch_size": 10,
    "clever_radius": 5.0, "seed": 0, "data_root": "", "device": "cpu",
}  # fmt: skip
# For each parameter that may differ between data sets another value than GIVEN has.
OTHER = {
    "train": 80, "test": 50, "folds": 2, "epochs": 2, "batch_size": 20, "lr_normal": 2e-3,
    "lr_overfitting": 2e-2, "epsilon": 0.2, "norm": "l2", "pgd_steps": 2, "attack_images": 5,
    "metric_images": 10, "eps_step": 0.2, "clever_images": 2, "clever_every": 3,
    "clever_batches": 2, "clever_batch_size": 5, "clever_radius": 2.0, "precision": "bfloat16",
}  # fmt: skip
cells = notebook.functions(NAME)


def planned(**change):
    return study.plan(study.Settings.read({**GIVEN, **change}))["digits"]


def keys(tree):
    return [leaf.key for leaf in steps.leaves(tree) if isinstance(leaf, steps.Task)]


@pytest.fixture(scope="module")
def computed():
    return steps.compute(planned(), jobs=1, device="cpu")


@pytest.fixture(scope="module")
def regimes(computed):
    return computed.regimes


@pytest.mark.parametrize("name", golden.names("overfitting_vs_robustness"))
def test_golden(name):
    golden.check(name)


def test_every_golden_file_has_its_step():
    name = "overfitting_vs_robustness"
    assert golden.recorded(name) == golden.names(name)


# --- the plan ----------------------------------------------------------------------------------


def test_every_fold_is_measured_in_every_way():
    one = planned()
    for regime in one.regimes.values():
        for measured in (regime.best, regime.last, regime.textbook):
            assert len(measured) == 3
        for measured in (regime.gradients, regime.coarse):
            assert len(measured) == 3
        assert [len(fold) for fold in regime.clever] == [3, 3, 3]  # epochs 1, 2 and 3
        read = [
            *regime.best,
            *regime.last,
            *regime.textbook,
            *regime.gradients,
            *regime.coarse,
            *(task for fold in regime.clever for task in fold),
        ]
        for task in read:
            fields = [v for v in task.arguments.values() if isinstance(v, steps.Field)]
            assert {field.task for field in fields} == {regime.trained}
    assert len(set(keys(one))) == 2 * (1 + 5 * 3 + 9)


@pytest.mark.parametrize(
    ("epochs", "every", "expected"),
    [(35, 10, [1, 10, 20, 30, 35]), (4, 2, [1, 2, 4]), (1, 5, [1]), (3, 1, [1, 2, 3])],
)
def test_measured_epochs(epochs, every, expected):
    assert study.every(epochs, every) == expected


def test_equal_rates_are_equal_regimes_of_as_many_folds():
    """They are computed once, and each regime has its folds once, not those of both."""
    normal, overfitting = planned(lr_overfitting=1e-3).regimes.values()
    assert keys(normal) == keys(overfitting)
    assert len(overfitting.best) == len(overfitting.gradients) == 3


def test_equal_rates_give_equal_curves(regimes):
    one = steps.compute(planned(lr_overfitting=1e-3), jobs=1, device="cpu")
    normal, overfitting = one.regimes.values()
    assert normal.trained["validation_accuracy"].shape == (3, 3)
    for curves in (cells.attack_curves, tables.clever_curves):
        first, second, wanted = (curves(r) for r in (normal, overfitting, regimes["normal"]))
        assert list(first) == list(second)
        for name, values in first.items():
            assert len(values) == 3
            np.testing.assert_array_equal(second[name], values)
            np.testing.assert_array_equal(wanted[name], values)


@pytest.mark.parametrize("name", OTHER)
def test_every_parameter_may_be_special(name):
    assert set(OTHER) == set(study.Settings.read(GIVEN).parameters) - {
        "datasets",
        "special",
        "seed",
    }
    special = {"digits": {name: OTHER[name]}}
    if name == "epsilon":
        special["digits"] |= {"norm": "l2"}
    assert keys(planned(special=special)) == keys(planned(**special["digits"]))
    assert keys(planned(special=special)) != keys(planned())


def test_the_notebook_and_the_profiles_are_valid():
    defaults = notebook.parameters(NAME)
    for profile in ({}, *(p[NAME] for p in notebook.profiles().values())):
        assert set(profile) <= set(defaults)
        study.Settings.read(defaults | profile)


# --- the steps ---------------------------------------------------------------------------------


def test_a_fold_is_what_fit_makes_of_its_images(regimes):
    """Retrained from scratch by `fit`, snapshots and validation accuracies are the same."""
    result = regimes["overfitting"].trained
    digits = data.load("digits", train=90, test=60)
    rows, held_out = digits.folds(3, runtime.derive_seed(0, "folds"))[1]
    net = nets.build("lenet5", digits.shape, seed=runtime.derive_seed(0, "net", 1))

    def compare(epoch, model):
        for name, value in model.state_dict().items():
            kept = torch.from_numpy(result["snapshots"][1][name][epoch - 1])
            torch.testing.assert_close(kept, value, rtol=0, atol=1e-5)
        accuracy = training.accuracy(model, digits.x_train[held_out], digits.y_train[held_out])
        assert result["validation_accuracy"][1, epoch - 1] == pytest.approx(accuracy)

    training.fit(
        net,
        digits.x_train[rows],
        digits.y_train[rows],
        epochs=3,
        batch_size=15,
        lr=1e-2,
        on_epoch=compare,
        seed=runtime.derive_seed(0, "order"),
    )
    assert result["best"] == (1 + result["validation_accuracy"].argmax(1)).tolist()


@pytest.mark.parametrize("crafted", ["best", "last"])
@pytest.mark.parametrize("label", ["normal", "overfitting"])
def test_examples_are_crafted_on_one_snapshot_and_judged_by_all(computed, label, crafted):
    regime = computed.regimes[label]
    result, weights = getattr(regime, crafted)[1], regime.trained["snapshots"][1]
    epoch = 3 if crafted == "last" else regime.trained["best"][1]
    assert result["epoch"] == epoch
    digits = data.load("digits", train=90, test=60)
    snapshots = [
        nets.restore("lenet5", digits.shape, 10, {k: v[e] for k, v in weights.items()})
        for e in range(3)
    ]
    net = snapshots[epoch - 1]
    right = (training.predict(net, digits.x_test) == digits.y_test).numpy()
    assert np.array_equal(result["image"], np.flatnonzero(right)[:12])
    x, y = (part[result["image"]] for part in (digits.x_test, digits.y_test))
    sets = {"cw": attacks.nearest_l2(net, x, y), "test": digits.x_test}
    seed = runtime.derive_seed(0, "attack", 2)
    if crafted == "best":
        sets["fgsm"] = attacks.fgsm(net, x, y, eps=0.3)
        sets["pgd"] = attacks.pgd(net, x, y, eps=0.3, steps=3, seed=seed)
        sets["noise"] = attacks.random_direction(x, eps=0.3, seed=seed)
    else:
        assert "fgsm_predictions" not in result
    for name, images in sets.items():
        judged = [training.predict(snapshot, images).numpy() for snapshot in snapshots]
        assert np.array_equal(result[f"{name}_predictions"], judged)
        if name != "test":
            moved = (images - x).flatten(1)
            norms = [(moved != 0).sum(1), moved.norm(dim=1), moved.abs().amax(1)]
            for k, norm in enumerate(norms):
                assert result[f"{name}_norms"][0, k] == pytest.approx(norm.numpy(), abs=1e-6)
    known = {"cw": 100, "fgsm": 1, "pgd": 3, "noise": 0}
    assert {k: passes["backward"] for k, passes in result["passes"].items()} == {
        k: known[k] * len(x) for k in sets if k != "test"
    }
    # The crafting snapshot itself is fooled by every success.
    fooled = result["cw_predictions"][epoch - 1] != result["labels"][result["image"]]
    assert fooled[result["cw_norms"][0, 1] > 0].all()


@pytest.mark.parametrize("label", ["normal", "overfitting"])
def test_cw_as_published_takes_the_same_images(regimes, label):
    regime = regimes[label]
    best, result = regime.best[1], regime.textbook[1]
    digits = data.load("digits", train=90, test=60)
    kept = regime.trained["snapshots"][1]
    snapshots = [
        nets.restore("lenet5", digits.shape, 10, {k: v[e] for k, v in kept.items()})
        for e in range(3)
    ]
    x, y = (part[best["image"]] for part in (digits.x_test, digits.y_test))
    budget = {"steps": 10, "search_steps": 10, "lr": 0.01, "initial_const": 0.01}  # ART's
    x_adv = attacks.cw_l2(snapshots[best["epoch"] - 1], x, y, **budget)
    judged = [training.predict(snapshot, x_adv).numpy() for snapshot in snapshots]
    assert np.array_equal(result["textbook_predictions"], judged)
    moved = (x_adv - x).flatten(1).norm(dim=1).numpy()
    assert result["textbook_norms"][0, 1] == pytest.approx(moved, abs=1e-6)
    assert result["passes"]["textbook"]["backward"] == 100 * len(x)
    crafted = regime.crafted[1]
    assert set(crafted["passes"]) == {"textbook", "cw", "fgsm", "pgd", "noise"}
    assert np.array_equal(crafted["textbook_predictions"], judged)


def test_passes_are_together_where_both_were_counted(regimes):
    best, textbook = regimes["normal"].best[0], regimes["normal"].textbook[0]
    older = {name: best[name] for name in best if name != "passes"}
    regime = dataclasses.replace(regimes["normal"], best=[older], textbook=[textbook])
    assert "passes" not in regime.crafted[0]


def test_the_smallest_steps_are_those_of_empirical_robustness(regimes):
    digits = data.load("digits", train=90, test=60)
    for regime in regimes.values():
        metrics = tables.gradient_curves(regime)
        for fold, result in enumerate(regime.coarse):
            kept = regime.trained["snapshots"][fold]
            for epoch, relative in enumerate(result["relative"]):
                weights = {k: v[epoch] for k, v in kept.items()}
                net = nets.restore("lenet5", digits.shape, 10, weights)
                found = robustness.empirical_robustness(
                    net, digits.x_test[:20], eps_step=0.1, eps_max=0.3, details=True
                )
                assert np.isfinite(relative).sum() == found.successes
                curve = metrics["coarse empirical robustness"][fold, epoch]
                assert curve == pytest.approx(found.value, nan_ok=True)
                assert metrics["coarse successes"][fold, epoch] == found.successes


def test_nothing_classified_correctly(monkeypatch, regimes):
    """No image to attack: rates are not defined, and nothing fails."""
    wrong = training.predict
    monkeypatch.setattr(training, "predict", lambda net, x: (wrong(net, x) * 0 + 11).long())
    options = dict(planned().regimes["normal"].best[0].arguments)
    snapshots = regimes["normal"].trained["snapshots"][0]
    result = made.attack(**options | {"snapshots": snapshots, "epoch": 1})
    assert result["image"].shape == (0,)
    assert result["cw_predictions"].shape == (3, 0)
    assert result["pgd_norms"].shape == (2, 3, 0)
    options = dict(planned().regimes["normal"].textbook[0].arguments)
    published = made.textbook(**options | {"snapshots": snapshots, "epoch": 1})
    assert published["textbook_predictions"].shape == (3, 0)
    regime = dataclasses.replace(regimes["normal"], best=[result], textbook=[published])
    curves = cells.attack_curves(regime)
    assert np.isnan(curves["ASR CW"]).all()
    assert np.isnan(curves["accuracy before attack"]).all()
    table = tables.distances(regime.crafted)
    assert table["images"].tolist() == [0] * 5
    assert table["L2"].isna().all()
    assert np.isnan(tables.mean_norms([result], "cw")["L2"]).all()


def test_the_notebook_comes_to_its_end_where_no_image_is_classified_correctly(
    tmp_path, capsys, monkeypatch
):
    """One test image, labelled wrongly: neither the net that is attacked by hand gets it right,
    nor does a snapshot.
    """
    monkeypatch.setenv("KIT_STEPS", str(tmp_path / "steps"))
    x = (np.arange(60 * 64) % 251).astype(np.uint8).reshape(60, 8, 8)
    y = np.append(np.arange(57) % 3, [3, 3, 3])
    np.savez(tmp_path / "odd.npz", x_train=x, y_train=y, x_test=x[:1], y_test=[3])
    values = GIVEN | {
        "datasets": ["odd"], "data_root": str(tmp_path), "out": str(tmp_path / "out"),
        "train": 0, "test": 0, "epochs": 2, "device": "cpu", "jobs": 1,
    }  # fmt: skip
    done = notebook.run("02_overfitting_vs_robustness", lambda *_, **__: None, **values)
    printed = capsys.readouterr().out
    assert "The net gets none of these images right" in printed
    assert "no net gets a test image right, so that nothing was attacked" in printed
    verdicts = {(c["claim"], c["verdict"]) for c in done["report"].claims}
    assert ("2.C1", "undecided") in verdicts
    assert (tmp_path / "out" / "manifest.json").is_file()


def test_data_that_changed_are_noticed():
    split = dataclasses.replace(planned().split, fingerprint="other")
    with pytest.raises(ValueError, match="has changed since"):
        made.train_folds(split=split, folds=2, epochs=1, batch_size=15, lr=1e-3)


# --- what the notebook computes ----------------------------------------------------------------


def fake(predictions, norms, epoch=2):
    """One fold's result: two test images of class 0, both attacked."""
    out = {
        "epoch": epoch, "labels": np.zeros(2, np.int16), "image": np.arange(2),
        "test_predictions": np.array([[0, 1], [0, 0], [0, 0]]),
        "originals": np.zeros((2, 3, 1, 1), np.uint8), "no_gradient": {"fgsm": 1, "pgd": 0},
    }  # fmt: skip
    for attack in study.ATTACKS.values():
        out |= {f"{attack}_predictions": np.array(predictions), f"{attack}_norms": np.array(norms)}
    return out


def test_rates_and_norms_follow_from_the_stored_results():
    norms = [[[3, 0], [2, 0], [1, 0]], [[1, 0], [0.5, 0], [0.5, 0]]]
    fold = fake([[1, 0], [1, 1], [0, 0]], norms)
    curves = cells.attack_curves(study.Regime(None, [fold], [], [{}], [], [], []))
    assert curves["ASR CW"].tolist() == [[50, 100, 0]]
    assert curves["test accuracy"].tolist() == [[50, 100, 100]]
    assert curves["accuracy before attack"].tolist() == [[50, 100, 100]]
    table = tables.distances([fold]).set_index(["attack", "values"])
    assert table.loc[("CW", "all channels"), ["L0", "L2", "Linf"]].tolist() == [3, 2, 1]
    assert table.loc[("PGD", "one channel"), ["L0", "L2", "Linf"]].tolist() == [1, 0.5, 0.5]
    assert table["images"].tolist() == table["unchanged"].tolist() == [1] * 10
    assert table["no gradient"].groupby("attack").first().to_dict() == {
        "CW": 0, "FGSM": 1, "PGD": 0, "nearest L2": 0, "random signs": 0,
    }  # fmt: skip
    assert tables.mean_norms([fold], "cw")["L2"].tolist() == [2]


def test_gradient_passes_stand_in_the_table_where_all_folds_counted_them():
    older = fake([[1, 0]] * 3, np.ones((2, 3, 2)))
    passes = {"textbook": 200, "cw": 210, "fgsm": 2, "pgd": 80, "noise": 0}
    counted = older | {"passes": {k: {"forward": 0, "backward": n} for k, n in passes.items()}}
    table = tables.distances([counted, counted])
    assert table["gradient passes"].tolist() == [100, 100, 105, 105, 1, 1, 40, 40, 0, 0]
    for folds in ([older], [counted, older], [older, counted]):
        without = tables.distances(folds)
        assert without.columns.tolist() == table.columns.tolist()[:-1]


def test_what_crafts_is_no_climb_measured_otherwise():
    """Of three folds one crafts at the start of the second half and one at its end."""
    flat = np.full((3, 6), 40.0)
    success = flat.copy()
    success[0, 3] = success[1, 5] = success[2, 4] = 100
    steady = {f"{output} mean": np.ones((3, 2)) for output in study.OUTPUTS}
    steady |= {"empirical robustness": flat, "accuracy before attack": flat}
    steady |= {f"ASR {name}": flat for name in ("CW", "nearest L2", "nearest L2, last")}
    steady["crafting epoch"] = np.array([6, 6, 6])
    overfitting = steady | {"ASR CW": success, "crafting epoch": np.array([4, 6, 5])}
    climb = tables.otherwise(steady, overfitting)["2.C2, CW's climb over the second half only"]
    assert climb[2] == 0
    assert np.isnan(climb[:2]).all()


def test_curves_are_recomputed_from_the_stored_predictions(regimes):
    for regime in regimes.values():
        curves = cells.attack_curves(regime)
        for fold, result in enumerate(regime.crafted):
            truth = result["labels"][result["image"]]
            for attack, key in study.ATTACKS.items():
                wrong = [sum(p != truth) / len(truth) for p in result[f"{key}_predictions"]]
                assert curves[f"ASR {attack}"][fold] == pytest.approx(100 * np.array(wrong))
        scores = tables.clever_curves(regime)
        for output in study.OUTPUTS:
            first = regime.clever[0][0]
            assert scores[f"{output} mean"][0, 0] == first[f"{output}_scores"].mean()
            assert scores[f"{output} at cap (%)"][0, 0] == 100 * first[f"{output}_at_cap"].mean()
            assert scores[f"{output} spread"].shape == (3, 3)


def test_long_tables_are_thinned():
    curves = {"a": np.arange(70.0).reshape(2, 35)}
    table = tables.over_epochs(np.arange(1, 36), curves)
    assert table["epoch"].tolist() == [1, 5, 10, 15, 20, 25, 30, 35]
    assert table["a"].tolist() == [17.5 + epoch - 1 for epoch in table["epoch"]]
    assert len(tables.over_epochs([1, 10, 20], {"a": np.ones((2, 3))})) == 3


def test_tables_over_the_epochs_are_recomputed_fold_by_fold(regimes):
    for regime in regimes.values():
        values = 100 * regime.trained["validation_accuracy"]
        table = tables.over_epochs(np.arange(1, 4), {"validation": values})
        for epoch, row in enumerate(table.itertuples(index=False)):
            of_folds = [fold[epoch] for fold in values]
            assert row.epoch == epoch + 1
            assert row.validation == pytest.approx(np.mean(of_folds))
            assert row[2] == pytest.approx(np.std(of_folds, ddof=1))


def test_distances_are_recomputed_from_the_norms(regimes):
    for regime in regimes.values():
        table = tables.distances(regime.crafted).set_index("attack")
        assert set(table["values"]) == {"all channels"}  # of grey images both are one
        for attack, key in study.ATTACKS.items():
            norms = [norm for fold in regime.crafted for norm in fold[f"{key}_norms"][0].T]
            moved = np.array([norm for norm in norms if norm[1] > 0], float)
            assert table.loc[attack, "images"] == len(moved)
            assert table.loc[attack, "unchanged"] == len(norms) - len(moved)
            wanted = moved.mean(0), moved.std(0, ddof=1) if len(moved) > 1 else [np.nan] * 3
            means = table.loc[attack, ["L0", "L2", "Linf"]].tolist()
            assert means == pytest.approx(wanted[0], abs=1e-6)  # the table rounds
            spread = table.loc[attack, ["L0 std", "L2 std", "Linf std"]].tolist()
            assert spread == pytest.approx(wanted[1], abs=1e-6, nan_ok=True)


def test_panels_show_the_curves_with_a_word():
    shown = drawings.panels("normal", [1], {"ASR CW": 90, "accuracy": 40}, {"attacked": "ASR"})
    assert shown == {"normal: attacked": {"CW": ([1], 90)}}


# --- the luck of the images --------------------------------------------------------------------


def test_images_that_count_once_give_the_curves_themselves(regimes):
    curves = all_curves(regimes)
    for label, regime in regimes.items():
        once = resampling.reweighted(regime, np.ones((1, 60)))
        assert len(once) == 31
        for name, values in once.items():
            np.testing.assert_allclose(values[0], curves[label][name], rtol=1e-5)


def test_an_image_drawn_twice_counts_twice(regimes):
    """As if it stood twice among the test images; one that is not drawn does not count."""
    regime, random = regimes["overfitting"], np.random.default_rng(1)
    images = random.integers(0, 60, 60)
    times = np.bincount(images, minlength=60)
    found = resampling.reweighted(regime, times[None])
    for fold, result in enumerate(regime.best):
        right = result["test_predictions"][:, images] == result["labels"][images]
        assert found["test accuracy"][0, fold] == pytest.approx(100 * right.mean(1))
        attacked = [i for i, image in enumerate(result["image"]) for _ in range(times[image])]
        truth = result["labels"][result["image"][attacked]]
        wrong = 100 * (result["fgsm_predictions"][:, attacked] != truth).mean(1)
        assert found["ASR FGSM"][0, fold] == pytest.approx(wrong)
        lengths = result["fgsm_norms"][0, 1, attacked]
        assert found["FGSM: L2"][0, fold] == pytest.approx(lengths[lengths > 0].mean())
    scored = [image for image in images if image < 3]
    scores = regime.clever[2][1]["logits_scores"][scored]
    assert found["logits mean"][0, 2, 1] == pytest.approx(scores.mean())
    assert found["logits spread"][0, 2, 1] == pytest.approx(scores.std(), rel=1e-4, abs=1e-6)


def test_every_curve_of_a_draw_is_of_the_same_images(regimes):
    """Several draws at once are what each of them is alone."""
    times = np.random.default_rng(2).integers(0, 3, (3, 60))
    at_once = resampling.reweighted(regimes["normal"], times)
    for draw in range(3):
        alone = resampling.reweighted(regimes["normal"], times[draw : draw + 1])
        for name, values in alone.items():
            np.testing.assert_allclose(at_once[name][draw], values[0], rtol=1e-9, err_msg=name)


def test_all_folds_and_both_regimes_are_drawn_at_once(regimes):
    """Equal regimes stay equal in every draw; another seed draws otherwise."""
    equal = {"normal": regimes["normal"], "overfitting": regimes["normal"]}
    drawn = resampling.drawn(equal, seed=0, draws=4)
    for name, values in drawn["normal"].items():
        assert len(values) == 4
        np.testing.assert_array_equal(values, drawn["overfitting"][name])
    accuracy = drawn["normal"]["test accuracy"]
    assert not np.array_equal(accuracy[0], accuracy[1])
    other = resampling.drawn(equal, seed=1, draws=1)
    assert not np.array_equal(other["normal"]["test accuracy"][0], accuracy[0])


# --- verdicts ----------------------------------------------------------------------------------


def alike(*rates):
    """Three folds with nearly the same rates."""
    return [[rate + fold for rate in rates] for fold in range(3)]


@pytest.mark.parametrize(
    ("rates", "verdict"),
    [
        (alike(90, 55, 56, 55, 54, 55, 56, 55), results.REPRODUCED),
        (alike(90, 55, 56, 55, 30, 45, 85, 95), results.NOT_REPRODUCED),  # climbs
        (alike(90, 55, 56, 55, 10, 10, 10, 10), results.NOT_REPRODUCED),  # elsewhere
        (
            [[90, 55, 56, 55, 55, 55, 30, 20], [90, 55, 5, 5, 55, 55, 80, 90], [55] * 8],
            results.UNDECIDED,
        ),
        (alike(90, 55, 56, 55, 54, 55, 56, 55)[:2], results.UNDECIDED),  # two folds
    ],
)
def test_a_settled_rate(rates, verdict):
    early = np.ones(len(rates), dtype=int)
    curves = {"ASR CW": np.asarray(rates, float), "crafting epoch": early}
    of = claims.Measured({"overfitting": curves}, {"overfitting": curves}, 0.0)
    assert claims.settled(of).outcome == verdict


def all_curves(regimes):
    return {
        label: {
            "validation": 100 * regime.trained["validation_accuracy"],
            **cells.attack_curves(regime),
            **tables.clever_curves(regime),
            "CLEVER epochs": np.array([1, 2, 3]),
            "crafting epoch": np.array([fold["epoch"] for fold in regime.best]),
            "ASR nearest L2, last": cells.wrong(regime.last, lambda fold: fold["cw_predictions"]),
            **tables.gradient_curves(regime),
            **tables.norms(regime),
        }
        for label, regime in regimes.items()
    }


def test_verdicts_name_every_claim(regimes):
    curves, drawn = all_curves(regimes), resampling.drawn(regimes, seed=0, draws=3)
    judged = list(claims.verdicts("digits", curves, drawn, 1.0))
    assert {claim for claim, *_ in judged} == set(study.STUDY.claims)
    assert all(v.outcome in results.VERDICTS and v.evidence for *_, v in judged)
    (spread,) = (
        v.evidence
        for c, label, v in claims.verdicts("cifar10", curves, drawn, 1.0)
        if (c, label) == ("2.C3", "logits")
    )
    assert spread.startswith("spread: ")
    frame = tables.with_intervals(tables.otherwise(**curves))
    assert frame["folds used"].max() == 3
    assert len(frame) == 6 + len(study.OUTPUTS)
    missing = list(study.STUDY.not_tested(["digits", "cifar10"]))
    assert {title for _, title in missing} == {"STL-10"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"datasets": []}, "list at least one name"),
        ({"folds": 1}, "folds is 1: use a whole number from 2 on"),
        ({"clever_batches": 1}, "clever_batches is 1: use a whole number from 2 on"),
        ({"epochs": 1}, "epochs is 1: use a whole number from 2 on"),
        ({"attack_images": -1}, "attack_images is -1: use a whole number from 0"),
        ({"lr_normal": 0}, "lr_normal is 0: it must be a positive number"),
        ({"lr_overfitting": float("inf")}, "lr_overfitting is inf"),
        ({"epsilon": 0}, r"epsilon is 0: it must be a positive number"),
        ({"epsilon": 2.0}, r"epsilon is 2.0: it must be in \(0, 1\]"),
        ({"norm": "l3"}, "Unknown norm 'l3' in norm: use one of linf, l2"),
        ({"eps_step": 0.3}, "eps_step is 0.3: it must go into 1.0 a whole number of times"),
        ({"eps_step": 0}, "eps_step is 0"),
        ({"clever_radius": -1.0}, "clever_radius is -1.0"),
        ({"metric_images": 0}, "metric_images is 0"),
        ({"special": {"digits": {"folds": 1}}}, "special of digits: folds is 1"),
        ({"special": {"digits": {"epsilon": 2.0}}}, "special of digits: epsilon is 2.0"),
        ({"special": {"digits": {"seed": 1}}}, "special of digits has 'seed'.*: allowed are train"),
    ],
)
def test_bad_parameters_are_one_sentence(change, sentence):
    with pytest.raises(ValueError, match=sentence) as refusal:
        study.Settings.read({**GIVEN, **change})
    text = str(refusal.value)
    assert text.endswith(".")
    assert "\n" not in text
    assert ". " not in text


def test_large_radius_in_l2_is_allowed():
    study.Settings.read({**GIVEN, "epsilon": 3.0, "norm": "l2"})


def test_more_folds_than_images_of_a_class():
    with pytest.raises(ValueError, match="fewer training images than there are folds, 10"):
        planned(folds=10)


# --- the slider ------------------------------------------------------------------------------


def test_the_picture_of_an_epsilon_says_what_its_examples_do():
    images = data.load("digits", train=100, test=30)
    net = nets.build("lenet5", images.shape, images.classes)
    x, y = images.x_test, training.predict(net, images.x_test)  # it gets all of them right
    sizes = (0.1, 0.5)
    made = {
        "FGSM": {eps: attacks.fgsm(net, x, y, eps=eps) for eps in sizes},
        study.CONTROL: {eps: attacks.random_direction(x, eps=eps) for eps in sizes},
    }
    draw = drawings.by_size(net, x, y, made, made["FGSM"][0.1])
    started = time.process_time()
    figure = draw(0.5)
    figure.savefig(io.BytesIO())
    assert time.process_time() - started < 0.5
    rate = robustness.attack_success_rate(net, made["FGSM"][0.5], y)
    length, shortest = (
        float((made["FGSM"][eps] - x).flatten(1).norm(dim=1).mean()) for eps in (0.5, 0.1)
    )
    assert figure.get_suptitle().startswith(f"ε = 0.5: FGSM fools {100 * rate:.0f} %")
    assert f"at L2 {length:.2f}; nearest L2 fools at {shortest:.2f}" in figure.get_suptitle()
    clean, attacked = (axis.get_title() for axis in figure.axes[2:])
    assert clean == f"clean: {y[0]}"
    assert attacked == f"FGSM: {int(training.predict(net, made['FGSM'][0.5][:1]))}"
