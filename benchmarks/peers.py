"""The field's attacks behind one signature: (model, x, y) -> x_adv. ART, foolbox, adv-lib."""

from __future__ import annotations

import sys
import types
import warnings

import foolbox
import torch
from art.attacks import evasion
from art.estimators.classification import PyTorchClassifier
from torch import nn

sys.modules.setdefault("visdom", types.ModuleType("visdom"))  # adv-lib imports it to draw only
from adv_lib.attacks import alma, ddn, fab, fmn, pdpgd, sdf, tr  # noqa: E402
from adv_lib.attacks.deepfool import df as adv_lib_deepfool  # noqa: E402

warnings.filterwarnings("ignore", "The PyTorch model is in training mode")


def _foolbox(attack):
    def run(model, x, y):
        known = foolbox.PyTorchModel(model.eval(), bounds=(0, 1), device=x.device)
        return attack(known, x, y, epsilons=None)[1]

    return run


def _brendel_bethge(model, x, y, steps):
    """From the examples of DDN: its own first attack, noise, fails on some images."""
    start = ddn(model, x, y, steps=50, levels=None)
    known = foolbox.PyTorchModel(model.eval(), bounds=(0, 1), device=x.device)
    attack = foolbox.attacks.L2BrendelBethgeAttack(steps=steps)
    return attack(known, x, y, starting_points=start, epsilons=None)[1]


def _art(build):
    def run(model, x, y):
        shape, classes = x.shape[1:], model(x[:1]).shape[1]
        known = PyTorchClassifier(
            model,
            nn.CrossEntropyLoss(),
            tuple(shape),
            classes,
            clip_values=(0, 1),
            device_type=x.device.type,
        )
        return torch.from_numpy(build(known).generate(x.cpu().numpy(), y.cpu().numpy())).to(x)

    return run


MINIMAL = {
    "foolbox CW": _foolbox(
        foolbox.attacks.L2CarliniWagnerAttack(
            binary_search_steps=5, steps=100, stepsize=0.05, initial_const=1.0
        )
    ),
    "ART CW": _art(
        lambda known: evasion.CarliniL2Method(
            known, learning_rate=0.05, binary_search_steps=5, max_iter=100, initial_const=1.0,
            batch_size=500, verbose=False,
        )
    ),
    "adv-lib DDN-50": lambda model, x, y: ddn(model, x, y, steps=50, levels=None),
    "adv-lib DDN-100": lambda model, x, y: ddn(model, x, y, steps=100, levels=None),
    "adv-lib ALMA-1000": lambda model, x, y: alma(model, x, y, distance="l2", num_steps=1000),
}  # fmt: skip
# By the number of steps that each is given: how near it comes for what it costs.
BY_STEPS = {
    "adv-lib DDN": (lambda m, x, y, n: ddn(m, x, y, steps=n, levels=None), (50, 100, 300, 1000)),
    "adv-lib ALMA": (
        lambda m, x, y, n: alma(m, x, y, distance="l2", num_steps=n),
        (100, 300, 1000),
    ),
    "adv-lib SDF": (lambda m, x, y, n: sdf(m, x, y, steps=n), (3, 10, 30, 100)),
    "adv-lib FAB": (lambda m, x, y, n: fab(m, x, y, norm=2, n_iter=n), (10, 30, 100)),
    "adv-lib FMN": (lambda m, x, y, n: fmn(m, x, y, norm=2, steps=n), (100, 300, 1000)),
    "adv-lib PDPGD": (lambda m, x, y, n: pdpgd(m, x, y, norm=2, num_steps=n), (100, 300, 1000)),
    "adv-lib trust region": (lambda m, x, y, n: tr(m, x.clone(), y, iter=n), (100, 300, 1000)),
    "foolbox Brendel–Bethge": (_brendel_bethge, (30, 100, 300)),
}
DEEPFOOL = {
    "foolbox": _foolbox(foolbox.attacks.L2DeepFoolAttack()),
    "ART": _art(lambda known: evasion.DeepFool(known, batch_size=500, verbose=False)),
    "adv-lib": lambda model, x, y: adv_lib_deepfool(model, x, y, norm=2),
}
