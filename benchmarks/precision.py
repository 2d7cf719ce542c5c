"""What training in bfloat16 changes: time of a step, accuracies, scores and verdicts of notebook 01.

    KIT_DATA=DATA_FOLDER python -m benchmarks.precision [--jobs N]

The committed results of notebook 01 at ``ci`` sizes are the half that computed in float32. Their
δ* stay; on MNIST and Fashion-MNIST every training that compares noises is done again in bfloat16,
from the same weights on the same batches, and so are the scores of each search's first generation,
whose candidates are the same. This takes over an hour of one core; what is computed is kept in the
step store. It writes benchmarks/results/precision-PROCESSOR.md.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import run_all
from benchmarks.rows import in_turn, machine_name, measured
from kit import data, nets, training
from kit.experiments import evolved_perturbations as study
from kit.experiments.evolved_perturbations import claims, measures, tables
from kit.harness import results, runner, steps

NOTEBOOK, DATASETS = "01_evolved_perturbations", ("mnist", "fashion_mnist")
PRECISE = {"precision": "bfloat16"}
# Claims that are judged by the trainings that are done again, and by nothing else.
JUDGED = ("1.C2", "1.C4", "1.C9", "1.C11", "1.C12", "1.C13", "1.X2", "1.X3", "1.X4")
NETS = (("graynet", 32), ("graynet", 128), ("lenet5", 128), ("resnet8", 32), ("hand_a", 32))


def main() -> None:
    """Compute what is missing, compare, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=0, help="processes side by side")
    jobs = parser.parse_args().jobs
    config = settings()
    plan = study.plan(config).studies
    plain = steps.compute(plan, jobs=jobs)
    found = steps.compute({name: in_bfloat16(one) for name, one in plan.items()}, jobs=jobs)
    accuracies = pd.concat(compared(plain[name], found[name][0]) for name in DATASETS)
    text = [
        "# Training in bfloat16", "",
        f"{measured()}; torch {torch.__version__}. `python -m benchmarks.precision`: notebook 01 at "
        "`ci` sizes; accuracies (%) on clean test images.", "",
        "## A training, seconds with one thread", "", times().to_markdown(index=False), "",
        "## Accuracies", "",
        "Mean and standard deviation over searches, draws or trainings; the difference is of equal "
        "starts, with its 95 % interval.", "", accuracies.to_markdown(index=False), "",
        "## Scores of candidates", "",
        "Correlation of F in both precisions within each search's first generation.", "",
        scores(plain, found).to_markdown(index=False), "",
        "## Verdicts", "", verdicts(config, plain, found).to_markdown(index=False), "",
    ]  # fmt: skip
    out = Path(__file__).parent / "results" / f"precision-{machine_name()}.md"
    out.write_text("\n".join(text), encoding="utf-8")
    print("\n".join(text))


def settings() -> study.Settings:
    """Notebook 01's parameters at ``ci`` sizes."""
    known = runner.notebooks(run_all.NOTEBOOKS, run_all.EXPERIMENTS)
    (notebook,) = (n for n in known if n.name == NOTEBOOK)
    profile = runner.profile("ci", known, run_all.NOTEBOOKS / "profiles")
    return study.Settings.read(notebook.defaults() | profile[NOTEBOOK])


def in_bfloat16(one: study.Searched) -> tuple[list[study.Training], dict[study.Aim, steps.Task]]:
    """The trainings, and the first generation of each of the paper's searches."""
    trainings = [dataclasses.replace(t, result=precisely(t.result)) for t in one.trainings]
    firsts = {
        aim: search.generations[0]
        for aim, search in one.searches.items()
        if search.first is not None and aim.pixels == 1
    }
    return trainings, {
        aim: task.step.task(**task.arguments | {"search": task.arguments["search"] | PRECISE})
        for aim, task in firsts.items()
    }


def precisely(task: steps.Task) -> steps.Task:
    """The same task, whose nets train in bfloat16."""
    return task.step.task(**task.arguments, **PRECISE)


def compared(plain: study.Searched, trainings: Any) -> pd.DataFrame:
    """Accuracies in both precisions, a row for each noise and optimizer."""
    final = [tables.final(tables.curves(of)) for of in (plain.trainings, trainings)]
    both = final[0].assign(a=final[0]["test"], b=final[1]["test"])
    rows = []
    for (optimizer, noise), pair in both.groupby(["optimizer", "noise"], sort=False):
        difference = (pair["b"] - pair["a"]).to_numpy()
        mean, low, high = results.mean_interval(difference, 100 / plain.split.about.test)
        rows.append({
            "data": plain.split.about.title, "noise": noise, "optimizer": optimizer,
            "trainings": len(pair),
            "float32": f"{pair['a'].mean():.1f} ± {pair['a'].std():.1f}",
            "bfloat16": f"{pair['b'].mean():.1f} ± {pair['b'].std():.1f}",
            "difference": f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]",
        })  # fmt: skip
    return pd.DataFrame(rows)


def scores(plain: dict[str, study.Searched], found: Any) -> pd.DataFrame:
    """How alike the candidates of first generations are ranked."""
    rows = []
    for name, (_, firsts) in found.items():
        pairs = [
            (plain[name].searches[aim].generations[0]["fitness"], first["fitness"])
            for aim, first in firsts.items()
        ]
        r = [np.corrcoef(a, b)[0, 1] for a, b in pairs]
        shift = [float(np.mean(b - a)) for a, b in pairs]
        rows.append({
            "data": plain[name].split.about.title, "searches": len(r),
            "correlation, least": round(min(r), 3), "mean": round(float(np.mean(r)), 3),
            "F, mean difference": round(float(np.mean(shift)), 4),
        })  # fmt: skip
    return pd.DataFrame(rows)


def verdicts(config: study.Settings, plain: dict[str, study.Searched], found: Any) -> pd.DataFrame:
    """The claims that these trainings decide, in both precisions."""
    rows = []
    for name in DATASETS:
        judged = [
            dict(judge(config.on(name), plain[name], t))
            for t in (plain[name].trainings, found[name][0])
        ]
        for (claim, label), before in judged[0].items():
            after = judged[1][claim, label]
            rows.append({
                "claim": claim, "data": plain[name].split.about.title, "part": label,
                "float32": f"{before.outcome}: {before.evidence}",
                "bfloat16": f"{after.outcome}: {after.evidence}",
                "same": "yes" if before.outcome == after.outcome else "**no**",
            })  # fmt: skip
    return pd.DataFrame(rows)


def judge(
    config: study.Settings, one: study.Searched, trainings: list[study.Training]
) -> Iterator[tuple[tuple[str, str], results.Verdict]]:
    """The claims of `JUDGED`, by these trainings and by all else as it was committed."""
    tested = measures.by_pixels(one.searches)
    courses = tables.curves(one.courses)
    evidence = claims.Evidence(
        curves=tables.curves(trainings),
        courses=courses,
        matched=tables.matched(tables.evolved(courses, config.search_optimizer), config.rates),
        ends=measures.line_ends(one.lines),
        signals={p: measures.signals(s)["F_d beside F_m"] for p, s in tested.items()},
        edges=measures.edges(config, one),
        gains={p: measures.population_gains(s) for p, s in tested.items()},
        background=measures.background(one.backgrounds),
        resolution=100 / one.split.about.test,
    )
    for claim, label, verdict in claims.verdicts(config, evidence):
        if claim in JUDGED:
            yield (claim, label), verdict


def times() -> pd.DataFrame:
    """Seconds of one epoch on 1,000 images of 28×28 pixels, in turn, with one thread."""
    torch.set_num_threads(1)
    rows = []
    images = data.load("digits", size=28, train=1000)
    for net, batch_size in NETS:

        def fit(precision: str, net=net, batch_size=batch_size) -> None:
            model = nets.build(net, images.shape, images.classes, seed=0)
            training.fit(
                model, images.x_train, images.y_train,
                epochs=1, batch_size=batch_size, precision=precision,
            )  # fmt: skip

        ways = {p: lambda p=p: fit(p) for p in ("float32", "bfloat16")}
        seconds = in_turn(ways, 5)
        ratio = seconds["float32"] / seconds["bfloat16"]
        rows.append({
            "net": net, "batch": batch_size, **{k: round(v, 2) for k, v in seconds.items()},
            "times as fast": round(ratio, 2),
        })  # fmt: skip
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main()
