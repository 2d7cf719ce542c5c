"""How far a computation is: one line in a notebook or a terminal, or a file that the runner reads.

>>> line(State(total=62, stored=12, done=13, elapsed=35.0, left=70.0, running=("digits: study",)))
'13 / 62 · 35 s · about 1 min 10 s left · running: digits: study'
"""

from __future__ import annotations

import contextlib
import dataclasses
import html
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, TextIO

from kit import files

CELLS = 20  # length of the bar in a terminal


@dataclasses.dataclass(frozen=True)
class State:
    """How far a computation is.

    Attributes
    ----------
    total, stored, done
        Tasks in all, those that were stored before it began, and those that are there by now,
        stored ones included.
    elapsed, left
        Seconds; `left` is None while nobody can tell.
    running
        What is being computed, in a few words each.
    """

    total: int
    stored: int
    done: int
    elapsed: float = 0.0
    left: float | None = None
    running: tuple[str, ...] = ()

    @property
    def start(self) -> str:
        """One sentence on what there is to do."""
        text = f"{self.stored} of {self.total} tasks are stored"
        return text + f"; {self.total - self.stored} to compute" * (self.stored < self.total)

    @property
    def end(self) -> str:
        """One sentence on what was done."""
        if self.stored == self.total:
            return self.start
        text = f"{self.done} of {self.total} tasks, {duration(self.elapsed)}"
        return text if self.done == self.total else f"stopped after {text}"


def duration(seconds: float) -> str:
    """A time as people read it.

    Examples
    --------
    >>> [duration(seconds) for seconds in (0.4, 45, 60, 200, 3599.7, 3900, 100000)]
    ['0 s', '45 s', '1 min', '3 min 20 s', '1 h', '1 h 5 min', '27 h 47 min']
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    large, small, units = *divmod(whole, 60), ("min", "s")
    if whole >= 3600:
        large, small, units = *divmod(round(seconds / 60), 60), ("h", "min")
    return f"{large} {units[0]}" + f" {small} {units[1]}" * (small > 0)


def line(state: State, width: int | None = None) -> str:
    """A state in one line, cut at a `width`, in characters; where that is large, after a bar."""
    parts = [f"{state.done} / {state.total}", duration(state.elapsed)]
    if state.left is not None and state.left >= 1:
        parts.append(f"about {duration(state.left)} left")
    if state.running:
        parts.append(f"running: {'; '.join(state.running)}")
    text = " ".join(" · ".join(parts).split())  # a label may hold a line break
    if width is None:
        return text
    if width > 2 * CELLS:
        filled = CELLS * state.done // max(1, state.total)
        text = f"[{'#' * filled}{'.' * (CELLS - filled)}] {text}"
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def say(text: str, stream: TextIO | None, end: str = "\n") -> bool:
    """Write a line at once, and return whether that worked.

    Once the reader has gone (``| head -1``) or the disk is full, the stream drops everything.
    """
    if stream is None:  # Python found it closed
        return False
    try:
        stream.write(text + end)
        stream.flush()
        return True
    except UnicodeEncodeError:
        return say(text.encode("ascii", "replace").decode(), stream, end)
    except (OSError, ValueError):
        # Its buffer still holds the text, and would complain once more when Python ends.
        with contextlib.suppress(OSError, ValueError), open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())
        return False


class Display:
    """Where a state is shown, at most once per `interval` seconds; this one shows plain lines."""

    interval = 30.0

    def __init__(self, prefix: str = ""):
        self.prefix, self.last = prefix, time.monotonic()

    def begin(self, state: State) -> None:
        """Show what there is to do; in plain lines only what takes its time is worth one."""

    def show(self, state: State) -> None:
        """Draw a state, unless another one was shown a moment ago."""
        if time.monotonic() - self.last >= self.interval:
            self.draw(state)
            self.last = time.monotonic()

    def draw(self, state: State) -> None:
        """Draw a state now."""
        say(self.prefix + line(state), sys.stderr)

    def note(self, text: str, stream: TextIO | None = None) -> None:
        """Write one line of text that stays."""
        say(self.prefix + text, stream or sys.stderr)

    def clear(self) -> None:
        """Take away what does not stay."""

    def finish(self, state: State) -> None:
        """Show how it ended."""
        self.clear()
        self.note(state.end)


class _Terminal(Display):
    """One line of a terminal, drawn over and over; several displays share it."""

    interval = 0.1
    lock = threading.RLock()
    states: ClassVar[dict[str, State]] = {}  # by prefix
    shown: ClassVar[str] = ""

    def begin(self, state: State) -> None:
        self.draw(state)

    def draw(self, state: State) -> None:
        with self.lock:
            self.states[self.prefix] = state
            self._draw_all()

    def note(self, text: str, stream: TextIO | None = None) -> None:
        with self.lock:
            shown = self.shown
            self._replace("")
            say(self.prefix + text, stream or sys.stderr)
            self._replace(shown)

    def clear(self) -> None:
        with self.lock:
            self.states.pop(self.prefix, None)
            self._draw_all()

    def _draw_all(self) -> None:
        # The last column stays free: some terminals start a new line after it.
        width = _columns() // max(1, len(self.states)) - 1
        parts = [p + line(state, width - len(p)) for p, state in self.states.items()]
        self._replace(" ".join(part.ljust(width) for part in parts).rstrip())

    @classmethod
    def _replace(cls, text: str) -> None:
        if text != cls.shown:
            blank = " " * (_columns() - 1)  # the terminal may have written ^C behind the text
            say(f"\r{blank}\r{text}", sys.stderr, end="")
            cls.shown = text


class _Page(Display):
    """One display of a Jupyter notebook, updated in place."""

    interval = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.handle: Any = None

    def begin(self, state: State) -> None:
        self.draw(state)

    def draw(self, state: State) -> None:
        bar = f'<progress max="{state.total}" value="{state.done}"></progress>'
        text = line(state)
        self._replace({"text/html": f"{bar} {html.escape(text)}", "text/plain": text})

    def finish(self, state: State) -> None:
        self._replace({"text/plain": state.end})  # what a saved notebook keeps

    def _replace(self, bundle: dict[str, str]) -> None:
        from IPython.display import display

        if self.handle is None:
            self.handle = display(bundle, raw=True, display_id=True)
        else:
            self.handle.update(bundle, raw=True)


class _File(Display):
    """A file for the process that supervises this one, see :func:`read`."""

    interval = 0.2

    def __init__(self, path: Path):
        super().__init__()
        self.path = path

    def begin(self, state: State) -> None:
        self.note(state.start)
        self.draw(state)

    def draw(self, state: State) -> None:
        with contextlib.suppress(OSError), files.atomic_write(self.path) as beside:
            beside.write_text(json.dumps(dataclasses.asdict(state)), encoding="utf-8")

    def note(self, text: str, stream: TextIO | None = None) -> None:
        super().note(text, stream or sys.stdout)

    def finish(self, state: State) -> None:
        self.draw(state)
        if state.stored < state.total:
            self.note(state.end)


def read(path: Path) -> State | None:
    """The state in the file of a process that computes, as of now; None where there is none."""
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        values["running"] = tuple(values["running"])
        return aged(State(**values), time.time() - path.stat().st_mtime)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def aged(state: State, seconds: float) -> State:
    """A state some seconds later, in which nothing happened."""
    seconds = max(0.0, seconds)
    left = None if state.left is None else max(0.0, state.left - seconds)
    return dataclasses.replace(state, elapsed=state.elapsed + seconds, left=left)


class Bar:
    """The progress of one computation; see :func:`track`."""

    def __init__(self, total: int, stored: int, display: Display):
        self.total, self.display = total, display
        self._state, self._started = State(total, stored, stored), time.monotonic()
        # A thread of its own keeps the clock going while a long task runs in this process.
        self._ended = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)

    def update(self, done: int, left: float | None = None, running: Sequence[str] = ()) -> None:
        """Say how far it is, as often as one likes.

        Parameters
        ----------
        done
            Tasks that are there by now, stored ones included.
        left
            Seconds, None while nobody can tell.
        running
            What is being computed, in a few words each.
        """
        self._state = dataclasses.replace(
            self._state, done=done, left=left, running=tuple(running), elapsed=self._elapsed()
        )

    def note(self, text: str) -> None:
        """Print one line of text, for what should be remarked and is rare."""
        self.display.note(text)

    def begin(self) -> None:
        """Show what there is to do, and from now on how far it is."""
        self.display.begin(self._state)
        self._ticker.start()

    def finish(self) -> None:
        """Show how it ended, even if it was stopped."""
        self._ended.set()
        self._ticker.join()
        state = dataclasses.replace(self._state, left=None, running=(), elapsed=self._elapsed())
        self.display.finish(state)

    def _tick(self) -> None:
        while not self._ended.wait(self.display.interval):
            state = self._state
            self.display.draw(aged(state, self._elapsed() - state.elapsed))

    def _elapsed(self) -> float:
        return time.monotonic() - self._started


@contextlib.contextmanager
def track(total: int, stored: int) -> Iterator[Bar]:
    """Show the progress of a block: in Jupyter, in a terminal, or for a process that supervises.

    Of `total` tasks `stored` are there already; of no tasks nothing is shown.
    """
    bar = Bar(total, stored, _display())
    if not total:
        yield bar
        return
    bar.begin()
    try:
        yield bar
    finally:
        bar.finish()


def console(prefix: str = "") -> Display:
    """The terminal, or plain lines where the standard error stream is none."""
    try:
        terminal = sys.stderr.isatty()
    except (AttributeError, ValueError):  # it is closed
        terminal = False
    return _Terminal(prefix) if terminal else Display(prefix)


def _display() -> Display:
    if path := os.environ.get("KIT_PROGRESS"):
        return _File(Path(path))
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    in_jupyter = any(base.__name__ == "ZMQInteractiveShell" for base in type(shell).__mro__)
    return _Page() if in_jupyter else console()


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (OSError, ValueError, AttributeError):
        return 80
