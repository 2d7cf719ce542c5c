"""MDD-ES: evolve class-wise pixel noise that makes a net overfit to it.

Chaudhury & Yamasaki (ICASSP 2020, §3.3). CMA-ES, which is pycma's, proposes candidates; each is
scored by how badly a fresh net trained on the corrupted images does on the clean ones (semantic
mismatch), and by how well the two can be told apart (domain divergence). Only training images are
ever looked at.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import time
import warnings
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from kit import divergence, nets, perturbations, runtime, training
from kit.constraints import OneOf
from kit.optimizers import cma_popsize

STARTS = ("uniform", "middle")
STRATEGIES = ("cma-es", "random")


class Fitness(NamedTuple):
    """Scores of M candidates, float64 of shape (M,) each; NaN where a loss was not a number.

    ``learnt`` is the accuracy of each net on the corrupted images that it was trained on: where it
    is low, ``mismatch`` says little.
    """

    total: Tensor
    mismatch: Tensor
    divergence: Tensor
    learnt: Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Generation:
    """What happened in one generation of a search.

    Attributes
    ----------
    number
        Counted from 1.
    candidates
        Genomes, float64, shape (λ, n).
    fitness, mismatch, divergence
        F = F_m + F_d and its two parts, shape (λ,); NaN for a candidate that failed.
    learnt
        Accuracy of each search net on its corrupted training images, shape (λ,).
    sigma
        pycma's step size after the generation.
    stopped
        Why pycma ended the search here; empty while it goes on.
    seconds
    """

    number: int
    candidates: np.ndarray
    fitness: np.ndarray
    mismatch: np.ndarray
    divergence: np.ndarray
    learnt: np.ndarray
    sigma: float
    stopped: str
    seconds: float


def search_net(shape: Sequence[int]) -> str:
    """The paper's search net for images of a shape: ``"graynet"`` or ``"colornet"``."""
    return "graynet" if shape[0] == 1 else "colornet"


def fitness(
    noise: Tensor,
    x: Tensor,
    y: Tensor,
    *,
    net: str | None = None,
    epochs: int = 3,
    optimizer: str = "adam",
    lr: float = 1e-3,
    batch_size: int = 128,
    discriminator: str = "linear",
    discriminator_epochs: int = 10,
    seed: int = 0,
    stacked: bool | None = None,
    details: bool = False,
) -> Tensor | Fitness:
    """How much does training on corrupted images hurt on clean ones? (§3.3)

    For each candidate a fresh net f is trained on the corrupted images. Then F = F_m + F_d with

    - F_m = E[CE(f(x), y)] − E[CE(f(x + δ), y)], the semantic mismatch on the training images. The
      paper prints the terms the other way round; its words ("encourages high loss of
      generalization between clean and corrupted") fix the sign.
    - F_d = 1 − 2ε, the domain divergence, ε the error of :func:`kit.divergence.
      discriminator_errors`. At its largest value, 1, only F_m still tells candidates apart.

    All candidates of one call start from the same weights and see the same batches, so that their
    scores differ by the candidates alone. Scores of calls with other seeds differ by chance too.

    Parameters
    ----------
    noise
        Candidates, shape (M, classes, C, H, W).
    x
        Clean training images, shape (N, C, H, W), in [0, 1], on the device to compute on.
    y
        Labels, shape (N,).
    net
        Name for :func:`kit.nets.build`; by default as :func:`search_net` says.
    epochs, optimizer, lr, batch_size
        Training of the nets, as in :func:`kit.training.fit`.
    discriminator
        Name of the discriminator's net; ``"linear"`` as in the theory.
    discriminator_epochs
    seed
    stacked
        As in :func:`kit.training.fit_many`.
    details
        Return both parts too.

    Returns
    -------
    torch.Tensor or Fitness
        Shape (M,); larger is more harmful.

    Raises
    ------
    ValueError
        A name is unknown, or the net does not fit the images.
    """
    noise = noise.to(x.device)
    mismatch, learnt = _mismatch(
        noise, x, y, net=net, seed=seed, epochs=epochs, optimizer=optimizer, lr=lr,
        batch_size=batch_size, stacked=stacked,
    )  # fmt: skip
    errors = divergence.discriminator_errors(
        noise, x, y, net=discriminator, epochs=discriminator_epochs, batch_size=batch_size,
        seed=runtime.derive_seed(seed, "discriminator"), stacked=stacked,
    )  # fmt: skip
    scores = Fitness(mismatch + 1 - 2 * errors, mismatch, 1 - 2 * errors, learnt)
    return scores if details else scores.total


def _mismatch(noise, x, y, *, net, seed, **options):
    """F_m of each candidate, NaN where a loss is no finite number, and accuracy; shape (M,)."""
    shape, classes = tuple(x.shape[1:]), noise.shape[1]
    initial = runtime.derive_seed(seed, "net")
    models = [
        nets.build(net or search_net(shape), shape, classes, seed=initial).to(x.device)
        for _ in noise
    ]
    order = runtime.derive_seed(seed, "order")
    training.fit_many(models, x, y, member_args=noise, transform=_corrupt, seed=order, **options)
    rows = []
    for model, candidate in zip(models, noise, strict=True):
        clean, _ = training.evaluate(model, x, y)
        corrupted, learnt = training.evaluate(model, *_corrupt(candidate, x, y))
        rows.append((clean - corrupted, learnt))
    mismatch, learnt = torch.tensor(rows, dtype=torch.float64).T
    return mismatch.where(mismatch.isfinite(), torch.nan), learnt


def _corrupt(noise, x, y):
    return perturbations.apply(noise, x, y), y


def search(
    x: Tensor,
    y: Tensor,
    *,
    classes: int,
    pixels: int = 1,
    generations: int = 50,
    popsize: int | None = None,
    strategy: str = "cma-es",
    start: str = "uniform",
    saturation: float = 4.0,
    sigma: float = 0.3,
    place: float = 0.5,
    value: float = 0.75,
    options: dict[str, Any] | None = None,
    seed: int = 0,
    fitness_history: Sequence[ArrayLike] = (),
    **scoring: Any,
) -> Iterator[Generation]:
    """Search for harmful noise, generation by generation (MDD-ES).

    Parameters
    ----------
    x, y
        Training images and labels, as in :func:`fitness`.
    classes
        Number of classes.
    pixels
        Np, pixels per class.
    generations
        At most so many, those of `fitness_history` included.
    popsize
        λ, candidates per generation; by default pycma's 4 + ⌊3 ln n⌋.
    strategy
        ``"cma-es"``, or ``"random"``: all candidates are drawn as the uniform baseline is, the
        control that the paper lacks.
    start
        Where CMA-ES starts: ``"uniform"``, from one draw of the uniform baseline, which the paper
        calls its starting point; or ``"middle"``, from one gene value for all places and one for
        all pixel values.
    saturation
        As in :func:`kit.perturbations.decode`. At 1 most candidates are far from full amplitude,
        and a uniform draw hurts more than they do.
    sigma
        First step size; genes lie in [0, 1].
    place, value
        The start in the ``"middle"``, as in :func:`kit.perturbations.start`.
    options
        More of pycma's options, its stopping rules for example: ``{"tolfun": 1e-3}``.
    seed
    fitness_history
        F in the first generations of the same search, done earlier; shape (λ,) each. pycma proposes
        their candidates anew, and the search goes on exactly as if it had never been interrupted.
    **scoring
        Further options of :func:`fitness`.

    Yields
    ------
    Generation
        Those after `fitness_history`.

    Raises
    ------
    ValueError
        A value is out of range, or every candidate of a generation failed.

    Examples
    --------
    >>> import kit
    >>> digits = kit.data.load("digits", train=100)
    >>> mdd_es = search(digits.x_train, digits.y_train, classes=10, generations=2, epochs=1)
    >>> [generation.candidates.shape for generation in mdd_es]
    [(14, 30), (14, 30)]
    """
    shape = tuple(x.shape[1:])
    OneOf(STRATEGIES, "strategy").check("strategy", strategy)
    OneOf(STARTS, "start").check("start", start)
    _check_sizes(generations, popsize)
    if strategy == "random":
        proposer: Any = _RandomSearch(classes, pixels, shape, popsize, seed)
    else:
        first = perturbations.start(classes, pixels, shape, place=place, value=value)
        if start == "uniform":
            first = _draw(classes, pixels, shape, runtime.derive_seed(seed, "start"))
        proposer = _cma(first.numpy(), popsize, sigma, options, seed)
    if _replay(proposer, fitness_history):
        return
    for number in range(len(fitness_history) + 1, generations + 1):
        started = time.perf_counter()
        candidates = np.array(proposer.ask())
        noise = perturbations.decode(candidates, classes, pixels, shape, saturation=saturation)
        chance = runtime.derive_seed(seed, "generation", number)
        scores = fitness(noise, x, y, seed=chance, details=True, **scoring)
        total, mismatch, apart, learnt = (part.numpy() for part in scores)
        _report_failures(total, number)
        stopped = _tell(proposer, candidates, total)
        yield Generation(
            number, candidates, total, mismatch, apart, learnt, float(proposer.sigma), stopped,
            time.perf_counter() - started,
        )  # fmt: skip
        if stopped:
            return


def _draw(classes, pixels, shape, seed):
    """Genome of one draw of the uniform baseline."""
    noise = perturbations.uniform(classes, pixels, shape, seed=seed)
    return perturbations.encode(noise, pixels)


class _RandomSearch:
    """Proposes draws of the uniform baseline, through the interface of pycma."""

    sigma = 0.0

    def __init__(self, classes, pixels, shape, popsize, seed):
        length = perturbations.genome_length(classes, pixels, shape[0])
        self.count = popsize or cma_popsize(length)
        self.draw = functools.partial(_draw, classes, pixels, shape)
        self.seed, self.asked = seed, 0

    def ask(self):
        self.asked += self.count
        numbers = range(self.asked - self.count, self.asked)
        return [self.draw(runtime.derive_seed(self.seed, "draw", n)).numpy() for n in numbers]

    def tell(self, candidates, values):
        pass

    def stop(self):
        return {}


def _replay(strategy, fitness_history):
    """Bring pycma to where it was after the history; why it stopped within, if it did."""
    for number, total in enumerate(fitness_history, 1):
        candidates, total = np.array(strategy.ask()), np.asarray(total, dtype=float)
        if total.shape != (len(candidates),):
            raise ValueError(
                f"fitness_history has values of shape {total.shape} for generation {number}: give "
                f"one for each of its {len(candidates)} candidates."
            )
        if stopped := _tell(strategy, candidates, total):
            return stopped
    return ""


def _tell(strategy, candidates, total):
    """Update pycma with the candidates' fitness; why it stops then, empty while it goes on."""
    strategy.tell(candidates, _ranked(total))
    return "; ".join(f"{rule}: {limit}" for rule, limit in strategy.stop().items())


def check_options(options: Collection[str]) -> None:
    """Refuse names that are no options of pycma, with a ValueError."""
    import cma  # heavy, and not needed to score

    known = cma.CMAOptions()
    for name in options:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise ValueError(
                f"cma_options has {name!r}, which pycma does not know{hint}: "
                "cma.CMAOptions() lists what it knows."
            )


def _check_sizes(generations, popsize):
    if type(generations) is not int or generations < 1:
        raise ValueError(f"generations is {generations!r}: use a whole number from 1 on.")
    if popsize is not None and (type(popsize) is not int or popsize < 2):
        raise ValueError(f"popsize is {popsize!r}: use a whole number from 2 on (λ).")


def _cma(first, popsize, sigma, options, seed):
    import cma

    check_options(options or {})
    if not 0 < sigma < np.inf:
        raise ValueError(f"sigma is {sigma}: it must be a positive number.")
    random = np.random.default_rng(seed)
    settings = {
        "bounds": [0, 1], "verbose": -9, "verb_log": 0, "verb_disp": 0,
        # A generator of its own: pycma would seed NumPy's global one.
        "seed": np.nan, "randn": lambda *size: random.standard_normal(size),
    }  # fmt: skip
    if popsize is not None:
        settings["popsize"] = popsize
    try:
        return cma.CMAEvolutionStrategy(first, sigma, settings | (options or {}))
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"pycma refuses the options {options}: {error}")


def _report_failures(total, number):
    failed = np.flatnonzero(np.isnan(total)).tolist()
    if len(failed) == len(total):
        raise ValueError(
            f"The loss of every candidate in generation {number} is not a number: "
            "use a smaller learning rate (lr)."
        )
    if failed:
        warnings.warn(
            f"Generation {number}: the loss of candidate {', '.join(map(str, failed))} (from 0) is "
            "not a number. It ranks last, and the search goes on.",
            stacklevel=3,
        )


def _ranked(total):
    """What pycma minimises: −F, with the failed candidates behind all others."""
    worst = np.nanmin(total) - 1
    return -np.where(np.isnan(total), worst, total)


def best(
    generations: Sequence[Generation], until: int | None = None
) -> tuple[int, int, np.ndarray]:
    """The best candidate ever: number of its generation, its index there, and its genome.

    Parameters
    ----------
    generations
        All from the first one on.
    until
        Only look at generations up to this number.

    Returns
    -------
    tuple of (int, int, numpy.ndarray)
        The first of equals.
    """
    tops = {g.number: np.nanmax(g.fitness) for g in generations[:until] if len(g.fitness)}
    number = max(tops, key=tops.__getitem__)
    generation = generations[number - 1]
    index = int(np.nanargmax(generation.fitness))
    return number, index, generation.candidates[index]
