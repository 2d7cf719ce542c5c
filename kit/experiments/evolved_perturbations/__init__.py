"""The study of evolved training perturbations of Chaudhury & Yamasaki (ICASSP 2020).

A search (MDD-ES) finds class-wise pixel noise on training images, one generation a task. Its
result and the baselines then perturb training sets, and nets trained on these are tested on clean
images.
"""

from kit.experiments.evolved_perturbations.plan import plan
from kit.experiments.evolved_perturbations.settings import OURS, PLAIN, RANDOM, STUDY, Aim, Settings
from kit.experiments.evolved_perturbations.steps import RADII
from kit.experiments.evolved_perturbations.tree import Plan, Search, Searched, Table, Training

__all__ = [
    "OURS", "PLAIN", "RADII", "RANDOM", "STUDY", "Aim", "Plan", "Search", "Searched", "Settings",
    "Table", "Training", "plan",
]  # fmt: skip
