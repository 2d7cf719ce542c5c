"""One HTML page that shows a folder of results to a person, without script and network."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from kit import files, runtime
from kit.harness import machine
from kit.harness.results import NOT_TESTED, Study
from kit.harness.results import claims as summary
from kit.harness.results.claims import SIGNS, Claim, Row
from kit.harness.results.screen import on_screen
from kit.harness.steps import archive

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)


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
    committed = _committed(folder)
    notebooks = []
    for path in sorted(folder.glob("[!.]*/manifest.json")):
        name = path.parent.name
        study = known.get(name, Study(name))
        notebooks.append(_notebook(path.parent, study, committed.get(name)))
    shown = {"index", *(notebook["name"] for notebook in notebooks)}
    others = sorted({path.stem for path in folder.glob("[!.]*.html")} - shown)
    rows: list[Row] = [row for notebook in notebooks for row in notebook["rows"]]
    verdicts = [row.verdict for row in rows]
    text = render(
        "page.html",
        profile=folder.name,
        own_data=list(
            dict.fromkeys(d["title"].partition(" (")[0] for n in notebooks for d in n["data"])
        ),
        notebooks=notebooks,
        others=others,
        columns=list(dict.fromkeys(name for row in rows for name in row.cells)),
        judged=sum(len(row.verdicts) for row in rows),
        beside=any(notebook["committed"] for notebook in notebooks),
        in_numbers=summary.in_numbers,
        counts={verdict: verdicts.count(verdict) for verdict in SIGNS},
        symbols=SIGNS,
    )
    return write_text(folder / "index.html", text)


def results(folder: Path, study: Study) -> list[dict[str, Any]]:
    """Every result of a notebook with its titles, the alternative text of its figure, its cells.

    Parameters
    ----------
    folder
        Of the notebook's results, such as ``figures/ci/03_knn_tradeoff``.
    study
        What is known about its paper.
    """
    return _results(folder, _manifest(folder), summary.read(folder), study)


def render(template: str, **values: object) -> str:
    """A template of this package, filled in."""
    return _TEMPLATES.get_template(template).render(values)


def write_text(path: Path, text: str) -> Path:
    """Write a page whole or not at all."""
    with files.atomic_write(path) as beside:
        beside.write_text(text, encoding="utf-8")
    return path


def _committed(folder: Path) -> dict[str, Path]:
    """The repository's results by notebook, of the paper's own sizes where there are such.

    None where the page is about these themselves.
    """
    root = runtime.root() / "figures"
    if folder.resolve() in [(root / profile).resolve() for profile in archive.COMMITTED]:
        return {}
    paths = [p for profile in archive.COMMITTED for p in (root / profile).glob("*/manifest.json")]
    return {path.parent.name: path.parent for path in paths}


def _notebook(folder: Path, study: Study, committed: Path | None) -> dict[str, Any]:
    """What the page says about one notebook."""
    manifest = _manifest(folder)
    claims = summary.read(folder)
    executed = [folder.with_suffix(suffix) for suffix in (".html", ".ipynb")]
    results = _results(folder, manifest, claims, study)
    if committed:  # the table shows its verdicts beside this run's numbers: figures repeat none
        for result in results:
            result["claims"] = dict.fromkeys(result["claims"])
            if result["figure"] is not None:
                result["alt"] = _alt(result["figure"], ())
    headline = _headline(results, study, [*study.datasets, *manifest["data"]])
    return {
        "name": folder.name,
        "title": study.title or folder.name,
        "citation": study.citation,
        "data": list(manifest["data"].values()),
        "hardware": machine.names(manifest["hardware"]),
        "minutes": f"{manifest['seconds'] / 60:.1f} minutes",
        "finished": manifest["finished"][:10],
        "executed": [path.name for path in executed if path.is_file()],
        "finding": study.finding,
        "committed": committed and _picture(committed, study),
        "rows": summary.beside(summary.read(committed), claims)
        if committed
        else summary.tested(claims),
        "untested": _untested(claims),
        "headline": headline,
        "results": [result for result in results if result is not headline],
    }


def _manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def _picture(committed: Path, study: Study) -> dict[str, Any]:
    """The repository's headline figure, within the page: it may lie elsewhere than the results."""
    manifest, claims = _manifest(committed), summary.read(committed)
    results = _results(committed, manifest, claims, study)
    best = _headline(results, study, [*study.datasets, *manifest["data"]])
    if best is None:
        return {"profile": committed.parent.name}
    content = base64.b64encode((committed / f"{best['name']}.png").read_bytes()).decode()
    return best | {"profile": committed.parent.name, "content": content}


def _headline(
    results: Iterable[dict[str, Any]], study: Study, datasets: Sequence[str]
) -> dict[str, Any] | None:
    """The result whose figure comes first: the study's choice, on its first data set."""

    def place(result: dict[str, Any]) -> tuple[bool, int]:
        on = result["dataset"]
        return result["id"] != study.headline, datasets.index(on) if on in datasets else 0

    figures = [result for result in results if result["figure"] is not None]
    return min(figures, key=place) if study.headline and figures else next(iter(figures), None)


def _untested(claims: Iterable[Claim]) -> list[dict[str, str]]:
    """What was not tested, by data set and reason."""
    groups: dict[tuple[str, str], list[str]] = {}
    for claim in claims:
        if claim["verdict"] == NOT_TESTED:
            groups.setdefault((summary.about(claim), claim["evidence"]), []).append(claim["claim"])
    return [
        {"data": data, "reason": reason, "claims": ", ".join(ids)}
        for (data, reason), ids in groups.items()
    ]


def _results(
    folder: Path, manifest: Mapping[str, Any], claims: Sequence[Claim], study: Study
) -> list[dict[str, Any]]:
    """Every result with its titles, as a table, a figure or both; F9 comes before F10."""
    tables, figures = (
        {
            name: entry
            for name, entry in manifest[kind].items()
            if (folder / f"{name}{suffix}").is_file()
        }
        for kind, suffix in (("tables", ".csv"), ("figures", ".png"))
    )
    results = []
    for name in sorted(tables | figures, key=summary.numbers_as_numbers):
        entry = (tables | figures)[name]
        shown = [] if entry["part"] else study.claims_of(entry["id"])
        title = manifest["data"].get(entry["dataset"], {}).get("title", "")
        # A result about all data sets, which has no title of one, bears on claims on each of them.
        about = [c for c in claims if c["claim"] in shown and (not title or c["dataset"] == title)]
        rows = summary.tested(about)
        result = {
            **entry, "name": name, "claims": {row.claim: row.verdict for row in rows},
            "table": tables.get(name, {}).get("title"),
            "figure": figures.get(name, {}).get("title"),
        }  # fmt: skip
        if name in tables:
            result["cells"] = on_screen(pd.read_csv(folder / f"{name}.csv"))
        if name in figures:
            result |= {"alt": _alt(result["figure"], rows), **_size(folder / f"{name}.png")}
        results.append(result)
    return results


def _alt(title: str, rows: Iterable[Row]) -> str:
    """What a figure shows and what was found, for who cannot see it."""
    findings = [
        f"{claim['claim']} on {summary.about(claim)}: {claim['verdict']}, {claim['evidence']}"
        for row in rows
        for claim in row.verdicts
    ]
    return ". ".join(filter(None, [title, *findings])) + "."


def _size(path: Path) -> dict[str, int]:
    """Width and height of a PNG, so that the page does not jump while it loads."""
    with path.open("rb") as file:
        width, height = struct.unpack(">II", file.read(24)[16:])
    return {"width": width, "height": height}
