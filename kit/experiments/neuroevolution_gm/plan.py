"""The tasks of the study, from its settings."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from kit.data.splits import Split
from kit.experiments.images import split
from kit.experiments.neuroevolution_gm import steps
from kit.experiments.neuroevolution_gm.settings import MUTATIONS, Settings
from kit.neuroevolution import Space

METHODS = ("L∞-PGD", "L2-PGD", "FGSM")
DEFENSES = ("free AT", "fast AT")
SHARES = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)  # of ε: how strong an attack is on the reference
IMAGES_SHOWN = 6  # with integrated gradients
PLAIN = ("Ref", "Ref retrained")  # trained without GM
COMPARED = (*PLAIN, "Ref+GM", "HE+GM", "NE+GM 1", "NE+GM 2", "Random+GM")


@dataclasses.dataclass(frozen=True)
class Net:
    """A trained net: tasks, and once they are computed their results.

    Attributes
    ----------
    trained
        Of :func:`steps.train`.
    examined
        Of :func:`steps.examine` on the clean images and all adversarial ones.
    """

    name: str
    genome: Any  # or an architecture's name
    trained: Any
    examined: Any


@dataclasses.dataclass(frozen=True)
class Run:
    """One repetition of everything, on one data set.

    Attributes
    ----------
    nets
        By name, those of `COMPARED`.
    attacks
        By method, the reference's adversarial examples.
    search
        The selections, generation by generation; the first one is the random population.
    children
        Of each generation.
    random
        As many random architectures, trained alike, as the search has tried.
    among_random
        The selection among them.
    defenses
        By defence: the reference behind a filter, or trained adversarially.
    white_box
        By net: L∞-PGD on the net itself.
    twins
        By net: Ref and NE+GM 1 on examples of twins, trained alike from another start.
    sweep
        By variant of the GM loss and λ: the reference's architecture trained with it.
    accuracy_by_eps
        Of the reference under its own attack.
    attributions
        By net, of :func:`steps.integrated_gradients`.
    transfer
        By data set: Ref, Ref+GM and NE+GM 1 trained there.
    """

    nets: dict[str, Net]
    attacks: dict[str, Any]
    search: list
    children: list[list]
    random: list
    among_random: Any
    defenses: dict[str, Net]
    white_box: dict[str, Any]
    twins: dict[str, Any]
    sweep: dict[str, dict[float, Net]]
    accuracy_by_eps: Any
    attributions: dict[str, Any]
    transfer: dict[str, dict[str, Net]]


@dataclasses.dataclass(frozen=True)
class Scale:
    """The experiment on the reduced data, or on the full."""

    split: Split
    transfer: dict[str, Split]
    runs: list[Run]


def plan(config: Settings) -> dict[str, dict[str, Scale]]:
    """The tasks by data set and scale, ``"full"`` and ``"reduced"``; what does not fit is refused.

    Without settings for the full data both scales are the same tasks, which are computed once. With
    them, what is shown on the reduced data alone is not computed on the full: the other
    defences (4.T6) and the sweep over λ (4.X2).
    """
    return {
        name: {
            "full": _scale(config.on(name).at_full(), name, reduced=not config.on(name).full),
            "reduced": _scale(dataclasses.replace(config.on(name), full={}), name, reduced=True),
        }
        for name in config.datasets
    }


def _scale(c: Settings, name: str, *, reduced: bool) -> Scale:
    images = _split(c, name, c.seed)
    others = {other: _split(c, other, c.seed + 1) for other in c.transfer_datasets}
    if name in others:  # the data set of the search: at least its images are split anew
        others[name] = others[name].at(1)
    for drawn in (images, *others.values()):
        if c.hold_out >= drawn.about.train:
            raise ValueError(
                f"hold_out is {c.hold_out}: use fewer than the {drawn.about.train} training "
                f"images of {drawn.name}."
            )
    space = c.space(min(min(drawn.about.shape[1:]) for drawn in (images, *others.values())))
    runs = range(1, c.runs + 1)
    for run in runs:  # whether there is such a population is known before anything is trained
        steps.first_population(c.seed, run, c.population, c.distance, space)
    planners = [_Planner(c, images, others, space, run, reduced) for run in runs]
    return Scale(images, others, [planner.run() for planner in planners])


def _split(c: Settings, name: str, seed: int) -> Split:
    return split(name, c.data_root, train=c.train, test=c.test, size=c.size, seed=seed)


@dataclasses.dataclass(frozen=True)
class _Planner:
    """The tasks of one run."""

    c: Settings
    split: Split
    others: dict[str, Split]
    space: Space
    number: int
    reduced: bool

    def run(self) -> Run:
        c = self.c
        reference = self.train(self.split, "Ref", c.reference)
        grads = self.gradients(self.split, reference)
        attacks = {method: self.attack(self.split, "Ref", reference, method) for method in METHODS}
        for source in c.sources:
            net = self.train(self.split, source, source)
            attacks[source] = self.attack(self.split, source, net, "L∞-PGD", source)
        children, selections = self.search(reference)
        random, among_random = self.random(reference, sum(map(len, children)))
        genomes = {
            "Ref": c.reference, "Ref retrained": c.reference, "Ref+GM": c.reference,
            "HE+GM": c.hand_engineered,
            "NE+GM 1": selections[-1]["best"][0], "NE+GM 2": selections[-1]["best"][1],
            "Random+GM": among_random["best"][0],
        }  # fmt: skip
        gm = self.gm(grads, "cosine", c.strength)
        nets = {
            name: self.net(name, genome, attacks, grads, gm=None if name in PLAIN else gm)
            for name, genome in genomes.items()
        }
        four = [nets[name] for name in ("Ref", "Ref+GM", "NE+GM 1", "NE+GM 2")]
        return Run(
            nets, attacks, selections, children, random, among_random,
            defenses=self.defenses(reference, attacks["L∞-PGD"]) if self.reduced else {},
            white_box={
                net.name: self.attack(self.split, net.name, net.trained, "L∞-PGD", net.genome)
                for net in four
            },
            twins={
                "Ref": self.twin(nets["Ref"], nets["Ref retrained"].trained),
                "NE+GM 1": self.twin(nets["NE+GM 1"], self.train(
                    self.split, "NE+GM 1", genomes["NE+GM 1"], start=3, gm=gm
                )),
            },
            sweep=self.sweep(attacks["L∞-PGD"], grads) if self.reduced else {},
            accuracy_by_eps=self.accuracy_by_eps(reference),
            attributions={net.name: self.attributions(net) for net in four[:3]},
            transfer={
                name: self.transfer(images, genomes["NE+GM 1"])
                for name, images in self.others.items()
            },
        )  # fmt: skip

    def accuracy_by_eps(self, reference: Any) -> Any:
        c = self.c
        return steps.accuracy_by_eps.task(
            split=self.split, name="Ref", net=c.reference, weights=reference["weights"],
            run=self.number, eps=[share * c.epsilon for share in SHARES], steps=c.pgd_steps,
            step_size=c.step_size,
        )  # fmt: skip

    def attributions(self, net: Net) -> Any:
        return steps.integrated_gradients.task(
            split=self.split, name=net.name, net=net.genome, weights=net.trained["weights"],
            run=self.number, count=IMAGES_SHOWN,
        )  # fmt: skip

    def train(self, split: Split, name: str, net: Any, *, start: int = 0, **how: Any) -> Any:
        # What is compared with the reference starts from other weights than it.
        start = start or (1 if name == "Ref" else 2)
        return steps.train.task(
            split=split, name=name, net=net, run=self.number, start=start, **self.c.training, **how
        )

    def gradients(self, split: Split, reference: Any) -> Any:
        return steps.gradients.task(
            split=split, net=self.c.reference, weights=reference["weights"],
            hold_out=self.c.hold_out,
        )  # fmt: skip

    def gm(self, grads: Any, variant: str, strength: float) -> dict:
        return {"gradients": grads["train"], "strength": strength, "variant": variant}

    def attack(
        self, split: Split, name: str, trained: Any, method: str, net: Any = None,
        hold_out: int = 0,
    ) -> Any:  # fmt: skip
        c = self.c
        # The paper raises FGSM's, too, but prints no size.
        sizes = (c.epsilon, c.epsilon_l2, 2 * c.epsilon)
        return steps.attack.task(
            split=split, name=name, net=net or c.reference, weights=trained["weights"],
            run=self.number, method=method, eps=dict(zip(METHODS, sizes, strict=True))[method],
            steps=c.pgd_steps, step_size=c.step_size, hold_out=hold_out,
        )  # fmt: skip

    def examine(
        self, split: Split, name: str, net: Any, trained: Any, attacks: dict, grads: Any = None,
        **how: Any,
    ) -> Net:  # fmt: skip
        examined = steps.examine.task(
            split=split, name=name, net=net, weights=trained["weights"], run=self.number,
            images={title: task["images"] for title, task in attacks.items()},
            reference=grads and grads["test"], **how,
        )  # fmt: skip
        return Net(name, net, trained, examined)

    def net(
        self, name: str, net: Any, attacks: dict, grads: Any, *, split: Split | None = None,
        gm: dict | None = None,
    ) -> Net:  # fmt: skip
        """A net trained, with the GM loss or without, and examined."""
        images = split or self.split
        how: dict[str, Any] = {"gm": gm} if gm else {}
        trained = self.train(images, name, net, **how)
        return self.examine(images, name, net, trained, attacks, grads)

    def search(self, reference: Any) -> tuple[list[list], list]:
        """Children and selections of all generations; each reads the one before it."""
        c = self.c
        child = self.child(reference)
        drawn = steps.random_genomes.task(
            seed=c.seed, run=self.number, count=c.population, distance=c.distance,
            space=self.limits,
        )  # fmt: skip
        genomes = [drawn["genomes"][k] for k in range(c.population)]
        born: list[list] = []
        selections: list = []
        for number in range(c.generations + 1):
            born.append([child(genome, number, k) for k, genome in enumerate(genomes, 1)])
            selections.append(
                steps.selection.task(
                    seed=c.seed, run=self.number, number=number,
                    previous=selections[-1]["population"] if selections else None,
                    born=[_judged(task) for task in born[-1]], children=c.children,
                    mutations=list(MUTATIONS), space=self.limits,
                )
            )  # fmt: skip
            count = c.population * c.children
            genomes = [selections[-1]["genomes"][k] for k in range(count)]
        return born, selections

    def random(self, reference: Any, count: int) -> tuple[list, Any]:
        """Random architectures trained as the children are, and the selection among them."""
        c, child = self.c, self.child(reference)
        drawn = steps.random_genomes.task(
            seed=c.seed, run=self.number, count=count, distance=None, space=self.limits
        )
        # The k-th of them is trained for as long as the k-th net of the search.
        generations = [0] * c.population
        for number in range(1, c.generations + 1):
            generations += [number] * (c.population * c.children)
        tried = [
            child(drawn["genomes"][k], number, k + 1, "random")
            for k, number in enumerate(generations)
        ]
        chosen = steps.selection.task(
            seed=c.seed, run=self.number, number=0, previous=None, born=list(map(_judged, tried)),
            children=1, mutations=list(MUTATIONS), space=self.limits,
        )  # fmt: skip
        return tried, chosen

    def child(self, reference: Any) -> functools.partial:
        c = self.c
        attack = self.attack(self.split, "Ref", reference, "L∞-PGD", hold_out=c.hold_out)
        gm = self.gm(self.gradients(self.split, reference), "cosine", c.strength)
        return functools.partial(self._child, attack["images"], gm)

    def _child(
        self, adversarial: Any, gm: dict, genome: Any, generation: int, k: int,
        name: str = "child",
    ) -> Any:  # fmt: skip
        c = self.c
        how = c.training | {"epochs": c.child_epochs(max(generation, 1))}
        return steps.child.task(
            split=self.split, name=f"{name} {k}", genome=genome, generation=generation,
            run=self.number, count=c.search_train, gm=gm, adversarial=adversarial, **how,
        )  # fmt: skip

    @property
    def limits(self) -> dict:
        """The space as a task takes it."""
        values = dataclasses.asdict(self.space)
        return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}

    def defenses(self, reference: Any, attack: Any) -> dict[str, Net]:
        c, only = self.c, {"L∞-PGD": attack}
        filters = {
            "JPEG": {"kind": "jpeg", "quality": 75}, "bilateral": {"kind": "bilateral"}
        }  # fmt: skip
        out = {
            name: self.examine(
                self.split, f"Ref, {name}", c.reference, reference, only, image_filter=values
            )
            for name, values in filters.items()
        }
        for name in DEFENSES:
            how = {"kind": name.removesuffix(" AT"), "eps": c.epsilon}
            if name == "free AT":
                how["replays"] = 4
            trained = self.train(self.split, f"Ref, {name}", c.reference, defense=how)
            out[name] = self.examine(self.split, f"Ref, {name}", c.reference, trained, only)
        return out

    def twin(self, net: Net, twin: Any) -> Any:
        """A net on adversarial examples of its twin: trained alike, from another start."""
        attack = self.attack(self.split, f"{net.name}'s twin", twin, "L∞-PGD", net.genome)
        only = {"twin": attack}
        return self.examine(self.split, net.name, net.genome, net.trained, only).examined

    def sweep(self, attack: Any, grads: Any) -> dict[str, dict[float, Net]]:
        c = self.c
        return {
            variant: {
                strength: self.net(
                    "Ref+GM", c.reference, {"L∞-PGD": attack}, grads,
                    gm=self.gm(grads, variant, strength),
                )
                for strength in c.strengths
            }
            for variant in ("cosine", "absolute")
        }  # fmt: skip

    def transfer(self, images: Split, genome: Any) -> dict[str, Net]:
        """Ref, Ref+GM and NE+GM trained on another data set."""
        c = self.c
        reference = self.train(images, "Ref", c.reference)
        grads = self.gradients(images, reference)
        attacks = {"L∞-PGD": self.attack(images, "Ref", reference, "L∞-PGD")}
        gm = self.gm(grads, "cosine", c.strength)
        return {
            name: self.net(
                name, net, attacks, grads, split=images, gm=None if name == "Ref" else gm
            )
            for name, net in (("Ref", c.reference), ("Ref+GM", c.reference), ("NE+GM 1", genome))
        }


def _judged(child: Any) -> dict:
    """What a selection needs of a child."""
    return {name: child[name] for name in ("genome", "fitness", "generation")}
