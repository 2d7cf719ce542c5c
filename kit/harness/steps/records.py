"""How long steps took: the records in the step store and in the committed results."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

from kit import runtime
from kit.harness.steps import archive
from kit.harness.steps.store import Store
from kit.harness.steps.task import Task

ON_DEVICES = "gpu-memory.json"  # what tasks hold on a GPU, counted on an emulated one

SPLIT = "split"  # what a split is called in the arguments of a record; its data set comes first


class Records:
    """Records of some steps, to estimate what another task of theirs will take.

    Parameters
    ----------
    names
        Names of the steps.
    store
        Whose entries count besides the archives of all results in the figures folders.
    what
        What the records have to say: ``"seconds"``, or ``"device_memory"``, bytes of a GPU's.
    """

    def __init__(self, names: Iterable[str], store: Store, what: str = "seconds"):
        self.what = what
        self._of: dict[str, list[dict]] = {name: [] for name in names}
        # What was asked is kept up to date, once for all tasks that are alike: a schedule asks for
        # each of them again and again.
        self._asked: dict[str, dict[tuple, _Nearest]] = {name: {} for name in self._of}
        self._nearest: dict[Task, _Nearest] = {}
        if not self._of:
            return
        for record in (*_counted(), *_archived(frozenset(self._of))):
            self.add(record)
        for name in self._of:
            for record in store.records(name):
                self.add(record)

    def add(self, record: dict) -> None:
        """One more record; of equally near ones the last added counts."""
        if not _is_sound(record, self.what) or (name := record["step"]) not in self._of:
            return
        self._of[name].append(record)
        for nearest in self._asked[name].values():
            nearest.meet(record)

    def nearest(self, task: Task) -> dict | None:
        """The record of a step that is most like a task: in its words (a net, …), then in work."""
        if task not in self._nearest:
            asked = self._asked.setdefault(task.step.name, {})
            words, work = frozenset(_words(task.keyed)), task.work
            if (words, work) not in asked:
                asked[words, work] = nearest = _Nearest(words, work)
                for record in self._of.get(task.step.name, []):
                    nearest.meet(record)
            self._nearest[task] = asked[words, work]
        return self._nearest[task].record


class _Nearest:
    """The record nearest to a task of some words and work among those that it has met."""

    def __init__(self, words: frozenset, work: float):
        self.words, self.work = words, work
        self.distance: tuple[float, float] = (math.inf, math.inf)
        self.record: dict | None = None

    def meet(self, record: dict) -> None:
        others = len(self.words - _words(record["arguments"]))
        distance = others, abs(math.log(record["work"] / self.work))
        if distance <= self.distance:
            self.distance, self.record = distance, record


def _is_sound(record: Any, what: str) -> bool:
    """Does it say how much work took how much? A damaged one may say anything."""
    if not isinstance(record, dict) or not isinstance(record.get("arguments"), dict):
        return False
    numbers = record.get("work"), record.get(what), record.get("memory", 0)
    sound = all(isinstance(number, (int, float)) and 0 <= number < math.inf for number in numbers)
    return sound and record["work"] > 0 and isinstance(record.get("step"), str)


def seconds(task: Task, record: dict) -> float:
    """What a task will take, from what another of its step took."""
    return record["seconds"] * task.work / record["work"]


def names_of_data(task: Task) -> set[str]:
    """The names of the data sets that a task uses."""
    return {value for name, value in _words(task.keyed) if name == SPLIT}


def same_data(task: Task, record: dict) -> bool:
    """Does the record tell of the data set that a task uses, or uses it none?"""
    needed = {(SPLIT, name) for name in names_of_data(task)}
    return needed <= _words(record["arguments"])


def _words(arguments: dict) -> set:
    """Arguments that are text, with their names; those in mappings, and names of data sets, too.

    What stands for another task says nothing of how long this one takes.
    """
    pairs = set()
    for name, value in arguments.items():
        if isinstance(value, str):
            pairs.add((name, value))
        elif name == SPLIT and isinstance(value, list) and value:
            pairs.add((name, value[0]))
        elif isinstance(value, dict) and "task" not in value:
            pairs |= _words(value)
    return pairs


def _archived(steps: frozenset[str]) -> Iterable[dict]:
    folders = {runtime.root() / "figures", runtime.folder("figures")}
    for path in sorted(p for folder in folders for p in folder.glob(f"*/*/{archive.NAME}")):
        yield from archive.records(path, path.stat().st_mtime_ns, steps)


def _counted() -> Iterable[dict]:
    path = runtime.root() / "figures" / ON_DEVICES
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
