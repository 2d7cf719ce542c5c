"""Small notebooks and experiments that stand in for real ones."""

import json
import sys
import types

from kit.harness import runner, steps

OUT = 'out: str = ""  # folder for the results'
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
MANIFEST = {
    "seconds": 0,
    "hardware": [],
    "finished": "",
    "parameters": {},
    "data": {},
    "tables": {},
    "figures": {},
}
# What the last cell of a real notebook does, by way of the kit.
FINISH = (
    "import json, pathlib; place = pathlib.Path(out)\n"
    "(place / 'claims.json').write_text('[]')\n"
    f"(place / 'manifest.json').write_text(json.dumps({MANIFEST}))"
)


def notebook(path, *sources, parameters=OUT):
    """Write a notebook of these cells, the first of which is the parameters cell."""
    cells = [
        {"cell_type": "code", "source": source, "outputs": [], "execution_count": None}
        | {"metadata": {"tags": ["parameters"]} if i == 0 else {}}
        for i, source in enumerate([parameters, *sources])
    ]
    whole = {"cells": cells, "metadata": {"kernelspec": KERNEL}, "nbformat": 4, "nbformat_minor": 4}
    path.write_text(json.dumps(whole))
    return runner.Notebook(path, "kit.experiments")


@steps.step(version=1, label="square of {n}")
def square(*, n):
    """Stand for a step."""
    return {"square": n * n}


class Settings:
    """Stand for an experiment's settings."""

    all_datasets = read_datasets = ()

    def __init__(self, values):
        self.values = values

    def unknown(self):
        """All data are known."""
        return []

    def remarks(self, plan):
        """Nothing is remarkable."""
        return []

    @classmethod
    def declared(cls):
        """Nothing is declared."""
        return {}

    @classmethod
    def read(cls, values):
        """Take everything but a negative number of runs."""
        if values.get("runs", 1) < 1:
            raise ValueError(f"runs is {values['runs']}: use a positive whole number.")
        return cls(values)


def plan(settings):
    """Plan a task for each run."""
    return {"runs": [square.task(n=n) for n in range(settings.values.get("runs", 2))]}


def experiment(monkeypatch, name, plan=plan):
    """Install an experiment ``kit.experiments.NAME``."""
    module = types.ModuleType(f"kit.experiments.{name}")
    module.Settings, module.plan = Settings, plan
    module.__spec__ = types.SimpleNamespace()
    monkeypatch.setitem(sys.modules, module.__name__, module)
