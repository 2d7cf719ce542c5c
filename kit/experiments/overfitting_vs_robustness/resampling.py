"""The luck of the test images: the curves over the epochs again, on images drawn anew.

All folds are attacked and measured on the same test images, so that what lies between the folds
does not tell how much other images would change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from kit import runtime
from kit.experiments.overfitting_vs_robustness.steps import ATTACKS, NEAREST, OUTPUTS
from kit.experiments.overfitting_vs_robustness.tables import NORMS

if TYPE_CHECKING:
    from kit.experiments.overfitting_vs_robustness.plan import Regime
    from kit.harness.steps import Result

DRAWS = 2000  # the variance of so many is known to 3 %; verdicts near a border turn on it
Curves = dict[str, np.ndarray]  # by name


def drawn(
    regimes: Mapping[str, Regime[Result]], seed: int, draws: int = DRAWS
) -> dict[str, Curves]:
    """The curves of all regimes on bootstraps of the test images, the same ones for all folds.

    Returns
    -------
    dict
        The curves of each regime, as of :func:`reweighted`.
    """
    count = len(next(iter(regimes.values())).best[0]["labels"])
    random = np.random.default_rng(runtime.derive_seed(seed, "test images"))
    bootstraps = (random.integers(0, count, count) for _ in range(draws))
    times = np.array([np.bincount(images, minlength=count) for images in bootstraps], float)
    return {label: reweighted(regime, times) for label, regime in regimes.items()}


def reweighted(regime: Regime[Result], times: np.ndarray) -> Curves:
    """Curves on the test images, each of which counts so many times.

    Parameters
    ----------
    times
        Shape (draws, test images).

    Returns
    -------
    dict
        Whatever of a regime's curves is kept image by image, shape (draws, folds, …). Not so are
        loss sensitivity and, on the fine grid, empirical robustness.
    """

    def over(
        folds: Sequence[Mapping], values: Callable[[Mapping], np.ndarray], images: str = "image"
    ) -> np.ndarray:
        counted = (times[:, fold[images]] if images else times for fold in folds)
        return np.stack([_means(values(f), t) for f, t in zip(folds, counted, strict=True)], 1)

    crafted = regime.crafted
    curves = {
        "test accuracy": over(crafted, lambda f: 100 * (f["test_predictions"] == f["labels"]), ""),
        "accuracy before attack": over(
            crafted, lambda f: 100 * (f["test_predictions"][:, f["image"]] == _truth(f))
        ),
    }
    made: dict[str, tuple[Sequence[Mapping], str]] = {
        name: (crafted, key) for name, key in ATTACKS.items()
    }
    made[f"{NEAREST}, last"] = regime.last, ATTACKS[NEAREST]
    for name, (folds, key) in made.items():
        curves[f"ASR {name}"] = over(folds, _success(key))
        norms = over(folds, _norms(key))
        curves |= {f"{name}: {norm}": norms[:, :, k] for k, norm in enumerate(NORMS)}
    for output in OUTPUTS:
        scores = np.array([[r[f"{output}_scores"] for r in fold] for fold in regime.clever], float)
        means, squares = (_means(x, times[:, : scores.shape[-1]]) for x in (scores, scores**2))
        curves[f"{output} mean"] = means
        curves[f"{output} spread"] = np.sqrt(np.maximum(squares - means**2, 0))
    steps = np.array([fold["relative"] for fold in regime.coarse], float)
    curves["coarse empirical robustness"] = _means(steps, times[:, : steps.shape[-1]])
    return curves


def _truth(fold: Mapping) -> np.ndarray:
    return fold["labels"][fold["image"]]


def _success(key: str) -> Callable[[Mapping], np.ndarray]:
    return lambda fold: 100 * (fold[f"{key}_predictions"] != _truth(fold))


def _norms(key: str) -> Callable[[Mapping], np.ndarray]:
    """Norms over all channels, NaN of the images that an attack left as they are."""
    return lambda fold: np.where(fold[f"{key}_norms"][0][1] > 0, fold[f"{key}_norms"][0], np.nan)


def _means(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Weighted means of what is finite, (draws, …), of values (…, images); NaN of nothing."""
    known = np.isfinite(values)
    total = np.tensordot(times, np.where(known, values, 0.0), (1, -1))
    weight = np.tensordot(times, known.astype(float), (1, -1))
    return np.divide(total, weight, out=np.full(total.shape, np.nan), where=weight > 0)
