"""The claims of the study of overfitting and robustness, judged on curves over the epochs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from kit.experiments.overfitting_vs_robustness.settings import STUDY
from kit.experiments.overfitting_vs_robustness.steps import CONTROL, OUTPUTS
from kit.harness import results

FROM = 5  # the paper: earlier snapshots "should not be considered"
SETTLED = (45, 65)  # per cent: "around 50–60 %", give or take 5
CLIMB = 5  # points: a smaller rise is none
CONSISTENT = 50  # per cent
BETWEEN = 2.0  # loss sensitivity: between the ranges that the paper gives for its two regimes
SIMILAR = 2.0  # means are similar up to this factor
PEAK = (5, 10)  # epochs: where validation accuracy peaks in the paper when overfitting

Curves = Mapping[str, np.ndarray]  # by name, shape (folds, epochs)


def verdicts(
    dataset: str, curves: Mapping[str, Curves], norms: Mapping[str, Mapping], resolution: float
) -> Iterator[tuple[str, str, results.Verdict]]:
    """All claims on one data set: ID, what of it is meant, and verdict with evidence.

    Parameters
    ----------
    curves
        For each regime, in %: ``test accuracy``, ``validation``, ``ASR NAME`` of each attack and of
        ``CW, last`` (crafted on the last snapshot), ``accuracy before attack`` on the attacked
        images; ``loss sensitivity``, ``empirical robustness``; ``crafting epoch``, shape (folds,);
        for both outputs of CLEVER ``OUTPUT mean``, ``OUTPUT spread`` and ``OUTPUT at cap (%)``.
    norms
        For each regime the mean L2 and Linf of each attack's changes, shape (folds,), by attack
        (``CW, last`` too) and norm.
    resolution
        One attacked image in %.
    """
    normal, overfitting = curves["normal"], curves["overfitting"]
    # Early snapshots get images wrong that nobody attacked: both ways of counting are judged.
    success, clean_errors = normal["ASR CW"], 100 - normal["accuracy before attack"]
    learns = results.positive(change(normal["test accuracy"]), "points", resolution)
    for label, rates in (("all errors", success), ("beyond clean errors", success - clean_errors)):
        climb = change(rates, without=normal["crafting epoch"])  # there CW succeeds by construction
        climbs = results.positive(climb, "points", resolution)
        yield "2.C1", label, results.all_of({"CW": climbs, "test accuracy": learns})
    yield "2.C2", "", settled(overfitting["ASR CW"], overfitting["crafting epoch"], resolution)
    by_spread = STUDY.concerns("CLEVER's spread", dataset)
    for output in OUTPUTS:
        yield "2.C3", output, larger_scores(curves, output, by_spread)
    yield "2.C4", "", _sensitivity(curves, STUDY.concerns("printed sensitivities", dataset))
    for label, regime in curves.items():
        yield from _about_attacks(label, regime, norms[label], resolution)
    yield "2.C7", "", results.all_of({
        "normal": results.positive(-change(normal["empirical robustness"]), "lower"),
        "overfitting": results.positive(change(overfitting["empirical robustness"]), "higher"),
    })  # fmt: skip
    validation = normal["validation"], overfitting["validation"]
    yield "2.C8", "climbs and falls", regimes_are_real(*validation)
    yield "2.C8", f"peaks at epochs {PEAK[0]} to {PEAK[1]}", peaks_early(validation[1])
    farther = norms["overfitting"]["CW, last"]["L2"] - norms["normal"]["CW, last"]["L2"]
    yield "2.X2", "", results.positive(farther, "farther (L2)")
    # One epoch before the crafting one, where success is certain.
    climb = change(overfitting["ASR CW, last"][:, :-1])
    yield "2.X3", "", results.positive(climb, "points, to the last epoch but one", resolution)


def _about_attacks(
    label: str, curves: Curves, norms: Mapping, resolution: float
) -> Iterator[tuple[str, str, results.Verdict]]:
    for attack in ("FGSM", "PGD"):
        rates = late(curves[f"ASR {attack}"])
        lowest = results.positive(
            rates.min(1) - CONSISTENT, f"points above {CONSISTENT} %", resolution
        )
        yield "2.C5", f"{attack}, {label}", results.all_of({"at its lowest": lowest})
        beyond = (rates - late(curves[f"ASR {CONTROL}"])).mean(1)
        judged = results.positive(beyond, "points on average", resolution)
        yield "2.X1", f"{attack}, {label}", judged
    closer = {
        f"{norm}, {other} − CW": results.positive(norms[other][norm] - norms["CW"][norm], "farther")
        for norm in ("L2", "Linf")
        for other in ("FGSM", "PGD")
    }
    yield "2.C6", label, results.all_of(closer)


def late(curves: np.ndarray) -> np.ndarray:
    """From the fifth epoch on, or all of them where there are no more."""
    return curves[:, FROM - 1 :] if curves.shape[1] > FROM else curves


def change(curves: np.ndarray, without: np.ndarray | None = None) -> np.ndarray:
    """From the fifth epoch (or the first) to the last, for each fold.

    Parameters
    ----------
    without
        For each fold an epoch that does not count; NaN comes out where no other is left.
    """
    epochs = late(1 + np.arange(curves.shape[1])[None])[0]
    left_out = np.zeros(len(curves)) if without is None else without
    counted = [row[epochs != out] for row, out in zip(late(curves), left_out, strict=True)]
    return np.array([row[-1] - row[0] if len(row) else np.nan for row in counted])


def settled(rates: np.ndarray, crafting: np.ndarray, resolution: float) -> results.Verdict:
    """Does the last third lie near 50–60 %, and is there no climb? (2.C2).

    The epoch that crafts does not count, a fold's own: there CW succeeds by construction.
    """
    last = (1 + np.arange(rates.shape[1]))[-max(1, rates.shape[1] // 3) :]
    counted = [last[last != epoch] for epoch in crafting]
    level = np.array([
        row[epochs - 1].mean() if len(epochs) else np.nan
        for row, epochs in zip(rates, counted, strict=True)
    ])  # fmt: skip
    climb, (low, high) = change(rates, without=crafting), SETTLED
    return results.all_of({
        f"last third − {low} %": results.positive(level - low, "points", resolution),
        f"{high} % − last third": results.positive(high - level, "points", resolution),
        f"{CLIMB} points − climb": results.positive(CLIMB - climb, "points", resolution),
    })  # fmt: skip


def larger_scores(curves: Mapping[str, Curves], output: str, by_spread: bool) -> results.Verdict:
    """Are CLEVER's scores larger when overfitting, at the last measured epoch (2.C3)?

    Their mean has to be; where the paper reports similar means, their spread over the images.
    """
    names = ("mean", "spread", "at cap (%)")
    normal, overfitting = (
        {name: curves[label][f"{output} {name}"][:, -1] for name in names}
        for label in ("normal", "overfitting")
    )
    if by_spread:
        differences = {
            "spread": overfitting["spread"] - normal["spread"],
            "mean − half of the normal one": overfitting["mean"] - normal["mean"] / SIMILAR,
            "twice the normal one − mean": SIMILAR * normal["mean"] - overfitting["mean"],
        }
    else:
        differences = {"mean": overfitting["mean"] - normal["mean"]}
    larger = {name: results.positive(values, "in score") for name, values in differences.items()}
    shares = (
        f"{label} mean {results.shown_number(float(of['mean'].mean()))}, "
        f"{results.shown_number(float(of['at cap (%)'].mean()))} % at the cap"
        for label, of in (("normal", normal), ("overfitting", overfitting))
    )
    return results.all_of(larger).noted(*shares)


def _sensitivity(curves: Mapping[str, Curves], printed: bool) -> results.Verdict:
    """Larger when overfitting; on the paper's data also on either side of 2 (2.C4)."""
    peak = curves["normal"]["loss sensitivity"].max(1)
    end = curves["overfitting"]["loss sensitivity"][:, -1]
    parts = {"end of overfitting − peak of normal": results.positive(end - peak, "larger")}
    if printed:
        parts["peak of normal"] = results.positive(BETWEEN - peak, f"below {BETWEEN:g}")
        parts["end of overfitting"] = results.positive(end - BETWEEN, f"above {BETWEEN:g}")
    return results.all_of(parts)


def regimes_are_real(normal: np.ndarray, overfitting: np.ndarray) -> results.Verdict:
    """Is the end of the normal regime its best stretch, and that of the other below its peak?

    Parameters
    ----------
    normal, overfitting
        Validation accuracy in %, shape (folds, epochs) (2.C8).
    """
    last = max(1, min(5, normal.shape[1] // 3))
    climbs = normal[:, -last:].mean(1) - normal[:, -2 * last : -last].mean(1)
    stretches = np.lib.stride_tricks.sliding_window_view(overfitting, last, axis=1).mean(2)
    # The peak lies before the last stretch: a curve that climbs to its end does not fall. A fold's
    # own maximum would stand above its end by luck: the other folds say where to look.
    before = stretches[:, : max(1, stretches.shape[1] - last)]
    others = before.sum(0) - before
    peaks = np.take_along_axis(before, others.argmax(1)[:, None], 1)[:, 0]
    falls = peaks - stretches[:, -1]
    return results.all_of({
        "normal": results.positive(climbs, f"points up over the last {last} epochs"),
        "overfitting": results.positive(falls, f"points down from the peak to the last {last}"),
    })  # fmt: skip


def peaks_early(overfitting: np.ndarray) -> results.Verdict:
    """Does validation accuracy peak where the paper's does (2.C8)?

    The last epoch is no peak: whether one lies there shows only in a later epoch.
    """
    epochs = overfitting.shape[1]
    if epochs <= PEAK[1]:
        why = f"{epochs} epochs, and a peak there takes at least {PEAK[1] + 1}"
        return results.Verdict(notes=(why,))
    best, before, after = 1 + overfitting.argmax(1), PEAK[0] - 1, PEAK[1] + 1
    peaks = results.all_of({
        f"best epoch − {before}": results.positive(best - before, "epochs", resolution=0.5),
        f"{after} − best epoch": results.positive(after - best, "epochs", resolution=0.5),
    })  # fmt: skip
    return peaks.noted(f"best epochs: {', '.join(map(str, best))}")
