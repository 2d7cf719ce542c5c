"""The claims of the study, judged run by run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kit.experiments.neuroevolution_gm import roles
from kit.experiments.neuroevolution_gm.evidence import on_new_images
from kit.experiments.neuroevolution_gm.measures import ANOTHER
from kit.experiments.neuroevolution_gm.roles import label
from kit.experiments.neuroevolution_gm.settings import SKIPPING, STUDY
from kit.experiments.neuroevolution_gm.steps import FGSM, L2, LINF
from kit.experiments.neuroevolution_gm.tables import per_run
from kit.harness import results

if TYPE_CHECKING:
    from kit.experiments.neuroevolution_gm.evidence import Evidence

    Judged = Iterator[tuple[str, str, results.Verdict]]  # claim, what of it is meant, verdict

REF, RETRAINED = map(label, roles.PLAIN)
REF_GM, HE_GM = map(label, (roles.MISALIGNED, roles.HAND_ENGINEERED))
BEST, SECOND = label(roles.BEST), label(roles.SECOND)
RANDOM = label(roles.RANDOM)
COMPARABLE = 2.0  # points of accuracy: closer ones count as "not below"; our limit
ALL, BOTH = "clean errors counted", "both right"  # two ways of counting the fooled
NOTHING = pd.Series(dtype=float)  # where the paper prints nothing


def verdicts(sources: Sequence[str], e: Evidence) -> Judged:
    """All claims; `sources` are those of 4.T2."""
    clean = _clean_kept(e.full, e.resolution["full"])
    above = _withstands(e.full, LINF, e.resolution["full"], _by_net(_printed(e, "full", "4.T1")))
    yield "4.C1", "", results.all_of([*above, clean])
    yield from _about_other_examples(sources, e)
    yield from _about_other_data(e)
    yield from _about_fooling(e)
    yield "4.C6", "", _earns_its_keep(e)
    yield from _about_reduced(e)
    yield from _about_misalignment(e)
    yield from _about_attacks(e)
    yield "4.C11", "", _skips_transfer(sources, e)
    yield from _about_robustness(e)
    yield "4.X2", "", signed_against_absolute(e.swept, e.resolution["reduced"])


# --- what the paper prints ---------------------------------------------------------------------


def _printed(e: Evidence, scale: str, name: str, **where: str) -> pd.DataFrame:
    """The printed rows with the given entries; none where ours are of another size."""
    table = STUDY.printed(name)
    assert table is not None
    table = table if scale in e.comparable else table.iloc[:0]
    for key, entry in where.items():
        table = table[table[key] == entry]
    return table


def _by_net(printed: pd.DataFrame, column: str = "adversarial") -> pd.Series:
    return printed.set_index("net")[column]


def printed_effect(
    printed: pd.Series, better: str, worse: str, ours: np.ndarray | float
) -> float | None:
    """The effect that the paper's would be on our scale: it spares a share of what goes wrong.

    A gain from 80 to 90 % spares half of the errors. Of errors of 60 % that is 30 points.

    Parameters
    ----------
    printed
        How much goes wrong (errors or fooled images, in %) by what it is of; of several values for
        one thing those in equal places belong together.
    better, worse
        Two of these things.
    ours
        How much goes wrong with the worse one in our runs.

    Returns
    -------
    float or None
        By the smallest of several shares; None where none is printed, or a loss.

    Examples
    --------
    >>> printed_effect(pd.Series({"Ref": 20.0, "NE+GM 1": 10.0}), "NE+GM 1", "Ref", 60.0)
    30.0
    """
    a, b = (printed[printed.index == name].to_numpy() for name in (better, worse))
    if not (len(a) and len(b)):
        return None
    smallest = float((1 - a / b).min() * np.mean(ours))
    return smallest if smallest > 0 else None  # NaN is a damaged cell


# --- the judgement of a difference -------------------------------------------------------------


def _positive(
    values: np.ndarray, unit: str, resolution: float = 0.0, printed: float | None = None
) -> results.Verdict:
    """Is a quantity positive, on new images of this kind?"""
    of_runs, shared = on_new_images(values)
    return results.positive(of_runs, unit, resolution, printed, shared)


def _less_wrong(
    better: tuple[str, np.ndarray],
    worse: tuple[str, np.ndarray],
    resolution: float,
    printed: pd.Series = NOTHING,
) -> results.Verdict:
    """Does less go wrong with one thing than with another? (Errors or fooled images, in %.)

    Parameters
    ----------
    better, worse
        The name of each, and how much goes wrong with it, run by run.
    printed
        How much goes wrong in the paper, by these names.
    """
    effect = printed_effect(printed, better[0], worse[0], on_new_images(worse[1])[0])
    return _positive(worse[1] - better[1], "points", resolution, effect)


def _above(
    table: pd.DataFrame,
    better: str,
    worse: str,
    resolution: float,
    printed: pd.Series = NOTHING,
) -> results.Verdict:
    """Is a net's accuracy above another's?"""
    ours, theirs = ((net, 100 - per_run(table, net)) for net in (better, worse))
    found = _less_wrong(ours, theirs, resolution, 100 - printed)
    return results.all_of({f"{better} − {worse}": found})


def _not_below(table: pd.DataFrame, better: str, worse: str, resolution: float) -> results.Verdict:
    """Is a net's accuracy at most `COMPARABLE` points below another's?"""
    gain, shared = on_new_images(per_run(table, better) - per_run(table, worse))
    found = results.above(gain, -COMPARABLE, "points", resolution, shared)
    return results.all_of({f"{better} − {worse}": found})


def _on(table: pd.DataFrame, images: str) -> pd.DataFrame:
    return table[table["images"] == images]


# --- the claims --------------------------------------------------------------------------------


def _withstands(
    table: pd.DataFrame, images: str, resolution: float, printed: pd.Series
) -> list[results.Verdict]:
    """NE+GM above Ref and Ref+GM on adversarial images."""
    rows = _on(table, images)
    return [_above(rows, BEST, other, resolution, printed) for other in (REF, REF_GM)]


def _clean_kept(table: pd.DataFrame, resolution: float) -> results.Verdict:
    """NE+GM not below Ref on clean images."""
    return results.all_of({"clean": _not_below(_on(table, "clean"), BEST, REF, resolution)})


def _about_other_examples(sources: Sequence[str], e: Evidence) -> Judged:
    """In the paper's way, and without the clean errors, of which nets with GM make more."""
    one_image, grid = e.resolution["full"], _printed(e, "full", "4.T2")
    for source in sources:
        # Of a source that the paper has not tried, its smallest effect counts.
        printed = grid[grid["source"] == source] if source in set(grid["source"]) else grid
        accuracies = printed.melt("source", var_name="net", value_name="adversarial")
        above = _withstands(e.full, source, one_image, _by_net(accuracies))
        yield "4.C2", f"{source}, {ALL}", results.all_of(above)
        rows = _on(e.elsewhere, source)
        yield "4.C2", f"{source}, {BOTH}", results.all_of([
            _of_what_both_get_right(rows[rows["other net"] == other], other, one_image)
            for other in (REF, REF_GM)
        ])  # fmt: skip


def _of_what_both_get_right(rows: pd.DataFrame, other: str, resolution: float) -> results.Verdict:
    """NE+GM fooled less than the other net, of images that both get right."""
    found = _positive(per_run(rows, BEST, "difference"), "points", resolution)
    return results.all_of({f"fooled {other} − {BEST}": found})


def _about_other_data(e: Evidence) -> Judged:
    for scale, table in e.carried.items():
        name, one_image = ("4.T3" if scale == "full" else "4.T7"), e.resolution[scale]
        for dataset, rows in table.groupby("dataset", sort=False):
            printed = _by_net(_printed(e, scale, name, dataset=str(dataset)))
            parts = _withstands(rows, LINF, one_image, printed)
            judged = results.all_of([*parts, _clean_kept(rows, one_image)])
            yield "4.C3", f"trained anew on {dataset}{', full' if scale == 'full' else ''}", judged


def _about_fooling(e: Evidence) -> Judged:
    for attack in (LINF, L2):
        yield "4.C4", attack, _fooled_least(e, BEST, (REF_GM, HE_GM), attack)
    one_image = e.resolution["reduced"]
    printed = _by_net(_printed(e, "reduced", "4.T6"), "fooled")
    for role in roles.DEFENDED:
        other, name = label(role), roles.LABELS[role.part]
        ours, theirs = ((net, per_run(e.against, net, "fooled")) for net in (BEST, other))
        less = _less_wrong(ours, theirs, one_image, printed)
        yield "4.C5", f"{name}, {ALL}", results.all_of({f"fooled {other} − {BEST}": less})
        rows = e.beside[e.beside["other net"] == other]
        yield "4.C5", f"{name}, {BOTH}", _of_what_both_get_right(rows, other, one_image)


def _fooled_least(e: Evidence, net: str, others: Sequence[str], attack: str) -> results.Verdict:
    """Is a net fooled less than others by the reference's examples?"""
    rows, parts = e.fooled[e.fooled["attack"] == attack], {}
    printed = _by_net(_printed(e, "reduced", "4.T5", attack=attack), BOTH)
    for other in others:
        ours, theirs = ((name, per_run(rows, name, BOTH)) for name in (net, other))
        found = _less_wrong(ours, theirs, e.resolution["reduced"], printed)
        parts[f"fooled {other} − {net}"] = found
    return results.all_of(parts)


def _earns_its_keep(e: Evidence) -> results.Verdict:
    """Fitness of the final nets, which no selection has seen: evolved against random."""

    def fitness(net: str) -> np.ndarray:
        both = [per_run(_on(e.reduced, images), net) for images in ("clean", LINF)]
        return np.minimum(*both)

    gain = fitness(BEST) - fitness(RANDOM)
    found = _positive(gain, "points of fitness", e.resolution["reduced"])
    return results.all_of({f"{BEST} − {RANDOM}": found})


def _about_reduced(e: Evidence) -> Judged:
    clean, against = _on(e.reduced, "clean"), _on(e.reduced, LINF)
    one_image = e.resolution["reduced"]
    above = [_above(clean, net, REF, one_image) for net in (REF_GM, HE_GM, BEST)]
    yield "4.C7", "GM nets above Ref on clean images", results.all_of(above)
    printed = _by_net(_printed(e, "reduced", "4.T4"), "clean")
    best = [_above(clean, BEST, other, one_image, printed) for other in (REF_GM, HE_GM)]
    yield "4.C7", "NE+GM best on clean images", results.all_of(best)
    yield "4.C7", "on adversarial images", results.all_of([
        _not_below(against, BEST, REF_GM, one_image), _above(against, BEST, HE_GM, one_image),
    ])  # fmt: skip


def _about_misalignment(e: Evidence) -> Judged:
    """The paper measures maps of attribution; what the GM loss turns away are the gradients."""
    apart, near = (
        {net: per_run(e.maps, net, column) for net in (REF_GM, BEST)}
        for column in ("distance", "cosine")
    )
    further = _positive(apart[BEST] - apart[REF_GM], "of distance")
    control = f"two plain references are {_mean(e.maps, ANOTHER, 'distance')} apart"
    judged = results.all_of({f"{BEST} − {REF_GM}": further})
    yield "4.C8", "attribution distance", judged.noted(control)
    turned = _positive(near[REF_GM] - near[BEST], "of cosine")
    control = f"a plain net's cosine with the reference is {_mean(e.maps, RETRAINED, 'cosine')}"
    judged = results.all_of({f"{REF_GM} − {BEST}": turned})
    yield "4.C8", "gradient cosine", judged.noted(control)


def _mean(table: pd.DataFrame, net: str, column: str) -> str:
    values, _ = on_new_images(per_run(table, net, column))
    return results.shown_number(float(values.mean()) if len(values) else np.nan)


def _about_attacks(e: Evidence) -> Judged:
    yield "4.C9", "", _fooled_least(e, HE_GM, (REF_GM, BEST, SECOND), FGSM)
    parts = {}
    for net in (REF_GM, HE_GM, BEST, SECOND):
        rows = e.fooled[e.fooled["net"] == net]
        of_linf, of_l2 = ((a, per_run(rows[rows["attack"] == a], net, BOTH)) for a in (LINF, L2))
        printed = _printed(e, "reduced", "4.T5", net=net).set_index("attack")[BOTH]
        found = _less_wrong(of_linf, of_l2, e.resolution["reduced"], printed)
        parts[f"{net} fooled, {L2} − {LINF}"] = found
    yield "4.C10", "", results.all_of(parts)


def _skips_transfer(sources: Sequence[str], e: Evidence) -> results.Verdict:
    """Do examples of every net with skip connections fool Ref more than those of every other?"""
    with_skips = [source for source in sources if source.startswith(SKIPPING)]
    without = [source for source in sources if source not in with_skips]
    if not (with_skips and without):
        return results.Verdict(notes=("needs sources with skip connections, and others",))
    errors = {source: 100 - per_run(_on(e.full, source), REF) for source in sources}
    printed = 100 - _printed(e, "full", "4.T2").set_index("source")[REF]
    return results.all_of(
        {
            f"Ref, {plain} − {skipping}": _less_wrong(
                (plain, errors[plain]), (skipping, errors[skipping]), e.resolution["full"], printed
            )
            for plain, skipping in itertools.product(without, with_skips)
        }
    )


def _about_robustness(e: Evidence) -> Judged:
    """Where the examples are made on NE+GM, or on its twin, does it keep half of its accuracy?

    And more than Ref, trained without GM, keeps then?
    """
    half = per_run(e.stronger, BEST, "reference's") / 2
    for examples in ("white-box", "twin's"):
        kept = per_run(e.stronger, BEST, examples)
        parts = {}
        for least, name in ((half, "half"), (per_run(e.stronger, REF, examples), REF)):
            means = [float(on_new_images(values)[0].mean()) for values in (kept, least)]
            ours, theirs = map(results.shown_number, means)
            found = _positive(kept - least, "points", e.resolution["full"])
            parts[f"{ours} % − {name} ({theirs} %)"] = found
        yield "4.X1", examples, results.all_of(parts)


def signed_against_absolute(table: pd.DataFrame, resolution: float) -> results.Verdict:
    """Adversarial accuracy with the signed cosine, less that with |cos| at equal clean accuracy.

    Of each run: the curve of |cos| over λ is interpolated at the clean accuracies that the signed
    cosine reaches, where it covers them, and the differences are averaged.
    """
    gain = np.array([_at_equal_clean(rows) for _, rows in table.groupby("run")])
    return results.all_of({"signed − absolute": _positive(gain, "points", resolution)})


def _at_equal_clean(rows: pd.DataFrame) -> np.ndarray:
    """Of one run; as many numbers as its cells hold."""
    signed = rows[(rows["variant"] == "cosine") & (rows["strength"] > 0)]
    curves = [
        np.array(each[column].to_list())
        for each in (signed, rows[rows["variant"] == "absolute"])
        for column in ("clean", "adversarial")
    ]
    each_draw = np.atleast_2d(*(curve.T for curve in curves))
    return np.squeeze([_mean_gain(*one) for one in zip(*each_draw, strict=True)])


def _mean_gain(
    clean: np.ndarray, adversarial: np.ndarray, over: np.ndarray, absolute: np.ndarray
) -> float:
    """How far points lie above a curve on average, where it covers them; NaN where it covers none.

    Parameters
    ----------
    clean, adversarial
        The points.
    over, absolute
        The curve.
    """
    order = over.argsort()
    covered = (over.min() <= clean) & (clean <= over.max())
    equal = np.interp(clean[covered], over[order], absolute[order])
    return float((adversarial[covered] - equal).mean()) if covered.any() else np.nan
