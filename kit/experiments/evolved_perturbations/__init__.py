"""The study of evolved training perturbations of Chaudhury & Yamasaki (ICASSP 2020).

A search (MDD-ES) finds class-wise pixel noise on training images, one generation a task. Its
result and the baselines then perturb training sets, and nets trained on these are tested on clean
images.
"""

from kit.experiments.evolved_perturbations.plan import Searched, Training, plan
from kit.experiments.evolved_perturbations.settings import STUDY, Aim, Settings

__all__ = ["STUDY", "Aim", "Searched", "Settings", "Training", "plan"]
