"""Tasks: keys, the store, what is computed when and where, and what a damaged entry does."""

import dataclasses
import errno
import json
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import numpy as np
import pytest
from jupyter_client.manager import start_new_kernel

from kit import runtime, steps
from kit.data import split
from kit.steps import compute, step
from kit.steps.store import Result, Store

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
def fails(*, n):
    raise ArithmeticError(f"no {n}")


@step(version=1)
def dies(*, n):
    if n:
        os.kill(os.getpid(), 9)
    return {"n": n}


@step(version=1)
def blocked_signals(*, n):
    return {"blocked": [int(s) for s in signal.pthread_sigmask(signal.SIG_BLOCK, [])]}


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
        "from kit.data import Split; from kit.experiments.knn_tradeoff import lenet; "
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


def test_a_process_pool_gives_the_same():
    found = compute([squares.task(n=n) for n in (3, 2, 1)], jobs=2, device="cpu")
    assert [r["count"] for r in found] == [3, 2, 1]
    assert not CALLS  # computed elsewhere
    assert {r.record["hardware"]["threads"] for r in found} == {1}


def test_an_error_in_a_worker_keeps_what_was_finished():
    tasks = [squares.task(n=7), fails.task(n=1)]
    with ThreadPoolExecutor(1) as pool, pytest.raises(ArithmeticError, match="no 1"):
        one(tasks, executor=pool)
    assert Store().read(*tasks[0].identity)
    assert Store().read(*tasks[1].identity) is None


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


CELL = """
import time
from kit import steps
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

    with pytest.raises(TypeError, match="pickle"):
        one(objects.task(n=1))
    assert not [p for p in store.rglob("*") if p.is_file()]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(store, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"Could not write .*No space left.*run again"):
        one(squares.task(n=4))
    assert not [p for p in store.rglob("*") if p.is_file()]


def test_what_a_killed_process_left_behind_is_cleared(store):
    one(squares.task(n=4))
    folder = store / squares.name
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    left = folder / f".abc.{__import__('socket').gethostname()}.{process.pid}.npz"
    mine = left.with_name(left.name.replace(str(process.pid), str(os.getpid())))
    left.write_bytes(b"half")
    mine.write_bytes(b"half")
    one(squares.task(n=4))
    assert not left.exists()
    assert mine.exists()  # of a process that lives


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
    record = {"step": squares.name, "version": 1, "arguments": {"n": 10}, "work": 10.0,
              "seconds": 4.0, "memory": 1e9}  # fmt: skip
    Store().write(*squares.task(n=10).identity, result, record)
    estimate = steps.estimate(tasks, jobs=1, device="cpu")
    assert (estimate.total, estimate.stored, estimate.unknown) == (2, 1, 0)
    assert estimate.seconds == 8.0  # twice the work
    assert estimate.memory == 1e9
    more = [squares.task(n=20), squares.task(n=30)]
    assert steps.estimate(more, jobs=2, device="cpu").seconds == 10.0


def test_the_record_of_a_like_task_counts():
    @step(version=1, work=lambda net, n: n)
    def trained(*, net, n):
        return {}

    store = Store()
    for net, seconds in (("small", 1.0), ("large", 100.0)):
        task = trained.task(net=net, n=10)
        record = {"step": trained.name, "version": 1, "arguments": task.keyed, "work": 10.0,
                  "seconds": seconds, "memory": 1.0}  # fmt: skip
        store.write(*task.identity, {}, record)
    assert steps.estimate(trained.task(net="large", n=20), 1, "cpu").seconds == 200
    assert steps.estimate(trained.task(net="small", n=11), 1, "cpu").seconds == pytest.approx(1.1)
