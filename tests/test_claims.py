import pytest

from kit.harness.results import NOT_REPRODUCED, NOT_TESTED, REPRODUCED, SMALLER, UNDECIDED, claims

CLAIMS = [
    ("3.X1", "Beyond the paper: it rises further (p = 1) than |noise|.", "B", "", UNDECIDED),
    ("3.C1", "Accuracy rises.", "A (a copy)", "FGSM", REPRODUCED),
    ("3.C1", "Accuracy rises.", "A (a copy)", "DeepFool", NOT_REPRODUCED),
    ("3.C1", "Accuracy rises.", "A (a copy)", "noise", REPRODUCED),
    ("3.C1", "Accuracy rises.", "C", "", NOT_TESTED),
]
NAMES = ("claim", "statement", "dataset", "part", "verdict")
CLAIMS = [
    dict(zip(NAMES, claim, strict=True), evidence="|1|")
    | {"survives Holm": {REPRODUCED: True, NOT_REPRODUCED: False}.get(claim[4])}
    for claim in CLAIMS
]


def test_matrix_counts_verdicts_by_claim_and_data_set():
    assert claims.matrix(CLAIMS).splitlines() == [
        "|  | claim | A | B |",
        "|---|---|---|---|",
        "| 3.C1 | Accuracy rises | 2 ✓, (✗) | – |",
        r"| 3.X1 | It rises further than \|noise\| | – | ? |",
    ]


def test_what_does_not_survive_holm_stands_in_brackets():
    found = [(SMALLER, True), (SMALLER, False), (REPRODUCED, False), (REPRODUCED, None)]
    rows = [CLAIMS[1] | {"verdict": v, "survives Holm": survives} for v, survives in found]
    assert "| ✓, (✓), ✓½, (✓½) |" in claims.matrix(rows)


def test_verdicts_in_words():
    assert claims.in_words(CLAIMS).splitlines() == [
        "| claim | verdict (in brackets: it may be luck, by Holm's correction) |",
        "|---|---|",
        "| **3.C1** Accuracy rises. | A (a copy), FGSM: reproduced<br>"
        "A (a copy), DeepFool: (not reproduced)<br>A (a copy), noise: reproduced |",
        r"| **3.X1** Beyond the paper: it rises further (p = 1) than \|noise\|. | B: undecided |",
    ]


def test_verdicts_with_their_evidence():
    lines = claims.with_evidence(CLAIMS, {"3.C1": "Accuracy rises."}).splitlines()
    cells = [[cell.strip() for cell in line.replace(r"\|", "/").split("|")[1:-1]] for line in lines]
    assert cells[0] == ["claim", "data", "verdict", "survives Holm", "evidence"]
    assert cells[2:4] == [
        ["3.X1", "B", "**undecided**", "", "/1/"],
        ["3.C1", "A (a copy), FGSM", "**reproduced**", "yes", "/1/"],
    ]
    assert len(lines) == 2 + 4 + 2
    assert lines[-2:] == ["", "- **3.C1** Accuracy rises."]


def test_a_claim_over_several_data_sets_has_its_worst_verdict():
    first, second = claims.tested(CLAIMS)
    assert (first.claim, first.verdict, list(first.cells)) == ("3.C1", NOT_REPRODUCED, ["A"])
    assert (second.verdict, len(second.verdicts)) == (UNDECIDED, 1)


@pytest.mark.parametrize(
    ("title", "name"),
    [("CIFAR-10 (JPEG copy, resized to 16×16)", "CIFAR-10"), ("SVHN", "SVHN"), ("", "all data")],
)
def test_a_data_set_has_one_column_however_it_was_cut(title, name):
    assert claims.dataset({"dataset": title}) == name


def test_statements_are_shown_whole():
    assert "Word" + 39 * " word" + " |" in claims.matrix(
        [CLAIMS[1] | {"statement": " ".join(["word"] * 40)}]
    )


def test_ten_comes_after_nine():
    names = ["3.F10", "3.F9", "3.F9-a"]
    assert sorted(names, key=claims.numbers_as_numbers) == ["3.F9", "3.F9-a", "3.F10"]
