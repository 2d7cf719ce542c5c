"""What the profiles would take on a card, from a few batches of each task on an emulated one.

Every kind of task is made small (a few batches, an epoch, the first of all repeats) and computed on
the emulated accelerator of the tests, whose ledger holds all kernels with the bytes that they move
and the operations that they compute. This is done for two sizes of a batch, continued to the real
size in a straight line, priced by :mod:`benchmarks.gpu.model`, and multiplied by how much more work
the real task has, as its step says. Images are random patterns: no data set is needed.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import yaml
from tabulate import tabulate

import run_all
from benchmarks.gpu.model import H200, Call, Cost, cost, extrapolated
from kit import runtime
from kit.data.splits import Split
from kit.gradients import BATCH
from kit.harness import runner, steps
from kit.harness.steps.records import ON_DEVICES
from kit.harness.steps.task import dependencies

PROFILES = ("quick", "ci", "paper")
ROWS = 8  # of the smaller batch; the other one has twice as many
# Name of an argument: what it is at most in the small task. Repeats become the first one.
SMALL = {
    "epochs": 1, "discriminator_epochs": 1, "repeat": 1, "repeats": 1, "run": 1, "start": 1,
    "search": 1, "draw": 1, "number": 1, "generation": 0, "fold": 1, "epoch": 1, "alphas": 1,
    "pgd_steps": 2, "steps": 2, "batches": 2, "control_draws": 1, "hold_out": 0,
}  # fmt: skip
# What changes numbers, and no kernel: one value stands for all.
ALIKE: dict[str, Any] = {
    "name": "a net", "strength": 1.0, "lr": 0.003, "lr_sgd": 0.1, "lr_adam": 0.003,
    "noise": {"kind": "uniform", "pixels": 1, "draw": 1},
}  # fmt: skip
# Nets whose right answers are attacked have to learn something.
TRAINED = {"train_folds": {"epochs": 12}, "lenet": {"epochs": 12}}
# Arguments that say how many images there are, in batches; and lists of which the first ones serve.
COUNTS = ("images", "batch_size", "count")
LISTS = ("eps", "baselines")
IGNORED = ("task", "name")  # words that say which task, and not what kind
GENOMES = 3  # random architectures that stand for all evolved ones
# Shapes of the papers' data sets: training images, test images, one image.
SHAPES = {
    "mnist": (60_000, 10_000, (28, 28)), "fashion_mnist": (60_000, 10_000, (28, 28)),
    "kmnist": (60_000, 10_000, (28, 28)), "cifar10": (50_000, 10_000, (32, 32, 3)),
    "svhn": (73_257, 26_032, (32, 32, 3)), "stl10": (5_000, 8_000, (96, 96, 3)),
}  # fmt: skip


@dataclasses.dataclass
class Line:
    """What one kind of task of a profile costs: a line of the table."""

    profile: str
    notebook: str
    step: str
    tasks: int = 0
    cost: Cost = dataclasses.field(default_factory=Cost)
    memory: float = 0.0
    trains: bool = False

    @property
    def bound(self) -> str:
        """What binds most of the time."""
        return max(("launches", "bytes", "flops"), key=lambda name: getattr(self.cost, name))

    @property
    def remedy(self) -> tuple[str, float]:
        """What would help most, and the seconds left."""
        ways = {"–": self.cost.seconds, "--jobs 8": self.cost.by_processes(min(8, self.tasks))}
        if self.trains:
            ways["CUDA graphs"] = self.cost.busy
        least = min(ways, key=lambda name: round(ways[name], 3))
        return least, ways[least]


def main(out: Path, profiles: Sequence[str] = PROFILES) -> None:
    """Estimate the profiles and write ``gpu-estimate.md``."""
    runtime.device = lambda name=None: accelerator().DEVICE  # whatever a task asks for
    with tempfile.TemporaryDirectory(prefix="kit-estimate-") as scratch:
        store = Path(scratch) / "steps"
        store.mkdir()
        os.environ |= {"KIT_STEPS": str(store), "KIT_IGNORE_COMMITTED": "1"}
        root, few = Path(scratch) / "whole", Path(scratch) / "few"
        write_images(root, 1.0)
        write_images(few, 0.02)
        lines: list[Line] = []
        for profile in profiles:  # each is written as it comes
            lines += estimate(profile, root, few)
            write(out, lines)
    print(as_text(lines))


def write(out: Path, lines: Sequence[Line]) -> None:
    """The page, and what tasks hold, for ``run_all.py --check``."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "gpu-estimate.md").write_text(as_text(lines), encoding="utf-8")
    path = runtime.root() / "figures" / ON_DEVICES
    path.write_text(json.dumps(_MEMORY, indent=0), encoding="utf-8")


def accelerator() -> ModuleType:
    """The emulated one, which belongs to the tests."""
    folder = str(runtime.root() / "tests")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module("accelerator")


def write_images(folder: Path, share: float) -> None:
    """Data sets as large as the papers', or a share of them: a pattern for each class, and noise."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for name, (train, test, shape) in SHAPES.items():
        patterns, arrays = random.integers(20, 236, (10, *shape), dtype=np.uint8), {}
        for part, whole in (("train", train), ("test", test)):
            labels = random.permutation(max(int(share * whole), 500)) % 10
            noise = random.integers(0, 20, (len(labels), *shape), dtype=np.uint8)
            arrays |= {f"x_{part}": patterns[labels] + noise, f"y_{part}": labels}
        np.savez(folder / f"{name}.npz", **arrays)


def estimate(profile: str, root: Path, few: Path) -> Iterator[Line]:
    """The lines of a profile, notebook by notebook; tasks are planned on `root`, tried on `few`."""
    path = runtime.root() / "notebooks" / "profiles" / f"{profile}.yaml"
    given = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for notebook in sorted((runtime.root() / "notebooks").glob("0[1-9]_*.ipynb")):
        described = runner.Notebook(notebook, run_all.EXPERIMENTS)
        values = {name: p.default for name, p in described.parameters.items()}
        values |= (given.get(notebook.stem) or {}) | {"data_root": str(root)}
        plan = described.experiment.plan(described.experiment.Settings.read(values))
        yield from lines_of(profile, notebook.stem, everything(plan), str(few))


def lines_of(profile: str, notebook: str, tasks: list[steps.Task], root: str) -> Iterator[Line]:
    """What the tasks of a study cost, by step."""
    on_device = [task for task in tasks if split_of(task)]
    drawn = next((task for task in tasks if task.step.name.endswith("random_genomes")), None)
    lines: dict[str, Line] = {}
    for place, task in enumerate(on_device):
        name = task.step.name.partition(".")[2]
        line = lines.setdefault(name, Line(profile, notebook, name))
        genome = drawn and drawn["genomes"][place % min(GENOMES, drawn.arguments["count"])]
        each, memory = priced(task, genome, root)
        line.tasks += 1
        line.cost += each
        line.memory = max(line.memory, memory + data_bytes(task))
        note_memory(task, memory + data_bytes(task))
        line.trains |= "epochs" in task.arguments or "search" in task.arguments
    yield from lines.values()


_MEMORY: list[dict[str, Any]] = []


def note_memory(task: steps.Task, held: float) -> None:
    """Keep what a task holds, once for all tasks that hold as much, for ``run_all.py --check``."""
    record = {
        "step": task.step.name, "arguments": words(task.keyed), "work": task.work,
        "device_memory": round(held, -6),
    }  # fmt: skip
    if not any(record | {"work": other["work"]} == other for other in _MEMORY):
        _MEMORY.append(record)


def words(arguments: dict) -> dict:
    """The arguments that are words, such as a net's name: by them like tasks are found."""
    nested = {key: words(value) for key, value in arguments.items() if isinstance(value, dict)}
    texts = {key: value for key, value in arguments.items() if isinstance(value, str)}
    kept = {key: value for key, value in (nested | texts).items() if value and key not in IGNORED}
    return {key: kept[key] for key in sorted(kept)}


def everything(plan: Any) -> list[steps.Task]:
    """All tasks that a plan needs, each once."""
    found: dict[steps.Task, None] = {}
    left = dependencies(plan)
    while left:
        task = left.pop()
        if task not in found:
            found[task] = None
            left += dependencies(task.arguments)
    return list(found)


def priced(task: steps.Task, genome: Any, root: str) -> tuple[Cost, float]:
    """What a task costs, and the bytes it holds beside its images.

    What it does once, or once in an epoch, must not grow with the number of batches: so where it
    trains, two numbers of batches are tried, and continued in a straight line.
    """
    factor = real_rows(task) / ROWS
    folds = task.arguments.get("folds", 1)
    numbers = [1] if not batch_size(task) else [13, 26] if folds > 1 else [2, 4]
    costs, works, memory = [], [], 0.0
    for batches in numbers:
        pair = [shrunk(task, rows, batches, genome) for rows in (ROWS, 2 * ROWS)]
        (few, little), (more, much) = (recorded(small, root) for small in pair)
        costs.append(cost(extrapolated(few, more, factor)))
        works.append(factor * work(pair[0]))
        memory = max(memory, little + max(much - little, 0) * (factor - 1))
    if len(set(works)) == 1:
        return costs[0] * (work(task) / works[0]), memory
    steps_more = (work(task) - works[0]) / (works[1] - works[0])
    return costs[0] + (costs[1] + costs[0] * -1) * steps_more, memory


def shrunk(task: steps.Task, rows: int, batches: int, genome: Any) -> steps.Task:
    """The task at a small size, and with it all that it depends on."""

    def small(name: str, value: Any) -> Any:
        if name in ("number", "previous") and "previous" in task.arguments:
            return None if name == "previous" else 1
        if name in ALIKE and value:
            return ALIKE[name]
        if isinstance(value, dict):
            return {key: small(key, part) for key, part in value.items()}
        if (
            genome is not None
            and name in ("genome", "net")
            and isinstance(value, (steps.Field, list))
        ):
            return genome
        if isinstance(value, (list, tuple)):
            return [small("", part) for part in value[: 1 if name in LISTS else None]]
        if isinstance(value, Split):
            return few(value, rows, batches)
        if isinstance(value, steps.Field):
            path = tuple(0 if isinstance(part, int) else part for part in value.path)
            return steps.Field(shrunk(value.task, rows, batches, genome), path)
        if isinstance(value, steps.Task):
            return shrunk(value, rows, batches, genome)
        if name == "method" and "search" in task.arguments:
            return "a search"
        if isinstance(value, int) and name in COUNTS:
            return min(value, rows * (batches if name == "count" else 1))
        return (
            min(value, limits[name])
            if isinstance(value, (int, float)) and name in limits
            else value
        )

    if "folds" in task.arguments:  # each of them has to hold each class
        batches = max(batches, 13)
    limits = SMALL | TRAINED.get(task.step.name.partition(".")[2], {})
    return task.step.task(**{name: small(name, value) for name, value in task.arguments.items()})


def few(split: Split, rows: int, batches: int) -> Split:
    """So many batches to train on, and one to test, of the same kind."""
    train, test = (max(count, len(split.about.classes)) for count in (batches * rows, rows))
    about = dataclasses.replace(split.about, train=train, test=test)
    run = min(split.run, 1)
    return dataclasses.replace(
        split, train=train, test=test, run=run, seed=0, fingerprint="", about=about
    )


def real_rows(task: steps.Task) -> int:
    """Images at once in the real task: of a training batch, or of a batch of an attack."""
    arguments = task.arguments
    if "batches" in arguments:  # CLEVER's samples
        return min(BATCH, arguments["batches"] * arguments["batch_size"])
    if "epochs" in arguments or batch_size(task):
        return batch_size(task) or 128
    images = arguments.get("images")
    return min(BATCH, images if isinstance(images, int) and images else split_of(task).about.test)


def batch_size(task: steps.Task) -> int:
    """Of a training; 0 for other tasks, and where it is :func:`kit.training.fit`'s own."""
    arguments = task.arguments | task.arguments.get("search", {})
    return 0 if "batches" in arguments else arguments.get("batch_size", 0)


def work(task: steps.Task) -> float:
    """How much there is to do, as the step says, or else by the number of images.

    On a card notebook 03 takes its time for attacks, and not for the products of its neighbours.
    """
    about = split_of(task).about
    if task.step.name.endswith(".study"):
        return float(about.test)
    return task.work if task.step.work else float(about.train + about.test)


def data_bytes(task: steps.Task) -> float:
    """What the task's images take as float32."""
    about = split_of(task).about
    return 4.0 * (about.train + about.test) * float(np.prod(about.shape))


def split_of(task: steps.Task) -> Any:
    """The images of a task; None if it has none, and so no work for a device."""
    splits = [value for value in task.arguments.values() if isinstance(value, Split)]
    return splits[0] if splits else None


_RECORDED: dict[tuple[str, str], tuple[list[Call], int]] = {}


def recorded(task: steps.Task, root: str) -> tuple[list[Call], int]:
    """A small task's kernels, and the bytes that it held."""
    if task.identity not in _RECORDED:
        for other in dependencies(task.arguments):
            recorded(other, root)
        with accelerator().ledger() as ledger, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            steps.compute(task, jobs=1, data_root=root)
        _RECORDED[task.identity] = ledger.calls, ledger.peak
    return _RECORDED[task.identity]


INTRO = """# What a GPU would take: an estimate

Nothing here was measured on a card. Kernels, bytes and floating-point operations were counted on an
emulated accelerator (`tests/accelerator.py`), and priced for an {card.name}: a kernel takes the
longest of {launch:.0f} µs (its launch), its bytes at {bandwidth:.1f} TB/s, and its floating-point
operations at {rate:.0f} TFLOP/s (float32). `python -m benchmarks.gpu --estimate` makes this page,
profile by profile; one that is missing has not been counted yet.

- *bound by*: what takes most of the time now: launches, bytes or flops.
- *remedy*: what would shorten it most: eight processes that launch on one card (`--jobs 8`), or
  each training step as one CUDA graph, where no kernel ends sooner than {shortest:.0f} µs. Stacks
  are as the kit stacks now: all candidates of a generation, all folds.
- *device memory*: most that a task holds: images, weights, and what its largest batch leaves.

What the model cannot know: how many kernels an operation really launches (one is assumed for each;
a convolution's backward pass launches several), how near kernels come to the rates (small ones do
not), which algorithms the library chooses, the host's own work (Python, and the start of a process,
which eight of them share), and how many steps an attack takes that stops when it is done.
Architectures of a search are {genomes} random ones.
"""


def as_text(lines: Sequence[Line]) -> str:
    """The estimate as Markdown."""
    text = [
        INTRO.format(
            card=H200, launch=1e6 * H200.launch, bandwidth=H200.bandwidth / 1e12,
            rate=H200.rate / 1e12, shortest=1e6 * H200.shortest, genomes=GENOMES,
        )
    ]  # fmt: skip
    totals = []
    for profile, notebook in dict.fromkeys((line.profile, line.notebook) for line in lines):
        part = [line for line in lines if (line.profile, line.notebook) == (profile, notebook)]
        now, then = sum(x.cost.seconds for x in part), sum(x.remedy[1] for x in part)
        totals.append((profile, notebook, hours(now), hours(then), gigabytes(part)))
        rows = [
            (
                line.step,
                line.tasks,
                f"{line.cost.kernels / line.tasks:,.0f}",
                f"{line.cost.seconds / line.tasks:.3g} s",
                line.bound,
                hours(line.cost.seconds),
                line.remedy[0],
                hours(line.remedy[1]),
                gigabytes([line]),
            )
            for line in part
        ]
        heads = (
            "step", "tasks", "kernels of a task", "a task", "bound by", "all tasks", "remedy",
            "then", "device memory",
        )  # fmt: skip
        text += [f"## {profile}: {notebook}\n", tabulate(rows, heads, "pipe"), ""]
    heads = ("profile", "notebook", "now", "with the remedies", "device memory")
    return "\n".join([text[0], tabulate(totals, heads, "pipe"), "", *text[1:]])


def hours(seconds: float) -> str:
    """A duration for readers."""
    unit, length = next(
        (u, n) for u, n in (("h", 3600), ("min", 60), ("s", 1)) if seconds >= n or n == 1
    )
    return f"{seconds / length:.2g} {unit}"


def gigabytes(lines: Sequence[Line]) -> str:
    """The largest memory."""
    return f"{max(line.memory for line in lines) / 1e9:.2g} GB"
