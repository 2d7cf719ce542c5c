"""Draw errors at random from the code, and see whether the tests notice.

    pip install -e ".[bench]"
    python -m benchmarks.mutants --jobs 2
    python -m benchmarks.mutants --only attacks --each 9    # of these files; writes nothing

So many of each part, and always the same ones: see benchmarks/mutation.py for what they are. It
writes benchmarks/results/mutants.md. What only a person can make is in planted_errors.py.
"""

from __future__ import annotations

import argparse
import random
from collections import defaultdict
from pathlib import Path

import pandas as pd

from benchmarks import mutation
from benchmarks import planted_errors as planted
from kit import runtime

METHODS = (
    "attacks", "defenses", "divergence", "evolution", "explain", "misalignment",
    "neighbors", "nets", "neuroevolution", "perturbations", "robustness", "watching",
)  # fmt: skip
# The tests of each part: of the files whose paths start so. A longer start goes before a shorter.
TESTS = {
    **{f"kit/{name}": f"test_{name} test_checks" for name in METHODS},
    "kit/batches": "test_checks test_accelerator",
    "kit/checks": "test_checks",
    "kit/constraints": "test_settings test_seeds",
    "kit/data": "test_data test_augmentation test_checks",
    "kit/files": "test_runtime test_steps",
    "kit/gradients": "test_robustness test_attacks",
    "kit/input_gradients": "test_input_gradients",
    "kit/optimizers": "test_evolution test_training",
    "kit/runtime": "test_runtime test_seeds",
    "kit/training": "test_training test_state test_accelerator test_checks",
    "kit/training/double_backward": "test_double_backward",
    "kit/harness/results": "test_statistics test_verdicts test_claims test_comparison test_report",
    "kit/experiments/tour": "test_start_here",
    planted.ONE: planted.OF_ONE,
    planted.TWO: planted.OF_TWO,
    planted.THREE: planted.OF_KNN,
    planted.FOUR: f"{planted.OF_FOUR} test_plots",
}
# Survivors that a person has looked at: why they are no fault, by file and changed line.
EQUIVALENT = {
    (f"{planted.TWO}settings.py", "return sorted({1, *range(step, epochs, step), epochs})"): (
        "no fault: the last epoch is in the set anyway"
    ),
    (
        "kit/divergence.py",
        "fitted, measured = torch.randperm(len(x), generator=order).tensor_split(2)",
    ): "no fault: positions on the host serve, too; a GPU copies them each time",
    (
        "kit/attacks/nearest.py",
        "rate = (0.01 + 0.99 * (1 + math.cos(math.pi * t / steps)) / 4) * 4 * scale",
    ): "no fault: a step size found by trial, and half of it meets what the tests ask, too",
}


def part(path: str) -> str:
    """The longest start of a path that has tests; empty where none has."""
    return max((start for start in TESTS if path.startswith(start)), key=len, default="")


def drawn(paths: list[str], each: int) -> list[mutation.Change]:
    """So many errors of these files together, the same in every run."""
    every = [change for path in paths for change in mutation.changes(path)]
    random.Random(" ".join(paths)).shuffle(every)
    real = (change for change in every if change.text())
    return [change for change, _ in zip(real, range(each), strict=False)]


def report(tried: list[tuple[str, mutation.Change]], found: list[bool]) -> str:
    """The share of each part that is caught, and what is not."""
    table = pd.DataFrame({"part": [name for name, _ in tried], "caught": found})
    table = table.groupby("part")["caught"].agg(["size", "sum", "mean"]).reset_index()
    table["mean"] = table["mean"].map("{:.0%}".format)
    table.columns = ["part", "tried", "caught", "share"]
    text = f"# Errors drawn at random\n\n{sum(found)} of {len(found)} are caught.\n\n"
    text += table.to_markdown(index=False) + "\n"
    text += "" if all(found) else "\n## Not caught\n"
    for (_, change), hit in zip(tried, found, strict=True):
        if not hit:
            diff = change.diff()
            line = diff.splitlines()[-1].removeprefix("+").strip()
            why = EQUIVALENT.get((change.path, line), "nobody has looked at it yet")
            text += f"\n{change.path}: {why}\n\n```diff\n{diff}\n```\n"
    return text


def main() -> None:
    """Draw, run the tests, write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutants", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", default="", metavar="PART_OF_A_PATH")
    parser.add_argument("--each", type=int, default=2, help="so many of each part (default: 2)")
    options = parser.parse_args()
    files = defaultdict(list)
    for file in sorted((runtime.root() / "kit").rglob("*.py")):
        path = file.relative_to(runtime.root()).as_posix()
        if part(path) and options.only in path:
            files[part(path)].append(path)
    if not files:
        parser.error(f"no file that has tests here has {options.only!r} in its path: see TESTS.")
    tried = [(name, c) for name, paths in files.items() for c in drawn(paths, options.each)]
    found = planted.caught([(TESTS[name], {c.path: c.text()}) for name, c in tried], options.jobs)
    text = report(tried, found)
    print(text)
    if not options.only:
        out = Path(__file__).parent / "results" / "mutants.md"
        out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
