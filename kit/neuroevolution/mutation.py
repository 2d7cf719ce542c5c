"""Mutations of genomes: add, edit or delete a block.

A mutation either applies somewhere or leaves the genome alone. What it makes is a genome that
builds: every block keeps a path to the output, and no image of the space shrinks below 1×1 pixels.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np

from kit.constraints import generator
from kit.nets.genome import JOINS, POOLS, Block, Genome, shapes
from kit.neuroevolution.spectrum import distance

_DRAWS = 2000  # random genomes among which the first population is looked for
_WIDEST = 512  # channels after a concat; each could double them


@dataclasses.dataclass(frozen=True)
class Space:
    """The architectures that mutations may reach.

    Attributes
    ----------
    widths, kernels
        Output channels and kernel sizes of convolutions.
    side
        Side of the smallest images that every net must take, in pixels.
    blocks
        Most blocks of a genome.
    """

    widths: tuple[int, ...] = (16, 32, 64, 128)
    kernels: tuple[int, ...] = (3, 5)
    side: int = 16
    blocks: int = 20

    def holds(self, genome: Genome) -> bool:
        """Is the genome one of them?"""
        if not 1 <= len(genome) <= self.blocks:
            return False
        try:
            sizes = shapes(genome, (3, self.side, self.side))
        except ValueError:
            return False
        return max(channels for channels, _, _ in sizes) <= _WIDEST


SPACE = Space()
Rng = np.random.Generator
_RNG = generator(Rng, "a numpy.random.Generator, such as numpy.random.default_rng(0)")


def mutate(
    genome: Genome, rng: Rng, *, space: Space = SPACE, times: Sequence[int] = (4, 5)
) -> Genome:
    """A child: the genome after several mutations, one after another; the genome stays as it is.

    Parameters
    ----------
    genome
        Blocks, one of `space`.
    rng
        Draws how many mutations, which, and where.
    times
        Fewest and most mutations.

    Examples
    --------
    >>> from kit.nets.genome import HAND_ENGINEERED
    >>> child = mutate(HAND_ENGINEERED["hand_a"], np.random.default_rng(0))
    >>> SPACE.holds(child)
    True
    """
    _RNG.check("rng", rng)
    for _ in range(rng.integers(times[0], times[1], endpoint=True)):
        genome = mutate_once(genome, rng, space)
    return genome


def mutate_once(genome: Genome, rng: Rng, space: Space = SPACE) -> Genome:
    """The genome after one mutation; all kinds that apply to it are equally likely."""
    _RNG.check("rng", rng)
    for number in rng.permutation(len(MUTATIONS)):
        child = list(MUTATIONS.values())[number](genome, rng, space)
        if child is not None:
            return child
    raise ValueError("No mutation applies to the genome: allow more blocks or widths.")


def random_genome(rng: Rng, space: Space = SPACE) -> Genome:
    """One convolution after a random number of mutations, fewer than twice a space's blocks."""
    _RNG.check("rng", rng)
    genome: Genome = [_new_block("conv", [0], rng, space)]
    for _ in range(rng.integers(1, 2 * space.blocks)):
        genome = mutate_once(genome, rng, space)
    return genome


def initial(population: int, least: float, rng: Rng, *, space: Space = SPACE) -> list[Genome]:
    """Random genomes, every two of them at least a distance apart.

    Parameters
    ----------
    population
        How many, 2 or more.
    least
        Smallest distance of their spectra.

    Raises
    ------
    ValueError
        `population` is too small, or no such genomes were among 2,000 random ones; the message
        says which distance is possible.
    """
    if population < 2:
        raise ValueError(f"population is {population}: use a whole number from 2 on.")
    drawn = [random_genome(rng, space) for _ in range(population)]
    chosen = drawn[:1]
    for _ in range(_DRAWS):
        if len(chosen) == population:
            return chosen
        genome = random_genome(rng, space)
        drawn.append(genome)
        if _nearest(genome, chosen) >= least:
            chosen.append(genome)
    possible = _largest_distance(drawn, population)
    raise ValueError(
        f"distance is {least:g}: {population} architectures of up to {space.blocks} blocks for "
        f"{space.side}×{space.side} images were at most {possible:.3g} apart among {len(drawn)} "
        "random ones; use a smaller distance or a smaller population."
    )


def _nearest(genome: Genome, others: Sequence[Genome]) -> float:
    return min(distance(genome, other) for other in others)


def _largest_distance(genomes: list[Genome], population: int) -> float:
    """Smallest distance among some genomes chosen far apart, each as far as it can be."""
    chosen, gap = genomes[:1], float("inf")
    while len(chosen) < population:
        farthest = max(genomes, key=functools.partial(_nearest, others=chosen))
        gap = min(gap, _nearest(farthest, chosen))
        chosen.append(farthest)
    return gap


def _new_block(kind: str, inputs: list[int], rng: Rng, space: Space) -> Block:
    block: Block = {"kind": kind, "inputs": inputs}
    if kind in ("conv", "strided"):
        block |= {"channels": _pick(space.widths, rng), "kernel": _pick(space.kernels, rng)}
    if kind == "pool":
        block["pool"] = _pick(POOLS, rng)
    return block


def _pick(values, rng):
    return values[int(rng.integers(len(values)))]


def _readers(genome: Genome, k: int) -> list[int]:
    """Numbers of the blocks that read k; one behind the last stands for the output."""
    numbers = [number for number, block in enumerate(genome, 1) if k in block["inputs"]]
    return [*numbers, *[len(genome) + 1] * (k == len(genome))]


def _insert(genome: Genome, block: Block, source: int, takers: list[int]) -> Genome:
    """The genome with one more block, from which `takers` now read instead of from `source`."""
    place = min(takers)  # its number; those from there on move up by one
    out = [dict(other) for other in genome]
    for number, other in enumerate(out, 1):
        moved = [k + (k >= place) for k in other["inputs"]]
        if number in takers:
            moved = [place if k == source else k for k in moved]
        other["inputs"] = moved
    out.insert(place - 1, block)
    return out


def _add(genome: Genome, rng: Rng, space: Space, kind: str) -> Genome | None:
    """A block between one that is there, or the image, and some of those that read it."""
    for source in rng.permutation(len(genome) + 1).tolist():
        takers = _some(_readers(genome, source), rng)
        child = _insert(genome, _new_block(kind, [source], rng, space), source, takers)
        if space.holds(child):
            return child
    return None


def _join(genome: Genome, rng: Rng, space: Space, kind: str) -> Genome | None:
    """A sum or concat of two blocks, for some of those that read one of them."""
    count = len(genome)
    pairs = [(a, b) for a in range(1, count + 1) for b in range(1, count + 1) if a != b]
    for index in rng.permutation(len(pairs)).tolist():
        source, other = pairs[index]
        # Readers that come before the other block may lead to it: no circles.
        readers = [number for number in _readers(genome, source) if number > other]
        if readers:
            block = _new_block(kind, sorted((source, other)), rng, space)
            child = _insert(genome, block, source, _some(readers, rng))
            if space.holds(child):
                return child
    return None


def _some(readers: list[int], rng: Rng) -> list[int]:
    """A random part of them, one at least."""
    count = int(rng.integers(1, len(readers), endpoint=True))
    return rng.choice(readers, count, replace=False).tolist()


def _edit(genome: Genome, rng: Rng, space: Space, kind: str) -> Genome | None:
    """Other channels or another kernel for a convolution, the other way of pooling for a pool."""
    values = {"channels": space.widths, "kernel": space.kernels, "pool": POOLS}
    changes = [
        (place, option, value)
        for place, block in enumerate(genome)
        if block["kind"] == kind
        for option in values.keys() & block.keys()
        for value in values[option]
        if value != block[option]
    ]
    changes.sort(key=str)
    for index in rng.permutation(len(changes)).tolist():
        place, option, value = changes[index]
        child = [*genome[:place], genome[place] | {option: value}, *genome[place + 1 :]]
        if space.holds(child):
            return child
    return None


def _delete(genome: Genome, rng: Rng, space: Space, kind: str) -> Genome | None:
    """One block less: those that read it now read its input, or one of its two inputs."""
    choices = [
        (number, source)
        for number, block in enumerate(genome, 1)
        if block["kind"] == kind
        for source in block["inputs"]
    ]
    for index in rng.permutation(len(choices)).tolist():
        child = _without(genome, *choices[index])
        if space.holds(child):
            return child
    return None


def _without(genome: Genome, number: int, source: int) -> Genome:
    out = [dict(block) for block in genome]
    for block in out:
        inputs = [source if k == number else k for k in block["inputs"]]
        block["inputs"] = [k - (k > number) for k in inputs]
    del out[number - 1]
    return out


Mutation = Callable[[Genome, Rng, Space], Genome | None]
_BLOCKS = ("conv", "pool", "strided")
MUTATIONS: dict[str, Mutation] = {
    **{f"add {kind}": functools.partial(_add, kind=kind) for kind in _BLOCKS},
    **{f"add {kind}": functools.partial(_join, kind=kind) for kind in JOINS},
    **{f"edit {kind}": functools.partial(_edit, kind=kind) for kind in _BLOCKS},
    **{f"delete {kind}": functools.partial(_delete, kind=kind) for kind in (*_BLOCKS, *JOINS)},
}
