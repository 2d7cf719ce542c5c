"""The steps of a search: its generations, the choice among its best, and F of other noises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

import kit
from kit import runtime
from kit.data.splits import Split
from kit.experiments.evolved_perturbations import noises
from kit.experiments.evolved_perturbations.settings import Scoring
from kit.experiments.evolved_perturbations.steps import Options, passes
from kit.harness.steps import step
from kit.optimizers import cma_popsize

if TYPE_CHECKING:
    import torch

    from kit.data import Dataset
    from kit.evolution import Fitness

TOP = 10  # candidates that a search remembers
_PARTS = ("fitness", "mismatch", "divergence", "learnt")


def candidates(split: Split, pixels: int, popsize: int | None) -> int:
    """λ, how many candidates a generation has: `popsize`, or pycma's choice."""
    if popsize:
        return popsize
    classes, channels = len(split.about.classes), split.about.shape[0]
    return cma_popsize(kit.perturbations.genome_length(classes, pixels, channels))


def _generation_work(split: Split, search: Options, **_: Any) -> float:
    number = candidates(split, search["pixels"], search["popsize"])
    return number * passes(split, search["epochs"])


@step(
    version=3,
    label="{split}: {method}, {search[pixels]} px against {search[optimizer]}, "
    "search {start}, generation {number}",
    work=_generation_work,
)
def generation(
    *,
    split: Split,
    method: str,
    search: Options,
    start: int,
    number: int,
    previous: Mapping | None,
) -> dict:
    """One generation of a search, from the state that the previous one left.

    Searches that differ in `method` or `start` are independent of each other.

    Returns
    -------
    dict
        ``candidates``, ``fitness``, ``mismatch``, ``divergence``, ``learnt``, ``sigma`` and
        ``stopped``, as in :class:`kit.evolution.Generation`; after the search has stopped there are
        no candidates. ``state`` is what the next one needs: ``history``, the fitness in all
        generations so far; ``genomes``, the ten best candidates so far, the best first, and their
        ``scores``; ``sigma`` and ``stopped``.
    """
    state = previous or {"history": [], "genomes": [], "scores": [], "sigma": 0.0, "stopped": ""}
    if state["stopped"]:
        nothing = {name: np.empty(0) for name in _PARTS}
        nothing["candidates"] = np.empty((0, len(state["genomes"][0])))
        return nothing | {name: state[name] for name in ("sigma", "stopped")} | {"state": state}
    data = split.load()
    (result,) = kit.evolution.search(
        data.x_train,
        data.y_train,
        classes=len(data.classes),
        generations=number,
        fitness_history=state["history"],
        **search,
        seed=_search_seed(split, method, search, start),
    )
    genomes = np.array([*state["genomes"], *result.candidates])
    scores = np.array([*state["scores"], *result.fitness])
    order = np.argsort(-scores, kind="stable")[:TOP]  # NaN comes last
    out = {name: getattr(result, name) for name in ("candidates", *_PARTS, "sigma", "stopped")}
    history = np.stack([*state["history"], result.fitness])
    return out | {
        "state": {"history": history, "genomes": genomes[order], "scores": scores[order]}
        | {name: out[name] for name in ("sigma", "stopped")}
    }


def _search_seed(split: Split, method: str, search: Options, start: int) -> int:
    purpose = (method, search["pixels"], search["optimizer"], start)
    return runtime.derive_seed(split.seed, "search", *purpose)


@step(
    version=1,
    label="{split}: the best of {method}, {search[pixels]} px, search {start}, scored again",
    work=lambda split, search, count, repeats, **_: (
        (1 + count * repeats) * passes(split, search["epochs"])
    ),
)
def choose(
    *,
    split: Split,
    method: str,
    search: Options,
    start: int,
    genomes: np.ndarray,
    count: int,
    repeats: int,
) -> dict:
    """Score a search's best candidates again, with fresh seeds, and choose the best of them.

    A score has luck in it, and the best of many scores has most (the winner's curse).

    Parameters
    ----------
    genomes
        The best first.
    count
        How many of them to score; with 0 the first is chosen as it is.
    repeats
        Fresh scores of each.

    Returns
    -------
    dict
        ``genome``, and ``scores``, shape (repeats, count).
    """
    genomes = np.asarray(genomes)[:count] if count else np.asarray(genomes)[:1]
    if not count:
        return {"genome": genomes[0], "scores": np.empty((0, 0))}
    data = split.load()
    noise = kit.perturbations.decode(
        genomes, len(data.classes), search["pixels"], data.shape, saturation=search["saturation"]
    )
    seed = _search_seed(split, method, search, start)
    scores = [
        _fitness(data, noise, search, runtime.derive_seed(seed, "again", repeat)).total.numpy()
        for repeat in range(repeats)
    ]
    mean = np.nan_to_num(np.mean(scores, axis=0), nan=-np.inf)
    return {"genome": genomes[int(mean.argmax())], "scores": np.array(scores)}


def _fitness(data: Dataset, noise: torch.Tensor, search: Options, seed: int) -> Fitness:
    """F and its parts as a search computes them."""
    scoring = vars(Scoring.of(search))
    return kit.evolution.fitness(
        noise, data.x_train, data.y_train, seed=seed, details=True, **scoring
    )


@step(version=1, label="{split}: searches on a score of pure noise")
def blind(*, split: Split, search: Options, generations: int, count: int) -> dict:
    """What a search chooses whose scores say nothing: the control for where pixels lie.

    pycma keeps candidates within bounds, and not all places are equally likely then.

    Returns
    -------
    dict
        ``genomes``, shape (count, n): the best candidate of each search by its scores, which are
        drawn at random.
    """
    chosen = []
    for number in range(count):
        seed = runtime.derive_seed(split.seed, "blind", search["pixels"], number)
        random = np.random.default_rng(runtime.derive_seed(seed, "scores"))
        names = ("strategy", "start", "pixels", "popsize", "sigma", "value", "options")
        proposer = kit.evolution.strategies.proposer(
            classes=len(split.about.classes),
            shape=split.about.shape,
            place=0.5,
            seed=seed,
            **{name: search[name] for name in names},
        )
        tried, scores = list[np.ndarray](), list[float]()
        for _ in range(generations):
            candidates = np.array(proposer.ask())
            drawn = random.standard_normal(len(candidates))
            tried += [*candidates]
            scores += [*drawn]
            if kit.evolution.strategies.tell(proposer, candidates, drawn):
                break
        chosen.append(tried[int(np.argmax(scores))])
    return {"genomes": np.array(chosen)}


@step(
    version=1,
    label="{split}: F of the baselines",
    work=lambda split, search, baselines, **_: len(baselines) * passes(split, search["epochs"]),
)
def baseline_fitness(*, split: Split, search: Options, baselines: list) -> dict:
    """F of noises that no search made, scored once each as a search scores its candidates.

    Returns
    -------
    dict
        ``fitness``, ``mismatch`` and ``divergence``, in the order of `baselines`.
    """
    import torch

    data = split.load()
    noise = [noises.make(dict(described), data, split.seed) for described in baselines]
    seed = runtime.derive_seed(split.seed, "baselines")
    scores = _fitness(data, torch.stack(noise), search, seed)
    return {name: part.numpy() for name, part in zip(_PARTS, scores, strict=False)}
