"""Exact nearest neighbours, for every K in one pass.

``exact.py`` is the method in a few lines, as textbooks have it, ``fast.py`` a search that finds the
same neighbours sooner, and ``voting.py`` what is used: votes of those that the fast search finds.
"""

from kit.neighbors import exact
from kit.neighbors.fast import nearest
from kit.neighbors.voting import accuracy_by_k, check_ks, predict

__all__ = ["accuracy_by_k", "check_ks", "exact", "nearest", "predict"]
