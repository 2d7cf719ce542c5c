"""What is read off the two regimes: curves over the epochs, distances, scores."""

import dataclasses

import numpy as np
import pandas as pd

from kit.experiments.overfitting_vs_robustness import measured_epochs, regimes

CONTROL = "random signs"
ATTACKS = {"CW": "cw", "FGSM": "fgsm", "PGD": "pgd", CONTROL: "noise"}
CONVENTIONS = ("all channels", "one channel")
NORMS = ("L0", "L2", "Linf")
OUTPUTS = ("logits", "softmax")
FROM = 5  # the paper: earlier snapshots "should not be considered"
# The paper's names of its results: tables, training, attacks, CLEVER, gradients.
_IDS = {
    "normal": ("2.T2", "2.F3", "2.F4", "2.F5", "2.F6"),
    "overfitting": ("2.T4", "2.F7", "2.F8", "2.F9", "2.F10"),
}
_KINDS = ("norms", "training", "attacks", "clever", "gradients")


@dataclasses.dataclass
class Regime:
    """The stored results of one regime on one data set, fold by fold.

    Attributes
    ----------
    trained : dict
        Result of :func:`kit.experiments.overfitting_vs_robustness.regime`.
    best, last : list of dict
        Results of ``attacked`` on the best and on the last snapshot, one for each fold.
    measured : list of dict
        Results of ``measured``, one for each fold.
    scored : list of list of dict
        Results of ``scored``: for each fold one for each of `scored_epochs`.
    scored_epochs : list of int
    """

    trained: dict
    best: list
    last: list
    measured: list
    scored: list
    scored_epochs: list

    @property
    def epochs(self):
        """Numbers of the epochs."""
        return np.arange(1, self.trained["validation_accuracy"].shape[1] + 1)

    def training(self, part):
        """Accuracy (%) on the training or the validation part, shape (folds, epochs)."""
        return 100 * self.trained[f"{part}_accuracy"]

    def test(self):
        """Accuracy (%) on all clean test images, shape (folds, epochs)."""
        return np.array([100 * (r["test_predictions"] == r["labels"]).mean(1) for r in self.best])

    def untouched(self):
        """Accuracy (%) on the attacked images before the attack, shape (folds, epochs)."""
        return 100 - np.array([_wrong(r["test_predictions"][:, r["image"]], r) for r in self.best])

    def success(self, attack, crafted="best"):
        """Attack success rate (%) of one attack's examples, shape (folds, epochs).

        NaN where no image was there to be attacked.
        """
        results = getattr(self, crafted)
        return np.array([_wrong(r[f"{attack}_predictions"], r) for r in results])

    def crafting_epochs(self):
        """The epoch whose snapshot crafted the examples, for each fold."""
        return np.array([r["epoch"] for r in self.best])

    def norms(self, attack, crafted="best"):
        """Norms of all images of all folds, shape (conventions, norms, images)."""
        return np.concatenate([r[f"{attack}_norms"] for r in getattr(self, crafted)], axis=2)

    def mean_norm(self, attack, norm, crafted="best"):
        """Mean norm over the changed images of each fold, all channels, shape (folds,)."""
        found = [r[f"{attack}_norms"][0, NORMS.index(norm)] for r in getattr(self, crafted)]
        return np.array([_mean(values[values > 0]) for values in found])

    def gradients(self, name):
        """``loss_sensitivity``, ``empirical_robustness`` or ``successes``, (folds, epochs)."""
        return np.array([r[name] for r in self.measured])

    def clever(self, output, name="scores", reduce=np.mean):
        """A statistic over the images of CLEVER's scores, or of another field, (folds, epochs)."""
        return np.array([[reduce(r[f"{output}_{name}"]) for r in fold] for fold in self.scored])


def _wrong(predictions, result):
    """Share (%) of the attacked images that each snapshot gets wrong."""
    truth = result["labels"][result["image"]]
    wrong = predictions != truth
    return 100 * wrong.mean(1) if len(truth) else np.full(len(wrong), np.nan)


def _mean(values):
    return float(np.mean(values)) if len(values) else np.nan


def by_regime(calls, entries, given):
    """Results by data set and regime.

    Parameters
    ----------
    calls : sequence of kit.steps.Call
        As :func:`kit.experiments.overfitting_vs_robustness.plan` lists them.
    entries : sequence of dict
        As :func:`kit.steps.gather` returns them for these calls.
    given : dict
        The parameters of the study.

    Returns
    -------
    dict of str to dict of str to Regime
    """
    results = {}
    for call, entry in zip(calls, entries, strict=True):
        own = call.parameters
        trained = own.get("trained", own)
        kind = own.get("crafted", call.step.function.__name__)
        place = (trained["dataset"], trained["lr"], kind)
        results.setdefault(place, []).append(entry["result"])
    epochs = measured_epochs(given["epochs"], given["clever_every"])
    found = {}
    for name in given["datasets"]:
        for label, lr in regimes(given).items():
            parts = {
                kind: values for (*where, kind), values in results.items() if where == [name, lr]
            }
            scored = parts["scored"]
            folds = [scored[i : i + len(epochs)] for i in range(0, len(scored), len(epochs))]
            found.setdefault(name, {})[label] = Regime(
                parts["regime"][0], parts["best"], parts["last"], parts["measured"], folds, epochs
            )
    return found


def names(dataset, regime):
    """What the paper calls the results of a regime; another data set's carry its name too.

    Examples
    --------
    >>> names("cifar10", "normal")["clever"], names("stl10", "overfitting")["norms"]
    ('2.F5', '2.T5')
    >>> names("digits", "overfitting")["norms"]
    '2.T4-digits'
    """
    own = dict(zip(_KINDS, _IDS[regime], strict=True))
    if dataset != "cifar10":
        own = {kind: f"{name}-{dataset}" for kind, name in own.items()}
    if dataset == "stl10":
        own["norms"] = {"normal": "2.T3", "overfitting": "2.T5"}[regime]
    return own


def distances(regime):
    """Mean and standard deviation over images of the norms of each attack's changes.

    Returns
    -------
    pandas.DataFrame
        One row for each attack and convention (which are one for grey images): L0 (pixels), L2 and
        Linf with their standard deviations over the images of all folds, how many images, and how
        many came back unchanged (these are left out).
    """
    rows = []
    grey = regime.best[0]["originals"].shape[1] == 1
    for label, attack in ATTACKS.items():
        for convention, values in zip(CONVENTIONS, regime.norms(attack), strict=True):
            if grey and convention != CONVENTIONS[0]:
                continue
            moved = values[:, values[1] > 0]
            row = {"attack": label, "values": convention}
            for norm, numbers in zip(NORMS, moved.astype(float), strict=True):
                spread = np.std(numbers, ddof=1) if len(numbers) > 1 else np.nan
                # Rounded, or rounding errors would pass for a spread of L∞.
                row |= {norm: round(_mean(numbers), 6), f"{norm} std": round(float(spread), 6)}
            counts = {"images": moved.shape[1], "unchanged": values.shape[1] - moved.shape[1]}
            rows.append(row | counts)
    return pd.DataFrame(rows)


def over_epochs(epochs, curves):
    """Curves as a table: mean and sample standard deviation over the folds.

    Of more than a dozen epochs only the first, every fifth and the last are told.

    Parameters
    ----------
    epochs : array_like of int
    curves : dict of str to numpy.ndarray
        Each of shape (folds, epochs).
    """
    table = {"epoch": np.asarray(epochs)}
    for name, values in curves.items():
        table[name] = values.mean(0)
        table[f"{name} std"] = values.std(0, ddof=1)
    told = measured_epochs(int(max(epochs)), 5 if len(epochs) > 12 else 1)
    table = pd.DataFrame(table)
    return table[table["epoch"].isin(told)].reset_index(drop=True)


def attack_curves(regime):
    """Success rates of all attacks, and the two clean accuracies, by name."""
    rates = {f"ASR {name}": regime.success(attack) for name, attack in ATTACKS.items()}
    return {
        "test accuracy": regime.test(), "accuracy before attack": regime.untouched(), **rates,
    }  # fmt: skip


def clever_curves(regime):
    """Means and shares of CLEVER on both outputs, by name."""
    curves = {}
    for output in OUTPUTS:
        curves[f"{output} mean"] = regime.clever(output)
        curves[f"{output} spread"] = regime.clever(output, reduce=np.std)
        curves[f"{output} at cap (%)"] = 100 * regime.clever(output, "at_cap")
        curves[f"{output} fell back (%)"] = 100 * regime.clever(output, "fell_back")
    return curves


def panels(label, epochs, curves, groups):
    """Curves of one regime in panels, as :func:`kit.plots.curves` takes them.

    Parameters
    ----------
    label : str
        The regime.
    epochs : array_like of int
    curves : dict of str to numpy.ndarray
        Each of shape (folds, epochs).
    groups : dict of str to str
        Title of each panel, and the word in the names of the curves that it shows; the word is
        left out of their labels.

    Examples
    --------
    >>> panels("normal", [1], {"ASR CW": 90, "accuracy": 40}, {"attacked": "ASR"})
    {'normal: attacked': {'CW': ([1], 90)}}
    """
    return {
        f"{label}: {title}": {
            name.replace(word, "").strip() or name: (epochs, values)
            for name, values in curves.items()
            if word in name
        }
        for title, word in groups.items()
    }


def side_by_side(regimes):
    """The curves of both regimes that the claims are about, by title, with their epochs.

    Parameters
    ----------
    regimes : dict of str to Regime

    Returns
    -------
    dict of str to dict of str to (numpy.ndarray, numpy.ndarray)
        As :func:`kit.plots.curves` takes them.
    """
    made = {
        "CW, crafted on the best snapshot": lambda r: (r.epochs, r.success("cw")),
        "CW, crafted on the last snapshot": lambda r: (r.epochs, r.success("cw", "last")),
        "CLEVER (logits)": lambda r: (r.scored_epochs, r.clever("logits")),
        "CLEVER (softmax)": lambda r: (r.scored_epochs, r.clever("softmax")),
        "loss sensitivity": lambda r: (r.epochs, r.gradients("loss_sensitivity")),
        "empirical robustness": lambda r: (r.epochs, r.gradients("empirical_robustness")),
    }
    return {
        title: {name: make(regime) for name, regime in regimes.items()}
        for title, make in made.items()
    }


def examples(regime, classes):
    """The first attacked images of fold 1 with what the crafting snapshot and the last one see.

    Parameters
    ----------
    regime : Regime
    classes : sequence of str

    Returns
    -------
    tuple of dict
        Rows of images and of captions, as :func:`kit.pictures.image_rows` takes them.
    """
    found = regime.best[0]
    rows, captions = {"clean": found["originals"]}, {}
    truth = found["labels"][found["image"][: len(rows["clean"])]]
    captions["clean"] = [classes[label] for label in truth]
    for label, attack in ATTACKS.items():
        rows[label] = found[f"{attack}_examples"]
        said = found[f"{attack}_predictions"][found["epoch"] - 1]
        captions[label] = [classes[k] for k in said[: len(truth)]]
    return rows, captions
