"""A notebook for students, for instructors, and for otter-grader, from the kit's own."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_raw_cell

from kit.harness.classroom.exercises import HEADING, TRY_IT, Exercise, edition, match, read

Cells = Iterator[nbformat.NotebookNode]
LINKED = "linked"  # the folder of what an edition's notebooks link to

_INTRODUCTION = f"""{HEADING}

Each exercise has a cell for your code and a cell that says whether your answer is right, which \
takes as long as to compute it. Give your own variables new names: the check computes with what \
the cells above have defined."""


def write(notebook: Path, folder: Path, kind: str) -> Path:
    """Write an edition of a notebook.

    Parameters
    ----------
    folder
        Where it goes, with copies of the pages and pictures that it links to, so that the folder
        can be handed out.
    kind
        ``"student"``, ``"instructor"`` or ``"otter"``.

    Returns
    -------
    pathlib.Path
        Of the new notebook, which has the name of the old one.
    """
    made = nbformat.read(notebook, as_version=4)
    exercises = {exercise.number: exercise for exercise in read(notebook)}
    cells = (
        [] if kind != "otter" else [new_raw_cell(f"# ASSIGNMENT CONFIG\nname: {notebook.stem}\n")]
    )
    for cell in made.cells:
        number = match(cell.source) if cell.cell_type == "markdown" else None
        if number:
            cells += _KINDS[kind](exercises[number], notebook.stem)
        elif cell.cell_type == "markdown" and cell.source.startswith(HEADING):
            cells += _heading(notebook, kind)
        else:
            cells.append(cell)
    for position, cell in enumerate(cells):
        cell.id = str(position)
        if cell.cell_type == "markdown":
            cell.source = _bundled(cell.source, notebook.parent, folder)
            if kind == "student" and cell.source.startswith(TRY_IT):
                cell.source = _first_columns(cell.source)
    made.cells = cells
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / notebook.name
    nbformat.write(made, path)
    return path


def _heading(notebook: Path, kind: str) -> Cells:
    if kind == "otter":
        yield new_markdown_cell(HEADING)
        return
    yield new_markdown_cell(_INTRODUCTION)
    given = f'"{notebook.stem}", globals(), written="{edition(notebook)}"'
    yield new_code_cell(
        f"from kit.harness import classroom\n\ncheck, guess = classroom.begin({given})"
    )


def _asked(exercise: Exercise) -> Cells:
    yield new_markdown_cell(f"{exercise.number}. {exercise.text}")
    if exercise.guess:
        yield new_code_cell(f"guess({exercise.number})")


def _student(exercise: Exercise, _: str) -> Cells:
    number = exercise.number
    yield from _asked(exercise)
    yield new_code_cell(f"answer_{number} = ...")
    yield new_code_cell(f"check({number}, answer_{number})")


def _instructor(exercise: Exercise, _: str) -> Cells:
    number = exercise.number
    yield from _asked(exercise)
    yield new_code_cell(f"{exercise.solution}\nanswer_{number} = answer")
    yield new_code_cell(f"check({number}, answer_{number})")
    yield new_markdown_cell(exercise.explanation)


def _otter(exercise: Exercise, name: str) -> Cells:
    """A question of otter-grader: its solution and its hidden test are taken out for students."""
    number = exercise.number
    yield new_raw_cell(f"# BEGIN QUESTION\nname: q{number}\npoints: 1")
    yield new_markdown_cell(f"{number}. {exercise.text}")
    yield new_raw_cell("# BEGIN SOLUTION")
    yield new_code_cell(
        f"# BEGIN SOLUTION NO PROMPT\n{exercise.solution}# END SOLUTION\n"
        f"answer_{number} = answer  # SOLUTION"
    )
    yield new_raw_cell("# END SOLUTION")
    yield new_raw_cell("# BEGIN TESTS")
    yield new_code_cell(f"assert answer_{number} is not ..., 'There is no answer yet.'")
    yield new_code_cell(
        "# HIDDEN\n"
        "from kit.harness import classroom\n"
        f'right, within = classroom.expected("{name}", {number}, globals())\n'
        f"assert classroom.agree(answer_{number}, right, within)"
    )
    yield new_raw_cell("# END TESTS")
    yield new_raw_cell("# END QUESTION")


_KINDS: dict[str, Callable[[Exercise, str], Cells]] = {
    "student": _student,
    "instructor": _instructor,
    "otter": _otter,
}
KINDS = {
    "student": "to hand out as a whole; students need the kit, too, which checks answers",
    "instructor": "with all solutions",
    "otter": "for graded courses: otter assign NOTEBOOK OUT",
}


def _bundled(text: str, old: Path, new: Path) -> str:
    """A Markdown text whose links to files lead to copies; those to folders are text alone."""

    def link(found: re.Match[str]) -> str:
        shown, place, anchor = found.groups()
        target = (old / place).resolve()
        if not target.is_file():
            return shown
        copy = Path(LINKED) / target.relative_to(old.resolve().parent)
        (new / copy).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(target, new / copy)
        return f"[{shown}]({copy.as_posix()}{anchor})"

    return re.sub(r"\[([^\]]*)\]\((\.\./[^)\s#]+)(#[^)\s]*|)\)", link, text)


def _first_columns(text: str) -> str:
    """A text whose tables keep their first columns: what to change, and not what comes out."""
    return re.sub(r"(?m)^(\|[^|]*\|).*$", r"\1", text)
