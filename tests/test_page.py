import json
import re

import numpy as np
import pandas as pd
import pytest
from test_report import MNIST, report_in

from kit import page, pictures, results


@pytest.fixture
def folder(tmp_path):
    """A folder of results with one finished notebook."""
    report = report_in(tmp_path / "03_x")
    table = pd.DataFrame({"k": [1], "accuracy": [1 / 3]})
    report.show("3.T1", table, title="A table of <things>")
    images = pictures.image_rows({"a": np.zeros((2, 1, 4, 4), np.uint8)}, {"a": "xy"})
    for id in ("3.F10", "3.F9"):
        report.show(id, images, title=f"Images of {id}")
    report.show("3.F9", table, title="Numbers")
    report.show("3.F11", images)
    report.claim("3.C1", results.NOT_REPRODUCED, "−1 point", MNIST)
    report.claim("3.C2", results.NOT_TESTED, "no such data", "CIFAR-10")
    report.finish()
    return tmp_path


def test_the_page_shows_everything(folder):
    html = page.write(folder).read_text(encoding="utf-8")
    for expected in (
        "0.3333", "&lt;things&gt;", "03_x/3.F10.png", "not reproduced", "Some CPU", "print of mnist"
    ):  # fmt: skip
        assert expected in html
    sections = re.findall(r'<section id="(.*?)">', html)
    assert sections == ["3.F9", "3.F10", "3.F11", "3.T1"]
    assert html.count("<img") == 3


def test_a_table_and_a_figure_of_one_name_both_show_their_titles(folder):
    html = page.write(folder).read_text(encoding="utf-8")
    section = html[html.index('<section id="3.F9">') :].partition("</section>")[0]
    titles = re.findall(r"<figcaption><b>3.F9</b> (.*?)</figcaption>", section)
    assert titles == ["Images of 3.F9", "Numbers. The paper prints no such table."]
    assert '<img src="03_x/3.F9.png" alt="Images of 3.F9">' in section
    assert "0.3333" in section


def test_results_of_the_first_version_and_lost_files_do_not_stop_the_page(folder):
    path = folder / "03_x" / "manifest.json"
    manifest = json.loads(path.read_text())
    titles = manifest.pop("figures") | manifest.pop("tables")
    path.write_text(json.dumps(manifest | {"titles": titles}))
    (folder / "03_x" / "3.F10.png").unlink()
    html = page.write(folder).read_text(encoding="utf-8")
    assert re.findall(r'<section id="(.*?)">', html) == ["3.F9", "3.F11", "3.T1"]


def test_an_unfinished_notebook_is_left_out(folder):
    report_in(folder / "04_y").show("3.T1", pd.DataFrame({"k": [1]}), title="Half")
    assert "04_y" not in page.write(folder).read_text(encoding="utf-8")


def test_verdicts_at_a_glance(folder):
    assert page.at_a_glance(folder / "03_x").splitlines() == [
        "| claim | verdict |",
        "|---|---|",
        "| **3.C1** It rises. | MNIST: not reproduced |",
    ]
