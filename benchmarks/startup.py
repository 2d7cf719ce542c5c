"""How long it takes until something happens: imports, and what `--check` takes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from benchmarks.rows import Row, in_turn
from kit import runtime


def rows(root: str, quick: bool) -> Iterator[Row]:
    """Against `import torch`: the kit may take so many times as long, so targets are below 1."""
    check = [str(runtime.root() / "run_all.py"), "--check"]
    # What the first round learns of the data sets is kept where a store is.
    (runtime.folder("steps") / "splits").mkdir(parents=True, exist_ok=True)
    commands = {
        "import kit": ["-c", "import kit; kit.data, kit.nets, kit.training, kit.attacks"],
        "run_all.py --check": check,
        "import torch": ["-c", "import torch"],
    }
    ways = {
        name: lambda arguments=arguments: subprocess.run(
            [sys.executable, *arguments], check=True, capture_output=True, cwd=runtime.root()
        )
        for name, arguments in commands.items()
    }
    seconds = in_turn(ways, 1 if quick else 5)
    for name, most in (("import kit", 1.2), ("run_all.py --check", 1.5)):
        yield Row(
            name, "import torch", seconds[name], seconds["import torch"], round(1 / most, 2), "–"
        )
