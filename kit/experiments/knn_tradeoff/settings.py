"""What the study is about, and its parameters with their bounds."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from kit.constraints import REPEATS, number, odd, whole
from kit.experiments.images import ImageSettings
from kit.experiments.reference import REFERENCE
from kit.harness.results.study import Study

CONTROL = "noise (control)"
ATTACKS = {"FGSM": "fgsm", "DeepFool": "deepfool", CONTROL: "control"}
ADVERSARIAL = ("FGSM", "DeepFool")
WHOLE, WRONG = "whole test set", "misclassified"
STUDY = Study(
    notebook="03_knn_tradeoff",
    reference=REFERENCE,
    datasets={"mnist": "MNIST", "cifar10": "CIFAR-10"},
    claims={
        "3.C1": "Accuracy on the adversarial set rises as K falls.",
        "3.C2": "The adversarial set's trend differs from the misclassified set's, and its "
        "increase rate is higher.",
        "3.C3": "Accuracy on the whole test set stays flat.",
        "3.C4": "Accuracy on the adversarial set rises faster than on the whole test set, with "
        "significance.",
        "3.C5": "Accuracy on the whole test set is very close to 100 %.",
        "3.X1": "Beyond the paper: accuracy on the adversarial set rises further than on images "
        "with random noise that were picked in the same way.",
    },
    title="The K-NN trade-off",
    citation="Deniz, Vallez & Bueno: Adversarial Examples are a Manifestation of the"
    " Fitting-Generalization Trade-off. IWANN 2019.",
    finding=(
        "Accuracy on attacked images rises as K falls, as the paper says. But on images with "
        "random noise, picked in the same way, it rises, too: most of the rise is the step that "
        "the picking forces. Only beyond this step do attacked images rise further."
    ),
    headline="3.F5",
    only={"3.C5": ("mnist",)},
    shown_by={
        **dict.fromkeys(("3.C1", "3.C3", "3.C5"), ("3.F5",)),
        **dict.fromkeys(("3.C2", "3.C4"), ("3.F7",)),
    },
    names={
        "3.F4": {"mnist": "3.F4"},
        "3.F5": {"mnist": "3.F5", "cifar10": "3.F6"},
        "3.F7": {"mnist": "3.F7", "cifar10": "3.F8"},
        "3.X1": {"mnist": "3.X1"},
    },
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(ImageSettings):
    """Parameters of the study; the notebook says what each of them means."""

    runs: Annotated[int, REPEATS]
    z: Annotated[int, odd(3, "so that smaller odd K are left")]
    epsilon: Annotated[float, number(above=0, to=1)]
    epochs: Annotated[int, whole(1)]
    control_draws: Annotated[int, whole(1)]
    flat: Annotated[float, number(above=0, to=100)]

    def comparisons(self, dataset: str) -> dict[str, tuple[int, int | None]]:
        """Runs, one by one: sets of images are compared within a run."""
        return {"difference within a run": (self.runs, None)}
