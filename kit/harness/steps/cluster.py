"""Tasks on the workers of a dask scheduler, on this machine or on others."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import logging
import pickle
import socket
import time
import urllib.parse
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future, wait
from typing import TYPE_CHECKING, Any

from kit import runtime
from kit.harness.steps.roll import Roll, later
from kit.harness.steps.task import Task, leaves, mapped
from kit.harness.steps.workers import UnfitWorkerError, check_code, check_place, versions

if TYPE_CHECKING:
    from distributed import Client

LARGE = 1_000_000  # bytes of an argument that goes to a worker once, not with every task
HELD = 1_000_000_000  # bytes of such arguments that are kept for tasks to come
_SHOWN = 3  # workers that are named
_QUIET = {"distributed.admin.large-graph-warning-threshold": "1 TB"}


@functools.cache
def executor(address: str, data_root: str = "") -> Cluster:
    """The workers of a dask scheduler, as an executor for :func:`kit.harness.steps.compute`.

    It connects when the first task is to be computed. Before any task runs it makes sure that the
    scheduler and all workers have the caller's versions, and the workers the images and the device.

    Parameters
    ----------
    address
        Of the scheduler, such as ``tcp://host:8786``, or ``tls://…`` with the certificates that
        dask's configuration names.
    data_root
        Data folder of all workers; by default each has its own (``KIT_DATA``).

    Examples
    --------
    >>> executor("tcp://host:8786")  # nobody is asked yet
    Cluster('tcp://host:8786')
    """
    return Cluster(address, data_root=data_root)


def recognised(given: Executor | str | None, data_root: str = "") -> Executor | None:
    """An executor: a :class:`Cluster` for a scheduler's address, and for dask's own executor."""
    if isinstance(given, str):
        return executor(given)
    if type(given).__module__ == "distributed.cfexecutor":
        client = given._client  # type: ignore[union-attr]
        return Cluster(client.scheduler.address, client, data_root)
    return given


def check_reachable(address: str) -> None:
    """Refuse an address at which nothing listens, with a ValueError."""
    if importlib.util.find_spec("distributed") is None:
        raise ValueError("A scheduler needs the package distributed: pip install -e '.[cluster]'.")
    place = urllib.parse.urlsplit(address)
    try:
        socket.create_connection((place.hostname, place.port), timeout=5).close()
    except OSError as error:
        raise ValueError(
            f"No scheduler answers at {address} ({error}): start one there (dask scheduler), or "
            "mend the address."
        )


class Cluster(Executor):
    """Sends tasks to the workers of a dask scheduler; see :func:`executor`.

    Parameters
    ----------
    address
        Of the scheduler.
    client
        One that is connected to it; by default it is made when it is needed.
    data_root
        Data folder of the workers; empty for each one's own.
    """

    def __init__(self, address: str, client: Client | None = None, data_root: str = ""):
        self.address, self.data_root = address, data_root
        # What was sent once, and its size; what was used last stands last.
        self._sent: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        if client:
            self._use(client)

    def __repr__(self) -> str:
        return f"Cluster({self.address!r})"

    def begin(
        self,
        tasks: Iterable[Task],
        source: str,
        context: runtime.Context,
        note: Callable[[str], object],
    ) -> None:
        """Connect, and refuse who could not compute these tasks before any of them is sent.

        Parameters
        ----------
        tasks
            What is to be computed.
        source
            A digest of the kit's files; see :func:`kit.harness.steps.workers.source`.
        context
            Of the tasks.
        note
            Is told what one waits for; nothing while all is well.

        Raises
        ------
        BrokenExecutor
            The scheduler does not answer, or is gone.
        UnfitWorkerError
            The scheduler or a worker has other code or none, or a worker lacks images or a device.
        """
        if not self._is_connected():
            self._use(_connected(self.address))
        steps = {task.step.name: task.step for task in tasks}
        wanted = {k: v for step in steps.values() for k, v in versions(step, source).items()}
        code = [step.origin for step in steps.values()], wanted
        # The scheduler unpacks what it hands on: it needs the code, too.
        run, run_here = self.client.run, self.client.run_on_scheduler
        answer = later(self.client, run_here(check_code, *code, asynchronous=True))
        self._ask("the scheduler", {self.address: answer}, note)
        while not self.room(note):
            time.sleep(0.2)
        # Not as a task: a worker ends when it cannot unpack one.
        self._ask("the worker", {
            worker: later(self.client, run(check_code, *code, workers=[worker], asynchronous=True))
            for worker in self.roll.workers
        }, note)  # fmt: skip
        found = (leaf for task in tasks for leaf in leaves(task.arguments))
        images = {repr(leaf.asked_for): leaf for leaf in found if hasattr(leaf, "asked_for")}
        self._ask("the worker", {
            worker: self._pool.submit(check_place, list(images.values()), context, workers=[worker])
            for worker in self.roll.workers
        }, note)  # fmt: skip

    def submit(self, function: Callable, /, *arguments: Any, **options: Any) -> Future:
        """Have a worker call a function; large parts of a mapping among its arguments go once."""
        large: dict[str, Any] = {}  # by digest, what stands for their content
        small = [self._without(a, large) if isinstance(a, dict) else a for a in arguments]
        self._check_connected()
        return self._pool.submit(_call, function, small, large, options)

    def room(self, note: Callable[[str], object]) -> int:
        """How many tasks can be computed at once; what keeps the workers from it is noted."""
        self._check_connected()
        self.roll.look()
        note(self.roll.trouble())
        return sum(self.roll.workers.values())

    def settle(self) -> None:
        """Cancel what is still to be computed, and forget what was sent."""
        if self._is_connected():
            self._pool.shutdown(wait=False)
            self._use(self.client)

    def _use(self, client: Client) -> None:
        self.client: Any = client
        self.roll = Roll(client, self.address)
        self._pool: Any = client.get_executor(pure=False)
        self._sent.clear()

    def _is_connected(self) -> bool:
        return hasattr(self, "client") and self.client.status == "running"

    def _check_connected(self) -> None:
        if not self._is_connected():
            raise BrokenExecutor(f"the scheduler {self.address} is gone.")

    def _ask(self, kind: str, answers: Mapping[str, Future], note: Callable[[str], object]) -> None:
        """Wait for what each of some machines answers, and refuse them if any cannot compute.

        A worker that has gone or stopped meanwhile is not waited for.
        """
        left, reasons = dict(answers), dict[str, list[str]]()
        while left:
            done = wait(left.values(), timeout=0.5).done
            self.room(note)
            for who in [who for who, answer in left.items() if answer in done]:
                if error := left.pop(who).exception():
                    reasons.setdefault(_reason(error), []).append(who)
            if kind == "the worker":
                left = {who: answer for who, answer in left.items() if self.roll.is_alive(who)}
        if reasons:
            raise UnfitWorkerError(" ".join(
                f"{kind.capitalize()} {_listed(who)} cannot be used: {reason}"
                for reason, who in reasons.items()
            ))  # fmt: skip

    def _without(self, arguments: dict, large: dict[str, Any]) -> dict:
        """Arguments with marks in place of large ones, which are noted in `large`."""
        small = {}
        for name, value in arguments.items():
            content = pickle.dumps(value, protocol=5)
            if len(content) <= LARGE:
                small[name] = value
                continue
            key = f"large-{hashlib.sha256(content).hexdigest()}"
            large[key] = self._once(key, content)
            small[name] = _Large(key)
        return small

    def _once(self, key: str, content: bytes) -> Any:
        """A future of the content. As the result of a task it is made again if its worker dies."""
        self._check_connected()
        future, _ = self._sent.pop(key, (None, 0))
        future = future or self.client.submit(bytes, content, key=key)
        self._sent[key] = future, len(content)
        while len(self._sent) > 1 and sum(size for _, size in self._sent.values()) > HELD:
            self._sent.popitem(last=False)
        return future


class _Large(str):
    """The key of an argument that travels on its own, where it stands among the others."""


def _call(function: Callable, arguments: list, large: Mapping[str, bytes], options: dict) -> Any:
    """In a worker: call a function with its large arguments, each a copy of its own."""
    import torch

    torch.set_num_threads(1)  # for good: threads of a worker would undo each other's settings
    whole = mapped(
        arguments,
        lambda leaf: pickle.loads(large[leaf]) if isinstance(leaf, _Large) else leaf,
    )
    return function(*whole, **options)


def _connected(address: str) -> Client:
    try:
        check_reachable(address)  # dask would try for half a minute
        import dask
        import distributed

        dask.config.set(_QUIET)
        for name in ("distributed", "distributed.client"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # our sentences say it
        try:
            return distributed.Client(address, set_as_default=False)
        except AssertionError:  # a message came together with the first one: dask expects it alone
            return distributed.Client(address, set_as_default=False)
    except (ValueError, OSError) as error:
        raise BrokenExecutor(str(error))


def _reason(error: BaseException) -> str:
    """Why somebody cannot be used, and what to do."""
    if isinstance(error, (UnfitWorkerError, OSError, ValueError)):
        return str(error)
    missing = error.__cause__ or error
    return f"it lacks code ({missing}): install the caller's version there and start it anew."


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" * (len(names) > _SHOWN))
