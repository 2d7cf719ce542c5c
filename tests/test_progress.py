"""How far a computation is, in every place where it may be shown."""

import contextlib
import io
import json
import os
import subprocess
import sys
import time

import pytest

from kit import runtime
from kit.harness import progress
from kit.harness.progress import State

HALF = State(
    total=62, stored=12, done=31, elapsed=35.2, left=70.4, running=("digits, run 1: study",)
)


@pytest.fixture
def plain(monkeypatch):
    """Neither a terminal, nor Jupyter, nor a runner."""
    monkeypatch.delenv("KIT_PROGRESS", raising=False)
    monkeypatch.setitem(sys.modules, "IPython", None)


class Tty(io.StringIO):
    """A terminal of 60 columns that remembers every character."""

    def isatty(self):
        return True


@pytest.fixture
def terminal(plain, monkeypatch):
    monkeypatch.setattr(progress, "_columns", lambda: 60)
    monkeypatch.setattr(progress._Terminal, "interval", 0.01)
    return Tty()


def screen(text):
    """What a terminal shows in the end: a carriage return goes back, what follows overwrites."""
    lines = []
    for written in text.split("\n"):
        shown = ""
        for part in written.split("\r"):
            shown = part + shown[len(part) :]
        lines.append(shown.rstrip())
    return lines


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (0.6, "1 s"), (59.4, "59 s"), (59.6, "1 min"), (61, "1 min 1 s"),
        (200, "3 min 20 s"), (3599.6, "1 h"), (3900, "1 h 5 min"), (7199, "2 h"),
    ],
)  # fmt: skip
def test_times_as_people_read_them(seconds, text):
    assert progress.duration(seconds) == text


def test_a_line_says_how_far_it_is():
    text = "31 / 62 · 35 s · about 1 min 10 s left · running: digits, run 1: study"
    assert progress.line(HALF) == text
    assert progress.line(HALF, 200) == "[##########..........] " + text


def test_what_is_not_known_is_left_out():
    assert progress.line(State(62, 0, 0)) == "0 / 62 · 0 s"
    assert progress.line(State(62, 0, 5, 10.0, 0.3)) == "5 / 62 · 10 s"
    assert progress.line(State(2, 0, 1, running=("a\nb", "c"))) == "1 / 2 · 0 s · running: a b; c"


@pytest.mark.parametrize("width", range(-3, 100, 7))
def test_a_line_is_cut_to_its_width(width):
    text = progress.line(HALF, width)
    assert len(text) <= max(1, width)
    assert text == progress.line(HALF, 200) or text.endswith("…")


def test_sentences():
    assert State(62, 12, 12).start == "12 of 62 tasks are stored; 50 to compute"
    assert State(62, 62, 62).start == State(62, 62, 62).end == "62 of 62 tasks are stored"
    assert State(62, 12, 62, 200.0).end == "62 of 62 tasks, 3 min 20 s"
    assert State(62, 12, 40, 200.0).end == "stopped after 40 of 62 tasks, 3 min 20 s"


def test_time_goes_on_while_nothing_happens():
    later = progress.aged(HALF, 10.0)
    assert (later.elapsed, later.left) == pytest.approx((45.2, 60.4))
    assert progress.aged(HALF, 100.0).left == 0
    assert progress.aged(State(2, 0, 1), 100.0).left is None
    assert progress.aged(HALF, -5.0) == HALF  # clocks are set back now and then


def test_plain_lines_are_rare(plain, capsys):
    with progress.track(3, 1) as bar:
        bar.update(2, 5.0, ["a"])
        bar.note("2 stored results were damaged")
        bar.update(3)
    shown = capsys.readouterr()
    assert shown.err.splitlines() == ["2 stored results were damaged", "3 of 3 tasks, 0 s"]
    assert not shown.out


def test_plain_lines_come_now_and_then(plain, capsys, monkeypatch):
    monkeypatch.setattr(progress.Display, "interval", 0.05)
    with progress.track(3, 1) as bar:
        bar.update(2, 5.0, ["a"])
        time.sleep(0.5)
    lines = capsys.readouterr().err.splitlines()
    assert 2 < len(lines) < 12
    assert lines[0].startswith("2 / 3 · 0 s · about 5 s left · running: a")
    assert lines[-1].startswith("stopped after 2 of 3 tasks")


def test_of_no_tasks_nothing_is_shown(plain, capsys):
    with progress.track(0, 0):
        pass
    assert not any(capsys.readouterr())


def test_a_terminal_shows_one_line(terminal):
    with contextlib.redirect_stderr(terminal), progress.track(3, 1) as bar:
        bar.update(2, 5.0, ["a long name " * 10])
        time.sleep(0.2)
        during = screen(terminal.getvalue())
        bar.note("a remark")
        bar.update(3)
    assert len(during) == 1
    assert during[0].startswith("[#############.......] 2 / 3 · 0 s · about 5 s left")
    assert len(during[0]) < 60
    assert screen(terminal.getvalue()) == ["a remark", "3 of 3 tasks, 0 s", ""]


def test_several_displays_share_one_line_of_a_terminal(terminal):
    first, second = (progress._Terminal(f"{n} | ") for n in (1, 2))
    with contextlib.redirect_stderr(terminal):
        first.draw(State(3, 0, 1))
        second.draw(State(4, 0, 2))
        (both,) = screen(terminal.getvalue())
        second.note("a remark of the second")
        first.clear()
        first.clear()  # as often as one likes
        remark, one = screen(terminal.getvalue())
        second.clear()
    assert (both[:3], both[30:33], len(both) < 60) == ("1 |", "2 |", True)
    assert remark == "2 | a remark of the second"
    assert one.startswith("2 | [##########..........] 2 / 4 · 0 s")
    assert screen(terminal.getvalue()) == [remark, ""]


def test_a_clock_ticks_while_a_task_runs(terminal, monkeypatch):
    now = time.monotonic
    with contextlib.redirect_stderr(terminal), progress.track(3, 1) as bar:
        bar.update(2, 100.0, ["a"])
        monkeypatch.setattr(time, "monotonic", lambda: now() + 40)
        time.sleep(0.2)
        assert "2 / 3 · 40 s · about 1 min left" in screen(terminal.getvalue())[0]


def test_an_interrupted_bar_ends_cleanly(terminal):
    def interrupted():
        with contextlib.redirect_stderr(terminal), progress.track(3, 1) as bar:
            bar.update(2, 5.0, ["a"])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert screen(terminal.getvalue()) == ["stopped after 2 of 3 tasks, 0 s", ""]


def test_for_a_runner_the_state_goes_to_a_file(tmp_path, capsys, monkeypatch):
    path = tmp_path / "progress.json"
    monkeypatch.setenv("KIT_PROGRESS", str(path))
    assert progress.read(path) is None
    with progress.track(62, 12) as bar:
        assert progress.read(path).done == 12
        bar.update(31, 70.0, ["a", "b"])
        deadline = time.monotonic() + 10
        while (state := progress.read(path)).done == 12:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert (state.total, state.stored, state.done) == (62, 12, 31)
        assert state.running == ("a", "b")
        assert state.left == pytest.approx(70, abs=10)
        bar.update(62)
    written = json.loads(path.read_text())
    assert set(written) == {"done", "total", "stored", "elapsed", "left", "running"}
    assert (written["done"], written["left"], written["running"]) == (62, None, [])
    out, err = capsys.readouterr()
    assert out.splitlines() == ["12 of 62 tasks are stored; 50 to compute", "62 of 62 tasks, 0 s"]
    assert not err
    assert os.listdir(tmp_path) == ["progress.json"]


def test_a_file_that_cannot_be_written_stops_nothing(tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("KIT_PROGRESS", str(tmp_path / "file" / "progress.json"))
    with progress.track(2, 1) as bar:
        bar.update(2)
    assert "2 of 2 tasks, 0 s" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"running": 3}', '{"running": [], "x": 1}'])
def test_a_strange_file_is_no_state(text, tmp_path):
    (tmp_path / "progress.json").write_text(text)
    assert progress.read(tmp_path / "progress.json") is None


def jupyter(monkeypatch):
    """Pretend that this is a Jupyter kernel; what is displayed in it."""
    import IPython

    bundles = []

    class Handle:
        def update(self, bundle, raw):
            assert raw
            bundles.append(bundle)

    def display(bundle, raw, display_id):
        assert raw
        assert display_id is True
        bundles.append(bundle)
        return Handle()

    shell = type("ZMQInteractiveShell", (), {})()
    monkeypatch.delenv("KIT_PROGRESS", raising=False)
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    monkeypatch.setattr("IPython.display.display", display)
    return bundles


def test_jupyter_shows_one_display(monkeypatch, capsys):
    bundles = jupyter(monkeypatch)
    monkeypatch.setattr(progress._Page, "interval", 0.05)
    with progress.track(62, 12) as bar:
        bar.update(31, 70.0, ["<a>"])
        time.sleep(0.3)
    first, second, last = bundles[0], bundles[1], bundles[-1]
    assert {tuple(bundle) for bundle in bundles[:-1]} == {("text/html", "text/plain")}
    assert first["text/html"] == '<progress max="62" value="12"></progress> 12 / 62 · 0 s'
    assert second["text/plain"] == "31 / 62 · 0 s · about 1 min 10 s left · running: <a>"
    assert "running: &lt;a&gt;" in second["text/html"]
    assert last == {"text/plain": "stopped after 31 of 62 tasks, 0 s"}
    assert not any(capsys.readouterr())


def test_jupyter_is_not_flooded(monkeypatch):
    bundles = jupyter(monkeypatch)
    with progress.track(10_000, 0) as bar:
        for done in range(10_000):
            bar.update(done + 1, 1.0, ["a"])
    assert len(bundles) < 10
    assert bundles[-1]["text/plain"].startswith("10000 of 10000 tasks")


def test_it_works_in_a_real_kernel(tmp_path):
    """Display and updates, the latter from another thread, arrive in the executed notebook."""
    import nbformat
    from nbclient import NotebookClient

    source = (
        "import os, time; os.environ.pop('KIT_PROGRESS', None)\n"
        "from kit.harness import progress\n"
        "with progress.track(3, 1) as bar:\n"
        "    bar.update(2, 5.0, ['a'])\n"
        "    time.sleep(1.5)\n"
        "    bar.update(3)\n"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    path = {"metadata": {"path": str(runtime.root())}}
    NotebookClient(notebook, timeout=120, resources=path).execute()
    (output,) = notebook.cells[0].outputs
    assert output.data == {"text/plain": "3 of 3 tasks, 2 s"}  # one plain line stays


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_drops_the_text_and_no_more():
    code = (
        "import sys; from kit.harness import progress\n"
        "lost = [progress.say('x' * 99, sys.stdout) for _ in range(3)]\n"
        "print('between')\n"
        "with progress.track(2, 1) as bar: bar.update(2)\n"
        "open(sys.argv[1], 'w').write(repr(lost))\n"
    )
    read, write = os.pipe()
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code, f"/dev/fd/{write}"],
            stdout=full,
            stderr=full,
            pass_fds=[write],
            cwd=runtime.root(),
        )
    os.close(write)
    assert os.read(read, 100) == b"[False, True, True]"
    os.close(read)
    assert done.returncode == 0


def test_a_stream_that_is_closed_or_knows_few_characters():
    assert not progress.say("text", None)
    closed = io.StringIO()
    closed.close()
    assert not progress.say("text", closed)
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    assert progress.say("31 / 62 · …", ascii_only)
    assert ascii_only.buffer.getvalue() == b"31 / 62 ? ?\n"


def test_importing_it_is_cheap():
    heavy = {"torch", "pandas", "scipy", "sklearn", "matplotlib", "IPython", "numpy"}
    code = f"import sys; from kit.harness import progress; print({heavy} & set(sys.modules))"
    out = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=runtime.root())
    assert out.strip() == "set()"
