"""The tasks of the study, from its settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from kit.data.splits import Split, split
from kit.experiments.evolved_perturbations import noises, steps
from kit.experiments.evolved_perturbations.settings import STUDY, Aim, Settings
from kit.steps import Task


@dataclasses.dataclass(frozen=True)
class Training:
    """One training on perturbed images: a task, and once it is computed its result."""

    net: str
    kind: str
    pixels: int
    aim: str  # the optimizer that the noise was evolved against
    search: int  # in which of the searches
    noise: str
    optimizer: str
    repeat: int
    augmented: bool
    result: Any


@dataclasses.dataclass(frozen=True)
class Searched:
    """Everything on one data set: tasks, and once they are computed their results.

    Attributes
    ----------
    searches
        The generations of each search.
    trainings
        For 1.F3, 1.F5 and the baselines; with augmentation for 1.T1.
    lines, cams
        For each repeat.
    errors
        Clean-test errors over the generations, by pixels per class.
    """

    split: Split
    searches: dict[Aim, list]
    trainings: list[Training]
    lines: list
    cams: list
    errors: dict[int, Any]


def plan(config: Settings) -> dict[str, Searched]:
    """The tasks of the study by data set; what does not fit its images is refused."""
    return {
        name: _plan(config.on(name), name, table=name in config.table_datasets)
        for name in config.datasets
    }


def _plan(c: Settings, name: str, table: bool) -> Searched:
    images, searched = (
        split(name, c.data_root, train=train, test=test, size=c.size, seed=c.seed)
        for train, test in ((c.train, c.test), (c.search_train or c.train, 0))
    )
    _check_images(c, images, table)
    net = "graynet" if images.about.shape[0] == 1 else "colornet"
    searches = {aim: _search(c, searched, net, aim) for aim in c.aims}
    evolved = {
        aim: noises.evolved(aim.pixels, aim.optimizer, chain[-1]["state"]["best"], aim.search)
        for aim, chain in searches.items()
    }
    trainings = _trainings(c, images, net, evolved)
    if table:
        trainings += _table(c, images, evolved)
    ours = [Aim(pixels, c.search_optimizer) for pixels in c.pixels]
    common = {
        "split": images, "net": net, "noise": evolved[ours[0]], "epochs": c.epochs,
        "batch_size": c.batch_size,
    }  # fmt: skip
    rates = {f"lr_{name}": float(c.optimizers[name]) for name in ("adam", "sgd")}
    repeats = range(1, c.repeats + 1)
    return Searched(
        images,
        searches,
        trainings,
        lines=[
            steps.interpolate.task(**common, **rates, alphas=c.alphas, repeat=repeat)
            for repeat in repeats
        ],
        cams=[
            steps.grad_cam.task(**common, lr=rates["lr_adam"], images=c.cam_images, repeat=repeat)
            for repeat in repeats
        ],
        errors={
            aim.pixels: steps.learning_curve.task(
                split=searched, test=images, search=c.search(net, aim), repeats=c.repeats,
                genomes=[generation["state"]["best"] for generation in searches[aim]],
            )
            for aim in ours
        },
    )  # fmt: skip


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


def _search(c: Settings, images: Split, net: str, aim: Aim) -> list[Task]:
    """The generations of one search; each reads the state that the one before it left."""
    chain: list[Task] = []
    for number in range(1, c.generations + 1):
        previous = chain[-1]["state"] if chain else None
        task = steps.generation.task(
            split=images, search=c.search(net, aim), start=aim.search, number=number,
            previous=previous,
        )  # fmt: skip
        chain.append(task)
    return chain


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
    about = {"pixels": 0, "aim": "", "search": 1} | noise
    return Training(
        net, noise["kind"], about["pixels"], about["aim"], about["search"], noises.title(noise),
        optimizer, repeat, crop > 0, task,
    )  # fmt: skip


def _against(evolved: dict[Aim, dict], optimizer: str) -> list[dict]:
    """The noises of all searches that aim at an optimizer."""
    return [noise for aim, noise in evolved.items() if aim.optimizer == optimizer]


def _trainings(c: Settings, images: Split, net: str, evolved: dict[Aim, dict]) -> list[Training]:
    """1.F3, 1.F5 and the comparisons with the baselines."""
    ours, repeats = _against(evolved, c.search_optimizer), range(1, c.repeats + 1)
    wanted: list[tuple[dict, str, Iterable[int]]] = [
        (noise, optimizer, repeats) for noise in ours for optimizer in c.optimizers
    ]
    fixed = [noises.CLEAN, noises.LEFT, noises.SHORTCUT, *_against(evolved, c.rival)]
    for optimizer in (c.search_optimizer, c.rival):
        wanted += [(noise, optimizer, repeats) for noise in fixed]
        # Every draw is a repeat of its own: the weights it starts from differ too.
        draws = range(1, c.uniforms + 1)
        wanted += [(noises.uniform(c.pixels[0], draw), optimizer, [draw]) for draw in draws]
    return [
        _training(c, images, net, noise, optimizer, c.epochs, repeat)
        for noise, optimizer, of_noise in wanted
        for repeat in of_noise
    ]


def _table(c: Settings, images: Split, evolved: dict[Aim, dict]) -> list[Training]:
    """1.T1: other nets, with augmentation."""
    ours = _against(evolved, c.search_optimizer)
    fixed = [noises.CLEAN, noises.LEFT, noises.SHORTCUT]
    return [
        _training(c, images, net, noise, "adam", c.table_epochs, repeat, c.crop)
        for net in c.table_nets
        for repeat in range(1, c.table_repeats + 1)
        for noise in [*fixed, noises.uniform(c.pixels[0], repeat), *ours]
    ]
