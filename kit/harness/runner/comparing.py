"""A run against committed results: ``run_all.py --compare``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from kit.harness.progress import say
from kit.harness.runner.parameters import Notebook
from kit.harness.steps.archive import IGNORED


def prepare(chosen: Sequence[Notebook], folder: Path, committed: Path) -> None:
    """Check what is to be compared, and see that the run computes its numbers itself.

    Committed results would otherwise stand in for the run's own and be compared with themselves.

    Raises
    ------
    ValueError
        There is no such folder, it lacks a notebook, or the run writes there; or the notebooks
        chosen make no claims.
    """
    if folder.resolve() == committed.resolve():
        raise ValueError(
            f"--compare {committed}: this run would write there; give it another folder with --out."
        )
    if not committed.is_dir():
        raise ValueError(
            f"--compare {committed}: there is no such folder; use one like figures/paper."
        )
    if not with_results(chosen):
        raise ValueError(f"{chosen[0].name} makes no claims that --compare could compare.")
    for notebook in with_results(chosen):
        if not (committed / notebook.name / "manifest.json").is_file():
            raise ValueError(
                f"--compare {committed}: it has no results of {notebook.name}; name a folder such "
                "as figures/paper, and with --only the notebooks that it has."
            )
    os.environ[IGNORED] = "1"  # the notebooks' kernels inherit it


def with_results(chosen: Sequence[Notebook]) -> list[Notebook]:
    """Those that judge claims: 00 only shows."""
    return [notebook for notebook in chosen if notebook.experiment]


def compare(chosen: Sequence[Notebook], folder: Path, committed: Path) -> int:
    """Show claim by claim how many numbers lie where they should; 3 where one does not."""
    from kit.harness.results.comparison import compare as compare_numbers

    rows, outside = [], []
    for notebook in with_results(chosen):
        numbers = compare_numbers(folder / notebook.name, committed / notebook.name)
        if not numbers:
            say(
                f"{notebook.name}: its verdicts and those of {committed} have no numbers in common "
                "that can be compared (other data sets, one repeat, or other images whose luck is "
                "not known).",
                sys.stdout,
            )
        outside += [number for number in numbers if not number.inside]
        for claim in dict.fromkeys(number.claim for number in numbers):
            of_claim = [number for number in numbers if number.claim == claim]
            out = sum(not number.inside for number in of_claim)
            rows.append((claim, len(of_claim), out, max(n.visible for n in of_claim)))
    heads = ("claim", "numbers compared", "outside", "visible shift")
    say("\n" + tabulate(rows, heads, floatfmt=".1f"), sys.stdout)
    if rows:
        say(
            "Visible shift: would be noticed with a chance of 80 %, in standard deviations of the "
            "repeats.",
            sys.stdout,
        )
    for n in outside:
        say(
            f"{n.claim}, {n.about}: {n.new:.6g} {n.unit} instead of {n.committed:.6g} "
            f"[{n.low:.6g}, {n.high:.6g}]",
            sys.stdout,
        )
    return 3 if outside else 0
