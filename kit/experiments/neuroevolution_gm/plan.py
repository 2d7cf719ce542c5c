"""The tasks of the study, from its settings."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from kit.constraints import in_one_line
from kit.data.splits import Split
from kit.experiments.images import split
from kit.experiments.neuroevolution_gm import search_steps, steps
from kit.experiments.neuroevolution_gm.roles import (
    BEST,
    COMPARED,
    FILTERED,
    HAND_ENGINEERED,
    HARDENED,
    MISALIGNED,
    PLAIN,
    RANDOM,
    REFERENCE,
    RETRAINED,
    SECOND,
    Role,
    word,
)
from kit.experiments.neuroevolution_gm.settings import MUTATIONS, Settings
from kit.experiments.neuroevolution_gm.steps import LINF, METHODS
from kit.experiments.neuroevolution_gm.tree import Net, Run, Scale
from kit.harness.steps import Task
from kit.neuroevolution import Space

SHARES = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)  # of ε: how strong an attack is on the reference
IMAGES_SHOWN = 6  # with integrated gradients
FILTERS = ({"kind": "jpeg", "quality": 75}, {"kind": "bilateral"})  # in the order of FILTERED


@in_one_line
def plan(c: Settings) -> dict[str, dict[str, Scale[Task]]]:
    """The tasks by data set and scale, ``"full"`` and ``"reduced"``; what does not fit is refused.

    Without settings for the full data both scales are the same tasks, which are computed once. With
    them, what is shown on the reduced data alone is not computed on the full: the other
    defences (4.T6) and the sweep over λ (4.X2).
    """
    return {
        name: {
            "full": _scale(c.on(name).at_full(), name, reduced=not c.on(name).full),
            "reduced": _scale(dataclasses.replace(c.on(name), full={}), name, reduced=True),
        }
        for name in c.datasets
    }


def _scale(config: Settings, name: str, *, reduced: bool) -> Scale[Task]:
    images = _split(config, name, config.seed)
    others = {other: _split(config, other, config.seed + 1) for other in config.transfer_datasets}
    if name in others:  # the data set of the search: at least its images are split anew
        others[name] = others[name].at(1)
    for drawn in (images, *others.values()):
        if config.hold_out >= drawn.about.train:
            raise ValueError(
                f"hold_out is {config.hold_out}: use fewer than the {drawn.about.train} training "
                f"images of {drawn.name}."
            )
    space = config.space(min(min(drawn.about.shape[1:]) for drawn in (images, *others.values())))
    runs = range(1, config.runs + 1)
    for run in runs:  # whether there is such a population is known before anything is trained
        search_steps.first_population(config.seed, run, config.population, config.distance, space)
    planners = [_Planner(config, images, others, space, run, reduced) for run in runs]
    return Scale(images, others, [planner.run() for planner in planners])


def _split(config: Settings, name: str, seed: int) -> Split:
    return split(
        name, config.data_root, train=config.train, test=config.test, size=config.size, seed=seed
    )


@dataclasses.dataclass(frozen=True)
class _Planner:
    """The tasks of one run."""

    config: Settings
    split: Split
    others: dict[str, Split]
    space: Space
    number: int
    reduced: bool

    def run(self) -> Run[Task]:
        config = self.config
        reference = self.train(self.split, REFERENCE, config.reference)
        grads = self.gradients(self.split, reference)
        attacks = {
            method: self.attack(self.split, REFERENCE, reference, method) for method in METHODS
        }
        for source in config.sources:
            net = self.train(self.split, Role(source), source)
            attacks[source] = self.attack(self.split, Role(source), net, LINF, source)
        children, selections = self.search(reference)
        random, fittest, again = self.random(reference, sum(map(len, children)))
        gm = self.gm(grads, "cosine", config.strength)
        evolved, trained = self.finalists("finalist", selections[-1], reference, gm)
        drawn, trained_random = self.finalists("drawn finalist", fittest, reference, gm)
        chosen = {
            BEST: self.finalist(0, evolved, trained),
            SECOND: self.finalist(1, evolved, trained),
            RANDOM: self.finalist(0, drawn, trained_random),
        }
        by_hand = dict.fromkeys((REFERENCE, RETRAINED, MISALIGNED), config.reference)
        by_hand[HAND_ENGINEERED] = config.hand_engineered
        nets = {
            role: self.net(role, net, attacks, grads, gm=None if role in PLAIN else gm)
            for role, net in by_hand.items()
        } | {
            role: self.examine(self.split, role, net["genome"], net, attacks, grads)
            for role, net in chosen.items()
        }
        nets = {role: nets[role] for role in COMPARED}
        best = chosen[BEST]["genome"]
        four = [nets[role] for role in (REFERENCE, MISALIGNED, BEST, SECOND)]
        return Run(
            nets,
            attacks,
            selections,
            children,
            random,
            again,
            {"evolved": evolved, "random": drawn},
            defenses=self.defenses(reference, attacks[LINF]) if self.reduced else {},
            white_box={
                net.role: self.attack(self.split, net.role, net.trained, LINF, net.genome)
                for net in four
            },
            twins={
                REFERENCE: self.twin(nets[REFERENCE], nets[RETRAINED].trained),
                BEST: self.twin(nets[BEST], self.train(self.split, BEST, best, start=3, gm=gm)),
            },
            sweep=self.sweep(attacks[LINF], grads) if self.reduced else {},
            accuracy_by_eps=self.accuracy_by_eps(reference),
            attributions={net.role: self.attributions(net) for net in four[:3]},
            transfer={name: self.transfer(images, best) for name, images in self.others.items()},
        )

    def accuracy_by_eps(self, reference: Task) -> Task:
        config = self.config
        return steps.accuracy_by_eps.task(
            split=self.split,
            name=word(REFERENCE),
            net=config.reference,
            weights=reference["weights"],
            run=self.number,
            eps=[share * config.epsilon for share in SHARES],
            steps=config.pgd_steps,
            step_size=config.step_size,
        )

    def attributions(self, net: Net[Task]) -> Task:
        return steps.integrated_gradients.task(
            split=self.split,
            name=word(net.role),
            net=net.genome,
            weights=net.trained["weights"],
            run=self.number,
            count=IMAGES_SHOWN,
        )

    def train(self, split: Split, role: Role, net: Any, *, start: int = 0, **how: Any) -> Task:
        # What is compared with the reference starts from other weights than it.
        start = start or (1 if role == REFERENCE else 2)
        return steps.train.task(
            split=split,
            name=word(role),
            net=net,
            run=self.number,
            start=start,
            **self.config.training | how,
        )

    def gradients(self, split: Split, reference: Task) -> Task:
        return steps.gradients.task(
            split=split,
            net=self.config.reference,
            weights=reference["weights"],
            hold_out=self.config.hold_out,
        )

    def gm(self, grads: Task, variant: str, strength: float) -> dict:
        return {"gradients": grads["train"], "strength": strength, "variant": variant}

    def attack(
        self,
        split: Split,
        role: Role,
        trained: Task,
        method: str,
        net: Any = None,
        *,
        name: str = "",
        hold_out: int = 0,
    ) -> Task:
        config = self.config
        # The paper raises FGSM's, too, but prints no size.
        sizes = (config.epsilon, config.epsilon_l2, 2 * config.epsilon)
        return steps.attack.task(
            split=split,
            name=name or word(role),
            net=net or config.reference,
            weights=trained["weights"],
            run=self.number,
            method=method,
            eps=dict(zip(METHODS, sizes, strict=True))[method],
            steps=config.pgd_steps,
            step_size=config.step_size,
            hold_out=hold_out,
        )

    def examine(
        self,
        split: Split,
        role: Role,
        net: Any,
        trained: Task,
        attacks: dict[str, Task],
        grads: Task | None = None,
        **how: Any,
    ) -> Net[Task]:
        examined = steps.examine.task(
            split=split,
            name=word(role),
            net=net,
            weights=trained["weights"],
            run=self.number,
            images={method: task["images"] for method, task in attacks.items()},
            reference=grads and grads["test"],
            **how,
        )
        return Net(role, net, trained, examined)

    def net(
        self,
        role: Role,
        net: Any,
        attacks: dict[str, Task],
        grads: Task,
        *,
        split: Split | None = None,
        gm: dict | None = None,
    ) -> Net[Task]:
        """A net trained, with the GM loss or without, and examined."""
        images = split or self.split
        how: dict[str, Any] = {"gm": gm} if gm else {}
        trained = self.train(images, role, net, **how)
        return self.examine(images, role, net, trained, attacks, grads)

    def search(self, reference: Task) -> tuple[list[list[Task]], list[Task]]:
        """Children and selections of all generations; each reads the one before it."""
        config = self.config
        child = self.child(reference)
        drawn = search_steps.random_genomes.task(
            seed=config.seed,
            run=self.number,
            count=config.population,
            distance=config.distance,
            space=self.limits,
        )
        genomes = [drawn["genomes"][k] for k in range(config.population)]
        born: list[list[Task]] = []
        selections: list[Task] = []
        for number in range(config.generations + 1):
            born.append(
                [child(genome, number, Role("child", k)) for k, genome in enumerate(genomes, 1)]
            )
            selections.append(
                search_steps.selection.task(
                    seed=config.seed,
                    run=self.number,
                    number=number,
                    previous=_kept(selections[-1]) if selections else None,
                    born=[_judged(task) for task in born[-1]],
                    children=config.children,
                    mutations=list(MUTATIONS),
                    space=self.limits,
                )
            )
            count = config.population * config.children
            genomes = [selections[-1]["genomes"][k] for k in range(count)]
        return born, selections

    def random(self, reference: Task, count: int) -> tuple[list[Task], Task, list[Task]]:
        """Random architectures trained as the children are, the fittest, and some once more."""
        config, child = self.config, self.child(reference)
        drawn = search_steps.random_genomes.task(
            seed=config.seed, run=self.number, count=count, distance=None, space=self.limits
        )
        # The k-th of them is trained for as long as the k-th net of the search.
        generations = [0] * config.population
        for number in range(1, config.generations + 1):
            generations += [number] * (config.population * config.children)
        tried = [
            child(drawn["genomes"][k], number, Role("drawn", k + 1))
            for k, number in enumerate(generations)
        ]
        again = [
            child(drawn["genomes"][k], generations[k], Role("again", k + 1))
            for k in range(2 * config.population)
        ]
        fittest: Task | None = None
        for first in range(0, count, config.population):
            fittest = search_steps.fittest.task(
                run=self.number,
                previous=_kept(fittest) if fittest else None,
                born=list(map(_judged, tried[first : first + config.population])),
                count=config.population,
            )
        assert fittest is not None
        return tried, fittest, again

    def finalists(
        self, part: str, population: Task, reference: Task, gm: dict
    ) -> tuple[list[Task], list[Task]]:
        """A population trained to the end: judged, and trained."""
        config = self.config
        attack = self.attack(self.split, REFERENCE, reference, LINF, hold_out=config.hold_out)
        trained, judged = [], []
        for k in range(config.population):
            role, genome = Role(part, k + 1), population["population"][k]["genome"]
            how: dict[str, Any] = {"gm": gm}
            if config.more_epochs:
                how |= {"weights": population["weights"][k], "epochs": config.more_epochs}
            trained.append(self.train(self.split, role, genome, **how))
            judged.append(
                search_steps.judge.task(
                    split=self.split,
                    name=word(role),
                    genome=genome,
                    weights=trained[-1]["weights"],
                    run=self.number,
                    hold_out=config.hold_out,
                    adversarial=attack["images"],
                )
            )
        return judged, trained

    def finalist(self, rank: int, judged: list[Task], trained: list[Task]) -> Task:
        """The best of them in the end, or a later one."""
        return search_steps.finalist.task(
            run=self.number,
            rank=rank,
            fitness=[net["fitness"] for net in judged],
            genomes=[net["genome"] for net in judged],
            weights=[net["weights"] for net in trained],
        )

    def child(self, reference: Task) -> functools.partial[Task]:
        config = self.config
        attack = self.attack(self.split, REFERENCE, reference, LINF, hold_out=config.hold_out)
        on_test = self.attack(self.split, REFERENCE, reference, LINF)
        gm = self.gm(self.gradients(self.split, reference), "cosine", config.strength)
        examples = {"adversarial": attack["images"], "on_test": on_test["images"]}
        return functools.partial(self._child, examples, gm)

    def _child(self, examples: dict, gm: dict, genome: Any, generation: int, role: Role) -> Task:
        config = self.config
        how = config.training | {"epochs": config.child_epochs(max(generation, 1))}
        return search_steps.child.task(
            split=self.split,
            name=word(role),
            genome=genome,
            generation=generation,
            run=self.number,
            count=config.search_train,
            gm=gm,
            **examples,
            **how,
        )

    @property
    def limits(self) -> dict:
        """The space as a task takes it."""
        values = dataclasses.asdict(self.space)
        return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}

    def defenses(self, reference: Task, attack: Task) -> dict[Role, Net[Task]]:
        config, only = self.config, {LINF: attack}
        out = {
            role: self.examine(
                self.split, role, config.reference, reference, only, image_filter=image_filter
            )
            for role, image_filter in zip(FILTERED, FILTERS, strict=True)
        }
        for role in HARDENED:
            how = {"kind": role.part, "eps": config.epsilon}
            if role.part == "free":
                how["replays"] = 4
            trained = self.train(self.split, role, config.reference, defense=how)
            out[role] = self.examine(self.split, role, config.reference, trained, only)
        return out

    def twin(self, net: Net[Task], twin: Task) -> Task:
        """A net on adversarial examples of its twin: trained alike, from another start."""
        attack = self.attack(
            self.split, net.role, twin, LINF, net.genome, name=f"{word(net.role)}'s twin"
        )
        only = {"twin": attack}
        return self.examine(self.split, net.role, net.genome, net.trained, only).examined

    def sweep(self, attack: Task, grads: Task) -> dict[str, dict[float, Net[Task]]]:
        config = self.config
        return {
            variant: {
                strength: self.net(
                    MISALIGNED,
                    config.reference,
                    {LINF: attack},
                    grads,
                    gm=self.gm(grads, variant, strength),
                )
                for strength in config.strengths
            }
            for variant in ("cosine", "absolute")
        }

    def transfer(self, images: Split, genome: Any) -> dict[Role, Net[Task]]:
        """The reference, its architecture with GM and the evolved one, on another data set."""
        config = self.config
        reference = self.train(images, REFERENCE, config.reference)
        grads = self.gradients(images, reference)
        attacks = {LINF: self.attack(images, REFERENCE, reference, LINF)}
        gm = self.gm(grads, "cosine", config.strength)
        genomes = {REFERENCE: config.reference, MISALIGNED: config.reference, BEST: genome}
        return {
            role: self.net(
                role, net, attacks, grads, split=images, gm=None if role == REFERENCE else gm
            )
            for role, net in genomes.items()
        }


def _judged(child: Task) -> dict:
    """What a selection needs of a child."""
    return {name: child[name] for name in ("genome", "weights", "fitness", "generation")}


def _kept(selection: Task) -> dict:
    """What the next selection needs of one."""
    return {name: selection[name] for name in ("population", "weights")}
