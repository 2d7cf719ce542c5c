"""A scheduler of dask with workers on loopback, each in a process and a home of its own."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from kit import runtime
from kit.harness.steps import cluster, step

CODE = (runtime.root(), Path(__file__).parent)  # the kit, and the steps of the tests
SECONDS = 60  # for a process to start, on a machine that has much to do


class SmallCluster:
    """Starts processes in a folder, and ends all of them with the block."""

    def __init__(self, folder, code=CODE, **settings):
        self.folder, self.processes = folder, []
        options = ["--port", "0", "--scheduler-file", folder / "scheduler.json"]
        self.scheduler = self.start("scheduler", options, code, settings)
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, ValueError, KeyError):
                self.address = json.loads((folder / "scheduler.json").read_text())["address"]
                break
            time.sleep(0.05)

    def workers(self, *names, **options):
        """Start workers and wait until they are there."""
        started = [self.worker(name, **options) for name in names]
        with cluster._connected(self.address) as client:
            client.wait_for_workers(len(names), timeout=SECONDS)
        return started

    def worker(self, name, code=CODE, **settings):
        """Start a worker; it is there a little later."""
        options = [self.address, "--nthreads", "1", "--no-nanny", "--name", name]
        options += ["--local-directory", self.folder / name]
        return self.start("worker", options, code, settings, name)

    def start(self, what, options, code, settings, name="scheduler"):
        home = self.folder / f"{name}-home"
        home.mkdir()
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "PYTHONPATH": os.pathsep.join(map(str, code)),
            "KIT_STEPS": str(home / "steps"),
            "KIT_DATA": str(home / "data"),
            "OMP_NUM_THREADS": "1",
            "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "false",
            **settings,
        }
        loopback = ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"]
        command = [sys.executable, "-m", "dask", what, *loopback, *map(str, options)]
        with open(self.folder / f"{name}.log", "wb") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=home)
        self.processes.append(process)
        return process

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for process in self.processes:
            process.kill()
            process.wait()


@step(version=1)
def naps(*, n, seconds, seen=""):
    """Sleep, and leave a file where it is to be seen that it ran."""
    if seen:
        Path(seen, str(n)).touch()
    time.sleep(seconds)
    return {"n": n}


@step(version=1)
def numbers(*, n):
    """Many numbers, whose sum depends on its order."""
    return {"x": np.random.default_rng(n).random(300_000, dtype=np.float32)}


@step(version=1)
def spoilt(*, x, n):
    """Sum them, and then write over them."""
    total = float(x.sum())
    x[:] = n
    return {"sum": total, "aligned": bool(x.flags.aligned)}


@step(version=1)
def where(*, n):
    """In which process, with which context, threads and folder."""
    import torch

    return {
        "pid": os.getpid(),
        "data_root": runtime.context().data_root,
        "data": str(runtime.folder("data")),
        "threads": torch.get_num_threads(),
    }


@step(version=1)
def count(*, split):
    """How many images are there to train on?"""
    return {"images": len(split.load().x_train)}
