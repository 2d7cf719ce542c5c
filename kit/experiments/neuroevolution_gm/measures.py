"""What is measured in one run, as tables.

What is counted over images takes a `draw`: it says which of so many images count. By default they
all do, once. Where it draws them several times over, a cell holds one number for each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kit.experiments.neuroevolution_gm.plan import SHARES
from kit.experiments.neuroevolution_gm.roles import (
    BEST,
    MISALIGNED,
    REFERENCE,
    RETRAINED,
    label,
)
from kit.experiments.neuroevolution_gm.steps import LINF, METHODS
from kit.experiments.neuroevolution_gm.tables import plain

if TYPE_CHECKING:
    from kit.experiments.neuroevolution_gm.tree import Net, Run, Scale
    from kit.harness.steps import Result

    Draw = Callable[[int], Any]  # from a number of images to their indices

ANOTHER = "Ref of another run"


def every(count: int) -> slice:
    """All of the images, once."""
    return slice(count)


def share(what: np.ndarray, among: np.ndarray) -> Any:
    """Share (%) of some images of which something holds; NaN where there is none of them.

    Examples
    --------
    >>> float(share(np.array([True, False, True]), among=np.array([True, True, False])))
    50.0
    """
    with np.errstate(invalid="ignore"):
        return 100 * (what & among).sum(-1) / among.sum(-1)


def accuracies(nets: Iterable[Net[Result]], draw: Draw = every) -> pd.DataFrame:
    """Accuracy (%) of each net on the clean images and on every set of adversarial ones."""
    rows = []
    for net in nets:
        labels = {"clean": net.examined["clean"], **net.examined["adversarial"]}
        rows += [
            (net.label, images, _right(given, net.examined, draw))
            for images, given in labels.items()
        ]
    return pd.DataFrame(rows, columns=["net", "images", "accuracy"])


def at_other_strengths(run: Run[Result], strength: float) -> pd.DataFrame:
    """:func:`accuracies` of the reference's architecture with other λ than the study's."""
    others = {value: net for value, net in run.sweep.get("cosine", {}).items() if value != strength}
    tables = [
        accuracies([net]).assign(net=f"{net.label}, λ = {value:g}") for value, net in others.items()
    ]
    return pd.concat(tables) if tables else accuracies([])


def _right(given: np.ndarray, examined: Mapping[str, Any], draw: Draw = every) -> Any:
    """Share (%) of the images whose label is the true one."""
    return 100 * np.mean((given == examined["true"])[draw(len(given))], axis=-1)


def fooled(
    run: Run[Result], rates: Callable[..., Mapping[str, Any]], draw: Draw = every
) -> pd.DataFrame:
    """Fooling rates by attack, of every net but the reference (4.T5).

    Parameters
    ----------
    rates
        ``rates(net, reference, attack)`` computes them from what :func:`steps.examine` found.
    """
    reference = run.nets[REFERENCE]
    return pd.DataFrame(
        {
            "attack": attack,
            "net": net.label,
            **rates(_drawn(net, attack, draw), _drawn(reference, attack, draw), attack),
        }
        for attack in METHODS
        for net in run.nets.values()
        if net.role != REFERENCE
    )


def _drawn(net: Net[Result], attack: str, draw: Draw) -> dict[str, Any]:
    """What :func:`steps.examine` found of the images that count."""
    e, images = net.examined, draw(len(net.examined["true"]))
    labels = {"true": e["true"][images], "clean": e["clean"][images]}
    return labels | {"adversarial": {attack: e["adversarial"][attack][images]}}


def defended(run: Run[Result], draw: Draw = every) -> pd.DataFrame:
    """Of the images that the reference gets right: those fooled (%), and clean errors (%)."""
    reference, rows = run.nets[REFERENCE].examined, []
    true, images = reference["true"], draw(len(reference["true"]))
    right = (reference["clean"] == true)[images]
    for net in (*run.nets.values(), *run.defenses.values()):
        wrong = (net.examined["adversarial"][LINF] != true)[images]
        clean = (net.examined["clean"] != true)[images]
        rows.append((net.label, share(wrong, right), share(clean, right)))
    return pd.DataFrame(rows, columns=["net", "fooled", "clean errors"])


def pairwise(
    pairs: Iterable[tuple[Net[Result], Net[Result]]],
    examples: Sequence[str],
    draw: Draw = every,
    *,
    right: Sequence[Net[Result]] = (),
) -> pd.DataFrame:
    """Of the clean images that two nets both get right: those whose examples fool each (%).

    Their clean errors, which may differ much, do not count.

    Parameters
    ----------
    examples
        Sets of adversarial ones.
    right
        Nets that have to get the clean images right as well.
    """
    rows = []
    for pair in pairs:
        true = pair[0].examined["true"]
        images = draw(len(true))
        both = np.all([net.examined["clean"] == true for net in (*pair, *right)], axis=0)[images]
        for name in examples:
            wrong = [(net.examined["adversarial"][name] != true)[images] for net in pair]
            rates = [share(fools, both) for fools in wrong]
            rows.append((name, *(net.label for net in pair), *rates, rates[1] - rates[0]))
    columns = ["images", "net", "other net", "net fooled", "other fooled", "difference"]
    return pd.DataFrame(rows, columns=columns)


def on_other_examples(run: Run[Result], sources: Sequence[str], draw: Draw = every) -> pd.DataFrame:
    """The nets of 4.T2, two by two, on other nets' examples: see :func:`pairwise`."""
    two_by_two = [(MISALIGNED, REFERENCE), (BEST, REFERENCE), (BEST, MISALIGNED)]
    pairs = [(run.nets[a], run.nets[b]) for a, b in two_by_two]
    return pairwise(pairs, sources, draw)


def beside_defenses(run: Run[Result], draw: Draw = every) -> pd.DataFrame:
    """NE+GM 1 beside each other defence, of images that the reference gets right, too."""
    pairs = [(run.nets[BEST], other) for other in run.defenses.values()]
    return pairwise(pairs, [LINF], draw, right=[run.nets[REFERENCE]])


def transferred(scale: Scale[Result], draw: Draw = every) -> pd.DataFrame:
    """:func:`accuracies` of the nets trained on other data, of every run; empty without any."""
    tables = [
        accuracies(run.transfer[other].values(), draw).assign(dataset=plain(images), run=number)
        for other, images in scale.transfer.items()
        for number, run in enumerate(scale.runs, 1)
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def own_and_twin(run: Run[Result], draw: Draw = every) -> pd.DataFrame:
    """Accuracy (%) on the reference's examples, under white-box PGD, and on a twin's examples."""
    rows = []
    for role, attack in run.white_box.items():
        net, twin = run.nets[role].examined, run.twins.get(role)
        rows.append((
            label(role),
            _right(net["adversarial"][LINF], net, draw),
            _right(attack["labels"], net, draw),
            _right(twin["adversarial"]["twin"], net, draw) if twin else np.nan,
        ))  # fmt: skip
    return pd.DataFrame(rows, columns=["net", "reference's", "white-box", "twin's"])


def sweep(run: Run[Result], draw: Draw = every) -> pd.DataFrame:
    """Ref's architecture by variant and λ: clean and adversarial accuracy (%), mean cosine."""
    rows = []
    for variant, by_strength in run.sweep.items():
        for strength, net in {**by_strength, 0.0: run.nets[RETRAINED]}.items():
            e = net.examined
            clean, adversarial = (
                _right(given, e, draw) for given in (e["clean"], e["adversarial"][LINF])
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


def scaled(maps: np.ndarray) -> np.ndarray:
    """Maps of shape (N, H, W), each scaled to [-1, 1]."""
    return maps / np.maximum(np.abs(maps).max(axis=(1, 2), keepdims=True), 1e-12)


def map_distances(runs: Sequence[Run[Result]], draw: Draw = every) -> pd.DataFrame:
    """Total pixel distance of each net's integrated gradients from Ref's, and mean cosine (4.F3).

    Plain nets are the control. How far apart the maps of two of them are, which differ in their
    start, is seen between the references of two runs; how far their gradients are, on the reference
    trained anew.
    """
    references = [run.attributions[REFERENCE]["maps"] for run in runs]
    rows = []
    for number, (run, ours) in enumerate(zip(runs, references, strict=True), 1):
        for role, shown in run.attributions.items():
            apart = _apart(shown["maps"], ours, draw)
            rows.append((number, label(role), apart, _mean_cosine(run.nets[role], draw)))
        others = [theirs for k, theirs in enumerate(references, 1) if k != number]
        if others:
            apart = np.mean([_apart(theirs, ours, draw) for theirs in others], axis=0)
            rows.append((number, ANOTHER, apart, np.nan))
        plainly = run.nets[RETRAINED]
        rows.append((number, plainly.label, np.nan, _mean_cosine(plainly, draw)))
    return pd.DataFrame(rows, columns=["run", "net", "distance", "cosine"])


def _apart(maps: np.ndarray, others: np.ndarray, draw: Draw) -> Any:
    """Mean total pixel distance of maps."""
    import torch

    from kit.explain import attribution_distance

    apart = attribution_distance(torch.from_numpy(maps), torch.from_numpy(others)).numpy()
    return apart[draw(len(apart))].mean(-1)


def _mean_cosine(net: Net[Result], draw: Draw) -> Any:
    """Of the net's input gradients with the reference's."""
    cosines = net.examined["cosines"]
    return cosines[draw(len(cosines))].mean(-1)
