"""How near the attacks on L2 come for how many passes and seconds: a curve for each, on each net.

    python -m benchmarks.nearest --data DATA_FOLDER

takes a quarter of an hour with mnist, fashion_mnist and cifar10 in that folder, and writes
benchmarks/results/nearest-PROCESSOR.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

import kit
from benchmarks import models, peers
from benchmarks.attacks import Attack, nearness
from benchmarks.rows import machine_name, measured

BY_STEPS = {
    "nearest L2": (lambda m, x, y, n: kit.attacks.nearest_l2(m, x, y, steps=n), (30, 50, 100, 200, 300, 1000)),
    **peers.BY_STEPS,
}  # fmt: skip


def main() -> None:
    """Measure every curve, write after each net."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", default="data", help="folder with the data sets")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--quick", action="store_true", help="the least steps alone, to try it")
    options = parser.parse_args()
    text = [
        "# How near for how many passes", "",
        f"{measured()}; {torch.get_num_threads()} threads, torch {torch.__version__}. "
        "`python -m benchmarks.nearest`. *Over the best* is the mean distance beyond the nearest "
        "success that any row of the table found, image by image, in %. Passes are those of one "
        "image in the mean, seconds those of all together.", "",
    ]  # fmt: skip
    for name, net, x, y in nets(options.data, options.quick):
        table = curve(net, x, y, options.quick).round(3)
        text += [f"## {name}, {len(x)} images", "", table.to_markdown(index=False), ""]
        path = options.out / f"nearest-{machine_name()}.md"
        path.write_text("\n".join(text), encoding="utf-8")
        print(name, table.to_string(index=False), sep="\n", flush=True)


def nets(root: str, quick: bool) -> Iterator[tuple[str, nn.Module, Tensor, Tensor]]:
    """A LeNet-5, and the nets of :mod:`benchmarks.models`."""
    mnist = kit.data.load("mnist", root, train=2000 if quick else 20_000, test=2000)
    yield models.trained("LeNet-5, MNIST", mnist, models.lenet, 4, 20 if quick else models.IMAGES)
    yield from models.other_nets(root, quick)


def curve(net: nn.Module, x: Tensor, y: Tensor, quick: bool) -> pd.DataFrame:
    """How near each attack comes for how many passes and seconds."""
    attacks: dict[str, Attack] = {}
    seconds: dict[str, float] = {}
    for name, (attack, steps) in BY_STEPS.items():
        for n in steps[:1] if quick else steps:
            attacks[f"{name}, {n} steps"] = _clocked(attack, n, seconds, f"{name}, {n} steps")
    for attack, steps in BY_STEPS.values():  # what a first call compiles is no part of it
        attack(net, x[:2].clone(), y[:2], steps[0])
    table, _ = nearness(net, x, y, attacks)
    return table.assign(seconds=table["attack"].map(seconds))


def _clocked(attack: Callable, steps: int, seconds: dict[str, float], name: str) -> Attack:
    def run(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        started = time.perf_counter()
        found = attack(net, x, y, steps)
        seconds[name] = time.perf_counter() - started
        return found

    return run


if __name__ == "__main__":
    main()
