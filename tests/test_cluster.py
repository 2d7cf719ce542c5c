"""Tasks on a real scheduler of dask, with real workers on loopback that have homes of their own."""

import contextlib
import gc
import importlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time

import notebook
import numpy as np
import psutil
import pytest
from matplotlib.figure import Figure
from small_cluster import CODE, SmallCluster, count, naps, numbers, spoilt, where
from test_notebooks import DATED, TINY

import run_all
from kit import runtime
from kit.experiments.images import split
from kit.harness import steps
from kit.harness.steps import cluster as clusters
from kit.harness.steps import compute, roll, schedule
from kit.harness.steps.store import Store

pytest.importorskip("distributed", reason="no distributed: pip install '.[cluster]'")
ROOT = runtime.root()


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two workers who have all they need."""
    with SmallCluster(tmp_path_factory.mktemp("pair")) as cluster:
        cluster.workers("a", "b")
        yield cluster


@pytest.fixture
def lonely(tmp_path):
    """A scheduler without a worker, which gives silent ones up after some seconds."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    with SmallCluster(folder, DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL="4s") as cluster:
        yield cluster


@pytest.fixture(autouse=True, scope="module")
def _connections_end():
    """A client's threads draw random numbers for as long as it is open."""
    import distributed

    yield
    for client in [o for o in gc.get_objects() if isinstance(o, distributed.Client)]:
        client.close(timeout=1)
    steps.executor.cache_clear()


@pytest.fixture(autouse=True)
def _fresh(store, monkeypatch):
    monkeypatch.setattr(roll, "SILENT", 2.0)
    monkeypatch.setattr(roll, "ASKED_EVERY", 0.5)


def stored():
    """Files of finished tasks, and when they were written."""
    return {p: p.stat().st_mtime_ns for p in Store().folder.rglob("[!.]*.json")}


@contextlib.contextmanager
def once_one_is_kept(action, paper=""):
    """Do something in a thread as soon as a task, of a paper, is finished."""

    def watch():
        while not any(path.parent.name.startswith(paper) for path in stored()):
            time.sleep(0.02)
        action()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    yield
    thread.join()


# --- as on this machine ------------------------------------------------------------------------

PAPERS = ("01_evolved_perturbations", "04_neuroevolution_gm")
EMPTY_PICTURES = """
from matplotlib.figure import Figure
save = Figure.savefig
Figure.savefig = lambda figure, place, **options: save(Figure((1, 1)), place, **options)
"""


def tables(folder):
    """The bytes of tables and verdicts."""
    files = (p for s in ("csv", "md", "json") for p in folder.glob(f"*.{s}"))
    return {p.name: p.read_bytes() for p in files if p.name not in DATED}


def run_cells(name, folder, **options):
    """Run a notebook's cells in this process; the folder of its results."""
    values = TINY[name] | {"device": "cpu", "out": str(folder / name)} | options
    notebook.run(name, lambda *a, **k: None, demonstrations=False, **values)
    return folder / name


def started(name, folder, monkeypatch, address):
    """``run_all.py --scheduler`` on a notebook, which goes on by itself."""
    startup = folder / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "pictures.py").write_text(EMPTY_PICTURES)  # only tables are compared
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    options = [f"-p{name[:2]}.{key}={json.dumps(value)}" for key, value in TINY[name].items()]
    command = [sys.executable, ROOT / "run_all.py", *options, "--out", folder]
    return subprocess.Popen(
        [*command, "--scheduler", address], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def test_notebooks_give_the_same_bytes_though_a_worker_is_killed(lonely, tmp_path, monkeypatch):
    """Three at once: one by ``run_all.py``, the others' cells in this process."""
    _, second = lonely.workers("a", "b")
    there, here = tmp_path / "there", tmp_path / "here"
    command = started("03_knn_tradeoff", there, monkeypatch, lonely.address)
    monkeypatch.setattr(Figure, "savefig", lambda figure, *a, **k: None)
    on_cluster = {}
    with once_one_is_kept(second.kill, "neuroevolution_gm"):
        for name in reversed(PAPERS):
            folder = run_cells(name, there, scheduler=lonely.address, jobs=0)
            on_cluster[name] = tables(folder)
    printed, _ = command.communicate()
    assert command.returncode == 0, printed
    on_cluster["03_knn_tradeoff"] = tables(there / "custom" / "03_knn_tradeoff")
    monkeypatch.setenv("KIT_STEPS", str(tmp_path / "here-steps"))
    for name, expected in on_cluster.items():
        assert "claims.json" in expected
        assert tables(run_cells(name, here, jobs=1)) == expected
    assert not list(lonely.folder.rglob("steps"))  # of the workers: only the caller has a store


def test_results_are_those_of_this_machine(pair, tmp_path, monkeypatch):
    tree = [spoilt.task(x=numbers.task(n=k)["x"], n=n) for k in (1, 2) for n in range(4)]
    found = compute(tree, executor=pair.address)
    monkeypatch.setenv("KIT_STEPS", str(tmp_path / "here"))
    here = compute(tree, jobs=1)
    assert [dict(r) for r in found] == [dict(r) for r in here]
    assert all(r["aligned"] for r in found)
    assert not list(pair.folder.rglob("steps"))  # of the workers: only the caller has a store


def test_a_large_argument_is_sent_once_and_each_task_has_its_own_copy(pair):
    large = numbers.task(n=3)
    sums = compute([spoilt.task(x=large["x"], n=n) for n in range(6)], executor=pair.address)
    assert len({r["sum"] for r in sums}) == 1  # though each writes over it
    with clusters._connected(pair.address) as client:
        moves = client.run_on_scheduler(
            lambda dask_scheduler: [
                (key, start, end) for key, start, end, *_ in dask_scheduler.transition_log
            ]
        )
    made = [key for key, _, end in moves if key.startswith("large-") and end == "memory"]
    assert len(made) == len(set(made))


def test_all_workers_compute_with_one_thread_and_data_of_their_own(pair, tmp_path):
    tasks = [where.task(n=n) for n in range(8)]
    found = compute(tasks, executor=pair.address, data_root=str(tmp_path))
    assert {r["data_root"] for r in found} == {""}
    assert {r["data"] for r in found} <= {
        str(pair.folder / f"{name}-home" / "data") for name in "ab"
    }
    assert {r["threads"] for r in found} == {1}
    assert os.getpid() not in {r["pid"] for r in found}


def test_a_folder_for_the_data_of_all_workers_can_be_named(pair, tmp_path):
    workers = steps.executor(pair.address, data_root=str(tmp_path))
    assert compute(where.task(n=9), executor=workers)["data_root"] == str(tmp_path)


def test_so_many_tasks_at_once_as_workers_have_threads(pair, monkeypatch):
    most, show = [], schedule.Schedule.show
    monkeypatch.setattr(
        schedule.Schedule, "show", lambda self: (most.append(len(self.started)), show(self))
    )
    compute([naps.task(n=n, seconds=0.1) for n in range(6)], executor=pair.address)
    assert max(most) == 2
    most.clear()
    compute([naps.task(n=n, seconds=0.0) for n in range(4)], executor=pair.address, jobs=1)
    assert max(most) == 1


def test_dasks_own_executor_is_looked_after_too(pair):
    with clusters._connected(pair.address) as client:
        own = client.get_executor()
        found = compute([naps.task(n=n, seconds=0) for n in (1, 2)], executor=own)
        with pytest.raises(RuntimeError, match=r"The worker .* cannot be used: Device 'cuda:7'"):
            compute(naps.task(n=3, seconds=0), executor=own, device="cuda:7")
    assert [r["n"] for r in found] == [1, 2]


def test_nothing_listens_beyond_this_machine(pair):
    for process in pair.processes:
        listening = [
            c.laddr.ip
            for c in psutil.Process(process.pid).net_connections()
            if c.status == "LISTEN"
        ]
        assert set(listening) == {"127.0.0.1"}


# --- what is cancelled -------------------------------------------------------------------------


def test_an_interrupt_cancels_what_waits_at_the_workers(pair, tmp_path, monkeypatch):
    tasks = [naps.task(n=n, seconds=0.5, seen=str(tmp_path)) for n in range(8)]

    def interrupt(self):
        if len(list(tmp_path.iterdir())) > 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(schedule.Schedule, "show", interrupt)
    with pytest.raises(steps.Interrupted, match=r"[01234] of 8 tasks are kept"):
        compute(tasks, executor=pair.address, jobs=8)
    time.sleep(2)
    assert len(list(tmp_path.glob("?"))) < 6


def test_a_killed_caller_leaves_the_workers_free(pair, tmp_path):
    """As ``--timeout`` kills the process of a notebook."""
    seen = tmp_path / "seen"
    seen.mkdir()
    code = (
        "from small_cluster import naps; from kit.harness.steps import compute; "
        f"compute([naps.task(n=n, seconds=0.5, seen={str(seen)!r}) for n in range(8)], jobs=8, "
        f"executor={pair.address!r})"
    )
    caller = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, CODE))},
    )
    while not list(seen.iterdir()):
        assert caller.poll() is None
        time.sleep(0.05)
    caller.kill()
    caller.wait()
    time.sleep(2)
    assert len(list(seen.iterdir())) < 6


# --- what breaks -------------------------------------------------------------------------------


def test_a_worker_killed_in_the_middle_changes_nothing_but_time(lonely):
    first, _ = lonely.workers("a", "b")
    tasks = [naps.task(n=n, seconds=0.4) for n in range(8)]
    with once_one_is_kept(first.kill):
        found = compute(tasks, executor=lonely.address)
    assert [r["n"] for r in found] == list(range(8))


def test_a_stopped_worker_is_named_and_its_task_begun_anew_elsewhere(lonely, capsys):
    first, _ = lonely.workers("a", "b")
    tasks = [naps.task(n=n, seconds=0.4) for n in range(8)]
    with once_one_is_kept(lambda: first.send_signal(signal.SIGSTOP)):
        found = compute(tasks, executor=lonely.address)
    assert [r["n"] for r in found] == list(range(8))
    said = re.findall(
        r"1 of 2 workers \(tcp://\S+\) gave no sign of life for 2 s: .* \d of 8 tasks are kept\.",
        capsys.readouterr().err,
    )
    assert said


def test_a_scheduler_killed_in_the_middle_is_one_sentence_and_loses_nothing(lonely):
    lonely.workers("a")
    tasks = [naps.task(n=n, seconds=0.4) for n in range(4)]
    lost = r"^The executor has ended: the scheduler \S+ is gone\. [123] of 4 tasks are kept\.$"
    with pytest.raises(RuntimeError, match=lost), once_one_is_kept(lonely.scheduler.kill):
        compute(tasks, executor=lonely.address)
    before = stored()
    with pytest.raises(RuntimeError, match=r"No scheduler answers at .* of 4 tasks are kept\.$"):
        compute(tasks, executor=lonely.address)
    assert [r["n"] for r in compute(tasks, jobs=1)] == [0, 1, 2, 3]
    assert before.items() <= stored().items()


def test_without_a_worker_one_is_told_and_goes_on_as_soon_as_it_comes(lonely, capsys):
    started = threading.Timer(1.5, lonely.worker, ["late"])
    started.start()
    assert compute(naps.task(n=1, seconds=0), executor=lonely.address)["n"] == 1
    assert len(re.findall("has no worker: tasks wait until one", capsys.readouterr().err)) == 1


def refusal(cluster, task):
    """Why a task is not even sent; a later one is computed here."""
    with pytest.raises(RuntimeError, match=r"0 of 1 tasks are kept\.$") as failure:
        compute(task, executor=cluster.address)
    assert not stored()
    assert "\n" not in str(failure.value)
    return str(failure.value)


def without_kit(folder):
    """A path for Python on which there is no kit, even where it is installed."""
    (folder / "none" / "kit").mkdir(parents=True)
    text = "raise ModuleNotFoundError('No module named kit')"
    (folder / "none" / "kit" / "__init__.py").write_text(text)
    return [folder / "none"]


def test_workers_with_other_code_none_or_no_data_are_refused_in_one_sentence(lonely, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(ROOT / "kit", other / "kit", ignore=shutil.ignore_patterns("__pycache__"))
    with open(other / "kit" / "batches.py", "a") as file:
        file.write("# another version\n")
    images = {"x": np.arange(40 * 64, dtype=np.uint8).reshape(40, 8, 8), "y": np.arange(40) % 10}
    parts = {f"{k}_{part}": images[k] for k in images for part in ("train", "test")}
    np.savez(tmp_path / "mine.npz", **parts)
    nothing, mine = naps.task(n=1, seconds=0), split("mine", tmp_path)
    cases = {
        "older": ((other, CODE[1]), nothing, r"A worker has kit \S+ \(\w+\), and the caller \S+ "),
        "bare": (
            without_kit(tmp_path),
            nothing,
            r"it lacks code \(.*No module named kit.*\): install",
        ),
        "unsure": (CODE[:1], nothing, r"lacks code \(.*'small_cluster'.*\)"),
        "empty": (CODE, count.task(split=mine), "mine"),
    }
    for name, (code, task, reason) in cases.items():
        (worker,) = lonely.workers(name, code=code)
        said = refusal(lonely, task)
        assert re.match(r"The worker tcp://\S+ cannot be used: ", said)
        assert re.search(reason, said), said
        worker.kill()
        worker.wait()


def test_a_scheduler_without_the_kit_is_refused_in_one_sentence(tmp_path):
    with SmallCluster(tmp_path, code=without_kit(tmp_path)) as bare:
        said = refusal(bare, naps.task(n=1, seconds=0))
    assert re.match(
        r"The scheduler \S+ cannot be used: it lacks code \(No module named kit\)", said
    )


def test_a_step_of_a_script_is_refused_before_anybody_is_asked(monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "naps", naps, raising=False)
    monkeypatch.setattr(naps.function, "__module__", "__main__")
    with pytest.raises(ValueError, match=r"cannot import __main__\.naps, since it is defined in"):
        compute(naps.task(n=1, seconds=0), executor="tcp://127.0.0.1:9")


def test_an_address_where_nobody_answers_is_refused_before_anything_runs(capsys, monkeypatch):
    assert run_all.main(["--only", "03", "--scheduler", "tcp://127.0.0.1:9"]) == 2
    assert "No scheduler answers at tcp://127.0.0.1:9 (" in capsys.readouterr().err
    monkeypatch.setattr(clusters.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="needs the package distributed: pip install"):
        steps.check_reachable("tcp://127.0.0.1:9")


# --- what the documentation says ---------------------------------------------------------------

PAGE = (ROOT / "docs/cluster.md").read_text()
COMMANDS = [
    shlex.split(found)
    for found in re.findall(
        r"^[^#\n]*?\b(dask (?:scheduler|worker) --?[^'&\n]*|dask worker t[^'&\n]*)",
        PAGE.replace("\\\n", ""),
        re.M,
    )
    if "`" not in found
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_commands_listen_where_they_are_told_and_compute_with_one_thread(command):
    program = importlib.import_module(f"distributed.cli.dask_{command[1]}").main
    given = program.make_context(command[1], command[2:], resilient_parsing=True).params
    assert given["host"]
    assert given["dashboard_address"].startswith("127.0.0.1:")
    assert command[1] == "scheduler" or given["nthreads"] == 1


def test_all_commands_are_looked_at():
    assert [command[1] for command in COMMANDS] == ["scheduler", "worker"] * 3


def test_the_script_for_slurm_starts_workers_of_one_thread(tmp_path):
    """With a sbatch that keeps what it is given."""
    [script] = re.findall(r"^```python\n(.*?)^```", PAGE, re.S | re.M)
    script = script.replace('"ib0"', '"lo"').replace('"port": 8786', '"port": 0')
    script = script.replace("127.0.0.1:8787", "127.0.0.1:0")
    script = script.replace("signal.pause()", "cluster.sync(cluster._correct_state)")
    sbatch, scancel = tmp_path / "sbatch", tmp_path / "scancel"
    sbatch.write_text(f"#!/bin/sh\ncat $1 >> {tmp_path}/jobs\necho Submitted batch job 7\n")
    scancel.write_text("#!/bin/sh\n")
    for program in (sbatch, scancel):
        program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    shown = subprocess.check_output(
        [sys.executable, "-c", script], text=True, env=environment, cwd=tmp_path
    )
    jobs = (tmp_path / "jobs").read_text()
    for text in (shown, jobs):
        assert "--nthreads 1" in text
        assert "--nworkers 8" in text
        assert "tcp://127.0.0.1:" in text
        assert "#SBATCH --cpus-per-task=8" in text
        assert text.index("KIT_DATA") < text.index("dask_worker")
    assert jobs.count("#!/usr/bin/env bash") == 4
