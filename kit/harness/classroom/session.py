"""What a student's notebook calls: a check of answers, and a question before each exercise."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kit import runtime
from kit.constraints import in_one_line
from kit.harness.classroom.answers import judge
from kit.harness.classroom.exercises import Exercise, Guess, edition, read

Check = Callable[[int, Any], None]
Ask = Callable[[int], None]


@in_one_line
def begin(name: str, names: Mapping[str, Any], *, written: str = "") -> tuple[Check, Ask]:
    """What a notebook needs for its exercises: ``check(3, answer)`` and ``guess(3)``.

    Parameters
    ----------
    name
        Of the notebook, such as ``"03_knn_tradeoff"``.
    names
        What the notebook has defined so far, ``globals()``. Solutions use these names with what
        they stand for now, whatever is assigned to them later.
    written
        The digest of the exercises for which the notebook was written.

    Raises
    ------
    ValueError
        There is no such notebook, or its exercises are no longer those.
    """
    path = _path(name)
    if written and written != edition(path):
        raise ValueError(
            f"This notebook was written for other exercises than {name} has now: write the class "
            "edition anew with python -m kit.harness.classroom FOLDER."
        )
    exercises = {exercise.number: exercise for exercise in read(path)}
    before = dict(names)
    solved: dict[int, dict[str, Any]] = {}

    @in_one_line
    def check(number: int, answer: Any) -> None:
        """Say whether an answer is right, or how it is wrong."""
        exercise = _chosen(exercises, number)
        if answer is not ... and number not in solved:
            solved[number] = run(exercise, before)
        print(judged(exercise, answer, solved.get(number, {})))

    @in_one_line
    def guess(number: int) -> None:
        """Ask the question that stands before an exercise."""
        exercise = _chosen(exercises, number)
        if exercise.guess:
            _show(exercise.guess)

    return check, guess


def expected(name: str, number: int, names: Mapping[str, Any]) -> tuple[Any, float | None]:
    """The right answer of an exercise, and how far from it an answer may be.

    Parameters
    ----------
    name, names
        As for :func:`begin`.
    """
    exercise = _chosen({exercise.number: exercise for exercise in read(_path(name))}, number)
    return run(exercise, names)["answer"], exercise.within


def run(exercise: Exercise, names: Mapping[str, Any]) -> dict[str, Any]:
    """The names of a notebook and of a solution after it, of which nothing is shown.

    Raises
    ------
    ValueError
        The solution fails, as it may with unusual parameters.
    """
    from IPython.utils.capture import capture_output

    after = dict(names)
    code = compile(exercise.solution, f"<solution of exercise {exercise.number}>", "exec")
    open_figures = _figures()
    try:
        with capture_output():
            exec(code, after)
    except Exception as error:
        raise ValueError(
            f"With these parameters the solution of exercise {exercise.number} itself fails, so "
            f"that no answer can be checked ({type(error).__name__})."
        ) from error
    finally:
        for number in _figures() - open_figures:
            sys.modules["matplotlib.pyplot"].close(number)
    return after


def judged(exercise: Exercise, answer: Any, solved: Mapping[str, Any]) -> str:
    """What to say of an answer; `solved` are the names after the solution, or none yet."""
    slips = {say: eval(str(code), dict(solved)) for say, code in exercise.slips.items() if solved}
    right = solved.get("answer")
    return judge(answer, right, wanted=exercise.wanted, within=exercise.within, slips=slips)


def _path(name: str) -> Path:
    return runtime.root() / "notebooks" / f"{name}.ipynb"


def _chosen(exercises: Mapping[int, Exercise], number: int) -> Exercise:
    if number not in exercises:
        raise ValueError(f"There is no exercise {number!r}: they go from 1 to {len(exercises)}.")
    return exercises[number]


def _figures() -> set[int]:
    pyplot = sys.modules.get("matplotlib.pyplot")
    return set(pyplot.get_fignums()) if pyplot else set()


def _show(guess: Guess) -> None:
    from IPython.display import display
    from ipywidgets import HTML, Layout, RadioButtons, VBox

    width = Layout(width="auto")
    choices = RadioButtons(options=guess.choices, value=None, layout=width)
    choices.tooltip = guess.ask
    said = HTML()

    def say(change: Mapping[str, Any]) -> None:
        right = change["new"] == guess.right
        said.value = "That is what comes out. Why?" if right else "No. Compute it and see."

    choices.observe(say, "value")
    display(VBox([HTML(f"<b>Guess first.</b> {guess.ask}"), choices, said]))
