"""Memoised tasks: a computation that was finished once is read from disk ever after.

A *step* is an importable function of keyword arguments that returns a dictionary of arrays and
plain values. A *task* is a step with its arguments: plain JSON values, splits of data, and other
tasks or fields of them, which is all there is to say about dependencies. :func:`compute` finds what
is stored, runs the rest side by side and returns results in place of tasks.

Examples
--------
>>> @step(version=1)
... def square(*, n):
...     return {"square": n * n}
>>> @step(version=1)
... def add(*, a, b):
...     return {"sum": a + b}
>>> three, four = square.task(n=3), square.task(n=4)
>>> found = compute({"five": add.task(a=three["square"], b=four["square"])}, jobs=1)
>>> found["five"]["sum"]
25
"""

from kit.harness.steps import archive
from kit.harness.steps.cluster import check_reachable, executor
from kit.harness.steps.compute import Estimate, compute, estimate, stored
from kit.harness.steps.interrupts import Interrupted
from kit.harness.steps.store import Result, Store
from kit.harness.steps.task import REGISTRY, Field, Step, Task, leaves, step

__all__ = [
    "REGISTRY",
    "Estimate",
    "Field",
    "Interrupted",
    "Result",
    "Step",
    "Store",
    "Task",
    "archive",
    "check_reachable",
    "compute",
    "estimate",
    "executor",
    "leaves",
    "step",
    "stored",
]
