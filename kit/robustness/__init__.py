"""How far images were moved, how often that fools, and how much it takes."""

from kit.robustness.clever import Clever, clever
from kit.robustness.measures import (
    EmpiricalRobustness,
    LossSensitivity,
    attack_success_rate,
    check_grid,
    empirical_robustness,
    fooling_rate,
    loss_sensitivity,
    perturbation_norms,
)

__all__ = [
    "Clever",
    "EmpiricalRobustness",
    "LossSensitivity",
    "attack_success_rate",
    "check_grid",
    "clever",
    "empirical_robustness",
    "fooling_rate",
    "loss_sensitivity",
    "perturbation_norms",
]
