"""The study's numbers over the folds: curves over the epochs, norms of changes, and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kit.experiments.overfitting_vs_robustness import claims
from kit.experiments.overfitting_vs_robustness.settings import every
from kit.experiments.overfitting_vs_robustness.steps import ATTACKS, NEAREST, OUTPUTS
from kit.harness import results

if TYPE_CHECKING:
    from kit.experiments.overfitting_vs_robustness.plan import Regime
    from kit.harness.steps import Result

Curves = dict[str, np.ndarray]  # by name, shape (folds, epochs)
NORMS = ("L0", "L2", "Linf")


def over_epochs(epochs: Sequence[int], curves: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """A table of the curves' means and standard deviations over the folds; long ones thinned."""
    columns = {"epoch": np.asarray(epochs)}
    for name, values in curves.items():
        columns |= {name: values.mean(0), f"{name} std": values.std(0, ddof=1)}
    table = pd.DataFrame(columns)
    shown = every(max(epochs), 5 if len(epochs) > 12 else 1)
    return table[table["epoch"].isin(shown)].reset_index(drop=True)


def distances(folds: Sequence[Mapping]) -> pd.DataFrame:
    """Mean and std over the images of all folds of the norms of each attack's changes."""
    rows = []
    for attack, key in ATTACKS.items():
        norms = np.concatenate([fold[f"{key}_norms"] for fold in folds], axis=2)
        grey = folds[0]["originals"].shape[1] == 1  # both conventions are one
        for convention, values in zip(
            ("all channels", "one channel")[: 2 - grey], norms, strict=False
        ):
            moved = values[:, values[1] > 0].astype(float)
            row: dict[str, Any] = {"attack": attack, "values": convention}
            for norm, numbers in zip(NORMS, moved, strict=True):
                mean = numbers.mean() if len(numbers) else np.nan
                std = numbers.std(ddof=1) if len(numbers) > 1 else np.nan
                # Rounded, or rounding errors would pass for a spread of L∞.
                row |= {norm: round(float(mean), 6), f"{norm} std": round(float(std), 6)}
            unchanged = values.shape[1] - moved.shape[1]
            stuck = sum(fold["no_gradient"].get(key, 0) for fold in folds)
            row |= {"images": moved.shape[1], "unchanged": unchanged, "no gradient": stuck}
            if all("passes" in fold for fold in folds):  # older results did not count them
                taken = sum(fold["passes"][key]["backward"] for fold in folds)
                row["gradient passes"] = taken / max(values.shape[1], 1)  # per image
            rows.append(row)
    return pd.DataFrame(rows)


def mean_norms(folds: Sequence[Mapping], key: str) -> dict[str, np.ndarray]:
    """Mean norm over the changed images of each fold, all channels, by norm."""
    values = [fold[f"{key}_norms"][0] for fold in folds]
    moved = [v[:, v[1] > 0] for v in values]
    means = np.array([v.mean(1) if v.shape[1] else [np.nan] * 3 for v in moved], dtype=float)
    return dict(zip(NORMS, means.T, strict=True))


def norms(regime: Regime[Result]) -> Curves:
    """:func:`mean_norms` of each attack, and of the nearest images on the last snapshots."""
    made: dict[str, tuple[Sequence[Mapping], str]] = {
        attack: (regime.crafted, key) for attack, key in ATTACKS.items()
    }
    made[f"{NEAREST}, last"] = regime.last, ATTACKS[NEAREST]
    return {
        f"{attack}: {norm}": values
        for attack, (folds, key) in made.items()
        for norm, values in mean_norms(folds, key).items()
    }


def clever_curves(regime: Regime[Result]) -> Curves:
    """Statistics over the images of CLEVER on both outputs, (folds, measured epochs) each."""

    def over(field, statistic):
        return np.array([[statistic(r[field]) for r in fold] for fold in regime.clever])

    curves = {}
    for output in OUTPUTS:
        curves[f"{output} mean"] = over(f"{output}_scores", np.mean)
        curves[f"{output} spread"] = over(f"{output}_scores", np.std)
        curves[f"{output} at cap (%)"] = 100 * over(f"{output}_at_cap", np.mean)
        curves[f"{output} fell back (%)"] = 100 * over(f"{output}_fell_back", np.mean)
    return curves


def gradient_curves(regime: Regime[Result]) -> Curves:
    """Loss sensitivity and empirical robustness, and of how many images, (folds, epochs) each.

    The last two are those on the coarse grid.
    """
    names = ("loss sensitivity", "no gradient", "empirical robustness", "successes")
    curves = {
        name: np.array([fold[name.replace(" ", "_")] for fold in regime.gradients])
        for name in names
    }
    relative = np.array([fold["relative"] for fold in regime.coarse], float)
    fooled = np.isfinite(relative)
    total, count = np.where(fooled, relative, 0).sum(-1), fooled.sum(-1)
    coarse = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return curves | {"coarse empirical robustness": coarse, "coarse successes": count}


def first_attacked(folds: Sequence[Mapping]) -> int | None:
    """The first fold of which images were attacked; None if no net gets any image right."""
    return next((n for n, fold in enumerate(folds) if len(fold["image"])), None)


def otherwise(normal: Curves, overfitting: Curves) -> Curves:
    """What claims rest on, measured otherwise; a value for each fold."""
    half, robust = normal["ASR CW"].shape[1] // 2, "empirical robustness"

    def second_half(rates: np.ndarray, last: int = -1) -> np.ndarray:
        return rates[:, last] - rates[:, half]

    numbers = {
        "2.C2, CW's climb over the second half only": second_half(claims.success(overfitting)),
        "2.C2, nearest L2's climb over the second half only": second_half(
            claims.success(overfitting, NEAREST)
        ),
        "2.C7, normal, change over the second half": second_half(normal[robust]),
        "2.C7, overfitting, change over the second half": second_half(overfitting[robust]),
        "2.C7, overfitting − normal, last epoch": overfitting[robust][:, -1]
        - normal[robust][:, -1],
        "2.X3, climb over the second half only": second_half(
            overfitting[f"ASR {NEAREST}, last"], -2
        ),
    }
    for output in OUTPUTS:
        last = {r: c[f"{output} mean"][:, -1] for r, c in (("o", overfitting), ("n", normal))}
        numbers[f"2.C3, {output}, difference of the means"] = last["o"] - last["n"]
    return numbers


def with_intervals(numbers: Curves) -> pd.DataFrame:
    """Mean and 95 % interval over the folds that have a number."""
    rows = [
        (what, *results.mean_interval(n[np.isfinite(n)]), np.isfinite(n).sum())
        for what, n in numbers.items()
    ]
    return pd.DataFrame(rows, columns=["quantity", "mean", "low", "high", "folds used"])
