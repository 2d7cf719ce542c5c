"""Run the kit and its peers side by side, and write what came out.

    pip install -e ".[bench]" && pip install --no-deps adv-lib
    python -m benchmarks --data DATA_FOLDER

needs mnist and cifar10 in the data folder, takes about half an hour, and wants a here that does
nothing else. It writes benchmarks/results/PROCESSOR.md and .png.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
from pathlib import Path

import pandas as pd
import torch

from benchmarks.rows import Row, as_table, machine_name, measured
from kit import runtime
from kit.harness import machine

PARTS = ("neighbors", "attacks", "robustness", "training", "startup")
PACKAGES = (
    "torch", "scikit-learn", "faiss-cpu", "adversarial-robustness-toolbox", "foolbox", "adv-lib",
)  # fmt: skip


def main() -> None:
    """Parse the command line, compare, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run?")
    parser.add_argument("--data", default="", help="where the data sets are (default: data/)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    rows: list[Row] = []
    tables: list[tuple[str, pd.DataFrame]] = []
    for part in arguments.only:
        for result in importlib.import_module(f"benchmarks.{part}").rows(
            arguments.data, arguments.quick
        ):
            if isinstance(result, Row):
                rows.append(result)
                print(f"{result.work} | {result.peer} takes {result.ratio:.2f} ×", flush=True)
            else:
                tables.append(result)
                print(f"{result[0]}\n{result[1].round(3).to_string(index=False)}", flush=True)
    write(arguments.out, rows, tables, arguments.quick)


def write(
    folder: Path, rows: list[Row], tables: list[tuple[str, pd.DataFrame]], quick: bool
) -> None:
    """The results as Markdown, and the ratios as a picture."""
    here = machine.hardware(runtime.device())
    kind = torch.backends.cpu.get_cpu_capability()
    name = machine_name()
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    text = [
        f"# The kit against its peers on {here['processor']}", "",
        f"{measured()}; {here['threads']} threads, {kind}, Python {here['python']}, "
        f"{here['system']}; {versions}.{' Tiny sizes: these numbers mean nothing.' if quick else ''}", "",
        "Medians of several runs in turn. *Peer takes*: how many times as long as the kit.", "",
        as_table(rows), "",
    ]  # fmt: skip
    for title, table in tables:
        text += [f"## {title}", "", table.round(3).to_markdown(index=False), ""]
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.md").write_text("\n".join(text), encoding="utf-8")
    if rows:
        draw(rows, f"{here['processor']}, {kind}").savefig(folder / f"{name}.png", dpi=120)


def draw(rows: list[Row], title: str):
    """Ratios as bars on a logarithmic axis, with their targets."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 0.45 * len(rows) + 1.4), layout="constrained")
    axes = figure.subplots()
    places = range(len(rows))
    colors = ["#0072B2" if row.ratio >= row.target else "#D55E00" for row in rows]
    axes.barh(places, [row.ratio for row in rows], color=colors)
    axes.plot([row.target for row in rows], places, "k|", markersize=16, label="target")
    for place, row in zip(places, rows, strict=True):
        axes.text(1.1 * max(row.ratio, row.target), place, f"{row.ratio:.2f}", va="center")
    axes.set_xlim(0.4, 4 * max(max(row.ratio, row.target) for row in rows))
    axes.set_yticks(places, [f"{row.work}\nagainst {row.peer}" for row in rows], fontsize=7)
    axes.set(xscale="log", xlabel="the peer takes so many times as long as the kit", title=title)
    axes.invert_yaxis()
    axes.legend(loc="lower right")
    return figure


if __name__ == "__main__":
    main()
