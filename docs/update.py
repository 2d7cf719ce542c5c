"""Write what documents show of committed results and of the notebooks' parameters.

    python docs/update.py            # a test fails where a document is out of date

Between two comments in README.md and in the pages of the documentation stands what the first of
them says: ``matrix`` of the verdicts in some folders, or ``verdicts`` of one folder. Written as a
whole are ``docs/parameters.md``, ``notebooks/profiles/schema.json``, by which editors complete and
check a profile, and ``ro-crate-metadata.json`` in each folder of committed results. A parameter's
description comes from its line in the notebook, what it may be from the experiment's settings.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # for run_all

import run_all  # noqa: E402
from kit import files  # noqa: E402
from kit.constraints import Constraint  # noqa: E402
from kit.harness import runner  # noqa: E402
from kit.harness.results import Study, claims, crate  # noqa: E402
from kit.harness.steps import archive  # noqa: E402

PROFILES = run_all.NOTEBOOKS / "profiles"
MARKED = re.compile(r"(<!-- (matrix|verdicts): ([^>]*) -->\n).*?(?=<!-- end -->)", re.DOTALL)
LONG = 40  # characters of a value; longer ones are looked up in the profile
PAGE = """# Parameters

What each notebook's first code cell sets (`quick`), and `run_all.py -p NN.NAME=VALUE` or a
[profile](../notebooks/profiles) changes. Where a profile's column is empty, the notebook's value
holds. `special` takes other values for single data sets, of all parameters but those marked with an
asterisk. Where a run computes is no matter of profiles: `--data`, `--device`, `--jobs` and `--out`
say it.
"""


def documents() -> dict[Path, str]:
    """What each document should hold."""
    known = runner.notebooks(run_all.NOTEBOOKS, run_all.EXPERIMENTS)
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    found = {path: MARKED.sub(_table, path.read_text(encoding="utf-8")) for path in pages}
    found[ROOT / "docs" / "parameters.md"] = parameters(known)
    for study in runner.studies(known):
        for path in (ROOT / "figures").glob(f"*/{study.notebook}/manifest.json"):
            if path.parts[-3] in archive.COMMITTED:
                found[path.with_name(crate.FILE)] = _crate(path.parent, study)
    text = json.dumps(schema(known), indent=1, ensure_ascii=False)
    return found | {PROFILES / "schema.json": text + "\n"}


def stale() -> list[str]:
    """Documents that do not hold what they should."""
    return [
        path.relative_to(ROOT).as_posix()
        for path, text in documents().items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]


def _table(marked: re.Match) -> str:
    found = [c for name in marked[3].split() for c in claims.read(ROOT / "figures" / name)]
    table = claims.in_words(found) if marked[2] == "verdicts" else _matrix(found)
    return f"{marked[1]}{table}\n"


def _matrix(found: Sequence[claims.Claim]) -> str:
    """All verdicts by claim, which leads to the page of its paper, where they stand in words."""
    pages = {path.name[:2]: path.name for path in (ROOT / "docs").glob("0?_*.md")}

    def link(claim: re.Match[str]) -> str:
        return f"| [{claim[1]}](docs/{pages[f'0{claim[1][0]}']}#results) |"

    return re.sub(r"(?m)^\| (\d\.[CX]\d+) \|", link, claims.matrix(found))


def _crate(folder: Path, study: Study) -> str:
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return crate.metadata(folder, manifest, claims.read(folder), study)


def schema(known: Sequence[runner.Notebook]) -> dict[str, Any]:
    """A JSON schema of profiles."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A profile: parameters by notebook",
        **_mapping({notebook.name: _section(notebook) for notebook in known}),
    }


def _section(notebook: runner.Notebook) -> dict[str, Any]:
    """The schema of one notebook's parameters."""
    properties = {
        name: {"description": parameter.help, "default": parameter.default}
        | notebook.constraint(name).schema
        for name, parameter in _of_profiles(notebook).items()
    }
    if notebook.experiment:
        place = f"#/properties/{notebook.name}/properties"
        names = notebook.experiment.Settings.may_be_special()
        values = _mapping({name: {"$ref": f"{place}/{name}"} for name in names})
        properties["special"]["additionalProperties"] = values
    return _mapping(properties)


def _of_profiles(notebook: runner.Notebook) -> dict[str, runner.Parameter]:
    return {n: p for n, p in notebook.parameters.items() if n not in runner.OPTIONS}


def _mapping(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def parameters(known: Sequence[runner.Notebook]) -> str:
    """The page of all parameters."""
    names = ["quick", *sorted(path.stem for path in PROFILES.glob("*.yaml"))]
    profiles = {name: runner.profile(name, known, PROFILES) for name in names}
    return "\n".join([PAGE, *(_part(notebook, profiles) for notebook in known)])


def _part(notebook: runner.Notebook, profiles: dict[str, dict[str, dict]]) -> str:
    """The table of one notebook's parameters."""
    experiment, shown = notebook.experiment, _of_profiles(notebook)
    special = experiment.Settings.may_be_special() if experiment else shown
    rows = [["parameter", "meaning", "allowed", *profiles], ["---"] * (3 + len(profiles))]
    for name, parameter in shown.items():
        own = {of: values[notebook.name] for of, values in profiles.items()}
        own["quick"] = {name: parameter.default}
        values = [_value(own[of][name], of) if name in own[of] else "" for of in profiles]
        mark = "" if name in special else r"\*"
        rows.append(
            [f"`{name}`{mark}", parameter.help, _allowed(notebook.constraint(name)), *values]
        )
    lines = [" | ".join(cell.replace("|", r"\|") for cell in row) for row in rows]
    link = f"## [{notebook.name}](../notebooks/{notebook.path.name})"
    return "\n".join([link, "", *(f"| {line} |" for line in lines), ""])


def _allowed(constraint: Constraint) -> str:
    return re.sub("^(it must be|it must|use) ", "", constraint.allowed)


def _value(value: Any, profile: str) -> str:
    text = json.dumps(value, ensure_ascii=False)
    if len(text) > LONG and profile != "quick":
        return f"[…](../notebooks/profiles/{profile}.yaml)"
    return f"`{text}`"


if __name__ == "__main__":
    for path in (found := documents()):
        with files.atomic_write(path) as beside:
            beside.write_text(found[path], encoding="utf-8", newline="\n")
