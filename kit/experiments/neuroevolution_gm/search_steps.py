"""The steps of a search: train a child, draw architectures, and choose among them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

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


@step(version=1, label="{split}: {name}, generation {generation}, run {run}", work=passes)
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

    Returns
    -------
    dict
        ``genome``, ``clean`` and ``adversarial`` accuracy, ``fitness`` (all three NaN of a net
        that diverged) and ``generation``.
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
    )
    x, y = judged_on(data, hold_out)
    clean = kit.training.evaluate_or_nan(model, x, y)[1]
    against = kit.training.evaluate_or_nan(model, tensor(adversarial, x), y)[1]
    return {
        "genome": genome, "clean": clean, "adversarial": against,
        "fitness": kit.neuroevolution.fitness(clean, against), "generation": generation,
    }  # fmt: skip


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


@step(version=1, label="selection {number}, run {run}")
def selection(
    *,
    seed: int,
    run: int,
    number: int,
    previous: Sequence[Mapping] | None,
    born: Sequence[Mapping],
    children: int,
    mutations: Sequence[int],
    space: Mapping,
) -> dict:
    """One generation of Algorithm 1 after its children are trained, and the next one's children.

    Parameters
    ----------
    previous
        The population before; None where `born` is the first one.
    born
        Genome, fitness and generation of each :func:`child`, in the order of Algorithm 1.

    Returns
    -------
    dict
        ``population`` (genome, fitness and generation of each), ``best`` (their genomes, the
        fittest first), ``replaced`` (for each child the position that it took, or -1), and
        ``genomes``, the next children.
    """
    before = None if previous is None else [Member(**member) for member in previous]
    new = [Member(part["genome"], part["fitness"], part["generation"]) for part in born]
    last = algorithm.compete(number, before, new)
    order = sorted(last.population, key=algorithm.rank, reverse=True)  # of equals the first
    genomes = algorithm.offspring(
        last.genomes,
        children,
        _draws(seed, run, number + 1),
        space=_space(space),
        times=mutations,
    )
    return {
        "population": [dataclasses.asdict(member) for member in last.population],
        "best": [member.genome for member in order], "replaced": last.replaced,
        "genomes": genomes,
    }  # fmt: skip


def _draws(seed: int, run: int, number: int) -> np.random.Generator:
    """Those of a generation in the search of a run."""
    return algorithm.generator(runtime.derive_seed(seed, "search", run), number)


def _space(values: Mapping) -> Space:
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return Space(**fields)
