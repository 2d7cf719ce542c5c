"""The K-NN study of Deniz, Vallez & Bueno (IWANN 2019), run by run.

Z-NN classifies the test images. Those it gets right are attacked on a LeNet-5; attacked images
that Z-NN then gets wrong are the adversarial set. How do smaller K fare on it?
"""

from kit.experiments.knn_tradeoff.plan import Runs, plan
from kit.experiments.knn_tradeoff.settings import (
    ADVERSARIAL,
    ATTACKS,
    CONTROL,
    STUDY,
    WHOLE,
    WRONG,
    Settings,
)

__all__ = [
    "ADVERSARIAL", "ATTACKS", "CONTROL", "STUDY", "WHOLE", "WRONG", "Runs", "Settings", "plan",
]  # fmt: skip
