"""The study's numbers as tables: accuracies by set and K, their slopes, and what rises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from kit.experiments.knn_tradeoff.settings import ADVERSARIAL, ATTACKS, CONTROL, WHOLE, WRONG
from kit.harness import results


def sets(run: Mapping, z: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The sets of images that the paper compares, from the result of :func:`study`.

    Returns
    -------
    dict
        For each set the K-NN labels of its images, one column for each odd K up to `z`, and the
        true labels.
    """
    columns = z // 2 + 1
    labels, votes = run["labels"], run["test_votes"][:, :columns]
    wrong = votes[:, -1] != labels
    chosen = {WHOLE: (votes, labels), WRONG: (votes[wrong], labels[wrong])}
    for name, attack in ATTACKS.items():
        image, votes = run[f"{attack}_image"], run[f"{attack}_votes"][:, :columns]
        kept = ~wrong[image] & (votes[:, -1] != labels[image])
        chosen[name] = votes[kept], labels[image[kept]]
    return chosen


def accuracies(runs: Sequence[Mapping], z: int) -> pd.DataFrame:
    """A_K in % of every run on every set of images; NaN on an empty set."""
    rows = [
        (run, name, k, 100 * np.mean(votes[:, i] == truth) if len(truth) else np.nan, len(truth))
        for run, result in enumerate(runs, 1)
        for name, (votes, truth) in sets(result, z).items()
        for i, k in enumerate(range(1, z + 1, 2))
    ]
    return pd.DataFrame(rows, columns=["run", "set", "k", "accuracy", "images"])


def mean_and_std(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and sample standard deviation over the runs of :func:`accuracies`, by set and K."""
    grouped = table.groupby(["set", "k"], sort=False)
    return grouped.agg(
        accuracy=("accuracy", "mean"), std=("accuracy", "std"), images=("images", "mean"),
        **{"images std": ("images", "std")}, runs=("accuracy", "count"),
    ).reset_index()  # fmt: skip


def compare(slopes: pd.DataFrame, attack: str, other: str = WRONG) -> pd.DataFrame:
    """Both tests for every S_j, for the differences, and for the whole rise A_1 − A_Z.

    Parameters
    ----------
    slopes
        Columns run, set, j, slope (S_j) and difference (A_j − A_{j+2}).
    attack, other
        The two sets of images.
    """
    values = slopes.pivot(index="run", columns=["j", "set"], values=["slope", "difference"])
    js = sorted(slopes["j"].unique())
    samples = {}
    for j in js:
        samples[f"S{j}"], samples[f"A{j} − A{j + 2}"] = values["slope"][j], values["difference"][j]
    samples[f"A1 − A{js[-1] + 2}"] = sum(values["difference"][j] for j in js)
    rows = []
    for quantity, sample in samples.items():
        pairs = sample[[attack, other]].to_numpy()
        finite = pairs[np.isfinite(pairs).all(axis=1)]
        tested = results.two_samples(finite[:, 0], finite[:, 1])
        if not len(finite) and np.isinf(pairs).any():
            tested["mean"], tested["mean against"] = np.fmax.reduce(pairs)
        row = {"attack": attack, "against": other, "quantity": quantity} | tested
        rows.append(row | {"runs used": len(finite), "of": len(pairs)})
    return pd.DataFrame(rows)


def rises(table: pd.DataFrame) -> pd.DataFrame:
    """The whole rise A_1 − A_Z (points) of every run, a column for each set."""
    wide = table.pivot(index=["run", "set"], columns="k", values="accuracy")
    return (wide[1] - wide[max(wide.columns)]).unstack("set")


def beyond_noise(table: pd.DataFrame) -> pd.DataFrame:
    """Of each attack the rise A_1 − A_Z (points), the control's, and the paired difference."""
    rise, rows = rises(table), []
    for attack in ADVERSARIAL:
        pairs = rise[[attack, CONTROL]].dropna().to_numpy()
        mean, low, high = results.mean_interval(pairs[:, 0] - pairs[:, 1])
        of_attack, of_noise = pairs.mean(0) if len(pairs) else (np.nan, np.nan)
        share = 100 * of_noise / of_attack if of_attack else np.nan
        rows.append((attack, of_attack, of_noise, mean, low, high, share, len(pairs)))
    columns = ["attack", "rise", "control", "beyond", "low", "high", "control share", "runs"]
    return pd.DataFrame(rows, columns=columns)


def made_of(table: pd.DataFrame) -> pd.DataFrame:
    """For each set its mean accuracies, their ratios, and the rise in points."""
    mean = table.groupby(["set", "k"], sort=False)["accuracy"].mean().unstack()
    parts = {f"A{k}": mean[k] for k in mean}
    parts |= {f"S{j} of the means": mean[j] / mean[j + 2] for j in list(mean)[:-2]}
    parts["rise"] = mean[1] - mean[max(mean)]
    images = table[table["k"] == 1].groupby("set")["images"].mean()
    return pd.DataFrame(parts).assign(images=images).drop(WHOLE).reset_index()
