"""The claims of the study, judged on its tables."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from kit.experiments.knn_tradeoff import tables
from kit.experiments.knn_tradeoff.settings import ADVERSARIAL, CONTROL, WHOLE
from kit.harness import results

Judged = tuple[str, str]  # verdict and evidence


def verdicts(
    accuracies: pd.DataFrame, slopes: pd.DataFrame, limit: float, resolution: float
) -> Iterator[tuple[str, str, Judged]]:
    """All claims on one data set: ID, what of it is meant, and verdict with evidence.

    Parameters
    ----------
    accuracies
        As :func:`tables.accuracies` gives them.
    slopes
        Table of the notebook, as :func:`tables.compare` takes it.
    limit
        The whole test set is flat where K changes its accuracy by fewer points.
    resolution
        One test image, in %.
    """
    for attack in ADVERSARIAL:
        yield from _about_attack(accuracies, slopes, attack)
    whole = accuracies[accuracies["set"] == WHOLE].groupby("run")["accuracy"]
    changes = whole.max() - whole.min()
    yield "3.C3", "", stays_flat(changes, limit, resolution)


def _about_attack(
    accuracies: pd.DataFrame, slopes: pd.DataFrame, attack: str
) -> Iterator[tuple[str, str, Judged]]:
    of_attack = accuracies[(accuracies["set"] == attack) & (accuracies["k"] == 1)]
    images = of_attack["images"]
    one_image = 100 / max(images.sum(), 1)  # of all runs
    steps_up = {
        j: results.positive(part["difference"], "points", one_image)
        for j, part in slopes[slopes["set"] == attack].groupby("j")
    }
    many = f"{images.mean():.0f} images a run; "
    evidence = "; ".join(f"A{j} − A{j + 2}: {text}" for j, (_, text) in steps_up.items())
    rising = results.all_of([verdict for verdict, _ in steps_up.values()])
    yield "3.C1", attack, (rising, many + evidence)
    yield "3.C2", attack, faster(tables.compare(slopes, attack))
    rises = tables.rises(accuracies)
    verdict, evidence = results.positive(
        rises[attack] - rises[CONTROL], "points beyond noise", one_image
    )
    yield "3.X1", attack, (verdict, many + evidence)


def faster(compared: pd.DataFrame) -> Judged:
    """Verdict on 3.C2 and its evidence; a slope that is not finite in every run is undecided."""
    ratios = compared[compared["quantity"].str.startswith("S")].iloc[:-1]  # the last: A_Z = 0
    # Runs without a finite slope are not missing at random: their denominator was zero.
    verdicts = [
        results.judge(row["low"], row["high"], row["runs used"])
        if row["runs used"] == row["of"]
        else results.UNDECIDED
        for _, row in ratios.iterrows()
    ]
    columns = ["mean", "mean against", "difference", "low", "high", "p Welch", "p paired"]
    evidence = []
    for _, row in [*ratios.iterrows(), *compared.iloc[-1:].iterrows()]:
        numbers = [results.shown_number(row[column]) for column in columns]
        text = (
            "{}: {} against {}, difference {} [{}, {}], p = {} (Welch), {} (paired), {} of {} runs"
        )
        evidence.append(text.format(row["quantity"], *numbers, row["runs used"], row["of"]))
    return results.all_of(verdicts), "; ".join(evidence)


def stays_flat(changes: pd.Series, limit: float, resolution: float) -> Judged:
    """Verdict on 3.C3 and its evidence: does K move the accuracy by less than `limit` points?"""
    mean, low, high = results.mean_interval(changes, resolution=resolution)
    by, least, most = map(results.shown_number, (mean, low, high))
    evidence = f"K changes it by {by} points [{least}, {most}]; limit {limit:g}"
    return results.judge(limit - high, limit - low, len(changes)), evidence
