"""The claims of the study, judged run by run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from kit.experiments.neuroevolution_gm import roles
from kit.experiments.neuroevolution_gm.roles import label
from kit.experiments.neuroevolution_gm.settings import STUDY
from kit.experiments.neuroevolution_gm.tables import per_run
from kit.harness import results

REF, REF_GM, HE_GM = map(label, (roles.REFERENCE, roles.MISALIGNED, roles.HAND_ENGINEERED))
BEST = label(roles.BEST)
RANDOM = label(roles.RANDOM)
COMPARABLE = 2.0  # points of accuracy: closer ones count as "not below"; our limit


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What the claims on one data set are judged by: tables of the notebook, run by run.

    Attributes
    ----------
    full, reduced
        Accuracy (%) by net and set of images.
    fooled, against
        Fooling rates (%) of 4.T5 and 4.T6.
    carried
        Accuracy on the other data sets, by scale.
    stronger
        Accuracy on the reference's, white-box and the twin's examples.
    swept
        By variant and λ.
    resolution
        One test image, in %, by scale: the full data have more of them than the reduced.
    """

    full: pd.DataFrame
    reduced: pd.DataFrame
    fooled: pd.DataFrame
    against: pd.DataFrame
    carried: Mapping[str, pd.DataFrame]
    stronger: pd.DataFrame
    swept: pd.DataFrame
    resolution: Mapping[str, float]


def verdicts(sources: Sequence[str], e: Evidence) -> Iterator[tuple[str, str, results.Verdict]]:
    """All claims: ID, what of it is meant, verdict and evidence; `sources` are those of 4.T2."""
    clean = _clean_kept(e.full, e.resolution["full"])
    above = _withstands(e.full, "L∞-PGD", e.resolution["full"], _printed("4.T1"))
    yield "4.C1", "", results.all_of([*above, clean])
    for source in sources:
        theirs = _printed("4.T2")
        theirs = theirs[theirs["source"] == source] if source in set(theirs["source"]) else theirs
        above = _withstands(e.full, source, e.resolution["full"], theirs)
        yield "4.C2", source, results.all_of(above)
    yield from _about_other_data(e)
    yield from _about_fooling(e)
    yield "4.C6", "", _earns_its_keep(e)
    yield from _about_reduced(e)
    yield from _about_robustness(e)
    yield "4.X2", "", signed_against_absolute(e.swept, e.resolution["reduced"])


def _on(table: pd.DataFrame, images: str) -> pd.DataFrame:
    return table[table["images"] == images]


def _printed(name: str, **where: str) -> pd.DataFrame:
    """The rows of a printed table that have the given entries."""
    table = STUDY.printed(name)
    assert table is not None
    for column, entry in where.items():
        table = table[table[column] == entry]
    return table


def _gain(
    theirs: pd.DataFrame, better: str, worse: str, column: str = "adversarial"
) -> float | None:
    """The paper's gain; None where it prints none."""
    values = theirs.set_index("net")[column]
    return results.printed_gain(values, better, worse)


def _difference(
    table: pd.DataFrame,
    better: str,
    worse: str,
    resolution: float,
    allowed: float = 0.0,
    printed: float | None = None,
) -> results.Verdict:
    """Is a net better than another, or at most `allowed` points worse?"""
    gain = per_run(table, better) - per_run(table, worse)
    if allowed:
        found = results.above(gain, -allowed, "points", resolution)
    else:
        found = results.positive(gain, "points", resolution, printed)
    return results.all_of({f"{better} − {worse}": found})


def _withstands(
    table: pd.DataFrame, images: str, resolution: float, theirs: pd.DataFrame
) -> list[results.Verdict]:
    """NE+GM above Ref and Ref+GM on adversarial images."""
    return [
        _difference(_on(table, images), BEST, other, resolution, printed=_gain(theirs, BEST, other))
        for other in (REF, REF_GM)
    ]


def _clean_kept(table: pd.DataFrame, resolution: float) -> results.Verdict:
    """NE+GM not below Ref on clean images."""
    kept = _difference(_on(table, "clean"), BEST, REF, resolution, COMPARABLE)
    return results.all_of({"clean": kept})


def _about_other_data(e: Evidence) -> Iterator[tuple[str, str, results.Verdict]]:
    tables = dict(e.carried)
    # Where the full data were not run, both are the same experiment.
    if len(tables) == 2 and tables["full"].equals(tables["reduced"]):
        del tables["full"]
    for scale, table in tables.items():
        name = "4.T3" if scale == "full" else "4.T7"
        for dataset, rows in table.groupby("dataset", sort=False):
            theirs = _printed(name, dataset=str(dataset))
            parts = _withstands(rows, "L∞-PGD", e.resolution[scale], theirs)
            judged = results.all_of([*parts, _clean_kept(rows, e.resolution[scale])])
            yield "4.C3", f"trained anew on {dataset}{', full' if scale == 'full' else ''}", judged


def _about_fooling(e: Evidence) -> Iterator[tuple[str, str, results.Verdict]]:
    one_image = e.resolution["reduced"]
    for attack in ("L∞-PGD", "L2-PGD"):
        rows, theirs = e.fooled[e.fooled["attack"] == attack], _printed("4.T5", attack=attack)
        judged = _fooled_less(rows, [REF_GM, HE_GM], "both right", one_image, theirs)
        yield "4.C4", attack, judged
    theirs = _printed("4.T6")
    for role in roles.DEFENDED:
        less = _fooled_less(e.against, [label(role)], "fooled", one_image, theirs)
        yield "4.C5", roles.LABELS[role.part], less


def _fooled_less(
    table: pd.DataFrame,
    others: list[str],
    column: str,
    resolution: float,
    theirs: pd.DataFrame,
) -> results.Verdict:
    parts = {}
    for other in others:
        less = per_run(table, other, column) - per_run(table, BEST, column)
        printed = _gain(theirs, other, BEST, column)
        name = f"fooled {other} − {BEST}"
        parts[name] = results.positive(less, "points", resolution, printed)
    return results.all_of(parts)


def _earns_its_keep(e: Evidence) -> results.Verdict:
    """Fitness of the final nets, which no selection has seen: evolved against random."""

    def fitness(net: str) -> np.ndarray:
        both = [per_run(_on(e.reduced, images), net) for images in ("clean", "L∞-PGD")]
        return np.minimum(*both)

    gain = fitness(BEST) - fitness(RANDOM)
    found = results.positive(gain, "points of fitness", e.resolution["reduced"])
    return results.all_of({f"{BEST} − {RANDOM}": found})


def _about_reduced(e: Evidence) -> Iterator[tuple[str, str, results.Verdict]]:
    clean, against = _on(e.reduced, "clean"), _on(e.reduced, "L∞-PGD")
    one_image = e.resolution["reduced"]
    above = [_difference(clean, net, REF, one_image) for net in (REF_GM, HE_GM, BEST)]
    yield "4.C7", "GM nets above Ref on clean images", results.all_of(above)
    theirs = _printed("4.T4")
    best = [
        _difference(clean, BEST, other, one_image, printed=_gain(theirs, BEST, other, "clean"))
        for other in (REF_GM, HE_GM)
    ]
    yield "4.C7", "NE+GM best on clean images", results.all_of(best)
    yield "4.C7", "on adversarial images", results.all_of([
        _difference(against, BEST, REF_GM, one_image, COMPARABLE),
        _difference(against, BEST, HE_GM, one_image),
    ])  # fmt: skip


def _about_robustness(e: Evidence) -> Iterator[tuple[str, str, results.Verdict]]:
    """Where the examples are made on NE+GM, or on its twin, does it keep half of its accuracy?

    And more than Ref, trained without GM, keeps then?
    """
    half = per_run(e.stronger, BEST, "reference's") / 2
    for examples in ("white-box", "twin's"):
        kept = per_run(e.stronger, BEST, examples)
        parts = {}
        for least, name in ((half, "half"), (per_run(e.stronger, REF, examples), REF)):
            numbers = [results.shown_number(float(np.mean(values))) for values in (kept, least)]
            found = results.positive(kept - least, "points", e.resolution["full"])
            parts[f"{numbers[0]} % − {name} ({numbers[1]} %)"] = found
        yield "4.X1", examples, results.all_of(parts)


def signed_against_absolute(table: pd.DataFrame, resolution: float) -> results.Verdict:
    """Adversarial accuracy with the signed cosine, less that with |cos| at equal clean accuracy.

    Of each run: the curve of |cos| over λ is interpolated at the clean accuracies that the signed
    cosine reaches, where it covers them, and the differences are averaged.
    """
    gain = [_at_equal_clean(rows) for _, rows in table.groupby("run")]
    return results.all_of({"signed − absolute": results.positive(gain, "points", resolution)})


def _at_equal_clean(rows: pd.DataFrame) -> float:
    signed = rows[(rows["variant"] == "cosine") & (rows["strength"] > 0)]
    absolute = rows[rows["variant"] == "absolute"].sort_values("clean")
    covered = signed[signed["clean"].between(absolute["clean"].min(), absolute["clean"].max())]
    equal = np.interp(covered["clean"], absolute["clean"], absolute["adversarial"])
    return float((covered["adversarial"] - equal).mean()) if len(covered) else np.nan
