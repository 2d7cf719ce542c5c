"""What the searches have tried, how far their fitness can be trusted, and what sets nets apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kit import nets, neuroevolution
from kit.experiments.neuroevolution_gm.roles import (
    BEST,
    HAND_ENGINEERED,
    MISALIGNED,
    RANDOM,
    SECOND,
    Role,
)
from kit.experiments.neuroevolution_gm.steps import LINF
from kit.harness import steps

if TYPE_CHECKING:
    from kit.data.splits import Split
    from kit.experiments.neuroevolution_gm.tree import Net, Run, Scale
    from kit.harness.steps import Result, Task
    from kit.nets.genome import Genome

TRAITS = ("depth", "convolutions", "poolings", "strided", "sums", "concatenations")
ACCURACIES = ("clean", "adversarial", "fitness")


def progress(run: Run[Result]) -> dict[str, np.ndarray]:
    """The best fitness so far (%) over the nets that were tried: evolved, and random ones."""
    evolved = [child["fitness"] for generation in run.children for child in generation]
    drawn = [child["fitness"] for child in run.random]
    return {
        name: 100 * np.fmax.accumulate(fitness)  # NaN, of a net that diverged, loses
        for name, fitness in (("evolved", evolved), ("random", drawn))
    }


def replacements(run: Run[Result]) -> np.ndarray:
    """Of every child that a search has bred: did it take a candidate's place?"""
    return np.concatenate([[k >= 0 for k in last["replaced"]] for last in run.search[1:]])


def tried(run: Run[Any]) -> list[Any]:
    """Every net that a run has trained to find one."""
    return [*(child for born in run.children for child in born), *run.random]


def _in_the_end(net: Net[Result]) -> float:
    """The fitness (%) on the test images: the smaller one of both accuracies."""
    examined = net.examined
    answers = examined["clean"], examined["adversarial"][LINF]
    return min(100 * float(np.mean(given == examined["true"])) for given in answers)


def chosen(run: Run[Result], split: Split) -> pd.DataFrame:
    """Of each net with GM: parameters, fitness (%) in the search and in the end, mean cosine.

    In the end there are two: on the images by which the best ones were chosen, and on the test
    images.
    """
    rows = []
    for role in (MISALIGNED, HAND_ENGINEERED, BEST, SECOND, RANDOM):
        net = run.nets[role]
        before = after = np.nan
        if role in (BEST, SECOND, RANDOM):
            before, after = _in_the_search(run, role), 100 * net.trained["fitness"]
        size, cosine = parameters(net.genome, split), net.examined["cosines"].mean()
        rows.append((net.label, size, before, after, _in_the_end(net), cosine))
    columns = ["net", "parameters", "in the search", "when chosen", "in the end", "cosine"]
    return pd.DataFrame(rows, columns=columns)


def _in_the_search(run: Run[Result], role: Role) -> float:
    place = run.nets[role].trained["place"]
    if role == RANDOM:  # the finalists are the fittest, in their order
        fitness = -np.sort([-net["fitness"] for net in run.random])  # NaN last
    else:
        fitness = np.array([net["fitness"] for net in run.search[-1]["population"]])
    return float(100 * fitness[place])


def parameters(genome: Genome | str, split: Split) -> int:
    """How many weights a net has."""
    model = nets.build(genome, split.about.shape, split.about.classes)
    return sum(weight.numel() for weight in model.parameters())


# --- can the fitness be trusted? -----------------------------------------------------------------


def trust(run: Run[Result]) -> pd.DataFrame:
    """How far the fitness of a search tells nets apart, and what it looks at.

    Some genomes were trained twice at the search's budget, from other weights and on the batches in
    another order. Half of the mean squared difference is the variance of one training. What the
    variance of all of them has beyond it is that of the genomes; its share is the *reliability*.
    """
    noise, spread, reliability = _reliability(*_trained(run))
    nets_ = [net for net in tried(run) if np.isfinite(net["fitness"])]
    clean, adversarial, fitness, test = (
        np.array([net[name] for net in nets_])
        for name in ("clean", "adversarial", "fitness", "test_fitness")
    )
    rows = {
        "scatter of a genome's trainings (points)": np.sqrt(noise),
        "scatter of all nets (points)": np.sqrt(spread),
        "reliability": reliability,
        "fitness is the clean accuracy (% of nets)": 100 * np.mean(clean < adversarial),
        "correlation with the fitness on test images": _correlation(fitness, test),
        "correlation with the fitness in the end": _with_the_end(run),
    }
    return pd.DataFrame(rows.items(), columns=["quantity", "value"])


def remark(scale: Scale[Task]) -> str:
    """How far the fitness can be trusted: by the number of its images, and as far as is known."""
    child = scale.runs[0].random[0].arguments
    images = child["hold_out"] or scale.split.about.test
    luck = 100 * np.sqrt(2 * 0.5**2 / images)
    text = (
        f"fitness on {scale.split.name}: of {images} images, so that two nets of which half is "
        f"right differ by some {luck:.1f} points by the luck of the images; reliability "
    )
    known = [steps.stored(_trained(run)) for run in scale.runs]
    if None in known:
        return f"{text}unknown until the random architectures are trained"
    value = np.mean([_reliability(*nets_)[-1] for nets_ in known])
    return f"{text}{value:.2f} (the architectures' share of its variance)"


def _trained(run: Run[Any]) -> tuple[list, list, list]:
    """Some nets, the same ones trained once more, and all."""
    return run.random[: len(run.again)], run.again, tried(run)


def _reliability(first: list, again: list, nets_: list) -> tuple[float, float, float]:
    """The variances of one net's trainings and of all nets (points²), and the reliability."""
    twice = 100 * np.array([[net["fitness"] for net in each] for each in (first, again)])
    noise = np.nanmean(np.diff(twice, axis=0) ** 2) / 2
    spread = np.nanvar([100 * net["fitness"] for net in nets_], ddof=1)
    # Where all nets are equally fit, the fitness says nothing.
    return noise, spread, max(0.0, 1 - noise / spread) if spread else 0.0


def _with_the_end(run: Run[Result]) -> float:
    """Over the nets that were trained to the end, which are the best of the search."""
    drawn = -np.sort([-net["fitness"] for net in run.random])
    before = [
        *(net["fitness"] for net in run.search[-1]["population"]),
        *drawn[: len(run.finalists["random"])],
    ]
    after = [net["fitness"] for nets_ in run.finalists.values() for net in nets_]
    return _correlation(np.array(before), np.array(after))


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    known = np.isfinite(a) & np.isfinite(b)
    a, b = a[known], b[known]
    if len(a) < 3 or not (a.std() and b.std()):
        return np.nan
    return float(np.corrcoef(a, b)[0, 1])


# --- what sets the nets apart? -------------------------------------------------------------------


def depth(genome: Genome) -> int:
    """The most convolutions that lie one behind the other.

    Examples
    --------
    >>> depth(nets.HAND_ENGINEERED["hand_b"])
    4
    """
    depths = [0]
    for block in genome:
        own = block["kind"] in ("conv", "strided")
        depths.append(max(depths[k] for k in block["inputs"]) + own)
    return depths[-1]


def traits(run: Run[Result], split: Split) -> pd.DataFrame:
    """How what a net is like goes with what it reaches, over all nets that a run has tried.

    Correlations; all but that of the size itself at equal size: what the logarithm of the number
    of parameters says of both is taken away from both.
    """
    found = [net for net in tried(run) if np.isfinite(net["fitness"])]
    size = np.log([parameters(net["genome"], split) for net in found])
    counts = np.array(
        [[depth(net["genome"]), *neuroevolution.spectrum(net["genome"])] for net in found]
    )
    convolutions, pools, strided, sums, joined = counts[:, 1:].T
    of = dict(zip(TRAITS, (counts[:, 0], convolutions, pools, strided, sums, joined), strict=True))
    reached = {name: np.array([net[name] for net in found]) for name in ACCURACIES}
    rows = [("parameters", *(_correlation(size, values) for values in reached.values()))]
    rows += [
        (name, *(_correlation(_beyond(size, x), _beyond(size, y)) for y in reached.values()))
        for name, x in of.items()
    ]
    return pd.DataFrame(rows, columns=["trait", *ACCURACIES])


def _beyond(size: np.ndarray, values: Sequence[float] | np.ndarray) -> np.ndarray:
    """What is left of values when a straight line over the size is taken away."""
    values = np.asarray(values, dtype=float)
    if len(values) < 3 or not size.std():
        return values
    return values - np.polyval(np.polyfit(size, values, 1), size)
