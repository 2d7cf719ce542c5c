"""Where a task runs, and what is measured while it does."""

from __future__ import annotations

import datetime
import functools
import hashlib
import importlib
import operator
import os
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor, Future
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from kit import __version__, runtime
from kit.harness import machine
from kit.harness.steps.task import Step, mapped


class InProcess(Executor):
    """Computes in this process, at once."""

    def submit(self, function: Callable, /, *arguments: Any, **options: Any) -> Future:
        """The function's result or error, as a future that is done."""
        future: Future = Future()
        try:
            future.set_result(function(*arguments, **options))
        except (Exception, SystemExit) as error:
            future.set_exception(error)
        return future


class UnfitWorkerError(RuntimeError):
    """A worker cannot compute what the caller wants; the sentence says why and what to do."""


class OtherCodeError(UnfitWorkerError):
    """A worker would compute with other code than the caller, who would keep its numbers."""


def versions(step: Step, source: str) -> dict[str, str]:
    """What a worker needs, too: the step's version and code, the kit's, and torch's version."""
    return {
        step.name: f"version {step.version}" + (f" ({step.code})" if step.code else ""),
        "kit": f"{__version__} ({source})",
        "torch": _installed("torch"),
    }


def source() -> str:
    """A digest of the kit's own files, as they are now."""
    folder = Path(runtime.__file__).parent
    parts = [(str(p.relative_to(folder)), p.read_bytes()) for p in sorted(folder.rglob("*.py"))]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


_installed = functools.cache(metadata.version)
_process = functools.cache(psutil.Process)
_own_source = functools.cache(source)  # a worker may live long: what it has imported stays


def work(
    step: Step, wanted: Mapping[str, str], arguments: dict, context: runtime.Context
) -> tuple[dict, dict]:
    """In a worker: the step's result, and what was measured.

    Raises
    ------
    OtherCodeError
        The worker's versions are not the `wanted` ones.
    """
    _check_versions(step, wanted)
    arguments = mapped(arguments, _aligned)
    started = time.perf_counter()
    with runtime.use_context(context), runtime.threads(1):
        with machine.device_memory() as held:
            result = step.function(**arguments)
        hardware = machine.hardware(runtime.device())
    return result, {
        "hardware": hardware,
        "seconds": round(time.perf_counter() - started, 2),
        "memory": _process(os.getpid()).memory_info().rss,
        **held,
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def check_code(origins: Iterable[tuple[str, str]], wanted: Mapping[str, str]) -> None:
    """In a worker or a scheduler: refuse to work without the caller's code.

    Parameters
    ----------
    origins
        Where the steps are defined: module and qualified name.
    wanted
        The caller's versions.

    Raises
    ------
    OtherCodeError
        The versions here are others.
    ImportError, AttributeError
        A step is not here.
    """
    for module, place in origins:
        found = operator.attrgetter(place)(importlib.import_module(module))
        _check_versions(found, wanted)


def check_place(images: Iterable[Any], context: runtime.Context) -> None:
    """In a worker: refuse to work without the device and the images of some splits of data.

    Raises
    ------
    ValueError, OSError
        With one sentence on what is missing here.
    """
    with runtime.use_context(context):
        runtime.device()
        for split in images:
            split.load()


def _check_versions(step: Step, wanted: Mapping[str, str]) -> None:
    for name, version in versions(step, _own_source()).items():
        if version != wanted.get(name):
            raise OtherCodeError(
                f"A worker has {name} {version}, and the caller {wanted.get(name, 'none')}: give "
                "all workers the caller's version and start them anew."
            )


def _aligned(value: Any) -> Any:
    """Arrays as they lie in the caller's memory; what comes over a network may lie between bytes.

    Sums of such an array are taken in another order, and their last digits differ.
    """
    return np.require(value, requirements=["A", "W"]) if isinstance(value, np.ndarray) else value
