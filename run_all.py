"""Execute the notebooks headless and regenerate every table and figure.

Examples
--------
  python run_all.py                          every notebook, small, on a CPU (profile quick)
  python run_all.py --profile paper --only 03 --data ~/data
  python run_all.py -p 03.runs=4 -p 03.datasets=[mnist]     results go to figures/custom/
  python run_all.py --check --profile paper  run nothing, show what would run and what it takes
"""

import argparse
import difflib
import functools
import json
import shutil
import signal
import sys

from tabulate import tabulate

from kit import data, page, runner, runtime, steps


def main(arguments=None):
    """Run the command line; returns the exit status 0, 1 (a notebook failed) or 2 (bad input)."""
    options = parse(arguments)
    sys.stdout.reconfigure(errors="replace")  # terminals that know no "…"
    try:
        known = runner.notebooks()
        if options.clean:
            return clean(select(known, options.only))
        values = parameters(known, options)
        changed = [override.partition(".")[0] for override in options.overrides]
        chosen = select(known, options.only or changed)
        device = runtime.device(options.device)
        folder = output_folder(options)
        calls = {}
        for notebook in chosen:
            given = values[notebook.name]
            notebook.experiment.check(**given)
            calls[notebook.name] = planned(notebook, given, options.check)
        if options.check:
            return show_plan(chosen, values, calls, device, options)
        runtime.writable(folder)
        runtime.writable(runtime.folder("steps"))
    except (ValueError, OSError) as error:
        print(f"run_all.py: {error}", file=sys.stderr)
        return 2
    return run(chosen, values, folder)


def parse(arguments):
    """The command line, as argparse reads it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--profile", default="quick", help="quick (default), ci or paper")
    add("--only", nargs="+", metavar="NN", help="only these notebooks, by number or name")
    add("-p", action="append", default=[], metavar="NN.NAME=VALUE", dest="overrides",
        help="change one parameter, and run only that notebook; repeat for more")  # fmt: skip
    add("--data", default="", metavar="DIR", help="where the data sets are (default: data/)")
    add("--out", default="", metavar="DIR", help="where results go (default: figures/)")
    add("--device", default="auto", help="auto (default), cpu, cuda or cuda:N")
    add("--jobs", type=positive, default=0, metavar="N",
        help="processes side by side (default: one per core, one on a GPU)")  # fmt: skip
    add("--check", action="store_true", help="run nothing; show parameters, data, time, memory")
    add("--clean", action="store_true", help="show and delete the steps stored on disk")
    return parser.parse_args(arguments)


def positive(text):
    """A number of processes."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def select(known, wanted):
    """The notebooks that are wanted by number or name, in their order; all where none are."""
    for name in wanted or ():
        find(known, name)
    return [n for n in known if not wanted or n.number in wanted or n.name in wanted]


def find(known, name):
    """The notebook of a number or a name; ValueError where there is none."""
    for notebook in known:
        if name in (notebook.number, notebook.name):
            return notebook
    names = [notebook.name for notebook in known]
    close = difflib.get_close_matches(name, names, 1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    raise ValueError(f"Unknown notebook {name!r}{hint}: use one of {', '.join(names)}.")


def parameters(known, options):
    """All parameters of every notebook: its own, the profile's, the command line's."""
    profile = runner.profile(options.profile, known)
    places = {"data_root": str(runtime.folder("data", options.data)), "device": options.device}
    places["jobs"] = options.jobs
    values = {
        n.name: {p.name: p.default for p in n.parameters.values()} | profile[n.name] | places
        for n in known
    }
    for override in options.overrides:
        target, equals, text = override.partition("=")
        number, dot, name = target.partition(".")
        if not equals or not dot:
            raise ValueError(f"-p {override}: write it as NN.NAME=VALUE, such as 03.runs=4.")
        notebook = find(known, number)
        values[notebook.name][name] = notebook.parsed(name, text)
    return values


def output_folder(options):
    """Changed parameters never write over a reference result."""
    return runtime.folder("figures", options.out) / (
        "custom" if options.overrides else options.profile
    )


def planned(notebook, values, check):
    """The calls of a notebook, or None where a data set would have to be fetched first."""
    missing = [n for n in values["datasets"] if not data.present(n, values["data_root"])]
    if check and missing:
        for name in missing:
            if name not in data.NAMES:
                data.load(name, values["data_root"])  # says that there is no such data set
        return None
    plans = notebook.experiment.plan(**values)
    return [call for _, calls in plans.values() for call in calls]


def show_plan(chosen, values, calls, device, options):
    """Print what would run and roughly what it takes."""
    for notebook in chosen:
        given = values[notebook.name]
        print(f"\n{notebook.name} (profile {options.profile})")
        rows = [
            (p.name, p.type, json.dumps(given[p.name]), p.help)
            for p in notebook.parameters.values()
            if p.name != "out"
        ]
        print(tabulate(rows, ("parameter", "type", "value", "help"), disable_numparse=True))
        for name in given["datasets"]:
            there = data.present(name, given["data_root"])
            print(f"data set {name}: {'there' if there else 'not there, would be downloaded'}")
        jobs = runtime.workers(options.jobs, device)
        print(f"device: {device}, {jobs} process{'' if jobs == 1 else 'es'}")
        print(estimate(calls[notebook.name], jobs))
    print(f"results: {output_folder(options)}\nsteps:   {runtime.folder('steps')}")
    return 0


def estimate(calls, jobs):
    """One sentence on what is on disk and what the rest will take."""
    if calls is None:
        return "steps: known once the data are there"
    missing = [call for call in calls if not call.done()]
    text = f"steps: {len(calls) - len(missing)} of {len(calls)} on disk"
    if not missing:
        return text
    jobs = min(jobs, len(missing))
    minutes = sum(call.seconds for call in missing) / jobs / 60
    memory = (jobs + 1) * max(call.memory for call in missing) / 1e9  # one more: the kernel
    disk = sum(call.disk for call in missing) / 1e6
    time = f"{max(1, round(60 * minutes))} s" if minutes < 2 else f"{minutes:.0f} min"
    return f"{text}; the rest takes about {time}, {memory:.1f} GB of memory, {disk:.0f} MB of disk"


def clean(chosen):
    """Show the store's size by notebook, ask, delete."""
    sizes = steps.sizes()
    rows = [
        (n.name, sum(size for step, size in sizes.items() if step.startswith(f"{n.room}.")) / 1e6)
        for n in chosen
    ]
    print(tabulate(rows, ("notebook", "steps on disk (MB)"), floatfmt=".1f"))
    if not any(size for _, size in rows):
        return 0
    try:
        answer = input("Delete these steps? They would have to be computed again. [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() in ("y", "yes"):
        rooms = tuple(f"{n.room}." for n in chosen)
        for step in (step for step in sizes if step.startswith(rooms)):
            shutil.rmtree(runtime.folder("steps") / step)
        print("Deleted.")
    else:
        print("Nothing deleted.")
    return 0


def run(chosen, values, folder):
    """Execute notebooks one after another; a failed one does not stop the others."""
    for name in ("SIGTERM", "SIGHUP"):  # Windows knows no SIGHUP
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)
    outcomes = []
    try:
        for notebook in chosen:
            print(f"{notebook.name} …", flush=True)
            report = functools.partial(print, f"  {notebook.number} |", flush=True)
            try:
                outcome = runner.execute(notebook, values[notebook.name], folder, report)
            except OSError as error:
                outcome = runner.Outcome(notebook.name, str(error), [], 0.0, 0)
            outcomes.append(outcome)
            if outcomes[-1].failure:
                print(f"{notebook.name} failed: {outcomes[-1].failure}", file=sys.stderr)
    except KeyboardInterrupt:
        print("Interrupted. Finished steps are kept: run the same again to go on.", file=sys.stderr)
        return 1
    rows = [
        (o.notebook, o.verdict, f"{o.seconds:.0f} s", f"{o.memory / 1e9:.1f} GB") for o in outcomes
    ]
    print("\n" + tabulate(rows, ("notebook", "verdict", "time", "peak memory")))
    try:
        print(f"\nResults: {page.write(folder)}")
    except (OSError, ValueError, KeyError) as error:
        print(f"run_all.py: no page could be made of {folder}: {error!r}", file=sys.stderr)
        return 1
    return 1 if any(o.failure for o in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
