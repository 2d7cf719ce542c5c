"""Results beside committed tables: the tables again without data, and only what must be, anew."""

import dataclasses
import json
import os
import zipfile

import numpy as np
import pytest

from kit import data, runtime
from kit.experiments import images
from kit.harness import steps
from kit.harness.steps import archive

CALLS = []


@steps.step(version=1, bulky=("weights",))
def trained(*, seed):
    CALLS.append(f"trained {seed}")
    return {"weights": np.full(1000, seed), "accuracy": seed / 10}


@steps.step(version=1)
def measured(*, weights, accuracy):
    CALLS.append("measured")
    return {"sum": np.array([np.sum(weights)]), "accuracy": accuracy}


@dataclasses.dataclass(frozen=True)
class Plan:
    nets: list
    measures: list


def plan(count=2):
    nets = [trained.task(seed=seed) for seed in range(1, count + 1)]
    measures = [measured.task(weights=n["weights"], accuracy=n["accuracy"]) for n in nets]
    return Plan(nets, measures)


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("KIT_STEPS", str(tmp_path / "steps"))
    return tmp_path / "steps"


@pytest.fixture
def committed(tmp_path, monkeypatch, store):
    """Results of `plan`, written as an archive and forgotten by the store."""
    first = tmp_path / "first"
    monkeypatch.setenv("KIT_STEPS", str(first))
    computed = steps.compute(plan(), jobs=1, device="cpu")
    results = [leaf for leaf in steps.leaves(computed) if isinstance(leaf, steps.Result)]
    digits = images.split("digits", train=100)
    path = tmp_path / archive.NAME
    archive.write(path, results, [digits.note])
    monkeypatch.setenv("KIT_STEPS", str(store))
    monkeypatch.setattr(archive, "committed", lambda: [zipfile.Path(path)])
    CALLS.clear()
    return path


def compute(tree, **options):
    return steps.compute(tree, jobs=1, device="cpu", **options)


def test_results_are_read_and_nothing_is_computed(committed):
    computed = compute(plan())
    assert CALLS == []
    assert [net["accuracy"] for net in computed.nets] == [0.1, 0.2]
    assert [m["sum"].tolist() for m in computed.measures] == [[1000], [2000]]
    assert steps.estimate(plan(), 1, "cpu").stored == 4


def test_bulky_parts_are_left_out_and_a_sentence_says_so(committed):
    assert committed.stat().st_size < 10_000
    (net, _) = compute(plan()).nets
    assert "weights" not in net
    with pytest.raises(KeyError, match="weights is not kept with the committed results: compute"):
        net["weights"]
    assert "accuracy" in net


def test_only_what_needs_a_bulky_part_computes_it_again(committed):
    tree = plan(3)
    computed = compute(tree)
    assert CALLS == ["trained 3", "measured"]  # net 3 alone is new
    CALLS.clear()
    new = measured.task(weights=tree.nets[0]["weights"], accuracy=0.5)
    assert compute([tree.nets[0], new])[1]["sum"].tolist() == [1000]
    assert CALLS == ["trained 1", "measured"]
    CALLS.clear()
    assert compute(measured.task(weights=7, accuracy=tree.nets[1]["accuracy"]))["accuracy"] == 0.2
    assert CALLS == ["measured"]  # of net 2 its accuracy is needed, which is there
    assert computed.nets[2]["weights"].tolist() == [3] * 1000


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0"),
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: zipfile.ZipFile(path, "w").close(),
    ],
    ids=["empty", "pointer", "cut off", "without splits"],
)
def test_an_archive_that_cannot_be_read_is_left_out_and_said_once(
    committed, tmp_path, monkeypatch, capsys, damage
):
    monkeypatch.undo()
    monkeypatch.setenv("KIT_STEPS", str(tmp_path / "steps"))
    monkeypatch.setattr(runtime, "root", lambda: tmp_path)
    sound, bad = (tmp_path / "figures" / "ci" / name / archive.NAME for name in ("03_a", "04_b"))
    for path in (sound, bad):
        path.parent.mkdir(parents=True)
        path.write_bytes(committed.read_bytes())
    damage(bad)
    assert [str(found) for found in archive.committed()] == [f"{sound}/"]
    assert compute(plan()).nets[0]["accuracy"] == 0.1
    assert archive.split_note(["nothing"]) is None
    assert CALLS == []
    said = capsys.readouterr().err
    assert said.count(f"{bad} cannot be read and is left out") == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such pipes on Windows")
def test_nobody_waits_for_a_pipe_in_an_archives_place(tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "root", lambda: tmp_path)
    path = tmp_path / "figures" / "ci" / "03_a" / archive.NAME
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    assert archive.committed() == []


def test_the_whole_results_on_demand(committed):
    assert compute(plan(), whole=True).nets[0]["weights"].tolist() == [1] * 1000
    assert CALLS == ["trained 1", "trained 2"]


def test_an_archive_says_what_its_steps_took(committed):
    def seconds(*names):
        changed = committed.stat().st_mtime_ns
        records = archive.records(committed, changed, frozenset(step.name for step in names))
        return [record["seconds"] for record in records]

    assert len(seconds(trained)) == len(seconds(measured)) == 2
    assert len(seconds(trained, measured)) == 4
    committed.write_bytes(b"damaged")
    assert seconds(trained) == []


def test_estimates_come_from_archives_beside_tables(committed, tmp_path, monkeypatch):
    folder = tmp_path / "figures" / "custom" / "03_x"
    folder.mkdir(parents=True)
    committed.rename(folder / archive.NAME)
    monkeypatch.setenv("KIT_FIGURES", str(tmp_path / "figures"))
    monkeypatch.setattr(archive, "committed", list)
    estimate = steps.estimate(plan(3), 1, "cpu")
    assert (estimate.stored, estimate.unknown) == (0, 0)
    assert steps.estimate([trained.task(seed=1)], 1, "cpu").memory > 0


def test_what_is_read_from_an_archive_is_unpacked_once(committed, monkeypatch):
    """To seek in a packed member means to unpack it from its beginning."""

    seek = zipfile.ZipExtFile.seek

    def watched(member, *arguments):
        assert not member.name.endswith(".npz"), "sought in the archive"
        return seek(member, *arguments)

    monkeypatch.setattr(zipfile.ZipExtFile, "seek", watched)
    (_, second) = compute(plan()).measures
    assert second["sum"].tolist() == [2000]
    assert second.fields(["sum"])["sum"].tolist() == [2000]


def test_equal_results_make_equal_archives(committed, tmp_path, store):
    results = [leaf for leaf in steps.leaves(compute(plan())) if isinstance(leaf, steps.Result)]
    again = tmp_path / "again.zip"
    archive.write(again, results[::-1], [images.split("digits", train=100).note])
    assert again.read_bytes() == committed.read_bytes()


def test_common_programs_unpack_it(committed, monkeypatch):
    """Deflate alone; archives in LZMA, as they once were written, are read as well."""
    with zipfile.ZipFile(committed) as archive_:
        assert {member.compress_type for member in archive_.infolist()} == {zipfile.ZIP_DEFLATED}
        members = {name: archive_.read(name) for name in archive_.namelist()}
    older = committed.with_name("older.zip")
    with zipfile.ZipFile(older, "w", zipfile.ZIP_LZMA) as archive_:
        for name, content in members.items():
            archive_.writestr(name, content)
    monkeypatch.setattr(archive, "committed", lambda: [zipfile.Path(older)])
    assert [m["sum"].tolist() for m in compute(plan()).measures] == [[1000], [2000]]
    assert CALLS == []


def test_an_altered_entry_is_computed_again(committed, tmp_path, monkeypatch):
    altered = tmp_path / "altered.zip"
    with zipfile.ZipFile(committed) as old, zipfile.ZipFile(altered, "w") as new:
        for name in old.namelist():
            text = old.read(name)
            if name.endswith(".json") and b'"accuracy": 0.2' in text:
                text = text.replace(b'"accuracy": 0.2', b'"accuracy": 0.9')
            new.writestr(name, text)
    monkeypatch.setattr(archive, "committed", lambda: [zipfile.Path(altered)])
    computed = compute(plan())
    assert "trained 2" in CALLS
    assert computed.nets[1]["accuracy"] == 0.2
    assert CALLS.count("trained 1") == 0


def test_what_is_known_of_a_data_set_serves_where_it_is_not_there(committed, monkeypatch, tmp_path):
    with zipfile.ZipFile(committed) as entries:
        (note,) = json.loads(entries.read("splits.json"))
    digits = images.split("digits", train=100)
    assert data.Split("digits", 100).noted(note) == digits
    missing = {**note, "split": ["mnist", 100, 0, 0, 0, 0]}
    monkeypatch.setattr(archive, "committed", lambda: [tmp_path / "other"])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "splits.json").write_text(json.dumps([missing]))
    mnist = images.split("mnist", tmp_path, train=100)
    assert (mnist.fingerprint, mnist.about) == (digits.fingerprint, digits.about)
    assert images.known(data.Split("mnist", 100), tmp_path)
    assert not images.known(data.Split("mnist", 200), tmp_path)


def test_a_lesson_without_its_data_set_uses_digits(capsys, tmp_path):
    digits = images.split("digits", train=100)
    other = dataclasses.replace(digits, name="mnist")
    shown = images.sample(other, str(tmp_path), "cpu")
    assert shown.name == "digits"
    assert "is not in the data folder: what is tried here uses digits." in capsys.readouterr().out
    assert len(images.sample(digits, "", "cpu").x_train) == 100
