"""What documents show of results and parameters is what the code says."""

import importlib.util
import itertools
import re

import jsonschema
import nbformat
import pytest

import run_all
from kit import runtime
from kit.harness import runner

KNOWN = runner.notebooks(run_all.NOTEBOOKS, run_all.EXPERIMENTS)
PARAMETERS = [(n, name) for n in KNOWN for name in n.parameters if name not in runner.OPTIONS]
# More than a schema says: what goes into 1, and the order of a list.
BEYOND = {"eps_step": [0.3], "pixels": [[2, 1]], "strengths": [[1, 0.5]], "widths": [[2, 1]]}
VALUES = [
    0, 1, 2, 3, 4, 10, 11, -1, 2**32, 0.5, 1.0001, 101.5, True, None, "", "adam", "linf", "lenet5",
    "uniform", [], [1], [1, 2], [1, 1], [0.5, 1], [0], ["a"], ["lenet5", "resnet8"], [None], {},
    {"adam": 0.1}, {"adam": 0}, {"lion": 1},
]  # fmt: skip


@pytest.fixture(scope="module")
def update():
    path = runtime.root() / "docs" / "update.py"
    spec = importlib.util.spec_from_file_location("update", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def schema(update):
    schema = update.schema(KNOWN)
    jsonschema.Draft202012Validator.check_schema(schema)
    return schema


def test_documents_are_up_to_date(update):
    assert update.stale() == [], "run: python docs/update.py"


def test_a_changed_document_is_noticed(update, monkeypatch, tmp_path):
    for path, text in update.documents().items():
        if update.ROOT / "figures" in path.parents:
            continue
        copy = tmp_path / path.relative_to(update.ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(text.replace("| ✓ |", "| ✗ |").replace("a positive whole", "any"))
    (tmp_path / "figures").symlink_to(update.ROOT / "figures")
    monkeypatch.setattr(update, "ROOT", tmp_path)
    assert update.stale() == ["README.md", "docs/parameters.md"]


def is_valid(schema, section, name, value):
    profile = {section: {name: value}}
    return jsonschema.Draft202012Validator(schema).is_valid(profile)


def is_taken(notebook, name, value):
    try:
        notebook.check(name, value)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(("notebook", "name"), PARAMETERS, ids=lambda p: getattr(p, "number", p))
def test_an_editor_accepts_what_the_settings_accept(notebook, name, schema):
    values = [v for v in VALUES if v not in BEYOND.get(name, ())]
    for value in [notebook.parameters[name].default, *values]:
        if name != "special":  # which is checked together with the other parameters
            assert is_valid(schema, notebook.name, name, value) == is_taken(notebook, name, value)
    assert is_taken(notebook, name, notebook.parameters[name].default)
    for value in BEYOND.get(name, ()):
        assert not is_taken(notebook, name, value)


@pytest.mark.parametrize("profile", ["ci", "paper"])
def test_profiles_pass_and_name_their_schema(profile, schema):
    values = runner.profile(profile, KNOWN, run_all.NOTEBOOKS / "profiles")
    jsonschema.validate(values, schema)
    text = (run_all.NOTEBOOKS / "profiles" / f"{profile}.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=schema.json\n")


@pytest.mark.parametrize(
    "profile",
    [
        {"05_more": {}},
        {"03_knn_tradeoff": {"rnus": 3}},
        {"03_knn_tradeoff": {"special": {"mnist": {"runs": 0}}}},
        {"03_knn_tradeoff": {"special": {"mnist": {"seed": 1}}}},
        {"03_knn_tradeoff": {"out": "here"}},
    ],
)
def test_an_editor_marks_mistakes(profile, schema):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(profile, schema)


def test_every_parameter_stands_on_the_page(update):
    page = update.parameters(KNOWN)
    sections = page.split("\n## ")[1:]
    for notebook, section in zip(KNOWN, sections, strict=True):
        rows = [line for line in section.splitlines() if line.startswith("| `")]
        names = [name for known, name in PARAMETERS if known is notebook]
        for name, row in itertools.zip_longest(names, rows):
            assert row.startswith(f"| `{name}`")
            assert notebook.parameters[name].help.replace("|", r"\|") in row


NOTEBOOKS = {notebook.number: notebook.path for notebook in KNOWN}
NOTEBOOKS["00"] = run_all.NOTEBOOKS / "00_start_here.ipynb"


def headings_and_exercises(number):
    """The numbered sections of a notebook, and its exercises' numbers."""
    cells = nbformat.read(NOTEBOOKS[number], as_version=4).cells
    text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    sections = re.findall(r"^## (\d+) · (.*)$", text, re.MULTILINE)
    minutes = dict(re.findall(r"(\d+) \((\d+)\)", text.partition("**Minutes.**")[2]))
    return sections, minutes, re.findall(r"^(\d+)\. ", text.partition("## Exercises")[2], re.M)


def test_the_lessons_name_what_the_notebooks_have():
    """Sections with their titles and minutes, and exercises; no lesson is too long."""
    text = (runtime.root() / "docs" / "teaching.md").read_text()
    lessons = re.findall(r"^## Lesson .*?(?=^## )", text, re.MULTILINE | re.DOTALL)
    assert len(lessons) == 4
    for lesson in lessons:
        rows = re.findall(r"^\| (0\d) · (.*?) \| (.*?) \|", lesson, re.MULTILINE)
        assert sum(int(minutes) for *_, minutes in rows if minutes != "at home") <= 45
        assert len(rows) >= 4
        for number, what, minutes in rows:
            sections, planned, exercises = headings_and_exercises(number)
            if what.startswith("exercise "):
                assert what.removeprefix("exercise ") in exercises
            else:
                section = tuple(what.split(" ", 1))
                assert section in sections
                assert planned.get(section[0], minutes) == minutes


def test_every_exercise_has_its_length_on_the_page_for_teachers():
    text = (runtime.root() / "docs" / "teaching.md").read_text().partition("## Exercises")[2]
    for number in NOTEBOOKS:
        (row,) = re.findall(rf"^\| {number} \|(.*)\|$", text, re.MULTILINE)
        *_, exercises = headings_and_exercises(number)
        assert sorted(re.findall(r"\d+", row)) == exercises
