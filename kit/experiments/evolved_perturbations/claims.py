"""The claims of the study of evolved perturbations, judged on its tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from kit import results
from kit.experiments.evolved_perturbations import tables
from kit.experiments.evolved_perturbations.settings import Settings

LEARNT = 50  # per cent
Judged = tuple[str, str]  # verdict and evidence


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What the claims on one data set are judged by.

    Attributes
    ----------
    curves
        All trainings, as :func:`tables.curves` gives them.
    errors
        Clean-test errors (%) over the generations, shape (generations, repeats), by pixels.
    matched, ends
        Tables of the notebook: at equal training accuracy, and of both ends of the line.
    background
        By training (clean, perturbed) the share (%) of Grad-CAM's mass on dark pixels for each
        repeat; empty for colour images.
    resolution
        One test image, in %.
    """

    curves: pd.DataFrame
    errors: dict[int, np.ndarray]
    matched: pd.DataFrame
    ends: pd.DataFrame
    background: dict[str, list[float]]
    resolution: float


def verdicts(c: Settings, evidence: Evidence) -> Iterator[tuple[str, str, Judged]]:
    """All claims on one data set: ID, what of it is meant, and verdict with evidence."""
    yield from _about_search(c, evidence)
    yield from _about_table(c, evidence)
    yield from _about_optimizers(c, evidence)
    yield from _about_pictures(c, evidence)


def _about_search(c: Settings, e: Evidence) -> Iterator[tuple[str, str, Judged]]:
    aim, resolution = c.search_optimizer, e.resolution
    for pixels, errors in e.errors.items():
        gain = errors[-1] - errors[0]
        judged = results.positive(gain, "points of error from first to last", resolution)
        yield "1.C1", f"Np = {pixels}", judged
    rows = _small(e).query("optimizer == @aim")
    ours, draws = tables.evolved(rows, aim), rows[rows["kind"] == "uniform"]
    smallest = ours[ours["pixels"] == c.pixels[0]]
    yield "1.C2", f"Np = {c.pixels[0]}", _less_accurate(smallest, draws, resolution)
    for fewer, more in zip(c.pixels, c.pixels[1:], strict=False):
        lost = tables.paired(ours, "pixels", fewer, more)
        judged = results.positive(lost, "points lower", resolution)
        yield "1.C4", f"Np = {more} against {fewer}", if_learnt(ours, judged)


def _about_table(c: Settings, e: Evidence) -> Iterator[tuple[str, str, Judged]]:
    for net, rows in tables.final(e.curves.query("augmented")).groupby("net", sort=False):
        ours = tables.evolved(rows, c.search_optimizer, c.pixels[0])
        uniform, left = (rows[rows["kind"] == kind] for kind in ("uniform", "left"))
        yield "1.C2", f"{net}, augmented", _less_accurate(ours, uniform, e.resolution)
        parts = []
        for kind, other in (("evolved", ours), ("uniform", uniform)):
            lost = tables.paired(pd.concat([left, other]), "kind", "left", kind)
            parts.append(results.positive(lost, f"points lower ({kind})", e.resolution))
        yield "1.C3", net, if_learnt(pd.concat([ours, uniform, left]), results.combine(parts))


def _about_optimizers(c: Settings, e: Evidence) -> Iterator[tuple[str, str, Judged]]:
    small, aim = _small(e), c.search_optimizer
    for pixels in c.pixels:
        rows, label = tables.evolved(small, aim, pixels), f"Np = {pixels}"
        others = [name for name in ("adam", "rmsprop") if name in c.optimizers]
        ahead = each(rows, [("sgd", name) for name in others], e.resolution)
        yield "1.C5", label, if_learnt(rows, ahead)
        if "adabound" in c.optimizers:
            between = each(rows, [("adabound", "adam"), ("sgd", "adabound")], e.resolution)
            yield "1.C6", label, if_learnt(rows, between)
        equal = e.matched[e.matched["pixels"] == pixels]
        yield "1.X1", label, if_learnt(equal, each(equal, [("sgd", "adam")], e.resolution))
        yield "1.C9", label, _falls(e, aim, pixels)
    rows = tables.evolved(small, aim, c.pixels[0])
    rows = pd.concat([rows, tables.evolved(small, c.rival, c.pixels[0])])
    rows = rows[rows["optimizer"] == c.rival]
    lost = tables.paired(rows, "aim", aim, c.rival)
    judged = results.positive(lost, "points lower", e.resolution)
    yield "1.X2", f"against {c.rival}", if_learnt(rows, judged)


def _falls(e: Evidence, aim: str, pixels: int) -> Judged:
    """Does clean-test accuracy fall from the first epoch to the last (1.C9)?"""
    rows = tables.evolved(e.curves.query("not augmented"), aim, pixels)
    rows = rows[rows["optimizer"] == aim]
    last = rows["epoch"].max()
    drop = tables.paired(rows[rows["epoch"].isin((1, last))], "epoch", 1, last)
    judged = results.positive(drop, "points from epoch 1 to the last", e.resolution)
    return if_learnt(rows[rows["epoch"] == last], judged)


def _about_pictures(c: Settings, e: Evidence) -> Iterator[tuple[str, str, Judged]]:
    label = f"Np = {c.pixels[0]}"
    sharper = tables.paired(e.ends, "optimizer", "sgd", "adam", "sharpness")
    better = tables.paired(e.ends, "optimizer", "sgd", "adam")
    parts = [
        results.positive(sharper, "sharper (loss)"),
        results.positive(better, "points better", e.resolution),
    ]
    yield "1.C7", label, if_learnt(e.ends, results.combine(parts))
    if e.background:
        clean, perturbed = (np.array(e.background[name]) for name in ("clean", "perturbed"))
        yield "1.C8", label, results.positive(perturbed - clean, "points of the mass")


def _small(e: Evidence) -> pd.DataFrame:
    """Trainings of the search net, after the last epoch."""
    return tables.final(e.curves.query("not augmented"))


def if_learnt(rows: pd.DataFrame, judged: Judged) -> Judged:
    """A verdict, or *undecided* where a net has not learnt half of its training images.

    A net that has learnt nothing has not learnt the pixels either; it says nothing about them.
    """
    by_optimizer = rows.groupby("optimizer")["train"].mean()
    idle = [f"{name} {share:.0f} %" for name, share in by_optimizer.items() if share < LEARNT]
    if not idle:
        return judged
    why = f"less than half of the training images learnt: {', '.join(idle)}"
    return results.UNDECIDED, f"{judged[1]}; {why}"


def _less_accurate(ours: pd.DataFrame, draws: pd.DataFrame, resolution: float) -> Judged:
    """Is the accuracy after evolved noise below that after uniform noise (1.C2)?"""
    # Trainings on the result of one search are no independent results of searching.
    several = (
        ours.groupby("search")["test"].mean() if ours["search"].nunique() > 1 else ours["test"]
    )
    return if_learnt(ours, welch(draws["test"], several, "uniform", "evolved", resolution))


def each(table: pd.DataFrame, pairs: Iterable[tuple[str, str]], resolution: float) -> Judged:
    """Verdict on several differences between optimizers, which all have to be positive."""
    parts = []
    for better, worse in pairs:
        difference = tables.paired(table, "optimizer", better, worse)
        verdict, evidence = results.positive(difference, "points", resolution)
        parts.append((verdict, f"{better} − {worse}: {evidence}"))
    return results.combine(parts)


def welch(a: pd.Series, b: pd.Series, name_a: str, name_b: str, resolution: float) -> Judged:
    """Is the mean of `a` larger than that of `b`, two samples of their own sizes?"""
    low, high = results.welch_interval(a, b, resolution=resolution)
    show = results.shown_number
    means = f"{name_a} {show(float(a.mean()))} %, {name_b} {show(float(b.mean()))} %"
    interval = f"difference {show(float(a.mean() - b.mean()))} [{show(low)}, {show(high)}] points"
    verdict = results.judge(low, high, min(len(a), len(b)))
    return verdict, f"{means}, {interval}, {len(a)} and {len(b)} trainings"
