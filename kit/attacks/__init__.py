"""Adversarial attacks: pure functions on batches of images in [0, 1], one file per method.

Every attack runs the model in evaluation mode, leaves it as it came, and returns images of the
same type and on the same device. The result for an image does not depend on its batch.
"""

from kit.attacks.carlini_wagner import CarliniWagner, cw_l2
from kit.attacks.common import BATCH, NORMS, check_epsilon, check_norm
from kit.attacks.deep_fool import deepfool
from kit.attacks.fast_gradient import fgsm, fgsm_all_targets
from kit.attacks.noise import random_direction
from kit.attacks.projected_gradient import pgd

__all__ = [
    "BATCH",
    "NORMS",
    "CarliniWagner",
    "check_epsilon",
    "check_norm",
    "cw_l2",
    "deepfool",
    "fgsm",
    "fgsm_all_targets",
    "pgd",
    "random_direction",
]
