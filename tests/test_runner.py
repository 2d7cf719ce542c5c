"""One notebook in processes of its own: what counts as finished, and what is left of a failure."""

import io
import sys
import time

import filelock
import nbformat
import psutil
import pytest
from jupyter_client.kernelspec import KernelSpec
from papermill import engines
from small_notebooks import FINISH, OUT, notebook

from kit.harness import progress, runner
from kit.harness.runner import fast_papermill, supervision


def test_a_failed_run_keeps_older_results(tmp_path):
    folder = tmp_path / "custom" / "03_a"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    (folder / "old.md").write_text("old")
    outcome = runner.execute(notebook(tmp_path / "03_a.ipynb", "1 / 0"), {}, tmp_path / "custom")
    assert outcome.failure == "cell 3: ZeroDivisionError: division by zero"
    assert outcome.phrase() == "FAILED"
    assert (folder / "old.md").read_text() == "old"


def test_an_early_exit_is_not_taken_for_success(tmp_path):
    """Papermill itself reports success after ``sys.exit(0)``."""
    source = "import sys\nprint('so far')\nsys.exit(0)"
    printed = []
    outcome = runner.execute(
        notebook(tmp_path / "03_a.ipynb", source, FINISH),
        {},
        tmp_path / "out",
        report=printed.append,
    )
    assert outcome.failure == "cell 3: it ended early, by sys.exit"
    assert printed[0] == "so far"


def test_without_a_manifest_nothing_is_finished(tmp_path):
    outcome = runner.execute(notebook(tmp_path / "03_a.ipynb", "1 + 1"), {}, tmp_path / "out")
    assert "without its last cell" in outcome.failure
    assert not (tmp_path / "out" / "03_a").exists()


def test_an_error_after_the_manifest_is_a_failure(tmp_path):
    outcome = runner.execute(
        notebook(tmp_path / "03_a.ipynb", FINISH, "1 / 0"), {}, tmp_path / "out"
    )
    assert "ZeroDivisionError" in outcome.failure


def test_a_staging_folder_deleted_in_the_middle_is_a_failure(tmp_path):
    """The kit makes folders that it writes to: what was written before would be missing."""
    delete = "import pathlib, shutil; shutil.rmtree(out); pathlib.Path(out).mkdir()"
    outcome = runner.execute(
        notebook(tmp_path / "03_a.ipynb", delete, FINISH), {}, tmp_path / "out"
    )
    assert "was deleted while it ran" in outcome.failure
    assert not (tmp_path / "out" / "03_a").exists()


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ("(place / 'claims.json').write_text('[')", "its results are damaged"),
        ("(place / 'manifest.json').write_text('[]')", "its results are damaged"),
        (
            '(place / \'manifest.json\').write_text(\'{"tables": {"3.T1": ""}, "figures": {}}\')',
            "lack 3.T1.csv",
        ),
    ],
)
def test_results_that_are_not_whole_are_a_failure(damage, sentence, tmp_path):
    for name, content in {
        "claims.json": "[]",
        "manifest.json": '{"tables": {}, "figures": {}}',
    }.items():
        (tmp_path / name).write_text(content)
    assert not supervision._incomplete(tmp_path)
    exec(damage, {"place": tmp_path})
    assert sentence in supervision._incomplete(tmp_path)


def test_a_hanging_notebook_is_killed_with_all_its_processes(tmp_path):
    source = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'],\n"
        "    start_new_session=True)\n"
        "print(os.getpid(), child.pid)\n"
        "time.sleep(1000)"
    )
    printed = []
    started = time.monotonic()
    outcome = runner.execute(
        notebook(tmp_path / "03_a.ipynb", source),
        {},
        tmp_path / "out",
        timeout=0.15,
        report=printed.append,
    )
    assert outcome.failure == "timed out after 0.15 minutes"
    assert 9 <= outcome.seconds <= time.monotonic() - started
    for pid in map(int, printed[0].split()):
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def is_gone(pid):
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="others do not adopt orphans")
def test_a_process_that_a_notebook_left_behind_is_killed_too(tmp_path):
    """One of a session of its own, whose parent has ended: it is nobody's child any more."""
    inner = (
        "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', 'import time; "
        "time.sleep(1000)'], start_new_session=True, stdout=subprocess.DEVNULL).pid)"
    )
    source = (
        "import subprocess, sys, time\n"
        f'subprocess.run([sys.executable, "-c", """{inner}"""])\n'
        "time.sleep(1)"
    )
    printed = []
    nb = notebook(tmp_path / "03_a.ipynb", source, FINISH)
    outcome = runner.execute(nb, {}, tmp_path / "out", report=printed.append)
    assert not outcome.failure
    assert is_gone(int(printed[0]))


def test_the_process_of_a_notebook_that_was_killed_is_said_to_be(tmp_path):
    source = "import os, psutil, time\nos.kill(psutil.Process().parent().pid, 9)\ntime.sleep(1000)"
    outcome = runner.execute(notebook(tmp_path / "03_a.ipynb", source), {}, tmp_path / "out")
    assert outcome.failure == "it was killed (SIGKILL)"


def test_a_cell_may_print_very_much_at_once(tmp_path):
    """By default papermill gives up 4 seconds after the cell has ended."""
    source = "print('x' * 50_000_000)\nprint('the end')\n"
    printed = []
    outcome = runner.execute(
        notebook(tmp_path / "03_a.ipynb", source, FINISH),
        {},
        tmp_path / "out",
        report=printed.append,
    )
    assert not outcome.failure
    assert printed == ["x" * supervision.LINE + " …", "the end"]


def test_what_a_killed_notebook_left_is_there_though_it_is_saved_seldom(tmp_path):
    """All but what happened in the last moment before."""
    lines = ["print('a' * 5_000_000)", *(f"print('number {n}')" for n in range(40))]
    pause, end = "import time; time.sleep(4)", "import os; os.kill(os.getpid(), 9)"
    nb = notebook(tmp_path / "03_a.ipynb", *lines, pause, "print('last')", end)
    outcome = runner.execute(nb, {}, tmp_path / "out", report=lambda line: None)
    assert "its kernel died" in outcome.failure
    left = (tmp_path / "out" / "03_a.failed.ipynb").read_text()
    assert "number 39" in left


def test_a_kernel_without_a_screen_loads_no_debugger(tmp_path):
    source = "import sys; print(sys.modules.get('debugpy'), '_pydevd_bundle' in sys.modules)"
    printed = []
    nb = notebook(tmp_path / "03_a.ipynb", source, FINISH)
    assert not runner.execute(nb, {}, tmp_path / "out", report=printed.append).failure
    assert printed == ["None False"]


def test_kernels_of_others_start_as_they_are():
    manager = fast_papermill._WithoutDebugger(connection_file="a.json")
    manager._launch_args = {}
    manager._kernel_spec = KernelSpec(argv=["julia", "-m", "IJulia", "{connection_file}"])
    assert manager.format_kernel_cmd()[:3] == ["julia", "-m", "IJulia"]


def test_little_time_goes_into_saving_a_notebook_on_the_way(monkeypatch):
    """A save takes a second here, a cell a tenth: papermill alone would save for most of it."""
    now, saved = 0.0, []

    class Notebook:
        def save(self):
            nonlocal now
            now += 1.0
            saved.append(now)

    def cells(notebook, *arguments, **options):
        nonlocal now
        for _ in range(2000):
            now += 0.1
            notebook.save()

    monkeypatch.setattr(fast_papermill.time, "monotonic", lambda: now)
    monkeypatch.setattr(engines.NBClientEngine, "execute_managed_notebook", staticmethod(cells))
    engines.papermill_engines.get_engine(fast_papermill.ENGINE).execute_managed_notebook(Notebook())
    assert saved[0] <= 1.2, "what a first cell left is there"
    assert 0.03 * now < len(saved) < 0.06 * now


def test_long_lines_are_cut():
    stream = io.StringIO("a\n\n" + "b" * 25 + "\n" + "c" * 10 + "\nd  \n" + "e" * 3)
    cut = ["a", "", "bbbbbbbbbb …", "cccccccccc …", "d", "eee"]
    assert list(supervision.short_lines(stream, 10)) == cut


def test_its_progress_is_shown(tmp_path):
    source = (
        "import time; from kit.harness import progress\n"
        "with progress.track(7, 2) as bar:\n"
        "    bar.update(3, 60.0, ['a'])\n"
        "    time.sleep(2)\n"
        "    bar.update(7)\n"
    )
    states, printed = [], []
    outcome = runner.execute(
        notebook(tmp_path / "03_a.ipynb", source, FINISH),
        {},
        tmp_path / "out",
        report=printed.append,
        show=states.append,
    )
    assert not outcome.failure
    assert states[0] is None
    states = [state for state in states if state and state.running]
    assert {(s.total, s.stored, s.done, s.running) for s in states} == {(7, 2, 3, ("a",))}
    assert isinstance(states[0], progress.State)
    assert printed[0] == "2 of 7 tasks are stored; 5 to compute"


def test_two_runs_do_not_mix_their_results(tmp_path):
    small = notebook(tmp_path / "03_a.ipynb", FINISH)
    (tmp_path / "out").mkdir()
    with filelock.FileLock(tmp_path / "out" / ".03_a.lock"):
        outcome = runner.execute(small, {}, tmp_path / "out")
    assert "another run is writing to" in outcome.failure
    assert not runner.execute(small, {}, tmp_path / "out").failure
    assert sorted(p.name for p in (tmp_path / "out" / "03_a").iterdir()) == [
        "claims.json",
        "manifest.json",
    ]


def test_a_run_killed_while_replacing_results_lost_none(tmp_path):
    (tmp_path / "out" / ".03_a.old").mkdir(parents=True)
    (tmp_path / "out" / ".03_a.old" / "old.md").write_text("old")
    small = notebook(tmp_path / "03_a.ipynb", "1 / 0")
    assert runner.execute(small, {}, tmp_path / "out").failure
    assert (tmp_path / "out" / "03_a" / "old.md").read_text() == "old"


def test_a_folder_that_cannot_be_written_is_a_failure(tmp_path):
    (tmp_path / "file").write_text("")
    outcome = runner.execute(notebook(tmp_path / "03_a.ipynb"), {}, tmp_path / "file" / "out")
    assert "Cannot write to the folder" in outcome.failure


# Parameters.


def test_a_notebook_is_inspected_once_until_it_changes(tmp_path, monkeypatch):
    import papermill

    path = tmp_path / "03_a.ipynb"
    assert list(notebook(path).parameters) == ["out"]
    inspect, calls = papermill.inspect_notebook, []
    monkeypatch.setattr(papermill, "inspect_notebook", lambda p: calls.append(p) or inspect(p))
    assert list(runner.Notebook(path).parameters) == ["out"]
    assert not calls
    assert list(notebook(path, parameters=f"{OUT}\nx: int = 3  # a number").parameters)[1] == "x"
    assert len(calls) == 1


def test_defaults_are_copies(tmp_path):
    small = notebook(tmp_path / "03_a.ipynb", parameters="x: list = [1]  # numbers")
    small.defaults()["x"].append(2)
    assert small.defaults() == {"x": [1]}


def test_a_parameter_without_a_type_has_that_of_its_default(tmp_path):
    small = notebook(tmp_path / "03_a.ipynb", parameters="x = [1]  # numbers")
    assert small.parameters["x"] == runner.Parameter("x", "list", [1], "numbers")


def test_no_notebook_and_no_plain_default_are_one_sentence(tmp_path):
    (tmp_path / "03_a.ipynb").write_text("{")
    with pytest.raises(ValueError, match=r"03_a\.ipynb cannot be read as a notebook"):
        runner.Notebook(tmp_path / "03_a.ipynb")
    with pytest.raises(ValueError, match=r"x = 1/3: write a plain value"):
        notebook(tmp_path / "03_b.ipynb", parameters="x: float = 1/3  # a third")


@pytest.mark.parametrize("name", ["00_no_such", "00_start here", "00", "00_start.here"])
def test_a_notebook_may_have_no_experiment(name, tmp_path):
    small = notebook(tmp_path / f"{name}.ipynb")
    assert small.number == "00"
    assert small.experiment is None


def test_a_copy_of_a_notebook_is_left_out(tmp_path):
    names = ("00_start", "00_start-Copy1", "03_student", "03_knn_tradeoff", "03_a", "07_mine")
    for name in names:
        notebook(tmp_path / f"{name}.ipynb")
    found = runner.notebooks(tmp_path, "kit.experiments")
    assert [n.name for n in found] == ["00_start", "03_knn_tradeoff", "07_mine"]
    copies = runner.copies(tmp_path, "kit.experiments")
    assert {path.stem: own.stem for path, own in copies.items()} == {
        "00_start-Copy1": "00_start",
        "03_a": "03_knn_tradeoff",
        "03_student": "03_knn_tradeoff",
    }


def test_helpers_write_valid_notebooks(tmp_path):
    notebook(tmp_path / "03_a.ipynb", FINISH)
    nbformat.validate(nbformat.read(tmp_path / "03_a.ipynb", as_version=4))


@pytest.mark.parametrize(
    ("failure", "decides", "phrase"),
    [
        ("", True, "finished; verdicts: 1 not reproduced, 2 reproduced"),
        ("", False, "finished"),
        ("killed", True, "FAILED"),
        ("killed", False, "FAILED"),
    ],
)
def test_a_run_too_small_to_decide_counts_no_verdicts(failure, decides, phrase):
    claims = [{"verdict": v} for v in ("reproduced", "not reproduced", "reproduced")]
    outcome = runner.Outcome("03_x", failure, claims, 1.0, 1)
    assert outcome.phrase(decides=decides) == phrase
