"""Tasks: keys, the store, what is computed when and where, and what a damaged entry does."""

import dataclasses
import errno
import importlib
import json
import math
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jupyter_client.manager import start_new_kernel

from kit import runtime
from kit.data import Split
from kit.experiments.images import split
from kit.files import owner
from kit.harness import steps
from kit.harness.steps import compute, step, workers
from kit.harness.steps.store import Result, Store

CALLS = []


@step(version=1, label="square of {n}", work=lambda n, **_: n)
def squares(*, n, extra=None):
    CALLS.append(n)
    return {"squares": np.arange(n) ** 2, "count": n, "note": "plain", "nested": [{"n": n}]}


@step(version=1, label="total")
def total(*, of, plus=0):
    parts = of if isinstance(of, list) else [of]
    return {"total": int(sum(np.sum(part) for part in parts)) + plus}


@step(version=1)
def flags(*, of):
    return {"flags": [of.flags.aligned, of.flags.writeable]}


@step(version=1)
def fails(*, n):
    raise ArithmeticError(f"no {n}")


@step(version=1)
def returns(*, kind):
    return {"x": {"set": {1}}[kind]}


@step(version=1)
def dies(*, n):
    if n:
        os.kill(os.getpid(), 9)
    return {"n": n}


@step(version=1)
def blocked_signals(*, n):
    return {"blocked": [int(s) for s in signal.pthread_sigmask(signal.SIG_BLOCK, [])]}


@step(version=1)
def naps(*, n):
    time.sleep(2 if n else 0)
    return {"n": n}


@step(version=1)
def where(*, n):
    return {"context": dataclasses.asdict(runtime.context())}


@pytest.fixture(autouse=True)
def _fresh(store):
    CALLS.clear()


def one(task, **options):
    return compute(task, **{"jobs": 1, "device": "cpu", **options})


# --- keys and trees ----------------------------------------------------------------------------


def test_a_task_is_computed_once():
    first, second = one(squares.task(n=4)), one(squares.task(n=4))
    assert CALLS == [4]
    assert first["squares"].tolist() == second["squares"].tolist() == [0, 1, 4, 9]
    assert (second["count"], second["note"], second["nested"]) == (4, "plain", [{"n": 4}])


def test_equal_tasks_in_one_tree_are_computed_once():
    a, b = one([squares.task(n=4), squares.task(n=4)])
    assert CALLS == [4]
    assert a is b


def test_a_step_called_like_a_function_stores_nothing(store):
    assert squares(n=3)["count"] == 3
    assert not store.exists()


def test_where_it_runs_is_no_part_of_the_key(tmp_path):
    first = one(where.task(n=1), data_root=str(tmp_path))
    assert first["context"] == {"device": "cpu", "data_root": str(tmp_path)}
    assert one(where.task(n=1), data_root="elsewhere")["context"] == first["context"]
    assert str(tmp_path) not in json.dumps(first.record)
    assert runtime.context() == runtime.Context()


def test_a_new_version_leaves_old_entries_alone(monkeypatch):
    one(squares.task(n=4))
    monkeypatch.setattr(squares, "version", 2)
    one(squares.task(n=4))
    assert CALLS == [4, 4]


@pytest.mark.parametrize("bad", [{1}, object(), np.arange(3), b"bytes"])
def test_arguments_that_are_no_values_are_refused(bad):
    with pytest.raises(TypeError, match=r"test_steps.squares was given extra of type .*JSON"):
        squares.task(n=1, extra=[bad])


@pytest.mark.parametrize("arguments", [{"n": 4, "m": 1}, {}])
def test_missing_and_unknown_arguments_are_refused(arguments):
    with pytest.raises(TypeError):
        squares.task(**arguments)


def test_the_result_has_the_shape_of_the_tree():
    @dataclasses.dataclass(frozen=True)
    class Pair:
        left: object
        right: object
        name: str = "pair"

    tree = {
        "a": [squares.task(n=2), (squares.task(n=3)["count"],)],
        "b": Pair(squares.task(n=2), 7),
    }
    found = one(tree)
    assert found["a"][0]["count"] == 2
    assert found["a"][1] == (3,)
    assert (found["b"].left["count"], found["b"].right, found["b"].name) == (2, 7, "pair")
    assert isinstance(found["b"], Pair)
    assert sum(isinstance(leaf, Result) for leaf in steps.leaves(found)) == 2


def test_a_split_enters_the_key_by_what_it_says_not_by_what_is_known_of_it():
    digits = split("digits", train=50)
    plain = dataclasses.replace(digits, about=None)
    keys = {squares.task(n=1, extra=s).key for s in (digits, plain)}
    assert len(keys) == 1
    assert squares.task(n=1, extra=digits.at(2)).key not in keys


def test_the_key_is_the_same_in_every_process():
    code = (
        "from kit.data import Split; from kit.experiments.knn_tradeoff.steps import lenet; "
        "print(lenet.task(split=Split('digits', run=1), epochs=1).key)"
    )
    run = [sys.executable, "-c", code]
    keys = {
        subprocess.check_output(run, env={**os.environ, "PYTHONHASHSEED": seed}, cwd=runtime.root())
        for seed in "12"
    }
    assert len(keys) == 1


# --- dependencies ------------------------------------------------------------------------------


def test_a_task_as_argument_is_a_dependency():
    inner = squares.task(n=4)
    assert one(total.task(of=inner["squares"], plus=1))["total"] == 15
    assert one(total.task(of=[inner["squares"], inner["squares"]]))["total"] == 28
    assert one(total.task(of=inner["nested"][0]["n"]))["total"] == 4
    assert CALLS == [4]


def test_the_key_follows_the_dependency():
    assert (
        total.task(of=squares.task(n=4)["count"]).key
        != total.task(of=squares.task(n=5)["count"]).key
    )
    assert total.task(of=squares.task(n=4)["count"]).key != total.task(of=4).key


def test_what_a_stored_task_needed_is_not_computed_again(store):
    inner = squares.task(n=4)
    outer = total.task(of=inner["squares"])
    one(outer)
    for path in (store / squares.name).iterdir():
        path.unlink()
    assert one(outer)["total"] == 14
    assert CALLS == [4]
    one([outer, inner])
    assert CALLS == [4, 4]


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_long_chain_runs_in_order(jobs):
    chain = [total.task(of=1)]
    for n in range(2, 200):
        chain.append(total.task(of=chain[-1]["total"], plus=n % 2))
    with ThreadPoolExecutor(jobs) as pool:
        found = one(chain, executor=pool, jobs=jobs)
    assert [r["total"] for r in found[:5]] == [1, 1, 2, 2, 3]
    assert found[-1]["total"] == 100


def test_a_deep_chain_needs_no_deep_stack():
    task = total.task(of=1)
    for _ in range(1500):
        task = total.task(of=task["total"])
    assert len(steps.compute.__globals__["_lookup"](task, Store())[1]) == 1501


# --- executors ---------------------------------------------------------------------------------


class Pickling(Executor):
    """Sends everything through pickle, both ways, to a process that sees no store."""

    def __init__(self, folder):
        self.folder, self.sent = folder, 0

    def submit(self, function, /, *arguments, **options):
        future = Future()
        os.environ["KIT_STEPS"], before = str(self.folder / "none"), os.environ["KIT_STEPS"]
        try:
            call = pickle.loads(pickle.dumps((function, arguments, options)))
            future.set_result(pickle.loads(pickle.dumps(call[0](*call[1], **call[2]))))
        except Exception as error:
            future.set_exception(error)
        finally:
            os.environ["KIT_STEPS"] = before
        self.sent += 1
        return future


def test_workers_see_values_and_no_file_of_the_store(tmp_path):
    tree = [total.task(of=squares.task(n=n)["squares"]) for n in (3, 4)]
    pool = Pickling(tmp_path)
    found = one(tree, executor=pool)
    assert pool.sent == 4
    assert [r["total"] for r in found] == [5, 14]
    assert not (tmp_path / "none").exists()
    store = Store()
    assert store.sizes().keys() == {squares.name, total.name}


class Elsewhere(Pickling):
    """Calls what it is sent as another process would that differs in something."""

    def __init__(self, folder, monkeypatch, differs):
        super().__init__(folder)
        self.monkeypatch, self.differs = monkeypatch, differs

    def submit(self, function, /, *arguments, **options):
        with self.monkeypatch.context() as patch:
            patch.setattr(*self.differs)
            return super().submit(function, *arguments, **options)


@pytest.mark.parametrize(
    ("differs", "message"),
    [
        ((squares, "version", 2), r"has \S*squares version 2 .*, and the caller version 1 "),
        ((workers, "_own_source", lambda: "abc"), r"has kit 0\.\d\.\d \(abc\), and the caller "),
        ((workers, "_installed", lambda _: "1.0"), r"has torch 1\.0, and the caller 2\."),
    ],
)
def test_a_worker_with_other_code_is_refused_and_nothing_of_it_kept(
    tmp_path, monkeypatch, differs, message
):
    kept = one(squares.task(n=2))
    tasks = [squares.task(n=n) for n in (2, 3, 4)]
    with pytest.raises(RuntimeError, match=message) as failure:
        one(tasks, executor=Elsewhere(tmp_path, monkeypatch, differs))
    assert "start them anew. 1 of 3 tasks are kept." in str(failure.value)
    assert [Store().read(*task.identity) is None for task in tasks] == [False, True, True]
    assert kept["count"] == 2


class Unaligned(Executor):
    """Arrays arrive in read-only memory, between the places where numbers usually lie."""

    def submit(self, function, /, *arguments, **options):
        buffers = []
        sent = pickle.dumps((function, arguments), protocol=5, buffer_callback=buffers.append)
        moved = [memoryview(b"x" + bytes(buffer.raw()))[1:] for buffer in buffers]
        function, arguments = pickle.loads(sent, buffers=moved)
        future = Future()
        future.set_result(function(*arguments, **options))
        return future


def test_arrays_lie_in_workers_as_they_do_here():
    made = squares.task(n=1000)["squares"]
    assert one(flags.task(of=made), executor=Unaligned())["flags"] == [True, True]


class Cancelling(Executor):
    """As an executor whose scheduler is gone."""

    def submit(self, function, /, *arguments, **options):
        future = Future()
        future.cancel()
        future.set_running_or_notify_cancel()
        return future


def test_an_executor_that_cancels_its_tasks_is_one_sentence():
    with pytest.raises(RuntimeError, match=r"^The executor has ended: .*0 of 2 tasks are kept\.$"):
        one([squares.task(n=n) for n in (1, 2)], executor=Cancelling())


def test_a_process_pool_gives_the_same():
    found = compute([squares.task(n=n) for n in (3, 2, 1)], jobs=2, device="cpu")
    assert [r["count"] for r in found] == [3, 2, 1]
    assert not CALLS  # computed elsewhere
    assert {r.record["hardware"]["threads"] for r in found} == {1}


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_failure_stops_only_what_needs_it(jobs):
    """Whatever comes first: an error of a step, or a result that cannot be kept."""
    broken, strange = fails.task(n=1), returns.task(kind="set")
    lost = total.task(of=total.task(of=broken["n"])["total"])
    missing = total.task(of=squares.task(n=3)["nothing"])
    sound = [total.task(of=squares.task(n=n)["squares"]) for n in (2, 3, 4)]
    with pytest.raises(RuntimeError) as failure:
        compute([lost, broken, strange, missing, *sound], jobs=jobs, device="cpu")
    sentence = str(failure.value)
    assert sentence.startswith(
        "3 of 11 tasks failed, 2 that need them were not begun, and 6 are kept: "
    )
    assert "fails (ArithmeticError: no 1)" in sentence
    assert "The result x is of type set" in sentence
    assert "KeyError: 'nothing'" in sentence
    assert isinstance(failure.value.__cause__, (ArithmeticError, TypeError, KeyError))
    for task in (lost, broken, strange, missing):
        assert Store().read(*task.identity) is None
    assert [Store().read(*task.identity)["total"] for task in sound] == [1, 5, 14]


def test_of_many_failures_three_are_told():
    with pytest.raises(RuntimeError, match=r"^5 of 5 tasks failed, and 0 are kept: .*no 2\); …$"):
        one([fails.task(n=n) for n in range(5)])


def test_a_killed_worker_is_one_sentence():
    with pytest.raises(RuntimeError, match=r"worker process was killed.*are kept.*fewer jobs"):
        compute([dies.task(n=n) for n in (0, 1)], jobs=2, device="cpu")


def test_an_interrupt_says_what_is_kept_and_has_no_traceback():
    class Interrupting(Executor):
        def submit(self, function, /, *arguments, **options):
            if len(CALLS) == 2:
                raise KeyboardInterrupt
            future = Future()
            future.set_result(function(*arguments, **options))
            return future

    tasks = [squares.task(n=n) for n in (1, 2, 3)]
    with pytest.raises(KeyboardInterrupt) as stop:
        one(tasks, executor=Interrupting())
    sentence = "Interrupted: 2 of 3 tasks are kept; run the cell again to go on."
    assert stop.value._render_traceback_() == [sentence]
    one(tasks)
    assert CALLS == [1, 2, 3]


def test_an_interrupt_before_the_first_task_has_no_traceback_either(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, "read", interrupted)
    with pytest.raises(steps.Interrupted, match="run the cell again to go on") as stop:
        one(squares.task(n=1))
    assert stop.value._render_traceback_() == [str(stop.value)]


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="no signal masks on Windows")
def test_an_interrupt_reaches_no_worker_not_even_one_that_is_starting():
    found = compute([blocked_signals.task(n=n) for n in (1, 2)], jobs=2, device="cpu")
    assert [signal.SIGINT in r["blocked"] for r in found] == [True, True]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert signal.SIGINT not in one(blocked_signals.task(n=3))["blocked"]  # in this process


@pytest.fixture
def interruptible():
    """SIGINT as in a terminal: a process of pytest-xdist ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_of_processes_keeps_what_is_done(store, interruptible):
    """Sent when the first task is stored and others run."""

    def interrupt():
        while not list(store.glob("*naps/[!.]*.json")):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    tasks = [naps.task(n=n) for n in range(4)]
    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(steps.Interrupted, match=r"^Interrupted: [1-3] of 4 tasks are kept; run"):
        compute(tasks, jobs=2, device="cpu")
    kept = {path: path.stat().st_mtime_ns for path in store.glob("*naps/[!.]*.json")}
    assert [result["n"] for result in one(tasks)] == [*range(4)]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


CELL = """
import time
from kit.harness import steps
@steps.step(version=1)
def slow(*, n):
    time.sleep(0 if n < 2 else 60)
    return {"n": n}
steps.compute([slow.task(n=n) for n in range(5)], jobs=1, device="cpu")
"""


def test_the_stop_button_of_a_notebook_leaves_one_line(store):
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(runtime.root()))
    try:
        sent, after = client.execute(CELL), client.execute("print('with what results?')")
        deadline = time.monotonic() + 100
        while len(list(store.glob("*/*.json"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(0.5)
        manager.interrupt_kernel()
        while (reply := client.get_shell_msg(timeout=60))["parent_header"].get("msg_id") != sent:
            pass
        while (later := client.get_shell_msg(timeout=60))["parent_header"].get("msg_id") != after:
            pass
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert reply["content"]["status"] == "error"
    sentence = "Interrupted: 2 of 5 tasks are kept; run the cell again to go on."
    assert reply["content"]["traceback"] == [sentence]
    assert later["content"]["status"] == "aborted"  # "Run All" goes no further


def test_the_record_says_how_it_was_made():
    record = one(squares.task(n=4)).record
    assert record["step"] == "test_steps.squares"
    assert record["arguments"] == {"n": 4}
    assert (record["version"], record["work"]) == (1, 4.0)
    assert record["hardware"]["threads"] == 1
    assert record["seconds"] >= 0
    assert record["memory"] > 1e6
    assert record["disk"] > 0


# --- the store ---------------------------------------------------------------------------------


def files(task):
    path = Store().path(*task.identity)
    return path.with_suffix(".npz"), path.with_suffix(".json")


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("content", [None, b"", b"{", b"PK\x03\x04 cut off", b"[]", b"null"])
def test_a_damaged_entry_is_computed_again(which, content):
    task = squares.task(n=4)
    one(task)
    path = files(task)[which]
    path.unlink() if content is None else path.write_bytes(content)
    assert one(task)["count"] == 4
    assert CALLS == [4, 4]


def test_an_entry_of_another_task_under_this_name_is_not_taken():
    task, other = squares.task(n=4), squares.task(n=5)
    one([task, other])
    for mine, theirs in zip(files(task), files(other), strict=True):
        mine.write_bytes(theirs.read_bytes())
    assert one(task)["count"] == 4
    assert CALLS == [4, 5, 4]


def test_arrays_of_another_run_or_type_are_not_taken():
    task, other = squares.task(n=4), squares.task(n=5)
    one([task, other])
    files(task)[0].write_bytes(files(other)[0].read_bytes())
    assert one(task)["squares"].tolist() == [0, 1, 4, 9]
    with np.load(files(task)[0]) as arrays:
        changed = {name: array.astype(np.float64) for name, array in arrays.items()}
    np.savez_compressed(files(task)[0], **changed)
    assert one(task)["squares"].dtype == np.int64
    assert CALLS == [4, 5, 4, 4]


@pytest.mark.parametrize("which", [0, 1])
def test_no_flipped_bit_passes_or_crashes(which):
    task = squares.task(n=50)
    one(task)
    path = files(task)[which]
    sound = path.read_bytes()
    for place in range(0, len(sound), 5):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 0x10]) + sound[place + 1 :])
        store = Store()
        entry = store.read(*task.identity)
        if entry is None:
            assert store.damaged
        else:  # a bit that says nothing, such as one of a space
            assert entry.field() == squares(n=50) | {"squares": pytest.approx(np.arange(50) ** 2)}


def test_damage_is_mentioned_once(capsys):
    tasks = [squares.task(n=n) for n in (4, 5, 6)]
    one(tasks)
    for task in tasks[:2]:
        files(task)[1].write_text("{")
    capsys.readouterr()
    one(tasks)
    text = "".join(capsys.readouterr())
    assert text.count("do not fit and are computed again") == 1
    assert "2 stored results" in text


def test_entries_hold_no_pickle(store):
    @step(version=1)
    def objects(*, n):
        return {"array": np.array([{}], dtype=object)}

    with pytest.raises(RuntimeError, match="pickle"):
        one(objects.task(n=1))
    assert not [p for p in store.rglob("*") if p.is_file()]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(store, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"Could not write .*No space left.*run again"):
        one(squares.task(n=4))
    assert not [p for p in store.rglob("*") if p.is_file()]


def test_a_store_that_cannot_be_written_is_known_before_anything_is_computed(store):
    store.write_text("not a folder")
    with pytest.raises(OSError, match=r"Cannot write to the folder .*steps"):
        one(squares.task(n=4))
    assert not CALLS
    assert steps.estimate(squares.task(n=4), 1, "cpu").total == 1  # which writes nothing


def test_what_a_killed_process_left_behind_is_cleared(store):
    one(squares.task(n=4))
    folder = store / squares.name
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    left = folder / f".abc.{owner()}.{process.pid}.npz"
    mine = left.with_name(f".abc.{owner()}.{os.getpid()}.npz")
    theirs = left.with_name(f".abc.{owner()}0.{process.pid}.npz")
    for path in (left, mine, theirs):
        path.write_bytes(b"half")
    one(squares.task(n=4))
    assert not left.exists()
    assert mine.exists()  # of a process that lives
    assert theirs.exists()  # of another machine, or container: who knows whether it lives


def test_a_folder_in_an_entrys_place_is_one_sentence(store):
    task = squares.task(n=4)
    Store().path(*task.identity).with_suffix(".json").mkdir(parents=True)
    with pytest.raises(OSError, match=r"Could not write .*: remove the folder of this name, then"):
        one(task)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such pipes on Windows")
@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_nobody_waits_for_a_pipe_in_an_entrys_place(store, suffix):
    task = squares.task(n=4)
    one(task)
    path = Store().path(*task.identity).with_suffix(suffix)
    path.unlink()
    os.mkfifo(path)
    assert steps.estimate([task, squares.task(n=5)]).stored == 0
    assert one(task)["count"] == 4
    assert path.is_file()


@pytest.mark.parametrize(
    "record",
    ["[]", "{}", '{"record": 3}', *(
        json.dumps({"record": {"step": "test_steps.squares", "arguments": {}} | part})
        for part in (
            {"work": "much", "seconds": 1}, {"work": 1, "seconds": None}, {"work": 1},
            {"arguments": 3, "work": 1, "seconds": 1}, {"work": 1, "seconds": 1, "memory": "all"},
        )
    )],
)  # fmt: skip
def test_a_damaged_record_tells_nothing(store, record):
    one(squares.task(n=1000))
    (store / squares.name / "damaged.json").write_text(record)
    found = steps.estimate(squares.task(n=2000))
    assert (found.stored, found.unknown) == (0, 0)
    one([squares.task(n=2000), squares.task(n=3000)])


def test_a_table_does_not_read_other_arrays(monkeypatch):
    found = one(squares.task(n=4))
    monkeypatch.setattr(np, "load", None)  # nothing may be read from the archive
    assert found["count"] == 4
    assert found["note"] == "plain"


def test_sizes_are_by_step():
    one(squares.task(n=1000))
    assert set(Store().sizes()) == {"test_steps.squares"}
    assert Store().sizes()["test_steps.squares"] > 1000


# --- estimates ---------------------------------------------------------------------------------


def test_estimates_come_from_records(monkeypatch):
    tasks = [squares.task(n=n) for n in (10, 20)]
    assert steps.estimate(tasks, jobs=1, device="cpu").unknown == 2
    result = squares(n=10)
    record = {
        "step": squares.name,
        "version": 1,
        "arguments": {"n": 10},
        "work": 10.0,
        "seconds": 4.0,
        "memory": 1e9,
    }
    Store().write(*squares.task(n=10).identity, result, record)
    estimate = steps.estimate(tasks, jobs=1, device="cpu")
    assert (estimate.total, estimate.stored, estimate.unknown) == (2, 1, 0)
    assert estimate.seconds == 8.0  # twice the work
    assert estimate.memory == 1e9
    more = [squares.task(n=20), squares.task(n=30)]
    assert steps.estimate(more, jobs=2, device="cpu").seconds == 10.0


def test_memory_of_a_gpu_comes_from_records_that_know_it():
    task = squares.task(n=10)
    about = {"step": squares.name, "arguments": {"n": 10}, "work": 10.0, "seconds": 4.0}
    Store().write(*task.identity, squares(n=10), about | {"memory": 1e9})
    assert steps.estimate(squares.task(n=20), 1, "cpu").device_memory == 0
    record = about | {"memory": 1e9, "device_memory": 0.3e9, "hardware": {"device": "cuda"}}
    Store().write(*squares.task(n=11).identity, squares(n=11), record)
    estimate = steps.estimate(squares.task(n=20), 1, "cpu")
    assert estimate.device_memory == pytest.approx(0.8e9)  # with what CUDA takes itself
    assert estimate.gpu


def test_the_record_of_a_like_task_counts():
    @step(version=1, work=lambda net, n: n)
    def trained(*, net, n):
        return {}

    store = Store()
    for net, seconds in (("small", 1.0), ("large", 100.0)):
        task = trained.task(net=net, n=10)
        record = {
            "step": trained.name,
            "version": 1,
            "arguments": task.keyed,
            "work": 10.0,
            "seconds": seconds,
            "memory": 1.0,
        }
        store.write(*task.identity, {}, record)
    assert steps.estimate(trained.task(net="large", n=20), 1, "cpu").seconds == 200
    assert steps.estimate(trained.task(net="small", n=11), 1, "cpu").seconds == pytest.approx(1.1)


def test_the_record_of_the_same_data_set_counts():
    """Where there is none, the estimate says so: images of another size take another time."""

    @step(version=1, work=lambda split, n: n)
    def attacked(*, split, n):
        return {}

    def note(name, n, seconds):
        task = attacked.task(split=Split(name), n=n)
        record = {
            "step": attacked.name,
            "version": 1,
            "arguments": task.keyed,
            "work": float(n),
            "seconds": seconds,
            "memory": 1.0,
        }
        Store().write(*task.identity, {}, record)

    wanted = attacked.task(split=Split("digits"), n=10)
    note("cifar10", 11, 110.0)
    first = steps.estimate(wanted, 1, "cpu")
    assert (first.seconds, first.rough) == (100, True)
    note("digits", 100, 20.0)
    then = steps.estimate(wanted, 1, "cpu")
    assert (then.seconds, then.rough) == (2, False)


# --- identity: names, code, keys, results ------------------------------------------------------

SQUARE = """
from kit.harness import steps
@steps.step(version=1)
def area(*, n):
    return {{"area": {formula}}}
"""


class Circle:
    @staticmethod
    @step(version=1)
    def area(*, r):
        return {"area": 3 * r * r}


class Box:
    @step(version=1)
    @staticmethod
    def area(*, r):
        return {"area": 4 * r * r}


def in_a_module(name, source):
    """What a module of this name would define."""
    exec(source, names := {"__name__": name})
    return names


def test_functions_of_one_name_are_steps_of_their_own(tmp_path, monkeypatch):
    """In two files of a package, and as static methods of two classes; in other processes too."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "shapes").mkdir()
    for name, formula in (("one", "n"), ("two", "2 * n")):
        (tmp_path / "shapes" / f"{name}.py").write_text(SQUARE.format(formula=formula))
    found = [importlib.import_module(f"shapes.{name}").area for name in ("one", "two")]
    tasks = [area.task(n=5) for area in found] + [c.area.task(r=1) for c in (Circle, Box)]
    expected = [5, 10, 3, 4]
    assert [r["area"] for r in compute(tasks, jobs=2, device="cpu")] == expected
    assert [r["area"] for r in one(tasks)] == expected
    names = [task.step.name for task in tasks]
    assert names == [
        "shapes.one.area",
        "shapes.two.area",
        "test_steps.Circle.area",
        "test_steps.Box.area",
    ]


def test_the_same_names_in_another_project_are_other_steps():
    """One store serves both, at another time."""
    results = []
    for formula in ("n", "2 * n", "n"):
        steps.REGISTRY.pop("helpers.area", None)  # as in a new process
        area = in_a_module("helpers", SQUARE.format(formula=formula))["area"]
        results.append(one(area.task(n=5))["area"])
    assert results == [5, 10, 5]


def test_a_second_step_of_a_name_needs_another_version_or_the_same_code():
    in_a_module("helpers.again", SQUARE.format(formula="n"))
    in_a_module("helpers.again", "# read once more" + SQUARE.format(formula="n"))
    with pytest.raises(ValueError, match=r"a step helpers.again.area of version 1 with other code"):
        in_a_module("helpers.again", SQUARE.format(formula="n + 1"))
    source = SQUARE.format(formula="n + 1").replace("version=1", "version=2")
    in_a_module("helpers.again", source)


def test_a_paper_has_no_two_steps_of_one_name():
    in_a_module("kit.experiments.shapes.one", SQUARE.format(formula="n"))
    with pytest.raises(ValueError, match=r"shapes.two.area and .*shapes.one.area would share"):
        in_a_module("kit.experiments.shapes.two", SQUARE.format(formula="n"))
    assert steps.REGISTRY.pop("shapes.area").code is None  # golden numbers guard it


CELLS = """
from kit.harness import steps
SIDES = 4
def length(n):
    return SIDES * n
@steps.step(version=1)
def outline(*, n, plus=0):
    return {"outline": length(n) + plus}
"""


@pytest.mark.parametrize(
    ("right", "edited", "result"),
    [
        ("SIDES = 4", "SIDES = 3", 15),
        ("SIDES * n", "SIDES * n * n", 100),
        ("length(n) + plus", "length(n) + plus + 1", 21),
        ("plus=0", "plus=2", 22),
        ("def outline", "# a comment\ndef outline", 20),
        ("SIDES = 4", "SIDES = 4; OTHER = 1", 20),
    ],
)
def test_a_cell_may_define_its_step_again(right, edited, result):
    """The same step is read from disk; an edited one, or what it calls, is computed anew."""
    cells = [CELLS, CELLS, CELLS.replace(right, edited), CELLS]
    tasks = [in_a_module("__main__", cell)["outline"].task(n=5) for cell in cells]
    assert [one(task)["outline"] for task in tasks] == [20, 20, result, 20]
    assert len({task.key for task in tasks}) == (1 if result == 20 else 2)


def test_a_step_that_counts_its_calls_keeps_its_key():
    source = SQUARE.replace("    return", "    global calls; calls += 1\n    return")
    names = in_a_module("counting", source.format(formula="n") + "calls = 0\n")
    for _ in range(2):
        one(names["area"].task(n=1))
    assert names["calls"] == 1


def test_the_digest_of_code_is_the_same_in_every_process():
    code = (
        "from kit.harness.steps.code import digest\ndef f(x):\n"
        "    return x in {'a', 'b', 'c', 'd'} or (lambda y: y)(x)\nprint(digest(f))"
    )
    run = [sys.executable, "-c", code]
    found = {
        subprocess.check_output(run, env={**os.environ, "PYTHONHASHSEED": seed}, cwd=runtime.root())
        for seed in "1234"
    }
    assert len(found) == 1


def test_a_step_depends_on_its_arguments_alone():
    def made(factor):
        @step(version=1)
        def times(*, n):
            return {"n": n * factor}

    with pytest.raises(TypeError, match=r"times reads factor of the function around it.*argument"):
        made(2)
    for other in (print, 3, "text"):
        with pytest.raises(TypeError, match=r"A step is a function"):
            step(version=1)(other)


def test_what_other_processes_cannot_import_is_refused_in_one_sentence():
    @step(version=1)
    def local(*, n):
        return {"n": n}

    aliased = step(version=1)(lambda *, n: {"n": n})
    unfound = in_a_module("nowhere", SQUARE.format(formula="n"))["area"]
    for n, bad in enumerate((local, aliased, unfound)):
        tasks = [squares.task(n=n), bad.task(n=1)]
        with pytest.raises(ValueError, match=r"Other processes cannot import .*jobs=1\.$"):
            compute(tasks, jobs=2, device="cpu")
        assert len(one(tasks)) == 2


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
KEYS = st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
ARRAYS = npst.arrays(
    st.sampled_from(["f4", "i8", "u1", "?", "<U3", "c8", "M8[s]", ">f8"]),
    npst.array_shapes(min_dims=0),
)
SCALARS = npst.from_dtype(np.dtype("f4")) | npst.from_dtype(np.dtype("i2")) | st.just(np.bool_(1))
NESTED = st.recursive(
    PLAIN | ARRAYS | SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(
            st.sampled_from(["npz", "float", "mapping", "task"]) | KEYS, inner, max_size=3
        )
    ),
    max_leaves=6,
)


def alike(a, b):
    """Equal values of equal types, NaN included."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return len(a) == len(b) and all(
            alike(p, q) and alike(a[p], b[q]) for p, q in zip(a, b, strict=True)
        )
    if isinstance(a, list):
        return len(a) == len(b) and all(map(alike, a, b))
    return a == b or (a != a and b != b)


def as_kept(value):
    """What is promised: numbers of NumPy's are Python's then, and tuples lists."""
    if isinstance(value, dict):
        return {as_kept(key): as_kept(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_kept(part) for part in value]
    return value.item() if isinstance(value, np.generic) else value


@settings(max_examples=150, deadline=None)
@given(result=st.dictionaries(KEYS, NESTED, max_size=4))
def test_what_is_read_from_disk_is_what_was_computed(result):
    with tempfile.TemporaryDirectory() as folder:
        store = Store(pathlib.Path(folder))
        written = store.write("demo", "key", result, {})
        read = store.read("demo", "key")
        assert read is not None
        assert not store.damaged
        assert alike(written.field(), as_kept(result))
        assert alike(read.field(), as_kept(result))
        for name in read:
            assert alike(read.field((name,)), as_kept(result[name]))


def test_accuracies_by_k_and_numbers_that_are_not_finite_come_back():
    @step(version=1)
    def by_k(*, n):
        return {1: 0.97, "each": {3: math.nan, 5: [math.inf, -math.inf]}, "plain": {"npz": "x"}}

    for _ in range(2):
        found = one(by_k.task(n=1))
        assert found[1] == 0.97
        assert math.isnan(found["each"][3])
        assert found["each"][5] == [math.inf, -math.inf]
        assert found["plain"] == {"npz": "x"}
        assert one(total.task(of=by_k.task(n=1)[1], plus=2))["total"] == 2


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        ({"x": {1}}, "The result x is of type set"),
        ({"x": [1j]}, "The result x 0 is of type complex"),
        ({"x": b"bytes"}, "The result x is of type bytes"),
        ({"x": {("a", 1): 2}}, r"The result x has the key \('a', 1\)"),
        ({"x": np.ma.array([1, 2], mask=[0, 1])}, "The result x is of type MaskedArray"),
        ({"x": "\ud83d\ude00"}, "The result x holds text that is no Unicode"),
        ({"x": torch.ones(2)}, "The result x is of type Tensor: a step returns arrays of NumPy's"),
        ([1, 2], "The result is of type list: a step returns a dictionary"),
        (None, "The result is of type NoneType: a step returns a dictionary"),
    ],
)
def test_what_would_not_come_back_is_refused(store, result, sentence):
    with pytest.raises(TypeError, match=sentence):
        Store().write("demo", "key", result, {})
    assert not [p for p in store.rglob("*") if p.is_file()]


ARGUMENTS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["task", "field", "split", "mapping"]), inner, max_size=2)
    ),
    max_leaves=5,
)


@settings(max_examples=200, deadline=None)
@given(ARGUMENTS, ARGUMENTS)
def test_keys_are_equal_for_equal_arguments_alone(a, b):
    assert (total.task(of=a).key == total.task(of=b).key) == alike(in_order(a), in_order(b))


def in_order(value):
    """The same with the keys of mappings sorted: in which order they stand says nothing."""
    if isinstance(value, dict):
        return {key: in_order(value[key]) for key in sorted(value)}
    return [in_order(part) for part in value] if isinstance(value, list) else value


@pytest.mark.parametrize("names", [("a", "b"), ("task", "field"), ("split", "mapping")])
def test_the_order_of_a_mapping_does_not_matter(names):
    one, other = dict.fromkeys(names, 1), dict.fromkeys(reversed(names), 1)
    assert total.task(of={"x": one}).key == total.task(of={"x": other}).key


def test_a_mapping_that_looks_like_a_task_is_none():
    task, images = squares.task(n=1), Split("digits")
    pairs = [(task, {"task": task.key}), (images, {"split": images.identity})]
    pairs += [(task["count"], {"task": task.key, "field": ["count"]})]
    for real, alike in pairs:
        assert total.task(of=real).key != total.task(of=alike).key


def test_numbers_of_numpy_make_the_same_task():
    plain = {"n": 3, "extra": [0.5, True, {"a": "b"}]}
    of_numpy = {
        "n": np.int64(3), "extra": (np.float32(0.5), np.bool_(True), {np.str_("a"): np.str_("b")})
    }  # fmt: skip
    first, second = squares.task(**plain), squares.task(**of_numpy)
    assert first.key == second.key
    assert second.arguments == plain
    assert alike(second.arguments, plain)
    assert total.task(of=first["x"][np.int64(0)]).key == total.task(of=first["x"][0]).key


@pytest.mark.parametrize("bad", [{1: "a"}, {"a": {True: 1}}, math.nan, [math.inf]])
def test_arguments_that_would_share_a_key_are_refused(bad):
    with pytest.raises(TypeError, match=r"was given extra with .*JSON value"):
        squares.task(n=1, extra=bad)


SOURCE = """
import dataclasses
import functools
import types
import numpy as np
import torch
from kit.harness.steps import step

CONFIG = {{"k": {k}}}
TABLE, FIXED = (1, {k}), (1, 2)
WEIGHTS = np.array([{k}])
SEEN, CACHE, COUNT = [], {{}}, types.SimpleNamespace(calls=0)
SPACE = types.SimpleNamespace(k={k})
TENSOR = torch.tensor([{k}.0], requires_grad=True)
OBJECTS = np.array([object(), None], dtype=object)

def scale(n, factor):
    return n * factor

scaled = functools.partial(scale, factor={k})

@dataclasses.dataclass
class Options:
    k: int = 1

OPTIONS = Options({k})

class Net:
    __slots__ = ()
    factor = {k}

    @property
    def wide(self):
        return {k}

    @staticmethod
    def twice(n):
        return {k} * n

    def forward(self, n):
        return n * {k}

@step(version=1)
def by_{what}(*, n):
    SEEN.append(n)
    CACHE[n] = len(SEEN)
    COUNT.calls = n
    rows = [OBJECTS, FIXED]
    rows.append(1)  # changes none of what was read just before
    return {{"value": float({expression})}}
"""
READS = {
    "mapping": 'CONFIG["k"]', "tuple": "TABLE[1]", "array": "WEIGHTS[0]", "partial": "scaled(n)",
    "method": "Net().forward(n)", "attribute": "Net.factor", "static": "Net.twice(n)",
    "property": "Net().wide", "namespace": "SPACE.k", "tensor": "TENSOR.item()",
    "object": "OPTIONS.k", "helper": "scale(n, *TABLE[1:])",
}  # fmt: skip


@pytest.mark.parametrize("what", READS)
def test_what_a_step_reads_of_its_module_enters_the_key(what, tmp_path):
    """Whatever it is: a net defined beside the step is what every student writes."""
    keys = []
    for k in (2, 3, 2):
        text = SOURCE.format(k=k, what=what, expression=READS[what])
        path = tmp_path / f"mine_{k}_{len(keys)}.py"
        path.write_text(text)
        spec = importlib.util.spec_from_file_location("mine", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        made = getattr(module, f"by_{what}")
        keys.append(made.task(n=1).key)
        made(n=1)  # changes a list and a mapping of its module, which say nothing
        assert made.task(n=1).key == keys[-1]
        steps.REGISTRY.pop(made.name, None)
    assert keys[0] == keys[2] != keys[1]
