"""Genomes, mutations, and Algorithm 1."""

import json
import math
import re
import warnings

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import kit
from kit.nets.genome import HAND_ENGINEERED, KINDS, shapes
from kit.neuroevolution import (
    MUTATIONS,
    Member,
    Space,
    distance,
    evolve,
    fitness,
    initial,
    mutate,
    offspring,
    random_genome,
    select,
    spectrum,
)
from kit.neuroevolution.algorithm import rank
from kit.neuroevolution.mutation import mutate_once

SMALL = Space(widths=(2, 3, 4), kernels=(1, 3), side=8, blocks=9)


def conv(*inputs, channels=4, kernel=3):
    return {"kind": "conv", "inputs": list(inputs), "channels": channels, "kernel": kernel}


def pool(*inputs):
    return {"kind": "pool", "inputs": list(inputs), "pool": "max"}


def join(kind, *inputs):
    return {"kind": kind, "inputs": list(inputs)}


def graph(genome):
    """The genome as a graph, in which the order of independent blocks does not show."""
    out = nx.DiGraph()
    out.add_node(0, what="image")
    for number, block in enumerate(genome, 1):
        what = {k: v for k, v in block.items() if k != "inputs"}
        out.add_node(number, what=json.dumps(what, sort_keys=True))
        out.add_edges_from((k, number) for k in block["inputs"])
    return out


def same(a, b):
    def alike(x, y):
        return x["what"] == y["what"]

    return nx.is_isomorphic(graph(a), graph(b), node_match=alike)


@pytest.mark.parametrize("size", [(8, 8), (9, 13)])
def test_a_strided_convolution_of_one_pixel_is_pytorchs(size):
    genome = [{"kind": "strided", "inputs": [0], "channels": 5, "kernel": 1}]
    block = kit.neuroevolution.build(genome, (3, *size), 3).blocks[0]
    x = torch.rand(2, 3, *size)
    *before, convolution = list(block)[:-2]  # without batch norm and ReLU
    assert convolution.stride == (1, 1)  # PyTorch's strided one corrupts memory on some CPUs
    even = x[:, :, : size[0] // 2 * 2, : size[1] // 2 * 2]
    wanted = torch.nn.functional.conv2d(even, convolution.weight, stride=2)
    assert torch.allclose(torch.nn.Sequential(*before, convolution)(x), wanted, atol=1e-6)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([(8, 8), (9, 13)]), st.sampled_from([1, 3]))
def test_every_genome_within_reach_builds_and_trains(seed, size, channels):
    rng = np.random.default_rng(seed)
    genome = mutate(random_genome(rng, SMALL), rng, space=SMALL)
    assert json.loads(json.dumps(genome)) == genome
    assert SMALL.holds(genome)
    shape = (channels, *size)
    net = kit.neuroevolution.build(genome, shape, 3, seed=1)
    x = torch.rand(4, *shape, generator=torch.Generator().manual_seed(0))
    features = [x]
    for block, inputs in zip(net.blocks, net.inputs, strict=True):
        features.append(block(*(features[k] for k in inputs)))
    assert [tuple(f.shape[1:]) for f in features] == shapes(genome, shape)
    before = [p.clone() for p in net.parameters()]
    reference = torch.nn.functional.normalize(torch.rand(4, x[0].numel()), dim=1).view(x.shape)
    loss = kit.misalignment.misaligned(reference)
    kit.training.fit(net, x, torch.tensor([0, 1, 2, 0]), epochs=1, loss=loss)
    moved = [not torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True)]
    assert any(moved)
    assert all(torch.isfinite(p).all() for p in net.parameters())


def test_a_sum_pads_channels_and_pools_to_the_smaller_size():
    genome = [conv(0, channels=2), pool(1), conv(2, channels=5), join("sum", 1, 3)]
    net = kit.neuroevolution.build(genome, (1, 8, 8), 3).eval()
    x = torch.rand(2, 1, 8, 8)
    a = net.blocks[0](x)
    b = net.blocks[2](net.blocks[1](a))
    out = net.blocks[3](a, b)
    pooled = torch.nn.functional.avg_pool2d(a, 2)
    torch.testing.assert_close(out[:, :2], b[:, :2] + pooled)
    torch.testing.assert_close(out[:, 2:], b[:, 2:])


def test_a_concat_stacks_the_channels():
    genome = [conv(0, channels=2), conv(1, channels=3), join("concat", 1, 2)]
    assert shapes(genome, (1, 8, 8))[-1] == (5, 8, 8)


def test_the_hand_engineered_nets_have_the_blocks_of_the_appendix():
    assert spectrum(HAND_ENGINEERED["hand_a"])[0] == 3
    assert sum(spectrum(HAND_ENGINEERED["hand_a"])[3:]) == 3
    conv_blocks, pools, strided, *joins = spectrum(HAND_ENGINEERED["hand_b"])
    assert (conv_blocks, pools, strided, sum(joins)) == (4, 1, 0, 2)
    for name, genome in HAND_ENGINEERED.items():
        assert len(genome) <= 10
        net = kit.nets.build(name, (3, 32, 32))
        linear = [m for m in net.modules() if isinstance(m, torch.nn.Linear)]
        assert len(linear) == 2
    narrow = HAND_ENGINEERED["hand_a_narrow"]
    assert [b["channels"] for b in narrow if "channels" in b] == [8, 8, 16]


@pytest.mark.parametrize(
    ("genome", "message"),
    [
        ([], "The genome has no blocks: give a list of at least one."),
        (
            [conv(2), conv(1)],
            "Block 1 (conv) reads block 2: it may read blocks 0 (the image) to 0.",
        ),
        (
            [conv(0), conv(7)],
            "Block 2 (conv) reads block 7: it may read blocks 0 (the image) to 1.",
        ),
        (
            [conv(0), conv(0), conv(1)],
            "Block 2 (conv) has no path to the output: let a later block read it, or leave it out.",
        ),
        (
            [pool(0), pool(1), pool(2), pool(3)],
            "Block 4 (pool) shrinks its 1×1 input below 1×1 pixels: leave it out, or use larger "
            "images.",
        ),
        (
            [{"kind": "dense", "inputs": [0]}],
            "Block 1 is {'kind': 'dense', 'inputs': [0]}: its kind must be one of conv, pool, "
            "strided, sum, concat.",
        ),
        (
            [conv(0), join("sum", 1, 1)],
            "Block 2 (sum) has inputs [1, 1]: list 2 block numbers, all different.",
        ),
        ([conv(0, kernel=2)], "Block 1 (conv) has kernel 2: use an odd number."),
        ([conv(0, channels=0)], "Block 1 (conv) has channels 0: use a whole number from 1 on."),
        (
            [{"kind": "pool", "inputs": [0]}],
            "Block 1 (pool) has kind, inputs: it needs inputs, kind, pool.",
        ),
        (
            [{"kind": "pool", "inputs": [0], "pool": "median"}],
            "Block 1 (pool) has pool 'median': use one of max, average.",
        ),
    ],
)
def test_a_bad_genome_is_one_sentence_that_names_the_block(genome, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        kit.neuroevolution.build(genome, (1, 8, 8), 3)


def opposite(name):
    action, kind = name.split()
    return f"{({'add': 'delete', 'delete': 'add', 'edit': 'edit'})[action]} {kind}"


@pytest.mark.parametrize("name", MUTATIONS)
def test_every_mutation_occurs_and_another_undoes_it(name):
    rng, undone = np.random.default_rng(0), 0
    for _ in range(40):
        genome = random_genome(rng, SMALL)
        child = MUTATIONS[name](genome, rng, SMALL)
        if child is None:
            continue
        assert not same(child, genome)
        for _ in range(400):
            back = MUTATIONS[opposite(name)](child, rng, SMALL)
            if back is not None and same(back, genome):
                undone += 1
                break
        if undone == 3:
            return
    pytest.fail(f"{name} was undone {undone} times only")


def test_all_mutations_occur_in_mutate(monkeypatch):
    counts = dict.fromkeys(MUTATIONS, 0)

    def counted(name, function):
        def call(*arguments):
            child = function(*arguments)
            counts[name] += child is not None
            return child

        return call

    for name, function in list(MUTATIONS.items()):
        monkeypatch.setitem(MUTATIONS, name, counted(name, function))
    rng = np.random.default_rng(1)
    mutate(HAND_ENGINEERED["hand_b"], rng, times=(400, 400))
    assert min(counts.values()) > 5, counts
    assert sum(counts.values()) == 400


def test_a_child_takes_four_or_five_mutations_and_leaves_its_parent_alone(monkeypatch):
    from kit.neuroevolution import mutation

    calls = []
    monkeypatch.setattr(mutation, "mutate_once", lambda *a: (calls.append(1), mutate_once(*a))[1])
    parent = json.loads(json.dumps(HAND_ENGINEERED["hand_a"]))
    counts = set()
    for seed in range(20):
        calls.clear()
        mutate(parent, np.random.default_rng(seed))
        counts.add(len(calls))
    assert counts == {4, 5}
    assert parent == HAND_ENGINEERED["hand_a"]


def test_spectrum_counts_the_kinds_and_distance_is_euclidean():
    a, b = [conv(0)], [conv(0), pool(1), join("sum", 1, 2), join("concat", 2, 3)]
    assert spectrum(b) == (1, 1, 0, 1, 1)
    assert distance(a, b) == pytest.approx(3**0.5)
    assert len(spectrum(a)) == len(KINDS)


@pytest.mark.parametrize("seed", range(5))
def test_the_first_population_is_far_apart(seed):
    genomes = initial(5, 4, np.random.default_rng(seed))
    pairs = [distance(a, b) for i, a in enumerate(genomes) for b in genomes[:i]]
    assert min(pairs) >= 4


def test_an_impossible_distance_says_what_is_possible():
    with pytest.raises(ValueError, match=r"distance is 40: 3 architectures .* at most") as error:
        initial(3, 40, np.random.default_rng(0), space=SMALL)
    possible = float(re.search(r"at most ([\d.]+) apart", str(error.value))[1])
    assert initial(3, 0.9 * possible, np.random.default_rng(0), space=SMALL)


def test_a_population_of_one_is_refused():
    with pytest.raises(ValueError, match="population is 1: use a whole number from 2 on"):
        initial(1, 4, np.random.default_rng(0))


def chain(length):
    return [conv(k) for k in range(length)]


def test_selection_compares_in_order_with_the_closest_first_on_ties_and_in_place():
    population = [Member(chain(1), 0.5), Member(chain(3), 0.6), Member(chain(9), 0.9)]
    children = [
        Member(chain(2), 0.55, 1),  # as far from the first as from the second: meets the first
        Member(chain(2), 0.58, 1),  # closest now is the child that has just come in
        Member(chain(3), 0.6, 1),  # equal fitness does not replace
        Member(chain(8), 0.2, 1),  # closest to the third, and worse
        Member(chain(4), 0.7, 1),
    ]
    after, replaced = select(population, children)
    assert replaced == [0, 0, -1, -1, 1]
    assert [m.fitness for m in after] == [0.58, 0.7, 0.9]
    assert [m.generation for m in after] == [1, 1, 0]
    assert population[0].fitness == 0.5  # left alone


def test_evolve_is_algorithm_1_written_out():
    """A literal transcription of the pseudocode, with children mutated beforehand."""
    seen = []

    def score(genome, generation):
        seen.append(generation)
        return round(len(genome) / 7 + sum(spectrum(genome)[3:]) / 5, 1)  # ties happen

    options = {"population": 4, "children": 2, "generations": 5, "seed": 3}
    generations = list(evolve(score, space=SMALL, least=2, **options))
    population = [(m.genome, m.fitness) for m in generations[0].population]
    for generation in generations[1:]:
        rng = np.random.default_rng([3, generation.number])
        born = offspring([g for g, _ in population], 2, rng, space=SMALL)
        assert [m.genome for m in generation.children] == born
        for genome in born:
            value = score(genome, 0)
            best, closest = None, None
            for place, (candidate, _) in enumerate(population):
                d = np.linalg.norm(np.subtract(spectrum(candidate), spectrum(genome)))
                if best is None or d < best:
                    best, closest = d, place
            if population[closest][1] < value:
                population[closest] = (genome, value)
        assert population == [(m.genome, m.fitness) for m in generation.population]
    assert [s for s in seen if s][:4] == [1, 1, 1, 1]  # the first population as generation 1
    assert generations[-1].population != generations[0].population


def test_evolution_is_seeded():
    def run(seed):
        return list(
            evolve(lambda genome, _: len(genome), generations=3, seed=seed, space=SMALL, least=2)
        )

    assert run(1) == run(1)
    assert run(1) != run(2)
    assert [len(generation.children) for generation in run(1)] == [5, 10, 10, 10]  # the paper's


def test_fitness_is_the_smaller_accuracy():
    assert fitness(0.4, 0.7) == fitness(0.7, 0.4) == 0.4
    for pair in ((math.nan, 0.7), (0.7, math.nan), (math.nan, math.nan)):
        assert math.isnan(fitness(*pair))


FITNESS = st.sampled_from([math.nan, -math.inf, -0.5, 0.0, 0.2, 0.7, math.inf])


@settings(deadline=None, max_examples=100)
@given(st.lists(FITNESS, min_size=2, max_size=4), st.lists(FITNESS, max_size=6))
def test_a_fitness_of_nan_loses_to_any_number(old, new):
    population = [Member(chain(1 + 3 * k), value) for k, value in enumerate(old)]
    children = [Member(chain(1 + k), value, 1) for k, value in enumerate(new)]
    after, replaced = select(population, children)
    held = list(population)
    for child, place in zip(children, replaced, strict=True):
        if place >= 0:
            beaten = held[place].fitness
            assert not math.isnan(child.fitness)
            assert math.isnan(beaten) or beaten < child.fitness
            held[place] = child
        else:
            closest = np.argmin([distance(m.genome, child.genome) for m in held])
            beaten = held[closest].fitness
            assert math.isnan(child.fitness) or child.fitness <= beaten
    assert after == held
    ordered = sorted(after, key=rank)
    numbers = [m.fitness for m in ordered if not math.isnan(m.fitness)]
    assert numbers == sorted(numbers)
    assert all(math.isnan(m.fitness) for m in ordered[: len(ordered) - len(numbers)])


def test_a_candidate_without_a_fitness_is_replaced():
    scores = iter([math.nan, math.nan, 0.1, 0.2, 0.3, 0.4])
    first, last = evolve(
        lambda genome, _: next(scores), population=2, generations=1, space=SMALL, least=2, seed=3
    )
    assert all(math.isnan(member.fitness) for member in first.population)
    assert max(last.replaced) >= 0
    assert not all(math.isnan(member.fitness) for member in last.population)


def test_a_search_of_candidates_without_a_fitness_says_so():
    options = dict(population=2, generations=1, space=SMALL, least=2)
    with pytest.warns(RuntimeWarning, match="every candidate is not a number") as said:
        list(evolve(lambda genome, _: math.nan, **options))
    assert len(said) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = iter([math.nan, 0.1, math.nan, math.nan, math.nan, math.nan])
        *_, last = evolve(lambda genome, _: next(scores), **options)
    assert max(member.fitness for member in last.population if not math.isnan(member.fitness))


@pytest.mark.parametrize("value", [None, "good", [0.5, 0.4]])
def test_a_fitness_is_a_number(value):
    with pytest.raises(ValueError, match=r"^evaluate returned .*: it must return a number, .*\.$"):
        list(evolve(lambda genome, _: value, population=2, generations=0, space=SMALL, least=2))


def test_a_seed_is_no_generator():
    genome = HAND_ENGINEERED["hand_a"]
    for call in (
        lambda rng: mutate(genome, rng), lambda rng: offspring([genome], 1, rng), random_genome,
        lambda rng: initial(2, 1.0, rng), lambda rng: mutate_once(genome, rng),
    ):  # fmt: skip
        for rng in (3, None, np.random.RandomState(3)):
            with pytest.raises(ValueError, match=r"^rng is .*: give a numpy\.random\.Generator, "):
                call(rng)
