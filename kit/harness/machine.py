"""What computes: processors, GPUs, and how many processes to use."""

from __future__ import annotations

import contextlib
import functools
import platform
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit import runtime
from kit.constraints import Constraint, is_whole

if TYPE_CHECKING:
    import torch


JOBS = Constraint(
    lambda value: is_whole(value) and value >= 0,
    "use 0 (one process per core) or a positive whole number",
    {"type": "integer", "minimum": 0},
)


def device_type(name: str) -> str:
    """``"cpu"`` or ``"cuda"``; torch is asked only where a GPU may be, whether there is one.

    Raises
    ------
    ValueError
        The name is unknown.
    """
    if name == "auto":
        return runtime.device(name).type if has_driver() else "cpu"
    return runtime.kind_and_index(name)[0]


def has_driver() -> bool:
    """Is NVIDIA's driver here? Without one there is no GPU to be used."""
    return bool(shutil.which("nvidia-smi")) or Path("/dev/nvidiactl").exists()


def hardware(where: torch.device) -> dict[str, str | int]:
    """What computes: processor or GPU, threads, versions."""
    import torch

    gpu = where.type == "cuda"
    return {
        "device": where.type,
        "processor": torch.cuda.get_device_name(where) if gpu else _processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__.split("+")[0],
        "python": platform.python_version(),
        "system": platform.system(),
    }


def names(machines: Iterable[Mapping[str, Any]]) -> str:
    """One phrase on what computed: the machines that :func:`hardware` describes, each once.

    Examples
    --------
    >>> names([{"processor": "AMD EPYC", "threads": 1, "torch": "2.15.0", "system": "Linux"}])
    'AMD EPYC (1 thread), torch 2.15.0'
    """
    kinds = {
        f"{m['processor']} ({m['threads']} thread{'' if m['threads'] == 1 else 's'}), "
        f"torch {m['torch']}"
        for m in machines
    }
    return "; ".join(sorted(kinds))


@contextlib.contextmanager
def device_memory() -> Iterator[dict[str, int]]:
    """Measure the bytes that the block takes on a GPU: ``device_memory``, after its end."""
    import torch

    held: dict[str, int] = {}
    gpu = runtime.device() if torch.cuda.is_available() else None
    if gpu is None or gpu.type != "cuda":
        yield held
        return
    torch.cuda.reset_peak_memory_stats(gpu)
    yield held
    held["device_memory"] = torch.cuda.max_memory_allocated(gpu)


@functools.cache
def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def workers(jobs: int, kind: str) -> int:
    """How many processes to use: `jobs`, or for 0 one per core (one in all on a GPU).

    Parameters
    ----------
    jobs
        From 0 on.
    kind
        Type of the device: ``"cpu"`` or ``"cuda"``.
    """
    jobs = JOBS.check("jobs", jobs)
    if jobs or kind == "cuda":
        return jobs or 1
    import joblib  # knows what share of the cores a container may use

    return joblib.cpu_count()
