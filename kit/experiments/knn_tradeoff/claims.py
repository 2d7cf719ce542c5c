"""The claims of the study, judged on its tables.

Runs split one pool of images anew and share its luck: to the variance that they show comes what
they have in common. What two sets of images differ by is taken within each run, since both sets
come from its split, its neighbours and its net; the paper's test, Welch's, takes them for
independent.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from kit.data.splits import About, Split
from kit.experiments.knn_tradeoff import tables
from kit.experiments.knn_tradeoff.settings import ADVERSARIAL, CONTROL, STUDY, WHOLE, WRONG
from kit.harness import results
from kit.harness.results.verdicts import SCALES

NEAR = 95.0  # an accuracy above so many per cent is "very close 100%" (3.C5); our border
Judged = tuple[str, str, results.Verdict]


def verdicts(
    split: Split,
    accuracies: pd.DataFrame,
    slopes: pd.DataFrame,
    noise: Mapping[tuple[str, str], pd.DataFrame],
    limit: float,
) -> Iterator[Judged]:
    """All claims on one data set: ID, what of it is meant, and verdict with evidence.

    Parameters
    ----------
    split
        The images that the runs split anew.
    accuracies
        As :func:`tables.accuracies` gives them.
    slopes, noise
        Tables of the notebook, as :func:`tables.measures` and :func:`tables.beyond_noise` take
        them.
    limit
        The whole test set is flat where K = 1 and K = Z differ by fewer points.
    """
    about = split.about
    for attack in ADVERSARIAL:
        yield "3.C1", attack, rises(slopes[slopes["set"] == attack], about)
        yield from _beside_wrong(slopes, attack, about)
        yield "3.C4", attack, results.all_of(exceeds(slopes, attack, WHOLE, about))
        yield from _beside_noise(noise, attack)
    whole = accuracies[accuracies["set"] == WHOLE]
    whole = whole.pivot(index="run", columns="k", values="accuracy")
    yield "3.C3", "", stays_flat(whole, limit, about)
    if split.name not in STUDY.datasets or STUDY.concerns("3.C5", split.name):
        yield "3.C5", "", close_to_all(whole.min(axis=1), about)


def rises(steps: pd.DataFrame, about: About) -> results.Verdict:
    """Verdict on 3.C1: does each step to a smaller K raise the accuracy on a set?"""
    images = steps.groupby("run")["images"].first()
    one_image = 100 / max(images.sum(), 1)  # of all runs
    parts = {
        f"A{j} − A{j + 2}": results.positive(
            step["difference"], "points", one_image, shared=_shared(step["difference"], about)
        )
        for j, step in steps.groupby("j")
    }
    return results.all_of(parts).noted(
        f"{images.mean():.{0 if images.mean() >= 10 else 1}f} images a run"
    )


def exceeds(
    slopes: pd.DataFrame, ours: str, other: str, about: About | None = None
) -> dict[str, results.Verdict]:
    """Is the rise on one set steeper than on another, by each of :func:`tables.measures`?

    Parameters
    ----------
    slopes
        As :func:`tables.measures` takes it.
    ours, other
        The two sets, which are compared run by run.
    about
        The images that all runs share; None where these hardly matter.
    """
    images = slopes.drop_duplicates(["run", "set"]).groupby("set")["images"].sum()
    one_image = 100 / max(images[[ours, other]].min(), 1)  # of all runs, in the smaller set
    return {
        name: _exceeds(values[ours], values[other], name.startswith("S"), one_image, about)
        for name, values in tables.measures(slopes).items()
    }


def _exceeds(
    a: pd.Series, b: pd.Series, ratios: bool, one_image: float, about: About | None
) -> results.Verdict:
    finite = np.isfinite(a) & np.isfinite(b)
    beyond = (a - b).where(finite)
    shared = _shared(beyond, about) if about else 0.0
    unit, resolution = ("in slope", 0.0) if ratios else ("points", one_image)
    (part,) = results.positive(beyond, unit, resolution, shared=shared).parts
    means = tuple(results.middle(each[finite]) for each in (a, b))
    found = results.Verdict((dataclasses.replace(part, means=means),))
    # Runs without a finite slope are not missing at random: their denominator was zero.
    why = f"a slope is finite in only {finite.sum()} of {len(finite)} runs"
    return found.doubted(why) if ratios and not finite.all() else found


def _beside_wrong(slopes: pd.DataFrame, attack: str, about: About) -> Iterator[Judged]:
    """What the paper says of the misclassified images: they differ; and both readings of "rate"."""
    larger = exceeds(slopes, attack, WRONG, about)
    smaller = exceeds(slopes, WRONG, attack, about)
    *_, whole = larger
    ratios = [name for name in larger if name.startswith("S")]
    yield "3.C2", f"{attack}, larger {whole}", results.all_of({whole: larger[whole]})
    if not ratios:
        return
    by_ratio = results.all_of({name: larger[name] for name in ratios})
    yield "3.C2", f"{attack}, larger {' and '.join(ratios)}", by_ratio
    # An interval has two sides: it leaves zero out on the side that was seen, or decides nothing.
    # So "they differ" is reproduced or open, never refuted.
    differ = {
        f"{name} smaller" if below else f"{name} larger": (smaller if below else larger)[name]
        for name in ratios
        for below in [smaller[name].parts[0].estimate.value > 0]
    }
    yield "3.C2", f"{attack}, slopes differ", results.all_of(differ)


def _beside_noise(noise: Mapping[tuple[str, str], pd.DataFrame], attack: str) -> Iterator[Judged]:
    """Verdicts on 3.X1 by each measure, with each image once: over both sets, and shared images.

    Nothing is added for what runs share: over re-splits these differences hardly correlate.
    """
    found = {
        counted: exceeds(noise[attack, counted], attack, CONTROL) for counted in tables.COUNTED[1:]
    }
    names = list(found[tables.COUNTED[1]])
    ratios = [name for name in names if name.startswith("S")]
    for measure in filter(None, (ratios, *([name] for name in names if name not in ratios))):
        parts = {f"{n}, {counted}": by[n] for counted, by in found.items() for n in measure}
        yield "3.X1", f"{attack}, by {' and '.join(measure)}", results.all_of(parts)


def stays_flat(whole: pd.DataFrame, limit: float, about: About) -> results.Verdict:
    """Verdict on 3.C3: do K = 1 and K = Z differ by less than `limit` points, to either side?

    The spread over all K, which cannot be negative, would find a change in mere noise.

    Parameters
    ----------
    whole
        Accuracy on the whole test set (%), a row for each run and a column for each K.
    """
    change = whole[1] - whole[max(whole)]
    one_image, shared = 100 / about.test, _shared(change, about)
    name, spread = f"A1 − A{max(whole)}", (whole.max(axis=1) - whole.min(axis=1)).mean()
    ends = [
        results.above(change, end, "points", one_image, shared, below=end > 0)
        for end in (limit, -limit)
    ]
    both = results.all_of([results.all_of({name: end}) for end in ends])
    return both.noted(f"{spread:.3g} points between the best and the worst K of a run")


def close_to_all(accuracy: pd.Series, about: About) -> results.Verdict:
    """Verdict on 3.C5: does the accuracy (%) on the whole test set lie above `NEAR`?"""
    one_image = 100 / about.test
    logit = SCALES["logit"].judged(np.clip(accuracy, one_image / 2, 100 - one_image / 2))
    shared = _shared(logit, about)
    found = results.above(accuracy, NEAR, "%", one_image, shared, scale="logit")
    return found.noted(f"each run's worst K; {about.train:,} training images")


def _shared(values: pd.Series, about: About) -> float:
    """The variance that the runs have in common."""
    finite = values[np.isfinite(values)]
    return results.of_resplits(finite, about.test, about.train) if len(finite) > 1 else 0.0
