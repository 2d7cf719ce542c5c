"""How time and memory grow: one generation of MDD-ES by population, pixels, and size of the data.

    python -m benchmarks.growth

Every point is computed in a fresh process, so that its memory is its own. It writes
benchmarks/results/growth-PROCESSOR.csv and .png.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import torch

import kit
from benchmarks.rows import machine_name

BASE = {
    "population λ": 4,
    "pixels Np": 5,
    "side of an image": 28,
    "training images": 1000,
    "nets": 4,
}
VALUES = {
    "population λ": (2, 4, 8, 16),
    "pixels Np": (1, 5, 20, 80),
    "side of an image": (14, 28, 56),
    "training images": (500, 1000, 2000, 4000),
    "nets": (2, 4, 8, 16),  # in fit_many
}
REPEATS = 3


def measure(quantity: str, value: int) -> dict[str, float]:
    """Seconds (the least of three) and peak memory (MB) of the work at one point."""
    at = BASE | {quantity: value}
    shape = (1, at["side of an image"], at["side of an image"])
    count = at["training images"]
    x = torch.rand(count, *shape, generator=torch.Generator().manual_seed(0))
    y = torch.arange(count) % 10
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        if quantity == "nets":
            nets = [kit.nets.build("graynet", shape, seed=k) for k in range(at["nets"])]
            kit.training.fit_many(nets, x, y, epochs=1)
        else:
            noise = [
                kit.perturbations.uniform(10, at["pixels Np"], shape, seed=k)
                for k in range(at["population λ"])
            ]
            kit.evolution.fitness(torch.stack(noise), x, y, epochs=1, discriminator_epochs=2)
        seconds.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": min(seconds), "memory (MB)": (peak - idle) / 1024}


def main() -> None:
    """Measure all points, write the table and the picture."""
    rows = []
    for quantity, values in VALUES.items():
        for value in values:
            command = [sys.executable, "-m", "benchmarks.growth", quantity, str(value)]
            point = json.loads(subprocess.check_output(command, cwd=kit.runtime.root()))
            rows.append({"quantity": quantity, "value": value, **point})
            print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    place = folder / f"growth-{machine_name()}"
    table.to_csv(place.with_suffix(".csv"), index=False, float_format="%.4g")
    draw(table).savefig(place.with_suffix(".png"), dpi=110)


def work(quantity: str, x):
    """How much more there is to do than at the first value."""
    # An image has its side's square of pixels, all of which the net sees; noise touches a few.
    return (x / x[0]) ** {"side of an image": 2, "pixels Np": 0}.get(quantity, 1)


def draw(table: pd.DataFrame):
    """Time and memory over each quantity, on logarithmic axes, beside proportional growth."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 5), layout="constrained")
    axes = figure.subplots(2, len(VALUES), sharey="row")
    for column, (quantity, rows) in enumerate(table.groupby("quantity", sort=False)):
        for row, key in enumerate(("seconds", "memory (MB)")):
            ax = axes[row, column]
            x, y = rows["value"].to_numpy(), rows[key].to_numpy()
            ax.plot(x, y, "o-", color="#0072B2", label="measured")
            ax.plot(x, y[0] * work(quantity, x), ":", color="#555555", label="as the work")
            ax.set(xscale="log", yscale="log", xlabel=quantity, ylabel=key if not column else "")
            ax.set_xticks(x, [str(v) for v in x], minor=False)
            ax.minorticks_off()
    axes[0, 0].legend()
    figure.suptitle("One generation of MDD-ES (GrayNet, one epoch; nets: fit_many alone)")
    return figure


if __name__ == "__main__":
    if len(sys.argv) == 3:
        with kit.runtime.threads(1):
            print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
    else:
        main()
