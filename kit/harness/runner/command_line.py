"""Execute the notebooks headless and regenerate every table and figure.

Examples
--------
  python run_all.py                          every notebook, small, on a CPU (profile quick)
  python run_all.py --profile paper --only 03 --data ~/data
  python run_all.py -p 03.runs=4 -p 03.datasets=[mnist]     results go to figures/custom/
  python run_all.py --check --profile paper  run nothing, show what would run and what it takes
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import math
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from kit import files, runtime
from kit.harness import runner, steps
from kit.harness.progress import say
from kit.harness.runner import checking, comparing, together
from kit.harness.runner.parameters import Values
from kit.harness.settings import ADDRESS


def main(arguments: Sequence[str] | None, notebooks: Path, experiments: str) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments
        Of the command line; None takes the process's.
    notebooks
        Their folder, which has one of profiles in it.
    experiments
        Package of the notebooks' experiments.

    Returns
    -------
    int
        0, 1 (failed), 2 (bad input) or 3 (--compare found a difference).
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # neither closed nor a test's
            stream.reconfigure(errors="replace")  # terminals that know no "…"
    options = parse(arguments)
    try:
        known = runner.notebooks(notebooks, experiments)
        for copy, own in runner.copies(notebooks, experiments).items():
            say(
                f"{copy.name} is left out: notebook {own.stem.partition('_')[0]} is {own.name}.",
                sys.stderr,
            )
        if options.clean:
            return clean(select(known, options.only))
        values = configure(known, options, notebooks / "profiles")
        changed = [override.partition(".")[0] for override in options.overrides]
        chosen = select(known, options.only or changed)
        unused = [n for n in select(known, changed) if changed and n not in chosen]
        if unused:
            raise ValueError(f"-p changes {unused[0].name}, which --only leaves out: add it there.")
        if options.device not in ("auto", "cpu") and not options.check:
            runtime.device(options.device)  # loads torch
        folder = output_folder(options)
        # Everything is checked before anything runs.
        if options.compare:
            comparing.prepare(chosen, folder, options.compare)
        prepared = [checking.prepare(n, values[n.name], options) for n in chosen]
        estimates = [known.estimate for known in prepared if known.estimate]
        known_results = all(e.stored == e.total for e in estimates)
        if options.check:
            parts = [
                checking.describe(notebook, values[notebook.name], known_of_it, options)
                for notebook, known_of_it in zip(chosen, prepared, strict=True)
            ]
            parts.append(f"results: {folder}\nsteps:   {runtime.folder('steps')}")
            return 0 if say("\n\n".join(parts), sys.stdout) else 1
        files.writable(folder)
        if not known_results:
            files.writable(runtime.folder("steps"))
            if options.scheduler:
                steps.check_reachable(options.scheduler)
    except (ValueError, OSError) as error:
        say(f"run_all.py: {error}", sys.stderr)
        return 2
    at_once, jobs = together.side_by_side(options, known_results, len(chosen))
    for of_notebook in values.values():
        if of_notebook.get("jobs") == 0:
            of_notebook["jobs"] = jobs
    if at_once > 1:  # the one with most tasks begins first, lest it be left alone in the end
        tasks = {n: p.estimate.total for n, p in zip(chosen, prepared, strict=True) if p.estimate}
        chosen = sorted(chosen, key=lambda n: -tasks.get(n, 0))
    status = together.run(chosen, values, folder, known, options.timeout, at_once)
    if status == 0 and options.compare:
        return comparing.compare(chosen, folder, options.compare)
    return status


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line, as argparse reads it."""
    parser = argparse.ArgumentParser(
        prog="run_all.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--profile", default="quick", help="quick (default), ci or paper")
    add("--only", nargs="+", metavar="NN", help="only these notebooks, by number or name")
    add(
        "-p",
        action="append",
        default=[],
        metavar="NN.NAME=VALUE",
        dest="overrides",
        help="change one parameter, and run only that notebook; repeat for more",
    )
    add("--data", default="", metavar="DIR", help="where the data sets are (default: data/)")
    add("--out", default="", metavar="DIR", help="where results go (default: figures/)")
    add("--device", default="auto", help="auto (default), cpu, cuda or cuda:N")
    add(
        "--jobs",
        type=whole,
        default=0,
        metavar="N",
        help="processes side by side (default: one per core, one on a GPU)",
    )
    add(
        "--scheduler",
        default="",
        metavar="ADDRESS",
        help="compute on the workers of a dask scheduler, such as tcp://host:8786",
    )
    add(
        "--timeout",
        type=minutes,
        metavar="MINUTES",
        help="kill a notebook that takes longer and go on (default: never)",
    )
    add(
        "--compare",
        type=Path,
        metavar="DIR",
        help="afterwards compare the tables with those in DIR, such as figures/paper; exit 3 where "
        "a mean lies outside of what its repeats would give",
    )
    add("--check", action="store_true", help="run nothing; show parameters, data, time, memory")
    add("--clean", action="store_true", help="show and delete the steps stored on disk")
    try:
        return parser.parse_args(arguments)
    except OSError:  # older Pythons raise it where nobody reads what is printed
        given = sys.argv[1:] if arguments is None else arguments
        sys.exit(0 if {"-h", "--help"} & set(given) else 2)


def whole(text: str) -> int:
    """A number of processes."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def minutes(text: str) -> float:
    """A time."""
    with contextlib.suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of minutes")


def select(known: Sequence[runner.Notebook], names: Sequence[str] | None) -> list[runner.Notebook]:
    """The notebooks of these numbers or names, in their order; all where there are no names."""
    for name in names or ():
        find(known, name)
    return [n for n in known if not names or n.number in names or n.name in names]


def find(known: Sequence[runner.Notebook], name: str) -> runner.Notebook:
    """The notebook of a number or a name; ValueError where there is none."""
    for notebook in known:
        if name in (notebook.number, notebook.name):
            return notebook
    names = [notebook.name for notebook in known]
    close = difflib.get_close_matches(name, names, 1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    raise ValueError(f"Unknown notebook {name!r}{hint}: use one of {', '.join(names)}.")


def configure(
    known: Sequence[runner.Notebook], options: argparse.Namespace, profiles: Path
) -> dict[str, Values]:
    """All parameters of every notebook: its defaults, the profile's, the command line's."""
    profile = runner.profile(options.profile, known, profiles)
    common = {
        "data_root": str(runtime.folder("data", options.data)),
        "device": options.device,
        "jobs": options.jobs,
        "scheduler": ADDRESS.check("--scheduler", options.scheduler),
    }
    values = {
        n.name: n.defaults() | profile[n.name] | {k: common[k] for k in common if k in n.parameters}
        for n in known
    }
    for override in options.overrides:
        target, equals, text = override.partition("=")
        number, dot, name = target.partition(".")
        if not equals or not dot:
            raise ValueError(f"-p {override}: write it as NN.NAME=VALUE, such as 03.runs=4.")
        notebook = find(known, number)
        values[notebook.name][name] = notebook.parse(name, text)
    return values


def output_folder(options: argparse.Namespace) -> Path:
    """Changed parameters never write over a reference result."""
    name = "custom" if options.overrides else options.profile
    return runtime.folder("figures", options.out) / name


def clean(chosen: Sequence[runner.Notebook]) -> int:
    """Show the store's size by notebook, ask, delete."""
    sizes = steps.Store().sizes()
    prefixes = {n.name: f"{n.module}." for n in chosen if n.module}
    rows = [
        (name, sum(size for step, size in sizes.items() if step.startswith(prefix)) / 1e6)
        for name, prefix in prefixes.items()
    ]
    say(tabulate(rows, ("notebook", "steps on disk (MB)"), floatfmt=".1f"), sys.stdout)
    if not any(size for _, size in rows):
        return 0
    try:
        answer = input("Delete these steps? They would have to be computed again. [y/N] ")
    except (EOFError, RuntimeError):  # nobody is there to answer
        answer = ""
    if answer.strip().lower() in ("y", "yes"):
        for step in (step for step in sizes if step.startswith(tuple(prefixes.values()))):
            shutil.rmtree(runtime.folder("steps") / step)
        say("Deleted.", sys.stdout)
    else:
        say("Nothing deleted.", sys.stdout)
    return 0
