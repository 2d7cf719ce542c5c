"""Algorithm 1 of the paper: children compete with the candidate whose architecture is closest.

All children of a generation are mutated from the population at its start, so that they can be
trained side by side; then they are compared one by one, and replace in place.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from kit.constraints import SEED, whole
from kit.nets.genome import Genome
from kit.neuroevolution.mutation import SPACE, Space, initial, mutate
from kit.neuroevolution.spectrum import distance


@dataclasses.dataclass(frozen=True)
class Member:
    """A candidate: its genome, its fitness, and the generation in which it came."""

    genome: Genome
    fitness: float
    generation: int = 0


@dataclasses.dataclass(frozen=True)
class Generation:
    """What is kept of a generation.

    Attributes
    ----------
    number
        0 for the first population.
    population
        After the replacements.
    children
        All of them, in the order of Algorithm 1; of generation 0 the first population.
    replaced
        For each child the position in the population that it took, or -1.
    """

    number: int
    population: list[Member]
    children: list[Member]
    replaced: list[int]

    @property
    def genomes(self) -> list[Genome]:
        """Of the population: the parents of the next generation."""
        return [member.genome for member in self.population]


def fitness(clean: float, adversarial: float) -> float:
    """Eq. 4: the smaller one of clean accuracy and accuracy on the adversarial test set.

    Examples
    --------
    >>> fitness(0.9, 0.4), fitness(0.9, float("nan"))
    (0.4, nan)
    """
    return float(np.minimum(clean, adversarial))  # NaN if one of them is, whichever


def rank(member: Member) -> tuple[bool, float]:
    """What members are ordered by: a fitness of NaN, of a net that diverged, loses to any number.

    Examples
    --------
    >>> members = [Member([], fitness) for fitness in (0.4, float("nan"), 0.9)]
    >>> [member.fitness for member in sorted(members, key=rank)]
    [nan, 0.4, 0.9]
    """
    return not math.isnan(member.fitness), member.fitness


def offspring(
    population: Sequence[Genome],
    children: int,
    rng: np.random.Generator,
    *,
    space: Space = SPACE,
    times: Sequence[int] = (4, 5),
) -> list[Genome]:
    """The children of a generation, `children` of each candidate, in the population's order."""
    return [
        mutate(genome, rng, space=space, times=times)
        for genome in population
        for _ in range(children)
    ]


def select(
    population: Sequence[Member], children: Sequence[Member]
) -> tuple[list[Member], list[int]]:
    """Compare each child with the closest candidate, the first one on ties (lines 7 to 9).

    The child takes its place if its fitness is higher (:func:`rank`). The next child meets the
    changed population.

    Returns
    -------
    population, replaced
        The new population, and for each child the position that it took, or -1.

    Examples
    --------
    >>> conv = {"kind": "conv", "inputs": [0], "channels": 16, "kernel": 3}
    >>> old = [Member([conv], 0.5), Member([conv, conv | {"inputs": [1]}], 0.7)]
    >>> select(old, [Member([conv], 0.6, 1), Member([conv], 0.6, 1)])[1]
    [0, -1]
    """
    population, replaced = list(population), []
    for child in children:
        distances = [distance(member.genome, child.genome) for member in population]
        closest = int(np.argmin(distances))  # the first one on ties
        better = rank(population[closest]) < rank(child)
        if better:
            population[closest] = child
        replaced.append(closest if better else -1)
    return population, replaced


def evolve(
    evaluate: Callable[[Genome, int], float],
    *,
    population: int = 5,
    children: int = 2,
    generations: int = 50,
    least: float = 4,
    seed: int = 0,
    space: Space = SPACE,
    times: Sequence[int] = (4, 5),
) -> Iterator[Generation]:
    """Algorithm 1 with any fitness.

    Parameters
    ----------
    evaluate
        ``evaluate(genome, generation)`` trains a net and returns its fitness, NaN if that failed;
        the first population is trained as generation 1 is.
    population, children, generations
        s, n and g of Algorithm 1: candidates, children of each of them, and rounds.
    least
        d: smallest distance of two spectra in the first population.
    seed
        Equal seeds give equal genomes, as long as the fitnesses are equal.
    space, times
        As in :func:`mutate`.

    Yields
    ------
    Generation
        The first one is number 0, the random population.

    Raises
    ------
    ValueError
        An option is out of range, or as :func:`initial`.

    Examples
    --------
    >>> small = evolve(lambda genome, number: -len(genome), population=2, generations=3)
    >>> [generation.number for generation in small]
    [0, 1, 2, 3]
    """
    population = whole(2).check("population", population)
    children = whole(1).check("children", children)
    generations = whole(0).check("generations", generations)
    seed = SEED.check("seed", seed)
    genomes = initial(population, least, generator(seed, 0), space=space)
    last = compete(0, None, [Member(genome, _measured(evaluate, genome, 1)) for genome in genomes])
    yield last
    for number in range(1, generations + 1):
        rng = generator(seed, number)
        genomes = offspring(last.genomes, children, rng, space=space, times=times)
        born = [Member(genome, _measured(evaluate, genome, number), number) for genome in genomes]
        last = compete(number, last.population, born)
        yield last


def _measured(evaluate: Callable[[Genome, int], float], genome: Genome, number: int) -> float:
    value = evaluate(genome, number)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(
            f"evaluate returned {value!r}: it must return a number, or NaN where training failed."
        ) from None


def compete(number: int, population: Sequence[Member] | None, born: Sequence[Member]) -> Generation:
    """What is left of a generation after its children are trained.

    It warns while no candidate has a fitness, since none of them is better than another then.

    Parameters
    ----------
    number
        0 for the first population.
    population
        That of the generation before; None where `born` is the first one.
    born
        The children, in the order of Algorithm 1.
    """
    born = list(born)
    after, replaced = born, list(range(len(born)))
    if population is not None:
        after, replaced = select(population, born)
    if all(math.isnan(member.fitness) for member in after):
        warnings.warn(
            f"Generation {number}: the fitness of every candidate is not a number, so that none of "
            "them is the best. Their nets may have diverged: use a smaller learning rate.",
            RuntimeWarning,
            stacklevel=2,
        )
    return Generation(number, after, born, replaced)


def generator(seed: int, number: int) -> np.random.Generator:
    """Draws of one generation: a run that goes on there draws the same."""
    return np.random.default_rng([seed, number])
