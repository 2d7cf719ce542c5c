"""The claims of the study, judged on its tables."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from kit.experiments.knn_tradeoff import tables
from kit.experiments.knn_tradeoff.settings import ADVERSARIAL, CONTROL, WHOLE, WRONG
from kit.harness import results


def verdicts(
    accuracies: pd.DataFrame, slopes: pd.DataFrame, limit: float, resolution: float
) -> Iterator[tuple[str, str, results.Verdict]]:
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
) -> Iterator[tuple[str, str, results.Verdict]]:
    of_attack = accuracies[(accuracies["set"] == attack) & (accuracies["k"] == 1)]
    images = of_attack["images"]
    one_image = 100 / max(images.sum(), 1)  # of all runs
    many = f"{images.mean():.0f} images a run"
    rising = results.all_of({
        f"A{j} − A{j + 2}": results.positive(part["difference"], "points", one_image)
        for j, part in slopes[slopes["set"] == attack].groupby("j")
    })  # fmt: skip
    yield "3.C1", attack, rising.noted(many)
    yield "3.C2", attack, faster(slopes, attack)
    rises = tables.rises(accuracies)
    beyond = rises[attack] - rises[CONTROL]
    yield "3.X1", attack, results.positive(beyond, "points beyond noise", one_image).noted(many)


def faster(slopes: pd.DataFrame, attack: str) -> results.Verdict:
    """Do S1 and S3 exceed those of misclassified images (3.C2)? All runs need a finite slope."""
    values = slopes.pivot(index="run", columns=["j", "set"], values="slope")
    parts = {}
    for j in sorted(slopes["j"].unique())[:-1]:  # A_Z = 0 ends the last one
        pairs = values[j][[attack, WRONG]]
        finite = pairs[np.isfinite(pairs).all(axis=1)]
        ours, wrong = finite[attack], finite[WRONG]
        found = results.larger(ours, wrong, f"({ours.mean():.4g} against {wrong.mean():.4g})")
        # Runs without a finite slope are not missing at random: their denominator was zero.
        lost = len(pairs) - len(finite)
        parts[f"S{j}"] = found.doubted(f"{lost} runs without a finite slope") if lost else found
    return results.all_of(parts)


def stays_flat(changes: pd.Series, limit: float, resolution: float) -> results.Verdict:
    """Verdict on 3.C3 and its evidence: does K move the accuracy by less than `limit` points?"""
    below = results.positive(limit - changes, "points", resolution)
    return results.all_of({f"{limit:g} points − K's largest change": below})
