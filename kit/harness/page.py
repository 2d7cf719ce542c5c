"""One HTML page that shows a folder of results to a person, without script and network."""

from __future__ import annotations

import itertools
import json
import re
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from kit import files
from kit.harness.results import (
    NOT_REPRODUCED,
    NOT_TESTED,
    REPRODUCED,
    UNDECIDED,
    Study,
    all_of,
    shown_number,
)
from kit.harness.results.screen import PRINTED

SYMBOLS = {REPRODUCED: "✓", NOT_REPRODUCED: "✗", UNDECIDED: "?"}
_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined,
)  # fmt: skip


def write(folder: Path, studies: Iterable[Study] = ()) -> Path:
    """Write ``index.html`` about all finished notebooks in a folder such as ``figures/quick``.

    Parameters
    ----------
    folder
        Of the notebooks' folders of results.
    studies
        What is known about their papers: titles, citations, and which result shows which claim.

    Returns
    -------
    pathlib.Path
        The page.
    """
    known = {study.notebook: study for study in studies}
    notebooks = [
        _notebook(path.parent, known.get(path.parent.name, Study(path.parent.name)))
        for path in sorted(folder.glob("[!.]*/manifest.json"))
    ]
    shown = {"index", *(notebook["name"] for notebook in notebooks)}
    others = sorted({path.stem for path in folder.glob("[!.]*.html")} - shown)
    columns = dict.fromkeys(name for n in notebooks for row in n["rows"] for name in row["cells"])
    rows = [row for notebook in notebooks for row in notebook["rows"]]
    verdicts = [row["verdict"] for row in rows]
    text = render(
        "page.html", profile=folder.name, notebooks=notebooks, columns=list(columns),
        others=others, judged=sum(len(cell) for row in rows for cell in row["cells"].values()),
        counts={verdict: verdicts.count(verdict) for verdict in SYMBOLS}, symbols=SYMBOLS,
    )  # fmt: skip
    return write_text(folder / "index.html", text)


def render(template: str, **values: object) -> str:
    """A template of this package, filled in."""
    return _TEMPLATES.get_template(template).render(values)


def write_text(path: Path, text: str) -> Path:
    """Write a page whole or not at all."""
    with files.atomic_write(path) as beside:
        beside.write_text(text, encoding="utf-8")
    return path


def at_a_glance(folder: Path) -> str:
    """The verdicts of one notebook as a Markdown table, without what was not tested.

    An H stands behind those that survive Holm's correction.

    Parameters
    ----------
    folder
        Such as ``figures/paper/03_knn_tradeoff``.
    """
    rows: dict[str, list[str]] = {}
    for claim in _json(folder / "claims.json"):
        if claim["verdict"] == NOT_TESTED:
            continue
        statement = claim["statement"].replace("|", r"\|")  # which would end a cell
        label = f"**{claim['claim']}** {statement}"
        mark = " (H)" if claim["verdict"] != UNDECIDED and claim.get("survives Holm") else ""
        rows.setdefault(label, []).append(f"{claim['data']}: {claim['verdict']}{mark}")
    lines = [f"| {label} | {'<br>'.join(verdicts)} |" for label, verdicts in sorted(rows.items())]
    header = "| claim | verdict (H: it survives Holm's correction) |"
    return "\n".join([header, "|---|---|", *lines])


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _notebook(folder: Path, study: Study) -> dict[str, Any]:
    """What the page says about one notebook."""
    manifest, claims = _json(folder / "manifest.json"), _json(folder / "claims.json")
    machines = {
        f"{s['hardware']['processor']}, torch {s['hardware']['torch']}" for s in manifest["steps"]
    }
    executed = [folder.with_suffix(suffix) for suffix in (".html", ".ipynb")]
    results = _results(folder, manifest, [c for c in claims if c["verdict"] != NOT_TESTED], study)
    headline = _headline(results, study, [*study.datasets, *manifest["data"]])
    return {
        "name": folder.name,
        "title": study.title or folder.name,
        "citation": study.citation,
        "data": list(manifest["data"].values()),
        "hardware": "; ".join(sorted(machines)),
        "minutes": f"{manifest['seconds'] / 60:.1f} minutes",
        "finished": manifest["finished"][:10],
        "executed": [path.name for path in executed if path.is_file()],
        "rows": _rows(claims, [data["title"] for data in manifest["data"].values()]),
        "untested": _untested(claims),
        "headline": headline,
        "results": [result for result in results if result is not headline],
    }


def _headline(
    results: Iterable[dict[str, Any]], study: Study, datasets: Sequence[str]
) -> dict[str, Any] | None:
    """The result whose figure comes first: the study's choice, on its first data set."""

    def place(result: dict[str, Any]) -> tuple[bool, int]:
        on = result["dataset"]
        return result["id"] != study.headline, datasets.index(on) if on in datasets else 0

    figures = [result for result in results if result["figure"] is not None]
    return min(figures, key=place) if study.headline and figures else next(iter(figures), None)


def _rows(claims: Iterable[dict[str, Any]], titles: Sequence[str]) -> list[dict[str, Any]]:
    """One row of the matrix for each claim that was tested, its verdicts by data set."""
    rows: dict[str, dict[str, Any]] = {}
    for claim in claims:
        if claim["verdict"] == NOT_TESTED:
            continue
        column, part = _place(claim["data"], titles)
        row = rows.setdefault(claim["claim"], {**claim, "cells": {}})
        row["verdict"] = all_of([row["verdict"], claim["verdict"]])
        survives = claim.get("survives Holm") if claim["verdict"] != UNDECIDED else None
        row["cells"].setdefault(column, []).append({**claim, "part": part, "survives": survives})
    return [rows[id] for id in sorted(rows, key=_numbers_as_numbers)]


def _place(data: str, titles: Iterable[str]) -> tuple[str, str]:
    """The data set that a claim was tested on, and what of the claim is meant.

    A data set that was cut or resized belongs to the column of its name.
    """
    title = next((t for t in titles if _is_about(data, t)), data)
    return title.partition(" (")[0] or "all data", data[len(title) :].removeprefix(", ")


def _untested(claims: Iterable[dict[str, Any]]) -> list[dict[str, str]]:
    """What was not tested, by data set and reason."""
    groups: dict[tuple[str, str], list[str]] = {}
    for claim in claims:
        if claim["verdict"] == NOT_TESTED:
            groups.setdefault((claim["data"], claim["evidence"]), []).append(claim["claim"])
    return [
        {"data": data, "reason": reason, "claims": ", ".join(ids)}
        for (data, reason), ids in groups.items()
    ]


def _results(
    folder: Path, manifest: dict[str, Any], claims: Sequence[dict[str, Any]], study: Study
) -> list[dict[str, Any]]:
    """Every result with its titles, as a table, a figure or both; F9 comes before F10."""
    tables = _titles(folder, manifest, "tables", ".csv")
    figures = _titles(folder, manifest, "figures", ".png")
    results: list[dict[str, Any]] = []
    for name in sorted(tables | figures, key=_numbers_as_numbers):
        id, dataset = study.id_of(name, manifest["data"])
        title = manifest["data"].get(dataset, {}).get("title", "")
        about = [
            claim
            for claim in claims
            if claim["claim"] in study.claims_of(id) and _is_about(claim["data"], title)
        ]
        results.append({
            "name": name, "id": id, "dataset": dataset, "table": tables.get(name),
            "figure": figures.get(name), "columns": [], "rows": [], "claims": _verdicts(about),
        })  # fmt: skip
        if name in tables:
            results[-1] |= _table(folder / f"{name}.csv")
        if name in figures:
            results[-1] |= {"alt": _alt(figures[name], about), **_size(folder / f"{name}.png")}
    return results


def _is_about(data: str, title: str) -> bool:
    """Is a claim on this data about the data set of a title, or is the result about all of them?"""
    return not title or data == title or data.startswith(f"{title}, ")


def _titles(folder: Path, manifest: dict[str, Any], kind: str, suffix: str) -> dict[str, str]:
    """Titles by name of those results whose files are there."""
    titles = manifest.get(kind, manifest.get("titles", {}))  # as version 0.1.0 first wrote them
    return {name: title for name, title in titles.items() if (folder / f"{name}{suffix}").is_file()}


def _numbers_as_numbers(name: str) -> list[str | int]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def _verdicts(claims: Iterable[dict[str, Any]]) -> dict[str, str]:
    """The verdict of each claim over its parts."""
    found: dict[str, list[str]] = {}
    for claim in claims:
        found.setdefault(claim["claim"], []).append(claim["verdict"])
    return {id: all_of(verdicts) for id, verdicts in found.items()}


def _alt(title: str, claims: Iterable[dict[str, Any]]) -> str:
    """What a figure shows and what was found, for who cannot see it."""
    findings = [f"{c['claim']} on {c['data']}: {c['verdict']}, {c['evidence']}" for c in claims]
    return ". ".join(filter(None, [title, *findings])) + "."


def _size(path: Path) -> dict[str, int]:
    """Width and height of a PNG, so that the page does not jump while it loads."""
    with path.open("rb") as file:
        width, height = struct.unpack(">II", file.read(24)[16:])
    return {"width": width, "height": height}


def _table(path: Path) -> dict[str, list]:
    """Names of the columns, and the rows as people read them: means with their spread."""
    frame = pd.read_csv(path)
    columns = _columns(list(frame))
    rows = [
        [_with_std(row[c], row[std]) if std else shown_number(row[c]) for c, std in columns]
        for row in frame.to_dict("records")
    ]
    return {"columns": [f"{name} ± std" if std else name for name, std in columns], "rows": rows}


def _columns(names: Sequence[str]) -> list[tuple[str, str]]:
    """Columns with that of their standard deviation, if any; printed values right behind ours."""
    stds = {a: b for a, b in itertools.pairwise(names) if b in _names_of_std(a)}
    means = [name for name in names if name not in stds.values()]
    beside = {f"{name}{PRINTED}" for name in means}
    ours = [name for name in means if name not in beside]
    ordered = [n for name in ours for n in (name, f"{name}{PRINTED}") if n in means]
    return [(name, stds.get(name, "")) for name in ordered]


def _names_of_std(column: str) -> tuple[str, ...]:
    """What the column behind a mean is called if it holds the standard deviation."""
    if column.endswith(PRINTED):
        return (f"{column.removesuffix(PRINTED)} std{PRINTED}",)
    return (f"{column} std", f"std_of_{column}", "std")


def _with_std(mean: float, std: float) -> str:
    """A mean with as many decimals as its standard deviation, which has two digits.

    Examples
    --------
    >>> _with_std(71.1312, 7.5123), _with_std(-0.02431, 0.00089), _with_std(3040.6, 123.0)
    ('71.1 ± 7.5', '−0.02431 ± 0.00089', '3041 ± 123')
    """
    if not np.isfinite([mean, std]).all():
        return shown_number(mean)
    decimals = 1 - int(np.floor(np.log10(std))) if std > 0 else 9
    if decimals > 6:  # more than the file holds
        return f"{shown_number(mean)} ± {shown_number(std)}"
    return f"{mean:.{max(0, decimals)}f} ± {std:.{max(0, decimals)}f}".replace("-", "−")
