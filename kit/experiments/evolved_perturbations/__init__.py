"""The study of evolved training perturbations of Chaudhury & Yamasaki (ICASSP 2020).

A search (MDD-ES) finds class-wise pixel noise on training images, one generation a step. Its
result and the baselines then corrupt training sets, and nets trained on these are tested on clean
images.
"""

from kit.experiments.evolved_perturbations.plan import plan
from kit.experiments.evolved_perturbations.settings import check, parameters_of

__all__ = ["check", "parameters_of", "plan"]
