"""The study of evolved perturbations: its steps, its plan, its notebook's numbers, its verdicts."""

import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
import time

import golden
import matplotlib.pyplot as plt
import notebook
import numpy as np
import pandas as pd
import pytest
import torch

from kit import data, evolution, explain, nets, optimizers, perturbations, runtime, training
from kit.experiments import evolved_perturbations as study
from kit.experiments.evolved_perturbations import (
    claims,
    drawings,
    measures,
    noises,
    search_steps,
    tables,
)
from kit.experiments.evolved_perturbations import steps as made
from kit.experiments.images import split
from kit.harness import results, settings, steps
from kit.optimizers import TITLES

NAME = "01_evolved_perturbations"
NOTEBOOK = {
    "datasets": ["digits"], "special": {}, "train": 100, "test": 60, "size": 0, "pixels": [1, 2],
    "search_train": 60, "search_seeds": 2, "larger_seeds": 1, "control_seeds": 1,
    "generations": 2, "popsize": 3, "start": "uniform", "saturation": 4.0,
    "rescored": 3, "sigma": 0.3, "start_value": 0.75, "cma_options": {}, "search_epochs": 1,
    "search_optimizer": "adam",
    "discriminator": "linear", "rival": "sgd",
    "optimizers": {"adam": 1e-3, "sgd": 0.1, "rmsprop": 1e-3, "adabound": 1e-3}, "epochs": 2,
    "batch_size": 50, "repeats": 2, "curve_epochs": 3, "uniforms": 2, "cam_images": 5, "alphas": 5,
    "table_datasets": ["digits"], "table_nets": ["resnet8"], "table_epochs": 1,
    "table_repeats": 2, "crop": 1, "seed": 0, "data_root": "", "device": "cpu",
}  # fmt: skip
# For each parameter that may differ between data sets another value than NOTEBOOK has.
OTHER = {
    "train": 90, "test": 50, "size": 10, "pixels": [2], "search_train": 50, "search_seeds": 1,
    "larger_seeds": 2, "control_seeds": 2, "generations": 1, "popsize": 4,
    "start": "middle", "saturation": 2.0, "rescored": 2, "sigma": 0.2, "start_value": 0.9,
    "cma_options": {"tolfun": 1e-3}, "search_epochs": 2,
    "search_optimizer": "rmsprop", "discriminator": "graynet",
    "rival": "rmsprop", "optimizers": {"adam": 1e-2, "sgd": 0.1},
    "epochs": 1, "batch_size": 40, "repeats": 1, "curve_epochs": 2, "uniforms": 1,
    "cam_images": 4, "alphas": 4, "precision": "bfloat16",
    "table_nets": ["linear"], "table_epochs": 2, "table_repeats": 1, "crop": 2,
}  # fmt: skip
SEARCH = {
    "pixels": 1, "popsize": 4, "strategy": "cma-es", "start": "uniform", "saturation": 4.0,
    "sigma": 0.3, "place": 0.5, "value": 0.75, "options": {}, "net": "graynet",
    "epochs": 2, "batch_size": 20, "optimizer": "adam", "lr": 1e-3,
    "discriminator": "linear", "discriminator_epochs": 2,
}  # fmt: skip


def config(**change):
    return study.Settings.read({**NOTEBOOK, **change})


def planned(**change):
    return study.plan(config(**change)).studies["digits"]


def tabled(**change):
    return study.plan(config(**change)).tables["digits"]


def tasks(tree):
    return [leaf for leaf in steps.leaves(tree) if isinstance(leaf, steps.Task)]


def keys(**change):
    return [task.key for task in tasks(study.plan(config(**change)))]


def chain(images, length, search=SEARCH):
    """The generations of a search."""
    generations = []
    for number in range(1, length + 1):
        previous = generations[-1]["state"] if generations else None
        common = {**about(images, search), "number": number}
        generations.append(search_steps.generation.task(**common, previous=previous))
    return generations


def about(images, search=SEARCH):
    return {"split": images, "method": "MDD-ES", "search": search, "start": 1}


def compute(tree, **where):
    return steps.compute(tree, jobs=1, device="cpu", **where)


@pytest.mark.parametrize("name", golden.names("evolved_perturbations"))
def test_golden(name):
    golden.check(name)


def test_every_golden_file_has_its_step():
    assert golden.recorded("evolved_perturbations") == golden.names("evolved_perturbations")


# --- the search never sees a test image ------------------------------------------------------


def archive(folder, x_test, y_test):
    digits = data.load("digits", train=80, test=100)
    folder.mkdir()
    arrays = {"x_train": digits.x_train[:, 0].numpy(), "y_train": digits.y_train.numpy()}
    np.savez(folder / "mine.npz", **arrays, x_test=x_test, y_test=y_test)
    return str(folder)


def test_a_poisoned_test_split_changes_nothing_in_the_search(tmp_path, store):
    digits = data.load("digits", train=80, test=100)
    sound = digits.x_test[:, 0].numpy(), digits.y_test.numpy()
    poisoned = np.random.default_rng(0).random(sound[0].shape, np.float32), sound[1][::-1].copy()
    searched, errors = [], []
    for name, part in (("sound", sound), ("poisoned", poisoned)):
        root = archive(tmp_path / name, *part)
        images = split("mine", root)
        generations = chain(images, 2)
        curve = made.candidate_errors.task(
            **about(images), genomes=[g["state"]["genomes"][0] for g in generations]
        )
        found = compute([generations, curve], data_root=root)
        searched.append([golden.arrays(generation.field()) for generation in found[0]])
        errors.append(found[1]["error"])
    for a, b in zip(*searched, strict=True):
        assert a.keys() == b.keys()
        for key, value in a.items():
            np.testing.assert_array_equal(value, b[key])
    # The errors that are measured afterwards do look at test images.
    assert not np.array_equal(*errors)


# --- a search killed and run again -----------------------------------------------------------

KILLED = """
import sys
sys.path.insert(0, sys.argv[1])
import test_evolved_perturbations as t
for number, task in enumerate(t.chain(t.split("digits", train=80), 4), 1):
    print("starting", number, flush=True)
    t.compute(task)
"""


def test_a_search_killed_in_generation_three_ends_as_the_undisturbed_one(tmp_path, monkeypatch):
    def environment(name):
        return {**os.environ, "KIT_STEPS": str(tmp_path / name), "PYTHONPATH": str(runtime.root())}

    command = [sys.executable, "-c", KILLED, os.path.dirname(__file__)]
    process = subprocess.Popen(
        command,
        env=environment("killed"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=tmp_path,
    )
    for line in process.stdout:
        if line.strip() == "starting 3":
            time.sleep(0.05)
            process.send_signal(signal.SIGKILL)
            break
    assert process.wait(timeout=60) == -signal.SIGKILL
    folder = tmp_path / "killed" / "evolved_perturbations.generation"
    before = {p: p.stat().st_mtime_ns for p in folder.glob("[!.]*.json")}
    assert len(before) == 2
    for name in ("killed", "undisturbed"):
        monkeypatch.setenv("KIT_STEPS", str(tmp_path / name))
        compute(chain(split("digits", train=80), 4))
    assert before.items() <= {p: p.stat().st_mtime_ns for p in before}.items()
    other = tmp_path / "undisturbed" / "evolved_perturbations.generation"
    paths = list(folder.glob("[!.]*.npz"))
    assert len(paths) == 4
    for path in paths:
        with np.load(path) as a, np.load(other / path.name) as b:
            assert set(a) == set(b)
            for key in a:
                np.testing.assert_array_equal(a[key], b[key])
        texts = [
            json.loads((f / path.name).with_suffix(".json").read_text()) for f in (folder, other)
        ]
        assert texts[0]["result"] == texts[1]["result"]


def test_a_chain_is_continued_from_the_store_and_ends_as_one_search(store):
    images = split("digits", train=80)
    first = compute(chain(images, 2))
    records = [generation.record["finished"] for generation in first]
    chained = compute(chain(images, 3))
    assert [generation.record["finished"] for generation in chained[:2]] == records
    digits = data.load("digits", train=80)
    undisturbed = evolution.search(
        digits.x_train,
        digits.y_train,
        classes=10,
        generations=3,
        **SEARCH,
        seed=runtime.derive_seed(0, "search", "MDD-ES", 1, "adam", 1),
    )
    for generation, result in zip(undisturbed, chained, strict=True):
        for name in ("candidates", "fitness", "mismatch", "divergence", "learnt"):
            np.testing.assert_array_equal(result[name], getattr(generation, name))
        assert result["sigma"] == generation.sigma


# --- the steps -------------------------------------------------------------------------------


def test_a_generation_depends_on_its_predecessor_alone():
    generations = chain(split("digits", train=80), 4)
    for before, task in itertools.pairwise(generations):
        fields = [v for v in task.arguments.values() if isinstance(v, (steps.Task, steps.Field))]
        assert [field.task for field in fields] == [before]


def test_the_state_of_a_generation_is_the_best_ten_so_far(store):
    found = compute(chain(split("digits", train=80), 3))
    fitness = np.concatenate([generation["fitness"] for generation in found])
    candidates = np.concatenate([generation["candidates"] for generation in found])
    for number, generation in enumerate(found, 1):
        state = generation["state"]
        np.testing.assert_array_equal(state["history"], fitness[: 4 * number].reshape(number, 4))
        best = (-fitness[: 4 * number]).argsort(kind="stable")[:10]
        np.testing.assert_array_equal(state["scores"], fitness[best])
        np.testing.assert_array_equal(state["genomes"], candidates[best])


def test_after_a_stop_there_are_no_candidates(store):
    search = {**SEARCH, "options": {"maxiter": 1}}
    first, second, third = compute(chain(split("digits", train=80), 3, search))
    assert first["stopped"] == second["stopped"] == third["stopped"] == "maxiter: 1"
    assert first["candidates"].shape == (4, 30)
    for later in (second, third):
        assert later["candidates"].shape == (0, 30)
        assert len(later["fitness"]) == 0
        np.testing.assert_array_equal(later["state"]["genomes"], first["state"]["genomes"])


def test_a_candidate_without_a_finite_loss_is_never_the_best(monkeypatch, store):
    """NaN ranks last: it is not the best of a generation, nor of a later one."""
    search = evolution.search

    def failing(*args, **options):
        for generation in search(*args, **options):
            generation.fitness[np.nanargmax(generation.fitness)] = np.nan
            yield generation

    monkeypatch.setattr(evolution, "search", failing)
    images = split("digits", train=80)
    result = search_steps.generation(**about(images), number=1, previous=None)
    kept = np.nanargmax(result["fitness"])
    np.testing.assert_array_equal(result["state"]["genomes"][0], result["candidates"][kept])
    assert np.isfinite(result["state"]["scores"]).tolist() == [True] * 3 + [False]


def test_a_generation_is_as_large_as_it_is_told_or_as_pycma_has_it():
    images = split("digits", train=80)
    assert search_steps.candidates(images, 1, 7) == 7
    assert search_steps.candidates(images, 1, None) == optimizers.cma_popsize(10 * (2 + 1))


def test_fresh_scores_choose_among_the_best(store):
    """δ* is the best by the mean of fresh scores, which are F with seeds of their own."""
    images = split("digits", train=80)
    last = chain(images, 2)[-1]
    options = {**about(images), "genomes": last["state"]["genomes"]}
    again = search_steps.choose.task(**options, count=3, repeats=2)
    first = search_steps.choose.task(**options, count=0, repeats=2)
    state, again, first = compute([last["state"], again, first])
    assert again["scores"].shape == (2, 3)
    best = again["scores"].mean(0).argmax()
    np.testing.assert_array_equal(again["genome"], state["genomes"][best])
    np.testing.assert_array_equal(first["genome"], state["genomes"][0])
    digits = data.load("digits", train=80)
    noise = perturbations.decode(state["genomes"][:3], 10, 1, digits.shape, saturation=4.0)
    seed = runtime.derive_seed(0, "search", "MDD-ES", 1, "adam", 1)
    for repeat, scores in enumerate(again["scores"]):
        fresh = evolution.fitness(
            noise,
            digits.x_train,
            digits.y_train,
            epochs=2,
            batch_size=20,
            discriminator_epochs=2,
            seed=runtime.derive_seed(seed, "again", repeat),
        )
        np.testing.assert_allclose(scores, fresh, atol=1e-6)
    assert not np.array_equal(*again["scores"])


def test_baselines_are_scored_as_candidates_are(store):
    images = split("digits", train=80)
    described = [noises.LEFT, noises.uniform(1, 2)]
    task = search_steps.baseline_fitness.task(split=images, search=SEARCH, baselines=described)
    result = compute(task)
    digits = data.load("digits", train=80)
    noise = torch.stack([noises.make(one, digits, 0) for one in described])
    scores = evolution.fitness(
        noise,
        digits.x_train,
        digits.y_train,
        epochs=2,
        batch_size=20,
        discriminator_epochs=2,
        seed=runtime.derive_seed(0, "baselines"),
        details=True,
    )
    for name, part in zip(("fitness", "mismatch", "divergence"), scores, strict=False):
        np.testing.assert_allclose(result[name], part, atol=1e-6)


def test_training_is_on_perturbed_images():
    images = split("digits", train=80, test=60)
    result = made.train_perturbed(
        split=images,
        net="graynet",
        noise=noises.LEFT,
        optimizer="adam",
        lr=1e-3,
        epochs=2,
        batch_size=20,
        crop=0,
        flip=False,
        repeat=1,
    )
    assert all(len(values) == 3 for values in result.values())
    digits = data.load("digits", train=80, test=60)
    x = perturbations.apply(
        perturbations.left_column(10, digits.shape), digits.x_train, digits.y_train
    )
    net = nets.build("graynet", digits.shape, seed=runtime.derive_seed(0, "effect net", 1))
    training.fit(
        net,
        x,
        digits.y_train,
        epochs=2,
        batch_size=20,
        seed=runtime.derive_seed(0, "effect order", 1),
    )
    clean = training.accuracy(net, digits.x_test, digits.y_test)
    loss, accuracy = training.evaluate(net, x, digits.y_train)
    assert result["test_accuracy"][-1] == pytest.approx(clean, abs=1e-6)
    assert result["train_loss"][-1] == pytest.approx(loss, abs=1e-5)
    assert result["train_accuracy"][-1] == pytest.approx(accuracy, abs=1e-6)


def test_a_course_is_the_same_training_read_more_often():
    """Whole epochs have the readings of train_perturbed; between them nothing is changed."""
    options = {
        "split": split("digits", train=80, test=60), "net": "graynet", "noise": noises.LEFT,
        "optimizer": "adam", "lr": 1e-3, "epochs": 2, "batch_size": 10, "repeat": 1,
    }  # fmt: skip
    plain = made.train_perturbed(**options, crop=0, flip=False)
    course = made.course(**options, readings=4)
    assert course["epoch"].tolist() == [0, 0.25, 0.5, 0.75, 1, 2]
    whole = np.isin(course["epoch"], (0, 1, 2))
    for name, values in plain.items():
        np.testing.assert_array_equal(course[name][whole], values)
    assert len(set(course["train_loss"])) == 6
    one_batch = made.course(**{**options, "batch_size": 80}, readings=4)
    assert one_batch["epoch"].tolist() == [0, 1, 2]


def test_a_blind_search_takes_the_best_of_random_scores(monkeypatch):
    """Its proposals and its strategy are a search's; what it climbs says nothing."""
    told = []
    tell = evolution.strategies.tell

    def remember(proposer, candidates, scores):
        told.append((candidates, scores))
        return tell(proposer, candidates, scores)

    monkeypatch.setattr(evolution.strategies, "tell", remember)
    images = split("digits", train=80)
    found = search_steps.blind(split=images, search=SEARCH, generations=3, count=2)["genomes"]
    assert found.shape == (2, 30)
    for genome, of_search in zip(found, (told[:3], told[3:]), strict=True):
        candidates, scores = map(np.concatenate, zip(*of_search, strict=True))
        np.testing.assert_array_equal(genome, candidates[scores.argmax()])
        assert len(candidates) == 3 * SEARCH["popsize"]
    assert not np.array_equal(told[0][1], told[1][1])
    assert not np.array_equal(*found)


def test_data_that_changed_are_noticed():
    images = dataclasses.replace(split("digits", train=80), fingerprint="other")
    with pytest.raises(ValueError, match="has changed since"):
        search_steps.generation(**about(images), number=1, previous=None)


def test_the_line_begins_at_sgds_net_and_ends_at_adams(computed):
    """Its ends are the first trainings of the same search, noise and optimizer."""
    lines = [line for of_search in computed.lines for line in of_search]
    for repeat, line in enumerate(lines, 1):
        for alpha, optimizer in enumerate(("sgd", "adam")):
            (one,) = [
                t.result
                for t in computed.trainings
                if (t.method, t.pixels, t.aim) == (study.OURS, 1, "adam")
                and (t.optimizer, t.repeat) == (optimizer, repeat)
            ]
            (place,) = np.flatnonzero(line["alpha"] == alpha)
            for name in ("train_loss", "train_accuracy", "test_accuracy"):
                assert line[name][place] == pytest.approx(one[name][-1], abs=1e-5)


def test_errors_of_candidates_are_those_of_nets_trained_on_them(computed):
    """Retrained on the first search's best genome and on a candidate, the errors are the same."""
    few = data.load("digits", train=60, test=60)
    search = computed.searches[study.Aim(1, "adam", 2)]
    last = search.generations[-1]
    pairs = [
        (last["state"]["genomes"][0], search.best["error"][-1]),
        (last["candidates"][1], search.last["error"][1]),
        (search.generations[0]["candidates"][2], search.first["error"][2]),
    ]
    for genome, error in pairs:
        eta = perturbations.decode(genome, 10, 1, few.shape, saturation=4.0)
        x = perturbations.apply(eta, few.x_train, few.y_train)
        net = nets.build("graynet", few.shape, seed=runtime.derive_seed(0, "effect net", 2))
        training.fit(
            net,
            x,
            few.y_train,
            epochs=1,
            batch_size=50,
            optimizer="adam",
            lr=1e-3,
            seed=runtime.derive_seed(0, "effect order", 2),
        )
        wanted = 1 - training.accuracy(net, few.x_test, few.y_test)
        assert error == pytest.approx(wanted, abs=1e-6)


def test_examples_are_training_images_with_the_noise(computed):
    digits = data.load("digits", train=100, test=60)
    for pixels, example in computed.examples.items():
        genome = computed.searches[study.Aim(pixels, "adam")].chosen["genome"]
        noise = perturbations.decode(genome, 10, pixels, digits.shape, saturation=4.0)
        assert np.array_equal(example["noise"], noise)
        for label in range(10):
            x = digits.x_train[digits.y_train == label][:1]
            shown = perturbations.apply(noise, x, torch.tensor([label]))
            assert np.array_equal(example["images"][label], data.as_bytes(shown)[0])


# --- parameters ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"datasets": []}, "list at least one name"),
        ({"datasets": ["digits", "digits"]}, "datasets is .*: name each one once"),
        (
            {"special": {"mnist": {}}},
            r"special names 'mnist', which is not among this run's data sets, \['digits'\]",
        ),
        (
            {"special": {"digits": {"sedd": 1}}},
            r"special of digits has 'sedd'.*: allowed are train, test, precision, size, pixels",
        ),
        ({"special": {"digits": {"seed": 1}}}, "special of digits has 'seed'.*: allowed are train"),
        ({"special": {"digits": {"table_datasets": []}}}, "special of digits has 'table_datasets'"),
        ({"special": {"digits": {"rival": "adam"}}}, "special of digits: rival is 'adam', as"),
        ({"special": {"digits": 3}}, "special of digits has 3"),
        (
            {"special": {"digits": {"pixels": [0]}}},
            r"special of digits: pixels is \[0\]: list whole numbers from 1",
        ),
        ({"table_datasets": "svhn"}, "table_datasets is 'svhn': list names of data sets"),
        ({"pixels": []}, r"pixels is \[\]"),
        ({"pixels": [1, 1]}, "name each one once"),
        ({"pixels": [2, 1]}, "the smallest first"),
        ({"popsize": 1}, r"popsize is 1: use a whole number from 2 on \(λ\), or 0"),
        ({"generations": 0}, "generations is 0: it must be a positive whole number"),
        ({"repeats": 1.5}, "repeats is 1.5"),
        ({"train": -1}, "train is -1"),
        ({"sigma": 0.0}, "sigma is 0.0: it must be a positive number"),
        ({"start": "corner"}, "Unknown start 'corner'"),
        ({"saturation": 0.5}, "saturation is 0.5: use a number from 1 on"),
        ({"rescored": 11}, "rescored is 11: use a whole number from 0 to 10"),
        ({"larger_seeds": 0}, "larger_seeds is 0: it must be a positive whole number"),
        ({"optimizers": {"adam": 0.0, "sgd": 0.1}}, "the rate of adam is 0.0"),
        ({"optimizers": {"adam": 1e-3, "sgd": 0.1, "lion": 1}}, "Unknown optimizer 'lion'"),
        ({"optimizers": {"adam": 1e-3}}, "optimizers lacks 'sgd'"),
        ({"search_optimizer": "adamw"}, "Unknown optimizer 'adamw'"),
        ({"rival": "adam"}, "rival is 'adam', as search_optimizer is"),
        ({"table_nets": ["alexnet"]}, "Unknown net 'alexnet'"),
        ({"discriminator": "none"}, "Unknown net 'none'"),
        ({"start_value": 1.1}, "start_value is 1.1"),
    ],
)
def test_bad_parameters_are_one_sentence(change, sentence):
    with pytest.raises(ValueError, match=sentence) as refusal:
        config(**change)
    text = str(refusal.value)
    assert text.endswith(".")
    assert "\n" not in text
    assert ". " not in text


def test_the_notebook_and_the_profiles_are_valid():
    defaults = notebook.parameters(NAME)
    for profile in ({}, *(p[NAME] for p in notebook.profiles().values())):
        assert set(profile) <= set(defaults)
        study.Settings.read(defaults | profile)


def test_good_parameters_pass():
    study.Settings.read(NOTEBOOK)
    special = {"digits": {"pixels": [3], "train": 50}}
    config = study.Settings.read({**NOTEBOOK, "special": special})
    assert config.on("digits").pixels == [3]


@pytest.mark.parametrize("name", OTHER)
def test_every_parameter_may_be_special(name):
    shared = {*study.Settings.shared(), *settings.PLACES}
    assert {f.name for f in dataclasses.fields(study.Settings)} - shared == set(OTHER)
    change = {name: OTHER[name]}
    assert keys(special={"digits": change}) == keys(**change)
    assert keys(special={"digits": change}) != keys()


def test_more_pixels_than_the_image_has():
    with pytest.raises(ValueError, match="pixels is 65: use a whole number from 1 to 64"):
        planned(pixels=[65])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"cma_options": {"tolfn": 1}}, r"cma_options has 'tolfn'.*did you mean 'tolfun'"),
        ({"crop": 5}, "crop is 5: use at most half of the image's side, 4"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_runs(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        planned(**change)


def test_a_new_net_can_be_used_in_the_table(monkeypatch):
    """CONTRIBUTING: a line in ARCHITECTURES is all that is needed."""
    monkeypatch.setitem(nets.ARCHITECTURES, "mynet", ("kit.nets.linear:Linear", {}))
    one = tabled(table_nets=["mynet"])
    assert steps.estimate(one, 1, "cpu").total == len(tasks(one))
    (trained, *_) = [t for t in one.trainings if t.net == "mynet"]
    assert len(compute(trained.result)["test_accuracy"]) == 2


def test_the_plan_trains_on_every_noise():
    one = planned()
    kinds = [task.step.name.partition(".")[2] for task in tasks(one)]
    # Searches: two, one with 2 px, one against the rival, a random one, and a plain one with two
    # generations more. Trainings: 2 × 2 optimizers × 2 and 2, 4 for the rival, 2 for each control;
    # 3 noises × 3 and 2 draws, for both optimizers. Courses: 3 × 5 optimizers.
    assert {name: kinds.count(name) for name in kinds} == {
        "generation": 5 * 2 + 4, "choose": 6, "candidate_errors": 3 * 3, "baseline_fitness": 1,
        "interpolate": 2 * 2, "background": 2 * 2, "grad_cam": 1, "examples": 2,
        "train_perturbed": 10 + 4 + 4 + 2 * (9 + 2), "course": 15, "blind": 1,
    }  # fmt: skip
    chosen = {search.chosen for search in one.searches.values()}
    for training_of in one.trainings:
        genome = training_of.result.arguments["noise"].get("genome")
        assert (genome is not None) == (training_of.kind == "evolved")
        assert genome is None or genome.task in chosen
    assert len({task.key for task in tasks(one)}) == len(tasks(one))


def test_the_table_needs_the_searches_of_its_noises_alone():
    """4 noises × 2 trainings, and 3 searches; the searches are those of the rest of the study."""
    table, rest = tabled(), planned()
    kinds = [task.step.name.partition(".")[2] for task in tasks(table)]
    counted = {name: kinds.count(name) for name in kinds}
    assert counted == {"generation": 3 * 2, "choose": 3, "train_perturbed": 8 + 3}
    for aim, search in table.searches.items():
        assert search.generations == rest.searches[aim].generations
        assert search.chosen == rest.searches[aim].chosen
    chosen = {search.chosen: aim for aim, search in table.searches.items()}
    for one in table.trainings:
        noise = one.result.arguments["noise"]
        assert (one.kind == "evolved") == ("genome" in noise)
        if one.kind == "evolved":
            assert chosen[noise["genome"].task] == study.Aim(one.pixels, "adam", one.search)
    few = tabled(table_repeats=1).searches
    assert [aim.number for aim in few] == [1, 1]


def test_a_data_set_may_have_the_table_alone(tmp_path):
    rng = np.random.default_rng(0)
    images = {f"x_{part}": rng.random((60, 16, 16, 3), np.float32) for part in ("train", "test")}
    np.savez(tmp_path / "mine.npz", **images, y_train=np.arange(60) % 3, y_test=np.arange(60) % 3)
    special = {"mine": {"train": 60, "pixels": [1], "search_seeds": 1, "crop": 2}}
    c = config(table_datasets=["mine"], special=special, data_root=str(tmp_path))
    assert c.all_datasets == ["digits", "mine"]
    plan = study.plan(c)
    assert (set(plan.studies), set(plan.tables)) == ({"digits"}, {"mine"})
    table = plan.tables["mine"]
    assert [str(aim) for aim in table.searches] == ["MDD-ES, Np = 1, against Adam, search 1"]
    (search,) = table.searches.values()
    assert search.generations[0].arguments["search"]["net"] == "colornet"
    assert {one.result.arguments["crop"] for one in table.trainings} == {2}
    assert list(c.on("mine").comparisons("mine")) == ["in the table with larger nets"]
    assert "in the table with larger nets" not in c.comparisons("digits")
    with pytest.raises(ValueError, match="special of mine: rival is 'adam'"):
        config(table_datasets=["mine"], special={"mine": {"rival": "adam"}})


def test_more_generations_continue_the_same_search():
    few, more = (planned(generations=number).searches for number in (2, 3))
    for aim, search in few.items():
        assert search.generations == more[aim].generations[: len(search.generations)]


def test_all_methods_cost_the_same():
    """The plain reading spends on generations what the others spend on fresh scores."""
    change = {"rescored": 5, "generations": 4}
    c, one = config(**change), planned(**change)
    cost = {
        aim: 3 * len(search.generations) + 10 * (aim.method != study.PLAIN)
        for aim, search in one.searches.items()
    }
    assert max(cost.values()) - min(cost.values()) < 3
    plain, random = (c.options("graynet", study.Aim(1, "adam", 1, m)) for m in ("plain", "random"))
    ours = c.options("graynet", study.Aim(1, "adam"))
    differing = {name for name in ours if plain[name] != ours[name]}
    assert differing == {"start", "saturation"}
    assert {name for name in ours if random[name] != ours[name]} == {"strategy"}
    assert ours["epochs"] == 1
    assert config(search_epochs=0).options("graynet", study.Aim(1, "sgd"))["epochs"] == 2
    assert config().options("graynet", study.Aim(1, "sgd"))["lr"] == 0.1


def test_where_it_runs_is_no_part_of_the_key():
    assert keys() == keys(device="cuda", data_root="elsewhere", jobs=3)


def test_a_generation_does_not_grow_with_the_chain():
    """Its arguments hold no generation but the one before it, and of that the state alone."""
    for aim, search in planned(generations=7).searches.items():
        generations = search.generations
        assert len({len(json.dumps(task.keyed)) for task in generations[1:]}) == 1
        assert generations[0].arguments["previous"] is None
        for number, task in enumerate(generations, 1):
            assert task.arguments["number"] == number
            assert task.arguments["search"]["pixels"] == aim.pixels
            read = [v for v in steps.leaves(task.arguments) if isinstance(v, steps.Field)]
            assert not tasks(task.arguments)
            assert read == ([generations[number - 2]["state"]] if number > 1 else [])


def test_all_methods_cost_exactly_the_same_where_results_are_shown():
    for profile in ({}, notebook.profiles()["ci"][NAME]):  # grey images
        c = study.Settings.read(notebook.parameters(NAME) | profile)
        popsize = c.popsize or optimizers.cma_popsize(30)
        ours, plain = (c.length(study.Aim(1, "adam", 1, m), popsize) for m in ("MDD-ES", "plain"))
        assert ours * popsize + 2 * c.rescored == plain * popsize


def test_courses_are_those_of_every_optimizer_and_of_adam_at_a_tenth_of_its_rate():
    one = planned(repeats=3)
    assert {row.optimizer for row in one.courses} == {*NOTEBOOK["optimizers"], "adam low"}
    chosen = {aim: search.chosen["genome"] for aim, search in one.searches.items()}
    for row in one.courses:
        arguments = row.result.arguments
        rate = 1e-4 if row.optimizer == "adam low" else NOTEBOOK["optimizers"][row.optimizer]
        assert (arguments["optimizer"], arguments["lr"]) == (row.optimizer.split()[0], rate)
        assert (arguments["epochs"], arguments["readings"]) == (3, 10)
        aim = study.Aim(row.pixels, "adam", row.search)
        assert arguments["noise"]["genome"] == chosen[aim]
        assert row.repeat - 3 * (row.search - 1) in (1, 2)  # the first of its search's trainings


def test_each_training_on_a_shortcut_has_a_choice_of_its_own():
    rows = [row for row in planned().trainings if row.kind == "shortcut"]
    assert all(row.result.arguments["noise"]["draw"] == row.repeat for row in rows)
    assert {row.repeat for row in rows} == {1, 2, 3}
    assert {row.noise for row in rows} == {"One-Pixel Shortcut"}
    dark = data.load("digits", train=50)
    first, again, other = (noises.make(noises.shortcut(draw), dark, 0) for draw in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_every_noise_is_that_of_its_search():
    one = planned()
    chosen = {aim: search.chosen["genome"] for aim, search in one.searches.items()}
    for row in one.trainings:
        if row.kind == "evolved":
            noise = row.result.arguments["noise"]
            assert noise["genome"] == chosen[row.pixels, row.aim, row.search, row.method]
            assert noise["saturation"] == (1.0 if row.method == study.PLAIN else 4.0)
    for tasks_of in (one.lines, one.backgrounds):
        for number, of_search in enumerate(tasks_of, 1):
            for task in of_search:
                assert task.arguments["noise"]["genome"] == chosen[1, "adam", number, study.OURS]
        repeats = [task.arguments["repeat"] for of_search in tasks_of for task in of_search]
        assert repeats == [1, 2, 3, 4]
    for aim, search in one.searches.items():
        generations = search.generations
        assert search.chosen.arguments["genomes"] == generations[-1]["state"]["genomes"]
        assert search.chosen.arguments["count"] == (0 if aim.method == study.PLAIN else 3)
        if search.best is not None:
            best = [generation["state"]["genomes"][0] for generation in generations]
            assert search.best.arguments["genomes"] == best
            for errors, generation in ((search.first, 0), (search.last, -1)):
                assert errors.arguments["genomes"] == generations[generation]["candidates"]


def test_equal_repeats_differ_in_noise_and_optimizer_alone():
    """Their seeds follow from the split and the repeat, which are the same."""
    one = planned()
    for row in one.trainings:
        arguments = row.result.arguments
        assert arguments["repeat"] == row.repeat
        assert arguments["split"] == one.split
        assert arguments["crop"] == 0
    for row in tabled().trainings:
        assert row.result.arguments["repeat"] == row.repeat
        assert row.result.arguments["crop"] == 1


def test_a_crop_is_only_refused_where_there_is_a_table():
    assert not study.plan(config(crop=5, table_datasets=[])).tables


# --- what is read off --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def done():
    return compute(study.plan(config()))


@pytest.fixture(scope="module")
def computed(done):
    return done.studies["digits"]


@pytest.fixture(scope="module")
def curves(computed):
    return tables.curves(computed.trainings)


@pytest.fixture(scope="module")
def courses(computed):
    return tables.curves(computed.courses)


@pytest.fixture(scope="module")
def augmented(done):
    return tables.curves(done.tables["digits"].trainings)


def test_every_claim_is_judged(computed, curves, courses, augmented):
    c = config()
    tested = measures.by_pixels(computed.searches)
    signals = {p: measures.signals(searches) for p, searches in tested.items()}
    gains = {pixels: measures.population_gains(searches) for pixels, searches in tested.items()}
    matched = tables.matched(tables.evolved(courses, c.search_optimizer), c.rates)
    background = measures.background(computed.backgrounds)
    ends = measures.line_ends(computed.lines)
    evidence = claims.Evidence(
        curves=curves,
        courses=courses,
        gains=gains,
        matched=matched,
        ends=ends,
        signals={p: table["F_d beside F_m"] for p, table in signals.items()},
        edges=measures.edges(c, computed),
        background=background,
        resolution=100 / 60,
    )
    judged = list(claims.verdicts(c, evidence))
    table = list(claims.of_table(c, "digits", augmented, 100 / 60))
    assert {claim for claim, *_ in judged} == set(study.STUDY.claims) - {"1.C3"}
    assert [claim for claim, *_ in table] == ["1.C2", "1.C3", "1.C4"]
    judged += table
    assert all(v.outcome in results.VERDICTS and v.evidence for *_, v in judged)
    grey = list(claims.verdicts(c, dataclasses.replace(evidence, background={})))
    assert {claim for claim, *_ in judged} - {claim for claim, *_ in grey} == {"1.C3", "1.C8"}
    rest = list(study.STUDY.not_tested(["digits"]))
    assert len(rest) == 4 * 19 - 2


def test_populations_are_compared_search_by_search(computed):
    search = computed.searches[study.Aim(1, "adam")]
    made_up = study.Search([], None, {"error": np.array([0.1, 0.2])}, {"error": np.array([0.5])}, 0)
    assert measures.population_gains([made_up]) == pytest.approx([35])
    (gain,) = measures.population_gains([search])
    errors = [search.first["error"], search.last["error"]]
    assert gain == pytest.approx(100 * (errors[1].mean() - errors[0].mean()))
    harm = measures.candidates_harm([search])
    assert harm["error"].to_numpy() == pytest.approx(100 * np.concatenate(errors))
    for name, part in measures.PARTS.items():
        scored = [search.generations[0][part], search.generations[-1][part]]
        assert harm[name].to_numpy() == pytest.approx(np.concatenate(scored))
    assert harm["generation"].tolist() == ["first"] * 3 + ["last"] * 3


def test_a_signal_is_what_f_d_says_beside_f_m():
    """Of what regressions on F_m leave of F_d and of harm, within each generation."""
    rng = np.random.default_rng(0)
    generations, errors = [], []
    for level in (0, 10):  # which must not count
        mismatch, divergence = level + rng.random((2, 30))
        error = mismatch + 0.5 * divergence + rng.random(30)
        generations.append(
            {"mismatch": mismatch, "divergence": divergence, "fitness": mismatch + divergence}
        )
        errors.append({"error": error})
    search = study.Search(generations, None, *errors, best=0)
    (found,) = measures.signals([search]).to_dict("records")
    within = {
        name: np.concatenate([g[name] - g[name].mean() for g in of])
        for of, names in ((generations, generations[0]), (errors, errors[0]))
        for name in names
    }
    m = within["mismatch"]
    left = [v - m * (m @ v) / (m @ m) for v in (within["divergence"], within["error"])]
    assert found["F_d beside F_m"] == pytest.approx(np.corrcoef(*left)[0, 1])
    assert found["F_m"] == pytest.approx(np.corrcoef(m, within["error"])[0, 1])
    shown = measures.signals_table({1: measures.signals([search, search])})
    assert shown["searches"].tolist() == [2]
    assert shown["F_d beside F_m"][0] == found["F_d beside F_m"]


def test_near_the_edge_is_a_tenth_of_the_side():
    images = split("digits", train=80)  # 8×8: one row and one column at each edge
    at = [0.0, 0.5, 0.99, 0.2]  # rows 0, 4, 7, 1
    rows = [gene for k in range(10) for gene in (at[k % 4], 0.5, 1.0)]
    assert measures.near_edge([rows, rows], 1, images).tolist() == [50, 50]
    columns = [gene for k in range(10) for gene in (0.5, at[k % 4], 1.0)]
    assert measures.near_edge([columns], 1, images).tolist() == [50]
    assert measures.inside(28, 28) == (slice(3, 25), slice(3, 25))
    table = measures.edges_table({"evolved": np.array([40, 60]), "blind": np.ones(3)}, images)
    assert table["near the edge (%)"].tolist() == [50, 1]
    assert table["searches"].tolist() == [2, 3]
    assert set(table["uniform draws (%)"]) == {100 * (1 - 36 / 64)}


def test_edges_are_those_of_the_searches_and_of_blind_ones(computed):
    found = measures.edges(config(), computed)
    chosen = [computed.searches[study.Aim(1, "adam", k)].chosen["genome"] for k in (1, 2)]
    assert found["evolved"].tolist() == measures.near_edge(chosen, 1, computed.split).tolist()
    assert len(found["blind"]) == NOTEBOOK["uniforms"]


def test_sharpness_in_balls_of_one_radius():
    """Read off between the measured radii, where it grows as a power of the radius."""
    line = {"norm": np.array([10.0, 20.0]), "sharpness": [[r**2 for r in study.RADII]] * 2}
    assert measures._sharpness(line, 1, 20 * study.RADII[0]) == pytest.approx(study.RADII[0] ** 2)
    wanted = (2 * study.RADII[0]) ** 2
    assert measures._sharpness(line, 0, 20 * study.RADII[0]) == pytest.approx(wanted)


def test_tables_hold_every_kind(curves, augmented):
    small, large = tables.final(curves), tables.final(augmented)
    assert set(large["noise"]) == {
        "clean", "left column [7]", "One-Pixel Shortcut", "uniform Np = 1", "evolved Np = 1 (Adam)",
        "evolved Np = 2 (Adam)",
    }  # fmt: skip
    counts = tables.summary(large, ["noise", "net"]).set_index("noise")["repeats"]
    assert set(counts.drop("evolved Np = 2 (Adam)")) == {2}
    assert set(tables.evolved(small, "adam")["optimizer"]) == {"adam", "sgd"}
    assert len(tables.evolved(small, "sgd")) == 4
    assert len(tables.evolved(small, "adam", method=study.PLAIN)) == 2
    assert len(small[small["kind"] == "uniform"]) == 4
    printed = study.STUDY.printed("1.T1")["noise"].str.replace("evolved Np = 5", "evolved Np = 2")
    assert set(printed) <= set(large["noise"].str.replace(" (Adam)", ""))


def test_the_table_of_trainings_holds_what_the_tasks_computed(computed, curves):
    assert len(curves) == sum(len(t.result["test_accuracy"]) for t in computed.trainings)
    start = 0
    for row in computed.trainings:
        part = curves.iloc[start : start + len(row.result["train_loss"])]
        start += len(part)
        assert part["epoch"].tolist() == list(range(len(part)))
        for field in dataclasses.fields(row):
            if field.name != "result":
                assert set(part[field.name]) == {getattr(row, field.name)}
        assert part["train"].to_numpy() == pytest.approx(
            100 * row.result["train_accuracy"], abs=1e-4
        )
        assert part["test"].to_numpy() == pytest.approx(100 * row.result["test_accuracy"], abs=1e-4)
        assert part["train_loss"].to_numpy() == pytest.approx(row.result["train_loss"])


def test_summaries_are_recomputed_from_the_trainings(computed, curves):
    small = tables.final(curves)
    assert set(small["epoch"]) == {2}
    summary = tables.summary(small, ["noise", "optimizer"])
    for _, row in summary.iterrows():
        alike = [
            t.result
            for t in computed.trainings
            if (t.noise, TITLES[t.optimizer]) == (row["noise"], row["optimizer"])
        ]
        # Both trainings on the noise of each search count once.
        pairs = 2 if row["noise"].startswith(("evolved", "plain", "random")) else 1
        tests = [100 * result["test_accuracy"][-1] for result in alike]
        tests = np.reshape(tests, (-1, pairs)).mean(1)
        assert row["repeats"] == len(tests) > 0
        assert row["accuracy"] == pytest.approx(np.mean(tests), abs=1e-3)
        std = np.std(tests, ddof=1) if len(tests) > 1 else np.nan
        assert row["std"] == pytest.approx(std, abs=1e-3, nan_ok=True)
        trains = [100 * result["train_accuracy"][-1] for result in alike]
        assert row["train"] == pytest.approx(np.mean(trains), abs=1e-3)


def test_line_ends_are_read_off_the_lines(computed):
    ends = measures.line_ends(computed.lines)
    assert ends["optimizer"].tolist() == ["sgd", "adam"] * 4
    assert ends["search"].tolist() == [1, 1, 1, 1, 2, 2, 2, 2]
    lines = [line for of_search in computed.lines for line in of_search for _ in range(2)]
    for line, (_, row) in zip(lines, ends.iterrows(), strict=True):
        alpha = row["optimizer"] == "adam"
        (place,) = np.flatnonzero(line["alpha"] == alpha)
        for column, at in {"rise": (-0.25, 1.25), "rise inwards": (0.25, 0.75)}.items():
            loss = np.interp(at[int(alpha)], line["alpha"], line["train_loss"])
            assert row[column] == pytest.approx(loss - line["train_loss"][place])
        for radius, value in zip(study.RADII, line["sharpness"][int(alpha)], strict=True):
            assert row[f"sharpness at {1000 * radius:g} ‰"] == value
        assert row["‖w‖"] == line["norm"][int(alpha)]
        for part in ("train", "test"):
            assert row[f"{part} loss"] == pytest.approx(line[f"{part}_loss"][place])
        assert row["test"] == pytest.approx(100 * line["test_accuracy"][place])
        assert row["train"] == pytest.approx(100 * line["train_accuracy"][place])


def test_measured_otherwise(computed, curves):
    """Uniform draws against both other searches, and sharpness of both ends, search by search."""
    small, ends = tables.final(curves), measures.line_ends(computed.lines)
    frame = measures.otherwise(config(), small, ends)
    rows = {what: numbers for what, *numbers in frame.itertuples(index=False)}
    by_adam = small[small["optimizer"] == "adam"]
    draws = by_adam.loc[by_adam["kind"] == "uniform", "test"]
    for method, name in ((study.PLAIN, "the plain reading"), (study.RANDOM, "random search")):
        found = by_adam.loc[by_adam["method"] == method, "test"]
        assert rows[f"1.C2, uniform − {name} (%)"][0] == pytest.approx(draws.mean() - found.mean())
    sharp = [line["sharpness"][:, 0] for of_search in computed.lines for line in of_search]
    sgd, adam = np.reshape(sharp, (2, 2, 2)).mean(1).T
    mean, low, high = rows[f"1.C7, sharpness at {1000 * study.RADII[0]:g} ‰: SGD − Adam"]
    assert (mean, low, high) == pytest.approx(results.mean_interval(sgd - adam))
    assert len(rows) == 2 + 1 + len(study.RADII) + 1


def test_backgrounds_are_compared_on_the_same_images():
    nan = np.nan
    one = {"clean": np.array([0.2, 0.9, nan]), "perturbed": np.array([0.4, nan, 0.8])}
    two = {"clean": np.array([0.4, 0.6]), "perturbed": np.array([0.5, 0.9])}
    assert measures.shares([one]) == pytest.approx([20, 40])
    assert measures.shares([one, two]) == pytest.approx([35, 55])  # each training counts once


def test_every_table_of_the_notebook_can_be_made(computed, curves, courses, augmented):
    """From the results of the tasks: a renamed column fails here, not in a slow notebook."""
    c, final = config(), tables.final(curves)
    compared = tables.compared(c, final)
    assert compared["optimizer"].drop_duplicates().tolist() == ["adam", "sgd"]
    of_adam = compared[compared["optimizer"] == "adam"]
    assert of_adam["kind"].drop_duplicates().tolist() == list(tables.KINDS)
    assert set(of_adam["method"]) == {"", study.OURS, study.PLAIN, study.RANDOM}
    assert len(tables.summary(compared, ["optimizer", "noise"])) == 9 + 6
    names = set(tables.augmented(tables.final(augmented))["noise"])
    assert names >= {"evolved Np = 1", "uniform Np = 1", "left column [7]"}
    for pixels, runs in ((1, 4), (2, 2)):
        for epochs, values in tables.per_epoch(c, curves, pixels).values():
            assert list(epochs) == [0, 1, 2]
            assert values.shape == (runs, 3)
    of_search = tables.by_search(c, tables.final(courses))
    assert len(of_search) == 5 * (2 + 1)  # optimizers, searches
    assert len(tables.summary(of_search, ["pixels", "optimizer"])) == 5 * 2
    assert len(tables.crossed(c, final)) == 2 * 2
    equal = tables.matched(tables.evolved(courses, "adam"), c.rates)
    assert tables.at_equal_training(equal)["searches"].tolist() == [2] * 5 + [1] * 5
    baselines = measures.scores_of_baselines(computed)
    assert list(baselines) == ["noise", "F", "F_m", "F_d"]
    assert len(baselines) == 3
    assert measures.best_so_far(measures.by_pixels(computed.searches)[1]).shape == (2, 2)
    assert measures.on_background(computed.backgrounds)["searches"].tolist() == [2, 2]
    assert measures.of_ends(measures.line_ends(computed.lines))["searches"].tolist() == [2, 2]
    assert measures.along(computed.lines, "train_loss").shape[0] == 2


def test_grad_cams_background_is_a_share(computed):
    for of_search in computed.backgrounds:
        for shares in of_search:
            for kind in ("clean", "perturbed", "dark"):
                assert np.nanmin(shares[kind]) >= 0
                assert np.nanmax(shares[kind]) <= 1
            assert not np.array_equal(shares["clean"], shares["perturbed"])


def test_shown_grad_cams_are_those_whose_background_is_measured():
    """Of one image of each class the mean is its own map, whose share must be the same."""
    options = {
        "split": split("digits", train=80, test=60), "noise": noises.uniform(2, 1), "images": 1,
        "net": "graynet", "lr": 1e-3, "epochs": 1, "batch_size": 20, "repeat": 3,
    }  # fmt: skip
    shown, measured = made.grad_cam(**options), made.background(**options)
    image = torch.tensor(shown["image"])
    assert np.allclose((image < explain.DARK).float().mean((1, 2, 3)), measured["dark"])
    for kind in ("clean", "perturbed"):
        share = explain.background_share(torch.tensor(shown[kind]), image)
        assert np.allclose(share, measured[kind], atol=1e-5, equal_nan=True)
    assert not np.array_equal(shown["clean"], shown["perturbed"])


def test_circles_are_at_the_pixels_of_all_channels():
    noise = torch.zeros(2, 3, 4, 4)
    noise[0, 2, 1, 3], noise[1, 0, 0, 0], noise[1, 1, 2, 2] = -0.5, 0.1, 1
    assert drawings.circles(noise) == [[(1, 3)], [(0, 0), (2, 2)]]


def test_the_pictures_can_be_drawn(computed):
    figure = drawings.progress(tables.by_kind(computed.searches))
    assert [axis.get_title() for axis in figure.axes if axis.get_title()] == [
        "MDD-ES, Np = 1, against Adam", "MDD-ES, Np = 2, against Adam",
        "MDD-ES, Np = 1, against SGD", "Plain, Np = 1, against Adam",
        "Random, Np = 1, against Adam",
    ]  # fmt: skip
    assert figure.axes[-1].get_legend() is not None  # in the place of the sixth panel
    assert {0, 1} <= set(computed.lines[0][0]["alpha"])  # both nets themselves
    circled = drawings.circles(torch.from_numpy(computed.examples[2]["noise"]))
    assert len(circled) == 10
    assert all(1 <= len(places) <= 2 for places in circled)


def test_remarks_tell_saturation_failures_and_ends():
    def generation(fitness, divergence, stopped="", learnt=0.95):
        return {
            "fitness": np.array(fitness), "divergence": np.array(divergence), "stopped": stopped,
            "learnt": np.full(len(fitness), learnt),
        }  # fmt: skip

    generations = [
        generation([0.5, np.nan], [0.4, 0.9]), generation([1.0, 1.0], [1.0, 0.2], "tolx: 1"),
        generation([], [], "tolx: 1"),
    ]  # fmt: skip
    assert list(measures.remarks("s", generations)) == [
        "s: F_d is 1 for 1 of 4 candidates: F_m alone ranks these",
        "s: 1 candidates had no finite loss and ranked last",
        "s: pycma stopped in generation 2 (tolx: 1)",
    ]
    assert list(measures.remarks("s", [generation([0.5], [0.4], learnt=0.3)])) == [
        "s: search nets learn only 30% of their images, so F_m says little"
    ]


def test_the_progress_of_a_search_that_stopped_ends_there():
    names = ("fitness", "mismatch", "divergence")
    scores = [{name: np.array(values) for name in names} for values in ([0.5, 0.7], [])]
    (axis,) = drawings.progress({"s": [scores]}).axes
    assert {tuple(line.get_xdata()) for line in axis.lines if len(line.get_xdata())} == {(1,)}
    plt.close("all")


@pytest.mark.parametrize(
    ("values", "level", "place"),
    [([10, 50, 90], 70, 1.5), ([10, 50, 90], 90, 2.0), ([10, 50], 5, 0.0), ([0, 4, 2, 8], 5, 2.5)],
)
def test_first_reaching(values, level, place):
    epochs = np.arange(len(values))
    assert tables.first_reaching(np.array(values), level, epochs) == place
    assert tables.first_reaching(np.array(values), level, epochs / 4) == place / 4


def curve(optimizer, repeat, train, test, **columns):
    rows = {
        "net": "graynet", "noise": "evolved Np = 1 (Adam)", "kind": "evolved", "pixels": 1,
        "aim": "adam", "method": "MDD-ES", "search": 1, "optimizer": optimizer,
        "repeat": repeat, "epoch": range(len(train)), "train_loss": 0.0,
        "train": train, "test": test,
    }  # fmt: skip
    return pd.DataFrame(rows | columns)


def test_a_slow_optimizer_has_no_lead_at_equal_training_accuracy():
    """Both walk along the same path of (train, test); SGD is only half as far."""
    fast = [10, 60, 100], [10, 80, 40]
    slow = [10, 35, 60], [10, 45, 80]
    table = pd.concat([
        *(curve("adam", repeat, *fast) for repeat in (1, 2)),
        *(curve("sgd", repeat, *slow) for repeat in (1, 2)),
    ])  # fmt: skip
    final = tables.final(table).groupby("optimizer")["test"].mean()
    assert final["sgd"] - final["adam"] == 40
    equal = tables.matched(table, ["adam", "sgd"])
    assert set(equal["train"]) == {60}
    assert equal.groupby("optimizer")["test"].mean().tolist() == [80, 80]
    assert equal.groupby("optimizer")["epoch"].mean().tolist() == [1, 2]


def test_differences_are_taken_search_by_search():
    """Two trainings on the result of one search count once, by their mean."""
    table = pd.concat(
        curve(name, repeat, [0], [value + (-1) ** repeat], search=search)
        for name, values in (("adam", (50, 60, 70)), ("sgd", (55, 66, 77)))
        for search, value in enumerate(values, 1)
        for repeat in (1, 2)
    )
    assert tables.paired(tables.final(table), "optimizer", "sgd", "adam").tolist() == [5, 6, 7]


def test_nets_that_have_not_learnt_decide_nothing():
    table = pd.concat(
        curve(name, repeat, [0, train], [0, test + repeat], search=repeat)
        for name, train, test in (("adam", 99, 50), ("sgd", 12, 10), ("rmsprop", 98, 55))
        for repeat in (1, 2, 3)
    )
    rows = tables.evolved(tables.final(table), "adam")
    judged = claims.each(rows, [("sgd", "adam")], 0.5)
    assert judged.outcome == results.NOT_REPRODUCED
    doubted = claims.if_learnt(rows, judged)
    assert doubted.outcome == results.UNDECIDED
    assert "less than half of the training images learnt: SGD 12 %" in doubted.evidence
    rows = rows[rows["optimizer"] != "sgd"]
    judged = claims.each(rows, [("rmsprop", "adam")], 0.5)
    assert claims.if_learnt(rows, judged) == judged


def test_trainings_on_one_search_are_no_independent_results():
    """With several searches each counts once in 1.C2, however often it was trained on."""

    def rows(kind, values, search=1):
        return pd.concat(
            curve("adam", repeat, [99], [value], kind=kind, search=search)
            for repeat, value in enumerate(values, 1)
        )

    draws = rows("uniform", [80, 81, 82, 83, 84])
    ours = pd.concat([rows("evolved", [50, 52, 54, 56], s) for s in (1, 2, 3)])
    judged = claims._more_harmful(ours, draws, "evolved", "uniform", 0.5)
    assert judged.evidence.startswith("uniform − evolved: 29 points")
    assert "over 5 and 3 runs (too few to decide)" in judged.evidence
    one = claims._more_harmful(ours.query("search == 1"), draws, "a", "b", 0.5)
    assert one.outcome == results.UNDECIDED
    assert "5 and 1 runs" in one.evidence


def test_titles_and_descriptions():
    assert noises.title(noises.evolved(1, "adam", [])) == "evolved Np = 1 (Adam)"
    digits = data.load("digits", train=50)
    for noise in (noises.CLEAN, noises.LEFT, noises.SHORTCUT, noises.uniform(2, 1)):
        eta = noises.make(noise, digits, 0)
        assert eta.shape == (10, 1, 8, 8)
        assert (eta != 0).flatten(1).sum(1).tolist() == [
            {"clean": 0, "uniform": 2}.get(noise["kind"], 1)
        ] * 10
    same = (noises.make(noises.uniform(1, 1), digits, 0) for _ in range(2))
    assert torch.equal(*same)
    first, second = (noises.make(noises.uniform(1, draw), digits, 0) for draw in (1, 2))
    assert not torch.equal(first, second)
    genome = np.linspace(0, 1, 30)
    eta = noises.make(noises.evolved(1, "adam", genome), digits, 0)
    assert torch.equal(eta, perturbations.decode(genome, 10, 1, digits.shape))


def test_flips_belong_to_the_data_sets_that_the_study_names():
    assert study.STUDY.concerns("flips", "cifar10")
    assert not study.STUDY.concerns("flips", "mnist")
    assert not any(t.result.arguments["flip"] for t in [*planned().trainings, *tabled().trainings])
