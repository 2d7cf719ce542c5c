"""The study of neuroevolution with GM: its settings, its plan, its steps, and its claims."""

import dataclasses
import io
import pickle
import time
import types
from concurrent.futures import Executor, Future

import golden
import notebook
import numpy as np
import pandas as pd
import pytest
import torch

import kit
from kit import runtime
from kit.experiments import neuroevolution_gm as study
from kit.experiments.images import split
from kit.experiments.neuroevolution_gm import (
    claims,
    drawings,
    evidence,
    measures,
    roles,
    search_steps,
    searched,
    tables,
    training,
)
from kit.experiments.neuroevolution_gm.roles import (
    BEST,
    MISALIGNED,
    RANDOM,
    REFERENCE,
    RETRAINED,
    SECOND,
)
from kit.harness import results, steps
from kit.neuroevolution import Member, distance, select

NAME = "04_neuroevolution_gm"
TINY = {
    **notebook.parameters(NAME), "runs": 1, "train": 60, "test": 30, "size": 8, "epochs": 1,
    "search_epochs": 1, "search_train": 40, "population": 2, "children": 2, "generations": 2,
    "distance": 1.0, "blocks": 6, "widths": [2, 4], "sources": ["linear"], "strengths": [1.0],
    "pgd_steps": 2, "batch_size": 20, "jobs": 1, "device": "cpu",
}  # fmt: skip
# For each parameter that changes what is computed another value than TINY has.
OTHER = {
    "train": 50, "test": 20, "size": 9, "reference": "hand_b_narrow",
    "hand_engineered": "hand_a_narrow", "sources": ["lenet5"], "epsilon": 0.2, "epsilon_l2": 2.0,
    "pgd_steps": 3, "strength": 0.5,
    "strengths": [0.2], "population": 3, "children": 1, "distance": 1.5,
    "generations": 1, "widths": [3], "blocks": 5, "hold_out": 10,
    "search_train": 30, "search_epochs": 2, "epochs": 2, "more_epochs": 2, "batch_size": 30,
}  # fmt: skip
SPLIT = split("digits", train=60, test=30)
cells = notebook.functions(NAME)


def settings(**change):
    return study.Settings.read(TINY | change)


def planned(**change):
    return study.plan(settings(**change))["digits"]


def keys(tree):
    return {leaf.key for leaf in steps.leaves(tree) if isinstance(leaf, steps.Task)}


@pytest.fixture(scope="module")
def computed():
    return steps.compute(planned(), jobs=1, device="cpu")


@pytest.fixture(scope="module")
def run(computed):
    return computed["reduced"].runs[0]


@pytest.mark.parametrize("name", golden.names("neuroevolution_gm"))
def test_golden(name):
    golden.check(name)


def test_every_golden_file_has_its_step():
    assert golden.recorded("neuroevolution_gm") == golden.names("neuroevolution_gm")


# --- the plan ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OTHER)
def test_every_parameter_changes_what_is_computed(name):
    assert keys(planned(**{name: OTHER[name]})) != keys(planned())
    special = planned(special={"digits": {name: OTHER[name]}})
    assert keys(special) == keys(planned(**{name: OTHER[name]}))


def test_a_child_that_diverged_has_no_fitness_and_never_wins():
    """Otherwise it would be right about all images of class 0."""
    images = split("digits", train=60, test=40)
    common = {
        "split": images, "name": "child 1", "generation": 1, "run": 1, "epochs": 2,
        "batch_size": 20, "optimizer": "sgd", "hold_out": 0, "count": 0,
        "adversarial": images.load().x_test.numpy(), "on_test": images.load().x_test.numpy(),
        "gm": {"gradients": np.zeros((60, 1, 8, 8), "f2"), "strength": 0.5, "variant": "cosine"},
    }  # fmt: skip
    block = {"kind": "conv", "inputs": [0], "channels": 2, "kernel": 3}
    genome, other = [block], [block, {"kind": "pool", "inputs": [1], "pool": "max"}]
    bad = search_steps.child(genome=genome, lr=1e30, **common)
    good = search_steps.child(genome=other, lr=1e-3, **common)
    assert all(np.isnan(bad[name]) for name in ("clean", "adversarial", "fitness", "test_fitness"))
    assert 0 <= good["fitness"] == good["test_fitness"] <= 1
    for born in ([bad, good], [good, bad]):
        best = search_steps.fittest(run=1, previous=None, born=born, count=2)
        assert [net["genome"] for net in best["population"]] == [other, genome]
        last = {"fitness": [net["fitness"] for net in born], "genomes": [genome, other]}
        place = search_steps.finalist(run=1, rank=0, weights=born, **last)["place"]
        assert born[place] is good


def test_children_train_longer_in_later_generations():
    c = settings(search_epochs=20)
    assert [c.child_epochs(g) for g in (1, 10, 11, 20, 21, 50)] == [20, 20, 25, 25, 30, 40]


def test_every_attack_has_its_size():
    """FGSM's is raised, as in the paper."""
    c, attacks = settings(), planned()["reduced"].runs[0].attacks
    sizes = {"L∞-PGD": c.epsilon, "L2-PGD": c.epsilon_l2, "FGSM": 2 * c.epsilon}
    assert {method: attacks[method].arguments["eps"] for method in sizes} == sizes


def test_without_full_both_scales_are_the_same_tasks():
    both = planned()
    assert keys(both["full"]) == keys(both["reduced"])
    apart = planned(full={"epsilon": 0.2})
    assert keys(apart["reduced"]) == keys(both["reduced"])
    # What the paper shows on the reduced data alone is not computed on the full.
    (run,), (same,) = apart["full"].runs, planned(epsilon=0.2)["full"].runs
    assert run == dataclasses.replace(same, defenses={}, sweep={})
    assert keys(run) < keys(same)


def test_more_runs_keep_the_first_ones():
    assert keys(planned()) < keys(planned(runs=2))


def test_a_longer_search_keeps_the_first_generations():
    short, longer = (planned(generations=g)["reduced"].runs[0] for g in (1, 2))
    assert keys(short.search) < keys(longer.search)
    assert keys(short.children) < keys(longer.children)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"population": 1}, "population is 1: use a whole number from 2 to 10000"),
        ({"strength": -1.0}, "strength is -1.0: "),
        ({"epsilon": 0.0}, r"epsilon is 0.0: it must be in \(0, 1\]"),
        ({"epsilon": 1.5}, r"epsilon is 1.5: it must be in \(0, 1\]"),
        ({"distance": 50.0}, r"distance is 50: .* were at most .* apart"),
        ({"reference": "vgg"}, "Unknown net 'vgg' in reference"),
        ({"hold_out": 60}, "hold_out is 60: use fewer than the 60 training images of digits"),
        ({"full": {"eps": 1}}, "full has 'eps': allowed are "),
        ({"full": {"epochs": 0}}, "full: epochs is 0: "),
        ({"full": {"runs": 2}}, "full has 'runs'"),
    ],
)
def test_bad_input_is_one_sentence(change, message):
    with pytest.raises(ValueError, match=message) as error:
        study.plan(settings(**change))
    assert "\n" not in str(error.value)


def test_the_data_of_the_search_are_split_anew_for_the_transfer(computed):
    scale = computed["reduced"]
    ours, theirs = (s.load(device="cpu") for s in (scale.split, scale.transfer["digits"]))
    assert len(ours.x_train) == len(theirs.x_train)
    seen = {x.tobytes() for x in ours.x_train.numpy()}
    assert sum(x.tobytes() in seen for x in theirs.x_test.numpy()) > 0  # shuffled into new ones


def test_labels_are_for_readers_alone(monkeypatch):
    """A row may be called otherwise: no task, key or seed knows."""
    before = planned(runs=2)
    other = {part: f"another {part}" for part in roles.LABELS}
    monkeypatch.setattr(roles, "LABELS", other)
    assert roles.label(BEST) == "another evolved 1"
    assert planned(runs=2) == before


def test_words_of_tasks_stay():
    """Other words would be other keys and other seeds: committed results could not be read."""
    (run,) = planned()["reduced"].runs
    named = [*run.nets.values(), *run.defenses.values()]
    assert [net.examined.arguments["name"] for net in named] == [
        "Ref", "Ref retrained", "Ref+GM", "HE+GM", "NE+GM 1", "NE+GM 2", "Random+GM",
        "Ref, JPEG", "Ref, bilateral", "Ref, free AT", "Ref, fast AT",
    ]  # fmt: skip
    tried = [run.children[0][0], run.random[2], run.again[1]]
    names = ["child 1", "random 3", "random, once more, 2"]
    assert [task.arguments["name"] for task in tried] == names
    last = [nets[1].arguments["name"] for nets in run.finalists.values()]
    assert last == ["finalist 2", "random finalist 2"]
    made = [*run.white_box.values(), run.attacks["linear"]]
    assert [task.arguments["name"] for task in made] == [
        "Ref", "Ref+GM", "NE+GM 1", "NE+GM 2", "linear"
    ]  # fmt: skip
    twins = [twin.arguments["images"]["twin"].task for twin in run.twins.values()]
    assert [task.arguments["name"] for task in twins] == ["Ref's twin", "NE+GM 1's twin"]


# --- the search --------------------------------------------------------------------------------


def test_the_search_is_algorithm_1(run):
    """Replayed from the children's stored accuracies."""
    born = run.children[0]
    population = [Member(child["genome"], child["fitness"], 0) for child in born]
    gaps = [distance(a.genome, b.genome) for k, a in enumerate(population) for b in population[:k]]
    assert min(gaps) >= 1
    for number, (born, selection) in enumerate(zip(run.children, run.search, strict=True)):
        for child in born:
            assert child["fitness"] == min(child["clean"], child["adversarial"])
        if number:
            new = [Member(child["genome"], child["fitness"], number) for child in born]
            population, replaced = select(population, new)
            assert selection["replaced"] == replaced
        assert selection["population"] == [dataclasses.asdict(m) for m in population]
    for before, born in zip(run.search[:-1], run.children[1:], strict=True):
        assert [child["genome"] for child in born] == before["genomes"]


def test_as_many_random_architectures_are_tried(run):
    assert len(run.random) == sum(map(len, run.children))
    order = sorted((child["fitness"] for child in run.random), reverse=True)
    finals = [net["genome"] for net in run.finalists["random"]]
    assert len(finals) == settings().population
    tried = {str(child["genome"]): child["fitness"] for child in run.random}
    assert [tried[str(genome)] for genome in finals] == order[: len(finals)]


def test_the_same_genomes_are_trained_once_more_from_other_weights(run):
    first = run.random[: len(run.again)]
    assert [net["genome"] for net in run.again] == [net["genome"] for net in first]
    for one, other in zip(first, run.again, strict=True):
        head = [name for name in one["weights"] if name.startswith("head")]
        assert all(np.any(one["weights"][name] != other["weights"][name]) for name in head)


def test_the_whole_last_population_is_trained_to_the_end_and_the_best_reported(run):
    for kind, roles_of_kind in (("evolved", (BEST, SECOND)), ("random", (RANDOM,))):
        judged = run.finalists[kind]
        fitness = [net["fitness"] for net in judged]
        ranked = [run.nets[role].trained for role in roles_of_kind]
        assert [net["fitness"] for net in ranked] == sorted(fitness, reverse=True)[: len(ranked)]
        for net in ranked:
            assert judged[net["place"]]["genome"] == net["genome"]
    population = [net["genome"] for net in run.search[-1]["population"]]
    assert [net["genome"] for net in run.finalists["evolved"]] == population


def test_the_last_population_goes_on_from_the_weights_of_its_search():
    (anew,), (on,) = (planned(more_epochs=k)["reduced"].runs for k in (0, 3))
    assert keys([anew.search, anew.nets[MISALIGNED]]) == keys([on.search, on.nets[MISALIGNED]])
    for kind in ("evolved", "random"):
        for k, judged in enumerate(on.finalists[kind]):
            trained = judged.arguments["weights"].task
            assert trained.arguments["weights"].path == ("weights", k)
            assert trained.arguments["epochs"] == 3
            before = anew.finalists[kind][k].arguments["weights"].task
            assert "weights" not in before.arguments
            assert before.arguments["net"] == trained.arguments["net"]


def test_weights_follow_their_nets_through_the_selections(run):
    """A candidate keeps its weights until a child takes its place."""
    weights = [child["weights"] for child in run.children[0]]
    for born, selection in zip(run.children[1:], run.search[1:], strict=True):
        for child, place in zip(born, selection["replaced"], strict=True):
            if place >= 0:
                weights[place] = child["weights"]
        for ours, theirs in zip(weights, selection["weights"], strict=True):
            assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


class Stopping(Executor):
    """Sends everything through pickle, both ways; is killed at a task, as if by the user."""

    def __init__(self, after):
        self.left = after

    def submit(self, function, /, *arguments, **options):
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        call = pickle.loads(pickle.dumps((function, arguments, options)))
        future = Future()
        future.set_result(pickle.loads(pickle.dumps(call[0](*call[1], **call[2]))))
        return future


def test_killed_and_resumed_elsewhere_it_ends_the_same(store, run):
    searches = planned()["reduced"].runs[0]
    wanted = [searches.search, searches.children]
    with pytest.raises(steps.Interrupted):
        steps.compute(wanted, executor=Stopping(9), device="cpu")
    kept = {path: path.stat().st_mtime_ns for path in store.glob("*/[!.]*.json")}
    assert len(kept) == 9
    again, children = steps.compute(wanted, executor=Stopping(1000), device="cpu")
    assert kept == {path: path.stat().st_mtime_ns for path in kept}  # not computed again
    pairs = [*zip(again, run.search, strict=True)]
    for ours, theirs in zip(children, run.children, strict=True):
        pairs += zip(ours, theirs, strict=True)
    for ours, theirs in pairs:
        np.testing.assert_equal(dict(ours), dict(theirs))


def test_a_held_out_fitness_sees_no_test_image():
    """Other test labels change the fitness on the test set, not that on held-out images."""

    class Loaded:
        """A split of images that are there."""

        seed = 0

        def __init__(self, data):
            self.data = data

        def load(self):
            return self.data

    data = kit.data.load("digits", train=60, test=30)
    other = dataclasses.replace(data, x_test=data.x_test.flip(0), y_test=data.y_test.roll(1))
    genome = kit.nets.HAND_ENGINEERED["hand_a_narrow"]
    fitness = {}
    for hold_out in (0, 20):
        x = data.x_train[:20] if hold_out else data.x_test
        gm = {"gradients": np.zeros((60 - hold_out, 1, 8, 8), "f2"), "strength": 1.0}
        fitness[hold_out] = [
            search_steps.child(
                split=Loaded(images),
                name="child 1",
                genome=genome,
                generation=1,
                run=1,
                epochs=3,
                batch_size=20,
                optimizer="adam",
                lr=1e-2,
                hold_out=hold_out,
                count=0,
                gm=gm | {"variant": "cosine"},
                adversarial=x.numpy(),
                on_test=images.x_test.numpy(),
            )["clean"]
            for images in (data, other)
        ]
    assert fitness[0][0] != fitness[0][1]
    assert fitness[20][0] == fitness[20][1]


def test_images_sorted_by_class_are_refused_where_the_first_ones_count():
    """Some classes would be missing among them."""
    data = kit.data.load("digits", train=60, test=30)
    order = data.y_train.argsort(stable=True)
    data = dataclasses.replace(data, x_train=data.x_train[order], y_train=data.y_train[order])
    for first in ({"hold_out": 20}, {"hold_out": 0, "count": 20}):
        with pytest.raises(ValueError, match="lie sorted by class, and search_train and hold_out"):
            training.trained_on(data, **first)
    assert len(training.trained_on(data, hold_out=0)[0]) == 60


# --- the steps ---------------------------------------------------------------------------------


def test_adversarial_examples_stay_in_their_balls_and_are_the_references(computed, run):
    data = computed["reduced"].split.load(device="cpu")
    clean, c = data.x_test.numpy(), settings()
    sizes = {"L∞-PGD": c.epsilon, "FGSM": 2 * c.epsilon, "linear": c.epsilon}
    for name, attack in run.attacks.items():
        change = attack["images"] - clean
        if name == "L2-PGD":
            assert np.sqrt((change**2).sum((1, 2, 3))).max() <= c.epsilon_l2 + 1e-5
        else:
            assert np.abs(change).max() <= sizes[name] + 1e-6
    reference = run.nets[REFERENCE]
    weights = reference.trained["weights"]
    model = kit.nets.restore("hand_a_narrow", data.shape, data.classes, weights)
    again = kit.attacks.pgd(
        model,
        data.x_test,
        data.y_test,
        eps=c.epsilon,
        steps=2,
        step_size=2 * c.epsilon,
        seed=runtime.derive_seed(0, "pgd", 1),
    )
    np.testing.assert_allclose(run.attacks["L∞-PGD"]["images"], again.numpy(), atol=1e-6)


def test_a_net_is_examined_on_what_it_says(computed, run):
    data = computed["reduced"].split.load(device="cpu")
    net = run.nets[BEST]
    model = kit.nets.restore(net.genome, data.shape, data.classes, net.trained["weights"])
    np.testing.assert_array_equal(
        net.examined["clean"], kit.training.predict(model, data.x_test).numpy()
    )
    np.testing.assert_array_equal(net.examined["true"], data.y_test.numpy())
    assert set(net.examined["adversarial"]) == {"L∞-PGD", "L2-PGD", "FGSM", "linear"}
    assert net.examined["cosines"].shape == (30,)


def test_plain_nets_start_from_other_weights_than_the_reference(run):
    weights = [run.nets[role].trained["weights"] for role in (REFERENCE, RETRAINED, MISALIGNED)]
    first = [w["head.4.weight"] for w in weights]
    assert not np.allclose(first[0], first[1])
    assert not np.allclose(first[1], first[2])
    np.testing.assert_allclose(run.nets[REFERENCE].examined["cosines"], 1, atol=2e-3)


def test_filters_stand_before_the_reference(computed, run):
    """Its own weights, on images that pass the filter; adversarial training has other weights."""
    data = computed["reduced"].split.load(device="cpu")
    ref = run.nets[REFERENCE]
    model = kit.nets.restore(ref.genome, data.shape, data.classes, ref.trained["weights"])
    examples = torch.from_numpy(run.attacks["L∞-PGD"]["images"])
    functions = (kit.defenses.jpeg, kit.defenses.bilateral)
    for role, function in zip(roles.FILTERED, functions, strict=True):
        e = run.defenses[role].examined
        for labels, x in ((e["clean"], data.x_test), (e["adversarial"]["L∞-PGD"], examples)):
            expected = kit.training.predict(model, function(x)).numpy()
            np.testing.assert_array_equal(labels, expected)
    for role in roles.HARDENED:
        weights = run.defenses[role].trained["weights"]
        assert not np.allclose(weights["head.4.weight"], ref.trained["weights"]["head.4.weight"])


# --- what the notebook reads off ----------------------------------------------------------------


def example(clean, adversarial, true=(0, 1, 2, 3)):
    return {
        "true": np.array(true), "clean": np.array(clean),
        "adversarial": {"L∞-PGD": np.array(adversarial)},
    }  # fmt: skip


def test_fooling_rates_count_what_they_say():
    reference = example([0, 1, 2, 0], [1, 0, 0, 0])  # right on the first three
    net = example([0, 1, 0, 3], [0, 2, 2, 1])  # right on 0, 1, 3
    rates = cells.fooling_rates(net, reference, "L∞-PGD")
    assert rates["both right"] == 50  # of images 0 and 1 the second
    assert rates["clean errors counted"] == pytest.approx(100 / 3)  # of 0, 1, 2 the second
    nothing = cells.fooling_rates(net, example([1, 0, 0, 0], [1, 0, 0, 0]), "L∞-PGD")
    assert np.isnan(nothing["both right"])


def test_the_epsilon_of_a_level_lies_between_its_neighbours():
    eps, accuracy = np.array([0, 0.1, 0.2]), np.array([90.0, 40.0, 0.0])
    assert measures.epsilon_at(20, eps, accuracy) == pytest.approx(0.15)
    assert np.isnan(measures.epsilon_at(-1, eps, accuracy))
    assert np.isnan(measures.epsilon_at(95, eps, accuracy))


def test_accuracies_by_net_and_images(run):
    table = measures.accuracies(run.nets.values())
    assert set(table["net"]) == set(map(roles.label, roles.COMPARED))
    of_ref = table[table["net"] == "Ref"].set_index("images")["accuracy"]
    e = run.nets[REFERENCE].examined
    assert of_ref["clean"] == pytest.approx(100 * np.mean(e["clean"] == e["true"]))
    assert of_ref["FGSM"] == pytest.approx(100 * np.mean(e["adversarial"]["FGSM"] == e["true"]))


def test_every_claim_is_judged_on_the_tables_of_the_runs(computed, run):
    """What the claims read is what the tables show, before the images are drawn anew."""
    c = settings()
    gathered = evidence.gathered(computed, c, cells.fooling_rates)
    judged = [claim for claim, *_ in claims.verdicts(c.sources, gathered)]
    assert set(judged) == set(study.STUDY.claims)
    shown = {
        "full": measures.accuracies(run.nets.values()), "beside": measures.beside_defenses(run),
        "fooled": measures.fooled(run, cells.fooling_rates), "against": measures.defended(run),
        "stronger": measures.own_and_twin(run), "swept": measures.sweep(run),
        "elsewhere": measures.on_other_examples(run, c.sources),
        "maps": measures.map_distances([run]),
    }  # fmt: skip
    for name, table in shown.items():
        first = getattr(gathered, name).drop(columns="run").map(lambda cell: np.ravel(cell)[0])
        table = table.drop(columns="run", errors="ignore").reset_index(drop=True)
        pd.testing.assert_frame_equal(first.infer_objects(), table, check_dtype=False)
    assert gathered.comparable == []
    assert list(gathered.carried) == ["reduced"]  # the full data were not run


def test_tables_have_a_row_for_each_of_their_nets(computed, run):
    scale = computed["reduced"]
    by = {"fooled": ["attack", "net"], "swept": ["variant", "strength"]}
    shown = {
        "fooled": measures.fooled(run, cells.fooling_rates), "against": measures.defended(run),
        "stronger": measures.own_and_twin(run), "swept": measures.sweep(run),
    }  # fmt: skip
    for name, table in shown.items():
        columns = by.get(name, ["net"])
        mean = tables.mean_and_std(tables.over_runs([table]), columns)
        assert len(mean) == len(table.drop_duplicates(columns))
        assert set(mean) - {f"{column} std" for column in table} == set(table)
    carried = tables.wide(measures.transferred(scale), ["dataset", "net"])
    assert list(carried["net"]) == [roles.label(role) for role in run.transfer["digits"]]


def test_other_nets_examples_are_the_papers_grid(run):
    """A row for each source and a column for each net, as the printed values beside them."""
    table = tables.over_runs([measures.accuracies(run.nets.values())] * 2)
    grid = tables.on_other_nets(table, ["linear"])
    nets = ["Ref", "Ref+GM", "NE+GM 1"]
    assert list(grid) == ["source", *(f"{net}{end}" for net in nets for end in ("", " std"))]
    assert list(grid["source"]) == ["linear"]
    of_ref = table[(table["net"] == "Ref") & (table["images"] == "linear")]["accuracy"]
    assert grid.loc[0, "Ref"] == of_ref.iloc[0]
    beside = results.beside_printed(study.STUDY.printed("4.T2"), grid.assign(source="vgg11"))
    assert list(beside.filter(like="printed").loc[0]) == [42.98, 52.35, 55.23]


def test_sources_keep_their_order():
    rows = [
        (net, source, run, 1.0)
        for net in ("Ref", "Ref+GM", "NE+GM 1")
        for source in ("vgg11", "resnet18")
        for run in (1, 2)
    ]
    table = pd.DataFrame(rows, columns=["net", "images", "run", "accuracy"])
    for sources in (["vgg11", "resnet18"], ["resnet18", "vgg11"]):
        assert list(tables.on_other_nets(table, sources)["source"]) == sources


def test_of_two_nets_count_the_images_that_both_get_right():
    """Right alike, and fooled, so that a net with more clean errors has no advantage."""
    a = net(example([0, 1, 2, 0], [0, 0, 0, 0]), "reference")  # right on 0, 1, 2; then on 0
    b = net(example([0, 1, 0, 3], [0, 1, 0, 0]), "misaligned")  # right on 0, 1, 3; then on 0, 1
    (row,) = measures.pairwise([(a, b)], ["L∞-PGD"]).to_dict("records")
    assert (row["net fooled"], row["other fooled"], row["difference"]) == (50, 0, -50)
    also = net(example([9, 1, 2, 3], [9, 1, 2, 3]), "evolved")
    (row,) = measures.pairwise([(a, b)], ["L∞-PGD"], right=[also]).to_dict("records")
    assert (row["net fooled"], row["other fooled"]) == (100, 0)  # image 1 alone


def net(examined, part):
    return study.Net(roles.Role(part), "linear", None, examined)


def test_defenses_meet_images_that_the_reference_gets_right(run):
    examined = {
        REFERENCE: example([0, 9, 2, 3], [9, 9, 9, 9]),
        BEST: example([0, 1, 2, 9], [0, 9, 2, 9]),
        roles.HARDENED[1]: example([0, 1, 2, 3], [9, 1, 9, 3]),
    }
    made = {role: study.Net(role, "linear", None, each) for role, each in examined.items()}
    fast = {roles.HARDENED[1]: made.pop(roles.HARDENED[1])}
    (row,) = measures.beside_defenses(dataclasses.replace(run, nets=made, defenses=fast)).to_dict(
        "records"
    )
    assert (row["net"], row["other net"]) == ("NE+GM 1", "Ref, fast AT")
    assert (row["net fooled"], row["other fooled"]) == (0, 100)  # of images 0 and 2


def test_the_luck_of_the_images_is_what_the_runs_share():
    """The mean over runs varies from draw to draw as their common images make it."""
    rng = np.random.default_rng(0)
    images = np.where(rng.random(1000) < 0.3, 100.0, 0.0)  # wrong for all runs, or right
    draw = evidence.bootstraps(seed=0)
    values = np.array([images[draw(1000)].mean(1) + by for by in (-1, 0, 1)])
    of_runs, shared = evidence.on_new_images(values)
    np.testing.assert_allclose(of_runs, images.mean() + np.array([-1, 0, 1]))
    assert shared == pytest.approx(images.var() / 1000, rel=0.25)
    assert evidence.on_new_images(of_runs)[1] == 0
    values[0, 1:] = np.nan  # a draw may leave a run without a value
    assert evidence.on_new_images(values)[1] == pytest.approx(shared)
    assert np.isnan(evidence.on_new_images(np.full((3, 5), np.nan))[1])


def test_images_are_drawn_alike_for_all_runs():
    draw = evidence.bootstraps(seed=0)
    ids = draw(50)
    np.testing.assert_array_equal(ids, draw(50))
    assert ids.shape == (1 + evidence.DRAWS, 50)
    np.testing.assert_array_equal(ids[0], range(50))
    np.testing.assert_array_equal(ids, evidence.bootstraps(seed=0)(50))
    assert not np.array_equal(ids, evidence.bootstraps(seed=1)(50))
    assert len(np.unique(ids[1])) < 50  # with replacement


def test_plain_references_are_the_control_of_the_maps(run):
    """As far apart as those of two runs; with one run there is none."""
    maps = {role: run.attributions[role]["maps"] for role in run.attributions}
    turned = {role: {"maps": -m} for role, m in maps.items()}
    other = dataclasses.replace(run, attributions=turned)
    table = measures.map_distances([run, other]).set_index(["run", "net"])
    assert table.loc[(1, measures.ANOTHER), "distance"] == pytest.approx(2)
    cosines = run.nets[RETRAINED].examined["cosines"]
    assert table.loc[(1, "Ref retrained"), "cosine"] == pytest.approx(cosines.mean())
    assert measures.ANOTHER not in set(measures.map_distances([run])["net"])


@pytest.mark.parametrize(
    ("name", "train", "scales"),
    [
        ("cifar10", {"full": 50_000, "reduced": 10_000}, ["full", "reduced"]),
        ("cifar10", {"full": 10_000, "reduced": 10_000}, ["reduced"]),
        ("digits", {"full": 50_000, "reduced": 10_000}, []),
    ],
)
def test_printed_values_are_of_the_papers_data_and_sizes(computed, name, train, scales):
    scale, sized = computed["reduced"], {}
    for size, count in train.items():
        about = dataclasses.replace(scale.split.about, train=count)
        images = dataclasses.replace(scale.split, name=name, about=about)
        sized[size] = dataclasses.replace(scale, split=images)
    assert tables.comparable(sized) == scales


def test_what_was_not_run_is_not_shown_twice():
    assert list(tables.scales(settings())) == ["reduced"]
    both = tables.scales(settings(full={"epochs": 3}))
    assert {size: config.epochs for size, config in both.items()} == {"full": 3, "reduced": 1}


def test_what_the_search_chose_is_read_off_its_results(computed, run):
    table = searched.chosen(run, computed["reduced"].split).set_index("net")
    assert list(table.index) == ["Ref+GM", "HE+GM", "NE+GM 1", "NE+GM 2", "Random+GM"]
    for label, role in (("NE+GM 2", SECOND), ("Random+GM", RANDOM)):
        net = run.nets[role]
        assert table.loc[label, "when chosen"] == 100 * net.trained["fitness"]
        of = [*(c for born in run.children for c in born), *run.random]
        before = {str(child["genome"]): 100 * child["fitness"] for child in of}
        assert table.loc[label, "in the search"] == pytest.approx(before[str(net.genome)])
    e = run.nets[BEST].examined
    shares = [np.mean(given == e["true"]) for given in (e["clean"], e["adversarial"]["L∞-PGD"])]
    assert table.loc["NE+GM 1", "in the end"] == pytest.approx(100 * min(shares))
    progress = searched.progress(run)
    assert progress["evolved"][-1] == pytest.approx(
        100 * max(child["fitness"] for born in run.children for child in born)
    )
    assert len(progress["random"]) == len(run.random)
    assert len(searched.replacements(run)) == sum(map(len, run.children[1:]))


def a_search(first, again, clean, adversarial):
    """A run whose random nets have these fitnesses, and are trained once more with those."""
    fits = [
        {"clean": c, "adversarial": a, "fitness": f, "test_fitness": f / 2, "genome": genome}
        for c, a, f, genome in zip(clean, adversarial, first, GENOMES, strict=True)
    ]
    return types.SimpleNamespace(
        children=[],
        random=fits,
        again=[{"fitness": f} for f in again],
        search=[{"population": []}],
        finalists={
            "evolved": [],
            "random": [{"fitness": -f} for f in np.sort(-np.array(first))[:3]],
        },
    )


BLOCK = {"kind": "conv", "inputs": [0], "channels": 2, "kernel": 3}
POOL = {"kind": "pool", "pool": "max"}
GENOMES = [
    [BLOCK],
    [BLOCK, POOL | {"inputs": [1]}],
    [BLOCK, BLOCK | {"inputs": [1]}],
    [BLOCK, BLOCK | {"inputs": [1]}, POOL | {"inputs": [2]}],
]


def test_reliability_is_the_share_of_the_variance_that_is_the_genomes():
    first, again = [0.4, 0.5, 0.6, 0.7], [0.42, 0.48]
    run = a_search(first, again, clean=[0.4, 0.5, 0.7, 0.8], adversarial=[0.9, 0.9, 0.6, 0.7])
    found = searched.trust(run).set_index("quantity")["value"]
    assert found["scatter of a genome's trainings (points)"] == pytest.approx(2 / 2**0.5)
    assert found["scatter of all nets (points)"] == pytest.approx(100 * np.std(first, ddof=1))
    assert found["reliability"] == pytest.approx(1 - 2 / (1e4 * np.var(first, ddof=1)))
    assert found["fitness is the clean accuracy (% of nets)"] == 50
    assert found["correlation with the fitness on test images"] == pytest.approx(1)
    assert found["correlation with the fitness in the end"] == pytest.approx(1)


def test_a_training_that_diverged_says_nothing_of_the_scatter():
    run = a_search([0.4, np.nan, 0.6, 0.7], [0.42, 0.5, 0.6], [0.5] * 4, [0.6] * 4)
    found = searched.trust(run).set_index("quantity")["value"]
    assert found["scatter of a genome's trainings (points)"] == pytest.approx(1)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("again", [[0.5, 0.5], [0.4, 0.6]])
def test_nets_that_are_all_equally_fit_tell_nothing_apart(again):
    run = a_search([0.5] * 4, again, clean=[0.5] * 4, adversarial=[0.6] * 4)
    found = searched.trust(run).set_index("quantity")["value"]
    assert found["reliability"] == 0


def test_traits_are_compared_at_equal_size():
    """Poolings have no parameters: here each costs 0.1, however large the net is."""
    sizes = np.log([searched.parameters(genome, SPLIT) for genome in GENOMES])
    fitness = list(sizes / 10 - 0.1 * np.array([0, 1, 0, 1]))
    run = a_search(fitness, [], fitness, [1.0] * 4)
    table = searched.traits(run, SPLIT).set_index("trait")["fitness"]
    assert table["poolings"] == pytest.approx(-1)
    assert 0 < table["parameters"] < 1
    assert np.isnan(table["sums"])  # there are none


def test_depth_counts_the_longest_way():
    join = {"kind": "sum", "inputs": [1, 3]}
    assert [searched.depth(genome) for genome in GENOMES] == [1, 1, 2, 2]
    assert searched.depth([*GENOMES[3], join, BLOCK | {"inputs": [1]}]) == 2


def test_what_the_reference_withstands(run):
    under = measures.under_attack(run, settings().epsilon, level=23.1)
    assert list(under["quantity"])[-1] == "ε at which it is 23.1 %"
    assert len(under) == 8
    assert set(measures.map_distances([run])["net"]) == {
        "Ref", "Ref+GM", "NE+GM 1", "Ref retrained",
    }  # fmt: skip


def scores(**nets):
    """A table of accuracies; of each net the clean and the adversarial ones of three runs."""
    names = {"ref": "Ref", "ref_gm": "Ref+GM", "he": "HE+GM", "ne": "NE+GM 1", "rnd": "Random+GM"}
    rows = [
        (names[net], images, accuracy, run)
        for net, both in nets.items()
        for images, values in zip(("clean", "L∞-PGD"), both, strict=True)
        for run, accuracy in enumerate(values, 1)
    ]
    return pd.DataFrame(rows, columns=["net", "images", "accuracy", "run"])


@pytest.mark.parametrize(
    ("clean", "wanted"),
    [([79, 80, 81], results.REPRODUCED), ([77, 78, 79], results.NOT_REPRODUCED)],
)
def test_a_claim_needs_all_of_its_parts(clean, wanted):
    table = scores(
        ref=([80, 81, 82], [0, 0, 1]),
        ref_gm=([80, 80, 80], [40, 41, 42]),
        ne=(clean, [50, 52, 51]),
    )
    above = claims._withstands(table, "L∞-PGD", 0.1, claims.NOTHING)
    kept = claims._clean_kept(table, 0.1)
    assert [verdict.outcome for verdict in [*above, kept]] == [results.REPRODUCED] * 2 + [wanted]
    found = results.all_of([*above, kept])
    assert found.outcome == wanted
    assert f"clean, NE+GM 1 − Ref: −{81 - clean[1]} points" in found.evidence


def test_signed_and_absolute_are_compared_at_equal_clean_accuracy():
    rows = [
        (variant, strength, clean, adversarial, run)
        for run in (1, 2, 3)
        for variant, strength, clean, adversarial in (
            ("cosine", 0.0, 90, 10), ("absolute", 0.0, 90, 10), ("absolute", 1.0, 80, 30),
            ("cosine", 0.5, 85, 27 + run / 10), ("cosine", 3.0, 60, 99),  # not covered
        )
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["variant", "strength", "clean", "adversarial", "run"])
    found = claims.signed_against_absolute(table, 0.1)
    assert found.outcome == results.REPRODUCED
    assert "7.2 points" in found.evidence  # 27.2 on average against 20, between 10 and 30
    # Every draw of the images has curves of its own.
    for k, name in enumerate(("clean", "adversarial")):
        table[name] = [np.array([value, value, value + 3 * k]) for value in table[name]]
    signed = table["variant"].eq("cosine")
    table.loc[signed, "adversarial"] = table.loc[signed, "adversarial"].map(
        lambda cell: cell + np.array([0, 0, 2])
    )
    (part,) = claims.signed_against_absolute(table, 0.1).parts
    assert part.estimate.value == pytest.approx(7.2)
    assert part.estimate.shared == pytest.approx(2)  # of 7.2 and 9.2


def test_wide_keeps_the_order_and_counts_the_runs():
    table = scores(ref=([1, 2, 3], [0, 0, 0]), ne=([4, 4, 4], [1, 2, 3]))
    out = tables.wide(table)
    assert list(out["net"]) == ["Ref", "NE+GM 1"]
    assert list(out["clean"]) == [2, 4]
    assert list(out["adversarial std"]) == [0, 1]


# --- pictures ------------------------------------------------------------------------------------


def test_the_ceiling_shows_a_net_at_its_strength_and_answers_within_half_a_second():
    cosines = {0.0: torch.tensor([0.9, 0.7, 0.8]), 0.5: torch.tensor([-0.1, 0.1, -0.3])}
    right = {"clean images": {0.0: 0.9, 0.5: 0.8}, "attacked ones": {0.0: 0.2, 0.5: 0.7}}
    draw = drawings.ceiling(cosines, right)
    started = time.process_time()
    figure = draw(0.5)
    figure.savefig(io.BytesIO())
    assert time.process_time() - started < 0.5
    said = "mean cosine -0.10, right on 80.0% of the clean images and 70.0% of the attacked ones"
    assert figure.get_suptitle() == f"λ = 0.5: {said}"
    turned, curves = figure.axes
    (bars,) = turned.patches
    counts, edges, _ = bars.get_data()
    assert counts.sum() == 3
    assert edges[:-1][counts > 0].max() < 0.2
    marked = [line.get_xydata()[0] for line in curves.lines if len(line.get_xdata()) == 1]
    np.testing.assert_allclose(marked, [(0.5, 80), (0.5, 70)])
    assert draw(0.0).axes[0].get_ylim() == turned.get_ylim()  # so that they compare


def drawn(axis):
    """What the labelled curves of a panel show."""
    return {line.get_label(): line.get_xydata().tolist() for line in axis.lines}


def test_progress_is_drawn_over_all_nets_that_were_tried(run):
    (axis,) = drawings.progress([run, run]).axes
    for kind, best in searched.progress(run).items():
        assert drawn(axis)[kind] == [[k, value] for k, value in enumerate(best, 1)]


def test_maps_are_drawn_over_their_images(run):
    figure = drawings.attributions(run, list("0123456789"))
    panels, images = figure.axes[:-1], run.attributions[REFERENCE]["images"]  # the last: a scale
    assert len(panels) == len(images) * (1 + len(run.attributions))
    beneath, shown = panels[-1].images  # NE+GM 1's map of the last image
    np.testing.assert_allclose(beneath.get_array(), images[-1].mean(0))
    maps = measures.scaled(run.attributions[BEST]["maps"])
    np.testing.assert_allclose(shown.get_array(), maps[-1])


def test_both_variants_are_drawn_by_strength(run):
    table = tables.over_runs([measures.sweep(run)])
    panels = drawings.swept(table, [1.0]).axes
    for axis, quantity in zip(panels, ("clean", "adversarial"), strict=True):
        for variant in ("cosine", "absolute"):
            rows = table[table["variant"] == variant]
            assert drawn(axis)[variant] == rows[["strength", quantity]].to_numpy().tolist()


def test_the_architectures_by_hand_stand_beside_the_evolved_ones(computed):
    figure = drawings.by_hand_and_evolved(computed["reduced"], ["hand_a", "lenet5"])
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["hand_a", "NE+GM 1, run 1", "NE+GM 2, run 1"]  # lenet5 is no genome
