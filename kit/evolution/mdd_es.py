"""MDD-ES: evolve class-wise pixel noise that makes a net overfit to it.

Chaudhury & Yamasaki (ICASSP 2020, §3.3). CMA-ES, which is pycma's, proposes candidates; each is
scored by how badly a fresh net trained on the corrupted images does on the clean ones (semantic
mismatch), and by how well the two can be told apart (domain divergence). Only training images are
ever looked at.
"""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from kit import checks, perturbations, runtime
from kit.constraints import is_whole
from kit.evolution import strategies
from kit.evolution.scoring import fitness


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
    checks.check_data(x, y, classes)
    shape = tuple(x.shape[1:])
    _check_sizes(generations, popsize)
    proposer = strategies.proposer(
        strategy,
        start,
        classes,
        pixels,
        shape,
        popsize=popsize,
        sigma=sigma,
        place=place,
        value=value,
        options=options,
        seed=seed,
    )
    if strategies.replay(proposer, fitness_history):
        return
    for number in range(len(fitness_history) + 1, generations + 1):
        started = time.perf_counter()
        candidates = np.array(proposer.ask())
        noise = perturbations.decode(candidates, classes, pixels, shape, saturation=saturation)
        chance = runtime.derive_seed(seed, "generation", number)
        scores = fitness(noise, x, y, seed=chance, details=True, **scoring)
        total, mismatch, apart, learnt = (part.numpy() for part in scores)
        _report_failures(total, number)
        stopped = strategies.tell(proposer, candidates, total)
        yield Generation(
            number,
            candidates,
            total,
            mismatch,
            apart,
            learnt,
            float(proposer.sigma),
            stopped,
            time.perf_counter() - started,
        )
        if stopped:
            return


def _check_sizes(generations, popsize):
    if not is_whole(generations) or generations < 1:
        raise ValueError(f"generations is {generations!r}: use a whole number from 1 on.")
    if popsize is not None and (not is_whole(popsize) or popsize < 2):
        raise ValueError(f"popsize is {popsize!r}: use a whole number from 2 on (λ).")


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
