"""What the study is about, and its parameters with their bounds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from kit.constraints import MAPPING, REPEATS, TEXT, ListOf, OneOf, number, whole
from kit.data.splits import Split
from kit.experiments.images import ImageSettings
from kit.experiments.reference import REFERENCE
from kit.harness.results.study import Study
from kit.nets import ARCHITECTURES
from kit.neuroevolution import Space

if TYPE_CHECKING:
    from kit.experiments.neuroevolution_gm.tree import Scale
    from kit.harness.steps import Task

KERNELS = (3, 5)  # sizes of kernels
MUTATIONS = (4, 5)  # fewest and most that make a child
SKIPPING = ("resnet", "densenet", "hand_")  # so begin the names of nets with skip connections
EPOCHS_MORE, EVERY = 5, 10  # children train so many epochs more after so many generations
STUDY = Study(
    notebook="04_neuroevolution_gm",
    reference=REFERENCE,
    datasets={"cifar10": "CIFAR-10"},
    claims={
        "4.C1": "NE+GM beats Ref and Ref+GM on the reference's adversarial examples, at a clean"
        " accuracy not below Ref's.",
        "4.C2": "It holds for examples made on four other nets.",
        "4.C3": "The evolved architecture carries over to other data sets.",
        "4.C4": "NE+GM has the lowest fooling rate under L∞- and L2-PGD.",
        "4.C5": "NE+GM is fooled less than the reference with each of four defences.",
        "4.C6": "Evolution is worth its cost: the best evolved architecture beats the best of as"
        " many random ones.",
        "4.C7": "Reduced set: every GM net beats Ref on clean images and NE+GM is the best; on"
        " adversarial ones it is comparable to Ref+GM and above HE+GM.",
        "4.C8": "NE+GM is misaligned with the reference more than Ref+GM.",
        "4.C9": "HE+GM is fooled least under FGSM.",
        "4.C10": "L∞-PGD fools nets with GM less than L2-PGD.",
        "4.C11": "Ref is most vulnerable to examples of nets with skip connections.",
        "4.X1": "Beyond the paper: low transferability is robustness, in that NE+GM keeps half of"
        " its accuracy on adversarial images where they are made on itself, or on a twin of it,"
        " and more than Ref does.",
        "4.X2": "Beyond the paper: at equal clean accuracy the signed cosine withstands more"
        " attacks than |cos|.",
    },
    title="Neuroevolution with gradient misalignment",
    citation="Operiano, Pora, Iba & Kera: Evolving Architectures with Gradient Misalignment toward"
    " Low Adversarial Transferability. 2021.",
    finding=(
        "Nets trained against a reference's gradients withstand examples made on it, and no "
        "attack made on themselves. Evolved architectures do no better than the best of as many "
        "random ones."
    ),
    headline="4.X2",
    shown_by={
        "4.C1": ("4.T1", "4.T4"),
        "4.C2": ("4.T2",),
        "4.C3": ("4.T3", "4.T7"),
        "4.C4": ("4.T5",),
        "4.C5": ("4.T6",),
        "4.C6": ("4.X3",),
        "4.C7": ("4.T4",),
        "4.C8": ("4.F3",),
        "4.C9": ("4.T5",),
        "4.C10": ("4.T5",),
        "4.C11": ("4.T2",),
    },
    names={id: {"cifar10": id} for id in (*(f"4.T{k}" for k in range(1, 8)), "4.F3", "4.F4")},
)
_NET = OneOf(ARCHITECTURES, "net")
_WHOLE = whole(1)
_POSITIVE, _EPS = number(above=0), number(above=0, to=1)
_NAMES = ListOf(TEXT, "list names of data sets", least=0)
_STRENGTHS = ListOf(_POSITIVE, "list positive numbers, such as [0.3, 1]", ascending=True)
_WIDTHS = ListOf(_WHOLE, "list whole numbers from 1 on, such as [16, 32]", ascending=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(ImageSettings):
    """Parameters of the study; the notebook says what each of them means."""

    size: Annotated[int, whole(0)]
    runs: Annotated[int, REPEATS]
    transfer_datasets: Annotated[list, _NAMES]
    full: Annotated[dict, MAPPING]
    reference: Annotated[str, _NET]
    hand_engineered: Annotated[str, _NET]
    sources: Annotated[list, ListOf(_NET, "list names of nets", least=1)]
    epsilon: Annotated[float, _EPS]
    epsilon_l2: Annotated[float, _POSITIVE]
    pgd_steps: Annotated[int, _WHOLE]
    strength: Annotated[float, number(least=0)]
    strengths: Annotated[list, _STRENGTHS]
    population: Annotated[int, whole(2, 10_000)]
    children: Annotated[int, REPEATS]
    distance: Annotated[float, number(least=0)]
    generations: Annotated[int, REPEATS]
    widths: Annotated[list, _WIDTHS]
    blocks: Annotated[int, whole(2)]
    hold_out: Annotated[int, whole(0)]
    search_train: Annotated[int, whole(0)]
    search_epochs: Annotated[int, _WHOLE]
    epochs: Annotated[int, _WHOLE]
    more_epochs: Annotated[int, whole(0)]
    batch_size: Annotated[int, whole(2)]

    @classmethod
    def shared(cls) -> tuple[str, ...]:
        """Parameters that are the same for all data sets."""
        return (*super().shared(), "transfer_datasets", "runs")

    def images(self) -> Iterator[Split]:
        """Which images a run reads, those of the data sets that architectures carry over to too."""
        for name in self.datasets:
            for scale in (self.on(name).at_full(), self.on(name)):
                yield scale.images_of(name)
                for other in scale.transfer_datasets:
                    yield scale.images_of(other, scale.seed + 1)

    def check(self) -> None:
        """Refuse a bad experiment on the full data, and what does not fit together."""
        if self.full:
            self.at_full()

    def at_full(self) -> Settings:
        """The parameters of the experiment on the full data (4.T1 to 4.T3, 4.F3)."""
        allowed = [name for name in self.may_be_special() if name != "full"]
        for name in self.full:
            if name not in allowed:
                raise ValueError(f"full has {name!r}: allowed are {', '.join(allowed)}.")
        try:
            return dataclasses.replace(self, full={}, **self.full)
        except ValueError as error:
            raise ValueError(f"full: {error}")

    def comparisons(self, dataset: str) -> dict[str, tuple[int, int | None]]:
        """Runs of everything from the reference on."""
        return {"difference within a run": (self.runs, None)}

    @property
    def training(self) -> dict[str, Any]:
        """How every net is trained: by Adam with torch's defaults.

        The paper keeps torch's defaults, too, but does not name its optimizer.
        """
        names = ("epochs", "batch_size", "hold_out")
        chosen = {name: getattr(self, name) for name in names}
        return {**chosen, "optimizer": "adam", "lr": 1e-3, **self.precise}

    @property
    def step_size(self) -> float:
        """Of PGD, as a part of ε: 40 steps of ε/10, and as far in fewer."""
        return 4 / self.pgd_steps

    def child_epochs(self, generation: int) -> int:
        """Epochs of the children of a generation; those of the first population as of the first."""
        return self.search_epochs + EPOCHS_MORE * ((generation - 1) // EVERY)

    def remarks(self, plan: dict[str, dict[str, Scale[Task]]]) -> list[str]:
        """How far the search can trust its fitness."""
        from kit.experiments.neuroevolution_gm import searched

        return [searched.remark(scales["reduced"]) for scales in plan.values()]

    def space(self, side: int) -> Space:
        """The architectures that a search may reach, for images of a side."""
        return Space(tuple(self.widths), KERNELS, min(side, 28), self.blocks)
