"""The steps of a search: train a child, draw architectures, and choose among them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import kit
from kit import runtime
from kit.data.splits import Split
from kit.experiments.neuroevolution_gm.training import (
    GM,
    judged_on,
    passes,
    tensor,
    trained_net,
)
from kit.harness.steps import step
from kit.nets.genome import Genome
from kit.neuroevolution import Member, Space, algorithm, mutation

if TYPE_CHECKING:
    import torch


@step(
    version=2,
    label="{split}: {name}, generation {generation}, run {run}",
    work=passes,
    bulky=("weights",),
)
def child(
    *,
    split: Split,
    name: str,
    genome: Genome,
    generation: int,
    run: int,
    epochs: int,
    batch_size: int,
    optimizer: str,
    lr: float,
    hold_out: int,
    count: int,
    gm: GM,
    adversarial: np.ndarray,
    on_test: np.ndarray,
    precision: str = "float32",
) -> dict:
    """Train a net that a search proposes, from scratch, and judge it (eq. 4).

    Parameters
    ----------
    name
        Its word (:func:`roles.word`), from which its seed follows.
    count
        Training images; 0 for all.
    adversarial
        The reference's adversarial examples of the images that the fitness looks at.
    on_test
        Those of the test images, at which the paper's fitness looks.

    Returns
    -------
    dict
        ``genome``, ``weights``, ``clean`` and ``adversarial`` accuracy, ``fitness``,
        ``test_fitness`` on the test images (all four NaN of a net that diverged), and
        ``generation``.
    """
    data = split.load()
    seed = runtime.derive_seed(split.seed, "child", run, generation, name)
    model = trained_net(
        data,
        genome,
        epochs=epochs,
        batch_size=batch_size,
        optimizer=optimizer,
        lr=lr,
        hold_out=hold_out,
        seed=seed,
        count=count,
        gm=gm,
        precision=precision,
    )
    on_tests = fitness(model, data.x_test, data.y_test, on_test)["fitness"]
    return {
        "genome": genome,
        "weights": kit.nets.weights(model),
        **fitness(model, *judged_on(data, hold_out), adversarial),
        "test_fitness": on_tests,
        "generation": generation,
    }


def fitness(
    model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, adversarial: np.ndarray
) -> dict[str, float]:
    """``clean`` and ``adversarial`` accuracy of a net, and the smaller one of them."""
    clean = kit.training.evaluate_or_nan(model, x, y)[1]
    against = kit.training.evaluate_or_nan(model, tensor(adversarial, x), y)[1]
    return {
        "clean": clean,
        "adversarial": against,
        "fitness": kit.neuroevolution.fitness(clean, against),
    }


@step(version=1, label="{split}: {name}'s fitness in the end, run {run}")
def judge(
    *,
    split: Split,
    name: str,
    genome: Genome,
    weights: Mapping[str, np.ndarray],
    run: int,
    hold_out: int,
    adversarial: np.ndarray,
) -> dict:
    """The fitness of a net that is trained to the end, on the images that the search looks at.

    Returns
    -------
    dict
        ``genome``, ``clean`` and ``adversarial`` accuracy, and ``fitness``.
    """
    data = split.load()
    x, y = judged_on(data, hold_out)
    model = kit.nets.restore(genome, data.shape, data.classes, weights).to(x.device)
    return {"genome": genome, **fitness(model, x, y, adversarial)}


@step(version=1, label="the best nets in the end, run {run}", bulky=("weights",))
def finalist(
    *, run: int, rank: int, fitness: Sequence[float], genomes: Sequence[Genome], weights: Sequence
) -> dict:
    """One of the nets that were trained to the end: the best, or a later one.

    Parameters
    ----------
    rank
        0 for the best; of equals the first.
    fitness, genomes, weights
        Of each net.

    Returns
    -------
    dict
        ``place`` among the nets, ``fitness``, ``genome`` and ``weights``.
    """
    nets = [Member(genome, value) for genome, value in zip(genomes, fitness, strict=True)]
    order = sorted(range(len(nets)), key=lambda k: algorithm.rank(nets[k]), reverse=True)
    place = order[rank]
    return {
        "place": place,
        "fitness": fitness[place],
        "genome": genomes[place],
        "weights": weights[place],
    }


def first_population(
    seed: int, run: int, count: int, distance: float, space: Space
) -> list[Genome]:
    """Where the search of a run begins; refused with a ValueError where the space is too small."""
    return mutation.initial(count, distance, _draws(seed, run, 0), space=space)


@step(version=1, label="random architectures, run {run}")
def random_genomes(
    *, seed: int, run: int, count: int, distance: float | None, space: Mapping
) -> dict:
    """Random architectures, for a first population some distance apart.

    Returns
    -------
    dict
        ``genomes``.
    """
    limits = _space(space)
    if distance is not None:
        return {"genomes": first_population(seed, run, count, distance, limits)}
    rng = algorithm.generator(runtime.derive_seed(seed, "random", run), 0)
    return {"genomes": [mutation.random_genome(rng, limits) for _ in range(count)]}


@step(version=2, label="selection {number}, run {run}", bulky=("weights",))
def selection(
    *,
    seed: int,
    run: int,
    number: int,
    previous: Mapping | None,
    born: Sequence[Mapping],
    children: int,
    mutations: Sequence[int],
    space: Mapping,
) -> dict:
    """One generation of Algorithm 1 after its children are trained, and the next one's children.

    Parameters
    ----------
    previous
        The population before, and its weights; None where `born` is the first one.
    born
        Genome, weights, fitness and generation of each :func:`child`, in the order of Algorithm 1.

    Returns
    -------
    dict
        ``population`` (genome, fitness and generation of each), their ``weights``, ``replaced``
        (for each child the position that it took, or -1), and ``genomes``, the next children.
    """
    before = [Member(**member) for member in previous["population"]] if previous else None
    last = algorithm.compete(number, before, _members(born))
    weights = list(previous["weights"]) if previous else [None] * len(born)
    for net, place in zip(born, last.replaced, strict=True):
        if place >= 0:
            weights[place] = net["weights"]
    genomes = algorithm.offspring(
        last.genomes,
        children,
        _draws(seed, run, number + 1),
        space=_space(space),
        times=mutations,
    )
    return {
        "population": list(map(dataclasses.asdict, last.population)),
        "weights": weights,
        "replaced": last.replaced,
        "genomes": genomes,
    }


@step(version=1, label="the best random architectures, run {run}", bulky=("weights",))
def fittest(*, run: int, previous: Mapping | None, born: Sequence[Mapping], count: int) -> dict:
    """The best nets of a search at random so far, as many as a population has.

    Parameters
    ----------
    previous, born
        As for :func:`selection`.

    Returns
    -------
    dict
        ``population`` and ``weights``, as of :func:`selection`; the fittest first.
    """
    before = previous or {"population": [], "weights": []}
    nets = [*(Member(**member) for member in before["population"]), *_members(born)]
    weights = [*before["weights"], *(net["weights"] for net in born)]
    order = sorted(range(len(nets)), key=lambda k: algorithm.rank(nets[k]), reverse=True)[:count]
    return {
        "population": [dataclasses.asdict(nets[k]) for k in order],
        "weights": [weights[k] for k in order],
    }


def _members(born: Sequence[Mapping]) -> list[Member]:
    return [Member(net["genome"], net["fitness"], net["generation"]) for net in born]


def _draws(seed: int, run: int, number: int) -> np.random.Generator:
    """Those of a generation in the search of a run."""
    return algorithm.generator(runtime.derive_seed(seed, "search", run), number)


def _space(values: Mapping) -> Space:
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return Space(**fields)
