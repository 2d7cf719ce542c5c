"""What is read off the runs of the K-NN study: accuracies, slopes, tests, verdicts."""

import numpy as np
import pandas as pd

from kit import results
from kit.experiments.knn_tradeoff import study

CONTROL = "noise (control)"
ATTACKS = {"FGSM": "fgsm", "DeepFool": "deepfool", CONTROL: "control"}
AIMED = [name for name in ATTACKS if name != CONTROL]
WHOLE, WRONG = "whole test set", "misclassified"
CLAIMS = {
    "3.C1": "Accuracy on the adversarial set rises as K falls.",
    "3.C2": "It rises faster than on the misclassified set (S_1 and S_3, p < 0.05).",
    "3.C3": "Accuracy on the whole test set stays flat.",
    "3.X1": "Beyond the paper: it rises further than for random noise under the same filter.",
}
PAPER = {"mnist": "MNIST", "cifar10": "CIFAR-10"}  # the paper's own data sets


def by_dataset(calls, entries):
    """Results of the runs for each data set, in the order of the runs.

    Parameters
    ----------
    calls : sequence of kit.steps.Call
        As :func:`kit.experiments.knn_tradeoff.plan` lists them.
    entries : sequence of dict
        As :func:`kit.steps.gather` returns them for these calls.

    Returns
    -------
    dict of str to list of dict
    """
    found = {}
    for call, entry in zip(calls, entries, strict=True):
        if call.step is study:
            found.setdefault(call.parameters["dataset"], []).append(entry["result"])
    return found


def names(dataset):
    """What the paper calls the results on a data set; a stand-in's carry its own name too.

    Examples
    --------
    >>> names("cifar10")["accuracy"], names("digits")["accuracy"]
    ('3.F6', '3.F5-digits')
    """
    figures = {
        "mnist": ("3.F4", "3.F5", "3.F7", "3.X1"),
        "cifar10": ("3.F4-cifar10", "3.F6", "3.F8", "3.X1-cifar10"),
    }
    stand_in = tuple(f"{figure}-{dataset}" for figure in figures["mnist"])
    kinds = ("examples", "accuracy", "slopes", "control")
    return dict(zip(kinds, figures.get(dataset, stand_in), strict=True))


def accuracies(entries, z):
    """K-NN accuracy of every run on every set, from the stored labels.

    Parameters
    ----------
    entries : sequence of dict
        Results of :func:`kit.experiments.knn_tradeoff.study`, in the order of the runs.
    z : int

    Returns
    -------
    pandas.DataFrame
        Columns run, set, k, accuracy (in %, NaN on an empty set), images.
    """
    rows = []
    for run, entry in enumerate(entries, 1):
        for name, (votes, truth) in _sets(entry).items():
            for k, found in zip(range(1, z + 1, 2), votes.T, strict=True):
                share = 100 * np.mean(found == truth) if len(truth) else np.nan
                rows.append((run, name, k, share, len(truth)))
    return pd.DataFrame(rows, columns=["run", "set", "k", "accuracy", "images"])


def _sets(entry):
    labels, votes = entry["labels"], entry["test_votes"]
    wrong = votes[:, -1] != labels
    sets = {WHOLE: (votes, labels), WRONG: (votes[wrong], labels[wrong])}
    for name, attack in ATTACKS.items():
        truth = labels[entry[f"{attack}_image"]]
        kept = entry[f"{attack}_votes"][:, -1] != truth
        sets[name] = entry[f"{attack}_votes"][kept], truth[kept]
    return sets


def summary(table):
    """Mean and sample standard deviation over the runs of :func:`accuracies`.

    Returns
    -------
    pandas.DataFrame
        Columns set, k, accuracy and std (in %), images (mean per run), runs (not empty).
    """
    groups = table.groupby(["set", "k"], sort=False)
    return groups.agg(
        accuracy=("accuracy", "mean"), std=("accuracy", "std"), images=("images", "mean"),
        runs=("accuracy", "count"),
    ).reset_index()  # fmt: skip


def rises(table):
    """How far the accuracy rises in all, A_1 − A_Z in points, per run (rows) and set (columns)."""
    wide = table.pivot(index=["run", "set"], columns="k", values="accuracy")
    return (wide[1] - wide[max(wide.columns)]).unstack("set")


def beyond_control(table):
    """How much of each attack's rise is left beyond that of random noise under the same filter?

    Parameters
    ----------
    table : pandas.DataFrame
        As :func:`accuracies` gives it.

    Returns
    -------
    pandas.DataFrame
        One row per attack: its rise, the control's, the paired difference with its 95 % interval
        over runs (points), and the control's rise as a share of the attack's (%).
    """
    by_set = rises(table)
    rows = []
    for attack in AIMED:
        pairs = by_set[[attack, CONTROL]].dropna().to_numpy()
        mean, low, high = results.mean_interval(pairs[:, 0] - pairs[:, 1])
        rise, control = pairs.mean(0) if len(pairs) else (np.nan, np.nan)
        share = 100 * control / rise if rise else np.nan
        row = (attack, rise, control, mean, low, high, share, len(pairs))
        rows.append(row)
    columns = ["attack", "rise", "control", "beyond", "low", "high", "control share", "runs"]
    return pd.DataFrame(rows, columns=columns)


def slopes(table):
    """The paper's slopes S_j = A_j / A_(j+2), and the plain differences A_j − A_(j+2).

    Parameters
    ----------
    table : pandas.DataFrame
        As :func:`accuracies` gives it.

    Returns
    -------
    pandas.DataFrame
        Columns run, set, j, slope, difference (points). A slope is infinite where only A_(j+2)
        is zero, and NaN where both are or the set is empty.
    """
    wide = table.pivot(index=["run", "set"], columns="k", values="accuracy")
    rows = []
    for j in wide.columns[:-1]:
        upper, lower = wide[j].to_numpy(), wide[j + 2].to_numpy()
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = upper / lower
        frame = wide.index.to_frame(index=False)
        rows.append(frame.assign(j=j, slope=slope, difference=upper - lower))
    return pd.concat(rows, ignore_index=True)


def compare(table, attack, other=WRONG):
    """Does the accuracy rise faster on an attack's adversarial set than on another set?

    Parameters
    ----------
    table : pandas.DataFrame
        As :func:`slopes` gives it.
    attack, other : str
        Names of two sets.

    Returns
    -------
    pandas.DataFrame
        One row per quantity (S_j, A_j − A_(j+2), and the whole rise A_1 − A_Z): the two means,
        their difference with Welch's 95 % interval over runs, Welch's and the paired p-value,
        and how many runs had a finite value in both sets. Where fewer than two had, there are no
        p-values; where none had because slopes are infinite, the means show that.
    """
    by_run = table.pivot(index="run", columns=["j", "set"], values=["slope", "difference"])
    places = sorted(table["j"].unique())
    samples = {}
    for j in places:
        samples[f"S{j}"] = by_run["slope"][j]
        samples[f"A{j} − A{j + 2}"] = by_run["difference"][j]
    samples[f"A1 − A{places[-1] + 2}"] = sum(by_run["difference"][j] for j in places)
    rows = []
    for quantity, values in samples.items():
        pairs = values[[attack, other]].to_numpy()
        finite = pairs[np.isfinite(pairs).all(axis=1)]
        found = results.two_samples(finite[:, 0], finite[:, 1])
        if not len(finite) and np.isinf(pairs).any():
            found["mean"], found["mean against"] = np.fmax.reduce(pairs)
        rows.append(
            {"attack": attack, "against": other, "quantity": quantity}
            | found
            | {"runs used": len(finite), "of": len(pairs)}
        )
    return pd.DataFrame(rows)


def compare_attacks(table):
    """:func:`compare` for both attacks, one under the other."""
    return pd.concat([compare(table, attack) for attack in AIMED], ignore_index=True)


def faster(compared, attack):
    """Verdict on claim 3.C2 for one attack, with its evidence.

    It stays undecided where a slope has no finite value in some run.

    Parameters
    ----------
    compared : pandas.DataFrame
        As :func:`compare` gives it.
    attack : str

    Returns
    -------
    tuple of str
    """
    rows = compared[compared["attack"] == attack]
    ratios = rows[rows["quantity"].str.startswith("S")].iloc[:-1]  # the last divides by A_Z = 0
    # Runs without a finite slope are not missing at random: their denominator was zero.
    verdicts = [
        results.verdict(row["low"], row["high"])
        if row["runs used"] == row["of"]
        else results.UNDECIDED
        for _, row in ratios.iterrows()
    ]
    told = [*ratios.iterrows(), *rows.iloc[-1:].iterrows()]
    return results.all_of(verdicts), "; ".join(_in_words(row) for _, row in told)


def _in_words(row):
    mean, against, difference, low, high, welch, paired = (
        results.shown_number(row[name])
        for name in (
            "mean", "mean against", "difference", "low", "high", "p Welch", "p paired",
        )
    )  # fmt: skip
    return (
        f"{row['quantity']}: {mean} against {against}, difference {difference} [{low}, {high}], "
        f"p = {welch} (Welch), {paired} (paired), {row['runs used']} of {row['of']} runs"
    )


def stays_flat(table, limit):
    """Verdict on claim 3.C3 with its evidence: does K move the whole-test accuracy by < `limit`?

    Parameters
    ----------
    table : pandas.DataFrame
        As :func:`accuracies` gives it.
    limit : float
        Percentage points.

    Returns
    -------
    tuple of str
    """
    whole = table[table["set"] == WHOLE].groupby("run")["accuracy"]
    mean, low, high = results.mean_interval(whole.max() - whole.min())
    show = results.shown_number
    evidence = f"K changes it by {show(mean)} points [{show(low)}, {show(high)}]; limit {limit:g}"
    return results.verdict(limit - high, limit - low), evidence


def examples(entry, classes):
    """Images of each attack's adversarial set beside their originals, with K-NN labels.

    Parameters
    ----------
    entry : dict
        Result of :func:`kit.experiments.knn_tradeoff.study`.
    classes : sequence of str
        Names of the classes.

    Yields
    ------
    tuple
        Attack, rows of images and rows of captions, as :func:`kit.pictures.image_rows`
        takes them.
    """
    for attack in AIMED:
        short = ATTACKS[attack]
        rows = entry[f"{short}_examples"]
        if not len(rows):
            continue
        clean = entry["test_votes"][entry[f"{short}_image"][rows]]
        votes = {"clean": clean, "attacked": entry[f"{short}_votes"][rows]}
        names_of = np.array(classes)
        captions = {
            row: [_pair(*names_of[[labels[0], labels[-1]]]) for labels in found]
            for row, found in votes.items()
        }
        yield (
            attack,
            {"clean": entry[f"{short}_originals"], "attacked": entry[f"{short}_pixels"]},
            captions,
        )


def _pair(first, second):
    return f"{first} / {second}" if len(first + second) < 8 else f"{first} /\n{second}"
