"""The tasks of the study, from its settings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kit.data.splits import Split
from kit.experiments.evolved_perturbations import noises, search_steps, steps
from kit.experiments.evolved_perturbations.settings import (
    OURS,
    PLAIN,
    RESCORES,
    STUDY,
    Aim,
    Settings,
)
from kit.experiments.evolved_perturbations.tree import Plan, Search, Searched, Table, Training
from kit.experiments.images import split
from kit.harness.results.power import MIN_REPEATS
from kit.harness.steps import Step, Task


def plan(config: Settings) -> Plan[Task]:
    """The tasks of the study by data set; what does not fit its images is refused."""
    return Plan(
        {name: _searched(config.on(name), name) for name in config.datasets},
        {name: _table(config.on(name), name) for name in config.table_datasets},
    )


def _searched(c: Settings, name: str) -> Searched[Task]:
    images, seen, net = _images(c, name)
    searches = {aim: _search(c, seen, net, aim) for aim in c.aims}
    evolved = _evolved(c, searches)
    ours = {
        aim: noise
        for aim, noise in evolved.items()
        if (aim.pixels, aim.optimizer, aim.method) == (c.pixels[0], c.search_optimizer, OURS)
    }
    searches |= {
        aim: _tested(c, seen, net, aim, searches[aim]) for aim in c.aims if _is_ours(c, aim)
    }
    baselines = _baselines(c)
    return Searched(
        images, seen, searches, [noises.title(noise) for noise in baselines],
        search_steps.baseline_fitness.task(
            split=seen, search=c.search(net, next(iter(ours))), baselines=baselines
        ),
        _trainings(c, images, net, evolved), **_pictures(c, images, net, ours),
        examples={
            pixels: steps.examples.task(
                split=images, noise=evolved[Aim(pixels, c.search_optimizer)]
            )
            for pixels in c.pixels
        },
    )  # fmt: skip


def _table(c: Settings, name: str) -> Table[Task]:
    """1.T1: other nets, with augmentation; a repeat of ours is a search."""
    images, seen, net = _images(c, name)
    side = min(images.about.shape[1:])
    if c.crop > side // 2:
        raise ValueError(f"crop is {c.crop}: use at most half of the image's side, {side // 2}.")
    ours = [aim for aim in c.aims if _is_ours(c, aim) and aim.search <= c.table_repeats]
    searches = {aim: _search(c, seen, net, aim) for aim in ours}
    fixed = [
        (noise, repeat)
        for repeat in range(1, c.table_repeats + 1)
        for noise in (
            noises.CLEAN, noises.LEFT, noises.SHORTCUT, noises.uniform(c.pixels[0], repeat)
        )
    ]  # fmt: skip
    evolved = [(noise, aim.search) for aim, noise in _evolved(c, searches).items()]
    trainings = [
        _training(c, images, net, noise, "adam", c.table_epochs, repeat, c.crop)
        for net in c.table_nets
        for noise, repeat in [*fixed, *evolved]
    ]
    return Table(images, seen, searches, trainings)


def _images(c: Settings, name: str) -> tuple[Split, Split, str]:
    """The images, those that the searches see, and the name of the net for them."""
    images, seen = (
        split(name, c.data_root, train=train, test=c.test, size=c.size, seed=c.seed)
        for train in (c.train, c.search_train or c.train)
    )
    _check(c, images)
    return images, seen, "graynet" if images.about.shape[0] == 1 else "colornet"


def _is_ours(c: Settings, aim: Aim) -> bool:
    """Is it a search as the paper's, and no control?"""
    return (aim.method, aim.optimizer) == (OURS, c.search_optimizer)


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


def _evolved(c: Settings, searches: dict[Aim, Search[Task]]) -> dict[Aim, dict]:
    """The δ* of each search."""
    return {
        aim: noises.evolved(
            aim.pixels, aim.optimizer, search.chosen["genome"], aim.search, aim.method,
            1.0 if aim.method == PLAIN else c.saturation,
        )
        for aim, search in searches.items()
    }  # fmt: skip


def _baselines(c: Settings) -> list[dict]:
    draws = range(1, min(c.uniforms, 5) + 1)
    return [noises.LEFT, noises.SHORTCUT, *(noises.uniform(c.pixels[0], draw) for draw in draws)]


def _repeats(c: Settings, aim: Aim) -> range:
    """The numbers that nets start from: one for every training on a search's δ*."""
    return range((aim.search - 1) * c.repeats + 1, aim.search * c.repeats + 1)


def _check(c: Settings, images: Split) -> None:
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


def _search(c: Settings, images: Split, net: str, aim: Aim) -> Search[Task]:
    """The generations of one search, each reading the state that the one before it left."""
    search = c.search(net, aim)
    chain: list[Task] = []
    common = {"split": images, "method": aim.method, "search": search, "start": aim.search}
    generations = c.length(aim, search_steps.candidates(images, aim.pixels, c.popsize))
    for number in range(1, generations + 1):
        previous = chain[-1]["state"] if chain else None
        chain.append(search_steps.generation.task(**common, number=number, previous=previous))
    state = chain[-1]["state"]
    chosen = search_steps.choose.task(
        **common, genomes=state["genomes"], repeats=RESCORES,
        count=0 if aim.method == PLAIN else c.rescored,
    )  # fmt: skip
    return Search(chain, chosen)


def _tested(c: Settings, images: Split, net: str, aim: Aim, found: Search[Task]) -> Search[Task]:
    """A search with the clean-test errors of its candidates."""
    common = {
        "split": images, "method": aim.method, "search": c.search(net, aim), "start": aim.search
    }  # fmt: skip
    generations = found.generations
    errors = [
        steps.candidate_errors.task(**common, genomes=genomes)
        for genomes in (
            generations[0]["candidates"], generations[-1]["candidates"],
            [generation["state"]["genomes"][0] for generation in generations],
        )
    ]  # fmt: skip
    return Search(generations, found.chosen, *errors)


def _training(
    c: Settings, images: Split, net: str, noise: dict, optimizer: str, epochs: int, repeat: int,
    crop: int = 0,
) -> Training[Task]:  # fmt: skip
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
        noises.title(noise), optimizer, repeat, task,
    )  # fmt: skip


def _trainings(
    c: Settings, images: Split, net: str, evolved: dict[Aim, dict]
) -> list[Training[Task]]:
    """1.F3, 1.F5 and the comparisons with the baselines and with other searches."""
    wanted: list[tuple[dict, str, Iterable[int]]] = []
    for aim, noise in evolved.items():
        other = {c.search_optimizer, aim.optimizer}
        optimizers = list(c.optimizers) if _is_ours(c, aim) else sorted(other)
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
