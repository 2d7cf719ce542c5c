"""The claims of the study of overfitting and robustness, judged on what was found."""

import numpy as np

from kit import results
from kit.analysis.overfitting_vs_robustness import ATTACKS, CONTROL, FROM, OUTPUTS

CLAIMS = {
    "2.C1": "Normal regime: CW's success rate climbs as test accuracy climbs.",
    "2.C2": "Overfitting: CW's success rate settles near 50–60 % and does not climb.",
    "2.C3": "CLEVER is larger when overfitting (on CIFAR-10: its spread over the images is).",
    "2.C4": "Loss sensitivity is small in the normal regime (the paper: 1.4 at most) and large when"
    " overfitting (2.0 to 9.0).",
    "2.C5": "FGSM and PGD fool consistently.",
    "2.C6": "CW's examples are by far the closest (L2 and L∞).",
    "2.C7": "Empirical robustness falls slightly in the normal regime, rises when overfitting.",
    "2.C8": "Validation accuracy still climbs at the end normally, falls when overfitting.",
    "2.X1": "Beyond the paper: the attacks fool more than random noise of the same size.",
    "2.X2": "Beyond the paper: attacked itself, the last snapshot needs farther CW examples when"
    " overfitting.",
    "2.X3": "Beyond the paper: crafted on the last snapshot, CW's success rate climbs when"
    " overfitting, too.",
}
PAPER = {"cifar10": "CIFAR-10", "stl10": "STL-10"}
SETTLED = (45, 65)  # per cent: "around 50–60 %", give or take 5
CLIMB = 5  # points: a smaller rise is none
CONSISTENT = 50  # per cent
BETWEEN = 2.0  # loss sensitivity: between the ranges that the paper gives for its two regimes


def verdicts(dataset, found):
    """All claims on one data set: name, statement, data, verdict and evidence of each.

    Parameters
    ----------
    dataset : kit.data.Dataset
    found : dict of str to kit.analysis.overfitting_vs_robustness.Regime
    """
    for claim, label, (verdict, evidence) in _judged(dataset.name, found):
        data = f"{dataset.title}, {label}" if label else dataset.title
        yield claim, CLAIMS[claim], data, verdict, evidence


def not_tested(datasets):
    """The claims on the paper's data sets that this run did not use."""
    for name, title in PAPER.items():
        for claim, statement in CLAIMS.items() if name not in datasets else ():
            yield claim, statement, title, results.NOT_TESTED, "not among this run's data sets"


def _judged(name, found):
    normal, overfitting = found["normal"], found["overfitting"]
    yield "2.C1", "", _all({
        "CW": results.positive(_change(normal.success("cw")), "points"),
        "test accuracy": results.positive(_change(normal.test()), "points"),
    })  # fmt: skip
    yield "2.C2", "", _settled(overfitting.success("cw"))
    for output in OUTPUTS:
        yield "2.C3", output, _larger_scores(name, found, output)
    yield "2.C4", "", _sensitivity(name, found)
    for label, regime in found.items():
        yield from _about_attacks(label, regime)
    fallen = -_change(normal.gradients("empirical_robustness"))
    risen = _change(overfitting.gradients("empirical_robustness"))
    yield "2.C7", "", _all({
        "normal": results.positive(fallen, "lower"),
        "overfitting": results.positive(risen, "higher"),
    })  # fmt: skip
    yield "2.C8", "", _regimes_are_real(found)
    farther = overfitting.mean_norm("cw", "L2", "last") - normal.mean_norm("cw", "L2", "last")
    yield "2.X2", "", results.positive(farther, "farther (L2)")
    # One epoch before the crafting one, where success is certain.
    climb = _change(overfitting.success("cw", "last")[:, :-1])
    yield "2.X3", "", results.positive(climb, "points, to the last epoch but one")


def _about_attacks(label, regime):
    for attack in ("FGSM", "PGD"):
        rates = _late(regime.success(ATTACKS[attack]))
        lowest = results.positive(rates.min(1) - CONSISTENT, f"points above {CONSISTENT} %")
        yield "2.C5", f"{attack}, {label}", (lowest[0], f"at its lowest {lowest[1]}")
        beyond = (rates - _late(regime.success(ATTACKS[CONTROL]))).mean(1)
        yield "2.X1", f"{attack}, {label}", results.positive(beyond, "points on average")
    closer = {
        f"{norm}, {other} − CW": results.positive(
            regime.mean_norm(ATTACKS[other], norm) - regime.mean_norm("cw", norm), "farther"
        )
        for norm in ("L2", "Linf")
        for other in ("FGSM", "PGD")
    }
    yield "2.C6", label, _all(closer)


def _late(curves):
    """From the fifth epoch on, or all of them where there are no more."""
    return curves[:, FROM - 1 :] if curves.shape[1] > FROM else curves


def _change(curves):
    """From the fifth epoch (or the first) to the last, for each fold."""
    late = _late(curves)
    return late[:, -1] - late[:, 0]


def _all(parts):
    """Verdict on a claim that needs all of several, and their evidence."""
    verdict = results.all_of([verdict for verdict, _ in parts.values()])
    return verdict, "; ".join(f"{name}: {evidence}" for name, (_, evidence) in parts.items())


def _settled(rates):
    """Does the last third lie near 50–60 %, and is there no climb?"""
    level = rates[:, -max(1, rates.shape[1] // 3) :].mean(1)
    mean, low, high = results.mean_interval(level)
    _, down, up = results.mean_interval(_change(rates))
    inside = [results.verdict(low - SETTLED[0], high - SETTLED[0])]
    inside += [results.verdict(SETTLED[1] - high, SETTLED[1] - low)]
    flat = results.verdict(CLIMB - up, CLIMB - down)
    show = results.shown_number
    evidence = (
        f"{show(mean)} % [{show(low)}, {show(high)}] over the last third; change "
        f"{show(float(_change(rates).mean()))} points [{show(down)}, {show(up)}], limit {CLIMB}"
    )
    return results.all_of([*inside, flat]), evidence


def _larger_scores(name, found, output):
    """At the last measured epoch, overfitting against normal: the mean, or the spread."""
    reduce, what = (np.std, "spread") if name == "cifar10" else (np.mean, "mean")
    values = {label: r.clever(output, reduce=reduce)[:, -1] for label, r in found.items()}
    verdict, evidence = results.positive(values["overfitting"] - values["normal"], f"larger {what}")
    caps = {label: 100 * r.clever(output, "at_cap")[:, -1].mean() for label, r in found.items()}
    means = {label: float(r.clever(output)[:, -1].mean()) for label, r in found.items()}
    told = ", ".join(
        f"{label} mean {results.shown_number(means[label])}, {caps[label]:.0f} % at the cap"
        for label in found
    )
    return verdict, f"{evidence}; {told}"


def _sensitivity(name, found):
    """Larger when overfitting; on the paper's data also on either side of 2."""
    peak = found["normal"].gradients("loss_sensitivity").max(1)
    end = found["overfitting"].gradients("loss_sensitivity")[:, -1]
    parts = {"end of overfitting − peak of normal": results.positive(end - peak, "larger")}
    if name in PAPER:
        parts["peak of normal"] = results.positive(BETWEEN - peak, f"below {BETWEEN:g}")
        parts["end of overfitting"] = results.positive(end - BETWEEN, f"above {BETWEEN:g}")
    return _all(parts)


def _regimes_are_real(found):
    """Is the end of the normal regime its best stretch, and that of the other below its peak?"""
    normal, overfitting = (found[label].training("validation") for label in found)
    last = max(1, min(5, normal.shape[1] // 3))
    climbs = normal[:, -last:].mean(1) - normal[:, -2 * last : -last].mean(1)
    # A fold's own maximum would always stand above its end: the other folds say where to look.
    others = overfitting.sum(0) - overfitting
    peaks = np.take_along_axis(overfitting, others.argmax(1)[:, None], 1)[:, 0]
    falls = peaks - overfitting[:, -last:].mean(1)
    verdict, evidence = _all({
        "normal": results.positive(climbs, f"points up over the last {last} epochs"),
        "overfitting": results.positive(falls, f"points down from the peak to the last {last}"),
    })  # fmt: skip
    best = ", ".join(map(str, found["overfitting"].crafting_epochs()))
    return verdict, f"{evidence}; its best epochs: {best}"
