"""The tasks of the study, from its settings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kit.constraints import in_one_line
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

READINGS = 10  # in the first epoch of a course


@in_one_line
def plan(c: Settings) -> Plan[Task]:
    """The tasks of the study by data set; what does not fit its images is refused."""
    return Plan(
        {name: _searched(c.on(name), name) for name in c.datasets},
        {name: _table(c.on(name), name) for name in c.table_datasets},
    )


def _searched(config: Settings, name: str) -> Searched[Task]:
    images, seen, net = _images(config, name)
    searches = {aim: _search(config, seen, net, aim) for aim in config.aims}
    evolved = _evolved(config, searches)
    ours = {
        aim: noise
        for aim, noise in evolved.items()
        if (aim.pixels, aim.optimizer, aim.method)
        == (config.pixels[0], config.search_optimizer, OURS)
    }
    searches |= {
        aim: _tested(config, seen, net, aim, searches[aim])
        for aim in config.aims
        if _is_ours(config, aim)
    }
    baselines = _baselines(config)
    return Searched(
        images,
        seen,
        searches,
        [noises.title(noise) for noise in baselines],
        search_steps.baseline_fitness.task(
            split=seen, search=config.options(net, next(iter(ours))), baselines=baselines
        ),
        _trainings(config, images, net, evolved),
        _courses(config, images, net, evolved),
        search_steps.blind.task(
            split=seen,
            search=config.options(net, next(iter(ours))),
            generations=config.generations,
            count=config.uniforms,
        ),
        **_pictures(config, images, net, ours),
        examples={
            pixels: steps.examples.task(
                split=images, noise=evolved[Aim(pixels, config.search_optimizer)]
            )
            for pixels in config.pixels
        },
    )


def _table(config: Settings, name: str) -> Table[Task]:
    """1.T1: other nets, with augmentation; a repeat of ours is a search."""
    images, seen, net = _images(config, name)
    side = min(images.about.shape[1:])
    if config.crop > side // 2:
        raise ValueError(
            f"crop is {config.crop}: use at most half of the image's side, {side // 2}."
        )
    ours = [
        aim for aim in config.aims if _is_ours(config, aim) and aim.number <= config.table_repeats
    ]
    searches = {aim: _search(config, seen, net, aim) for aim in ours}
    fixed = [
        (noise, repeat)
        for repeat in range(1, config.table_repeats + 1)
        for noise in (
            noises.CLEAN,
            noises.LEFT,
            noises.SHORTCUT,
            noises.uniform(config.pixels[0], repeat),
        )
    ]
    evolved = [(noise, aim.number) for aim, noise in _evolved(config, searches).items()]
    trainings = [
        _training(config, images, net, noise, "adam", config.table_epochs, repeat, config.crop)
        for net in config.table_nets
        for noise, repeat in [*fixed, *evolved]
    ]
    return Table(images, seen, searches, trainings)


def _images(config: Settings, name: str) -> tuple[Split, Split, str]:
    """The images, those that the searches see, and the name of the net for them."""
    images, seen = (
        split(
            name,
            config.data_root,
            train=train,
            test=config.test,
            size=config.size,
            seed=config.seed,
        )
        for train in (config.train, config.search_train or config.train)
    )
    _check(config, images)
    return images, seen, "graynet" if images.about.shape[0] == 1 else "colornet"


def _is_ours(config: Settings, aim: Aim) -> bool:
    """Is it a search as the paper's, and no control?"""
    return (aim.method, aim.optimizer) == (OURS, config.search_optimizer)


def _pictures(config: Settings, images: Split, net: str, ours: dict[Aim, dict]) -> dict[str, Any]:
    """The lines and the Grad-CAMs: for each search one of every training on its δ*."""
    how = {"epochs": config.epochs, "batch_size": config.batch_size, **config.precise}
    common = {"split": images, "net": net, **how}
    adam, sgd = (float(config.optimizers[name]) for name in ("adam", "sgd"))
    lined = {"lr_adam": adam, "lr_sgd": sgd, "alphas": config.alphas}
    looked = {"lr": adam, "images": config.cam_images}
    trained = [[(noise, repeat) for repeat in _repeats(config, aim)] for aim, noise in ours.items()]

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


def _evolved(config: Settings, searches: dict[Aim, Search[Task]]) -> dict[Aim, dict]:
    """The δ* of each search."""
    return {
        aim: noises.evolved(
            aim.pixels,
            aim.optimizer,
            search.chosen["genome"],
            aim.number,
            aim.method,
            1.0 if aim.method == PLAIN else config.saturation,
        )
        for aim, search in searches.items()
    }


def _baselines(config: Settings) -> list[dict]:
    draws = range(1, min(config.uniforms, 5) + 1)
    return [
        noises.LEFT,
        noises.SHORTCUT,
        *(noises.uniform(config.pixels[0], draw) for draw in draws),
    ]


def _repeats(config: Settings, aim: Aim) -> range:
    """The numbers that nets start from: one for every training on a search's δ*."""
    return range((aim.number - 1) * config.repeats + 1, aim.number * config.repeats + 1)


def _check(config: Settings, images: Split) -> None:
    _, height, width = images.about.shape
    for pixels in config.pixels:
        if pixels > height * width:
            raise ValueError(
                f"pixels is {pixels}: use a whole number from 1 to {height * width}, since an "
                f"image has {height}×{width} pixels."
            )
    if config.cma_options:
        from kit import evolution  # torch and pycma

        evolution.check_options(config.cma_options)


def _search(config: Settings, images: Split, net: str, aim: Aim) -> Search[Task]:
    """The generations of one search, each reading the state that the one before it left."""
    search = config.options(net, aim)
    chain: list[Task] = []
    common = {"split": images, "method": aim.method, "search": search, "start": aim.number}
    generations = config.length(aim, search_steps.candidates(images, aim.pixels, config.popsize))
    for number in range(1, generations + 1):
        previous = chain[-1]["state"] if chain else None
        chain.append(search_steps.generation.task(**common, number=number, previous=previous))
    state = chain[-1]["state"]
    chosen = search_steps.choose.task(
        **common,
        genomes=state["genomes"],
        repeats=RESCORES,
        count=0 if aim.method == PLAIN else config.rescored,
    )
    return Search(chain, chosen)


def _tested(
    config: Settings, images: Split, net: str, aim: Aim, found: Search[Task]
) -> Search[Task]:
    """A search with the clean-test errors of its candidates."""
    common = {
        "split": images, "method": aim.method, "search": config.options(net, aim),
        "start": aim.number,
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
    config: Settings,
    images: Split,
    net: str,
    noise: dict,
    optimizer: str,
    epochs: int,
    repeat: int,
    crop: int = 0,
) -> Training[Task]:
    # Flips where the study says so: a mirrored digit is no digit.
    flip = crop > 0 and STUDY.concerns("flips", images.name)
    task = steps.train_perturbed.task(
        split=images,
        net=net,
        noise=noise,
        optimizer=optimizer,
        lr=float(config.optimizers[optimizer]),
        epochs=epochs,
        batch_size=config.batch_size,
        crop=crop,
        flip=flip,
        repeat=repeat,
        **config.precise,
    )
    return _trained(net, noise, optimizer, repeat, task)


def _trained(net: str, noise: dict, optimizer: str, repeat: int, task: Task) -> Training[Task]:
    about = {"pixels": 0, "aim": "", "method": "", "search": 1} | noise
    return Training(
        net,
        noise["kind"],
        about["pixels"],
        about["aim"],
        about["method"],
        about["search"],
        noises.title(noise),
        optimizer,
        repeat,
        task,
    )


def _trainings(
    config: Settings, images: Split, net: str, evolved: dict[Aim, dict]
) -> list[Training[Task]]:
    """1.F5 and the comparisons with the baselines and with other searches."""
    wanted: list[tuple[dict, str, Iterable[int]]] = []
    for aim, noise in evolved.items():
        crossed = aim.method == OURS and aim.pixels == config.pixels[0]  # with the rival (1.X2)
        optimizers = [config.search_optimizer] + [config.rival] * crossed
        wanted += [(noise, optimizer, _repeats(config, aim)) for optimizer in optimizers]
    several, draws = range(1, max(config.repeats, MIN_REPEATS) + 1), range(1, config.uniforms + 1)
    for optimizer in (config.search_optimizer, config.rival):
        wanted += [(noise, optimizer, several) for noise in (noises.CLEAN, noises.LEFT)]
        # Every draw is a repeat of its own: the weights it starts from differ too.
        wanted += [(noises.shortcut(draw), optimizer, [draw]) for draw in several]
        wanted += [(noises.uniform(config.pixels[0], draw), optimizer, [draw]) for draw in draws]
    return [
        _training(config, images, net, noise, optimizer, config.epochs, repeat)
        for noise, optimizer, of_noise in wanted
        for repeat in of_noise
    ]


def _courses(
    config: Settings, images: Split, net: str, evolved: dict[Aim, dict]
) -> list[Training[Task]]:
    """1.F3 and 1.X1: the first trainings on each δ* by every optimizer, for longer."""
    return [
        _trained(
            net,
            noise,
            name,
            repeat,
            steps.course.task(
                split=images,
                net=net,
                noise=noise,
                optimizer=optimizer,
                lr=rate,
                epochs=config.curve_epochs,
                batch_size=config.batch_size,
                readings=READINGS,
                repeat=repeat,
                **config.precise,
            ),
        )
        for aim, noise in evolved.items()
        if _is_ours(config, aim)
        for name, (optimizer, rate) in config.rates.items()
        for repeat in _repeats(config, aim)[:1]
    ]
