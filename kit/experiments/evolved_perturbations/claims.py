"""The claims of the study of evolved perturbations, judged on its tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from kit.experiments.evolved_perturbations import tables
from kit.experiments.evolved_perturbations.settings import PLAIN, RANDOM, STUDY, Settings
from kit.harness import results

LEARNT = 50  # per cent


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What the claims on one data set are judged by.

    Attributes
    ----------
    curves
        All trainings but the table's, as :func:`tables.curves` gives them.
    gains
        By pixels, for each search: clean-test error (%) of the last generation's candidates minus
        that of the first one's.
    matched
        Table of the notebook: at equal training accuracy.
    ends
        Table of the notebook, a row for each search and end of the line between SGD's and Adam's
        weights: ``rise`` of the training loss a quarter beyond the end, ``rise inwards`` as far on
        its other side; ``test`` and ``train`` accuracy (%) at it.
    background
        By training (clean, perturbed) the share (%) of Grad-CAM's mass on dark pixels for each
        search; empty for colour images.
    resolution
        One test image, in %.
    """

    curves: pd.DataFrame
    gains: dict[int, np.ndarray]
    matched: pd.DataFrame
    ends: pd.DataFrame
    background: dict[str, list[float]]
    resolution: float


def verdicts(config: Settings, evidence: Evidence) -> Iterator[tuple[str, str, results.Verdict]]:
    """All claims on one data set: ID, what of it is meant, and verdict with evidence."""
    yield from _about_search(config, evidence)
    yield from _about_optimizers(config, evidence)
    yield from _about_pictures(config, evidence)


def of_table(
    config: Settings, dataset: str, curves: pd.DataFrame, resolution: float
) -> Iterator[tuple[str, str, results.Verdict]]:
    """The claims on the table with larger nets (1.T1), from its trainings, on one data set."""
    printed = STUDY.concerns("printed effects", dataset)
    for net, rows in tables.final(curves).groupby("net", sort=False):
        ours = tables.evolved(rows, config.search_optimizer, config.pixels[0])
        uniform, left = (rows[rows["kind"] == kind] for kind in ("uniform", "left"))
        judged = _more_harmful(ours, uniform, "evolved", "uniform", resolution)
        yield "1.C2", f"{net}, augmented", judged
        parts = [
            _more_harmful(
                harmful, left, name, "left column", resolution,
                _printed(config, name) if printed else None,
            )
            for name, harmful in (("evolved", ours), ("uniform", uniform))
        ]  # fmt: skip
        yield "1.C3", str(net), results.all_of(parts)


def _about_search(config: Settings, e: Evidence) -> Iterator[tuple[str, str, results.Verdict]]:
    aim, least = config.search_optimizer, config.pixels[0]
    for pixels, gain in e.gains.items():
        judged = results.positive(gain, "points of error from first to last", e.resolution)
        yield "1.C1", f"Np = {pixels}", judged
    small = tables.final(e.curves)
    rows = small[small["optimizer"] == aim]
    ours, draws = tables.evolved(rows, aim, least), rows[rows["kind"] == "uniform"]
    yield "1.C2", f"Np = {least}", _more_harmful(ours, draws, "evolved", "uniform", e.resolution)
    for fewer, more in zip(config.pixels, config.pixels[1:], strict=False):
        many, few = (tables.evolved(rows, aim, pixels) for pixels in (more, fewer))
        judged = _more_harmful(many, few, f"Np = {more}", f"Np = {fewer}", e.resolution)
        yield "1.C4", f"Np = {more} against {fewer}", judged
    for claim, method, name in (("1.X3", RANDOM, "random search"), ("1.X4", PLAIN, "plain")):
        others = tables.evolved(rows, aim, least, method)
        yield claim, f"Np = {least}", _more_harmful(ours, others, "evolved", name, e.resolution)
    of_rival = small[small["optimizer"] == config.rival]
    theirs, ours = (tables.evolved(of_rival, name, least) for name in (config.rival, aim))
    rival = TITLES[config.rival]
    judged = _more_harmful(theirs, ours, f"against {rival}", f"against {TITLES[aim]}", e.resolution)
    yield "1.X2", f"against {rival}", judged


def _printed(config: Settings, name: str) -> float | None:
    """By how much more than the left column the paper's table says that a noise hurts."""
    table = STUDY.printed("1.T1")
    assert table is not None
    values = table.set_index("noise")["accuracy"]
    return results.printed_gain(values, "left column [7]", f"{name} Np = {config.pixels[0]}")


def _about_optimizers(config: Settings, e: Evidence) -> Iterator[tuple[str, str, results.Verdict]]:
    small, aim = tables.final(e.curves), config.search_optimizer
    for pixels in config.pixels:
        rows, label = tables.evolved(small, aim, pixels), f"Np = {pixels}"
        others = [name for name in ("adam", "rmsprop") if name in config.optimizers]
        ahead = each(rows, [("sgd", name) for name in others], e.resolution)
        yield "1.C5", label, if_learnt(rows, ahead)
        if "adabound" in config.optimizers:
            between = each(rows, [("adabound", "adam"), ("sgd", "adabound")], e.resolution)
            yield "1.C6", label, if_learnt(rows, between)
        equal = e.matched[e.matched["pixels"] == pixels]
        yield "1.X1", label, if_learnt(equal, each(equal, [("sgd", "adam")], e.resolution))
        yield "1.C9", label, _falls(e, aim, pixels)


def _falls(e: Evidence, aim: str, pixels: int) -> results.Verdict:
    """Does clean-test accuracy fall from the first epoch to the last (1.C9)?"""
    rows = tables.evolved(e.curves, aim, pixels)
    rows = rows[rows["optimizer"] == aim]
    last = rows["epoch"].max()
    drop = tables.paired(rows[rows["epoch"].isin((1, last))], "epoch", 1, last)
    judged = results.positive(drop, "points lost from epoch 1 to the last", e.resolution)
    return if_learnt(rows[rows["epoch"] == last], judged)


def _about_pictures(config: Settings, e: Evidence) -> Iterator[tuple[str, str, results.Verdict]]:
    label = f"Np = {config.pixels[0]}"
    steeper = tables.paired(e.ends, "optimizer", "sgd", "adam", "rise")
    inwards = tables.paired(e.ends, "optimizer", "sgd", "adam", "rise inwards")
    better = tables.paired(e.ends, "optimizer", "sgd", "adam")
    parts = [
        results.positive(steeper, "more rise of the loss beyond SGD's end than beyond Adam's"),
        # Beyond an end that is no minimum the loss rises, too, as far as it falls inwards.
        results.positive(steeper + inwards, "more on both sides of it together"),
        results.positive(better, "points better", e.resolution),
    ]
    yield "1.C7", label, if_learnt(e.ends, results.all_of(parts))
    if e.background:
        clean, perturbed = (np.array(e.background[name]) for name in ("clean", "perturbed"))
        yield "1.C8", label, results.positive(perturbed - clean, "points of the mass")


def if_learnt(rows: pd.DataFrame, judged: results.Verdict) -> results.Verdict:
    """A verdict, or *undecided* where a net has not learnt half of its training images.

    A net that has learnt nothing has not learnt the pixels either; it says nothing about them.
    """
    by_optimizer = rows.groupby("optimizer")["train"].mean()
    idle = [
        f"{TITLES[str(name)]} {share:.0f} %"
        for name, share in by_optimizer.items()
        if share < LEARNT
    ]
    if not idle:
        return judged
    why = f"less than half of the training images learnt: {', '.join(idle)}"
    return judged.doubted(why)


def _more_harmful(
    ours: pd.DataFrame,
    others: pd.DataFrame,
    name: str,
    other: str,
    resolution: float,
    printed: float | None = None,
) -> results.Verdict:
    """Is the accuracy after our noise below that after the others', two independent samples?"""
    theirs, own = tables.units(others), tables.units(ours)
    means = [f"{name} {results.shown_number(float(v.mean()))} %"
             for name, v in ((other, theirs), (name, own))]  # fmt: skip
    judged = results.larger(theirs, own, "points", resolution, printed)
    judged = results.all_of({" − ".join(means): judged})
    return if_learnt(others, if_learnt(ours, judged))


def each(
    table: pd.DataFrame, pairs: Iterable[tuple[str, str]], resolution: float
) -> results.Verdict:
    """Verdict on several differences between optimizers, which all have to be positive."""
    return results.all_of({
        f"{TITLES[better]} − {TITLES[worse]}": results.positive(
            tables.paired(table, "optimizer", better, worse), "points", resolution
        )
        for better, worse in pairs
    })  # fmt: skip
