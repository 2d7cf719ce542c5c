"""What is read off searches, Grad-CAMs and the lines between two minima."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kit.experiments.evolved_perturbations import tables
from kit.experiments.evolved_perturbations.settings import OURS, PLAIN, RANDOM, Settings
from kit.experiments.evolved_perturbations.steps import RADII
from kit.harness import results

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from kit.data.splits import Split
    from kit.experiments.evolved_perturbations.settings import Aim
    from kit.experiments.evolved_perturbations.tree import Search, Searched
    from kit.harness.steps import Result

PARTS = {"F": "fitness", "F_m": "mismatch", "F_d": "divergence"}  # of the score
# Both ends' in balls of one radius: that of one with larger weights.
OF_LARGER = f"sharpness at {1000 * RADII[0]:g} ‰ of the larger ‖w‖"
EDGE = 0.1  # how wide the edge is, of an image's side


# --- searches ----------------------------------------------------------------------------------


def remarks(title: str, generations: Sequence[Mapping]) -> Iterator[str]:
    """What a reader of a search should know: saturation, failed candidates, an early end."""
    apart = np.concatenate([g["divergence"] for g in generations])
    if full := int((apart >= 0.999).sum()):
        yield f"{title}: F_d is 1 for {full} of {len(apart)} candidates: F_m alone ranks these"
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
    """F, its parts and clean-test error (%) of the candidates of first and last generations.

    Those that failed are left out.
    """
    parts = []
    for number, s in enumerate(searches, 1):
        ends = {"first": (s.generations[0], s.first), "last": (s.generations[-1], s.last)}
        for generation, (scored, trained) in ends.items():
            scores = {name: scored[part] for name, part in PARTS.items()}
            about = {"search": number, "generation": generation}
            parts.append(pd.DataFrame({**about, **scores, "error": 100 * trained["error"]}))
    return pd.concat(parts).dropna().reset_index(drop=True)


def signals(searches: Iterable[Search[Result]]) -> pd.DataFrame:
    """How closely F and its parts go with harm, a row for each search (1.C10).

    CMA-ES ranks the candidates of one generation, so each generation's means are taken off first.
    ``F_d beside F_m`` is the partial correlation of F_d with harm: of what F_m leaves open of both.
    """
    table = candidates_harm(searches)
    names = [*PARTS, "error"]
    within = table[names] - table.groupby(["search", "generation"])[names].transform("mean")
    rows = []
    for _, candidates in within.groupby(table["search"]):
        r = candidates.corr()
        harm, shared = r["error"], r.loc["F_m", "F_d"]
        left_open = np.sqrt((1 - harm["F_m"] ** 2) * (1 - shared**2))
        beside = (harm["F_d"] - harm["F_m"] * shared) / left_open
        rows.append({**harm[list(PARTS)], "F_d beside F_m": beside})
    return pd.DataFrame(rows)


def signals_table(by_pixels: Mapping[int, pd.DataFrame]) -> pd.DataFrame:
    """:func:`signals` by the number of pixels: means over the searches."""
    rows = [
        {"pixels": pixels, **table.mean(), "searches": len(table)}
        for pixels, table in by_pixels.items()
    ]
    return pd.DataFrame(rows)


# --- places ------------------------------------------------------------------------------------


def near_edge(genomes: ArrayLike, pixels: int, split: Split) -> np.ndarray:
    """Share (%) of each genome's pixels that lie within a tenth of the side from the edge."""
    from kit import perturbations

    classes, shape = len(split.about.classes), split.about.shape
    noise = perturbations.decode(np.asarray(genomes), classes, pixels, shape)
    perturbed = (noise != 0).any(2).numpy()  # of any channel
    inner = perturbed[..., *inside(*shape[1:])]
    return 100 * (1 - inner.sum((1, 2, 3)) / perturbed.sum((1, 2, 3)))


def inside(height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns that are not near the edge."""
    frame = max(1, round(EDGE * min(height, width)))
    return slice(frame, height - frame), slice(frame, width - frame)


def edges(config: Settings, study: Searched[Result]) -> dict[str, np.ndarray]:
    """:func:`near_edge` of what the searches choose, and of what those on pure noise choose."""
    least = config.pixels[0]
    chosen = {
        "evolved": [
            search.chosen["genome"]
            for aim, search in study.searches.items()
            if (aim.pixels, aim.optimizer, aim.method) == (least, config.search_optimizer, OURS)
        ],
        "blind": study.blind["genomes"],
    }
    return {kind: near_edge(genomes, least, study.split) for kind, genomes in chosen.items()}


def edges_table(shares: Mapping[str, np.ndarray], split: Split) -> pd.DataFrame:
    """:func:`edges`: mean and spread over searches, and what uniform draws have on average."""
    names = {"evolved": "evolved", "blind": "search on a score of pure noise"}
    rows = [(names[kind], v.mean(), v.std(ddof=1), len(v)) for kind, v in shares.items()]
    table = pd.DataFrame(rows, columns=["noise", "near the edge (%)", "std", "searches"])
    height, width = split.about.shape[1:]
    inner = np.zeros((height, width))[inside(height, width)].size
    return table.assign(**{"uniform draws (%)": 100 * (1 - inner / (height * width))})


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
            row |= sharp | {OF_LARGER: _sharpness(line, end, RADII[0] * max(line["norm"]))}
            row |= {part: 100 * at[f"{part}_accuracy"] for part in ("test", "train")}
            row |= {f"{part} loss": at[f"{part}_loss"] for part in ("test", "train")}
            rows.append(row | {"‖w‖": line["norm"][end]})
    return pd.DataFrame(rows)


def _sharpness(line: Mapping, end: int, radius: float) -> float:
    """Of an end in a ball of any radius: on straight lines between logarithms."""
    measured = np.log(np.maximum(line["sharpness"][end], 1e-12))
    radii = np.log(np.multiply(RADII, line["norm"][end]))
    return float(np.exp(np.interp(np.log(radius), radii, measured)))


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
