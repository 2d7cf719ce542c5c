"""The study's numbers as tables: accuracies by set and K, their slopes, and what rises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from kit.experiments.knn_tradeoff.settings import ADVERSARIAL, ATTACKS, CONTROL, WHOLE, WRONG
from kit.harness import results

# An image may stand in a set in several versions: one for each target of FGSM, or draw of noise.
COUNTED = ("each version", "each image once", "shared images once")


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
        _, kept = _chosen(run, name, z)
        image, votes = run[f"{attack}_image"][kept], run[f"{attack}_votes"][kept, :columns]
        chosen[name] = votes, labels[image]
    return chosen


def _chosen(run: Mapping, attack: str, z: int) -> tuple[np.ndarray, np.ndarray]:
    """Which of an attack's images count for Z-NN: those it got right, and those it now misses."""
    image, votes = (run[f"{ATTACKS[attack]}_{name}"] for name in ("image", "votes"))
    truth = run["labels"][image]
    attacked = run["test_votes"][image, z // 2] == truth
    return attacked, attacked & (votes[:, z // 2] != truth)


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
        accuracy=("accuracy", "mean"),
        std=("accuracy", "std"),
        images=("images", "mean"),
        **{"images std": ("images", "std")},
        runs=("accuracy", "count"),
    ).reset_index()


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


def measures(slopes: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """What steepness is measured by: S_j, and the rises A_1 − A_{Z−2} and A_1 − A_Z (points).

    Parameters
    ----------
    slopes
        As :func:`compare` takes it.

    Returns
    -------
    dict
        By name a table with a row for each run and a column for each set. The last S_j is left
        out, since it divides by A_Z = 0.
    """
    slope, step = (
        slopes.pivot(index="run", columns=["j", "set"], values=name)
        for name in ("slope", "difference")
    )
    js = sorted(slopes["j"].unique())
    rises = {f"A1 − A{last + 2}": sum(step[j] for j in js if j <= last) for last in js[-2:]}
    return {f"S{j}": slope[j] for j in js[:-1]} | rises


def beside_noise(runs: Sequence[Mapping], z: int) -> dict[tuple[str, str], pd.DataFrame]:
    """A_K of each attack's images beside those of noise, counted in three ways.

    Returns
    -------
    dict
        By attack and one of `COUNTED` a table like that of :func:`accuracies`. Shared images have
        a version in both sets, so that the two differ in nothing but the change of the pixels.
    """
    rows = []
    for run, result in enumerate(runs, 1):
        versions = {name: _right(result, name, z) for name in ATTACKS}
        images = {name: table.groupby(level=0).mean() for name, table in versions.items()}
        for attack in ADVERSARIAL:
            shared = images[attack].index.intersection(images[CONTROL].index)
            for name in (attack, CONTROL):
                counted = versions[name], images[name], images[name].loc[shared]
                rows += [
                    (attack, how, run, name, k, table[k].mean(), len(table))
                    for how, table in zip(COUNTED, counted, strict=True)
                    for k in table
                ]
    names = ["attack", "counted", "run", "set", "k", "accuracy", "images"]
    whole = pd.DataFrame(rows, columns=names)
    return {key: part[names[2:]] for key, part in whole.groupby(names[:2], sort=False)}


def _right(run: Mapping, attack: str, z: int) -> pd.DataFrame:
    """Is K-NN right, 100 or 0, on the set of an attack: a row for each version of an image."""
    _, kept = _chosen(run, attack, z)
    image, votes = (run[f"{ATTACKS[attack]}_{name}"][kept] for name in ("image", "votes"))
    ks = range(1, z + 1, 2)
    right = 100.0 * (votes[:, : len(ks)] == run["labels"][image][:, None])
    return pd.DataFrame(right, index=image, columns=ks)


def beyond_noise(slopes: Mapping[tuple[str, str], pd.DataFrame]) -> pd.DataFrame:
    """Of each attack the measures of steepness, noise's, and the paired difference.

    Parameters
    ----------
    slopes
        As :func:`compare` takes it, for each table of :func:`beside_noise`.
    """
    rows = []
    for (attack, counted), table in slopes.items():
        images = table.groupby("set")["images"].mean()
        for quantity, values in measures(table).items():
            finite = values[np.isfinite(values).all(axis=1)]
            found = results.mean_interval(finite[attack] - finite[CONTROL])
            means = finite[attack].mean(), finite[CONTROL].mean(), *found
            sizes = images[attack], images[CONTROL], len(finite), len(values)
            rows.append((attack, counted, quantity, *means, *sizes))
    columns = ["attack", "counted", "quantity", "attacked", "noise", "beyond", "low", "high"]
    return pd.DataFrame(rows, columns=[*columns, "images", "images of noise", "runs used", "of"])


def fooling(runs: Sequence[Mapping], z: int) -> pd.DataFrame:
    """How many of an attack's images LeNet-5 gets wrong (%), over runs: of all, of its set."""
    rows = [
        (attack, *(100 * fooled[part].mean() if part.any() else np.nan for part in parts))
        for attack, key in ATTACKS.items()
        for run in runs
        for fooled, parts in [(run[f"{key}_fools_net"], _chosen(run, attack, z))]
    ]
    table = pd.DataFrame(rows, columns=["attack", "all attacked", "adversarial set"])
    grouped, columns = table.groupby("attack", sort=False), list(table)[1:]
    spread = {f"{name} std": (name, "std") for name in columns}
    means = grouped.agg(**{name: (name, "mean") for name in columns}, **spread)
    order = [name for column in columns for name in (column, f"{column} std")]
    return means[order].assign(runs=len(runs)).reset_index()


def made_of(table: pd.DataFrame) -> pd.DataFrame:
    """For each set its mean accuracies, their ratios, the rise in points, and its first step."""
    mean = table.groupby(["set", "k"], sort=False)["accuracy"].mean().unstack()
    parts = {f"A{k}": mean[k] for k in mean}
    parts |= {f"S{j} of the means": mean[j] / mean[j + 2] for j in list(mean)[:-2]}
    *_, first, z = mean
    parts["rise"] = mean[1] - mean[z]
    parts["first step in % of it"] = 100 * (mean[first] - mean[z]) / parts["rise"]
    images = table[table["k"] == 1].groupby("set")["images"].mean()
    return pd.DataFrame(parts).assign(images=images).drop(WHOLE).reset_index()
