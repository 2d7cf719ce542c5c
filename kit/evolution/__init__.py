"""MDD-ES: evolve class-wise pixel noise that makes a net overfit to it."""

from kit.evolution.mdd_es import Generation, search
from kit.evolution.scoring import Fitness, fitness, search_net
from kit.evolution.strategies import STARTS, STRATEGIES, check_options

__all__ = [
    "STARTS", "STRATEGIES", "Fitness", "Generation", "check_options", "fitness", "search",
    "search_net",
]  # fmt: skip
