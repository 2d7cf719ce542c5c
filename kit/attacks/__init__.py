"""Adversarial attacks: pure functions on batches of images in [0, 1], one file per method.

`fgsm` and `pgd` go as far up the loss as a given size of change allows. `deepfool`, `cw_l2` and
`nearest_l2` look for the least change that fools, in L2. `cw_l2` is Carlini & Wagner's attack as
published; `nearest_l2` minimises the same by a search along the decision boundary, which comes
nearer in fewer gradient passes and is nobody's published attack. `random_direction` is the control.

Every attack runs the model in evaluation mode, leaves it as it came, and returns images of the
same type and on the same device.

The result for an image depends on no other image, up to rounding, except through noise: the random
start of `pgd` and `random_direction` draw theirs for all images of a call, one after another. So
image i gets the i-th draw of the seed. How many images follow it does not matter to the start of
`pgd` in L∞, nor to any direction if an image has a multiple of 16 values (PyTorch draws normal
numbers in blocks of 16); it does matter to the start of `pgd` in L2, whose radii are drawn after
all directions.
"""

from kit.attacks.carlini_wagner import CarliniWagner, cw_l2
from kit.attacks.deep_fool import deepfool
from kit.attacks.fast_gradient import GradientAttack, fgsm, fgsm_all_targets
from kit.attacks.nearest import NearestL2, nearest_l2
from kit.attacks.noise import random_direction
from kit.attacks.projected_gradient import pgd
from kit.checks import NORMS, check_eps, check_norm
from kit.gradients import BATCH

__all__ = [
    "BATCH",
    "NORMS",
    "CarliniWagner",
    "GradientAttack",
    "NearestL2",
    "check_eps",
    "check_norm",
    "cw_l2",
    "deepfool",
    "fgsm",
    "fgsm_all_targets",
    "nearest_l2",
    "pgd",
    "random_direction",
]
