"""The class edition: exercises with a cell to answer in, and a check that gives nothing away.

``python -m kit.harness.classroom FOLDER`` writes the editions: for students, for instructors, and
for otter-grader. In a student's notebook :func:`begin` gives the two functions that it calls.
"""

from kit.harness.classroom.answers import agree, judge
from kit.harness.classroom.exercises import Exercise, Guess, read
from kit.harness.classroom.session import begin, expected

__all__ = ["Exercise", "Guess", "agree", "begin", "expected", "judge", "read"]
