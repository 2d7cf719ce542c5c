"""Architectures that evolve (Operiano, Pora, Iba & Kera, 2021): Algorithm 1 and its parts."""

from kit.nets import build
from kit.neuroevolution.algorithm import (
    Generation,
    Member,
    evolve,
    fitness,
    offspring,
    select,
)
from kit.neuroevolution.mutation import MUTATIONS, Space, initial, mutate, random_genome
from kit.neuroevolution.spectrum import distance, spectrum

__all__ = [
    "MUTATIONS", "Generation", "Member", "Space", "build", "distance", "evolve", "fitness",
    "initial", "mutate", "offspring", "random_genome", "select", "spectrum",
]  # fmt: skip
