"""Who works for a dask scheduler, as far as it says."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed import Client

SILENT = 10.0  # seconds without a sign of life that are worth a word
ASKED_EVERY = 2.0  # seconds between two questions


def later(client: Client, coroutine: Coroutine) -> Future:
    """What a coroutine of a client's will give."""
    loop: Any = client.loop
    return asyncio.run_coroutine_threadsafe(coroutine, loop.asyncio_loop)


class Roll:
    """The workers of a scheduler, asked for again and again without waiting for the answer.

    Attributes
    ----------
    workers : dict
        The threads of each worker, by its address.
    """

    def __init__(self, client: Client, address: str):
        self.client: Any = client
        self.address = address
        self.workers: dict[str, int] = {}
        # When a worker was last heard of, on the scheduler's clock and on ours.
        self._heard: dict[str, tuple[float, float]] = {}
        self._asked, self._answered = -math.inf, False
        self._answer: Future | None = None

    def look(self) -> None:
        """Take the scheduler's last answer, and ask it again from time to time."""
        now = time.monotonic()
        if self._answer is not None and self._answer.done():
            if not self._answer.exception():
                self._take(self._answer.result()["workers"], now)
            self._answer = None
        if self._answer is None and now - self._asked >= (ASKED_EVERY if self.workers else 0.2):
            self._answer = later(self.client, self.client.scheduler.identity(n_workers=-1))
            self._asked = now

    def is_alive(self, worker: str) -> bool:
        """Is a worker there, and was it heard of a moment ago?"""
        return worker in self.workers and time.monotonic() - self._heard[worker][1] < SILENT

    def trouble(self) -> str:
        """What keeps tasks waiting, in one sentence; empty where nothing does."""
        if self._answer is not None and time.monotonic() - self._asked > SILENT:
            return f"The scheduler {self.address} has not answered for {SILENT:.0f} s."
        if self._answered and not self.workers:
            return (
                f"The scheduler {self.address} has no worker: tasks wait until one is started "
                f"(dask worker {self.address} --nthreads 1)."
            )
        silent = [worker for worker in self.workers if not self.is_alive(worker)]
        if silent:
            return (
                f"{len(silent)} of {len(self.workers)} workers ({silent[0]}"
                f"{', …' * (len(silent) > 1)}) gave no sign of life for {SILENT:.0f} s: what it "
                "computes is begun anew elsewhere once the scheduler gives it up."
            )
        return ""

    def _take(self, workers: dict[str, dict], now: float) -> None:
        self._answered = True
        self.workers = {address: about["nthreads"] for address, about in workers.items()}
        before = self._heard
        self._heard = {}
        for address, about in workers.items():
            seen = about["last_seen"]
            known = before.get(address)
            self._heard[address] = known if known and known[0] == seen else (seen, now)
