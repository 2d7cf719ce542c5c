"""The study's numbers as tables: of one run, and over the runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kit.experiments.neuroevolution_gm.plan import SHARES
from kit.experiments.neuroevolution_gm.roles import (
    BEST,
    HAND_ENGINEERED,
    MISALIGNED,
    RANDOM,
    REFERENCE,
    RETRAINED,
    SECOND,
    label,
)
from kit.experiments.neuroevolution_gm.steps import LINF, METHODS

if TYPE_CHECKING:
    from kit.data.splits import Split
    from kit.experiments.neuroevolution_gm.settings import Settings
    from kit.experiments.neuroevolution_gm.tree import Net, Run, Scale
    from kit.harness.steps import Result

BOTH = {"clean": "clean", LINF: "adversarial"}  # sets of images, and what tables call them


# --- over the runs -----------------------------------------------------------------------------


def described(scale: Scale[Result], config: Settings) -> str:
    """What a table's title says of its experiment: data, reference, widths, runs."""
    about = scale.split.about
    height, width = about.shape[1:]
    return (
        f"{about.title}, {about.train} training images of {height}×{width} pixels, reference "
        f"{config.reference}, evolved channels {config.widths[0]}–{config.widths[-1]}, "
        f"λ = {config.strength:g}, {config.epochs} epochs, {config.runs} runs"
    )


def scales(config: Settings) -> list[tuple[str, Settings, str]]:
    """The full and the reduced experiment: name, settings, and a note for titles."""
    note = "" if config.full else " (the full data were not run: the reduced experiment again)"
    return [("full", config.at_full(), note), ("reduced", config, "")]


def plain(split: Split) -> str:
    """Title of a data set without the note on its pixels, as in the paper's tables."""
    return split.about.title.partition(" (")[0]


def over_runs(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Tables of the runs one below the other, with the run's number in column `run`."""
    return pd.concat(
        [table.assign(run=number) for number, table in enumerate(tables, 1)], ignore_index=True
    )


def mean_and_std(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Mean and sample standard deviation over the runs of all other columns."""
    grouped = table.drop(columns="run").groupby(list(by), sort=False)
    mean, std = grouped.mean(), grouped.std()
    parts = {
        name: values[column]
        for column in mean
        for name, values in ((column, mean), (f"{column} std", std))
    }
    return pd.DataFrame(parts).reset_index()


def wide(
    table: pd.DataFrame, by: Sequence[str] = ("net",), images: Mapping[str, str] = BOTH
) -> pd.DataFrame:
    """A row for each net, with mean and standard deviation on each set of images.

    Parameters
    ----------
    table
        Columns `by`, run, images and accuracy.
    images
        Sets of images, and the columns that they become.
    """
    by = list(by)
    order = table[by].drop_duplicates()
    spread = table.pivot(index=[*by, "run"], columns="images", values="accuracy").reset_index()
    spread = spread.rename(columns=dict(images))[[*by, "run", *images.values()]]
    return order.merge(mean_and_std(spread, by), on=by)


def on_other_nets(table: pd.DataFrame, sources: Sequence[str]) -> pd.DataFrame:
    """Accuracy on the examples of each source, mean and standard deviation over the runs (4.T2)."""
    three = [label(role) for role in (REFERENCE, MISALIGNED, BEST)]
    rows = table[table["images"].isin(sources) & table["net"].isin(three)]
    grouped = rows.groupby(["images", "net"], sort=False)["accuracy"]
    out = grouped.agg(["mean", "std"]).reset_index()
    return out.set_axis(["source", "net", "adversarial", "std"], axis=1)


def by_strength(table: pd.DataFrame, variant: str, quantity: str) -> tuple[np.ndarray, np.ndarray]:
    """A curve over λ: the values of λ, and those of a quantity, shape (runs, λ)."""
    rows = table[table["variant"] == variant]
    values = rows.pivot(index="run", columns="strength", values=quantity)
    return values.columns.to_numpy(), values.to_numpy()


def per_run(table: pd.DataFrame, net: str, column: str = "accuracy") -> np.ndarray:
    """One number per run, of one net."""
    return table[table["net"] == net].sort_values("run")[column].to_numpy()


# --- of one run --------------------------------------------------------------------------------


def search_progress(run: Run[Result]) -> dict[str, np.ndarray]:
    """The best fitness so far (%) over the nets that were tried: evolved, and random ones."""
    evolved = [child["fitness"] for generation in run.children for child in generation]
    drawn = [child["fitness"] for child in run.random]
    return {
        name: 100 * np.fmax.accumulate(fitness)  # NaN, of a net that diverged, loses
        for name, fitness in (("evolved", evolved), ("random", drawn))
    }


def replacements(run: Run[Result]) -> np.ndarray:
    """Of every child that a search has bred: did it take a candidate's place?"""
    return np.concatenate([[k >= 0 for k in last["replaced"]] for last in run.search[1:]])


def accuracies(nets: Iterable[Net[Result]]) -> pd.DataFrame:
    """Accuracy (%) of each net on the clean images and on every set of adversarial ones."""
    rows = []
    for net in nets:
        labels = {"clean": net.examined["clean"], **net.examined["adversarial"]}
        rows += [
            (net.label, images, _right(given, net.examined)) for images, given in labels.items()
        ]
    return pd.DataFrame(rows, columns=["net", "images", "accuracy"])


def _right(given: np.ndarray, examined: Mapping[str, Any]) -> float:
    """Share (%) of the images whose label is the true one."""
    return 100 * np.mean(given == examined["true"])


def fooled(run: Run[Result], rates: Callable[..., Mapping[str, float]]) -> pd.DataFrame:
    """Fooling rates by attack, of every net but the reference (4.T5).

    Parameters
    ----------
    rates
        ``rates(net, reference, attack)`` computes them from what :func:`steps.examine` found.
    """
    reference = run.nets[REFERENCE].examined
    return pd.DataFrame(
        {"attack": attack, "net": net.label, **rates(net.examined, reference, attack)}
        for attack in METHODS
        for net in run.nets.values()
        if net.role != REFERENCE
    )


def defended(run: Run[Result]) -> pd.DataFrame:
    """Of the images that the reference gets right: those fooled (%), and clean errors (%)."""
    reference, rows = run.nets[REFERENCE].examined, []
    true = reference["true"]
    right = reference["clean"] == true
    for net in (*run.nets.values(), *run.defenses.values()):
        wrong = net.examined["adversarial"][LINF] != true
        clean = net.examined["clean"] != true
        rows.append((net.label, 100 * wrong[right].mean(), 100 * clean[right].mean()))
    return pd.DataFrame(rows, columns=["net", "fooled", "clean errors"])


def transferred(scale: Scale[Result]) -> pd.DataFrame:
    """:func:`accuracies` of the nets trained on other data, of every run; empty without any."""
    tables = [
        accuracies(run.transfer[other].values()).assign(dataset=plain(images), run=number)
        for other, images in scale.transfer.items()
        for number, run in enumerate(scale.runs, 1)
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def own_and_twin(run: Run[Result]) -> pd.DataFrame:
    """Accuracy (%) on the reference's examples, under white-box PGD, and on a twin's examples."""
    rows = []
    for role, attack in run.white_box.items():
        net, twin = run.nets[role].examined, run.twins.get(role)
        rows.append((
            label(role),
            _right(net["adversarial"][LINF], net),
            _right(attack["labels"], net),
            _right(twin["adversarial"]["twin"], net) if twin else np.nan,
        ))  # fmt: skip
    return pd.DataFrame(rows, columns=["net", "reference's", "white-box", "twin's"])


def sweep(run: Run[Result]) -> pd.DataFrame:
    """Ref's architecture by variant and λ: clean and adversarial accuracy (%), mean cosine."""
    rows = []
    for variant, by_strength in run.sweep.items():
        for strength, net in {**by_strength, 0.0: run.nets[RETRAINED]}.items():
            e = net.examined
            clean, adversarial = (
                _right(given, e) for given in (e["clean"], e["adversarial"][LINF])
            )
            rows.append((variant, strength, clean, adversarial, e["cosines"].mean()))
    columns = ["variant", "strength", "clean", "adversarial", "cosine"]
    return pd.DataFrame(rows, columns=columns).sort_values(["variant", "strength"])


def under_attack(run: Run[Result], epsilon: float, level: float) -> pd.DataFrame:
    """The reference's accuracy (%) by ε of its own attack, and the ε at which it is at a level."""
    ref, sizes = run.nets[REFERENCE].examined, epsilon * np.array([0, *SHARES])
    curve = np.array([_right(ref["clean"], ref), *(100 * run.accuracy_by_eps["accuracy"])])
    rows = [(f"accuracy at ε = {eps:.3g}", a) for eps, a in zip(sizes, curve, strict=True)]
    rows.append((f"ε at which it is {level:g} %", epsilon_at(level, sizes, curve)))
    return pd.DataFrame(rows, columns=["quantity", "value"])


def epsilon_at(level: float, epsilons: np.ndarray, accuracies: np.ndarray) -> float:
    """The ε at which a falling curve of accuracies passes a level; NaN where it does not."""
    lower = np.flatnonzero(accuracies <= level)
    if not len(lower) or lower[0] == 0:
        return np.nan
    k = lower[0]
    share = (accuracies[k - 1] - level) / (accuracies[k - 1] - accuracies[k])
    return epsilons[k - 1] + share * (epsilons[k] - epsilons[k - 1])


def chosen(run: Run[Result], split: Split) -> pd.DataFrame:
    """Of each net with GM: parameters, fitness (%) in the search and in the end, mean cosine."""
    from kit import nets

    best = -np.sort([-net["fitness"] for net in run.search[-1]["population"]])  # NaN last
    searched = {BEST: best[0], SECOND: best[1]}
    searched[RANDOM] = np.fmax.reduce([net["fitness"] for net in run.random])
    rows = []
    for role in (MISALIGNED, HAND_ENGINEERED, *searched):
        net, e = run.nets[role], run.nets[role].examined
        model = nets.build(net.genome, split.about.shape, split.about.classes)
        size = sum(weight.numel() for weight in model.parameters())
        in_the_end = min(_right(given, e) for given in (e["clean"], e["adversarial"][LINF]))
        in_the_search = 100 * searched.get(role, np.nan)
        rows.append((net.label, size, in_the_search, in_the_end, e["cosines"].mean()))
    columns = ["net", "parameters", "in the search", "in the end", "cosine"]
    return pd.DataFrame(rows, columns=columns)


def scaled(maps: np.ndarray) -> np.ndarray:
    """Maps of shape (N, H, W), each scaled to [-1, 1]."""
    return maps / np.maximum(np.abs(maps).max(axis=(1, 2), keepdims=True), 1e-12)


def map_distances(run: Run[Result]) -> pd.DataFrame:
    """Total pixel distance of each net's integrated gradients from Ref's, and mean cosine."""
    import torch

    from kit.explain import attribution_distance

    of_reference = torch.from_numpy(run.attributions[REFERENCE]["maps"])
    rows = []
    for role, shown in run.attributions.items():
        apart = attribution_distance(torch.from_numpy(shown["maps"]), of_reference)
        cosine = float(np.mean(run.nets[role].examined["cosines"]))
        rows.append((label(role), float(apart.mean()), cosine))
    return pd.DataFrame(rows, columns=["net", "distance", "cosine"])
