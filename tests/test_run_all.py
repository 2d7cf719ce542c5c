"""The command line: what it refuses, what it shows, and real runs from their start to their end."""

import gc
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import types
import weakref
from pathlib import Path

import psutil
import pytest
import small_notebooks
from small_notebooks import FINISH, OUT

import run_all
from kit import runtime
from kit.data.splits import Split
from kit.harness import runner, steps
from kit.harness.runner import checking, command_line, together
from kit.harness.steps import archive

KNOWN = runner.notebooks(run_all.NOTEBOOKS, run_all.EXPERIMENTS)
PROFILES = run_all.NOTEBOOKS / "profiles"

TINY = [
    "-p", "03.train=200", "-p", "03.test=100", "-p", "03.epochs=1", "-p", "03.z=3",
    "-p", "03.control_draws=1",
]  # fmt: skip
HEAVY = {"torch", "pandas", "scipy.stats", "sklearn", "matplotlib"}


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
        (["--only", "99"], "Unknown notebook '99': use one of "),
        (["--only", "03_knn_tradeof"], "did you mean 03_knn_tradeoff?"),
        (["-p", "03.rnus=4"], "did you mean 'runs'?"),
        (["-p", "03.runs=many"], "03_knn_tradeoff.runs is 'many': it must be a positive whole"),
        (["-p", "03.runs=2.5"], "runs is 2.5: it must be a positive whole number"),
        (["-p", "03.runs=true"], "runs is 'true': it must be a positive whole number"),
        (["-p", "03.epsilon=much"], "epsilon is 'much': it must be in (0, 1]"),
        (["-p", "03.epsilon=nan"], "epsilon is 'nan': it must be in (0, 1]"),
        (["-p", "03.datasets=mnist"], "datasets is 'mnist': list at least one name"),
        (["-p", "00.epsilon=much"], "00_start_here.epsilon is 'much': it must be a number"),
        (["-p", "00.draw=1.5"], "00_start_here.draw is 1.5: it must be a whole number"),
        (["-p", "02.norm=l3"], "Unknown norm 'l3' in 02_overfitting_vs_robustness.norm: use one"),
        (["-p", "03.special={1: 2}"], "as JSON has them"),
        (["-p", "03.runs=1:30"], "runs is '1:30': it must be a positive whole number"),
        (["-p", "03.special={digits: {runs: 2.5}}"], "runs is 2.5"),
        (["-p", "03.special={digit: {runs: 2}}"], "which is not among this run's data sets"),
        (["-p", "03.datasets=[a"], "cannot be read as YAML"),
        (["-p", f"03.datasets={'[' * 5000}"], "cannot be read as YAML"),
        (["-p", f"03.runs={'9' * 6000}"], "…: it must be a positive whole number"),
        (["-p", "03.runs=99999999999"], "positive whole number, 10,000 at most"),
        (["--check", "--data", "~nobody-at-all/x"], "in nobody's home: write it without a ~"),
        (["-p", "99.runs=3"], "Unknown notebook '99'"),
        (["-p", "runs=3"], "write it as NN.NAME=VALUE"),
        (["-p", "03.runs"], "write it as NN.NAME=VALUE"),
        (["-p", "03.out=x"], "use --out"),
        (["-p", "03.device=cpu"], "use --device"),
        (["-p", "03.z=1"], "z is 1: use an odd whole number"),
        (["-p", "03.z=4"], "z is 4: use an odd whole number"),
        (["-p", "03.epsilon=0"], "epsilon is 0.0"),
        (["-p", "03.epsilon=1.01"], "epsilon is 1.01"),
        (["-p", "03.train=10", "-p", "03.z=11"], "only 10 training images"),
        (["-p", "03.train=5"], "ask for 10 (one per class)"),
        (["-p", "03.datasets=[../digits]"], "is not a data set name"),
        (["-p", "03.datasets=[a/b]"], "is not a data set name"),
        (["-p", "03.datasets=[digit]"], "did you mean 'digits'?"),
        (
            ["--only", "03", "-p", "01.epochs=1"],
            "-p changes 01_evolved_perturbations, which --only",
        ),
        (["-p", "01.popsize=1"], "popsize is 1: use a whole number from 2 on"),
        (["-p", "01.pixels=[65]"], "pixels is 65: use a whole number from 1 to 64"),
        (["-p", "01.special={digits: {x: 1}}"], "special of digits has 'x'"),
        (["--device", "cuda:77"], "use device auto or cpu"),
        (["--device", "tpu"], "Unknown device 'tpu'"),
        (["--jobs", "0"], "not a positive whole number"),
        (["--jobs", "two"], "not a positive whole number"),
        (["--timeout", "0"], "not a positive number of minutes"),
        (["--timeout", "-1"], "not a positive number of minutes"),
        (["--timeout", "inf"], "not a positive number of minutes"),
        (["--timeout", "soon"], "not a positive number of minutes"),
        (["--scheduler", "host"], "--scheduler is 'host': write it as tcp://host:8786 or tls://"),
        (["-p", "03.scheduler=tcp://a:1"], "use --scheduler"),
        (["--frobnicate"], "unrecognized arguments"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_2(arguments, sentence, capsys):
    assert sentence in refused(capsys, *arguments)


def test_an_output_folder_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    message = refused(capsys, "--only", "03", "--out", str(tmp_path / "file"))
    assert "Cannot write to the folder" in message


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 truncated"])
def test_a_damaged_archive(tmp_path, content, capsys):
    (tmp_path / "mine.npz").write_bytes(content)
    message = refused(capsys, "--data", str(tmp_path), "-p", "03.datasets=[mine]")
    assert "is not a sound .npz archive" in message


@pytest.fixture
def offline(monkeypatch):
    """No data set can be fetched."""
    import torchvision

    def fail(root, download, **part):
        raise OSError("no network") if download else RuntimeError("Dataset not found")

    for name in ("KMNIST", "MNIST"):
        monkeypatch.setattr(torchvision.datasets, name, fail)


@pytest.mark.usefixtures("offline", "store")
def test_what_committed_results_do_not_hold_needs_the_data_at_once(tmp_path, capsys):
    changed = ("-p", "03.epsilon=0.2", "-p", "03.datasets=[mnist]")
    message = refused(capsys, "--profile", "ci", "--data", str(tmp_path), *changed)
    assert "'mnist' is not in" in message


@pytest.mark.usefixtures("offline", "store")
def test_a_scheduler_s_workers_have_data_of_their_own(tmp_path):
    """What is planned from committed results needs no data here."""
    (knn,) = [known for known in KNOWN if known.number == "03"]
    values = runner.profile("ci", KNOWN, run_all.NOTEBOOKS / "profiles")[knn.name]
    values = knn.defaults() | values | {"epsilon": 0.2, "data_root": str(tmp_path)}
    values |= {"datasets": ["mnist"]}
    options = types.SimpleNamespace(check=False, scheduler="tcp://host:1", jobs=0, device="cpu")
    assert checking.prepare(knn, values, options).estimate.data == ("mnist",)
    options.scheduler = ""
    with pytest.raises(FileNotFoundError, match="'mnist' is not in"):
        checking.prepare(knn, values, options)


@pytest.mark.usefixtures("offline")
def test_data_that_are_not_there_and_cannot_be_fetched(tmp_path, capsys):
    message = refused(capsys, "--data", str(tmp_path), "-p", "03.datasets=[kmnist]")
    for part in ("'kmnist' is not in", str(tmp_path), "kmnist.npz", "network connection"):
        assert part in message


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("03_knn_tradeoff: {rnus: 3}", "did you mean 'runs'?"),
        ("03_knn_tradeoff: {runs: x}", "runs is 'x': it must be a positive whole number"),
        ("03_knn_tradeoff: {z: 4}", "z is 4: use an odd whole number"),
        ("33_nothing: {runs: 3}", "has a section '33_nothing'"),
        ("a: [", "is not YAML"),
        ("- runs", "one section of parameters per notebook"),
        ("03_knn_tradeoff: 3", "one section of parameters per notebook"),
    ],
)
def test_a_profile_file_with_a_mistake(text, sentence, tmp_path):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ValueError, match=sentence.replace("?", r"\?")):
        runner.profile("mine", KNOWN, tmp_path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[1e-3, -1E+2, .5e1, 1.]", [1e-3, -100.0, 5.0, 1.0]),
        ("[010, 1, +2, -3]", [10, 1, 2, -3]),
        ("[1:30, 1e, e3, 1-3, 1_0, '1e3']", ["1:30", "1e", "e3", "1-3", "1_0", "1e3"]),
        ("{adam: {lr: [1e-3]}}", {"adam": {"lr": [1e-3]}}),
        ("[true, null, text]", [True, None, "text"]),
    ],
)
def test_numbers_in_lists_and_mappings_are_read_as_python_reads_them(text, value, tmp_path):
    notebook = next(n for n in KNOWN if n.number == "03")
    text, value = f"{{digits: {text}}}", {"digits": value}
    assert repr(notebook.parse("special", text)) == repr(value)  # types, too
    profile = tmp_path / "mine.yaml"
    profile.write_text(f"{notebook.name}:\n  special: {text}\n  epsilon: 1e-1\n")
    found = runner.profile("mine", [notebook], tmp_path)[notebook.name]
    assert repr(found) == repr({"special": value, "epsilon": 0.1})


@pytest.mark.parametrize("profile", ["quick", "ci", "paper"])
def test_every_profile_is_valid(profile):
    for notebook in KNOWN:
        if notebook.experiment:
            profiles = runner.profile(profile, KNOWN, PROFILES)
            values = notebook.defaults() | profiles[notebook.name]
            notebook.experiment.Settings.read(values)


def test_the_quick_profile_is_the_notebooks_defaults():
    assert runner.profile("quick", KNOWN, PROFILES) == {notebook.name: {} for notebook in KNOWN}


# Small notebooks in place of the project's.


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Add notebooks one by one: to the project, and with them their experiments."""
    known = []
    monkeypatch.setattr(runner, "notebooks", lambda folder, package: known)
    monkeypatch.setenv("KIT_FIGURES", str(tmp_path / "figures"))
    monkeypatch.setenv("KIT_STEPS", str(tmp_path / "steps"))
    monkeypatch.setattr(
        runner, "profile", lambda name, notebooks, folder: {n.name: {} for n in notebooks}
    )

    def add(name, *sources, plan=small_notebooks.plan, parameters=OUT):
        if plan:
            small_notebooks.experiment(monkeypatch, name.partition("_")[2], plan)
        path = tmp_path / f"{name}.ipynb"
        known.append(small_notebooks.notebook(path, *sources, parameters=parameters))

    return add


RUNS = f"runs: int = 3  # repeats\n{OUT}"


def test_a_copy_of_a_notebook_is_named_and_left_out(capsys, tmp_path, monkeypatch):
    for path in run_all.NOTEBOOKS.rglob("*"):
        if path.is_file() and ".ipynb_checkpoints" not in path.parts:
            copy = tmp_path / path.relative_to(run_all.NOTEBOOKS)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    shutil.copy(tmp_path / "03_knn_tradeoff.ipynb", tmp_path / "03_student.ipynb")
    monkeypatch.setattr(run_all, "NOTEBOOKS", tmp_path)
    assert run_all.main(["--check", "--only", "03"]) == 0
    shown = capsys.readouterr()
    assert shown.err == "03_student.ipynb is left out: notebook 03 is 03_knn_tradeoff.ipynb.\n"
    assert "03_student" not in shown.out


def test_a_run_is_not_compared_with_itself(capsys, monkeypatch):
    monkeypatch.setenv(archive.IGNORED, "")  # restored afterwards
    committed = runtime.root() / "figures"
    options = ["--profile", "ci", "--only", "03", "--compare", str(committed / "ci")]
    message = refused(capsys, *options, "--out", str(committed))
    assert "this run would write there; give it another folder with --out" in message
    assert archive.committed()
    assert run_all.main([*options, "--check"]) == 0
    assert not archive.committed()


def test_notebooks_without_claims_are_left_out_of_a_comparison(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv(archive.IGNORED, "")  # restored afterwards
    committed = str(runtime.root() / "figures" / "ci")
    options = ["--profile", "ci", "--compare", committed, "--out", str(tmp_path), "--check"]
    assert run_all.main(options) == 0
    message = refused(capsys, *options, "--only", "00")
    assert "00_start_here makes no claims" in message


def test_a_folder_without_results_is_not_compared_with(capsys, tmp_path):
    message = refused(capsys, "--only", "03", "--compare", str(tmp_path / "nowhere"))
    assert "there is no such folder" in message
    message = refused(capsys, "--only", "03", "--compare", str(tmp_path))
    assert "has no results of 03_knn_tradeoff; name a folder such as figures/paper" in message


def test_check_shows_what_would_run(project, capsys, tmp_path):
    project("01_a", "1 / 0", parameters=RUNS)
    project("02_b", "1 / 0", parameters="", plan=None)
    assert run_all.main(["--check", "--device", "cpu", "--jobs", "2"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"runs +int +3 +repeats", shown)
    assert "0 of 3 on disk; the rest takes an unknown time" in shown
    assert "02_b (profile quick)" in shown
    assert "device: cpu, 2 processes" in shown
    assert f"results: {tmp_path / 'figures' / 'quick'}" in shown
    assert not (tmp_path / "figures").exists()
    assert not (tmp_path / "steps").exists()


@pytest.mark.parametrize(
    ("stored", "unknown", "seconds", "text"),
    [
        (3, 0, 0.0, "3 of 3 on disk"),
        (0, 0, 0.0, "0 of 3 on disk; the rest takes about 1 s, 3.0 GB of memory, 5 MB of disk"),
        (1, 0, 400.0, "1 of 3 on disk; the rest takes about 6 min 40 s, 3.0 GB"),
        (1, 2, 0.0, "1 of 3 on disk; the rest takes an unknown time (nothing like it was run"),
        (
            0, 2, 400.0, "0 of 3 on disk; the rest takes about 6 min 40 s and the time of 2 steps"
            " that are like none run before, 3.0 GB of memory, 5 MB of disk",
        ),
    ],
)  # fmt: skip
def test_what_the_rest_takes(stored, unknown, seconds, text):
    from kit.harness.steps import Estimate

    estimate = Estimate(3, stored, unknown, seconds, 1e9, 5e6)
    assert checking.cost(estimate, 2).startswith(f"steps: {text}")


def test_check_says_where_an_estimate_is_rough():
    estimate = steps.Estimate(3, 0, 0, 400.0, 1e9, 5e6, rough=True)
    assert "about 6 min 40 s (judged by other data sets: it may be far off), " in checking.cost(
        estimate, 2
    )


def test_on_a_gpu_check_says_how_much_of_its_memory_is_taken():
    estimate = steps.Estimate(3, 0, 0, 1.0, 1e9, 5e6, 0.7e9)
    text = checking.cost(estimate, 2, "cuda")
    assert "3.0 GB of memory, about 1.4 GB of the GPU's, 5 MB" in text
    assert "the time is that of processors" in text
    assert "GPU" not in checking.cost(estimate, 2)


def test_nothing_runs_if_any_notebook_must_be_refused(project, capsys, tmp_path):
    def no_data(settings):
        raise FileNotFoundError("'mnist' is not in /data: fetch it.")

    project("01_a", FINISH, parameters=RUNS)
    project("02_b", FINISH, plan=no_data)
    assert "'mnist' is not in /data" in refused(capsys)
    assert "runs is -1" in refused(capsys, "--only", "02", "01", "-p", "01.runs=-1")
    assert not (tmp_path / "figures").exists()


def test_no_plan_is_kept_while_notebooks_run(project, monkeypatch):
    class Tree(dict):
        """Can be referred to weakly."""

    plans = []

    def plan(settings):
        tree = Tree(runs=[], large=bytes(1000))
        plans.append(weakref.ref(tree))
        return tree

    def execute(notebook, *arguments, **options):
        gc.collect()
        assert [reference() for reference in plans] == [None, None]
        return runner.Outcome(notebook.name, "", [], 0.0, 0)

    monkeypatch.setattr(runner, "execute", execute)
    project("01_a", plan=plan)
    project("02_b", plan=plan)
    assert run_all.main([]) == 0
    assert len(plans) == 2


def test_notebooks_without_experiment_or_data_sets_run(project, capsys, tmp_path):
    """A failed one does not stop the others."""
    project("00_start", "print('hello')", plan=None, parameters="")
    project("01_a", "1 / 0")
    project("02_b", FINISH, parameters=f"{RUNS}\njobs: int = 0  # processes")
    assert run_all.main(["--jobs", "2"]) == 1
    shown = capsys.readouterr()
    assert "  00 | hello" in shown.out
    assert shown.err == "01_a failed: cell 3: ZeroDivisionError: division by zero\n"
    table = shown.out.partition("outcome")[2]
    assert table.count("finished") == 2
    assert table.count("FAILED") == 1
    folder = tmp_path / "figures" / "quick"
    assert "hello" in (folder / "00_start.ipynb").read_text()
    assert (folder / "02_b" / "manifest.json").exists()
    assert (folder / "index.html").exists()
    executed = json.loads((folder / "02_b.ipynb").read_text())
    injected = "".join(executed["cells"][1]["source"])
    assert "jobs = 2" in injected
    assert "device" not in injected


MEETS = (
    "import pathlib, time; here = pathlib.Path({folder!r})\n"
    "(here / {mine!r}).touch()\n"
    "for _ in range(600):\n"
    "    if (here / {other!r}).exists(): break\n"
    "    time.sleep(0.1)\n"
    "else: raise TimeoutError\n"
)


def test_notebooks_with_nothing_to_compute_run_side_by_side(project, tmp_path):
    """Each waits for the other: one after the other, the first would never end."""
    for name, mine, other in (("01_a", "a", "b"), ("02_b", "b", "a")):
        source = MEETS.format(folder=str(tmp_path), mine=mine, other=other) + FINISH
        project(name, source, plan=lambda settings: [])
    assert run_all.main(["--jobs", "2"]) == 0


@pytest.mark.parametrize(
    ("arguments", "stored", "cores", "expected"),
    [
        ([], False, 2, (2, 1)), ([], False, 16, (2, 8)), ([], False, 3, (2, 2)),
        ([], False, 1, (1, 0)),
        ([], True, 2, (2, 0)), ([], True, 1, (1, 0)), ([], True, 16, (5, 0)),
        (["--profile", "ci"], False, 16, (1, 0)), (["--jobs", "4"], False, 16, (1, 0)),
        (["--jobs", "1"], True, 16, (1, 0)), (["--scheduler", "tcp://a:1"], False, 8, (1, 0)),
        (["--device", "cuda"], False, 16, (1, 0)),
    ],
)  # fmt: skip
def test_small_notebooks_share_the_cores(arguments, stored, cores, expected, monkeypatch):
    """How many at once, and how many tasks of each."""
    monkeypatch.setattr("joblib.cpu_count", lambda: cores)
    options = command_line.parse(arguments)
    assert together.side_by_side(options, stored, 5) == expected


def test_one_small_notebook_gets_all_cores(monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda: 16)
    assert together.side_by_side(command_line.parse([]), False, 1) == (1, 0)


def test_a_notebook_that_hangs_is_killed_and_the_others_go_on(project, capsys):
    project("01_a", "import time; time.sleep(1000)")
    project("02_b", FINISH)
    assert run_all.main(["--only", "01", "--timeout", "0.1"]) == 1
    assert "01_a failed: timed out after 0.1 minutes" in capsys.readouterr().err
    assert run_all.main(["--only", "02", "--timeout", "10"]) == 0


def script(folder, *lines):
    """The command of a Python process with one small notebook, 03_a, and its environment."""
    prepare = [
        "import pathlib, signal, sys, types",
        f"sys.path[:0] = {[str(Path(__file__).parent), str(runtime.root())]}",
        # As in a terminal: whatever a shell starts in the background inherits SIGINT ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)",
        "import run_all",
        "from kit.harness import runner",
        f"path = pathlib.Path({str(folder / '03_a.ipynb')!r})",
        "runner.notebooks = lambda *_: [runner.Notebook(path)]",
        "runner.profile = lambda *_: {'03_a': {}}",
    ]
    environment = {f"KIT_{kind}": str(folder / kind.lower()) for kind in ("STEPS", "FIGURES")}
    return [sys.executable, "-c", "\n".join([*prepare, *lines])], {**os.environ, **environment}


def test_check_loads_no_torch(tmp_path):
    small_notebooks.notebook(tmp_path / "03_a.ipynb", parameters=RUNS)
    command, environment = script(
        tmp_path,
        "import small_notebooks",
        "runner.Notebook.experiment = small_notebooks",
        "assert run_all.main(['--check', '--only', '03', '--device', 'cpu']) == 0",
        f"print(sorted({HEAVY} & set(sys.modules)))",
    )
    out = subprocess.check_output(command, env=environment, text=True)
    assert "0 of 3 on disk" in out
    assert out.splitlines()[-1] == "[]"


def test_check_of_committed_results_loads_no_torch(tmp_path):
    """All is stored: neither the data nor what reads them is looked at."""
    arguments = ["--check", "--profile", "ci", "--only", "02", "03"]
    code = (
        f"import sys, run_all; assert run_all.main({arguments}) == 0\n"
        f"print(sorted({HEAVY} & set(sys.modules)))"
    )
    environment = {**os.environ, "KIT_DATA": str(tmp_path / "none"), "KIT_STEPS": str(tmp_path)}
    command = [sys.executable, "-c", code]
    out = subprocess.check_output(command, env=environment, text=True, cwd=runtime.root())
    assert out.splitlines()[-1] == "[]"


def test_importing_the_runner_loads_nothing_heavy():
    code = (
        "import sys, run_all; from kit.harness.runner import command_line\n"
        f"print(sorted({HEAVY | {'papermill'}} & set(sys.modules)))"
    )
    out = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=runtime.root())
    assert out.strip() == "[]"


def test_progress_is_shown_while_a_notebook_runs(tmp_path):
    """In plain lines here: there is no terminal."""
    source = (
        "import time; from kit.harness import progress\n"
        "with progress.track(7, 2) as bar:\n"
        "    bar.update(3, 60.0, ['digits, run 1: study'])\n"
        "    time.sleep(3)\n"
        "    bar.update(7)\n"
    )
    small_notebooks.notebook(tmp_path / "03_a.ipynb", source, FINISH)
    command, environment = script(
        tmp_path,
        "from kit.harness import progress",
        "progress.Display.interval = 0.5",
        "sys.exit(run_all.main([]))",
    )
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "  03 | 2 of 7 tasks are stored; 5 to compute\n" in done.stdout
    assert re.search(r"  03 \| 7 of 7 tasks, \d+ s\n", done.stdout)
    lines = [line for line in done.stderr.splitlines() if "running: digits, run 1: study" in line]
    assert 1 <= len(lines) <= 8
    assert re.match(r"  03 \| 3 / 7 · \d s · about (1 min|5\d s) left · running: ", lines[0])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_kernel_outlives_the_runner(number, tmp_path):
    source = "import os, time\nprint('kernel', os.getpid())\ntime.sleep(100)"
    small_notebooks.notebook(tmp_path / "03_a.ipynb", source)
    command, environment = script(tmp_path, "sys.exit(run_all.main([]))")
    process = subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    line = next(line for line in process.stdout if "| kernel" in line)
    kernel = psutil.Process(int(line.split()[-1]))
    process.send_signal(number)
    _, err = process.communicate(timeout=90)  # a busy machine takes its time
    killed = number == signal.SIGKILL
    assert process.returncode == (-number if killed else 1)
    assert err == ("" if killed else f"{run_all.INTERRUPTED}\n")
    deadline = time.monotonic() + 20
    while kernel.is_running() and kernel.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the kernel outlived the runner"
        time.sleep(0.1)


def test_an_interrupt_while_modules_are_imported_is_one_line(tmp_path):
    (tmp_path / "tabulate.py").write_text(
        "import os, time\nos.write(1, b'importing')\n"
        "try:\n    time.sleep(100)\nexcept BaseException:\n    pass\n"
    )
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import run_all; sys.exit(run_all.main(['--check']))"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{runtime.root()}"}
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.read(9) == b"importing"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.decode() == f"{run_all.INTERRUPTED}\n"


def test_a_run_whose_reader_has_gone_writes_its_results(tmp_path):
    """As in ``run_all.py | head -1``."""
    source = (
        f"for i in range(3000): print('line', i)\nimport time; time.sleep(1); print(1)\n{FINISH}"
    )
    small_notebooks.notebook(tmp_path / "03_a.ipynb", source)
    command, environment = script(tmp_path, "sys.exit(run_all.main([]))")
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "03_a …\n"
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait(timeout=90) == 0
    assert err == ""
    assert (tmp_path / "figures" / "quick" / "03_a" / "manifest.json").exists()
    assert (tmp_path / "figures" / "quick" / "index.html").exists()


@pytest.mark.parametrize(
    ("shell", "status"),
    [
        ("{} --check --only 00 --device cpu >&-", {1}),
        ("{} --check --only 00 --device cpu >/dev/full", {1}),
        ("{} --check --profile huge >&- 2>&-", {2}),
        ("{} --help >/dev/full", {0}),
        ("{} --clean --only 03 >/dev/full </dev/null", {0}),
        ("{} --clean --only 03 >&- <&-", {0}),
    ],
)
def test_closed_and_full_streams_give_no_traceback(shell, status, tmp_path):
    entry = tmp_path / "steps" / "knn_tradeoff.study" / "x.npz"
    entry.parent.mkdir(parents=True)
    entry.write_bytes(bytes(1000))
    call = f"{sys.executable} {runtime.root() / 'run_all.py'}"
    done = subprocess.run(
        ["bash", "-c", shell.format(call)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "KIT_STEPS": str(tmp_path / "steps")},
    )
    assert done.returncode in status
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    assert entry.exists()


# The project's notebooks.


def test_check_runs_nothing(capsys, store, tmp_path):
    assert run_all.main(["--check", "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    for part in ("control_draws", "data set digits: there", "0 of 24 on disk; the rest takes"):
        assert part in shown
    assert not store.exists()
    assert not (tmp_path / "out").exists()


def test_check_says_what_would_be_downloaded(capsys, tmp_path):
    options = ["--check", "--data", str(tmp_path), "-p", "03.datasets=[kmnist]"]
    assert run_all.main(options) == 0
    shown = capsys.readouterr().out
    assert "data set kmnist: not there, would be downloaded" in shown
    assert "steps: known once the data are there" in shown


def test_check_names_the_data_sets_that_architectures_carry_over_to(capsys, tmp_path):
    """And fetches none of them to find out what the rest takes."""
    options = ["--check", "--data", str(tmp_path), "-p", "04.transfer_datasets=[digits, kmnist]"]
    assert run_all.main(options) == 0
    shown = capsys.readouterr().out
    assert shown.count("data set digits: there") == 1
    assert "data set kmnist: not there, would be downloaded" in shown
    assert "steps: known once the data are there" in shown
    assert run_all.main([*options[:-1], "04.transfer_datasets=[kmist]"]) == 2
    assert "did you mean 'kmnist'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "overrides",
    [
        ["01.datasets=[digits]"], ["02.folds=4"], ["03.train=300"], ["04.train=300"],
        ["04.transfer_datasets=[digits]", "04.full={train: 400, size: 0}"],
    ],
)  # fmt: skip
def test_the_images_that_a_study_names_are_those_that_its_plan_reads(overrides):
    notebook = command_line.find(KNOWN, overrides[0][:2])
    options = command_line.parse([part for one in overrides for part in ("-p", one)])
    values = command_line.configure(KNOWN, options, PROFILES)[notebook.name]
    settings = notebook.experiment.Settings.read(values)
    leaves = list(steps.leaves(notebook.experiment.plan(settings)))
    leaves += [
        part
        for leaf in leaves
        if isinstance(leaf, steps.Task)
        for part in steps.leaves(leaf.arguments)
    ]
    read = {str(leaf.asked_for) for leaf in leaves if isinstance(leaf, Split)}
    assert read == {str(images.asked_for) for images in settings.images()}


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
