"""One HTML page that shows a folder of results to a person."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from kit import runtime
from kit.results import NOT_TESTED, shown_number

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ profile }} results</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { margin-bottom: 0 } h2 { border-bottom: 1px solid #ccc; margin-top: 3rem }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-size: 0.85rem; margin: 0.5rem 0 1.5rem }
th, td { border-bottom: 1px solid #ddd; padding: 0.25rem 0.6rem; text-align: left;
         vertical-align: top }
td { font-variant-numeric: tabular-nums }
figure { margin: 1rem 0 2rem } img { max-width: 100% }
figcaption, .small { color: #555; font-size: 0.85rem }
.verdict { white-space: nowrap; font-weight: 600 }
.reproduced { color: #00664b } .not-reproduced { color: #b34700 }
.undecided, .not-tested-in-this-profile { color: #666 }
</style></head><body>
<h1>Results: {{ profile }}</h1>
{% for n in notebooks %}
<h2 id="{{ n.name }}">{{ n.name }}</h2>
<p class="small">{% for d in n.data %}{{ d.title }} ({{ d.train }} + {{ d.test }} images,
fingerprint {{ d.fingerprint }}){{ "; " if not loop.last }}{% endfor %}.<br>
Computed on {{ n.hardware }}; {{ n.minutes }} of computing, finished {{ n.finished }}.
{% if n.executed %}<a href="{{ n.executed }}">The executed notebook</a>.{% endif %}</p>
<h3>Claims</h3>
<div class="scroll"><table><tr><th>claim</th><th>data</th><th>verdict</th><th>evidence</th></tr>
{% for c in n.claims %}<tr><td title="{{ c.statement }}"><b>{{ c.claim }}</b> {{ c.statement }}</td>
<td>{{ c.data }}</td><td class="verdict {{ c.verdict | replace(' ', '-') }}">{{ c.verdict }}</td>
<td>{{ c.evidence }}</td></tr>
{% endfor %}</table></div>
<h3>Tables and figures</h3>
{% for r in n.results %}
<section id="{{ r.name }}">
{% if r.figure is not none %}<figure><figcaption><b>{{ r.name }}</b> {{ r.figure }}</figcaption>
<img src="{{ n.name }}/{{ r.name }}.png" alt="{{ r.figure }}"></figure>{% endif %}
{% if r.table is not none %}<figure><figcaption><b>{{ r.name }}</b> {{ r.table }}</figcaption>
<div class="scroll">{{ r.rows | safe }}</div></figure>{% endif %}
</section>
{% endfor %}{% endfor %}
</body></html>
"""


def write(folder: Path) -> Path:
    """Write ``index.html`` about all finished notebooks in a folder such as ``figures/quick``.

    Returns
    -------
    pathlib.Path
        The page.
    """
    notebooks = [_notebook(m.parent) for m in sorted(folder.glob("[!.]*/manifest.json"))]
    page = jinja2.Environment(autoescape=True, trim_blocks=True).from_string(_PAGE)
    with runtime.atomic_write(folder / "index.html") as beside:
        text = page.render(profile=folder.name, notebooks=notebooks)
        beside.write_text(text, encoding="utf-8")
    return folder / "index.html"


def at_a_glance(folder: Path) -> str:
    """The verdicts of one notebook as a Markdown table, without what was not tested.

    Parameters
    ----------
    folder
        Such as ``figures/paper/03_knn_tradeoff``.
    """
    claims = json.loads((folder / "claims.json").read_text(encoding="utf-8"))
    rows: dict[str, list[str]] = {}
    for claim in claims:
        if claim["verdict"] == NOT_TESTED:
            continue
        label = f"**{claim['claim']}** {claim['statement']}"
        rows.setdefault(label, []).append(f"{claim['data']}: {claim['verdict']}")
    lines = [f"| {label} | {'<br>'.join(verdicts)} |" for label, verdicts in sorted(rows.items())]
    return "\n".join(["| claim | verdict |", "|---|---|", *lines])


def _notebook(folder: Path) -> dict[str, Any]:
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    machines = {
        f"{s['hardware']['processor']}, torch {s['hardware']['torch']}" for s in manifest["steps"]
    }
    executed = folder.with_suffix(".ipynb")
    return {
        "name": folder.name,
        "data": manifest["data"].values(),
        "hardware": "; ".join(sorted(machines)),
        "minutes": f"{manifest['seconds'] / 60:.1f} minutes",
        "finished": manifest["finished"],
        "executed": executed.name if executed.is_file() else None,
        "claims": json.loads((folder / "claims.json").read_text(encoding="utf-8")),
        "results": _results(folder, manifest),
    }


def _results(folder: Path, manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Every result with its titles, as a table, a figure or both; F9 comes before F10."""
    tables = _titles(folder, manifest, "tables", ".csv")
    figures = _titles(folder, manifest, "figures", ".png")
    return [
        {
            "name": name,
            "figure": figures.get(name),
            "table": tables.get(name),
            "rows": _rows(folder / f"{name}.csv") if name in tables else None,
        }
        for name in sorted(tables | figures, key=_numbers_as_numbers)
    ]


def _titles(folder: Path, manifest: dict[str, Any], kind: str, suffix: str) -> dict[str, str]:
    """Titles by name of those results whose files are there."""
    titles = manifest.get(kind, manifest.get("titles", {}))  # as version 0.1.0 first wrote them
    return {name: title for name, title in titles.items() if (folder / f"{name}{suffix}").is_file()}


def _numbers_as_numbers(name: str) -> list[str | int]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def _rows(path: Path) -> str:
    frame = pd.read_csv(path).map(shown_number)
    return frame.to_html(index=False, border=0, justify="left")
