"""How near the main computations come to what this processor can do.

    python -m benchmarks.limit --data DATA_FOLDER

needs mnist in the data folder, takes some five minutes, and wants a machine that does nothing else.
On one core it measures the processor's own peaks (float32 and bfloat16 products, copies, the call
of an operation on a single number), and then each computation: its seconds, and, in a second run
that is not timed, its floating-point operations, its calls and the bytes that these read and write.
It writes benchmarks/results/limit-PROCESSOR.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

import kit
from benchmarks import models
from benchmarks.rows import machine_name, measured
from kit.harness import machine

GREY, COLOUR = (1, 28, 28), (3, 32, 32)
NETS = {
    "lenet5": GREY, "graynet": GREY, "colornet": COLOUR, "resnet8": COLOUR, "resnet20": COLOUR,
    "vgg_small": COLOUR, "densenet_small": COLOUR, "hand_a": COLOUR, "hand_b": COLOUR,
    "hand_a_narrow": (3, 16, 16),
}  # fmt: skip
QUERIES, KS = 1000, (1, 3, 5, 7)


class Counted(TorchDispatchMode):
    """Counts calls, floating-point operations and bytes of the operations inside the block."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.flops, self.bytes = 0, 0.0, 0.0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Call an operation; one that only names memory anew costs nothing."""
        out = func(*args, **(kwargs or {}))
        if not func.is_view and "empty" not in func.__name__:
            self.calls += 1
            tensors = [t for t in tree_leaves((args, kwargs, out)) if isinstance(t, Tensor)]
            self.bytes += sum(t.numel() * t.element_size() for t in tensors)
            if func._overloadpacket in flop_registry:
                count = flop_registry[func._overloadpacket]
                self.flops += count(*args, **(kwargs or {}), out_val=out)
        return out


@dataclasses.dataclass(frozen=True)
class Peaks:
    """What one core reaches: operations per second, bytes per second, seconds of a small call."""

    float32: float
    bfloat16: float
    copies: float
    call: float


def peaks() -> Peaks:
    """Measure them."""
    rates = []
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.rand(2048, 2048).to(dtype)
        rates.append(2 * 2048**3 / seconds(lambda a=a: a @ a))
    there = torch.rand(2**26)
    copy = there.clone()
    copies = 2 * there.numel() * 4 / seconds(lambda: copy.copy_(there))

    def small() -> None:  # as nets call operations: recorded, and once more backwards
        y = torch.ones(1, requires_grad=True)
        for _ in range(1000):
            y = y.relu()
        y.backward()

    with Counted() as count:
        small()
    return Peaks(*rates, copies, seconds(small) / count.calls)


def seconds(way: Callable[[], Any], runs: int = 5) -> float:
    """The median's, after a first run that warms up."""
    times = []
    for _ in range(runs + 1):
        started = time.perf_counter()
        way()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def works(root: str, quick: bool) -> Iterator[tuple[str, Callable[[], Any], float]]:
    """Each computation with its name and, where PyTorch cannot count them, its operations.

    Images of noise serve where the time does not depend on what they show.
    """
    count, passes = (64, 3) if quick else (512, 10)
    y = torch.arange(count) % 10
    for name, shape in NETS.items():
        net, x = kit.nets.build(name, shape), torch.rand(count, *shape)
        yield f"training, {name}", lambda n=net, x=x: kit.training.fit(n, x, y, epochs=1), 0
        if name.startswith(("hand", "resnet8")):
            gm = kit.misalignment.misaligned(kit.misalignment.unit(x).view_as(x))
            yield (
                f"training with the GM loss, {name}",
                lambda n=net, x=x, gm=gm: kit.training.fit(n, x, y, epochs=1, loss=gm),
                0,
            )
        yield (
            f"PGD, {passes} steps, {name}",
            lambda n=net, x=x: kit.attacks.pgd(n, x[:256], y[:256], eps=0.1, steps=passes),
            0,
        )
    yield "a generation of MDD-ES, 4 candidates", _generation(count), 0

    mnist = kit.data.load("mnist", root, test=QUERIES)
    few = dataclasses.replace(mnist, x_train=mnist.x_train[:5000], y_train=mnist.y_train[:5000])
    _, net, x, labels = models.trained("LeNet-5", few, models.lenet, 2, 20 if quick else 100)
    yield (
        "CW, 100 steps, lenet5",
        lambda: kit.attacks.cw_l2(net, x, labels, steps=100, search_steps=1),
        0,
    )
    yield "nearest in L2, 100 passes, lenet5", lambda: kit.attacks.nearest_l2(net, x, labels), 0
    yield "DeepFool, lenet5", lambda: kit.attacks.deepfool(net, x, labels), 0
    yield "CLEVER, 2 images, lenet5", lambda: kit.robustness.clever(net, x[:2]), 0
    queries = mnist.x_test[: 50 if quick else QUERIES]
    yield (
        f"exact K-NN, MNIST, {len(queries)} queries",
        lambda: kit.neighbors.predict(mnist.x_train, mnist.y_train, queries, KS),
        2.0 * len(mnist.x_train) * len(queries) * mnist.x_train[0].numel(),
    )


def _generation(count: int) -> Callable[[], Any]:
    x, y = torch.rand(count, *GREY), torch.arange(count) % 10
    noise = torch.stack([kit.perturbations.uniform(10, 5, GREY, seed=seed) for seed in range(4)])
    return lambda: kit.evolution.fitness(noise, x, y, epochs=1, discriminator_epochs=1)


def reached(name: str, way: Callable[[], Any], flops: float, peak: Peaks) -> dict[str, Any]:
    """One computation's row: what it reaches, and what its time goes to."""
    taken = seconds(way, 3)
    with Counted() as count:
        way()
    flops = flops or count.flops
    return {
        "computation": name,
        "seconds": taken,
        "GFLOP": flops / 1e9,
        "GFLOP/s": flops / taken / 1e9,
        "of float32's peak (%)": 100 * flops / taken / peak.float32,
        "calls": count.calls,
        "calls alone (%)": 100 * count.calls * peak.call / taken,
        "memory alone (%)": 100 * count.bytes / peak.copies / taken,
        "what takes the time": operations(way) if flops / taken < peak.float32 / 2 else "",
    }


def operations(way: Callable[[], Any], most: int = 4) -> str:
    """The operations that take most of the time, with their shares."""
    with profile(activities=[ProfilerActivity.CPU]) as run:
        way()
    times = pd.Series({e.key: e.self_cpu_time_total for e in run.key_averages()})
    shares = (100 * times / times.sum()).nlargest(most)
    return ", ".join(f"{key.removeprefix('aten::')} {share:.0f} %" for key, share in shares.items())


def as_text(peak: Peaks, table: pd.DataFrame, quick: bool) -> str:
    """The page."""
    here = machine.hardware(kit.runtime.device())
    columns = {
        "seconds": 3, "GFLOP": 3, "GFLOP/s": 3, "of float32's peak (%)": 2, "calls": 5,
        "calls alone (%)": 2, "memory alone (%)": 2,
    }  # fmt: skip
    for name, digits in columns.items():
        table[name] = [f"{float(f'{value:.{digits}g}'):,g}" for value in table[name]]
    return "\n".join(
        [
            f"# How near the processor's limit, on {here['processor']}", "",
            f"{measured()}; one thread, {torch.backends.cpu.get_cpu_capability()}, "
            f"Python {here['python']}, torch {torch.__version__.split('+')[0]}. "
            f"`python -m benchmarks.limit`.{' Tiny sizes: nothing to go by.' if quick else ''}", "",
            f"One core's own peaks in this run: products of matrices {peak.float32 / 1e9:.0f} "
            f"GFLOP/s in float32 and {peak.bfloat16 / 1e9:.0f} in bfloat16; copies "
            f"{peak.copies / 1e9:.0f} GB/s, read and written; {1e6 * peak.call:.1f} µs a call of an "
            "operation on one number.", "",
            "GFLOP are those of convolutions and products, as PyTorch counts them; those of K-NN "
            "are what all distances take. More than 100 % is possible: a Winograd convolution takes "
            "fewer operations than are counted, and K-NN computes in bfloat16 where the processor "
            "has units for it. *Calls alone* and *memory alone* say what share of the time as many "
            "calls on a single number would take, and as many bytes copied: where one is large, it "
            "binds. Below half of the peak the last column names the operations that take the time.",
            "",
            table.to_markdown(index=False, disable_numparse=True), "",
        ]
    )  # fmt: skip


def main() -> None:
    """Parse the command line, measure, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limit", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run?")
    parser.add_argument("--data", default="", help="where the data sets are (default: data/)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    peak, rows = peaks(), []
    for name, way, flops in works(arguments.data, arguments.quick):
        rows.append(reached(name, way, flops, peak))
        share = rows[-1]["of float32's peak (%)"]
        print(f"{name}: {share:.0f} % of the peak", flush=True)
    arguments.out.mkdir(exist_ok=True)
    text = as_text(peak, pd.DataFrame(rows), arguments.quick)
    (arguments.out / f"limit-{machine_name()}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
