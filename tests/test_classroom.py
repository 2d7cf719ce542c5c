"""The class edition: it hides what it must, and says of answers what is wrong with them."""

import json
import re
import shutil
import subprocess
import sys

import nbformat
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kit import runtime
from kit.harness import classroom
from kit.harness.classroom import __main__ as command
from kit.harness.classroom import editions, exercises

NOTEBOOKS = runtime.root() / "notebooks"
KNOWN = exercises.notebooks(NOTEBOOKS)
NUMBERS = st.floats(-1e6, 1e6).filter(lambda value: abs(value) > 1e-3)
RIGHT = st.one_of(
    NUMBERS,
    st.sampled_from(["reproduced", "undecided"]),
    st.frozensets(st.sampled_from("abcde")),
    st.lists(NUMBERS, min_size=1, max_size=4).map(tuple),
    st.dictionaries(st.sampled_from(["FGSM", "PGD", 1, 3]), NUMBERS, min_size=1),
)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("class")
    assert command.main([str(folder)]) == 0
    return folder


def sources(path, kind=None):
    cells = nbformat.read(path, as_version=4).cells
    return [cell.source for cell in cells if kind in (None, cell.cell_type)]


@given(right=RIGHT)
def test_the_right_answer_is_right_in_any_of_its_types(right):
    assert classroom.judge(right, right) == "Right."
    if isinstance(right, float):
        assert classroom.judge(np.float64(right), right) == "Right."
        assert classroom.judge(torch.tensor(right, dtype=torch.float64), right) == "Right."
    if isinstance(right, tuple):
        assert classroom.judge(np.array(right), right) == "Right."


@given(right=NUMBERS, apart=st.floats(0.0101, 100), sign=st.sampled_from([-1, 1]))
def test_a_number_further_off_than_allowed_is_never_right(right, apart, sign):
    said = classroom.judge(right * (1 + sign * apart), right)
    assert said.startswith("Not yet. ")
    assert f"{right}" not in said


@given(right=NUMBERS, within=st.floats(1e-3, 10))
def test_an_exercise_may_say_how_far_off_an_answer_may_be(right, within):
    assert classroom.agree(right + 0.99 * within, right, within)
    assert not classroom.agree(right + 1.01 * within, right, within)


@pytest.mark.parametrize(
    ("answer", "right", "said"),
    [
        (..., 3, "No answer yet. Asked for: how many"),
        (30.0, 0.3, "Not yet. Percent are not shares: divide by 100."),
        (0.3, 30.0, "Not yet. Shares are not percent: multiply by 100."),
        (-2.0, 2.0, "Not yet. It has the wrong sign."),
        ("2", 2, "Not yet. Asked for is a number, and this is text."),
        (True, 1, "Not yet. Asked for is a number, and this is True or False."),
        (None, 1, "Not yet. Asked for is a number, and this is a value of type NoneType."),
        (float("nan"), 1.0, "Not yet. Something else comes out."),
        (1.05, 1.0, "Not yet. It is close: was it rounded too early, or made with other images "
         "or seeds?"),
        ({"a": 1, "b": 3}, {"a": 1, "b": 2}, "Not yet. 1 of 2 values is right; look again at 'b'."),
        ({"a": 7}, {"a": 1, "b": 2}, "Not yet. Asked for are values for 'a', 'b'."),
        ({"a": 5, "b": 5}, {"a": 1, "b": 2}, "Not yet. None of the values is right."),
        ([1, 2], (1, 2, 3), "Not yet. The number of entries is another one."),
        ({"x"}, {"y"}, "Not yet. Some entries are others."),
        (4, 3, "Not yet. You counted the first one twice."),
    ],
)  # fmt: skip
def test_it_says_how_an_answer_is_wrong(answer, right, said):
    slips = {"You counted the first one twice.": 4}
    assert classroom.judge(answer, right, wanted="how many", slips=slips) == said


def test_every_exercise_says_what_to_answer_and_its_guess_has_one_right_choice():
    found = {path.stem: classroom.read(path) for path in KNOWN}
    assert all(found.values())
    for name, of_notebook in found.items():
        texts = sources(NOTEBOOKS / f"{name}.ipynb", "markdown")
        assert len(of_notebook) == sum("<summary>Solution" in text for text in texts)
        for exercise in of_notebook:
            assert exercise.wanted.endswith(".")
            assert re.search(r"(?m)^ *answer\b", exercise.solution)
            if exercise.guess:
                assert len(set(exercise.guess.choices)) >= 3
                assert exercise.guess.ask.endswith("?")


@pytest.mark.parametrize("kind", editions.KINDS)
def test_an_edition_has_all_that_is_taught_and_each_exercise_once(written, kind):
    for path in KNOWN:
        made = written / kind / path.name
        nbformat.validate(nbformat.read(made, as_version=4))
        assert json.loads(made.read_text()).get("metadata")
        kept = [text for text in sources(path, "code") if text not in sources(made, "code")]
        assert not kept
        for exercise in classroom.read(path):
            text = f"{exercise.number}. {exercise.text}"
            assert [made.split("\n")[0] for made in sources(made)].count(text.split("\n")[0]) == 1


def test_a_students_edition_holds_no_solution(written):
    for path in KNOWN:
        text = "\n".join(sources(written / "student" / path.name))
        assert "<summary>Solution" not in text
        for exercise in classroom.read(path):
            assert exercise.explanation not in text
            own = [line for line in exercise.solution.splitlines() if "answer" in line]
            assert not any(line.strip() in text for line in own)


def test_an_edition_is_written_alike_every_time(written, tmp_path):
    for kind in editions.KINDS:
        again = editions.write(KNOWN[3], tmp_path / kind, kind)
        assert again.read_text() == (written / kind / again.name).read_text()


def test_a_folder_can_be_handed_out(written, tmp_path):
    """What its notebooks link to lies within it, wherever it goes."""
    moved = shutil.move(shutil.copytree(written, tmp_path / "copy"), tmp_path / "elsewhere")
    for made in moved.glob("*/*.ipynb"):
        links = re.findall(r"\]\(([^)\s#:]+)[#)]", "\n".join(sources(made, "markdown")))
        assert links
        for link in links:
            assert not link.startswith("..")
            assert (made.parent / link).is_file(), link


def test_a_student_is_not_told_what_comes_out(written):
    text = "\n".join(sources(written / "student" / "03_knn_tradeoff.ipynb", "markdown"))
    assert "| `z = 5` |\n" in text
    assert "whole test set's curve does not move" not in text


def test_work_in_a_folder_is_never_overwritten(written, capsys):
    before = (written / "student" / KNOWN[0].name).read_bytes()
    assert command.main([str(written)]) == 2
    assert "give another folder" in capsys.readouterr().err
    assert (written / "student" / KNOWN[0].name).read_bytes() == before


def test_a_notebook_that_was_written_for_other_exercises_is_refused():
    with pytest.raises(ValueError, match="written for other exercises"):
        classroom.begin("03_knn_tradeoff", {}, written="0123abcd")
    with pytest.raises(ValueError, match="There is no notebook"):
        classroom.begin("03_student", {})


def test_a_solution_that_fails_says_so_in_one_sentence(capsys):
    check, _ = classroom.begin("03_knn_tradeoff", {})  # none of the notebook's names
    check(2, ...)
    assert capsys.readouterr().out.startswith("No answer yet. Asked for: how many test images")
    with pytest.raises(ValueError, match=r"solution of exercise 2 itself fails.*NameError"):
        check(2, 5)
    with pytest.raises(ValueError, match="There is no exercise 9: they go from 1 to 7"):
        check(9, 5)


def test_a_check_shows_nothing_of_the_solution_and_leaves_the_students_names(capsys):
    names = {"np": np, "order": "mine"}
    check, _ = classroom.begin("03_knn_tradeoff", names)
    check(4, {5: 29, 3: 37, 1: 43})
    check(4, {5: 2 / 7, 3: 13 / 35, 1: 3 / 7})
    check(4, {5: 5 / 7, 3: 22 / 35, 1: 4 / 7})
    assert capsys.readouterr().out.splitlines() == [
        "Not yet. Percent are not shares: divide by 100.",
        "Right.",
        "Not yet. Those are the shares of wrong ones.",
    ]
    assert names == {"np": np, "order": "mine"}


def test_a_guess_is_a_question_with_labelled_choices(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    _, guess = classroom.begin("03_knn_tradeoff", {})
    guess(2)  # which has none
    guess(1)
    question, choices, said = shown.pop().children
    assert "Which curve stays" in question.value
    choices.value = "None."
    assert said.value.startswith("No.")
    choices.value = "That of the whole test set."
    assert said.value.startswith("That is what comes out.")


def test_an_exercise_without_an_entry_is_named(tmp_path):
    shutil.copy(KNOWN[3], tmp_path)
    with pytest.raises(ValueError, match=r"There is no file exercises\.yaml"):
        classroom.read(tmp_path / KNOWN[3].name)
    (tmp_path / exercises.FILE).write_text("03_knn_tradeoff: {1: {}}")
    with pytest.raises(ValueError, match="Exercise 2, 'The curve of the whole test set"):
        classroom.read(tmp_path / KNOWN[3].name)
    of_all = "\n".join(f"  {n}: {{}}" for n in range(1, 9))
    (tmp_path / exercises.FILE).write_text(f"03_knn_tradeoff:\n{of_all}\n")
    with pytest.raises(ValueError, match="has no exercise 8"):
        classroom.read(tmp_path / KNOWN[3].name)


def test_otter_makes_an_assignment_of_it(written, tmp_path):
    pytest.importorskip("otter")
    source = written / "otter" / "03_knn_tradeoff.ipynb"
    command = [sys.executable, "-m", "otter", "assign", "--no-run-tests", source, tmp_path]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    for_students = "\n".join(sources(tmp_path / "student" / source.name))
    assert "answer_4 = ..." in for_students
    assert 'grader.check("q4")' in for_students
    assert "permutations" not in for_students
    assert "classroom.expected" not in (tmp_path / "student" / source.name).read_text()
    assert list((tmp_path / "autograder").glob("*.zip"))
