"""The page of results as a browser shows it: a small one, and that of the committed results."""

import itertools
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from test_report import CIFAR, MNIST, SETTINGS, STUDY

import run_all
from kit import runtime
from kit.harness import page, plots, results, runner
from kit.harness.results import columns
from kit.harness.results.screen import on_screen

PHONE = {"width": 390, "height": 844}
A4 = {"width": 703, "height": 1000}  # pixels between margins of 12 mm


def small(folder):
    """Two data sets, a wide table, printed values, a figure, all verdicts."""
    report = results.Report(STUDY, SETTINGS, [MNIST, CIFAR], folder / "03_x")
    wide = pd.DataFrame({f"a long name {i}": [1.5 * i, np.nan] for i in range(16)})
    report.show("3.T1", wide, title="A wide table of <things>")
    printed = {"set": ["FGSM"] * 2, "k": [1, 7], "accuracy": [55.1234, 0.0], "std": [7.5, 0.0]}
    report.show("3.F5", pd.DataFrame(printed), MNIST, "Accuracy")
    images = plots.image_rows({"a": np.zeros((2, 1, 4, 4), np.uint8)}, {"a": "xy"})
    report.show("3.F5", images, MNIST, "Images")
    report.claim("3.C1", results.REPRODUCED, "2 points [1, 3]", MNIST, "FGSM", survives_holm=True)
    report.claim("3.C1", results.UNDECIDED, "7 points [−1, 15]", CIFAR, survives_holm=False)
    report.claim("3.C2", results.NOT_REPRODUCED, "−1 point [−2, 0]", CIFAR, survives_holm=False)
    report.claim("3.C2", results.NOT_TESTED, "no such data", "SVHN")
    report.finish()


def committed(folder):
    """What is committed of profile ci."""
    folder.parent.mkdir(parents=True)
    shutil.copytree(runtime.root() / "figures" / "ci", folder, dirs_exist_ok=True)


FOLDERS = {"small": (small, True), "run": (committed, False)}


@pytest.fixture(scope="module", params=FOLDERS)
def folder(request, tmp_path_factory):
    """Of a page: of the repository's own results, and of a run that stands beside them."""
    folder = tmp_path_factory.mktemp("repository") / "figures" / "ci"
    fill, is_repository = FOLDERS[request.param]
    fill(folder)
    studies = runner.studies(runner.notebooks(run_all.NOTEBOOKS, run_all.EXPERIMENTS))
    with pytest.MonkeyPatch.context() as patch:
        if is_repository:
            patch.setattr(runtime, "root", lambda: folder.parents[1])
        page.write(folder, studies)
    return folder


@pytest.fixture
def opened(browser, folder):
    """Open the page in a window of its own; what went wrong is in its list of troubles."""
    windows = []

    def open_page(**options):
        window = browser.new_page(**options)
        windows.append(window)
        window.set_default_timeout(120_000)
        window.troubles = []
        window.on("console", lambda message: window.troubles.append(message.text))
        window.on("pageerror", lambda error: window.troubles.append(str(error)))
        window.on("request", lambda request: window.troubles.extend(remote(request.url)))
        window.goto((folder / "index.html").as_uri())
        return window

    yield open_page
    for window in windows:
        window.close()


def remote(url):
    return [] if url.startswith(("file:", "data:")) else [url]


def test_nothing_is_missing_and_nothing_is_fetched(opened):
    window = opened()
    pictures = window.evaluate(
        "[...document.images].map(i => [i.src, i.complete && i.naturalWidth, i.alt, i.width])"
    )
    assert pictures
    for source, width, alt, shown in pictures:
        assert width, source
        assert shown, source
        assert len(alt) > 5, source
    links = window.evaluate("[...document.links].map(a => a.getAttribute('href'))")
    for link in links:
        if link.startswith("#"):
            assert window.locator(f'[id="{link[1:]}"]').count() == 1, link
    assert window.troubles == []


def test_every_link_to_a_file_finds_it(opened, folder):
    links = opened().evaluate("[...document.links].map(a => a.getAttribute('href'))")
    files = [link for link in links if not link.startswith("#")]
    assert files
    assert [link for link in files if not (folder / link).is_file()] == []


TABLES = """[...document.querySelectorAll('table.numbers')].map(table => ({
    name: table.querySelector('caption b').textContent,
    columns: [...table.tHead.rows[0].cells].map(cell => cell.textContent),
    rows: [...table.tBodies[0].rows].map(row => [...row.cells].map(cell => cell.textContent)),
}))"""


def test_tables_are_those_of_the_notebooks(opened, folder):
    shown = opened().evaluate(TABLES)
    files = {path.stem: path for path in folder.glob("*/*.csv")}
    assert {table["name"] for table in shown} == set(files)
    for table in shown:
        frame = pd.read_csv(files[table["name"]])
        expected = on_screen(frame)
        assert table["columns"] == list(expected)
        assert table["rows"] == expected.to_numpy().tolist()
        used = {name for column in columns.read(frame) for name in column.names}
        assert used == set(frame)


def test_every_claim_is_in_the_matrix_with_its_verdict_and_evidence(opened, folder):
    window = opened()
    column = "td.own" if window.locator("td.own").count() else "td"
    for path in folder.glob("*/claims.json"):
        tested, folded = [], []
        for claim in json.loads(path.read_text(encoding="utf-8")):
            (folded if claim["verdict"] == results.NOT_TESTED else tested).append(claim)
        for id in {claim["claim"] for claim in tested}:
            row = window.locator(f'[id="claim-{id}"]')
            ours = row.locator(column)
            assert ours.locator("details").count() == sum(c["claim"] == id for c in tested)
            text = " ".join(row.text_content().split())
            for claim in (c for c in tested if c["claim"] == id):
                assert claim["statement"] in text
                assert f"{claim['evidence']}." in text
            found = ours.locator(".verdict").all_inner_texts()
            verdicts = [" ".join(verdict.split()[1:]) for verdict in found]
            assert sorted(verdicts) == sorted(c["verdict"] for c in tested if c["claim"] == id)
        text = " ".join(window.locator("details.fold").all_text_contents())
        for claim in folded:
            assert claim["claim"] in text
            assert claim["evidence"] in text


def test_a_verdict_opens_without_script(browser, folder):
    context = browser.new_context(java_script_enabled=False)
    window = context.new_page()
    window.goto((folder / "index.html").as_uri())
    first = window.locator(".matrix details").first
    assert not first.locator("p").is_visible()
    first.locator("summary").press("Enter")
    assert first.locator("p").is_visible()
    context.close()


@pytest.mark.parametrize("opening", [False, True], ids=["closed", "open"])
def test_a_phone_scrolls_tables_but_not_the_page(opened, opening):
    window = opened(viewport=PHONE)
    if opening:
        window.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert window.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    regions = window.evaluate(
        "[...document.querySelectorAll('.scroll')]"
        ".map(r => [r.tabIndex, r.scrollWidth, r.clientWidth])"
    )
    assert any(inside > width for _, inside, width in regions)
    assert all(tab == 0 for tab, *_ in regions)


def test_on_paper_nothing_is_cut_off_and_twelve_pages_are_enough(opened):
    window = opened(viewport=A4)
    window.emulate_media(media="print")
    assert window.evaluate("document.documentElement.scrollWidth") <= A4["width"]
    printed = window.pdf(format="A4", margin=dict.fromkeys(("top", "left", "right"), "12mm"))
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 12


def test_headings_come_in_order_and_the_keyboard_skips_to_the_verdicts(opened):
    window = opened()
    levels = window.evaluate(
        "[...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1])"
    )
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    window.keyboard.press("Tab")
    assert window.evaluate("document.activeElement.className") == "skip"
    assert window.locator(".skip").bounding_box()["y"] >= 0
    outline = window.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"
    window.keyboard.press("Enter")
    assert window.evaluate("document.activeElement.id") == "verdicts"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(opened, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is missing")
    window = opened(color_scheme=scheme)
    window.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    found = axe.Axe().run(window).response
    assert len(found["passes"]) > 10
    bad = [
        (rule["id"], node["html"])
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]
    assert bad == []


def test_figures_stand_on_white_in_the_dark(opened):
    window = opened(color_scheme="dark")
    ground = "getComputedStyle(document.querySelector('{}')).backgroundColor"
    assert window.evaluate(ground.format("figure > a")) == "rgb(255, 255, 255)"
    red, green, blue = map(int, re.findall(r"\d+", window.evaluate(ground.format("body")))[:3])
    assert max(red, green, blue) < 60
