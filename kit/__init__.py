"""The methods of papers on generalization and robustness, one room per method.

Examples
--------
>>> import kit
>>> digits = kit.data.load("digits")
>>> digits.x_train.shape
torch.Size([1437, 1, 8, 8])
"""

from kit import (
    attacks,
    data,
    divergence,
    evolution,
    explain,
    neighbors,
    nets,
    perturbations,
    robustness,
    runtime,
    steps,
    training,
)

# setuptools reads the version without importing torch: keep it a plain literal.
__version__ = "0.1.0"
__all__ = [
    "attacks", "data", "divergence", "evolution", "explain", "neighbors", "nets", "perturbations",
    "robustness", "runtime", "steps", "training",
]  # fmt: skip
