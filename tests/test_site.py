"""The site: it builds without a warning, links hold, and a browser shows it without a network."""

import functools
import http.server
import re
import subprocess
import sys
import threading
import urllib.parse

import pytest

from kit import runtime

for needed in ("myst_nb", "numpydoc", "pydata_sphinx_theme"):
    pytest.importorskip(needed, reason='the site needs pip install -e ".[docs]"')

PHONE = {"width": 390, "height": 844}
PAGES = (
    "index", "notebooks/03_knn_tradeoff", "docs/02_overfitting_vs_robustness", "figures/index",
    "figures/ci/01_evolved_perturbations/index", "api/kit.attacks", "docs/parameters",
)  # fmt: skip
PUBLIC = {
    "kit.attacks": ["fgsm", "pgd", "cw_l2", "nearest_l2", "deepfool"],
    "kit.neighbors": ["predict", "accuracy_by_k"],
    "kit.harness.steps": ["compute", "step"],
    "kit.data": ["load", "Dataset"],
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site's folder. Its build is one process, and no warning is forgiven."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, runtime.root() / "docs" / "site" / "build.py", folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return folder


@pytest.fixture(scope="module")
def address(site):
    """Where a server on this machine shows it."""
    handler = functools.partial(Quiet, directory=site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def window(browser, address):
    """Opens a page of the site; whatever it asks of another machine is noted."""
    opened = []

    def open_page(name, **options):
        page = browser.new_page(**options)
        opened.append(page)
        page.elsewhere = []
        page.on("request", lambda r: None if ours(r.url) else page.elsewhere.append(r.url))
        page.goto(f"{address}/{name}.html")
        return page

    def ours(url):
        return url.startswith((address, "data:"))

    yield open_page
    for page in opened:
        page.close()


def test_every_link_and_every_picture_is_there(site):
    pages = {path: path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    places = {path: set(re.findall(r'\bid="([^"]+)"', text)) for path, text in pages.items()}
    assert len(pages) > 150
    for path, text in pages.items():
        for link in re.findall(r'<a [^>]*href="([^"]+)"', text):
            file, _, place = urllib.parse.unquote(link).partition("#")
            if re.match(r"[a-z]+:", file):
                continue
            target = (path.parent / file).resolve() if file else path
            assert target.exists(), (path, link)
            if place and target in places:
                assert place in places[target], (path, link)
        for picture in re.findall(r'<img [^>]*src="(?!data:)([^"]+)"', text):
            assert (path.parent / urllib.parse.unquote(picture)).exists(), (path, picture)


def test_every_public_name_has_its_docstring_there(site):
    for module, names in PUBLIC.items():
        text = (site / "api" / f"{module}.html").read_text(encoding="utf-8")
        for name in names:
            assert f'id="{module}.{name}"' in text
    text = (site / "api" / "kit.attacks.html").read_text(encoding="utf-8")
    assert "Parameters" in text
    assert "Examples" in text


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_a_phone_shows_a_page_without_scrolling_sideways(window, name, scheme):
    page = window(name, viewport=PHONE, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    assert not page.elsewhere


def test_the_search_finds_a_method_without_a_network(window):
    page = window("search")
    page.goto(f"{page.url}?q=CLEVER")
    page.wait_for_selector("ul.search li a")
    assert any("robustness" in text for text in page.locator("ul.search li a").all_inner_texts())
    assert not page.elsewhere


@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_serious(window, name):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is missing")
    found = axe.Axe().run(window(name)).response
    serious = [v for v in found["violations"] if v["impact"] in ("serious", "critical")]
    assert not [(v["id"], [n["html"][:200] for n in v["nodes"][:3]]) for v in serious]
