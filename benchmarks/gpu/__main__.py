"""The kit on a GPU.

    python -m benchmarks.gpu --estimate                  without one: what it would take
    python -m benchmarks.gpu --out DIR --minutes 9       on one: what it takes; again: go on

The estimate needs the test tools, and takes some ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from benchmarks.gpu import estimate, measure
from kit import runtime

RESULTS = Path(__file__).parents[1] / "results"


def main() -> None:
    """Parse the command line; estimate, or measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--estimate", action="store_true", help="without a GPU")
    parser.add_argument("--profiles", nargs="+", default=estimate.PROFILES, metavar="NAME",
                        choices=estimate.PROFILES, help="of the estimate")  # fmt: skip
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--minutes", type=float, default=9, help="when to stop measuring")
    parser.add_argument("--data", default="", help="where the data sets are (default: data/)")
    parser.add_argument("--device", default="cuda", help="cuda or cuda:N")
    arguments = parser.parse_args()
    if arguments.estimate:
        estimate.main(arguments.out, arguments.profiles)
        return
    deadline = time.monotonic() + 60 * arguments.minutes
    device = runtime.device(arguments.device)
    measure.main(measure.Session(device, arguments.data, arguments.out.resolve(), deadline))


if __name__ == "__main__":
    main()
