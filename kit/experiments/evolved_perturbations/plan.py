"""The tasks of the study, from its settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from kit.data.splits import Split, split
from kit.experiments.evolved_perturbations import noises, search_steps, steps
from kit.experiments.evolved_perturbations.settings import (
    OURS,
    PLAIN,
    RESCORES,
    STUDY,
    Aim,
    Settings,
)
from kit.optimizers import cma_popsize
from kit.results.statistics import MIN_REPEATS
from kit.steps import Step, Task


@dataclasses.dataclass(frozen=True)
class Training:
    """One training on perturbed images: a task, and once it is computed its result."""

    net: str
    kind: str
    pixels: int
    aim: str  # the optimizer that the noise was evolved against
    method: str  # of the search
    search: int  # in which of the searches
    noise: str
    optimizer: str
    repeat: int
    augmented: bool
    result: Any


@dataclasses.dataclass(frozen=True)
class Search:
    """One search: tasks, and once they are computed their results.

    Attributes
    ----------
    generations
        In their order.
    chosen
        Its δ*, after fresh scores.
    first, last
        Clean-test errors of the candidates of the first and the last generation, one training
        each; None for the controls.
    best
        Likewise of the best candidate so far after each generation.
    """

    generations: list
    chosen: Any
    first: Any
    last: Any
    best: Any


@dataclasses.dataclass(frozen=True)
class Searched:
    """Everything on one data set: tasks, and once they are computed their results.

    Attributes
    ----------
    split, searched
        The images, and those that the searches see: the same unless ``search_train`` is set.
    baselines
        Titles of the noises that no search made, and their F.
    trainings
        For 1.F3, 1.F5 and the baselines; with augmentation for 1.T1.
    lines, backgrounds
        For the δ* of each search for the smallest Np, of each training on it.
    cam
        Of the first training of the first search.
    examples
        Of the first search for each Np.
    """

    split: Split
    searched: Split
    searches: dict[Aim, Search]
    baselines: list[str]
    baseline_scores: Any
    trainings: list[Training]
    lines: list
    backgrounds: list
    cam: Any
    examples: dict[int, Any]


def plan(config: Settings) -> dict[str, Searched]:
    """The tasks of the study by data set; what does not fit its images is refused."""
    return {
        name: _plan(config.on(name), name, table=name in config.table_datasets)
        for name in config.datasets
    }


def _plan(c: Settings, name: str, table: bool) -> Searched:
    images, searched = (
        split(name, c.data_root, train=train, test=c.test, size=c.size, seed=c.seed)
        for train in (c.train, c.search_train or c.train)
    )
    _check_images(c, images, table)
    net = "graynet" if images.about.shape[0] == 1 else "colornet"
    searches = {aim: _search(c, searched, net, aim) for aim in c.aims}
    evolved = {aim: _noise(c, aim, one.chosen["genome"]) for aim, one in searches.items()}
    trainings = _trainings(c, images, net, evolved)
    if table:
        trainings += _table(c, images, evolved)
    ours = {
        aim: noise
        for aim, noise in evolved.items()
        if (aim.pixels, aim.optimizer, aim.method) == (c.pixels[0], c.search_optimizer, OURS)
    }
    baselines = _baselines(c)
    return Searched(
        images, searched, searches, [noises.title(noise) for noise in baselines],
        search_steps.baseline_fitness.task(
            split=searched, search=c.search(net, next(iter(ours))), baselines=baselines
        ),
        trainings, **_pictures(c, images, net, ours),
        examples={
            pixels: steps.examples.task(
                split=images, noise=evolved[Aim(pixels, c.search_optimizer)]
            )
            for pixels in c.pixels
        },
    )  # fmt: skip


def _pictures(c: Settings, images: Split, net: str, ours: dict[Aim, dict]) -> dict[str, Any]:
    """The lines and the Grad-CAMs: for each search one of every training on its δ*."""
    common = {"split": images, "net": net, "epochs": c.epochs, "batch_size": c.batch_size}
    adam, sgd = (float(c.optimizers[name]) for name in ("adam", "sgd"))
    lined = {"lr_adam": adam, "lr_sgd": sgd, "alphas": c.alphas}
    looked = {"lr": adam, "images": c.cam_images}
    trained = [[(noise, repeat) for repeat in _repeats(c, aim)] for aim, noise in ours.items()]

    def each(step: Step, options: dict[str, Any]) -> list[list[Task]]:
        return [
            [step.task(**common, **options, noise=noise, repeat=repeat) for noise, repeat in search]
            for search in trained
        ]

    noise, repeat = trained[0][0]
    return {
        "lines": each(steps.interpolate, lined),
        "backgrounds": each(steps.background, looked),
        "cam": steps.grad_cam.task(**common, **looked, noise=noise, repeat=repeat),
    }


def _noise(c: Settings, aim: Aim, genome: Any) -> dict[str, Any]:
    saturation = 1.0 if aim.method == PLAIN else c.saturation
    return noises.evolved(aim.pixels, aim.optimizer, genome, aim.search, aim.method, saturation)


def _baselines(c: Settings) -> list[dict]:
    draws = range(1, min(c.uniforms, 5) + 1)
    return [noises.LEFT, noises.SHORTCUT, *(noises.uniform(c.pixels[0], draw) for draw in draws)]


def _repeats(c: Settings, aim: Aim) -> range:
    """The numbers that nets start from: one for every training on a search's δ*."""
    return range((aim.search - 1) * c.repeats + 1, aim.search * c.repeats + 1)


def _check_images(c: Settings, images: Split, table: bool) -> None:
    _, height, width = images.about.shape
    for pixels in c.pixels:
        if pixels > height * width:
            raise ValueError(
                f"pixels is {pixels}: use a whole number from 1 to {height * width}, since an "
                f"image has {height}×{width} pixels."
            )
    if c.cma_options:
        from kit import evolution  # torch and pycma

        evolution.check_options(c.cma_options)
    if table and c.crop > min(height, width) // 2:
        raise ValueError(
            f"crop is {c.crop}: use at most half of the image's side, {min(height, width) // 2}."
        )


def _search(c: Settings, images: Split, net: str, aim: Aim) -> Search:
    """The generations of one search, each reading the state that the one before it left."""
    search = c.search(net, aim)
    chain: list[Task] = []
    common = {"split": images, "method": aim.method, "search": search, "start": aim.search}
    genes = len(images.about.classes) * aim.pixels * (2 + images.about.shape[0])
    for number in range(1, c.length(aim, c.popsize or cma_popsize(genes)) + 1):
        previous = chain[-1]["state"] if chain else None
        chain.append(search_steps.generation.task(**common, number=number, previous=previous))
    state = chain[-1]["state"]
    chosen = search_steps.choose.task(
        **common, genomes=state["genomes"], repeats=RESCORES,
        count=0 if aim.method == PLAIN else c.rescored,
    )  # fmt: skip
    if aim.method != OURS or aim.optimizer != c.search_optimizer:
        return Search(chain, chosen, None, None, None)
    errors = [
        steps.candidate_errors.task(**common, genomes=genomes)
        for genomes in (
            chain[0]["candidates"], chain[-1]["candidates"],
            [generation["state"]["genomes"][0] for generation in chain],
        )
    ]  # fmt: skip
    return Search(chain, chosen, *errors)


def _training(
    c: Settings, images: Split, net: str, noise: dict, optimizer: str, epochs: int, repeat: int,
    crop: int = 0,
) -> Training:  # fmt: skip
    # Flips where the study says so: a mirrored digit is no digit.
    flip = crop > 0 and STUDY.concerns("flips", images.name)
    task = steps.train_perturbed.task(
        split=images, net=net, noise=noise, optimizer=optimizer,
        lr=float(c.optimizers[optimizer]), epochs=epochs, batch_size=c.batch_size, crop=crop,
        flip=flip, repeat=repeat,
    )  # fmt: skip
    about = {"pixels": 0, "aim": "", "method": "", "search": 1} | noise
    return Training(
        net, noise["kind"], about["pixels"], about["aim"], about["method"], about["search"],
        noises.title(noise), optimizer, repeat, crop > 0, task,
    )  # fmt: skip


def _trainings(c: Settings, images: Split, net: str, evolved: dict[Aim, dict]) -> list[Training]:
    """1.F3, 1.F5 and the comparisons with the baselines and with other searches."""
    wanted: list[tuple[dict, str, Iterable[int]]] = []
    for aim, noise in evolved.items():
        mine = aim.method == OURS and aim.optimizer == c.search_optimizer
        other = {c.search_optimizer, aim.optimizer}
        optimizers = list(c.optimizers) if mine else sorted(other)
        wanted += [(noise, optimizer, _repeats(c, aim)) for optimizer in optimizers]
    several, draws = range(1, max(c.repeats, MIN_REPEATS) + 1), range(1, c.uniforms + 1)
    for optimizer in (c.search_optimizer, c.rival):
        fixed = (noises.CLEAN, noises.LEFT, noises.SHORTCUT)
        wanted += [(noise, optimizer, several) for noise in fixed]
        # Every draw is a repeat of its own: the weights it starts from differ too.
        wanted += [(noises.uniform(c.pixels[0], draw), optimizer, [draw]) for draw in draws]
    return [
        _training(c, images, net, noise, optimizer, c.epochs, repeat)
        for noise, optimizer, of_noise in wanted
        for repeat in of_noise
    ]


def _table(c: Settings, images: Split, evolved: dict[Aim, dict]) -> list[Training]:
    """1.T1: other nets, with augmentation; a repeat of ours is a search."""
    ours = [
        (noise, aim.search)
        for aim, noise in evolved.items()
        if aim.optimizer == c.search_optimizer and aim.method == OURS
        and aim.search <= c.table_repeats
    ]  # fmt: skip
    fixed = [
        (noise, repeat)
        for repeat in range(1, c.table_repeats + 1)
        for noise in (
            noises.CLEAN, noises.LEFT, noises.SHORTCUT, noises.uniform(c.pixels[0], repeat)
        )
    ]  # fmt: skip
    return [
        _training(c, images, net, noise, "adam", c.table_epochs, repeat, c.crop)
        for net in c.table_nets
        for noise, repeat in [*fixed, *ours]
    ]
