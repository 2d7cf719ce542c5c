"""The claims of the study of evolved perturbations, judged on its tables."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from kit.experiments.evolved_perturbations import tables
from kit.experiments.evolved_perturbations.settings import (
    LOW,
    PLAIN,
    RANDOM,
    STUDY,
    TITLES,
    Settings,
)
from kit.harness import results

LEARNT = 50  # per cent


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What the claims on one data set are judged by.

    Attributes
    ----------
    curves, courses
        The trainings of these names but the table's, as :func:`tables.curves` gives them.
    signals
        By pixels, for each search: how closely F_d goes with harm beside F_m
        (:func:`measures.signals`).
    edges
        By kind of search the share (%) of the pixels of each one's choice near the edge.
    gains
        By pixels, for each search: clean-test error (%) of the last generation's candidates minus
        that of the first one's.
    matched
        Table of the notebook: at equal training accuracy.
    ends
        Table of the notebook, a row for each search and end of the line between SGD's and Adam's
        weights: ``rise`` of the training loss a quarter beyond the end, ``rise inwards`` as far on
        its other side; ``test`` and ``train`` accuracy (%), ``test loss`` and ``train loss`` at it.
    background
        By training (clean, perturbed) the share (%) of Grad-CAM's mass on dark pixels for each
        search; empty for colour images.
    resolution
        One test image, in %.
    """

    curves: pd.DataFrame
    courses: pd.DataFrame
    signals: dict[int, np.ndarray]
    edges: dict[str, np.ndarray]
    gains: dict[int, np.ndarray]
    matched: pd.DataFrame
    ends: pd.DataFrame
    background: dict[str, list[float]]
    resolution: float


def verdicts(config: Settings, evidence: Evidence) -> Iterator[tuple[str, str, results.Verdict]]:
    """All claims on one data set: ID, what of it is meant, and verdict with evidence."""
    yield from _about_search(config, evidence)
    yield from _about_noises(config, evidence)
    yield from _about_optimizers(config, evidence)
    yield from _about_pictures(config, evidence)


def of_table(
    config: Settings, dataset: str, curves: pd.DataFrame, resolution: float
) -> Iterator[tuple[str, str, results.Verdict]]:
    """The claims on the table with larger nets (1.T1), from its trainings, on one data set."""
    printed, aim = STUDY.concerns("printed effects", dataset), config.search_optimizer
    for net, rows in tables.final(curves).groupby("net", sort=False):
        ours = tables.evolved(rows, aim, config.pixels[0])
        uniform, left = (rows[rows["kind"] == kind] for kind in ("uniform", "left"))
        judged = _more_harmful(ours, uniform, "evolved", "uniform", resolution)
        yield "1.C2", f"{net}, augmented", judged
        parts = [
            _more_harmful(
                harmful,
                left,
                name,
                "left column",
                resolution,
                _printed(config, name, left) if printed else None,
            )
            for name, harmful in (("evolved", ours), ("uniform", uniform))
        ]
        yield "1.C3", str(net), results.all_of(parts)
        for label, judged in _more_pixels(config, rows, resolution):
            yield "1.C4", f"{net}, {label}", judged


def _about_search(config: Settings, e: Evidence) -> Iterator[tuple[str, str, results.Verdict]]:
    aim, least = config.search_optimizer, config.pixels[0]
    for pixels, gain in e.gains.items():
        judged = results.positive(gain, "points of error from first to last", e.resolution)
        yield "1.C1", f"Np = {pixels}", judged
        judged = results.positive(e.signals[pixels], "correlation with harm beside F_m")
        yield "1.C10", f"Np = {pixels}", judged
    judged = results.larger(e.edges["evolved"], e.edges["blind"], "points of the pixels")
    yield "1.C15", f"Np = {least}", judged
    small = tables.final(e.curves)
    rows = small[small["optimizer"] == aim]
    ours, draws = tables.evolved(rows, aim, least), rows[rows["kind"] == "uniform"]
    yield "1.C2", f"Np = {least}", _more_harmful(ours, draws, "evolved", "uniform", e.resolution)
    for claim, method, name in (("1.X3", RANDOM, "random search"), ("1.X4", PLAIN, "plain")):
        others = tables.evolved(rows, aim, least, method)
        yield claim, f"Np = {least}", _more_harmful(ours, others, "evolved", name, e.resolution)
    of_rival = small[small["optimizer"] == config.rival]
    theirs, ours = (tables.evolved(of_rival, name, least) for name in (config.rival, aim))
    rival = TITLES[config.rival]
    judged = _more_harmful(theirs, ours, f"against {rival}", f"against {TITLES[aim]}", e.resolution)
    yield "1.X2", f"against {rival}", judged


def _about_noises(config: Settings, e: Evidence) -> Iterator[tuple[str, str, results.Verdict]]:
    """Small nets, no augmentation: more pixels, the left column, and no noise at all."""
    small, aim, least = tables.final(e.curves), config.search_optimizer, config.pixels[0]
    rows = small[small["optimizer"] == aim]
    ours = tables.evolved(rows, aim, least)
    clean, left, draws = (rows[rows["kind"] == kind] for kind in ("clean", "left", "uniform"))
    for label, judged in _more_pixels(config, rows, e.resolution):
        yield "1.C4", label, judged
    label = f"Np = {least}"
    yield "1.C11", label, _more_harmful(ours, left, "evolved", "left column", e.resolution)
    yield "1.C12", label, _more_harmful(left, draws, "left column", "uniform", e.resolution)
    for pixels in config.pixels:
        several, label = tables.evolved(rows, aim, pixels), f"Np = {pixels}"
        yield "1.C13", label, _more_harmful(several, clean, label, "clean", e.resolution)


def _more_pixels(
    config: Settings, rows: pd.DataFrame, resolution: float
) -> Iterator[tuple[str, results.Verdict]]:
    """Each number of pixels against the one before it (1.C4)."""
    for fewer, more in itertools.pairwise(config.pixels):
        many, few = (
            tables.evolved(rows, config.search_optimizer, pixels) for pixels in (more, fewer)
        )
        judged = _more_harmful(many, few, f"Np = {more}", f"Np = {fewer}", resolution)
        yield f"Np = {more} against {fewer}", judged


def _printed(config: Settings, name: str, left: pd.DataFrame) -> float | None:
    """How much more than the left column a noise hurts by the paper, in points of our accuracy.

    The paper's nets are better than ours, so what is taken over is the share of the left column's
    accuracy that is lost; of the printed nets the one that loses least counts.
    """
    table = STUDY.printed("1.T1")
    assert table is not None
    printed = table.pivot_table(index="noise", columns="net", values="accuracy")
    noise = f"{name} Np = {config.pixels[0]}"
    if noise not in printed.index:
        return None
    share = (1 - printed.loc[noise] / printed.loc["left column [7]"]).min()
    return float(share * tables.units(left).mean()) if share > 0 else None


def _about_optimizers(config: Settings, e: Evidence) -> Iterator[tuple[str, str, results.Verdict]]:
    long, aim = tables.final(e.courses), config.search_optimizer
    for pixels in config.pixels:
        rows, label = tables.evolved(long, aim, pixels), f"Np = {pixels}"
        others = [name for name in ("adam", LOW, "rmsprop") if name in config.rates]
        ahead = each(rows, [("sgd", name) for name in others], e.resolution)
        yield "1.C5", label, if_learnt(rows, ahead)
        if "adabound" in config.optimizers:
            between = each(rows, [("adabound", "adam"), ("sgd", "adabound")], e.resolution)
            yield "1.C6", label, if_learnt(rows, between)
        pairs = [("sgd", name) for name in ("adam", LOW)]
        equal = e.matched[e.matched["pixels"] == pixels]
        yield "1.X1", label, if_learnt(equal, each(equal, pairs, e.resolution))
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
    lower = {
        f"{loss}, Adam − SGD": results.positive(
            tables.paired(e.ends, "optimizer", "adam", "sgd", loss), "of cross-entropy"
        )
        for loss in ("train loss", "test loss")
    }
    yield "1.C14", label, if_learnt(e.ends, results.all_of(lower))
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
    judged = results.larger(theirs, own, "points", resolution, printed)
    judged = results.all_of({f"{other} − {name}": judged})
    return if_learnt(others, if_learnt(ours, judged))


def each(
    table: pd.DataFrame, pairs: Iterable[tuple[str, str]], resolution: float
) -> results.Verdict:
    """Verdict on several differences between optimizers, which all have to be positive."""
    return results.all_of(
        {
            f"{TITLES[better]} − {TITLES[worse]}": results.positive(
                tables.paired(table, "optimizer", better, worse), "points", resolution
            )
            for better, worse in pairs
        }
    )
