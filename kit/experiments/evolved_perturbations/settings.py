"""What the study is about, and its parameters with their bounds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from kit import optimizers as known
from kit.constraints import MAPPING, REPEATS, TEXT, Constraint, ListOf, OneOf, Rates, number, whole
from kit.experiments.images import ImageSettings
from kit.experiments.reference import REFERENCE
from kit.harness.results.study import Study
from kit.nets import ARCHITECTURES
from kit.optimizers import OPTIMIZERS

LOW = "adam low"  # Adam at a tenth of its rate
TITLES = {**known.TITLES, LOW: "Adam (low rate)"}

STUDY = Study(
    notebook="01_evolved_perturbations",
    reference=REFERENCE,
    datasets={
        "mnist": "MNIST",
        "fashion_mnist": "Fashion-MNIST",
        "svhn": "SVHN",
        "cifar10": "CIFAR-10",
    },
    claims={
        "1.C1": "Test error grows over the generations of the search.",
        "1.C2": "Evolved perturbations (the smallest Np) hurt more than the uniform baseline.",
        "1.C3": "Evolved and uniform perturbations hurt more than the left column [7], augmented.",
        "1.C4": "More perturbed pixels hurt more.",
        "1.C5": "On perturbed data SGD's clean-test accuracy exceeds Adam's and RMSProp's.",
        "1.C6": "AdaBound's clean-test accuracy lies between Adam's and SGD's.",
        "1.C7": "The minimum that SGD finds is sharper than Adam's and generalizes better.",
        "1.C8": "Perturbed training moves Grad-CAM's mass to the background (grey data sets).",
        "1.C9": "Clean-test accuracy drops as training on perturbed data goes on.",
        "1.C10": "F_d is an additional signal of harm beside F_m.",
        "1.C11": "Evolved perturbations (the smallest Np) hurt more than the left column [7],"
        " without augmentation.",
        "1.C12": "The uniform baseline hurts more than the left column [7] because of"
        " augmentation: without it, it does not.",
        "1.C13": "A few evolved pixels make a net overfit: it loses clean-test accuracy.",
        "1.C14": "At SGD's end of the line training and test loss are lower than at Adam's.",
        "1.C15": "Evolved pixels lie near the edge more often than those of the same search on a"
        " score of pure noise.",
        "1.X1": "Beyond the paper: SGD exceeds Adam on clean images at equal training accuracy"
        " too.",
        "1.X2": "Beyond the paper: against SGD, evolving against SGD hurts more than against Adam.",
        "1.X3": "Beyond the paper: at equal cost evolution hurts more than random search.",
        "1.X4": "Beyond the paper: at equal cost a start from uniform pixels at full amplitude and"
        " fresh scores hurt more than the plain reading.",
    },
    title="Evolved training perturbations",
    citation="Chaudhury & Yamasaki: Investigating Generalization in Neural Networks under Optimally"
    " Evolved Training Perturbations. ICASSP 2020.",
    finding=(
        "One evolved pixel per class in the training images takes a third of the accuracy on "
        "clean images from a net trained with Adam, more than pixels drawn at random; SGD "
        "resists on MNIST, but on Fashion-MNIST Adam at a lower rate resists more."
    ),
    headline="1.C2",
    shown_by={
        "1.C1": ("1.F2c", "1.F2-harm"),
        "1.C2": ("1.C2", "1.T1"),
        "1.C3": ("1.T1",),
        "1.C4": ("1.C2", "1.T1"),
        "1.C5": ("1.F3",),
        "1.C6": ("1.F3",),
        "1.C7": ("1.C7", "1.F4"),
        "1.C8": ("1.C8", "1.F2b"),
        "1.C9": ("1.F5",),
        "1.C10": ("1.C10", "1.F2-harm"),
        "1.C11": ("1.C2",),
        "1.C12": ("1.C2",),
        "1.C13": ("1.C2",),
        "1.C14": ("1.C7", "1.F4"),
        "1.C15": ("1.C15", "1.F2a"),
        "1.X3": ("1.C2",),
        "1.X4": ("1.C2",),
    },
    names={
        "1.F2a": {"mnist": "1.F2a"},
        "1.F2b": {"mnist": "1.F2b"},
        "1.F2c": {"mnist": "1.F2c", "fashion_mnist": "1.F2d"},
        "1.T1": {"svhn": "1.T1"},
    },
    only={
        "1.C8": ("mnist", "fashion_mnist"),
        "flips": ("cifar10",),  # mirrored images among the augmentations
        "printed effects": ("svhn",),  # of the table with larger nets
    },
)
_OPTIMIZER, _NET = OneOf(OPTIMIZERS, "optimizer"), OneOf(ARCHITECTURES, "net")
_POPULATION = Constraint(
    lambda value: type(value) is int and value >= 0 and value != 1,
    "use a whole number from 2 on (λ), or 0 for pycma's choice",
    {"type": "integer", "minimum": 0, "not": {"const": 1}},
)
_PIXELS = ListOf(whole(1), "list whole numbers from 1 on, such as [1, 2]", ascending=True)
_TABLE = ListOf(TEXT, "list names of data sets", least=0)
OURS, PLAIN, RANDOM = "MDD-ES", "plain", "random"  # how a search searches; words of tasks, too
DISCRIMINATOR_EPOCHS = 4
RESCORES = 2  # fresh scores of each candidate that is scored again


@dataclasses.dataclass(frozen=True)
class Scoring:
    """How noise is scored: options of :func:`kit.evolution.fitness`."""

    net: str
    epochs: int
    batch_size: int
    optimizer: str
    lr: float
    discriminator: str
    discriminator_epochs: int
    precision: str = "float32"

    @classmethod
    def of(cls, search: Mapping[str, Any]) -> Scoring:
        """Those among the options of a search."""
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in search.items() if name in names})


class Aim(NamedTuple):
    """A search: pixels per class, the optimizer it aims at, its number, and how it searches."""

    pixels: int
    optimizer: str
    number: int = 1
    method: str = OURS

    def __str__(self) -> str:
        return f"{self.kind}, search {self.number}"

    @property
    def kind(self) -> str:
        """What it has in common with the searches of other numbers."""
        return f"{self.method}, Np = {self.pixels}, against {TITLES[self.optimizer]}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(ImageSettings):
    """Parameters of the study; the notebook says what each of them means."""

    size: Annotated[int, whole(0)]
    pixels: Annotated[list, _PIXELS]
    search_train: Annotated[int, whole(0)]
    search_seeds: Annotated[int, REPEATS]
    larger_seeds: Annotated[int, REPEATS]
    control_seeds: Annotated[int, REPEATS]
    generations: Annotated[int, REPEATS]
    popsize: Annotated[int, _POPULATION]
    start: Annotated[str, OneOf(("uniform", "middle"), "start")]
    saturation: Annotated[float, number(least=1)]
    rescored: Annotated[int, whole(0, 10)]
    sigma: Annotated[float, number(above=0)]
    start_value: Annotated[float, number(least=0, to=1)]
    cma_options: Annotated[dict, MAPPING]
    search_epochs: Annotated[int, whole(0)]
    search_optimizer: Annotated[str, _OPTIMIZER]
    discriminator: Annotated[str, _NET]
    rival: Annotated[str, _OPTIMIZER]
    optimizers: Annotated[dict, Rates(_OPTIMIZER)]
    epochs: Annotated[int, whole(1)]
    batch_size: Annotated[int, whole(1)]
    repeats: Annotated[int, REPEATS]
    curve_epochs: Annotated[int, whole(1)]
    uniforms: Annotated[int, REPEATS]
    cam_images: Annotated[int, whole(1)]
    alphas: Annotated[int, REPEATS]
    table_datasets: Annotated[list, _TABLE]
    table_nets: Annotated[list, ListOf(_NET, "list names of nets", least=0)]
    table_epochs: Annotated[int, whole(1)]
    table_repeats: Annotated[int, REPEATS]
    crop: Annotated[int, whole(1)]

    @classmethod
    def shared(cls) -> tuple[str, ...]:
        """Parameters that are the same for all data sets."""
        return (*super().shared(), "table_datasets")

    def check(self) -> None:
        """Refuse optimizers that do not fit together."""
        for name in ("adam", "sgd", self.search_optimizer, self.rival):
            if name not in self.optimizers:
                raise ValueError(f"optimizers lacks {name!r}: figures and claims need its rate.")
        if self.rival == self.search_optimizer:
            raise ValueError(f"rival is {self.rival!r}, as search_optimizer is: name another one.")

    @property
    def rates(self) -> dict[str, tuple[str, float]]:
        """What trains at which rate, by the names of the optimizers in 1.F3."""
        given = {name: (name, float(rate)) for name, rate in self.optimizers.items()}
        return {**given, LOW: ("adam", float(self.optimizers["adam"]) / 10)}

    @property
    def all_datasets(self) -> list[str]:
        """Those of the whole study, and those that have only the table with larger nets."""
        return list(dict.fromkeys([*self.datasets, *self.table_datasets]))

    def comparisons(self, dataset: str) -> dict[str, tuple[int, int | None]]:
        """Searches, against draws, and against each other."""
        compared: dict[str, tuple[int, int | None]] = {}
        if dataset in self.datasets:
            compared["optimizers on the δ* of a search"] = self.search_seeds, None
            compared["evolved against uniform"] = self.search_seeds, self.uniforms
            if len(self.pixels) > 1:
                compared["larger against smaller Np"] = self.larger_seeds, self.search_seeds
            compared["against controls"] = self.search_seeds, self.control_seeds
        if dataset in self.table_datasets:
            searches = min(self.table_repeats, self.search_seeds)
            compared["in the table with larger nets"] = searches, self.table_repeats
        return compared

    @property
    def aims(self) -> list[Aim]:
        """All searches: the paper's, and its controls for the smallest Np."""
        least, aimed = self.pixels[0], self.search_optimizer
        kinds = [(least, aimed, OURS, self.search_seeds)]
        kinds += [(pixels, aimed, OURS, self.larger_seeds) for pixels in self.pixels[1:]]
        controls = (self.rival, OURS), (aimed, PLAIN), (aimed, RANDOM)
        kinds += [(least, *control, self.control_seeds) for control in controls]
        return [
            Aim(pixels, optimizer, number, method)
            for pixels, optimizer, method, searches in kinds
            for number in range(1, searches + 1)
        ]

    def options(self, net: str, aim: Aim) -> dict[str, Any]:
        """Options of :func:`kit.evolution.search` for one search."""
        plain = aim.method == PLAIN
        return {
            "pixels": aim.pixels, "popsize": self.popsize or None,
            "strategy": "random" if aim.method == RANDOM else "cma-es",
            "start": "middle" if plain else self.start,
            "saturation": 1.0 if plain else self.saturation,
            "sigma": self.sigma, "value": self.start_value,
            "options": self.cma_options, **self.scoring(net, aim.optimizer),
        }  # fmt: skip

    def scoring(self, net: str, optimizer: str) -> dict[str, Any]:
        """How a search scores its candidates: what a :class:`Scoring` is made of."""
        return {
            "net": net, "epochs": self.search_epochs or self.epochs, "optimizer": optimizer,
            "lr": float(self.optimizers[optimizer]), "batch_size": self.batch_size,
            "discriminator": self.discriminator, "discriminator_epochs": DISCRIMINATOR_EPOCHS,
            **self.precise,
        }  # fmt: skip

    def length(self, aim: Aim, popsize: int) -> int:
        """Generations of a search: the plain reading spends on them what fresh scores cost."""
        extra = -(-self.rescored * RESCORES // popsize) if aim.method == PLAIN else 0
        return self.generations + extra
