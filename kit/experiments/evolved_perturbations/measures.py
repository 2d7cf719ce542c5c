"""What is read off searches, Grad-CAMs and the lines between two minima."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kit.experiments.evolved_perturbations import tables
from kit.experiments.evolved_perturbations.settings import PLAIN, RANDOM, Settings
from kit.experiments.evolved_perturbations.steps import RADII
from kit.harness import results

if TYPE_CHECKING:
    from kit.experiments.evolved_perturbations.settings import Aim
    from kit.experiments.evolved_perturbations.tree import Search, Searched
    from kit.harness.steps import Result

PARTS = {"F": "fitness", "F_m": "mismatch", "F_d": "divergence"}  # of the score


# --- searches ----------------------------------------------------------------------------------


def remarks(title: str, generations: Sequence[Mapping]) -> Iterator[str]:
    """What a reader of a search should know: saturation, failed candidates, an early end."""
    top = [np.nanmax(g["divergence"], initial=-np.inf) for g in generations]
    full = [number for number, value in enumerate(top, 1) if value >= 0.999]
    if full:
        yield f"{title}: F_d first reaches 1 in generation {full[0]}; there only F_m steers"
    learnt = min(g["learnt"].mean() for g in generations if len(g["learnt"]))
    if learnt < 0.9:
        yield f"{title}: search nets learn only {learnt:.0%} of their images, so F_m says little"
    failed = sum(int(np.isnan(g["fitness"]).sum()) for g in generations)
    if failed:
        yield f"{title}: {failed} candidates had no finite loss and ranked last"
    stopped = [i for i, g in enumerate(generations, 1) if g["stopped"]]
    if stopped:
        reason = generations[stopped[0] - 1]["stopped"]
        yield f"{title}: pycma stopped in generation {stopped[0]} ({reason})"


def scores_of_baselines(study: Searched[Result]) -> pd.DataFrame:
    """F and its parts of noises that no search made, means over draws."""
    table = pd.DataFrame({name: study.baseline_scores[part] for name, part in PARTS.items()})
    of_noise = pd.Series(study.baselines, name="noise")
    return table.groupby(of_noise, sort=False).mean().reset_index()


def by_pixels(searches: Mapping[Aim, Search[Result]]) -> dict[int, list[Search[Result]]]:
    """The searches whose candidates were tested on clean images, by the number of pixels."""
    tested: dict[int, list[Search[Result]]] = {}
    for aim, search in searches.items():
        if search.best is not None:
            tested.setdefault(aim.pixels, []).append(search)
    return tested


def population_gains(searches: Iterable[Search[Result]]) -> np.ndarray:
    """For each search: mean test error (%) of the last generation minus that of the first."""
    return np.array([100 * (s.last["error"].mean() - s.first["error"].mean()) for s in searches])


def best_so_far(searches: Iterable[Search[Result]]) -> np.ndarray:
    """Test error (%) of the best candidate after each generation, (searches, generations)."""
    return np.stack([100 * s.best["error"] for s in searches])


def candidates_harm(searches: Iterable[Search[Result]]) -> pd.DataFrame:
    """F and clean-test error (%) of every candidate of the first and the last generations."""
    rows = []
    for s in searches:
        ends = {"first": (s.generations[0], s.first), "last": (s.generations[-1], s.last)}
        for generation, (scored, trained) in ends.items():
            pairs = zip(scored["fitness"], 100 * trained["error"], strict=True)
            rows += [(generation, f, error) for f, error in pairs]
    return pd.DataFrame(rows, columns=["generation", "F", "error"])


# --- Grad-CAM ----------------------------------------------------------------------------------


def shares(trainings: Iterable[Mapping]) -> np.ndarray:
    """Mean share (%) of the mass on dark pixels, over images with mass under both nets.

    Of the net trained on clean images, and of that trained on perturbed ones.
    """
    means = []
    for of in trainings:
        both = ~np.isnan(of["clean"]) & ~np.isnan(of["perturbed"])
        means.append([100 * of[kind][both].mean() for kind in ("clean", "perturbed")])
    return np.mean(means, 0)


def background(searches: Sequence[Sequence[Mapping]]) -> dict[str, np.ndarray]:
    """:func:`shares` of each search, by training."""
    clean, perturbed = np.transpose([shares(of_search) for of_search in searches])
    return {"clean": clean, "perturbed": perturbed}


def on_background(searches: Sequence[Sequence[Mapping]]) -> pd.DataFrame:
    """Grad-CAM's mass on dark pixels by training: mean and spread over the searches (1.C8)."""
    table = pd.DataFrame(background(searches)).agg(["mean", "std", "count"]).T.reset_index()
    table.columns = pd.Index(["training", "share", "std", "searches"])
    table["maps without mass (%)"] = [
        100 * np.mean([np.isnan(of[kind]) for search in searches for of in search])
        for kind in table["training"]
    ]
    table["dark pixels (%)"] = 100 * np.mean(searches[0][0]["dark"])
    return table.astype({"searches": int})


# --- lines between two minima ------------------------------------------------------------------


def line_ends(lines: Sequence[Sequence[Mapping]]) -> pd.DataFrame:
    """Both ends of the lines of each search: rise of the loss, sharpness, accuracies (%)."""
    rows = []
    for search, line in ((k, line) for k, of_search in enumerate(lines, 1) for line in of_search):
        for end, (optimizer, beyond) in enumerate((("sgd", -0.25), ("adam", 1.25))):
            at = {k: np.interp(end, line["alpha"], v) for k, v in line.items() if k.startswith("t")}
            sides = np.interp([beyond, 2 * end - beyond], line["alpha"], line["train_loss"])
            rise, inwards = sides - at["train_loss"]
            sharp = {
                f"sharpness at {1000 * radius:g} ‰": value
                for radius, value in zip(RADII, line["sharpness"][end], strict=True)
            }
            row = {"optimizer": optimizer, "search": search, "rise": rise, "rise inwards": inwards}
            row |= sharp | {part: 100 * at[f"{part}_accuracy"] for part in ("test", "train")}
            rows.append(row | {"‖w‖": line["norm"][end]})
    return pd.DataFrame(rows)


def along(lines: Sequence[Sequence[Mapping]], quantity: str) -> np.ndarray:
    """A quantity along the line, the mean over the trainings of each search: (searches, points)."""
    return np.array([np.mean([line[quantity] for line in of_search], 0) for of_search in lines])


def of_ends(ends: pd.DataFrame) -> pd.DataFrame:
    """:func:`line_ends`, the mean of each search's lines, as mean and spread over searches."""
    of_search = ends.groupby(["optimizer", "search"], sort=False).mean()
    both = of_search.groupby("optimizer", sort=False)
    spread = both[["rise", "rise inwards", "test"]].std().add_suffix(" std")
    return both.mean().join(spread).assign(searches=both.size()).reset_index()


def otherwise(config: Settings, final: pd.DataFrame, ends: pd.DataFrame) -> pd.DataFrame:
    """Differences between noises, and between the ends of the line: mean and interval."""
    aimed, least, rows = config.search_optimizer, config.pixels[0], []
    by_aimed = final[final["optimizer"] == aimed]
    draws = by_aimed.loc[by_aimed["kind"] == "uniform", "test"]
    for method, name in ((PLAIN, "the plain reading"), (RANDOM, "random search")):
        found = tables.units(tables.evolved(by_aimed, aimed, least, method))
        interval = results.welch_interval(draws, found)
        difference = draws.mean() - found.mean()
        rows.append((f"1.C2, uniform − {name} (%)", difference, *interval))
    for column in ends.columns[ends.columns.str.startswith(("rise inwards", "sharpness"))]:
        differences = tables.paired(ends, "optimizer", "sgd", "adam", column)
        rows.append((f"1.C7, {column}: SGD − Adam", *results.mean_interval(differences)))
    return pd.DataFrame(rows, columns=["quantity", "mean", "low", "high"])
