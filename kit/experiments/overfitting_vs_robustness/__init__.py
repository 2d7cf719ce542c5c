"""The study of Pedraza, Deniz & Bueno (Symmetry 2021): two training regimes under attack.

Nets train on the folds of a cross-validation, in a normal and in an overfitting regime, and every
epoch is kept. The snapshot of best validation accuracy crafts adversarial examples; all snapshots
are then tested on them, and measured by CLEVER, loss sensitivity and empirical robustness.
"""

from kit.experiments.overfitting_vs_robustness.plan import Regime, Regimes, plan
from kit.experiments.overfitting_vs_robustness.settings import IDS, STUDY, Settings, every
from kit.experiments.overfitting_vs_robustness.steps import (
    ATTACKS,
    BUDGET,
    CONTROL,
    NEAREST,
    OUTPUTS,
)

__all__ = [
    "ATTACKS", "BUDGET", "CONTROL", "IDS", "NEAREST", "OUTPUTS", "STUDY", "Regime", "Regimes",
    "Settings", "every", "plan",
]  # fmt: skip
