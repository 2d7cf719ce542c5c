"""The K-NN study: its steps, its plan, and what its notebook reads off the runs."""

import dataclasses
import io
import time

import golden
import notebook
import numpy as np
import pandas as pd
import pytest
import torch

from kit import data, neighbors, nets, runtime, training
from kit.data.splits import About, Split
from kit.experiments import knn_tradeoff as study
from kit.experiments.knn_tradeoff import claims, drawings, tables
from kit.experiments.knn_tradeoff import steps as knn_steps
from kit.harness import results, settings, steps

NAME = "03_knn_tradeoff"
NOTEBOOK = {
    "datasets": ["digits"], "special": {}, "runs": 2, "train": 200, "test": 100, "z": 5,
    "epsilon": 0.2, "epochs": 1, "control_draws": 1, "flat": 2.0, "seed": 0, "data_root": "",
    "device": "cpu", "jobs": 1,
}  # fmt: skip
TINY = {
    **NOTEBOOK, "runs": 1, "train": 60, "test": 300, "epsilon": 0.5, "epochs": 60,
    "control_draws": 2,
}  # fmt: skip
# For each parameter that may differ between data sets another value than NOTEBOOK has.
OTHER = {
    "train": 150, "test": 80, "runs": 3, "z": 3, "epsilon": 0.1, "epochs": 2, "control_draws": 2,
    "flat": 1.0, "precision": "bfloat16",
}  # fmt: skip
KEYS = tuple(study.ATTACKS.values())
cells = notebook.functions(NAME)


def planned(**change):
    return study.plan(study.Settings.read({**NOTEBOOK, **change}))["digits"]


def keys(**change):
    return [leaf.key for leaf in steps.leaves(planned(**change)) if isinstance(leaf, steps.Task)]


@pytest.fixture(scope="module")
def computed():
    return steps.compute(planned(**TINY), jobs=1, device="cpu")


@pytest.fixture(scope="module")
def run(computed):
    return computed.runs[0]


@pytest.mark.parametrize("name", golden.names("knn_tradeoff"))
def test_golden(name):
    golden.check(name)


def test_every_golden_file_has_its_step():
    assert golden.recorded("knn_tradeoff") == golden.names("knn_tradeoff")


# --- the steps -------------------------------------------------------------------------------


def test_a_net_is_trained_on_the_images_of_its_run(computed):
    """Retrained from the data set itself, weights, accuracy and losses are the same."""
    digits = data.load("digits", train=60, test=300)
    split = digits.resplit(runtime.derive_seed(0, "split", 1))
    assert not torch.equal(split.x_train, digits.x_train)
    net = nets.build("lenet5", split.shape, seed=runtime.derive_seed(0, "net", 1))
    order = runtime.derive_seed(0, "order", 1)
    history = training.fit(net, split.x_train, split.y_train, epochs=60, seed=order)
    (result,) = computed.nets
    for name, value in net.state_dict().items():
        np.testing.assert_allclose(result["weights"][name], value, rtol=0, atol=1e-5)
    assert result["accuracy"] == pytest.approx(training.accuracy(net, split.x_test, split.y_test))
    assert result["loss"] == pytest.approx(np.array(history["loss"]), abs=1e-5)


def test_the_adversarial_set_is_what_the_paper_says(computed, run):
    """Recomputed from the definition: right before the attack, wrong after it, for Z-NN."""
    split = computed.split.at(1).load(device="cpu")
    clean = neighbors.predict(split.x_train, split.y_train, split.x_test, (1, 3, 5, 7))
    assert np.array_equal(np.stack([v.numpy() for v in clean.values()], 1), run["test_votes"])
    right = torch.stack([labels == split.y_test for labels in clean.values()], 1)
    for attack in study.ATTACKS.values():
        attacked = sorted(set(run[f"{attack}_image"]))
        assert attacked == right.any(1).nonzero()[:, 0].tolist()
        rows = run[f"{attack}_examples"]
        assert len(rows)
        originals = split.x_test[run[f"{attack}_image"][rows]]
        assert np.array_equal(run[f"{attack}_originals"], data.as_bytes(originals))
        moved = run[f"{attack}_pixels"] / 255 - originals.numpy()
        assert np.abs(moved).max() <= TINY["epsilon"] + 1 / 255
        assert len(set(run[f"{attack}_image"][rows])) == len(rows)
        # As every adversarial example, for each Z from 3 on: right before, wrong after.
        truth = split.y_test.numpy()[run[f"{attack}_image"][rows]]
        assert right[run[f"{attack}_image"][rows], 1:].all()
        assert (run[f"{attack}_votes"][rows, 1:] != truth[:, None]).all()
    assert len(run["fgsm_image"]) == 9 * len(run["deepfool_image"])
    assert len(run["control_image"]) == 2 * len(run["deepfool_image"])


@pytest.mark.parametrize("z", [3, 5, 7])
def test_the_sets_hold_what_their_names_say(run, z):
    chosen, labels = tables.sets(run, z), run["labels"]
    at_z = z // 2
    assert list(chosen) == [study.WHOLE, study.WRONG, *study.ATTACKS]
    assert np.array_equal(chosen[study.WHOLE][0], run["test_votes"][:, : at_z + 1])
    wrong = [i for i, row in enumerate(run["test_votes"]) if row[at_z] != labels[i]]
    assert np.array_equal(chosen[study.WRONG][1], labels[wrong])
    for name, attack in study.ATTACKS.items():
        kept = [
            (*votes[: at_z + 1], labels[image])
            for votes, image in zip(run[f"{attack}_votes"], run[f"{attack}_image"], strict=True)
            if image not in wrong and votes[at_z] != labels[image]
        ]
        votes, truth = chosen[name]
        assert np.array_equal(np.column_stack([votes, truth]), kept)


def test_what_fools_the_net_is_noted(computed, run):
    """The shown examples, which are rounded to bytes, fool a net rebuilt from its weights alike."""
    net = nets.restore("lenet5", (1, 8, 8), 10, computed.nets[0]["weights"])
    for attack in study.ATTACKS.values():
        rows = run[f"{attack}_examples"]
        predicted = training.predict(net, torch.tensor(run[f"{attack}_pixels"] / 255).float())
        wrong = predicted.numpy() != run["labels"][run[f"{attack}_image"][rows]]
        assert (wrong == run[f"{attack}_fools_net"][rows]).mean() >= 0.8


# --- what the notebook reads off them ----------------------------------------------------------


def test_accuracies_follow_from_the_votes(run):
    table = tables.accuracies([run], 5)
    at_z = table[(table["k"] == 5) & table["images"].gt(0)].set_index("set")["accuracy"]
    assert at_z[study.WRONG] == 0
    assert all(at_z[name] == 0 for name in study.ATTACKS if name in at_z)
    whole = table[(table["set"] == study.WHOLE) & (table["k"] == 1)]
    truth = (run["test_votes"][:, 0] == run["labels"]).mean()
    assert whole["accuracy"].item() == pytest.approx(100 * truth)
    assert whole["images"].item() == 300
    assert len(table) == 3 * len(tables.sets(run, 5))
    for _, row in table.iterrows():  # every number, from its set
        votes, labels = tables.sets(run, 5)[row["set"]]
        right = [int(a == b) for a, b in zip(votes[:, row["k"] // 2], labels, strict=True)]
        assert row["images"] == len(right)
        assert row["accuracy"] == pytest.approx(100 * sum(right) / len(right))


def synthetic(**accuracy_by_set):
    """Runs with given accuracies per set: one row per run, one column per K = 1, 3, 5."""
    rows = [
        (run, name, k, value, 10)
        for name, runs in accuracy_by_set.items()
        for run, values in enumerate(runs, 1)
        for k, value in zip((1, 3, 5), values, strict=True)
    ]
    return pd.DataFrame(rows, columns=["run", "set", "k", "accuracy", "images"])


def slopes(**accuracy_by_set):
    return cells.slopes(synthetic(**accuracy_by_set))


def test_slopes_never_divide_by_zero():
    table = slopes(a=[(60, 40, 0)], b=[(10, 0, 0)], c=[(np.nan,) * 3])
    slope = table.set_index(["set", "j"])["slope"]
    assert slope["a", 1] == 1.5
    assert np.isinf(slope["a", 3])
    assert np.isinf(slope["b", 1])
    assert np.isnan(slope["b", 3])
    assert np.isnan(slope["c", 1])
    difference = table.set_index(["set", "j"])["difference"]
    assert difference["a", 1] == 20
    assert difference["a", 3] == 40


def test_compare_reports_the_direction_and_shows_infinity():
    table = slopes(
        FGSM=[(50, 40, 0), (51, 40, 0), (50, 41, 0)],
        misclassified=[(60, 30, 0), (61, 30, 0), (62, 31, 0)],
    )
    compared = tables.compare(table, "FGSM")
    by_quantity = compared.set_index("quantity")
    assert list(by_quantity.index) == ["S1", "A1 − A3", "S3", "A3 − A5", "A1 − A5"]
    assert by_quantity.loc["S1", "difference"] < 0
    assert by_quantity.loc["S1", "p Welch"] < 0.01
    assert np.isinf(by_quantity.loc["S3", ["mean", "mean against"]].astype(float)).all()
    assert np.isnan(by_quantity.loc["S3", "p Welch"])
    assert by_quantity.loc["A3 − A5", "difference"] > 0
    assert by_quantity.loc["A1 − A5", "mean"] == pytest.approx(151 / 3)
    steeper = claims.exceeds(table, "FGSM", study.WRONG)
    assert list(steeper) == ["S1", "A1 − A3", "A1 − A5"]  # S_3 divides by zero
    assert steeper["S1"].outcome == results.NOT_REPRODUCED
    assert steeper["S1"].evidence.startswith("−0.7629 in slope [−0.8")
    assert steeper["S1"].evidence.endswith("] (1.248 against 2.011) over 3 runs")


def test_measures_are_the_slopes_and_the_rises():
    table = slopes(a=[(60, 40, 0), (61, 41, 1)], b=[(30, 20, 0), (33, 22, 5)])
    measures = tables.measures(table)
    assert {name: values.round(3).to_numpy().tolist() for name, values in measures.items()} == {
        "S1": [[1.5, 1.5], [1.488, 1.5]],
        "A1 − A3": [[20, 10], [20, 11]],
        "A1 − A5": [[60, 30], [60, 28]],
    }
    first = tables.measures(table[table["j"] == 1])  # as with Z = 3
    assert list(first) == ["A1 − A3"]


def test_a_claim_without_any_finite_slope_is_undecided():
    table = slopes(FGSM=[(5, 0, 0)] * 3, misclassified=[(5, 0, 0)] * 3)
    judged = claims.exceeds(table, "FGSM", study.WRONG)["S1"]
    assert judged.outcome == results.UNDECIDED
    assert "0 of 3 runs" in judged.evidence


def test_a_claim_with_a_slope_missing_in_one_run_is_undecided():
    runs = [(60, 30, 5), (61, 30, 5), (62, 31, 5), (62, 31, 5)]
    others = [(50, 40, 5), (50, 41, 5), (50, 41, 5), (5, 0, 0)]
    table = slopes(FGSM=runs, misclassified=others)
    judged = claims.exceeds(table, "FGSM", study.WRONG)["S1"]
    assert judged.outcome == results.UNDECIDED
    assert "3 of 4 runs" in judged.evidence
    whole = table[table["run"] < 4]
    assert claims.exceeds(whole, "FGSM", study.WRONG)["S1"].outcome == results.REPRODUCED


ABOUT = About("digits", "made up", (1, 8, 8), ("0", "1"), train=400, test=100, fewest=200)


def flat(table, limit):
    """Verdict on 3.C3."""
    whole = table[table["set"] == study.WHOLE]
    whole = whole.pivot(index="run", columns="k", values="accuracy")
    return claims.stays_flat(whole, limit, ABOUT)


def test_empty_sets_are_reported_not_divided_by():
    empty = {
        "labels": np.array([0, 1], np.int16),
        "test_votes": np.array([[0, 0], [1, 1]], np.int16),
    }
    for attack in study.ATTACKS.values():
        empty |= {f"{attack}_image": np.zeros(0, int), f"{attack}_votes": np.zeros((0, 2), int)}
    table = tables.accuracies([empty] * 3, 3)
    of_attack = table[table["set"] == "FGSM"]
    assert of_attack["images"].tolist() == [0] * 6
    assert of_attack["accuracy"].isna().all()
    counted = tables.beside_noise([empty] * 3, 3)
    beyond = tables.beyond_noise({key: cells.slopes(part) for key, part in counted.items()})
    assert beyond["runs used"].tolist() == [0] * 6
    assert beyond["of"].tolist() == [3] * 6
    assert beyond["beyond"].isna().all()
    fooling = tables.fooling([empty | {f"{a}_fools_net": np.zeros(0, bool) for a in KEYS}] * 3, 3)
    assert fooling["all attacked"].isna().all()
    judged = claims.verdicts(
        Split("digits", about=ABOUT),
        table,
        cells.slopes(table),
        {key: cells.slopes(part) for key, part in counted.items()},
        2.0,
    )
    outcomes = {(claim, part): verdict.outcome for claim, part, verdict in judged}
    assert {outcomes.pop(("3.C3", "")), outcomes.pop(("3.C5", ""))} == {results.REPRODUCED}
    assert set(outcomes.values()) == {results.UNDECIDED}


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ([0.5, 0.6, 0.7], results.REPRODUCED),
        ([-0.5, 0.0, 0.5], results.REPRODUCED),  # of different signs, they are no change
        ([4.0, 4.1, 4.2], results.NOT_REPRODUCED),
        ([-4.0, -4.1, -4.2], results.NOT_REPRODUCED),
        ([0.1, 2.0, 4.0], results.UNDECIDED),
        ([0.5, 0.6], results.UNDECIDED),  # two runs may agree by luck
    ],
)
def test_flat_is_less_than_the_limit_to_either_side(changes, verdict):
    whole = pd.DataFrame({1: 90 + np.array(changes), 3: 95.0, 5: 90.0})
    judged = claims.stays_flat(whole, 2.0, dataclasses.replace(ABOUT, test=1000, train=10000))
    assert judged.outcome == verdict
    assert "to lie below 2" in judged.evidence
    assert "to lie above −2" in judged.evidence
    assert "points between the best and the worst K" in judged.evidence


def test_each_image_counts_once_or_in_each_version_or_where_noise_moves_it_too():
    """Z = 3. Image 0 has three versions that attack and noise share; image 1 is FGSM's alone."""
    labels = np.array([0, 0, 0], np.int16)
    run = {
        "labels": labels, "test_votes": np.array([[0, 0], [0, 0], [0, 1]], np.int16),
        "fgsm_image": np.array([0, 0, 0, 0, 1, 2]),
        "fgsm_votes": np.array([[0, 1], [1, 1], [1, 1], [1, 0], [0, 1], [0, 1]]),
        "control_image": np.array([0, 1]), "control_votes": np.array([[0, 1], [0, 0]]),
        "deepfool_image": np.array([1]), "deepfool_votes": np.array([[0, 1]]),
    }  # fmt: skip
    counted = tables.beside_noise([run], 3)
    tight = {
        key: table[table["k"] == 1].set_index("set")["accuracy"].round(3).tolist()
        for key, table in counted.items()
    }
    versions, once, shared = tables.COUNTED
    assert tight["FGSM", versions] == [50, 100]
    assert tight["FGSM", once] == [pytest.approx(100 * (1 / 3 + 1) / 2, abs=1e-3), 100]
    assert tight["FGSM", shared] == [pytest.approx(100 / 3, abs=1e-3), 100]
    assert tight["DeepFool", once] == [100, 100]
    assert np.isnan(tight["DeepFool", shared]).all()
    images = counted["FGSM", versions].groupby("set", sort=False)["images"].first()
    assert images.tolist() == [4, 1]
    assert all(
        table[table["k"] == 3]["accuracy"].dropna().eq(0).all() for table in counted.values()
    )


def test_each_version_counted_is_the_papers_table(run):
    table = tables.accuracies([run], 5).set_index(["set", "k"])
    for (_, counted), part in tables.beside_noise([run], 5).items():
        if counted == "each version":
            ours = part.set_index(["set", "k"])
            assert ours["accuracy"].to_numpy() == pytest.approx(
                table.loc[ours.index, "accuracy"].to_numpy(), nan_ok=True
            )
            assert (ours["images"] == table.loc[ours.index, "images"]).all()


def test_what_is_beyond_noise():
    table = slopes(FGSM=[(60, 40, 0), (62, 40, 0)], **{study.CONTROL: [(30, 20, 0), (31, 20, 0)]})
    beyond = tables.beyond_noise({("FGSM", "each version"): table}).set_index("quantity")
    assert beyond["beyond"].tolist() == pytest.approx([0, 10.5, 30.5])
    assert beyond.loc["A1 − A5", ["attacked", "noise"]].tolist() == [61, 30.5]
    assert beyond["images"].tolist() == [10] * 3


def test_how_many_fool_the_net(run):
    table = tables.fooling([run], 5).set_index("attack")
    for name, attack in study.ATTACKS.items():
        image, votes = run[f"{attack}_image"], run[f"{attack}_votes"][:, 2]
        fooled, right = run[f"{attack}_fools_net"], run["test_votes"][:, 2] == run["labels"]
        of_all = [f for f, i in zip(fooled, image, strict=True) if right[i]]
        rows = zip(fooled, image, votes, strict=True)
        of_set = [f for f, i, vote in rows if right[i] and vote != run["labels"][i]]
        assert table.loc[name, "all attacked"] == pytest.approx(100 * np.mean(of_all))
        assert table.loc[name, "adversarial set"] == pytest.approx(100 * np.mean(of_set))


def test_what_the_slopes_are_made_of():
    table = synthetic(FGSM=[(60, 40, 0), (40, 20, 0)], **{study.WHOLE: [(90, 90, 90)] * 2})
    (row,) = tables.made_of(table).to_dict("records")
    assert row["set"] == "FGSM"
    assert row["S1 of the means"] == pytest.approx(50 / 30)
    assert row["rise"] == 50
    assert row["first step in % of it"] == pytest.approx(60)


def test_captions_are_the_labels_at_both_ends():
    classes = ("cat", "automobile")
    captions = drawings.captions(np.array([(0, 1, 0), (1, 0, 0)]), classes)
    assert captions == ["1-NN: cat\n5-NN: cat", "1-NN: automobile\n5-NN: cat"]


# --- parameters ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"z": 1}, r"z is 1: use an odd whole number from 3"),
        ({"z": 4}, r"z is 4: use an odd whole number from 3"),
        ({"epsilon": 0.0}, r"epsilon is 0.0: it must be in \(0, 1\]"),
        ({"epsilon": 1.5}, r"epsilon is 1.5: it must be in \(0, 1\]"),
        ({"epsilon": float("nan")}, r"epsilon is nan: it must be in \(0, 1\]"),
        ({"runs": 0}, r"runs is 0: it must be a positive whole number"),
        ({"epochs": -1}, r"epochs is -1: it must be a positive whole number"),
        ({"control_draws": 0}, r"control_draws is 0: it must be a positive whole number"),
        ({"special": {"digits": {"runs": 0}}}, r"special of digits: runs is 0: it must be a posit"),
        ({"special": {"digits": {"runs": "x"}}}, r"special of digits: runs is 'x': it must be a "),
        (
            {"special": {"digit": {"runs": 3}}},
            r"special names 'digit', which is not among this run's data sets, \['digits'\]",
        ),
        ({"special": {"digits": {"z": 4}}}, r"special of digits: z is 4: use an odd whole number"),
        ({"runs": 2.5}, r"runs is 2.5: it must be a positive whole number"),
        ({"flat": 0}, r"flat is 0(\.0)?: it must be in \(0, 100\]"),
        ({"datasets": "digits"}, r"datasets is 'digits': list at least one name"),
        ({"train": -5}, r"train is -5: use a whole number from 0"),
        ({"datasets": []}, r"datasets is \[\]: list at least one name"),
        ({"datasets": [3]}, r"datasets is \[3\]: list at least one name"),
        ({"datasets": ["digits", "digits"]}, r"datasets is .*: name each one once"),
    ],
)
def test_bad_parameters_are_one_sentence(change, sentence):
    with pytest.raises(ValueError, match=sentence) as refusal:
        study.Settings.read({**NOTEBOOK, **change})
    text = str(refusal.value)
    assert text.endswith(".")
    assert "\n" not in text
    assert ". " not in text


def test_the_defaults_of_the_notebook_pass():
    config = study.Settings.read(notebook.parameters(NAME))
    assert config.runs == notebook.parameters(NAME)["runs"]


@pytest.mark.parametrize("profile", sorted(notebook.profiles()))
def test_the_profiles_pass_and_name_parameters_alone(profile):
    section, defaults = notebook.profiles()[profile].get(NAME, {}), notebook.parameters(NAME)
    assert set(section) <= set(defaults)
    assert study.Settings.read({**defaults, **section}).datasets == ["mnist", "cifar10"]


def test_every_parameter_may_be_special():
    shared = {*study.Settings.shared(), *settings.PLACES}
    assert {f.name for f in dataclasses.fields(study.Settings)} - shared == set(OTHER)


@pytest.mark.parametrize("name", OTHER)
def test_special_is_as_good_as_the_parameter_itself(name):
    special = {"special": {"digits": {name: OTHER[name]}}}
    config = study.Settings.read({**NOTEBOOK, **special})
    assert getattr(config.on("digits"), name) == OTHER[name] != getattr(config, name)
    assert keys(**special) == keys(**{name: OTHER[name]})
    analysed = name in ("flat", "z")  # these choose and judge, and compute nothing
    assert (keys(**special) == keys()) == analysed


# --- the plan ----------------------------------------------------------------------------------


def test_k_above_the_number_of_training_images():
    with pytest.raises(ValueError, match="z is 11: there are only 10 training images"):
        planned(train=10, z=11)


def test_the_plan_depends_on_the_data_not_on_where_they_are(tmp_path):
    here, elsewhere = keys(), keys(data_root=str(tmp_path), device="cuda", jobs=7, out="x")
    assert here == elsewhere
    assert len(set(here)) == len(here) == 4  # two nets, two runs


def test_a_larger_z_is_computed_anew():
    assert keys(z=3) == keys(z=5) == keys(z=7) != keys(z=9)


def test_more_runs_keep_the_first_ones():
    assert set(keys()) < set(keys(runs=3))


def test_the_study_needs_the_weights_of_its_net_alone(computed):
    runs = planned(**TINY)
    (net,), (task,) = runs.nets, runs.runs
    tasks = [v for v in task.arguments.values() if isinstance(v, (steps.Task, steps.Field))]
    assert tasks == [net["weights"]]
    assert isinstance(task.arguments["weights"], steps.Field)
    weights = steps.compute(task.arguments["weights"], jobs=1, device="cpu")
    assert set(weights) == set(nets.build("lenet5", (1, 8, 8)).state_dict())
    for name, value in weights.items():
        assert np.array_equal(value, computed.nets[0]["weights"][name])


def test_every_run_has_a_split_and_a_net_of_its_own():
    runs = planned(runs=3)
    pairs = zip(runs.nets, runs.runs, strict=True)
    for number, (net, task) in enumerate(pairs, 1):
        assert net.arguments["split"] == task.arguments["split"] == runs.split.at(number)
        assert task.arguments["weights"].task == net


def test_changed_data_are_noticed():
    (task,) = planned(runs=1).nets
    other = dataclasses.replace(task.arguments["split"], fingerprint="other")
    with pytest.raises(RuntimeError, match="The data set digits has changed since"):
        steps.compute(
            knn_steps.lenet.task(**{**task.arguments, "split": other}), jobs=1, device="cpu"
        )
    with pytest.raises(ValueError, match="has changed since"):
        knn_steps.lenet(**{**task.arguments, "split": other})


# --- the slider ------------------------------------------------------------------------------


def test_the_dial_shows_the_accuracies_at_its_k():
    images = data.load("digits", train=200, test=50)
    few = images.x_train[:40], images.y_train[:40]
    right = {
        "training images": neighbors.accuracy_by_k(images.x_train, images.y_train, *few, (1, 9))
    }
    draw = drawings.dial(images, right)
    said = {k: draw(k).get_suptitle() for k in (1, 9)}
    assert said[1] == "K = 1: right on 100.0% of the training images"
    assert f"{right['training images'][9]:.1%} of the training images" in said[9]
    curves = draw(9).axes[1]
    assert [line.get_xdata()[0] for line in curves.lines if len(line.get_xdata()) == 1] == [9]
    borders = [np.abs(np.diff(draw(k).axes[0].images[0].get_array())) > 0 for k in (1, 9)]
    assert borders[0].sum() > borders[1].sum() > 0  # a larger K smooths them


def test_the_dial_answers_within_half_a_second():
    images = data.load("digits")
    right = {"test images": dict.fromkeys(range(1, 16, 2), 0.9)}
    draw = drawings.dial(images, right)
    started = time.process_time()
    figure = draw(7)
    figure.savefig(io.BytesIO())
    assert time.process_time() - started < 0.5


def test_few_points_take_part_in_the_plane_up_to_their_number():
    images = data.load("digits", train=20, test=10)
    figure = drawings.dial(images, {"test images": {1: 1.0, 19: 0.5}})(19)
    assert figure.get_suptitle() == "K = 19: right on 50.0% of the test images"
