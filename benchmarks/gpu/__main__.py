"""The kit on a GPU.

    python -m benchmarks.gpu --estimate                  without one: what it would take
    python -m benchmarks.gpu --out DIR --minutes 9       on one: what it takes; again: go on

The estimate needs the test tools, and half an hour on two cores. DIR then holds a file for each part,
and all of them as a table in gpu.md.
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
    parser.add_argument(
        "--profiles",
        nargs="+",
        default=estimate.PROFILES,
        metavar="NAME",
        choices=estimate.PROFILES,
        help="of the estimate",
    )
    parser.add_argument("--out", type=Path, help="folder of the results; the estimate has its own")
    parser.add_argument("--minutes", type=float, default=9, help="when to stop measuring")
    parser.add_argument("--data", default="", help="where the data sets are (default: data/)")
    parser.add_argument("--device", default="cuda", help="cuda or cuda:N")
    arguments = parser.parse_args()
    if arguments.estimate:
        estimate.main(arguments.out or RESULTS, arguments.profiles)
        return
    if arguments.out is None:
        parser.error("name a folder for the results with --out.")
    try:
        device = runtime.device(arguments.device)
    except ValueError as error:
        parser.error(str(error))
    if device.type != "cuda":
        parser.error(f"--device is {device}: this measures a GPU; use cuda or cuda:N.")
    deadline = time.monotonic() + 60 * arguments.minutes
    measure.main(measure.Session(device, arguments.data, arguments.out.resolve(), deadline))


if __name__ == "__main__":
    main()
