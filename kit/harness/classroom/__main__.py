"""Write the class edition: ``python -m kit.harness.classroom FOLDER``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from kit import runtime
from kit.harness.classroom.editions import KINDS, write
from kit.harness.classroom.exercises import notebooks


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status is 0, or 2 where nothing was written."""
    parser = argparse.ArgumentParser(prog="python -m kit.harness.classroom", description=__doc__)
    parser.add_argument("folder", type=Path, help="a new folder for the notebooks")
    folder = parser.parse_args(arguments).folder.absolute()
    taken = [folder / kind for kind in KINDS if (folder / kind).exists()]
    if taken:
        print(
            f"{taken[0]} is there already, and work in it would be lost: give another folder.",
            file=sys.stderr,
        )
        return 2
    try:
        for kind, what in KINDS.items():
            for notebook in notebooks(runtime.root() / "notebooks"):
                write(notebook, folder / kind, kind)
            print(f"{folder / kind}: {what}")
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
