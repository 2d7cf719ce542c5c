"""A folder of results as an RO-Crate: whole, true to its files, and readable by others."""

import datetime
import json

import numpy as np
import pandas as pd
import pytest
from rocrate.rocrate import ROCrate
from test_report import MNIST, SETTINGS, STUDY

from kit import runtime
from kit.harness import plots, results
from kit.harness.results import crate

FOLDERS = sorted(path.parent for path in (runtime.root() / "figures").glob("*/*/results.zip"))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results") / "03_x"
    report = results.Report(STUDY, SETTINGS, [MNIST], folder)
    report.show("3.T1", pd.DataFrame({"k": [1, 7]}), title="Neighbours")
    images = plots.image_rows({"a": np.zeros((2, 1, 4, 4), np.uint8)}, {"a": "xy"})
    report.show("3.F5", images, MNIST, "Images")
    report.claim("3.C1", results.REPRODUCED, "2 points [1, 3]", MNIST, "FGSM", survives_holm=True)
    report.finish()
    return folder


@pytest.fixture(params=["small", *FOLDERS], ids=lambda p: p if p == "small" else p.name)
def folder(request, small):
    return small if request.param == "small" else request.param


def entities(folder):
    graph = json.loads((folder / crate.FILE).read_text(encoding="utf-8"))["@graph"]
    return {entity["@id"]: entity for entity in graph}


def test_it_has_what_the_specification_demands(folder):
    found = entities(folder)
    about = found[crate.FILE]
    assert about["conformsTo"]["@id"].startswith("https://w3id.org/ro/crate/1.")
    root = found[about["about"]["@id"]]
    assert root["@type"] == "Dataset"
    assert all(root[name] for name in ("name", "description", "license"))
    datetime.datetime.fromisoformat(root["datePublished"])


def test_every_file_is_there_and_every_reference_leads_to_something(folder):
    found = entities(folder)
    root = found["./"]
    parts = {part["@id"] for part in root["hasPart"]}
    svg = {path.name for path in folder.glob("*.svg")}
    assert parts | svg >= {path.name for path in folder.iterdir()} - {crate.FILE}
    assert all((folder / part).is_file() for part in parts)
    for entity in found.values():
        for value in entity.values():
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, dict) and "://" not in one.get("@id", "://"):
                    assert one["@id"] in found


def test_every_verdict_of_the_claims_stands_in_it(folder):
    claims = json.loads((folder / "claims.json").read_text(encoding="utf-8"))
    found = entities(folder)
    reviews = [e for e in found.values() if e["@type"] == "ClaimReview"]
    told = [(e["claimReviewed"], found[e["reviewRating"]["@id"]]["ratingValue"]) for e in reviews]
    assert sorted(told) == sorted((claim["claim"], claim["verdict"]) for claim in claims)


def test_the_field_s_own_library_reads_it(small):
    read = ROCrate(small)
    assert read.name.endswith("results")
    (run,) = read.get_by_type("CreateAction")
    assert {"3.T1.csv", "3.F5.png", "results.zip"} <= {part.id for part in run["result"]}
    assert run["instrument"]["name"] == "generalization-robustness-kit"
