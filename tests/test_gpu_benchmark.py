"""The benchmark for a GPU, on the emulated one: its model, its estimate, its measurements."""

import json
import math
import time

import pytest

import kit
from benchmarks.gpu import __main__ as command_line
from benchmarks.gpu import estimate, measure, model
from kit import runtime
from kit.data import splits
from kit.experiments.images import split
from kit.harness import steps

accelerator = pytest.importorskip(
    "accelerator", exc_type=ImportError, reason="PyTorch's private-use interface has changed"
)


@pytest.fixture
def device(monkeypatch, tmp_path):
    monkeypatch.setattr(runtime, "device", lambda name=None: accelerator.DEVICE)
    monkeypatch.setenv("KIT_STEPS", str(tmp_path / "steps"))
    splits._load.cache_clear()
    yield accelerator.DEVICE
    splits._load.cache_clear()


def test_a_kernel_takes_the_longest_of_launch_bytes_and_operations():
    card = model.Card("a card", launch=1e-6, shortest=5e-7, bandwidth=1e9, rate=1e12)
    found = model.cost([("a", 10, 10), ("b", 1e4, 10), ("c", 10, 1e9)], card)
    assert (found.launches, found.bytes, found.flops) == pytest.approx((1e-6, 1e-5, 1e-3))
    assert found.seconds == pytest.approx(1.011e-3)
    assert found.busy == pytest.approx(5e-7 + 1e-5 + 1e-3)
    assert found.by_processes(2) == found.busy
    assert (found * 3 + found).kernels == 12


def test_rows_grow_and_weights_do_not():
    small, large = ([("mm", 100 + 10 * rows, 5 * rows)] for rows in (8, 16))
    assert model.extrapolated(small, large, 16) == [("mm", 100 + 10 * 128, 5 * 128)]
    others = [*large, ("add", 6, 0)]
    assert model.extrapolated(small, others, 4) == [("mm", 2 * 260, 160), ("add", 12, 0)]


def test_the_estimate_is_that_of_the_task_itself(device):
    """A training of 12 steps, estimated from 4 and counted in full."""
    from kit.experiments.knn_tradeoff.steps import lenet

    images = split("digits", train=480, test=40)
    whole = lenet.task(split=images, epochs=24)
    line = next(estimate.lines_of("quick", "03", [whole], ""))
    with accelerator.ledger() as ledger:
        steps.compute(whole, jobs=1)
    counted = model.cost(ledger.calls)
    assert line.tasks == 1
    assert line.bound == "launches"
    assert line.remedy == ("CUDA graphs", line.cost.busy)  # one task: no processes to share it
    assert line.cost.seconds == pytest.approx(counted.seconds, rel=0.25)
    assert line.memory == pytest.approx(ledger.peak, rel=0.5)


def test_the_estimate_is_written(device, tmp_path):
    line = estimate.Line("ci", "01_a", "train", 2, model.cost([("mm", 1e6, 1e12)]), 2e9, True)
    text = estimate.as_text([line, line])
    assert "| ci        | 01_a       | 0.033 s" in text
    assert "flops" in text
    assert "2 GB" in text


@pytest.fixture
def session(device, tmp_path, monkeypatch):
    accelerator.stand_for_cuda(monkeypatch)
    monkeypatch.setattr(measure.Session, "run", lambda *a, **k: (0, "12 passed"))
    return measure.Session(device, "", tmp_path / "out", math.inf, tiny=True)


@pytest.fixture
def short(monkeypatch):
    """Attacks as they are called, but for a few steps."""
    for name in ("nearest_l2", "cw_l2"):
        attack = getattr(kit.attacks, name)
        few = lambda *a, attack=attack, **options: attack(*a, **options | {"steps": 24})  # noqa: E731
        monkeypatch.setattr(kit.attacks, name, few)


def test_every_part_is_measured_and_written(session, short):
    measure.main(session)
    text = (session.out / "gpu.md").read_text()
    assert text.count("\n## ") == len(measure.PARTS)
    assert "failed" not in text
    assert "neighbours as in float64" in text


def test_what_was_measured_is_not_measured_again(session, monkeypatch):
    """Nor is anything begun for which there is no time."""
    measured = []
    part = lambda session: measured.append(1) or [{"a": 1}]  # noqa: E731
    monkeypatch.setattr(measure, "PARTS", {"one": (0, part), "long": (1e9, part)})
    measure.main(session)
    late = measure.Session(session.device, "", session.out, time.monotonic() + 100)
    measure.main(late)
    assert len(measured) == 2
    assert {path.stem for path in session.out.glob("*.json")} == {"one", "long"}


def test_a_part_whose_time_was_over_goes_on_with_the_next_call(session, monkeypatch):
    statuses = iter([124, 0])
    part = lambda session: [{"status": next(statuses)}]  # noqa: E731
    monkeypatch.setattr(measure, "PARTS", {"ci": (0, part)})
    for finished in (False, True, True):
        measure.main(session)
        assert json.loads((session.out / "ci.json").read_text())["finished"] == finished


def test_a_command_that_takes_too_long_is_stopped_and_its_output_kept(device, tmp_path):
    late = measure.Session(device, "", tmp_path, time.monotonic() + 3)
    status, said = late.run("-u", "-c", "import time; print('begun …'); time.sleep(60)")
    assert (status, said) == (124, "begun …\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--minutes", "1"], "name a folder"),
        (["--out", "x", "--device", "gpu"], "Unknown device 'gpu'"),
        (["--out", "x", "--device", "cpu"], "use cuda or cuda:N"),
    ],
)
def test_without_a_card_or_a_folder_one_sentence_says_so(options, message, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmarks.gpu", *options])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_a_part_that_fails_stops_no_other(session, monkeypatch):
    def fails(session):
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(measure, "PARTS", {"bad": (0, fails), "good": (0, lambda s: [{"a": 1}])})
    measure.main(session)
    assert "no such kernel" in (session.out / "bad.json").read_text()
    assert (session.out / "good.json").is_file()
