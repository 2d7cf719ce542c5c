"""Execute the notebooks headless and regenerate every table and figure; see ``--help``."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

NOTEBOOKS = Path(__file__).resolve().with_name("notebooks")
EXPERIMENTS = "kit.experiments"
INTERRUPTED = "Interrupted. Finished steps are kept: run the same again to go on."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status is 0, 1 (failed or interrupted) or 2 (bad input)."""
    try:
        with quitting():
            from kit.harness.runner import command_line  # takes a second or more
        return command_line.main(arguments, NOTEBOOKS, EXPERIMENTS)
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        return 1


@contextlib.contextmanager
def quitting() -> Iterator[None]:
    """Ctrl-C ends the process at once: an exception would leave modules half imported."""

    def quit_now(*_: object) -> None:
        os.write(2, f"{INTERRUPTED}\n".encode())
        os._exit(1)

    handler = signal.getsignal(signal.SIGINT)
    if handler is not signal.default_int_handler:  # ignored, as in the background of a shell
        yield
        return
    signal.signal(signal.SIGINT, quit_now)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def open_streams() -> None:
    """Open what the caller closed (``>&-``), lest a file of ours gets the number of a stream."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)


if __name__ == "__main__":
    open_streams()
    sys.exit(main())
