"""What a run would do and take: ``run_all.py --check``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import NamedTuple

from tabulate import tabulate

from kit.harness import machine, progress, steps
from kit.harness.runner.parameters import Notebook, Values
from kit.harness.settings import Settings


class Prepared(NamedTuple):
    """What is known of a study before it runs."""

    estimate: steps.Estimate | None = None
    remarks: Sequence[str] = ()


def prepare(notebook: Notebook, values: Values, options: argparse.Namespace) -> Prepared:
    """Refuse parameters and data that make no sense; say what is to be computed.

    The plan and its data sets are forgotten: the notebook makes its plan in a process of its own.
    """
    experiment = notebook.experiment
    if experiment is None:
        return Prepared()
    settings = experiment.Settings.read(values)
    if options.check and settings.unknown():
        return Prepared()
    plan = experiment.plan(settings)
    estimate = steps.estimate(plan, options.jobs, options.device)
    for name in () if options.check or options.scheduler else estimate.data:
        if not settings.is_there(name):  # better said now than when the first task asks for it
            settings.fetch(name)
    return Prepared(estimate, settings.remarks(plan) if options.check else ())


def describe(
    notebook: Notebook, values: Values, prepared: Prepared, options: argparse.Namespace
) -> str:
    """What would run and roughly what it takes."""
    estimate = prepared.estimate
    rows = [
        (p.name, p.type, json.dumps(values[p.name]), p.help)
        for p in notebook.parameters.values()
        if p.name != "out"
    ]
    kind = machine.device_type(options.device)
    jobs = machine.workers(options.jobs, kind)
    lines = [f"{notebook.name} (profile {options.profile})"]
    if rows:
        heads = ("parameter", "type", "value", "help")
        lines.append(
            tabulate(rows, heads, disable_numparse=True, maxcolwidths=[None, None, 40, 60])
        )
    if notebook.experiment:
        settings = notebook.experiment.Settings.read(values)
        needed = "would be downloaded" if estimate is None else "fetched for what must be computed"
        for name in settings.read_datasets:
            there = "there" if settings.is_there(name) else f"not there, {needed}"
            lines.append(f"data set {name}: {there}")
        lines += [*decidable(settings), *prepared.remarks]
        absent = " (none is here)" if kind != "cpu" and not machine.has_driver() else ""
        lines.append(f"device: {kind}{absent}, {jobs} process{'' if jobs == 1 else 'es'}")
        if options.scheduler:
            lines.append(f"workers: those of {options.scheduler}; time and memory are for here")
        lines.append(cost(estimate, jobs, kind))
    return "\n".join(lines)


def decidable(settings: Settings) -> list[str]:
    """How large an effect has to be for the planned repeats to decide a claim."""
    from kit.harness.results import smallest_effect

    names: dict[tuple[str, int, int | None], list[str]] = {}
    for name in settings.all_datasets:
        for label, sizes in settings.on(name).comparisons(name).items():
            names.setdefault((label, *sizes), []).append(name)
    rows = [
        (label, f"{n} and {m}" if m else n, smallest_effect(n, m), ", ".join(where))
        for (label, n, m), where in names.items()
    ]
    heads = ("comparison", "repeats", "smallest effect", "data sets")
    meaning = "smallest effect: decided with a chance of 80 %, in standard deviations of repeats"
    return [tabulate(rows, heads, floatfmt=".1f"), meaning] if rows else []


def cost(estimate: steps.Estimate | None, jobs: int, device: str = "cpu") -> str:
    """One sentence on what is on disk and what the rest will take."""
    if estimate is None:
        return "steps: known once the data are there"
    text = f"steps: {estimate.stored} of {estimate.total} on disk"
    missing = estimate.total - estimate.stored
    if not missing:
        return text
    time = f"about {progress.duration(max(1, estimate.seconds))}"
    if estimate.rough:
        time += " (judged by other data sets: it may be far off)"
    if estimate.unknown == missing:
        time = "an unknown time (nothing like it was run before)"
    elif estimate.unknown:
        time += f" and the time of {estimate.unknown} steps that are like none run before"
    text = f"{text}; the rest takes {time}"
    if estimate.memory:  # one process more: the kernel
        text += f", {(min(jobs, missing) + 1) * estimate.memory / 1e9:.1f} GB of memory"
    if estimate.device_memory and device != "cpu":
        text += f", about {min(jobs, missing) * estimate.device_memory / 1e9:.1f} GB of the GPU's"
    if estimate.disk:
        text += f", {max(1, round(estimate.disk / 1e6))} MB of disk"
    if device != "cpu" and not estimate.gpu:
        text += " (no run on a GPU is recorded: the time is that of processors)"
    return text
