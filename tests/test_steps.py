import errno
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from kit import runtime, steps
from kit.steps import Call, step

CALLS = []


@step(version=1)
def squares(*, n, data_root="", device="cpu"):
    CALLS.append(n)
    return {"squares": np.arange(n) ** 2, "count": n, "note": "plain"}


@step(version=1)
def fails(*, n, device="cpu"):
    raise ArithmeticError(f"no {n}")


@step(version=1)
def dies(*, n, device="cpu"):
    if n:
        os.kill(os.getpid(), 9)
    return {"n": n}


@pytest.fixture(autouse=True)
def _fresh(store):
    CALLS.clear()


def test_a_step_is_computed_once():
    first, second = squares(n=4), squares(n=4)
    assert CALLS == [4]
    assert first["squares"].tolist() == second["squares"].tolist() == [0, 1, 4, 9]
    assert (second["count"], second["note"]) == (4, "plain")


def test_parameters_make_the_key_and_places_do_not():
    squares(n=4, data_root="here")
    squares(n=4, data_root="there", device="cpu")
    assert CALLS == [4]
    squares(n=5)
    assert CALLS == [4, 5]


def test_a_new_version_leaves_old_entries_alone(monkeypatch):
    squares(n=4)
    monkeypatch.setattr(squares, "version", 2)
    squares(n=4)
    assert CALLS == [4, 4]


def test_an_unknown_parameter_is_refused():
    with pytest.raises(TypeError, match="unexpected keyword"):
        squares(n=4, m=1)


def test_the_record_says_where_and_how_long():
    record = squares.entry(n=4, data_root="secret")["record"]
    assert record["step"] == "test_steps.squares"
    assert record["hardware"]["threads"] == 1
    assert record["seconds"] >= 0
    assert "secret" not in json.dumps(record)


@pytest.mark.parametrize("suffix", [".npz", ".json"])
@pytest.mark.parametrize("content", [None, b"", b"{", b"PK\x03\x04 cut off"])
def test_a_damaged_entry_is_computed_again(suffix, content):
    squares(n=4)
    path = squares.path({"n": 4}).with_suffix(suffix)
    path.unlink() if content is None else path.write_bytes(content)
    assert squares(n=4)["count"] == 4
    assert CALLS == [4, 4]


def test_an_altered_byte_never_crashes_a_read():
    squares(n=50)
    path = squares.path({"n": 50}).with_suffix(".npz")
    sound = path.read_bytes()
    for place in range(0, len(sound), 7):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 0xFF]) + sound[place + 1 :])
        entry = squares.read({"n": 50})
        assert entry is None or entry["result"]["count"] == 50


def test_entries_hold_no_pickle(store):
    @step(version=1)
    def objects(*, n):
        return {"array": np.array([{}], dtype=object)}

    with pytest.raises(TypeError, match="pickle"):
        objects(n=1)
    assert not [p for p in store.rglob("*") if p.is_file()]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(store, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match=r"Could not write .*No space left.*run again"):
        squares(n=4)
    assert not [p for p in store.rglob("*") if p.is_file()]


@pytest.mark.parametrize("jobs", [1, 2])
def test_gather_keeps_the_order_and_says_what_it_found(jobs):
    squares(n=2)
    said = []
    calls = [Call(squares, {"n": n}, f"square {n}") for n in (3, 2, 1)]
    entries = steps.gather(calls, jobs=jobs, device="cpu", report=said.append)
    assert [entry["result"]["count"] for entry in entries] == [3, 2, 1]
    assert said[0] == "1 of 3 steps were already on disk"
    assert len(said) == 3


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_a_call_waits_for_those_it_reads(jobs):
    said, chain = [], ()
    for n in (1, 2, 3, 4):
        chain += (Call(squares, {"n": n}, f"{n}", after=chain[-1:]),)
    calls = [*chain, Call(squares, {"n": 5}, "5")]
    entries = steps.gather(calls, jobs=jobs, device="cpu", report=said.append)
    assert [entry["result"]["count"] for entry in entries] == [1, 2, 3, 4, 5]
    assert [line[0] for line in said if line[0] != "5"] == ["1", "2", "3", "4"]


def test_what_waits_for_nothing_is_ready():
    first = Call(squares, {"n": 1}, "first")
    second = Call(squares, {"n": 2}, "second", after=(first,))
    calls = [first, second, Call(squares, {"n": 3}, "free")]
    waiting = {id(call): i for i, call in enumerate(calls)}
    assert steps._ready(calls, waiting, {}) == [0, 2]
    assert steps._ready(calls, waiting, {"a future": 0}) == [2]
    del waiting[id(first)]
    assert steps._ready(calls, waiting, {"a future": 2}) == [1]


def test_an_error_in_a_worker_keeps_what_was_finished():
    calls = [Call(squares, {"n": 7}, "fine"), Call(fails, {"n": 1}, "bad")]
    with pytest.raises(ArithmeticError, match="no 1"):
        steps.gather(calls, jobs=2, device="cpu", report=lambda line: None)
    assert calls[0].done()
    assert not calls[1].done()


def test_a_killed_worker_is_one_sentence():
    calls = [Call(dies, {"n": n}, "call") for n in (0, 1)]
    with pytest.raises(RuntimeError, match=r"killed.*fewer jobs.*kept"):
        steps.gather(calls, jobs=2, device="cpu", report=lambda line: None)


def test_the_key_is_the_same_in_every_process():
    code = (
        "from kit.experiments.knn_tradeoff import lenet; "
        "print(lenet.path(dict(dataset='digits', train=0, test=0, fingerprint='x', epochs=1, "
        "seed=0, run=1, data_root='', device='cpu')).name)"
    )
    run = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    keys = {subprocess.check_output(run, env=environment, cwd=runtime.root()) for _ in range(2)}
    assert len(keys) == 1


def test_sizes_are_by_step():
    squares(n=1000)
    assert set(steps.sizes()) == {"test_steps.squares"}
    assert steps.sizes()["test_steps.squares"] > 1000
