"""A folder of results as a research object: an RO-Crate, which archives and catalogues read.

``ro-crate-metadata.json`` says in the words of schema.org what each file is, what made it from
which data, and what was found about each claim. See https://www.researchobject.org/ro-crate.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kit.harness.results.claims import Claim, about
from kit.harness.results.study import Study

FILE = "ro-crate-metadata.json"
LICENSE = "https://spdx.org/licenses/MIT"
KINDS = {  # of files that the manifest does not name
    "claims.json": ("Verdicts and their evidence", "application/json"),
    "claims.md": ("Verdicts and their evidence, to be read", "text/markdown"),
    "results.zip": ("The result of every task", "application/zip"),
    "manifest.json": ("Parameters, data, versions and hardware", "application/json"),
}
FORMATS = {
    ".csv": "text/csv", ".md": "text/markdown", ".png": "image/png", ".svg": "image/svg+xml",
}  # fmt: skip


def metadata(
    folder: Path, manifest: Mapping[str, Any], claims: Sequence[Claim], study: Study
) -> str:
    """The crate's one file about all others in a folder of results.

    Parameters
    ----------
    manifest, claims
        What the files of these names hold.
    study
        What is known about the paper.
    """
    from rocrate.rocrate import ROCrate

    crate = ROCrate(version="1.1")
    crate.name = f"{study.title or folder.name}: results"
    crate.description = f"What an independent reproduction computed. The paper: {study.citation}"
    crate.license = LICENSE
    crate.datePublished = manifest["finished"]
    paper = _add(crate, "#paper", "ScholarlyArticle", name=study.title, citation=study.citation)
    authors = _add(crate, "#authors", "Person", name="The authors of the kit")
    _add_run(crate, _files(crate, folder, manifest), manifest, authors)
    crate.root_dataset["mentions"] = [
        _verdict(crate, number, claim, paper, authors) for number, claim in enumerate(claims, 1)
    ]
    crate.root_dataset["about"] = paper
    graph = crate.metadata.generate()
    return json.dumps(graph, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _add(crate: Any, place: str, kind: str, **properties: Any) -> Any:
    """Something that is no file, by its place in the crate."""
    from rocrate.model import ContextEntity

    return crate.add(ContextEntity(crate, place, properties={"@type": kind, **properties}))


def _files(crate: Any, folder: Path, manifest: Mapping[str, Any]) -> list[Any]:
    titles = {**manifest["tables"], **manifest["figures"]}
    found = []
    for path in sorted({*folder.iterdir(), folder / "manifest.json"}):  # which may come last
        if path.name in KINDS:
            name, kind = KINDS[path.name]
        elif path.suffix in FORMATS and path.stem in titles:
            name, kind = titles[path.stem]["title"], FORMATS[path.suffix]
        else:
            continue
        properties = {"name": name, "encodingFormat": kind}
        found.append(crate.add_file(dest_path=path.name, properties=properties))
    return found


def _add_run(crate: Any, files: list[Any], manifest: Mapping[str, Any], authors: Any) -> None:
    """What made the files, from what, by what."""
    software = _add(
        crate, "#kit", "SoftwareApplication", name="generalization-robustness-kit",
        version=manifest["kit"],
        softwareRequirements=[f"{name} {v}" for name, v in manifest["packages"].items()],
    )  # fmt: skip
    data = [
        _add(
            crate, f"#data-{name}", "Dataset", name=one["title"], identifier=one["fingerprint"],
            description=f"{one['train']} training and {one['test']} test images",
        )
        for name, one in manifest["data"].items()
    ]  # fmt: skip
    parameters = [
        _add(crate, f"#parameter-{name}", "PropertyValue", name=name, value=json.dumps(value))
        for name, value in manifest["parameters"].items()
    ]
    _add(
        crate, "#run", "CreateAction", name=f"The run of {manifest['notebook']}",
        endTime=manifest["finished"], instrument=software, object=[*data, *parameters],
        result=files, agent=authors,
    )  # fmt: skip


def _verdict(crate: Any, number: int, claim: Claim, paper: Any, authors: Any) -> Any:
    rating = _add(crate, f"#rating-{number}", "Rating", ratingValue=claim["verdict"])
    return _add(
        crate, f"#verdict-{number}", "ClaimReview", name=f"{claim['claim']}, {about(claim)}",
        claimReviewed=claim["claim"], itemReviewed=paper, reviewBody=claim["evidence"],
        reviewRating=rating, author=authors,
    )  # fmt: skip
