"""What is read off the trainings and searches of the study of evolved perturbations."""

import itertools

import numpy as np
import pandas as pd

from kit import evolution, perturbations, plots
from kit.experiments.evolved_perturbations import noises, parameters_of, steps


def figure_name(name, dataset):
    """The paper's name of a figure; on a data set that the paper does not show there, with its own.

    Examples
    --------
    >>> figure_name("1.F2c", "fashion_mnist"), figure_name("1.T1", "cifar10")
    ('1.F2d', '1.T1-cifar10')
    """
    if (name, dataset) == ("1.F2c", "fashion_mnist"):
        return "1.F2d"
    shown = {"1.F2a": "mnist", "1.F2b": "mnist", "1.F2c": "mnist", "1.T1": "svhn"}
    return name if shown.get(name) == dataset else f"{name}-{dataset}"


def by_dataset(plans, entries, given):
    """What was found on each data set.

    Parameters
    ----------
    plans : dict
        As :func:`kit.experiments.evolved_perturbations.plan` returns it.
    entries : sequence of dict
        As :func:`kit.steps.gather` returns them for all of its calls, one data set after another.
    given : dict
        The notebook's parameters.

    Returns
    -------
    dict of str to Found
    """
    left, found = iter(entries), {}
    for name, (dataset, calls) in plans.items():
        of_calls = list(itertools.islice(left, len(calls)))
        found[name] = Found(dataset, calls, of_calls, parameters_of(name, given))
    return found


class Found:
    """The entries of one data set's calls, sorted by what they are about.

    Parameters
    ----------
    dataset : kit.data.Dataset
    calls : sequence of kit.steps.Call
        As :func:`kit.experiments.evolved_perturbations.plan` lists them for this data set.
    entries : sequence of dict
        As :func:`kit.steps.gather` returns them for these calls.
    own : dict
        The parameters that hold for this data set.
    """

    def __init__(self, dataset, calls, entries, own):
        self.dataset, self.own = dataset, own
        self.first, self.rival = own["search_optimizer"], own["rival"]
        self.pixels = own["pixels"]
        self._of = {}
        for call, entry in zip(calls, entries, strict=True):
            self._of.setdefault(call.step.name.partition(".")[2], []).append((call, entry))
        self.trainings = pd.concat(map(_curves, *zip(*self._of["effect"], strict=True)))

    def searches(self):
        """Generations of each search, by pixels and optimizer, with the seconds they took."""
        found = {}
        for call, entry in self._of["generation"]:
            search = call.parameters["search"]
            chain = found.setdefault((search["pixels"], search["optimizer"]), [])
            seconds = entry["record"]["seconds"]
            chain.append(steps.as_generation(entry["result"], call.parameters["number"], seconds))
        return found

    def searches_by_title(self):
        """The searches by a few words on each."""
        return {f"Np = {p}, against {o}": g for (p, o), g in self.searches().items()}

    def best_noise(self, aim):
        """The best noise of a search, shape (classes, C, H, W)."""
        genome = evolution.best(self.searches()[aim])[2]
        return perturbations.decode(genome, len(self.dataset.classes), aim[0], self.dataset.shape)

    def learning_curves(self):
        """Clean-test errors in %, shape (generations, repeats), by pixels."""
        return {
            call.parameters["noise"]["search"]["pixels"]: np.round(
                100 * entry["result"]["error"], 4
            )
            for call, entry in self._of["learning_curve"]
        }

    def lines(self):
        """Results of the repeats of the line from SGD's to Adam's weights."""
        return [entry["result"] for _, entry in self._of["line"]]

    def cams(self):
        """Results of the repeats of Grad-CAM."""
        return [entry["result"] for _, entry in self._of["cams"]]

    def small(self, epoch=None):
        """Trainings of the search net, after an epoch (the last by default), a row each."""
        table = self.trainings.query("not augmented")
        return _after(table, epoch)

    def large(self):
        """Trainings of the larger nets with augmentation, after the last epoch."""
        return _after(self.trainings.query("augmented"), None)

    def evolved(self, table, pixels=None, optimizer=None):
        """Rows about noise that was evolved against the search's optimizer."""
        rows = table[(table["kind"] == "evolved") & (table["aim"] == self.first)]
        rows = rows if pixels is None else rows[rows["pixels"] == pixels]
        return rows if optimizer is None else rows[rows["optimizer"] == optimizer]


def _curves(call, entry):
    """One training as a table: a row per epoch."""
    p, noise, result = call.parameters, call.parameters["noise"], entry["result"]
    search = noise.get("search", {})
    columns = {
        "net": p["net"], "noise": noises.title(noise), "kind": noise["kind"],
        "pixels": search.get("pixels", noise.get("pixels", 0)), "aim": search.get("optimizer", ""),
        "optimizer": p["optimizer"], "repeat": p["repeat"], "augmented": p["crop"] > 0,
        "epoch": np.arange(len(result["test_accuracy"])), "train_loss": result["train_loss"],
        # Rounded, since accuracies are stored as float32 shares of up to 10⁵ images.
        "train": np.round(100 * result["train_accuracy"], 4),
        "test": np.round(100 * result["test_accuracy"], 4),
    }  # fmt: skip
    return pd.DataFrame(columns)


def _after(table, epoch):
    wanted = table["epoch"].max() if epoch is None else epoch
    return table[table["epoch"] == wanted].reset_index(drop=True)


def summary(table, by):
    """Mean and sample standard deviation over repeats of the accuracies (%), by some columns."""
    return table.groupby(by, sort=False).agg(
        accuracy=("test", "mean"), std=("test", "std"), train=("train", "mean"),
        repeats=("test", "count"),
    ).reset_index()  # fmt: skip


def table_one(found):
    """1.T1: clean-test accuracy of larger nets trained with augmentation, by noise and net."""
    rows = found.large().assign(
        noise=lambda t: t["noise"].str.replace(r" \(\w+\)$", "", regex=True)
    )
    return summary(rows, ["noise", "net"]).drop(columns="train")


def comparison(found):
    """The smallest Np against the baselines, by optimizer: a row per training."""
    table = found.small()
    smallest = found.pixels[0]
    rows = table[(table["kind"] != "evolved") | (table["pixels"] == smallest)]
    rows = rows[rows["optimizer"].isin((found.first, found.rival))]
    order = ["clean", "left", "shortcut", "uniform", "evolved"]
    return rows.sort_values(
        ["optimizer", "kind"],
        key=lambda c: c.map(order.index if c.name == "kind" else (found.first, found.rival).index),
        kind="stable",
    )


def beaten(found, optimizer):
    """How many uniform draws does the evolved noise beat, by mean clean-test accuracy?"""
    table = found.small().query("optimizer == @optimizer")
    ours = found.evolved(table, found.pixels[0])["test"].mean()
    draws = table.loc[table["kind"] == "uniform", "test"]
    return int((draws > ours).sum()), len(draws)


def matched(found):
    """1.X1: clean-test accuracy where every optimizer has the same training accuracy.

    For each Np and repeat the level is the highest training accuracy that all optimizers reach.
    Each is read off where it first reaches the level, linearly between two epochs.

    Returns
    -------
    pandas.DataFrame
        Columns pixels, optimizer, repeat, train (the level), test (both in %) and epoch.
    """
    rows = []
    table = found.evolved(found.trainings.query("not augmented"))
    for (pixels, repeat), part in table.groupby(["pixels", "repeat"]):
        curves = {name: of_one.sort_values("epoch") for name, of_one in part.groupby("optimizer")}
        level = min(curve["train"].max() for curve in curves.values())
        for optimizer in found.own["optimizers"]:
            curve = curves[optimizer]
            epoch = first_reaching(curve["train"].to_numpy(), level)
            test = np.interp(epoch, curve["epoch"], curve["test"])
            rows.append((pixels, optimizer, repeat, level, float(test), epoch))
    return pd.DataFrame(rows, columns=["pixels", "optimizer", "repeat", "train", "test", "epoch"])


def first_reaching(values, level):
    """Where a curve first reaches a level, in steps from its start, linearly between two of them.

    Examples
    --------
    >>> first_reaching([10, 50, 90, 80, 95], 70)
    1.5
    """
    place = int(np.argmax(np.asarray(values) >= level))
    if place == 0:
        return 0.0
    before, after = values[place - 1], values[place]
    return float(place - 1 + (level - before) / (after - before))


def crossed(found):
    """1.X2: noise evolved against each of two optimizers, used against each of them."""
    table = found.small()
    rows = table[(table["kind"] == "evolved") & (table["pixels"] == found.pixels[0])]
    return rows[rows["optimizer"].isin((found.first, found.rival))]


def paired(table, column, better, worse, value="test"):
    """Differences of a value, repeat by repeat, between two entries of a column."""
    wide = table.pivot_table(index="repeat", columns=column, values=value)
    return (wide[better] - wide[worse]).dropna().to_numpy()


def remarks(found):
    """What a reader of the searches should know: saturation, failed candidates, early ends."""
    for title, generations in found.searches_by_title().items():
        top = [np.nanmax(g.divergence) for g in generations if len(g.divergence)]
        full = [number for number, value in enumerate(top, 1) if value >= 0.999]
        if full:
            yield f"{title}: F_d first reaches 1 in generation {full[0]}; there only F_m steers"
        failed = sum(int(np.isnan(g.fitness).sum()) for g in generations)
        if failed:
            yield f"{title}: {failed} candidates had no finite loss and ranked last"
        stopped = next((g for g in generations if g.stopped), None)
        if stopped:
            yield f"{title}: pycma stopped in generation {stopped.number} ({stopped.stopped})"
        seconds = np.mean([g.seconds for g in generations])
        if np.isfinite(seconds):
            yield f"{title}: {seconds:.0f} s per generation of {len(generations[0].fitness)}"


def progress_figure(searches):
    """Best and mean score and largest divergence per generation, a panel for each search.

    Parameters
    ----------
    searches : dict of str to sequence of kit.evolution.Generation

    Returns
    -------
    matplotlib.figure.Figure
    """
    panels = {}
    for title, generations in searches.items():
        shown = [g for g in generations if len(g.fitness)]
        numbers = [g.number for g in shown]
        scores = {
            "best F": [np.nanmax(g.fitness) for g in shown],
            "mean F": [np.nanmean(g.fitness) for g in shown],
            "largest F_m": [np.nanmax(g.mismatch) for g in shown],
            "largest F_d": [np.nanmax(g.divergence) for g in shown],
        }
        panels[title] = {name: (numbers, np.array([line])) for name, line in scores.items()}
    return plots.curves(
        panels, x_label="generation", y_labels=["score"] * len(panels), columns=min(3, len(panels))
    )


def epoch_panels(found):
    """1.F5: accuracy over the epochs, a panel for each Np, as :func:`kit.plots.curves` takes it."""
    panels = {}
    for pixels in found.pixels:
        rows = found.evolved(found.trainings.query("not augmented"), pixels, found.first)
        panels[f"Np = {pixels}"] = {
            name: _repeats(rows, "epoch", column)
            for name, column in (("clean test", "test"), ("perturbed training", "train"))
        }
    return panels


def _repeats(rows, x, y):
    wide = rows.pivot_table(index="repeat", columns=x, values=y)
    return wide.columns.to_numpy(), wide.to_numpy()


def line_panels(found):
    """1.F4: loss and accuracy between two minima, and the labels of the two y axes."""
    alpha = found.lines()[0]["alpha"]

    def curve(name, scale=1):
        return alpha, scale * np.stack([result[name] for result in found.lines()])

    loss = {"perturbed training": curve("train_loss"), "clean test": curve("test_loss")}
    accuracy = {
        "perturbed training": curve("train_accuracy", 100),
        "clean test": curve("test_accuracy", 100),
    }
    return {"loss": loss, "accuracy": accuracy}, ["cross-entropy", "accuracy (%)"]


def line_ends(found):
    """Both ends of the line: sharpness and accuracies (%), a row per end and repeat."""
    rows = []
    for repeat, result in enumerate(found.lines(), 1):
        for place, optimizer in enumerate(("sgd", "adam")):
            train, test = (
                100 * np.interp(place, result["alpha"], result[name])
                for name in ("train_accuracy", "test_accuracy")
            )
            rows.append((optimizer, repeat, result["sharpness"][place], test, train))
    return pd.DataFrame(rows, columns=["optimizer", "repeat", "sharpness", "test", "train"])


def ends(found):
    """Sharpness and accuracies (%) at both ends of the line: mean and std over repeats."""
    return line_ends(found).groupby("optimizer", sort=False).agg(
        sharpness=("sharpness", "mean"), std_of_sharpness=("sharpness", "std"),
        accuracy=("test", "mean"), std=("test", "std"), train=("train", "mean"),
        repeats=("test", "count"),
    ).reset_index()  # fmt: skip


def background(found):
    """Share (%) of Grad-CAM's mass on dark pixels, after clean and perturbed training."""
    rows = []
    for name in ("clean", "corrupted"):
        shares = [100 * np.nanmean(result[f"{name}_background"]) for result in found.cams()]
        label = {"clean": "clean", "corrupted": "perturbed"}[name]
        rows.append((label, *_mean_std(shares), len(shares)))
    return pd.DataFrame(rows, columns=["training", "share", "std", "repeats"])


def _mean_std(values):
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else np.nan


def circles(noise):
    """Perturbed pixels of every class as (row, column), for a picture."""
    return [
        [tuple(place) for place in of_class.nonzero().tolist()] for of_class in noise.abs().amax(1)
    ]
