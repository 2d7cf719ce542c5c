"""The verdicts of several papers as one compact table."""

from __future__ import annotations

import json
import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from kit.harness.results.verdicts import NOT_REPRODUCED, NOT_TESTED, REPRODUCED, UNDECIDED

SIGNS = {REPRODUCED: "✓", NOT_REPRODUCED: "✗", UNDECIDED: "?"}
_BEYOND = "Beyond the paper: "
_WIDTH = 80  # of a statement, in characters


def matrix(folders: Iterable[Path]) -> str:
    """One row per claim and one column per data set, as a Markdown table.

    A cell counts the verdicts of the claim on the data set, by the signs of `SIGNS`; a dash says
    that it was not tested there.

    Parameters
    ----------
    folders
        Such as ``figures/paper/03_knn_tradeoff``, each with a ``claims.json``.
    """
    statements: dict[str, str] = {}
    verdicts: dict[tuple[str, str], list[str]] = {}
    for claim in sorted(_tested(folders), key=lambda claim: claim["claim"]):
        statements[claim["claim"]] = claim["statement"]
        verdicts.setdefault((claim["claim"], dataset(claim["data"])), []).append(claim["verdict"])
    datasets = list(dict.fromkeys(dataset for _, dataset in verdicts))
    rows = [
        _row(name, _short(text), *(_count(verdicts.get((name, d), [])) for d in datasets))
        for name, text in statements.items()
    ]
    return "\n".join([_row("", "claim", *datasets), "|---" * (len(datasets) + 2) + "|", *rows])


def _tested(folders: Iterable[Path]) -> list[dict[str, str]]:
    texts = [(folder / "claims.json").read_text(encoding="utf-8") for folder in folders]
    claims = [claim for text in texts for claim in json.loads(text)]
    return [claim for claim in claims if claim["verdict"] != NOT_TESTED]


def dataset(data: str) -> str:
    """Title of a claim's data set, without a note on its source and the part of the claim.

    Examples
    --------
    >>> dataset("KMNIST (part), FGSM")
    'KMNIST'
    """
    return re.split(r" \(|, ", data)[0]


def _short(statement: str) -> str:
    text = re.sub(r" \([^)]*\)", "", statement).removeprefix(_BEYOND)
    text = textwrap.shorten(text.rstrip("."), _WIDTH, placeholder=" …")
    return text[0].upper() + text[1:]


def _count(verdicts: Sequence[str]) -> str:
    counts = Counter(verdicts)
    signs = [
        f"{counts[v]} {sign}" if counts[v] > 1 else sign for v, sign in SIGNS.items() if counts[v]
    ]
    return ", ".join(signs) or "–"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
