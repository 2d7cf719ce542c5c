import contextlib
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch

from kit import files, runtime
from kit.harness import machine, steps


def test_folders_do_not_depend_on_the_working_directory(tmp_path, monkeypatch):
    before = runtime.folder("data")
    monkeypatch.chdir(tmp_path)
    assert runtime.folder("data") == before
    assert runtime.folder("data", "mine") == tmp_path / "mine"


def test_devices():
    assert runtime.device("cpu") == torch.device("cpu")
    assert runtime.device("auto").type in ("cpu", "cuda")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "", "mps"])
def test_unknown_devices_are_named(name):
    with pytest.raises(ValueError, match="Unknown device"):
        runtime.device(name)


def test_a_gpu_that_is_not_there_is_one_sentence():
    with pytest.raises(ValueError, match=r"cuda:99.*use device auto or cpu"):
        runtime.device("cuda:99")


@pytest.mark.parametrize("jobs", [-1, 1.5, True, None, "2"])
def test_jobs_are_a_number_from_0_on(jobs):
    """A pool would refuse some of them in its own words, and take others for none."""
    for call in (
        lambda: machine.workers(jobs, "cpu"), lambda: steps.compute([], jobs=jobs),
        lambda: steps.estimate([], jobs=jobs),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=rf"^jobs is {jobs!r}: use 0 \(one process per core\)"):
            call()


def test_threads_are_put_back():
    before = torch.get_num_threads()
    with runtime.threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"Cannot write to the folder .*file/out"):
        files.writable(tmp_path / "file" / "out")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), files.atomic_write(path) as beside:
        beside.write_text(str(1 / (beside.write_text("half") - 4)))
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_workers_end_with_a_killed_parent():
    code = (
        "import time, os; from kit.harness import processes\n"
        "if __name__ == '__main__':\n"
        "    pool = processes.process_pool(1)\n"
        "    print(pool.submit(os.getpid).result(), flush=True)\n"
        "    time.sleep(60)\n"
    )
    script = runtime.folder("steps").parent / "parent.py"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(runtime.root())}
    parent = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment
    )
    worker = psutil.Process(int(parent.stdout.readline()))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    for _ in range(100):
        if not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.1)
    pytest.fail("the worker outlived its parent")


def test_draws_go_on_where_they_were_left_and_leave_no_trace():
    torch.manual_seed(5)
    before, draws, drawn = torch.get_rng_state(), runtime.Draws(3), []
    with draws:
        drawn.append(torch.randn(3))
        with draws.paused():
            assert torch.equal(torch.get_rng_state(), before)
            with runtime.Draws(4):  # another stream inside
                torch.rand(7)
        drawn.append(torch.randn(3))
    with contextlib.suppress(RuntimeError), draws:
        drawn.append(torch.randn(3))
        raise RuntimeError("out of order")
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(3)
    assert torch.equal(torch.cat(drawn), torch.cat([torch.randn(3) for _ in range(3)]))
