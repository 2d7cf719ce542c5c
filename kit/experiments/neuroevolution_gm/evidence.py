"""What the claims are judged by: the measures of all runs, with the test images drawn anew."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kit import runtime
from kit.experiments.neuroevolution_gm import measures, tables
from kit.harness import results

if TYPE_CHECKING:
    from kit.experiments.neuroevolution_gm.measures import Draw
    from kit.experiments.neuroevolution_gm.settings import Settings
    from kit.experiments.neuroevolution_gm.tree import Run, Scale
    from kit.harness.steps import Result

DRAWS = 300  # bootstraps of the test images


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What the claims on one data set are judged by, run by run.

    A cell of a table may hold several numbers: that on the test images as they are, and those on
    the images drawn anew, for all runs alike. What these have in common is the luck of the images.

    Attributes
    ----------
    full, reduced
        Accuracy (%) by net and set of images.
    elsewhere
        Other nets' examples, of clean images that two nets both get right.
    fooled, against
        Fooling rates (%) of 4.T5 and 4.T6.
    beside
        As `elsewhere`, for NE+GM beside each defence.
    carried
        Accuracy on the other data sets, by scale.
    maps
        Distances and cosines of 4.F3.
    stronger
        Accuracy on the reference's, white-box and the twin's examples.
    swept
        By variant and λ.
    resolution
        One test image, in %, by scale: the full data have more of them than the reduced.
    comparable
        The scales on which the paper's values are of an experiment of the same size.
    """

    full: pd.DataFrame
    reduced: pd.DataFrame
    elsewhere: pd.DataFrame
    fooled: pd.DataFrame
    against: pd.DataFrame
    beside: pd.DataFrame
    carried: Mapping[str, pd.DataFrame]
    maps: pd.DataFrame
    stronger: pd.DataFrame
    swept: pd.DataFrame
    resolution: Mapping[str, float]
    comparable: Collection[str] = ()


def gathered(
    scales: Mapping[str, Scale[Result]], config: Settings, rates: Callable[..., Mapping]
) -> Evidence:
    """The evidence on one data set.

    Parameters
    ----------
    scales
        The experiments on the full and on the reduced data.
    rates
        As for :func:`measures.fooled`.
    """
    draw, full, reduced = bootstraps(config.seed), scales["full"], scales["reduced"]

    def over_runs(scale: Scale[Result], measure: Callable[..., pd.DataFrame]) -> pd.DataFrame:
        return tables.over_runs(map(measure, scale.runs))

    def accuracies(run: Run[Result]) -> pd.DataFrame:
        return measures.accuracies(run.nets.values(), draw)

    sources = config.at_full().sources
    return Evidence(
        full=over_runs(full, accuracies),
        reduced=over_runs(reduced, accuracies),
        elsewhere=over_runs(full, lambda run: measures.on_other_examples(run, sources, draw)),
        fooled=over_runs(reduced, lambda run: measures.fooled(run, rates, draw)),
        against=over_runs(reduced, lambda run: measures.defended(run, draw)),
        beside=over_runs(reduced, lambda run: measures.beside_defenses(run, draw)),
        carried={
            name: measures.transferred(scales[name], draw)
            for name in tables.scales(config)
            if scales[name].transfer
        },
        maps=measures.map_distances(full.runs, draw),
        stronger=over_runs(full, lambda run: measures.own_and_twin(run, draw)),
        swept=over_runs(reduced, lambda run: measures.sweep(run, draw)),
        resolution={name: 100 / scale.split.about.test for name, scale in scales.items()},
        comparable=tables.comparable(scales),
    )


def bootstraps(seed: int) -> Draw:
    """All of so many images once, then as many at random, `DRAWS` times; shape (1 + DRAWS, N)."""

    @functools.cache
    def draw(count: int) -> np.ndarray:
        rng = np.random.default_rng(runtime.derive_seed(seed, "images drawn anew", count))
        return np.vstack([np.arange(count), rng.integers(count, size=(DRAWS, count))])

    return draw


def on_new_images(values: np.ndarray) -> tuple[np.ndarray, float]:
    """A quantity of each run, and the variance that the runs share by their test images.

    Parameters
    ----------
    values
        Shape (runs, 1 + draws), as `bootstraps` draws; or (runs,), where nothing was drawn anew.

    Examples
    --------
    >>> on_new_images(np.array([[2.0, 1.0, 3.0], [4.0, 3.0, 5.0]]))
    (array([2., 4.]), 2.0)
    """
    if values.ndim == 1:
        return values, 0.0
    return values[:, 0], results.of_shared_images(values[:, 1:])
