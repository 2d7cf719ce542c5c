"""Who proposes the candidates: CMA-ES, which is pycma's, or random draws, the control."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kit import perturbations, runtime
from kit.constraints import SEED, OneOf
from kit.optimizers import cma_popsize

STARTS = ("uniform", "middle")
STRATEGIES = ("cma-es", "random")


def proposer(
    strategy: str,
    start: str,
    classes: int,
    pixels: int,
    shape: tuple[int, ...],
    *,
    popsize: int | None,
    sigma: float,
    place: float,
    value: float,
    options: dict[str, Any] | None,
    seed: int,
) -> Any:
    """What proposes candidates and is told their scores, through the interface of pycma.

    Parameters
    ----------
    strategy, start, classes, pixels, popsize, sigma, place, value, options, seed
        As in :func:`kit.evolution.search`.
    shape
        Shape of one image, (C, H, W).

    Raises
    ------
    ValueError
        A value is out of range.

    Examples
    --------
    >>> search = proposer(
    ...     "cma-es", "uniform", 10, 1, (1, 8, 8), popsize=None, sigma=0.3, place=0.5, value=0.75,
    ...     options={"maxiter": 1}, seed=0,
    ... )
    >>> candidates = np.array(search.ask())
    >>> candidates.shape
    (14, 30)
    >>> tell(search, candidates, candidates.sum(1))
    'maxiter: 1'
    """
    OneOf(STRATEGIES, "strategy").check("strategy", strategy)
    OneOf(STARTS, "start").check("start", start)
    seed = SEED.check("seed", seed)
    if strategy == "random":
        return _RandomSearch(classes, pixels, shape, popsize, seed)
    first = perturbations.start(classes, pixels, shape, place=place, value=value)
    if start == "uniform":
        first = _draw(classes, pixels, shape, runtime.derive_seed(seed, "start"))
    return _cma(first.numpy(), popsize, sigma, options, seed)


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


def replay(strategy: Any, fitness_history: Sequence[ArrayLike]) -> str:
    """Bring pycma to where it was after the history; why it stopped within, if it did.

    Examples
    --------
    >>> settings = dict(popsize=4, sigma=0.3, place=0.5, value=0.75, options=None, seed=0)
    >>> first = proposer("cma-es", "uniform", 2, 1, (1, 8, 8), **settings)
    >>> again = proposer("cma-es", "uniform", 2, 1, (1, 8, 8), **settings)
    >>> tell(first, np.array(first.ask()), np.arange(4.0))
    ''
    >>> replay(again, [[0.0, 1.0, 2.0, 3.0]])
    ''
    >>> bool((np.array(first.ask()) == np.array(again.ask())).all())
    True
    """
    for number, total in enumerate(fitness_history, 1):
        candidates, total = np.array(strategy.ask()), np.asarray(total, dtype=float)
        if total.shape != (len(candidates),):
            raise ValueError(
                f"fitness_history has values of shape {total.shape} for generation {number}: give "
                f"one for each of its {len(candidates)} candidates."
            )
        if np.isnan(total).all():
            raise ValueError(
                f"fitness_history has no number for generation {number}: one candidate of it at "
                "least must have a fitness."
            )
        if stopped := tell(strategy, candidates, total):
            return stopped
    return ""


def tell(strategy: Any, candidates: np.ndarray, total: np.ndarray) -> str:
    """Update pycma with the candidates' fitness; why it stops then, empty while it goes on.

    Examples
    --------
    A candidate that failed, with fitness NaN, ranks last; the search climbs:

    >>> settings = dict(popsize=4, sigma=0.3, place=0.5, value=0.75, options=None, seed=0)
    >>> search = proposer("cma-es", "uniform", 2, 1, (1, 8, 8), **settings)
    >>> candidates = np.array(search.ask())
    >>> tell(search, candidates, np.array([0.1, np.nan, 0.9, 0.4]))
    ''
    >>> bool((search.result.xbest == candidates[2]).all())
    True
    """
    strategy.tell(candidates, _ranked(total))
    return "; ".join(f"{rule}: {limit}" for rule, limit in strategy.stop().items())


def _ranked(total):
    """What pycma minimises: −F, with the failed candidates behind all others."""
    worst = np.nanmin(total) - 1
    return -np.where(np.isnan(total), worst, total)


def check_options(options: Collection[str]) -> None:
    """Refuse names that are no options of pycma, with a ValueError.

    Examples
    --------
    >>> check_options({"tolfun": 1e-3, "maxiter": 20})
    >>> check_options({"tolfum": 1e-3})
    Traceback (most recent call last):
        ...
    ValueError: cma_options has 'tolfum', which pycma does not know (did you mean 'tolfun'?): ...
    """
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
