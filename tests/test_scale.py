"""Very many tasks, and many workers: nothing grows faster than the plan, and the lab is a lab."""

import pytest

from benchmarks import scale
from kit.harness.steps import compute, records


@pytest.fixture
def tasks(store):
    return scale.plan(16)


def test_the_records_looked_at_grow_as_the_plan_does(store, monkeypatch):
    met, meet = [], records._Nearest.meet
    monkeypatch.setattr(
        records._Nearest, "meet", lambda self, record: (met.append(record), meet(self, record))
    )
    counts = []
    for size in (30, 120):
        met.clear()
        monkeypatch.setenv("KIT_STEPS", str(store / str(size)))
        compute(scale.plan(size), jobs=1, device="cpu")
        counts.append(len(met))
    assert counts[0] > 0
    assert counts[1] <= 5 * counts[0]


@pytest.mark.parametrize(("workers", "taken"), [(1, 16.0), (2, 8.0), (100, 5.0)])
def test_a_lab_takes_as_long_as_its_work_and_its_longest_chain_allow(tasks, workers, taken):
    """A tree: the second task needs the first one, then two need the second, then four, …"""
    seconds = dict.fromkeys(tasks, 1.0)
    found = scale.simulated(tasks, seconds, workers)
    assert found == taken if workers != 2 else taken < found <= taken + 2
    assert len(scale.critical_path(tasks, seconds)) == 5


def test_every_part_is_measured(store):
    found = scale.measure(20)
    assert set(found) == {f"{part} (ms)" for part in scale.PARTS} | {"memory (kB)"}
    assert all(value > 0 for name, value in found.items() if name != "memory (kB)")
