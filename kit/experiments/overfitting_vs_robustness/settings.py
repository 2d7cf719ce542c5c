"""What the study is about, and its parameters with their bounds."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from kit.constraints import OneOf, divides_one, number, whole
from kit.experiments.images import ImageSettings
from kit.experiments.reference import REFERENCE
from kit.harness.results.study import Study

# What the paper calls the results on each regime.
IDS = {
    "normal": {
        "norms": "2.T2", "training": "2.F3", "attacks": "2.F4", "clever": "2.F5",
        "gradients": "2.F6",
    },
    "overfitting": {
        "norms": "2.T4", "training": "2.F7", "attacks": "2.F8", "clever": "2.F9",
        "gradients": "2.F10",
    },
}  # fmt: skip
STUDY = Study(
    notebook="02_overfitting_vs_robustness",
    reference=REFERENCE,
    datasets={"cifar10": "CIFAR-10", "stl10": "STL-10"},
    claims={
        "2.C1": "Normal regime: CW's success rate climbs as test accuracy climbs.",
        "2.C2": "Overfitting: CW's success rate settles near 50–60 % and does not climb.",
        "2.C3": "CLEVER is larger when overfitting; on CIFAR-10 similar, with a larger spread.",
        "2.C4": "Loss sensitivity is small in the normal regime (the paper: 1.4 at most) and large"
        " when overfitting (2.0 to 9.0).",
        "2.C5": "FGSM and PGD fool consistently.",
        "2.C6": "CW's examples are by far the closest (L2 and L∞).",
        "2.C7": "Empirical robustness falls slightly in the normal regime, rises when overfitting.",
        "2.C8": "Validation accuracy climbs to the end normally, peaks early when overfitting.",
        "2.C9": "CW's success rate is lower when overfitting than in the normal regime.",
        "2.C10": "CLEVER rises over the epochs of the normal regime, on CIFAR-10 slightly.",
        "2.C11": "Overfitting: each attack succeeds most at the epoch that crafted its examples.",
        "2.X1": "Beyond the paper: the attacks fool more than random noise of the same size.",
        "2.X2": "Beyond the paper: under a direct attack, the nearest images that"
        " fool the last snapshot lie farther when overfitting.",
        "2.X3": "Beyond the paper: crafted on the last snapshot, the nearest images' success"
        " rate climbs when overfitting, too.",
    },
    title="Overfitting against robustness",
    citation="Pedraza, Deniz & Bueno: On the Relationship between Generalization and Robustness to"
    " Adversarial Examples. Symmetry 13(5), 2021.",
    finding=(
        "Overfitted nets are less robust when they are attacked themselves. Whether examples "
        "made on the best epoch fool them less often, as the paper says, depends on the "
        "attack and on what is counted."
    ),
    headline="2.X3",
    shown_by={
        "2.C1": ("2.F4",),
        "2.C2": ("2.F8", "2.X3"),
        "2.C3": ("2.F5", "2.F9", "2.X3"),
        "2.C4": ("2.F6", "2.F10", "2.X3"),
        "2.C5": ("2.F4", "2.F8"),
        "2.C6": ("2.T2", "2.T4"),
        "2.C7": ("2.F6", "2.F10", "2.X3"),
        "2.C8": ("2.F3", "2.F7"),
        "2.C9": ("2.F4", "2.F8", "2.X3"),
        "2.C10": ("2.F5",),
        "2.C11": ("2.F8",),
        "2.X1": ("2.F4", "2.F8"),
    },
    names={
        **{name: {"cifar10": name} for ids in IDS.values() for name in ids.values()},
        "2.T2": {"cifar10": "2.T2", "stl10": "2.T3"},
        "2.T4": {"cifar10": "2.T4", "stl10": "2.T5"},
    },
    only={
        "CLEVER's spread": ("cifar10",),  # where the paper reports similar means
        "printed sensitivities": ("cifar10", "stl10"),
    },
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(ImageSettings):
    """Parameters of the study; the notebook says what each of them means."""

    folds: Annotated[int, whole(2)]
    epochs: Annotated[int, whole(2)]  # what changes over the epochs is the question
    batch_size: Annotated[int, whole(1)]
    lr_normal: Annotated[float, number(above=0)]
    lr_overfitting: Annotated[float, number(above=0)]
    epsilon: Annotated[float, number(above=0)]
    norm: Annotated[str, OneOf(("linf", "l2"), "norm")]
    pgd_steps: Annotated[int, whole(1)]
    attack_images: Annotated[int, whole(0)]
    metric_images: Annotated[int, whole(1)]
    eps_step: Annotated[float, divides_one()]
    clever_images: Annotated[int, whole(1)]
    clever_every: Annotated[int, whole(1)]
    clever_batches: Annotated[int, whole(2)]
    clever_batch_size: Annotated[int, whole(1)]
    clever_radius: Annotated[float, number(above=0)]

    def check(self) -> None:
        """Refuse an L∞ ball that is larger than the range of pixels."""
        if self.norm == "linf":
            number(above=0, to=1).check("epsilon", self.epsilon)

    def comparisons(self, dataset: str) -> dict[str, tuple[int, int | None]]:
        """Folds: each trains both regimes."""
        return {"change within a fold": (self.folds, None)}

    @property
    def rates(self) -> dict[str, float]:
        """Learning rate of each regime."""
        return {"normal": self.lr_normal, "overfitting": self.lr_overfitting}

    @property
    def clever_epochs(self) -> list[int]:
        """Epochs at which CLEVER is measured: the first, every so many, and the last."""
        return every(self.epochs, self.clever_every)


def every(epochs: int, step: int) -> list[int]:
    """The first epoch, every so many, and the last.

    Examples
    --------
    >>> every(35, 10)
    [1, 10, 20, 30, 35]
    """
    return sorted({1, *range(step, epochs + 1, step), epochs})
