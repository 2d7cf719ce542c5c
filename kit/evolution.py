"""MDD-ES: evolve class-wise pixel noise that makes a net overfit to it.

Chaudhury & Yamasaki (ICASSP 2020, §3.3). CMA-ES, which is pycma's, proposes candidates; each is
scored by how badly a fresh net trained on the corrupted images does on the clean ones (semantic
mismatch), and by how well the two can be told apart (domain divergence). Only training images are
ever looked at.
"""

import dataclasses
import difflib
import time
import warnings
from typing import NamedTuple

import numpy as np
import torch

from kit import divergence, nets, perturbations, runtime, training


class Fitness(NamedTuple):
    """Scores of M candidates, float64 of shape (M,) each; NaN where a loss was not a number."""

    total: torch.Tensor
    mismatch: torch.Tensor
    divergence: torch.Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Generation:
    """What happened in one generation of a search.

    Attributes
    ----------
    number : int
        Counted from 1.
    candidates : numpy.ndarray
        Genomes, float64, shape (λ, n).
    fitness, mismatch, divergence : numpy.ndarray
        F = F_m + F_d and its two parts, shape (λ,); NaN for a candidate that failed.
    sigma : float
        pycma's step size after the generation.
    stopped : str
        Why pycma ended the search here; empty while it goes on.
    seconds : float
    """

    number: int
    candidates: np.ndarray
    fitness: np.ndarray
    mismatch: np.ndarray
    divergence: np.ndarray
    sigma: float
    stopped: str
    seconds: float


def search_net(shape):
    """The paper's search net for images of a shape: ``"graynet"`` or ``"colornet"``."""
    return "graynet" if shape[0] == 1 else "colornet"


def fitness(
    noise, x, y, *, net=None, epochs=3, optimizer="adam", lr=1e-3, batch_size=128,
    discriminator="linear", discriminator_epochs=10, seed=0, stacked=None, details=False,
):  # fmt: skip
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
    noise : torch.Tensor
        Candidates, shape (M, classes, C, H, W).
    x : torch.Tensor
        Clean training images, shape (N, C, H, W), in [0, 1], on the device to compute on.
    y : torch.Tensor
        Labels, shape (N,).
    net : str, optional
        Name for :func:`kit.nets.build`; by default as :func:`search_net` says.
    epochs, optimizer, lr, batch_size
        Training of the nets, as in :func:`kit.training.fit`.
    discriminator : str
        Name of the discriminator's net; ``"linear"`` as in the theory.
    discriminator_epochs : int
    seed : int
    stacked : bool, optional
        As in :func:`kit.training.fit_many`.
    details : bool
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
    shape, classes = tuple(x.shape[1:]), noise.shape[1]
    initial = runtime.derive_seed(seed, "net")
    models = [
        nets.build(net or search_net(shape), shape, classes, seed=initial).to(x.device)
        for _ in noise
    ]
    training.fit_many(
        models, x, y, own=noise, view=_corrupted, epochs=epochs, optimizer=optimizer, lr=lr,
        batch_size=batch_size, seed=runtime.derive_seed(seed, "order"), stacked=stacked,
    )  # fmt: skip
    mismatch = []
    for model, candidate in zip(models, noise, strict=True):
        clean, corrupted = (
            training.evaluate(model, images, y)[0]
            for images in (x, perturbations.apply(candidate, x, y))
        )
        mismatch.append(clean - corrupted)
    errors = divergence.discriminator_errors(
        noise, x, y, net=discriminator, epochs=discriminator_epochs, batch_size=batch_size,
        seed=runtime.derive_seed(seed, "discriminator"), stacked=stacked,
    )  # fmt: skip
    mismatch = torch.tensor(mismatch, dtype=torch.float64)
    mismatch[~mismatch.isfinite()] = torch.nan
    found = Fitness(mismatch + 1 - 2 * errors, mismatch, 1 - 2 * errors)
    return found if details else found.total


def _corrupted(noise, x, y):
    return perturbations.apply(noise, x, y), y


def search(
    x, y, *, classes, pixels=1, generations=50, popsize=None, sigma=0.3, place=0.5, value=0.75,
    options=None, seed=0, recorded=(), **scoring,
):  # fmt: skip
    """Search for harmful noise, generation by generation (MDD-ES).

    Parameters
    ----------
    x, y
        Training images and labels, as in :func:`fitness`.
    classes : int
    pixels : int
        Np, pixels per class.
    generations : int
    popsize : int, optional
        λ, candidates per generation; by default pycma's 4 + ⌊3 ln n⌋.
    sigma : float
        First step size; genes lie in [0, 1].
    place, value : float
        Where the search starts, as in :func:`kit.perturbations.start`.
    options : dict, optional
        More of pycma's options, its stopping rules for example: ``{"tolfun": 1e-3}``.
    seed : int
    recorded : sequence of Generation
        The first generations of the same search, done earlier: they are not evaluated again. The
        search goes on exactly as if it had never stopped.
    **scoring
        Further options of :func:`fitness`.

    Yields
    ------
    Generation
        Those after the recorded ones.

    Raises
    ------
    ValueError
        A value is out of range, or every candidate of a generation failed.

    Examples
    --------
    >>> import kit
    >>> digits = kit.data.load("digits", train=100)
    >>> search_it = search(digits.x_train, digits.y_train, classes=10, generations=2, epochs=1)
    >>> [generation.candidates.shape for generation in search_it]
    [(14, 30), (14, 30)]
    """
    shape = tuple(x.shape[1:])
    first = perturbations.start(classes, pixels, shape, place=place, value=value)
    strategy = _strategy(first.numpy(), popsize, sigma, options, seed, generations)
    for number in range(1, generations + 1):
        started = time.perf_counter()
        asked = np.array(strategy.ask())
        if number <= len(recorded):
            strategy.tell(recorded[number - 1].candidates, _ranked(recorded[number - 1].fitness))
            if recorded[number - 1].stopped:
                return
            continue
        noise = perturbations.decode(asked, classes, pixels, shape)
        chance = runtime.derive_seed(seed, "generation", number)
        found = fitness(noise, x, y, seed=chance, details=True, **scoring)
        total, mismatch, apart = (part.numpy() for part in found)
        _report_failures(total, number)
        strategy.tell(asked, _ranked(total))
        stopped = "; ".join(f"{rule}: {limit}" for rule, limit in strategy.stop().items())
        yield Generation(
            number, asked, total, mismatch, apart, float(strategy.sigma), stopped,
            time.perf_counter() - started,
        )  # fmt: skip
        if stopped:
            return


def check_options(options):
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


def _strategy(first, popsize, sigma, options, seed, generations):
    import cma

    check_options(options or {})
    if type(generations) is not int or generations < 1:
        raise ValueError(f"generations is {generations!r}: use a whole number from 1 on.")
    if popsize is not None and (type(popsize) is not int or popsize < 2):
        raise ValueError(f"popsize is {popsize!r}: use a whole number from 2 on (λ).")
    if not 0 < sigma < np.inf:
        raise ValueError(f"sigma is {sigma}: it must be a positive number.")
    random = np.random.default_rng(seed)
    given = {
        "bounds": [0, 1], "verbose": -9, "verb_log": 0, "verb_disp": 0,
        # A generator of its own: pycma would seed NumPy's global one.
        "seed": np.nan, "randn": lambda *size: random.standard_normal(size),
    }  # fmt: skip
    if popsize is not None:
        given["popsize"] = popsize
    try:
        return cma.CMAEvolutionStrategy(first, sigma, given | (options or {}))
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


def best(generations, until=None):
    """The best candidate ever: number of its generation, its index there, and its genome.

    Parameters
    ----------
    generations : sequence of Generation
    until : int, optional
        Only look at generations up to this number.

    Returns
    -------
    tuple of (int, int, numpy.ndarray)
        The first of equals.
    """
    tops = {g.number: np.nanmax(g.fitness) for g in generations[:until] if len(g.fitness)}
    number = max(tops, key=tops.get)
    found = generations[number - 1]
    index = int(np.nanargmax(found.fitness))
    return number, index, found.candidates[index]
