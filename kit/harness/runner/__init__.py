"""Notebooks run headless: parameters are checked first, and only a finished run is believed.

``command_line`` is what ``run_all.py`` calls; ``python -m kit.harness.runner`` executes one
notebook.
"""

from kit.harness.runner.parameters import (
    OPTIONS,
    Notebook,
    Parameter,
    copies,
    notebooks,
    profile,
    studies,
)
from kit.harness.runner.supervision import Outcome, execute

__all__ = [
    "OPTIONS",
    "Notebook",
    "Outcome",
    "Parameter",
    "copies",
    "execute",
    "notebooks",
    "profile",
    "studies",
]
