"""Claims with their verdicts, and every summary of them: page, README, documentation, report.

A claim is an entry of ``claims.json``: its ID (``claim``), the title of the ``dataset``, the
``part`` of it that is meant, ``verdict``, ``statement``, ``evidence`` in words and as ``numbers``
(:meth:`kit.harness.results.verdicts.Part.numbers`), and whether the verdict ``survives Holm``,
which is null where nothing was decided.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from kit.harness.results.verdicts import (
    NOT_REPRODUCED,
    NOT_TESTED,
    REPRODUCED,
    SMALLER,
    UNDECIDED,
    worst,
)

Claim = dict[str, Any]
FILE = "claims.json"
SIGNS = {REPRODUCED: "✓", SMALLER: "✓½", NOT_REPRODUCED: "✗", UNDECIDED: "?"}
_BEYOND = "Beyond the paper: "


@dataclasses.dataclass(frozen=True)
class Row:
    """All verdicts on one claim, by the names of data sets.

    `own` are those of somebody's run, which stand beside those of the repository.
    """

    claim: str
    statement: str
    cells: dict[str, list[Claim]]
    own: list[Claim] = dataclasses.field(default_factory=list)

    @property
    def verdicts(self) -> list[Claim]:
        """Those on all data sets."""
        return [claim for cell in self.cells.values() for claim in cell]

    @property
    def verdict(self) -> str:
        """The verdict over all parts and data sets."""
        return worst([claim["verdict"] for claim in self.verdicts])


def read(folder: Path) -> list[Claim]:
    """The claims in a folder of results, such as ``figures/paper/03_knn_tradeoff``."""
    return json.loads((folder / FILE).read_text(encoding="utf-8"))


def tested(claims: Iterable[Claim]) -> list[Row]:
    """One row for each claim that was tested, in the order of their IDs."""
    rows: dict[str, Row] = {}
    for claim in claims:
        if claim["verdict"] != NOT_TESTED:
            row = rows.setdefault(claim["claim"], Row(claim["claim"], claim["statement"], {}))
            row.cells.setdefault(dataset(claim), []).append(claim)
    return [rows[id] for id in sorted(rows, key=numbers_as_numbers)]


def beside(committed: Iterable[Claim], own: Iterable[Claim]) -> list[Row]:
    """The rows of the repository's results, with the verdicts of a run beside them.

    A run's verdict gets two more entries: whether it is ``marked`` as one, since the repository's
    are on the same data set, and what the repository says where it ``differs``.
    """
    rows = {row.claim: row for row in tested(committed)}
    names = {name for row in rows.values() for name in row.cells}
    for row in tested(own):
        ours = rows.setdefault(row.claim, Row(row.claim, row.statement, {}))
        for claim in row.verdicts:
            theirs = [c for c in ours.cells.get(dataset(claim), ()) if c["part"] == claim["part"]]
            differs = [c["verdict"] for c in theirs if c["verdict"] != claim["verdict"]]
            marks = {"marked": dataset(claim) in names, "differs": ", ".join(differs)}
            ours.own.append(claim | marks)
    return [rows[id] for id in sorted(rows, key=numbers_as_numbers)]


def in_numbers(claim: Claim) -> list[str]:
    """What a verdict was read off: each number with its interval, without a judgement."""
    return [
        f"{part['name']}: " * bool(part["name"])
        + f"{_number(part['estimate'])} [{_number(part['low'])}, {_number(part['high'])}] "
        + part["unit"]
        for part in claim.get("numbers", ())
    ]


def _number(value: float | None) -> str:
    """Three digits: the interval says how many of them count."""
    return "–" if value is None else f"{value:.3g}".replace("-", "−")


def dataset(claim: Claim) -> str:
    """Name of a claim's data set, however it was cut or resized.

    Examples
    --------
    >>> dataset({"dataset": "KMNIST (resized to 16×16)", "part": "FGSM"})
    'KMNIST'
    """
    return claim["dataset"].partition(" (")[0] or "all data"


def bracketed(text: str, claim: Claim) -> str:
    """A claim's sign or verdict, in brackets if the verdict does not survive Holm's correction.

    Examples
    --------
    >>> bracketed("✓", {"survives Holm": False}), bracketed("✓", {"survives Holm": True})
    ('(✓)', '✓')
    """
    return f"({text})" if claim["survives Holm"] is False else text


def about(claim: Claim) -> str:
    """What a claim was tested on, in words: the data set and the part."""
    return ", ".join(filter(None, (claim["dataset"], claim["part"])))


def matrix(claims: Iterable[Claim]) -> str:
    """One row per claim and one column per data set, as a Markdown table.

    A cell counts the verdicts of the claim on the data set, by the signs of `SIGNS`, in brackets
    those that do not survive Holm's correction; a dash says that it was not tested there.
    """
    rows = tested(claims)
    names = list(dict.fromkeys(name for row in rows for name in row.cells))
    body = [
        [row.claim, _alone(row.statement), *(_counted(row.cells.get(name, ())) for name in names)]
        for row in rows
    ]
    return _markdown(["", "claim", *names], body)


def in_words(claims: Iterable[Claim]) -> str:
    """The verdicts on each claim as a Markdown table.

    In brackets stand those that do not survive Holm's correction.
    """
    body = []
    for row in tested(claims):
        verdicts = [
            f"{about(claim)}: {bracketed(claim['verdict'], claim)}" for claim in row.verdicts
        ]
        body.append([f"**{row.claim}** {row.statement}", "<br>".join(verdicts)])
    return _markdown(["claim", "verdict (in brackets: it may be luck, by Holm's correction)"], body)


def judged(claims: Iterable[Claim]) -> list[dict[str, str]]:
    """The rows of a table of all verdicts with their evidence, by the heads of its columns."""
    survives = {True: "yes", False: "no", None: ""}
    return [
        {
            "claim": claim["claim"],
            "data": about(claim),
            "verdict": claim["verdict"],
            "survives Holm": survives[claim["survives Holm"]],
            "evidence": claim["evidence"],
        }
        for claim in claims
        if claim["verdict"] != NOT_TESTED
    ]


def with_evidence(claims: Iterable[Claim], statements: Mapping[str, str]) -> str:
    """Every verdict with its evidence as a Markdown table, and what the claims say below it."""
    rows = [row | {"verdict": f"**{row['verdict']}**"} for row in judged(claims)]
    heads = ["claim", "data", "verdict", "survives Holm", "evidence"]
    body = _escaped([row[head] for head in heads] for row in rows)
    table = tabulate(body, heads, tablefmt="pipe", disable_numparse=True)
    said = "\n".join(f"- **{id}** {text}" for id, text in statements.items())
    return f"{table}\n\n{said}\n"


def numbers_as_numbers(name: str) -> list[str | int]:
    """To sort by: F9 comes before F10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def _alone(statement: str) -> str:
    """A statement without what stands in brackets, as a row's head."""
    text = re.sub(r" \([^)]*\)", "", statement).removeprefix(_BEYOND).rstrip(".")
    return text[0].upper() + text[1:]


def _counted(claims: Sequence[Claim]) -> str:
    counts = Counter(bracketed(SIGNS[claim["verdict"]], claim) for claim in claims)
    shown = (sign for plain in SIGNS.values() for sign in (plain, f"({plain})"))
    signs = [f"{counts[s]} {s}" if counts[s] > 1 else s for s in shown if counts[s]]
    return ", ".join(signs) or "–"


def _markdown(heads: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A table without the spaces that align it: these would change whole rows with one word."""
    lines = [heads, *_escaped(body)]
    shown = [f"| {' | '.join(cells)} |" for cells in lines]
    return "\n".join([shown[0], "|---" * len(heads) + "|", *shown[1:]])


def _escaped(body: Iterable[Sequence[str]]) -> list[list[str]]:
    """Cells without what would end a cell."""
    return [[cell.replace("|", r"\|") for cell in row] for row in body]
