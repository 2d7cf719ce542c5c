"""The claims of the study of overfitting and robustness, judged on curves over the epochs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from kit.experiments.overfitting_vs_robustness.settings import STUDY
from kit.experiments.overfitting_vs_robustness.steps import CONTROL, NEAREST, OUTPUTS
from kit.harness import results
from kit.harness.results.verdicts import SCALES

FROM = 5  # the paper: earlier snapshots "should not be considered"
SETTLED = (45, 65)  # per cent: "around 50–60 %", give or take 5
CLIMB = 5  # points: a smaller rise is none
BETWEEN = 2.0  # loss sensitivity: between the ranges that the paper gives for its two regimes
SIMILAR = 2.0  # means are similar up to this factor
PEAK = (5, 10)  # epochs: where validation accuracy peaks in the paper when overfitting
GRIDS = {"ε in steps of 0.1": "coarse empirical robustness", "fine ε": "empirical robustness"}
LAST = f"{NEAREST}, last"  # the nearest images crafted on the last snapshot
NOT_BY_IMAGE = (
    "what single images contribute is not kept, so the interval leaves out the luck of the images"
)
SHARED_TRAINING = "the folds share training images, so the interval is that of re-splits"

Curves = Mapping[str, np.ndarray]  # by name, shape (folds, epochs)
Regimes = Mapping[str, Curves]  # "normal" and "overfitting"
Quantity = Callable[[Regimes], np.ndarray]  # one number for each fold, of each draw
Period = Callable[[np.ndarray], np.ndarray]  # the columns of some epochs
Judged = Iterator[tuple[str, str, results.Verdict]]


@dataclasses.dataclass(frozen=True)
class Measured:
    """Both regimes' curves, and the same on test images drawn anew.

    Attributes
    ----------
    curves
        As :func:`verdicts` takes them.
    drawn
        The same with an axis of draws before all others.
    resolution
        One attacked image in %.
    """

    curves: Regimes
    drawn: Regimes
    resolution: float

    def positive(self, quantity: Quantity, unit: str, resolution: float = 0.0) -> results.Verdict:
        """Is a quantity positive on new images, too?"""
        shared = self._shared(quantity, "linear")
        return results.positive(quantity(self.curves), unit, resolution, shared=shared)

    def above(
        self,
        quantity: Quantity,
        border: float,
        unit: str,
        scale: str,
        *,
        resolution: float = 0.0,
        below: bool = False,
    ) -> results.Verdict:
        """Does it lie above a border, or below it, on new images, too?"""
        shared = self._shared(quantity, scale)
        values = quantity(self.curves)
        return results.above(values, border, unit, resolution, shared, scale=scale, below=below)

    def _shared(self, quantity: Quantity, scale: str) -> float:
        """How much the folds vary together from one draw of the test images to the next."""
        drawn = SCALES[scale].judged(quantity(self.drawn))
        # Of one axis where nothing is kept image by image: no draw changes it.
        return results.of_shared_images(drawn.T) if drawn.ndim > 1 else 0.0


def verdicts(dataset: str, curves: Regimes, drawn: Regimes, resolution: float) -> Judged:
    """All claims on one data set: ID, what of it is meant, and verdict with evidence.

    Parameters
    ----------
    curves
        For each regime, in %: ``test accuracy``, ``validation``, ``ASR NAME`` of each attack and of
        ``nearest L2, last`` (crafted on the last snapshot), ``accuracy before attack`` on the
        attacked images; ``loss sensitivity``, ``empirical robustness``, also ``coarse …``;
        ``crafting epoch``, shape (folds,); for both outputs of CLEVER ``OUTPUT mean``, ``OUTPUT
        spread`` and ``OUTPUT at cap (%)``, at ``CLEVER epochs``; for each attack ``NAME: L2`` and
        ``NAME: Linf``, the mean norm of its changes, shape (folds,).
    drawn
        Those that are kept image by image, on test images drawn anew, as
        :func:`resampling.drawn` gives them; empty mappings for none.
    resolution
        One attacked image in %.
    """
    whole = {label: {**curves[label], **drawn[label]} for label in curves}
    of = Measured(curves, whole, resolution)
    for attack in ("CW", NEAREST):
        for claim, reading, verdict in _about_success(of, attack):
            label = ", ".join(filter(None, (attack, reading)))
            yield claim, label, verdict.noted(_at_crafting(of, attack))
    for output in OUTPUTS:
        yield "2.C3", output, larger_scores(of, output, STUDY.concerns("CLEVER's spread", dataset))
    yield "2.C4", "", _sensitivity(of, STUDY.concerns("printed sensitivities", dataset))
    for label in curves:
        yield from _about_attacks(of, label)
    for grid, name in GRIDS.items():
        yield "2.C7", grid, _smallest_steps(of, name)
    validation = curves["normal"]["validation"], curves["overfitting"]["validation"]
    yield "2.C8", "climbs and falls", regimes_are_real(*validation)
    yield "2.C8", f"peaks at epochs {PEAK[0]} to {PEAK[1]}", peaks_early(validation[1])
    for output in OUTPUTS:
        yield "2.C10", output, _scores_rise(of, output)
    for attack in ("CW", "FGSM", "PGD"):
        yield "2.C11", attack, _greatest_where_crafted(of, attack)
    yield "2.X2", "", of.positive(_farther_at_the_end, "farther (L2)")
    # To one epoch before the crafting one, where success is certain.
    yield "2.X3", "", of.positive(
        lambda c: change(c["overfitting"][f"ASR {LAST}"][..., :-1]),
        "points, to the last epoch but one", resolution,
    )  # fmt: skip


# --- the success of CW -------------------------------------------------------------------------


def success(
    curves: Curves, attack: str = "CW", *, beyond: bool = False, crafting: bool = False
) -> np.ndarray:
    """Success of an attack in %, shape (…, folds, epochs).

    Parameters
    ----------
    beyond
        Without the images that a snapshot gets wrong unattacked. Early ones get most images wrong.
    crafting
        Keep the epoch that crafts, a fold's own, where success is certain; otherwise it is NaN.
    """
    rates = curves[f"ASR {attack}"]
    if beyond:
        rates = rates - (100 - curves["accuracy before attack"])
    epochs = 1 + np.arange(rates.shape[-1])
    crafts = epochs == curves["crafting epoch"][:, None]
    return rates if crafting else np.where(crafts, np.nan, rates)


def _about_success(of: Measured, attack: str) -> Judged:
    yield from _success_climbs(of, attack)
    yield "2.C2", "", settled(of, attack)
    yield from _less_when_overfitting(of, attack)


def _at_crafting(of: Measured, attack: str) -> str:
    """How far an attack reached its aim: it may leave images as they are."""
    shares = (
        f"{results.shown_number(float(where_crafted(curves, attack).mean()))} % ({label})"
        for label, curves in of.curves.items()
    )
    return f"on the snapshots that crafted them it fools {', '.join(shares)}"


def _success_climbs(of: Measured, attack: str) -> Judged:
    def climb(beyond: bool = False, crafting: bool = False) -> Quantity:
        return lambda c: change(success(c["normal"], attack, beyond=beyond, crafting=crafting))

    readings = {
        "all errors": climb(),
        "beyond clean errors": climb(beyond=True),
        "as drawn": climb(crafting=True),
    }
    learns = of.positive(lambda c: change(c["normal"]["test accuracy"]), "points", of.resolution)
    for label, quantity in readings.items():
        climbs = of.positive(quantity, "points", of.resolution)
        yield "2.C1", label, results.all_of({"success": climbs, "test accuracy": learns})


def settled(of: Measured, attack: str = "CW") -> results.Verdict:
    """Does the last third lie near 50–60 %, and is there no climb (2.C2)?"""

    def level(c: Regimes) -> np.ndarray:
        return inside(_mean(last_third(success(c["overfitting"], attack))), of.resolution)

    def less_than_a_climb(c: Regimes) -> np.ndarray:
        return CLIMB - change(success(c["overfitting"], attack))

    (low, high), one = SETTLED, of.resolution
    return results.all_of({
        "last third": of.above(level, low, "%", "logit", resolution=one),
        "the same": of.above(level, high, "%", "logit", resolution=one, below=True),
        f"{CLIMB} points − climb": of.positive(less_than_a_climb, "points", one),
    })  # fmt: skip


def _less_when_overfitting(of: Measured, attack: str) -> Judged:
    """The paper's title: success is lower when overfitting, in five readings (2.C9)."""

    def gap(epochs: Period, beyond: bool = False, crafting: bool = False) -> Quantity:
        return lambda c: lower(c, epochs, attack, beyond=beyond, crafting=crafting)

    readings = {
        f"{period}, {errors}": gap(epochs, beyond=beyond)
        for period, epochs in ((f"from epoch {FROM}", late), ("last third", last_third))
        for errors, beyond in (("all errors", False), ("beyond clean errors", True))
    }
    readings["as drawn"] = gap(late, crafting=True)
    for label, quantity in readings.items():
        yield "2.C9", label, of.positive(quantity, "points lower when overfitting", of.resolution)


def lower(
    c: Regimes, epochs: Period, attack: str, *, beyond: bool = False, crafting: bool = False
) -> np.ndarray:
    """By how many points an attack succeeds less when overfitting, on average over some epochs.

    Parameters
    ----------
    epochs
        :func:`late` or :func:`last_third`.
    attack, beyond, crafting
        As for :func:`success`.
    """
    normal, overfitting = (
        _mean(epochs(success(c[label], attack, beyond=beyond, crafting=crafting)))
        for label in ("normal", "overfitting")
    )
    return normal - overfitting


def _greatest_where_crafted(of: Measured, attack: str) -> results.Verdict:
    """Does an attack succeed most at the epoch that crafted its examples, overfitting (2.C11)?"""

    def lead(c: Regimes) -> np.ndarray:
        others = where_others_peak(late(success(c["overfitting"], attack)))
        return where_crafted(c["overfitting"], attack) - others

    return of.positive(lead, "points above the best other epoch", of.resolution)


def where_crafted(curves: Curves, attack: str) -> np.ndarray:
    """Success of an attack in % on the snapshot that crafted its examples, for each fold."""
    at = curves["crafting epoch"]
    return curves[f"ASR {attack}"][..., np.arange(len(at)), at - 1]


# --- all attacks -------------------------------------------------------------------------------


def _about_attacks(of: Measured, label: str) -> Judged:
    def gap(attack: str) -> Quantity:
        return lambda c: _mean(late(c[label][f"ASR {attack}"] - c[label][f"ASR {CONTROL}"]))

    def odds_ratio(attack: str) -> Quantity:
        def lowest(c: Regimes) -> np.ndarray:
            rates = (late(c[label][f"ASR {name}"]) for name in (attack, CONTROL))
            fooling, control = (odds(each, of.resolution) for each in rates)
            return (fooling / control).min(-1)

        return lowest

    def farther(other: str, norm: str) -> Quantity:
        return lambda c: c[label][f"{other}: {norm}"] - c[label][f"CW: {norm}"]

    for attack in ("FGSM", "PGD"):
        # Not more than half, which the control reaches alone: more than the control, at each epoch.
        lowest = of.above(odds_ratio(attack), 1, "times the odds of random signs", "log")
        yield "2.C5", f"{attack}, {label}", results.all_of({"at the lowest": lowest})
        beyond = of.positive(gap(attack), "points on average", of.resolution)
        yield "2.X1", f"{attack}, {label}", beyond
    yield "2.C6", label, results.all_of({
        f"{norm}, {other} − CW": of.positive(farther(other, norm), "farther")
        for norm in ("L2", "Linf")
        for other in ("FGSM", "PGD")
    })  # fmt: skip


def odds(rates: np.ndarray, resolution: float) -> np.ndarray:
    """Of rates in %."""
    rates = inside(rates, resolution)
    return rates / (100 - rates)


def inside(rates: np.ndarray, resolution: float) -> np.ndarray:
    """Rates in %, where half an image stands for none and for all."""
    half = max(resolution, 1e-6) / 2
    return np.clip(rates, half, 100 - half)


def _farther_at_the_end(c: Regimes) -> np.ndarray:
    return c["overfitting"][f"{LAST}: L2"] - c["normal"][f"{LAST}: L2"]


# --- measures of robustness --------------------------------------------------------------------


def larger_scores(of: Measured, output: str, by_spread: bool) -> results.Verdict:
    """Are CLEVER's scores larger when overfitting, at the last measured epoch (2.C3)?

    Their mean has to be; where the paper reports similar means, their spread over the images.
    """

    def last(c: Regimes, name: str) -> tuple[np.ndarray, np.ndarray]:
        normal, overfitting = (c[label][f"{output} {name}"] for label in ("normal", "overfitting"))
        return normal[..., -1], overfitting[..., -1]

    def ratio(name: str) -> Quantity:
        return lambda c: _ratio(*last(c, name)[::-1])

    times = "times the normal one"
    if by_spread:
        parts = {
            "spread": of.above(ratio("spread"), 1, times, "log"),
            "mean": of.above(ratio("mean"), 1 / SIMILAR, times, "log"),
            "the same": of.above(ratio("mean"), SIMILAR, times, "log", below=True),
        }
    else:
        parts = {"mean": of.above(ratio("mean"), 1, times, "log")}
    means, caps = last(of.curves, "mean"), last(of.curves, "at cap (%)")
    return results.all_of(parts).noted(
        *(
            f"{label} mean {results.shown_number(float(mean.mean()))}, "
            f"{results.shown_number(float(cap.mean()))} % at the cap"
            for label, mean, cap in zip(("normal", "overfitting"), means, caps, strict=True)
        )
    )


def _scores_rise(of: Measured, output: str) -> results.Verdict:
    """Does CLEVER rise over the epochs of the normal regime (2.C10)?"""

    def rise(c: Regimes) -> np.ndarray:
        return change(c["normal"][f"{output} mean"], c["normal"]["CLEVER epochs"])

    return of.positive(rise, "in score")


def _sensitivity(of: Measured, printed: bool) -> results.Verdict:
    """Larger when overfitting; on the paper's data also on either side of 2 (2.C4)."""

    def peak(c: Regimes) -> np.ndarray:
        return c["normal"]["loss sensitivity"].max(-1)

    def end(c: Regimes) -> np.ndarray:
        return c["overfitting"]["loss sensitivity"][..., -1]

    times = "times the peak of normal"
    parts = {"end of overfitting": of.above(lambda c: _ratio(end(c), peak(c)), 1, times, "log")}
    if printed:
        parts["peak of normal"] = of.above(peak, BETWEEN, "in L2", "log", below=True)
        parts["the end itself"] = of.above(end, BETWEEN, "in L2", "log")
    return results.all_of(parts).noted(NOT_BY_IMAGE)


def _smallest_steps(of: Measured, name: str) -> results.Verdict:
    """Does empirical robustness fall normally, and rise when overfitting (2.C7)?"""
    found = results.all_of({
        "normal": of.positive(lambda c: -change(c["normal"][name]), "lower"),
        "overfitting": of.positive(lambda c: change(c["overfitting"][name]), "higher"),
    })  # fmt: skip
    return found if "coarse" in name else found.noted(NOT_BY_IMAGE)


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
    # The peak lies before the last stretch: a curve that climbs to its end does not fall.
    before = stretches[:, : max(1, stretches.shape[1] - last)]
    falls = where_others_peak(before) - stretches[:, -1]
    return results.all_of({
        "normal": _of_folds(climbs, f"points up over the last {last} epochs"),
        "overfitting": _of_folds(falls, f"points down from the peak to the last {last}"),
    }).noted(SHARED_TRAINING)  # fmt: skip


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
        f"best epoch − {before}": _of_folds(best - before, "epochs", resolution=0.5),
        f"{after} − best epoch": _of_folds(after - best, "epochs", resolution=0.5),
    })  # fmt: skip
    return peaks.noted(f"best epochs: {', '.join(map(str, best))}", SHARED_TRAINING)


def _of_folds(values: np.ndarray, unit: str, resolution: float = 0.0) -> results.Verdict:
    """Is a quantity of validation accuracy positive?

    Each fold is validated on images of its own, but two of them train on the same images for the
    most part. No estimate of what that hides is unbiased (Bengio & Grandvalet 2004); we add what
    Nadeau & Bengio add for re-splits with as many images in each part.
    """
    shared = results.of_resplits(values, test=1, train=len(values) - 1) if len(values) > 1 else 0.0
    return results.positive(values, unit, resolution, shared=shared)


# --- curves ------------------------------------------------------------------------------------


def late(curves: np.ndarray, epochs: np.ndarray | None = None) -> np.ndarray:
    """From the fifth epoch on, or all of them where there are no more; by default all are there."""
    counted = (1 + np.arange(curves.shape[-1]) if epochs is None else epochs) >= FROM
    return curves[..., counted] if counted.sum() > 1 else curves


def last_third(curves: np.ndarray) -> np.ndarray:
    """The last third of the epochs, at least one."""
    return curves[..., -max(1, curves.shape[-1] // 3) :]


def change(curves: np.ndarray, epochs: np.ndarray | None = None) -> np.ndarray:
    """From the fifth epoch (or the first) to the last, of those that have a value, for each fold.

    NaN comes out where none has.
    """
    shown = late(curves, epochs)
    known = np.isfinite(shown)
    first, last = known.argmax(-1), known.shape[-1] - 1 - known[..., ::-1].argmax(-1)
    begin, end = (np.take_along_axis(shown, at[..., None], -1)[..., 0] for at in (first, last))
    return np.where(known.any(-1), end - begin, np.nan)


def where_others_peak(curves: np.ndarray) -> np.ndarray:
    """Each fold's value where the mean of the others is largest; NaN where there is none.

    Its own maximum would be large by luck: the other folds say where to look.
    """
    known = np.isfinite(curves)
    values, counts = np.where(known, curves, 0), known.sum(-2, keepdims=True) - known
    others = (values.sum(-2, keepdims=True) - values) / np.maximum(counts, 1)
    at = np.where(known & (counts > 0), others, -np.inf).argmax(-1)
    return np.take_along_axis(curves, at[..., None], -1)[..., 0]


def _mean(curves: np.ndarray) -> np.ndarray:
    """Of the values that are there, over the last axis; NaN where there are none."""
    known = np.isfinite(curves)
    counts = known.sum(-1)
    total = np.where(known, curves, 0).sum(-1)
    return np.where(counts > 0, total / np.maximum(counts, 1), np.nan)


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of positive scores; NaN where one of them is not."""
    positive = (a > 0) & (b > 0)
    return np.divide(a, b, out=np.full(positive.shape, np.nan), where=positive)
