"""How long kernels take on a card, from what each of them reads, writes and computes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

Call = tuple[str, float, float]  # of a kernel: its operation, bytes, floating-point operations


@dataclasses.dataclass(frozen=True)
class Card:
    """A GPU in five numbers.

    Attributes
    ----------
    launch
        Seconds from one kernel's start to the next one's, when Python starts them.
    shortest
        Seconds that the smallest kernel takes, started by a graph or while others wait.
    bandwidth
        Bytes per second, read or written.
    rate
        Floating-point operations per second of products in float32.
    """

    name: str
    launch: float
    shortest: float
    bandwidth: float
    rate: float


# Bandwidth as copies reach it, and the datasheet's rate less a tenth. 5 µs a launch is what PyTorch
# takes for simple operations on a current processor; 2 µs is a usual time of the smallest kernels.
H200 = Card("NVIDIA H200", launch=5e-6, shortest=2e-6, bandwidth=4.3e12, rate=60e12)


@dataclasses.dataclass(frozen=True)
class Cost:
    """Seconds on a card: as launched now, by what binds; and how much less it could be.

    Attributes
    ----------
    launches
        Seconds in kernels that end before the next one is launched.
    bytes, flops
        Seconds in kernels bound by memory and by arithmetic.
    busy
        Seconds for which the card itself would work; a lower bound for graphs and processes.
    kernels
        Their number.
    """

    launches: float = 0.0
    bytes: float = 0.0
    flops: float = 0.0
    busy: float = 0.0
    kernels: float = 0.0

    @property
    def seconds(self) -> float:
        """In all, as launched now."""
        return self.launches + self.bytes + self.flops

    def by_processes(self, count: int) -> float:
        """Seconds for the same work when so many processes launch on one card."""
        return max(self.busy, self.seconds / count)

    def __mul__(self, factor: float) -> Cost:
        values = (factor * getattr(self, field.name) for field in dataclasses.fields(self))
        return Cost(*values)

    def __add__(self, other: Cost) -> Cost:
        fields = dataclasses.fields(self)
        return Cost(*(getattr(self, f.name) + getattr(other, f.name) for f in fields))


def cost(calls: Iterable[Call], card: Card = H200) -> Cost:
    """What kernels cost, one after another.

    Examples
    --------
    A sum of 4 MB is bound by its launch, one of 4 GB by memory:

    >>> [cost([("aten::sum", size, 0)]).seconds for size in (4e6, 4.3e9)]
    [5e-06, 0.001]
    """
    total = dict.fromkeys(("launches", "bytes", "flops", "busy"), 0.0)
    count = 0
    for _, moved, flops in calls:
        seconds = {
            "launches": card.launch, "bytes": moved / card.bandwidth, "flops": flops / card.rate
        }  # fmt: skip
        binds = max(seconds, key=seconds.__getitem__)
        total[binds] += seconds[binds]
        total["busy"] += max(card.shortest, seconds["bytes"], seconds["flops"])
        count += 1
    return Cost(**total, kernels=count)


def extrapolated(small: list[Call], large: list[Call], factor: float) -> list[Call]:
    """Kernels on `factor` times as many rows as `small`, where `large` has twice as many.

    What belongs to rows grows with them and what belongs to weights does not: a straight line
    through both. Where the two do not launch the same kernels, all of it grows.

    Examples
    --------
    >>> extrapolated([("aten::mm", 30, 8)], [("aten::mm", 40, 16)], factor=4)
    [('aten::mm', 60, 32)]
    """
    if [name for name, *_ in small] != [name for name, *_ in large]:
        return [(name, factor / 2 * moved, factor / 2 * flops) for name, moved, flops in large]

    def line(one: float, two: float) -> float:
        return max(one + (two - one) * (factor - 1), 0)

    return [
        (name, line(moved, more), line(flops, many))
        for (name, moved, flops), (_, more, many) in zip(small, large, strict=True)
    ]
