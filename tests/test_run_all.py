"""The runner, from the command line's point of view."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import filelock
import psutil
import pytest

from kit import runner, runtime

sys.path.insert(0, str(runtime.root()))
import run_all

TINY = [
    "-p", "03.train=200", "-p", "03.test=100", "-p", "03.epochs=1", "-p", "03.z=3",
    "-p", "03.control_draws=1",
]  # fmt: skip


def refused(capsys, *arguments):
    """What is printed about bad input, which must exit with 2 before anything runs."""
    try:
        status = run_all.main(list(arguments))
    except SystemExit as exit_of_argparse:
        status = exit_of_argparse.code
    assert status == 2
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return message


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--profile", "huge"], "Unknown profile 'huge': use one of ci, paper, quick"),
        (["--profile", "../quick"], "Unknown profile '../quick'"),
        (["--only", "99"], "Unknown notebook '99': use one of 01_evolved_perturbations"),
        (["--only", "03_knn_tradeof"], "did you mean 03_knn_tradeoff?"),
        (["-p", "03.rnus=4"], "did you mean 'runs'?"),
        (["-p", "03.runs=many"], "03_knn_tradeoff.runs must be a whole number"),
        (["-p", "03.runs=2.5"], "runs must be a whole number"),
        (["-p", "03.runs=true"], "runs must be a whole number"),
        (["-p", "03.epsilon=much"], "epsilon must be a number"),
        (["-p", "03.epsilon=nan"], "epsilon must be a number"),
        (["-p", "03.datasets=mnist"], "datasets must be a list"),
        (["-p", "03.max_runs={1: 2}"], "as JSON has them"),
        (["-p", "03.runs=1:30"], "runs must be a whole number"),
        (["-p", "03.max_runs={digits: 2.5}"], "max_runs of digits is 2.5"),
        (["-p", "03.max_runs={digit: 2}"], "which is not among datasets"),
        (["-p", "03.datasets=[a"], "cannot be read as YAML"),
        (["-p", "04.runs=3"], "Unknown notebook '04'"),
        (["-p", "runs=3"], "write it as NN.NAME=VALUE"),
        (["-p", "03.runs"], "write it as NN.NAME=VALUE"),
        (["-p", "03.out=x"], "use --out"),
        (["-p", "03.device=cpu"], "use --device"),
        (["-p", "03.z=1"], "z is 1: use an odd number"),
        (["-p", "03.z=4"], "z is 4: use an odd number"),
        (["-p", "03.epsilon=0"], "epsilon is 0.0"),
        (["-p", "03.epsilon=1.01"], "epsilon is 1.01"),
        (["-p", "03.train=10", "-p", "03.z=11"], "only 10 training images"),
        (["-p", "03.train=5"], "ask for 10 (one per class)"),
        (["-p", "03.datasets=[../digits]"], "is not a data set name"),
        (["-p", "03.datasets=[a/b]"], "is not a data set name"),
        (["-p", "03.datasets=[digit]"], "did you mean 'digits'?"),
        (["-p", "01.popsize=1"], "popsize is 1: use a whole number from 2 on"),
        (["-p", "01.pixels=[65]"], "pixels is 65: use a whole number from 1 to 64"),
        (["-p", "01.special={digits: {x: 1}}"], "special of digits has 'x'"),
        (["--device", "cuda:77"], "use device auto or cpu"),
        (["--device", "tpu"], "Unknown device 'tpu'"),
        (["--jobs", "0"], "not a positive whole number"),
        (["--jobs", "two"], "not a positive whole number"),
        (["--frobnicate"], "unrecognized arguments"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_2(arguments, sentence, capsys):
    assert sentence in refused(capsys, *arguments)


def test_an_output_folder_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert "Cannot write to the folder" in refused(capsys, "--out", str(tmp_path / "file"))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 truncated"])
def test_a_damaged_archive(tmp_path, content, capsys):
    (tmp_path / "mine.npz").write_bytes(content)
    message = refused(capsys, "--data", str(tmp_path), "-p", "03.datasets=[mine]")
    assert "is not a sound .npz archive" in message


def test_data_that_are_not_there_and_cannot_be_fetched(tmp_path, capsys, monkeypatch):
    import torchvision

    def offline(root, download, **part):
        raise OSError("no network") if download else RuntimeError("Dataset not found")

    monkeypatch.setattr(torchvision.datasets, "KMNIST", offline)
    message = refused(capsys, "--data", str(tmp_path), "-p", "03.datasets=[kmnist]")
    for part in ("'kmnist' is not in", str(tmp_path), "kmnist.npz", "network connection"):
        assert part in message


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("03_knn_tradeoff: {rnus: 3}", "did you mean 'runs'?"),
        ("03_knn_tradeoff: {runs: x}", "runs must be a whole number"),
        ("33_nothing: {runs: 3}", "has a section '33_nothing'"),
        ("a: [", "is not YAML"),
        ("- runs", "one section of parameters per notebook"),
        ("03_knn_tradeoff: 3", "one section of parameters per notebook"),
    ],
)
def test_a_profile_file_with_a_mistake(text, sentence, tmp_path, monkeypatch):
    known = runner.notebooks()
    (tmp_path / "notebooks" / "profiles").mkdir(parents=True)
    (tmp_path / "notebooks" / "profiles" / "mine.yaml").write_text(text)
    monkeypatch.setattr(runtime, "root", lambda: tmp_path)
    with pytest.raises(ValueError, match=sentence.replace("?", r"\?")):
        runner.profile("mine", known)


@pytest.mark.parametrize("profile", ["quick", "ci", "paper"])
def test_every_profile_is_valid(profile):
    known = runner.notebooks()
    for notebook in known:
        values = {p.name: p.default for p in notebook.parameters.values()}
        notebook.experiment.check(**values | runner.profile(profile, known)[notebook.name])


def test_check_runs_nothing(capsys, store, tmp_path):
    assert run_all.main(["--check", "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    for part in (
        "control_draws",
        "data set digits: there",
        "0 of 24 on disk; the rest takes about",
    ):
        assert part in shown
    assert not store.exists()
    assert not (tmp_path / "out").exists()


def test_check_says_what_would_be_downloaded(capsys, tmp_path):
    options = ["--check", "--data", str(tmp_path), "-p", "03.datasets=[kmnist]"]
    assert run_all.main(options) == 0
    assert "data set kmnist: not there, would be downloaded" in capsys.readouterr().out


@pytest.mark.parametrize(("answer", "left"), [("n", True), (None, True), ("y", False)])
def test_clean_asks_first(answer, left, capsys, store, monkeypatch):
    entry = store / "knn_tradeoff.study" / "x.npz"
    entry.parent.mkdir(parents=True)
    entry.write_bytes(bytes(3_000_000))

    def reply(prompt):
        if answer is None:
            raise EOFError
        return answer

    monkeypatch.setattr("builtins.input", reply)
    assert run_all.main(["--clean"]) == 0
    assert "3.0" in capsys.readouterr().out
    assert entry.exists() == left


def command(*arguments):
    return [sys.executable, str(runtime.root() / "run_all.py"), *map(str, arguments)]


def tables(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "manifest.json"}


def test_a_killed_kernel_is_told_and_its_finished_runs_are_kept(tmp_path):
    """The undisturbed run and the one killed in run 2 of 4 end with the same bytes."""
    arguments = [*TINY, "-p", "03.runs=4", "--jobs", 1, "--device", "cpu"]

    def environment(name):
        return {**os.environ, "KIT_STEPS": str(tmp_path / name / "steps")}

    disturbed = subprocess.Popen(
        command(*arguments, "--out", tmp_path / "b"), env=environment("b"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    for line in disturbed.stdout:
        if "run 1 of 4" in line:
            break
    kernels = [
        p for p in psutil.Process(disturbed.pid).children(recursive=True)
        if "ipykernel_launcher" in " ".join(p.cmdline())
    ]  # fmt: skip
    assert len(kernels) == 1
    kernels[0].kill()
    out, err = disturbed.communicate(timeout=120)
    assert disturbed.returncode == 1
    assert "its kernel died" in err
    assert "FAILED" in out
    assert not (tmp_path / "b" / "custom" / "03_knn_tradeoff").exists()
    assert (tmp_path / "b" / "custom" / "03_knn_tradeoff.failed.ipynb").exists()
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "b/steps").rglob("*.json")}
    assert before

    for name in ("b", "a"):
        done = subprocess.run(
            command(*arguments, "--out", tmp_path / name), env=environment(name),
            capture_output=True, text=True, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    assert before.items() <= {p: p.stat().st_mtime_ns for p in before}.items()
    a, b = (tables(tmp_path / name / "custom" / "03_knn_tradeoff") for name in "ab")
    assert a == b
    assert {"3.F5-digits.md", "3.F5-digits.csv", "3.F5-digits.svg", "claims.json"} <= set(a)
    assert (tmp_path / "b" / "custom" / "index.html").exists()
    assert not (tmp_path / "b" / "custom" / "03_knn_tradeoff.failed.ipynb").exists()
    hidden = [p.name for p in (tmp_path / "b" / "custom").iterdir() if p.name.startswith(".")]
    assert hidden == [".03_knn_tradeoff.lock"]


def test_a_failed_run_keeps_older_results(tmp_path):
    folder = tmp_path / "custom" / "03_a"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    (folder / "old.md").write_text("old")
    write_notebook(tmp_path / "03_a.ipynb", "1 / 0")
    outcome = runner.execute(Namesake(tmp_path / "03_a.ipynb"), {}, tmp_path / "custom")
    assert outcome.failure == "cell 2: ZeroDivisionError: division by zero"
    assert outcome.verdict == "FAILED"
    assert (folder / "old.md").read_text() == "old"


def test_an_early_exit_is_not_taken_for_success(tmp_path):
    """Papermill itself reports success after ``sys.exit(0)``."""
    write_notebook(tmp_path / "03_a.ipynb", "import sys\nprint('so far')\nsys.exit(0)")
    said = []
    outcome = runner.execute(Namesake(tmp_path / "03_a.ipynb"), {}, tmp_path / "out", said.append)
    assert outcome.failure
    assert "so far" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_kernel_outlives_the_runner(number, tmp_path):
    source = "import os, time\nprint('kernel', os.getpid())\ntime.sleep(100)"
    write_notebook(tmp_path / "03_a.ipynb", source)
    script = (
        "import sys, pathlib, signal; sys.path[:0] = sys.argv[2:]\n"
        # As in a terminal: whatever a shell starts in the background inherits SIGINT ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import run_all; from test_run_all import Namesake\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "sys.exit(run_all.run([Namesake(path)], {'03_a': {}}, path.parent / 'out'))\n"
    )
    places = [str(Path(__file__).parent), str(runtime.root())]
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "03_a.ipynb"), *places], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    line = next(line for line in process.stdout if "| kernel" in line)
    kernel = psutil.Process(int(line.split()[-1]))
    process.send_signal(number)
    status = process.wait(timeout=90)  # a busy machine takes its time
    assert status == (-number if number == signal.SIGKILL else 1)
    deadline = time.monotonic() + 20
    while kernel.is_running() and kernel.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the kernel outlived the runner"
        time.sleep(0.1)


FINISHES = (
    "import pathlib; place = pathlib.Path(out)\n"
    "(place / 'claims.json').write_text('[]')\n"
    "(place / 'manifest.json').write_text('{\"seconds\": 0}')"
)


def test_a_failed_notebook_does_not_stop_the_others(tmp_path, capsys):
    write_notebook(tmp_path / "01_a.ipynb", "1 / 0")
    write_notebook(tmp_path / "02_b.ipynb", FINISHES)
    chosen = [Namesake(tmp_path / name) for name in ("01_a.ipynb", "02_b.ipynb")]
    assert run_all.run(chosen, {"01_a": {}, "02_b": {}}, tmp_path / "out") == 1
    shown = capsys.readouterr()
    assert "01_a failed: cell 2: ZeroDivisionError" in shown.err
    assert "FAILED" in shown.out
    assert "finished" in shown.out
    assert (tmp_path / "out" / "02_b" / "manifest.json").exists()


def test_two_runs_do_not_mix_their_results(tmp_path):
    write_notebook(tmp_path / "03_a.ipynb", FINISHES)
    (tmp_path / "out").mkdir()
    with filelock.FileLock(tmp_path / "out" / ".03_a.lock"):
        outcome = runner.execute(Namesake(tmp_path / "03_a.ipynb"), {}, tmp_path / "out")
    assert "another run is writing to" in outcome.failure
    assert not runner.execute(Namesake(tmp_path / "03_a.ipynb"), {}, tmp_path / "out").failure


def test_a_run_killed_while_replacing_results_lost_none(tmp_path):
    (tmp_path / "out" / ".03_a.old").mkdir(parents=True)
    (tmp_path / "out" / ".03_a.old" / "old.md").write_text("old")
    write_notebook(tmp_path / "03_a.ipynb", "1 / 0")
    assert runner.execute(Namesake(tmp_path / "03_a.ipynb"), {}, tmp_path / "out").failure
    assert (tmp_path / "out" / "03_a" / "old.md").read_text() == "old"


class Namesake(runner.Notebook):
    """A notebook file that stands in for a real one."""

    def __init__(self, path):
        self.path, self.name, self.parameters = path, path.stem, {}
        self.number = path.stem.partition("_")[0]


def write_notebook(path, source):
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cell = dict(cell_type="code", source=source, metadata={}, outputs=[], execution_count=None)
    notebook = {"cells": [cell], "metadata": {"kernelspec": kernel}}
    path.write_text(json.dumps({**notebook, "nbformat": 4, "nbformat_minor": 4}))
