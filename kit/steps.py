"""Memoised steps: a computation that was finished once is read from disk ever after.

A step is an importable function of plain keyword parameters that returns a flat dictionary of
arrays and plain values. Its entry on disk is found by the step's name, its version and its
parameters; a data set enters through its fingerprint. Where the step ran is recorded in the entry
and is no part of the key.
"""

import dataclasses
import datetime
import functools
import hashlib
import inspect
import json
import time
import zipfile
import zlib
from concurrent.futures import FIRST_COMPLETED, wait
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import psutil

from kit import runtime

ELSEWHERE = ("data_root", "device")  # say where a step runs, not what it computes
REGISTRY = {}
# What reading a missing, cut off or altered entry raises.
_DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError, NotImplementedError, zlib.error)
_DAMAGED += (zipfile.BadZipFile,)


class Step:
    """A memoised function; made by :func:`step`, called like the function itself."""

    def __init__(self, function, version):
        self.function, self.version = function, version
        functools.update_wrapper(self, function)

    def __reduce__(self):
        return self.__qualname__  # travels to other processes by name, as functions do

    @property
    def name(self):
        """Name in the store: experiment and function, as in ``knn_tradeoff.study``."""
        room = self.function.__module__.removeprefix("kit.experiments.").partition(".")[0]
        return f"{room}.{self.function.__name__}"

    def path(self, parameters):
        """Where the entry of these parameters lies, without suffix."""
        inspect.signature(self.function).bind(**parameters)
        plain = {k: v for k, v in parameters.items() if k not in ELSEWHERE}
        text = json.dumps([self.name, self.version, plain], sort_keys=True, allow_nan=False)
        key = hashlib.sha256(text.encode()).hexdigest()[:20]
        return runtime.folder("steps") / self.name / key

    def read(self, parameters):
        """The entry of these parameters: a dictionary, or None where there is no whole one."""
        return _read(self.path(parameters))

    def __call__(self, **parameters):
        """The function's result, computed only where no entry holds it."""
        return self.entry(**parameters)["result"]

    def entry(self, **parameters):
        """Like a call, with the record of how it was made: ``{"result", "record"}``."""
        found = self.read(parameters)
        if found is None:
            _write(self.path(parameters), *_compute(self, parameters))
            found = self.read(parameters)
        return found


def step(version):
    """Make a function a memoised step.

    Parameters
    ----------
    version : int
        Raise it whenever the function's numbers change: old entries are then left alone.

    Examples
    --------
    >>> @step(version=1)
    ... def double(*, n):
    ...     return {"twice": 2 * n}
    >>> double(n=4)["twice"]
    8
    """

    def decorate(function):
        made = Step(function, version)
        REGISTRY[made.name] = made
        return made

    return decorate


@dataclasses.dataclass(frozen=True)
class Call:
    """One step with its parameters, and roughly what it costs on one CPU core."""

    step: Step
    parameters: dict
    label: str
    seconds: float = 0.0
    memory: float = 0.0  # bytes
    disk: float = 0.0  # bytes
    after: tuple = ()  # calls, listed earlier, whose results this one reads

    def done(self):
        """Is the result on disk?"""
        return self.step.read(self.parameters) is not None


def gather(calls, *, jobs=0, device="auto", report=print):
    """Entries of many calls, in their order: read from disk, or computed side by side.

    Parameters
    ----------
    calls : sequence of Call
    jobs : int
        Processes; 0 means one per core (one in all on a GPU).
    device : str
        As in :func:`kit.runtime.device`.
    report : callable
        Is told one line per finished call.

    Returns
    -------
    list of dict
        ``{"result": …, "record": …}`` each. The number of processes changes no number in them.

    Raises
    ------
    RuntimeError
        A worker process was killed. Finished calls stay on disk.
    """
    entries = [call.step.read(call.parameters) for call in calls]
    missing = [i for i, entry in enumerate(entries) if entry is None]
    if len(missing) < len(calls):
        report(f"{len(calls) - len(missing)} of {len(calls)} steps were already on disk")
    jobs = min(runtime.workers(jobs, runtime.device(device)), len(missing))
    for done, (i, entry) in enumerate(_computed(calls, missing, jobs), 1):
        entries[i] = entry
        report(f"{calls[i].label}: {entry['record']['seconds']:.0f} s ({done} of {len(missing)})")
    return entries


def _computed(calls, missing, jobs):
    """Compute the calls at some positions; yield each position with its entry."""
    if jobs <= 1:
        yield from ((i, _entry(calls[i].step, calls[i].parameters)) for i in missing)
        return
    waiting = {id(calls[i]): i for i in missing}  # until done, in the order of the list
    running = {}
    with runtime.process_pool(jobs) as pool:
        try:
            while waiting:
                for i in _ready(calls, waiting, running)[: jobs - len(running)]:
                    running[pool.submit(_entry, calls[i].step, calls[i].parameters)] = i
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    i = running.pop(future)
                    yield i, future.result()
                    del waiting[id(calls[i])]
        except BrokenProcessPool as error:
            raise RuntimeError(
                "A worker process was killed, perhaps for lack of memory: "
                "run again with fewer jobs; finished steps are kept."
            ) from error
        except BaseException:  # an interrupt, too, must not wait for the steps in flight
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _ready(calls, waiting, running):
    """Positions of calls that wait for nothing but a free process."""
    started = set(running.values())
    return [
        i
        for i in waiting.values()
        if i not in started and not any(id(call) in waiting for call in calls[i].after)
    ]


def sizes():
    """Bytes in the store per step, as ``{"knn_tradeoff.study": 123456}``."""
    store = runtime.folder("steps")
    folders = sorted(store.iterdir()) if store.is_dir() else []
    return {f.name: sum(p.stat().st_size for p in f.iterdir()) for f in folders if f.is_dir()}


def _entry(made, parameters):
    return made.entry(**parameters)


def _compute(made, parameters):
    where = runtime.device(parameters.get("device", "cpu"))
    started = time.perf_counter()
    with runtime.threads(1):
        result = made.function(**parameters)
        machine = runtime.hardware(where)
    record = {
        "step": made.name,
        "version": made.version,
        "parameters": {k: v for k, v in parameters.items() if k not in ELSEWHERE},
        "hardware": machine,
        "seconds": round(time.perf_counter() - started, 2),
        "memory": psutil.Process().memory_info().rss,
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    return result, record


def _write(path, result, record):
    arrays = {k: v for k, v in result.items() if isinstance(v, np.ndarray)}
    plain = {k: v for k, v in result.items() if k not in arrays}
    if any(array.dtype.hasobject for array in arrays.values()):
        raise TypeError(
            f"{record['step']} returned an array of Python objects: it would be pickled."
        )
    with runtime.written_whole(path.with_suffix(".npz")) as beside:
        np.savez_compressed(beside, **arrays)
    # The text goes last: an entry without it does not count.
    text = json.dumps({"record": record, "result": plain}, indent=1, allow_nan=False)
    with runtime.written_whole(path.with_suffix(".json")) as beside:
        beside.write_text(text + "\n", encoding="utf-8")


def _read(path):
    try:
        entry = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
            entry["result"].update(arrays)
        return entry
    except _DAMAGED:
        return None  # missing or damaged: to be computed again
