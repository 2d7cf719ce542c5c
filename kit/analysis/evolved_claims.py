"""The claims of the study of evolved perturbations, judged on what was found."""

import numpy as np
import pandas as pd

from kit import results
from kit.analysis import evolved_perturbations as analysis

CLAIMS = {
    "1.C1": "Test error grows over the generations of the search.",
    "1.C2": "Evolved perturbations (the smallest Np) hurt more than the uniform baseline.",
    "1.C3": "Evolved and uniform perturbations hurt more than the left column [7], augmented.",
    "1.C4": "More perturbed pixels hurt more.",
    "1.C5": "On perturbed data SGD's clean-test accuracy exceeds Adam's and RMSProp's.",
    "1.C6": "AdaBound's clean-test accuracy lies between Adam's and SGD's.",
    "1.C7": "The minimum that SGD finds is sharper than Adam's and generalizes better.",
    "1.C8": "Perturbed training moves Grad-CAM's mass to the background (grey data sets).",
    "1.C9": "Clean-test accuracy drops as training on perturbed data goes on.",
    "1.X1": "Beyond the paper: SGD exceeds Adam on clean images at equal training accuracy too.",
    "1.X2": "Beyond the paper: against SGD, evolving against SGD hurts more than against Adam.",
}
LEARNT = 50  # per cent
PAPER = {
    "mnist": "MNIST", "fashion_mnist": "Fashion-MNIST", "svhn": "SVHN", "cifar10": "CIFAR-10",
}  # fmt: skip


def verdicts(found):
    """All claims on one data set: name, data, verdict and evidence of each."""
    for claim, label, (verdict, evidence) in _judged(found):
        title = found.dataset.title
        yield claim, CLAIMS[claim], f"{title}, {label}" if label else title, verdict, evidence


def _judged(found):
    yield from _about_search(found)
    yield from _about_table(found)
    yield from _about_optimizers(found)
    yield from _about_pictures(found)


def _about_search(found):
    for pixels, errors in found.learning_curves().items():
        gain = results.positive(errors[-1] - errors[0], "points of error from first to last")
        yield "1.C1", f"Np = {pixels}", gain
    table = found.small().query("optimizer == @found.first")
    ours = found.evolved(table, found.pixels[0])
    draws = table[table["kind"] == "uniform"]
    yield "1.C2", f"Np = {found.pixels[0]}", _less_accurate(ours, draws)
    for fewer, more in zip(found.pixels, found.pixels[1:], strict=False):
        rows = found.evolved(table)
        lost = results.positive(analysis.paired(rows, "pixels", fewer, more), "points lower")
        yield "1.C4", f"Np = {more} against {fewer}", _if_learnt(rows, lost)


def _about_table(found):
    for net, rows in found.large().groupby("net", sort=False):
        ours = found.evolved(rows, found.pixels[0])
        uniform, left = (rows[rows["kind"] == kind] for kind in ("uniform", "left"))
        yield "1.C2", f"{net}, augmented", _less_accurate(ours, uniform)
        parts = [
            results.positive(
                analysis.paired(pd.concat([left, other]), "kind", "left", kind),
                f"points lower ({kind})",
            )
            for kind, other in (("evolved", ours), ("uniform", uniform))
        ]
        judged = results.all_of([v for v, _ in parts]), "; ".join(e for _, e in parts)
        yield "1.C3", net, _if_learnt(pd.concat([ours, uniform, left]), judged)


def _about_optimizers(found):
    small, level = found.small(), analysis.matched(found)
    for pixels in found.pixels:
        rows, label = found.evolved(small, pixels), f"Np = {pixels}"
        others = [name for name in ("adam", "rmsprop") if name in found.own["optimizers"]]
        yield "1.C5", label, _if_learnt(rows, _each(rows, [("sgd", name) for name in others]))
        if "adabound" in found.own["optimizers"]:
            between = _each(rows, [("adabound", "adam"), ("sgd", "adabound")])
            yield "1.C6", label, _if_learnt(rows, between)
        equal = level[level["pixels"] == pixels]
        yield "1.X1", label, _if_learnt(equal, _each(equal, [("sgd", "adam")]))
        curves = found.evolved(found.trainings.query("not augmented"), pixels, found.first)
        last = curves["epoch"].max()
        drop = analysis.paired(curves[curves["epoch"].isin((1, last))], "epoch", 1, last)
        fallen = results.positive(drop, "points from epoch 1 to the last")
        yield "1.C9", label, _if_learnt(curves[curves["epoch"] == last], fallen)
    rows = analysis.crossed(found).query("optimizer == @found.rival")
    lost = results.positive(analysis.paired(rows, "aim", found.first, found.rival), "points lower")
    yield "1.X2", f"against {found.rival}", _if_learnt(rows, lost)


def _about_pictures(found):
    rows = analysis.line_ends(found)
    sharper = results.positive(
        analysis.paired(rows, "optimizer", "sgd", "adam", "sharpness"), "sharper (loss)"
    )
    better = results.positive(analysis.paired(rows, "optimizer", "sgd", "adam"), "points better")
    judged = results.all_of([sharper[0], better[0]]), f"{sharper[1]}; {better[1]}"
    yield "1.C7", f"Np = {found.pixels[0]}", _if_learnt(rows, judged)
    if found.dataset.shape[0] == 1:
        shares = [
            100 * (np.nanmean(r["corrupted_background"]) - np.nanmean(r["clean_background"]))
            for r in found.cams()
        ]
        yield "1.C8", f"Np = {found.pixels[0]}", results.positive(shares, "points of the mass")


def _if_learnt(rows, judged):
    """A verdict, or *undecided* where a net has not learnt half of its training images.

    A net that has learnt nothing has not learnt the pixels either; it says nothing about them.
    """
    by_optimizer = rows.groupby("optimizer")["train"].mean()
    idle = [f"{name} {share:.0f} %" for name, share in by_optimizer.items() if share < LEARNT]
    if not idle:
        return judged
    told = f"less than half of the training images learnt: {', '.join(idle)}"
    return results.UNDECIDED, f"{judged[1]}; {told}"


def _less_accurate(ours, draws):
    """Is the accuracy after evolved noise below that after uniform noise (1.C2)?"""
    return _if_learnt(ours, _welch(draws["test"], ours["test"], "uniform", "evolved"))


def _each(table, pairs):
    """Verdict on several differences between optimizers, which all have to be positive."""
    parts = [
        results.positive(analysis.paired(table, "optimizer", *pair), "points") for pair in pairs
    ]
    evidence = "; ".join(f"{a} − {b}: {p[1]}" for (a, b), p in zip(pairs, parts, strict=True))
    return results.all_of([verdict for verdict, _ in parts]), evidence


def _welch(a, b, name_a, name_b):
    """Is the mean of `a` larger than that of `b`, two samples of their own sizes?"""
    low, high = results.welch_interval(a, b)
    show = results.shown_number
    means = f"{name_a} {show(float(a.mean()))} %, {name_b} {show(float(b.mean()))} %"
    interval = f"difference {show(float(a.mean() - b.mean()))} [{show(low)}, {show(high)}] points"
    return results.verdict(low, high), f"{means}, {interval}, {len(a)} and {len(b)} trainings"


def not_tested(datasets, table_datasets):
    """The claims on the paper's data sets that this run did not use."""
    for name, title in PAPER.items():
        if name not in datasets:
            for claim, statement in CLAIMS.items():
                if not (claim == "1.C8" and name in ("svhn", "cifar10")):
                    reason = "not among this run's data sets"
                    yield claim, statement, title, results.NOT_TESTED, reason
    if "svhn" in datasets and "svhn" not in table_datasets:
        yield "1.C3", CLAIMS["1.C3"], PAPER["svhn"], results.NOT_TESTED, "not in table_datasets"
