"""The K-NN study of Deniz, Vallez & Bueno (IWANN 2019), run by run.

Z-NN classifies the test images. Those it gets right are attacked on a LeNet-5; attacked images
that Z-NN then gets wrong are the adversarial set. How do smaller K fare on it?
"""

import dataclasses

import numpy as np
import pandas as pd
import torch

from kit import attacks, data, neighbors, nets, results, runtime, training
from kit.steps import Call, step

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


def check(*, datasets, runs, max_runs, train, test, z, epsilon, epochs, control_draws, flat, **_):
    """Refuse parameters that make no sense, in one sentence each.

    Raises
    ------
    ValueError
    """
    if not datasets or not all(isinstance(name, str) for name in datasets):
        raise ValueError(f"datasets is {datasets}: list at least one name, such as [digits].")
    if len(set(datasets)) < len(datasets):
        raise ValueError(f"datasets is {datasets}: name each data set once.")
    if z < 3 or z % 2 == 0:
        raise ValueError(f"z is {z}: use an odd number from 3 on, so that smaller odd K are left.")
    attacks.check_epsilon(epsilon)
    positive = {"runs": runs, "epochs": epochs, "control_draws": control_draws, "flat": flat}
    positive |= {f"max_runs of {name}": count for name, count in max_runs.items()}
    for name, value in positive.items():
        if isinstance(value, str) or value <= 0:
            raise ValueError(f"{name} is {value}: it must be a positive number.")
    if min(train, test) < 0:
        raise ValueError(f"train is {train} and test {test}: use 0 for all images, or a number.")


def plan(
    *, datasets, runs, max_runs, train, test, z, epsilon, epochs, control_draws, seed, data_root,
    device, **_,
):  # fmt: skip
    """The calls of the study, and the data sets they are about.

    Parameters
    ----------
    datasets : list of str
    runs : int
        Repeats; run r re-splits each data set with its own seed.
    max_runs : dict of str to int
        Fewer runs for some data sets.
    train, test : int
        Images to keep in all; 0 keeps all of them.
    z : int
        The K that defines the adversarial and the misclassified set.
    epsilon : float
        Largest change of a pixel, in (0, 1].
    epochs : int
        Training of LeNet-5.
    control_draws : int
        Noisy copies of each image in the control.
    seed : int
    data_root, device : str
        Where it runs.

    Returns
    -------
    dict of str to (kit.data.Dataset, list of kit.steps.Call)

    Raises
    ------
    ValueError, FileNotFoundError
        A data set is not there, or too small for `z`.
    """
    plans = {}
    for name in datasets:
        dataset = data.load(name, data_root, train=train or None, test=test or None, seed=seed)
        neighbors.check_ks([z], len(dataset.x_train))
        common = {
            "dataset": name, "train": train, "test": test, "fingerprint": dataset.fingerprint,
            "z": z, "epsilon": float(epsilon), "epochs": epochs, "control_draws": control_draws,
            "seed": seed, "data_root": data_root, "device": device,
        }  # fmt: skip
        count = min(runs, max_runs.get(name, runs))
        cost = _cost(dataset, epochs, control_draws)
        plans[name] = (
            dataset,
            [
                Call(study, {**common, "run": run}, f"{name} run {run} of {count}", **cost)
                for run in range(1, count + 1)
            ],
        )
    return plans


def _cost(dataset, epochs, draws):
    """Rough upper bounds for one run on one CPU core, from runs timed on a 2023 Xeon."""
    m, n = len(dataset.x_train), len(dataset.x_test)
    values, classes = int(np.prod(dataset.shape)), len(dataset.classes)
    queries = n * (classes + 1 + draws)
    pixels = values / 784
    return {
        "seconds": 2e-4 * epochs * m + 2.5e-11 * queries * m * values + 0.01 * n * pixels**0.5,
        "memory": 6e8 + 4 * 4 * (m + n) * values,
        "disk": 4 * queries + 3e5,
    }


@step(version=1)
def lenet(*, dataset, train, test, fingerprint, epochs, seed, run, data_root, device):
    """Train LeNet-5 on one run's training split.

    Returns
    -------
    dict
        The weights by name, ``accuracy`` on the run's test split, and the ``loss`` per epoch.
    """
    split = _split(dataset, train, test, fingerprint, seed, run, data_root, device)
    initial = runtime.derive_seed(seed, "net", run)
    net = nets.build("lenet5", split.shape, split.classes, seed=initial)
    net.to(split.x_train.device)
    order = runtime.derive_seed(seed, "order", run)
    history = training.fit(net, split.x_train, split.y_train, epochs=epochs, seed=order)
    weights = {name: value.cpu().numpy() for name, value in net.state_dict().items()}
    accuracy = training.accuracy(net, split.x_test, split.y_test)
    return {**weights, "accuracy": accuracy, "loss": history["loss"]}


@step(version=1)
def study(
    *, dataset, train, test, fingerprint, z, epsilon, epochs, control_draws, seed, run, data_root,
    device,
):  # fmt: skip
    """One run: K-NN labels of the test images and of their attacked versions.

    Returns
    -------
    dict
        ``labels`` and ``test_votes`` of the test images, LeNet-5's ``net_accuracy`` on them, and
        for each attack in `ATTACKS`

        - ``NAME_image``: which test image was attacked,
        - ``NAME_votes``: its labels by K-NN, one column for each odd K up to `z`,
        - ``NAME_fools_net``: the share that LeNet-5 gets wrong,
        - ``NAME_examples``: up to ten rows of the adversarial set, each of another image,
          ``NAME_pixels`` their images and ``NAME_originals`` what they were made from.
    """
    which = {
        "dataset": dataset, "train": train, "test": test, "fingerprint": fingerprint,
        "seed": seed, "run": run, "data_root": data_root, "device": device,
    }  # fmt: skip
    split, trained = _split(**which), lenet(**which, epochs=epochs)
    net = nets.build("lenet5", split.shape, split.classes).to(split.x_train.device)
    net.load_state_dict({name: torch.from_numpy(trained[name]) for name in net.state_dict()})

    def votes(x):
        found = neighbors.predict(split.x_train, split.y_train, x, range(1, z + 1, 2))
        return torch.stack(list(found.values()), 1).cpu().numpy().astype(np.int16)

    labels, test_votes = split.y_test.cpu().numpy().astype(np.int16), votes(split.x_test)
    right = torch.from_numpy(np.flatnonzero(test_votes[:, -1] == labels))
    generator = torch.Generator().manual_seed(runtime.derive_seed(seed, "control", run))
    versions = {
        "fgsm": lambda x, y: attacks.fgsm_all_targets(
            net, x, y, eps=epsilon, classes=len(split.classes)
        )[0],
        "deepfool": lambda x, y: attacks.deepfool(net, x, y, max_eps=epsilon)[:, None],
        "control": lambda x, y: _noisy(x, epsilon, control_draws, generator),
    }
    out = {"labels": labels, "test_votes": test_votes, "net_accuracy": trained["accuracy"]}
    for attack, make in versions.items():
        found = _attacked(make, net, split, right, votes)
        out |= {f"{attack}_{name}": value for name, value in found.items()}
    return out


def _split(dataset, train, test, fingerprint, seed, run, data_root, device):
    whole = data.load(dataset, data_root, train=train or None, test=test or None, seed=seed)
    if whole.fingerprint != fingerprint:
        raise ValueError(f"The data set {dataset} has changed since this study was planned.")
    split = whole.resplit(runtime.derive_seed(seed, "split", run))
    where = runtime.device(device)
    parts = ("x_train", "y_train", "x_test", "y_test")
    return dataclasses.replace(split, **{name: getattr(split, name).to(where) for name in parts})


def _noisy(x, epsilon, draws, generator):
    """Copies of each image with random-sign noise, shape (N, draws, C, H, W)."""
    signs = torch.randint(2, (len(x), draws, *x.shape[1:]), generator=generator) * 2 - 1
    return (x[:, None] + epsilon * signs.to(x.device)).clamp(0, 1)


def _attacked(make, net, split, right, votes):
    """The results of one attack on the test images at the positions `right`."""
    empty = votes(split.x_test[:0]), np.empty((0, *split.shape), np.uint8)
    image, found, pixels = [np.empty(0, np.int32)], [empty[0]], [empty[1]]
    examples, fooled, count = [], 0, 0
    for part in right.split(attacks.BATCH) if len(right) else ():
        x_adv = make(split.x_test[part], split.y_test[part])
        part = part.repeat_interleave(x_adv.shape[1])
        x_adv, truth = x_adv.flatten(0, 1), split.y_test[part]
        fooled += int((training.predict(net, x_adv) != truth).sum())
        image.append(part.numpy().astype(np.int32))
        found.append(votes(x_adv))
        kept = np.flatnonzero(found[-1][:, -1] != truth.cpu().numpy())
        # One version of an image is enough to look at.
        kept = kept[np.unique(part[kept], return_index=True)[1]][: 10 - len(examples)]
        examples += (count + kept).tolist()
        pixels.append(_as_bytes(x_adv[kept]))
        count += len(x_adv)
    image, examples = np.concatenate(image), np.array(examples, dtype=np.int64)
    return {
        "image": image,
        "votes": np.concatenate(found),
        "fools_net": fooled / count if count else None,
        "examples": examples,
        "pixels": np.concatenate(pixels),
        "originals": _as_bytes(split.x_test[image[examples]]),
    }


def _as_bytes(x):
    return (x * 255).round().byte().cpu().numpy()


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
        Results of :func:`study`, in the order of the runs.
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
        One row per quantity (S_j and A_j − A_(j+2)): the two means, the mean difference with its
        95 % interval over runs, Welch's and the paired p-value, and how many runs had a
        finite value in both sets. Where fewer than two had, there are no p-values; where none
        had because slopes are infinite, the means show that.
    """
    rows = []
    for j in sorted(table["j"].unique()):
        for quantity, label in (("slope", f"S{j}"), ("difference", f"A{j} − A{j + 2}")):
            wide = table[table["j"] == j].pivot(index="run", columns="set", values=quantity)
            pairs = wide[[attack, other]].to_numpy()
            finite = pairs[np.isfinite(pairs).all(axis=1)]
            found = results.two_samples(finite[:, 0], finite[:, 1])
            if not len(finite) and np.isinf(pairs).any():
                found["mean"], found["mean against"] = np.nanmax(pairs, axis=0)
            rows.append(
                {"attack": attack, "against": other, "quantity": label}
                | found
                | {"runs used": len(finite), "of": len(pairs)}
            )
    return pd.DataFrame(rows)


def compare_attacks(table):
    """:func:`compare` for both attacks, one under the other."""
    return pd.concat([compare(table, attack) for attack in AIMED], ignore_index=True)


def faster(compared, attack):
    """Verdict on claim 3.C2 for one attack, with its evidence.

    Parameters
    ----------
    compared : pandas.DataFrame
        As :func:`compare` gives it.
    attack : str

    Returns
    -------
    tuple of str
    """
    rows = compared[(compared["attack"] == attack) & compared["quantity"].str.startswith("S")]
    rows = rows[rows["runs used"] > 0]
    show = results.shown_number
    evidence = [
        f"{row['quantity']} {show(row['mean'])} against {show(row['mean against'])}, "
        f"difference {show(row['difference'])} [{show(row['low'])}, {show(row['high'])}], "
        f"p = {show(row['p Welch'])} (Welch), {show(row['p paired'])} (paired), "
        f"{row['runs used']} of {row['of']} runs"
        for _, row in rows.iterrows()
    ]
    verdicts = [results.verdict(*ends) for ends in rows[["low", "high"]].to_numpy()]
    return results.all_of(verdicts), "; ".join(evidence) or "no slope is finite in any run"


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


def examples(entry):
    """Images of each attack's adversarial set beside their originals, with K-NN labels.

    Parameters
    ----------
    entry : dict
        Result of :func:`study`.

    Yields
    ------
    tuple
        Attack, rows of images and rows of captions, as :func:`kit.plots.image_rows` takes them.
    """
    for attack in AIMED:
        short = ATTACKS[attack]
        rows = entry[f"{short}_examples"]
        if not len(rows):
            continue
        clean = entry["test_votes"][entry[f"{short}_image"][rows]]
        votes = {"clean": clean, "attacked": entry[f"{short}_votes"][rows]}
        captions = {row: [f"{v[0]} / {v[-1]}" for v in found] for row, found in votes.items()}
        yield (
            attack,
            {"clean": entry[f"{short}_originals"], "attacked": entry[f"{short}_pixels"]},
            captions,
        )
