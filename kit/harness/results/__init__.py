"""What a notebook says and leaves behind: statistics, verdicts, and the files of its report.

This package and its modules import SciPy, pandas and matplotlib where they are used: who needs a
verdict's name or a `Study` alone does not wait for them.
"""

from kit.harness.results.intervals import (
    mean_interval,
    middle,
    of_resplits,
    of_shared_images,
    two_samples,
    welch_interval,
)
from kit.harness.results.power import MIN_REPEATS, repeats_needed, smallest_effect
from kit.harness.results.reference import beside_printed
from kit.harness.results.report import Report
from kit.harness.results.screen import boxed
from kit.harness.results.study import Study
from kit.harness.results.verdicts import (
    NOT_REPRODUCED,
    NOT_TESTED,
    REPRODUCED,
    SMALLER,
    UNDECIDED,
    VERDICTS,
    Verdict,
    above,
    all_of,
    holm,
    larger,
    positive,
    shown_number,
    verdict,
)

__all__ = [
    "MIN_REPEATS", "NOT_REPRODUCED", "NOT_TESTED", "REPRODUCED", "SMALLER", "UNDECIDED", "VERDICTS",
    "Report", "Study", "Verdict", "above", "all_of", "beside_printed", "boxed",
    "holm", "larger",
    "mean_interval", "middle", "of_resplits", "of_shared_images", "positive", "repeats_needed",
    "shown_number", "smallest_effect", "two_samples", "verdict", "welch_interval",
]  # fmt: skip
