"""The exercises of a notebook: text, solution, and what is known about answers to it."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
import yaml

FILE = "exercises.yaml"  # beside the notebooks
HEADING, TRY_IT = "## Exercises", "## Try it"
_FOLDED = re.compile(
    r"(?P<number>\d+)\. (?P<text>.*?)\n\n<details><summary>Solution</summary>\n\n"
    r"```python\n(?P<solution>.*?)```\n\n(?P<explanation>.*?)\n\n</details>",
    re.DOTALL,
)
_WANTED = re.compile(r"^\*\*Answer\*\*: (.*)$", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Guess:
    """A question to be answered before anything is computed."""

    ask: str
    right: str
    wrong: Sequence[str]

    @property
    def choices(self) -> list[str]:
        """All answers, in an order that says nothing."""
        return sorted([self.right, *self.wrong])


@dataclasses.dataclass(frozen=True)
class Exercise:
    """One exercise of a notebook.

    Attributes
    ----------
    text
        In Markdown, with the line that says what is to be answered.
    solution
        Python, to be run after the notebook's own cells. What it calls ``answer`` in the end is
        right.
    explanation
        What comes out and why, in Markdown.
    within
        How far from the right one an answer may be; None stands for 1 % of it.
    slips
        What to say of likely wrong answers, and for each an expression over the names of the
        notebook and the solution.
    """

    number: int
    text: str
    solution: str
    explanation: str
    guess: Guess | None = None
    within: float | None = None
    slips: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def wanted(self) -> str:
        """What is to be answered."""
        found = _WANTED.search(self.text)
        return found[1] if found else ""


def read(notebook: Path) -> list[Exercise]:
    """The exercises of a notebook, with what the file ``exercises.yaml`` beside it says of them.

    Raises
    ------
    ValueError
        The notebook, or the file, is not there. Or they do not fit together: one has an exercise
        that the other lacks, or an exercise does not say what is to be answered.
    """
    if not notebook.is_file():
        raise ValueError(f"There is no notebook {notebook.name} in {notebook.parent}.")
    cells = nbformat.read(notebook, as_version=4).cells
    known = _known(notebook.with_name(FILE)).get(notebook.stem, {})
    found = [
        _exercise(match, known)
        for cell in cells
        if cell.cell_type == "markdown" and (match := _FOLDED.fullmatch(cell.source))
    ]
    if left := set(known) - {exercise.number for exercise in found}:
        raise ValueError(f"{notebook.name} has no exercise {min(left)}, which {FILE} speaks of.")
    return found


def notebooks(folder: Path) -> list[Path]:
    """The notebooks of a folder that have exercises."""
    return [folder / f"{name}.ipynb" for name in sorted(_known(folder / FILE))]


def match(text: str) -> int | None:
    """The number of the exercise that a Markdown cell holds; None if it holds none."""
    found = _FOLDED.fullmatch(text)
    return int(found["number"]) if found else None


def edition(notebook: Path) -> str:
    """A short digest of a notebook's exercises and of all that is said of them."""
    return hashlib.sha256(repr(read(notebook)).encode()).hexdigest()[:8]


def _known(path: Path) -> dict[str, dict[int, dict[str, Any]]]:
    if not path.is_file():
        raise ValueError(f"There is no file {path.name} beside the notebooks in {path.parent}.")
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _exercise(found: re.Match[str], known: Mapping[int, Mapping[str, Any]]) -> Exercise:
    number = int(found["number"])
    if number not in known or not _WANTED.search(found["text"]):
        raise ValueError(
            f"Exercise {number}, {found['text'][:40]!r} …, is not ready for a class: its text "
            f"needs a line that begins with **Answer**:, and {FILE} an entry for it."
        )
    about = dict(known[number] or {})
    guess = about.pop("guess", None)
    return Exercise(
        number,
        found["text"],
        found["solution"],
        found["explanation"],
        guess=Guess(**guess) if guess else None,
        **about,
    )
