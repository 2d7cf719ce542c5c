import json

from kit.harness.results import NOT_REPRODUCED, NOT_TESTED, REPRODUCED, UNDECIDED, glance

CLAIMS = [
    ("3.X1", "Beyond the paper: it rises further (p < 0.05) than |noise|.", "B", UNDECIDED),
    ("3.C1", "Accuracy rises.", "A (a copy), FGSM", REPRODUCED),
    ("3.C1", "Accuracy rises.", "A (a copy), DeepFool", NOT_REPRODUCED),
    ("3.C1", "Accuracy rises.", "A (a copy), noise", REPRODUCED),
    ("3.C1", "Accuracy rises.", "C", NOT_TESTED),
]


def test_matrix_counts_verdicts_by_claim_and_data_set(tmp_path):
    names = ("claim", "statement", "data", "verdict")
    claims = [dict(zip(names, claim, strict=True)) for claim in CLAIMS]
    (tmp_path / "claims.json").write_text(json.dumps(claims))
    assert glance.matrix([tmp_path]).splitlines() == [
        "|  | claim | A | B |",
        "|---|---|---|---|",
        "| 3.C1 | Accuracy rises | 2 ✓, ✗ | – |",
        r"| 3.X1 | It rises further than \|noise\| | – | ? |",
    ]


def test_long_statements_end_with_an_ellipsis(tmp_path):
    claim = {"claim": "1.C1", "statement": "word " * 40, "data": "A", "verdict": REPRODUCED}
    (tmp_path / "claims.json").write_text(json.dumps([claim]))
    assert "word … |" in glance.matrix([tmp_path])
