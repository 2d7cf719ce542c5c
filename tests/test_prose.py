"""Every number in the sentences of README and docs stands in a committed file."""

import json

import prose
import pytest

FIGURES = prose.ROOT / "figures" / "ci" / "04_neuroevolution_gm"
DOCUMENTS = [prose.ROOT / "README.md", *sorted((prose.ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_numbers_stand_in_the_files_that_are_linked(document):
    assert prose.missing(document) == []


def test_what_is_a_number():
    text = (
        "L2, CIFAR-10 in 2021, notebook 03: 1,000 of 4.X1, −0.5 at 2.2/255, torch 2.15.0, `7`, 8."
    )
    assert prose.numbers(text) == ["1,000", "−0.5", "2.2/255", "2.15.0", "8"]


@pytest.mark.parametrize(
    ("number", "text", "there"),
    [
        ("50", "49.6", True),
        ("50", "49.4", False),
        ("49.6", "50", False),
        ("−0.11", "−0.1096", True),
        ("−0.11", "0.1096", False),
        ("0.63", "-0.6272", True),
        ("2.2/255", "0.00862", True),
        ("2.3/255", "0.00862", False),
        ("2.15.0", "torch 2.15.0.", True),
        ("2.15.0", "torch 2.15.1.", False),
        ("1,040", "epochs: 1040", True),
        ("4", "4.X1", False),
    ],
)
def test_numbers_are_found_as_they_are_rounded(number, text, there):
    assert prose.found(number, [text]) is there


def test_a_number_needs_its_link(tmp_path):
    """Of the linked table and the settings of its notebook, and of no other file."""
    document = tmp_path / "a.md"
    document.write_text("# 1\n\nA twin leaves 27.62 %.\n\n```\n0.1234\n```\n\n| 0.1234 |\n")
    assert [number for number, _ in prose.missing(document, FIGURES)] == ["27.62"]
    linking = "# 1\n\nA twin leaves 27.62 % ([4.X1](4.X1-cifar10.md)), not 0.54.\n"
    document.write_text(linking)
    assert [number for number, _ in prose.missing(document, FIGURES)] == ["0.54"]


def test_settings_count():
    manifest = json.loads((FIGURES / "manifest.json").read_text())
    texts = list(prose.sources("[all](manifest.json)", "", FIGURES))
    assert prose.found(f"{manifest['seconds']:,.0f}", texts)
    assert prose.found(f"{manifest['data']['cifar10']['train']:,}", texts)
    assert prose.found(manifest["hardware"][0]["torch"], texts)
