"""Build the site: ``python docs/site/build.py FOLDER``.

Its pages are the project's own documents, the notebooks (as run_all.py has executed them, if it
has), the committed results, and the docstrings. They are gathered in a temporary folder in which
each lies as in the project, so that links between them hold.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import inspect
import os
import pkgutil
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

from sphinx.cmd.build import build_main

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT))

import kit.harness.runner.fast_papermill  # noqa: E402, F401, I001  # before anything of Jupyter's
import nbformat  # noqa: E402

import run_all  # noqa: E402
from kit.harness import page, runner  # noqa: E402
from kit.harness.runner import notebook_page  # noqa: E402

DOCUMENTS = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/*.md", "benchmarks/results/*.md")
PROFILES = ("ci", "paper")  # of committed results
WINGS = {"kit": "Methods", "kit.harness": "Harness", "kit.experiments": "The papers"}
LINK = re.compile(r"\[([^\[\]]+)\]\(([^)\s#]+)(#[^)\s]*)?\)")
REFERENCE = ("parameters", "glossary")
FOLD = '<summary><span class="toctree-toggle"'
NO_PAGES = ROOT / "docs" / "template"


def main(arguments: Sequence[str] | None = None) -> int:
    """Build it; the exit status is Sphinx's, and a warning is an error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the site goes")
    out = parser.parse_args(arguments).folder
    gc.set_threshold(50_000)  # Sphinx makes many objects and little garbage
    with tempfile.TemporaryDirectory() as name:
        source = Path(name)
        gather(source)
        options = ["-b", "html", "-W", "--keep-going", "-q", "-j", "auto"]
        status = build_main([*options, "-c", str(HERE), str(source), str(out)])
    name_folds(out)
    return status


def name_folds(site: Path) -> None:
    """Give a name to what folds the theme's navigation, for who hears it instead."""
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        named = text.replace(FOLD, FOLD.replace("<summary", '<summary aria-label="pages below"'))
        path.write_text(named, encoding="utf-8")


def gather(source: Path) -> None:
    """Put together the pages of which the site consists."""
    for pattern in DOCUMENTS:
        for path in sorted(ROOT.glob(pattern)):
            copy(path, source)
    notebooks = runner.notebooks(run_all.NOTEBOOKS, run_all.EXPERIMENTS)
    for notebook in notebooks:
        executed = ROOT / "figures" / "quick" / notebook.path.name
        copy(notebook.path, source, executed if executed.is_file() else None)
        place = source / notebook.path.relative_to(ROOT)
        content = nbformat.read(place, as_version=4)
        notebook_page.standalone(content)
        nbformat.write(content, place)
    profiles = [ROOT / "figures" / profile for profile in PROFILES]
    folders = [path.parent for one in profiles for path in sorted(one.glob("*/manifest.json"))]
    studies = {study.notebook: study for study in runner.studies(notebooks)}
    for folder in folders:
        results(folder, studies[folder.name], source)
    gallery(folders, source)
    reference(source / "api")
    front(source, [notebook.path.stem for notebook in notebooks])
    for path in [*source.rglob("*.md"), *source.rglob("*.ipynb")]:
        relink(path, source)


def copy(path: Path, source: Path, content: Path | None = None) -> None:
    """Copy a file of the project to where it lies there, or another one in its place."""
    new = source / path.relative_to(ROOT)
    new.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(content or path, new)


def front(source: Path, notebooks: Sequence[str]) -> None:
    """The README as the first page, and below it a page for each part of the site."""
    (source / "README.md").rename(source / "index.md")
    measured = sorted(path.stem for path in (source / "benchmarks" / "results").glob("*.md"))
    reference = [*(f"docs/{name}" for name in REFERENCE), "api/index", "CONTRIBUTING", "CHANGELOG"]
    papers = [f"docs/{name}" for name in notebooks if (source / "docs" / f"{name}.md").is_file()]
    others = sorted(f"docs/{path.stem}" for path in (source / "docs").glob("*.md"))
    parts = {
        "Notebooks": ("notebooks", [f"notebooks/{name}" for name in notebooks]),
        "Results": ("docs", [*papers, "docs/results"]),
        "How to": ("how_to", [n for n in others if n not in {*reference, *papers, "docs/results"}]),
        "Reference": ("reference", reference),
        "Benchmarks": ("benchmarks", [f"benchmarks/results/{name}" for name in measured]),
    }
    for title, (folder, pages) in parts.items():
        listed = toctree([f"/{name}" for name in pages], hidden=False)
        (source / folder).mkdir(exist_ok=True)
        (source / folder / "index.md").write_text(f"# {title}\n{listed}", encoding="utf-8")
    names = [f"{folder}/index" for folder, _ in parts.values()]
    names.insert(2, "figures/index")
    with (source / "index.md").open("a", encoding="utf-8") as file:
        file.write(toctree(names))


def toctree(names: Iterable[str], *, hidden: bool = True) -> str:
    """The part of a page that says which pages lie below it."""
    option = ":hidden:" if hidden else ":maxdepth: 1"
    return "\n```{toctree}\n" + "\n".join([option, "", *names]) + "\n```\n"


def results(folder: Path, study: object, source: Path) -> None:
    """A page with all figures and tables of one notebook, and one for each table."""
    for path in sorted(folder.glob("*.md")):
        copy(path, source)
        new = source / path.relative_to(ROOT)
        new.write_text(f"# {path.stem}\n\n{new.read_text(encoding='utf-8')}", encoding="utf-8")
    parts = [f"# {study.title} ({folder.parent.name})", f"*{study.citation}*"]
    for result in page.results(folder, study):
        parts.append(f"## {result['name']}")
        if result["figure"]:
            copy(folder / f"{result['name']}.png", source)
            parts += [f"![{in_brackets(result['alt'])}]({result['name']}.png)", result["figure"]]
        if result["table"]:
            parts.append(f"Table: [{in_brackets(result['table'])}]({result['name']}.md)")
    parts.append(toctree(sorted(path.stem for path in folder.glob("*.md"))))
    (source / folder.relative_to(ROOT) / "index.md").write_text(
        "\n\n".join(parts), encoding="utf-8"
    )


def gallery(folders: Sequence[Path], source: Path) -> None:
    """All figures on one page, each of which leads to its results."""
    parts = ["# Gallery"]
    pages = []
    for folder in folders:
        where = folder.relative_to(ROOT / "figures").as_posix()
        pages.append(f"{where}/index")
        pictures = [path.stem for path in sorted((source / "figures" / where).glob("*.png"))]
        links = [
            f"[![{name}]({where}/{name}.png)]({where}/index.md#{slug(name)})" for name in pictures
        ]
        parts += [f"## {where}", '<div class="gallery">', "\n".join(links), "</div>"]
    text = "\n\n".join([*parts, toctree(pages)])
    (source / "figures" / "index.md").write_text(text, encoding="utf-8")


def slug(heading: str) -> str:
    """How a link calls a heading."""
    return re.sub(r"[^\w-]", "", heading.lower())


def in_brackets(text: str) -> str:
    """A text that may stand in the brackets of a link."""
    return text.replace("[", r"\[").replace("]", r"\]").replace("\n", " ")


def reference(folder: Path) -> None:
    """A page for each module: its public names, with their docstrings."""
    folder.mkdir()
    for wing, title in WINGS.items():
        modules = pkgutil.iter_modules(importlib.import_module(wing).__path__, f"{wing}.")
        names = [m.name for m in modules if m.name not in WINGS and "._" not in m.name]
        for name in names:
            (folder / f"{name}.rst").write_text("\n".join(described(name)), encoding="utf-8")
        text = f"# {title}: `{wing}`\n{toctree(names, hidden=False)}"
        (folder / f"{wing}.md").write_text(text, encoding="utf-8")
    text = "# API reference\n" + toctree(WINGS, hidden=False)
    (folder / "index.md").write_text(text, encoding="utf-8")


def described(name: str) -> Iterator[str]:
    """The page of one module, for autodoc."""
    module = importlib.import_module(name)
    yield from (name, "=" * len(name), "", f".. automodule:: {name}", "")
    for public in public_names(module):
        value = getattr(module, public)
        if inspect.ismodule(value) or not getattr(value, "__module__", name).startswith(name):
            continue  # it has a page of its own, or stands on another one
        kind = "autoclass" if inspect.isclass(value) else "autofunction" if callable(value) else ""
        if kind and value.__doc__:
            yield from (f".. {kind}:: {name}.{public}", "")
            if kind == "autoclass":
                yield from ("   :members:", "")


def public_names(module: ModuleType) -> list[str]:
    """What it offers: what it lists, or else what it defines itself."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    own = [n for n, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__]
    return [name for name in own if not name.startswith("_")]


def relink(path: Path, source: Path) -> None:
    """Links to the README, to folders, and to files that are no pages find their way."""
    origin = ROOT / path.relative_to(source).parent

    def link(found: re.Match[str]) -> str:
        text, address, place = found.groups(default="")
        if re.match(r"[a-z]+:", address):
            return found[0]
        target = Path(os.path.normpath(origin / address))
        new = source / target.relative_to(ROOT)
        if target == ROOT / "README.md":
            address = os.path.relpath(source / "index.md", path.parent)
        elif (new / "index.md").is_file():
            address = f"{address.rstrip('/')}/index.md"
        elif target.is_dir() or NO_PAGES in target.parents:
            return text  # there is no page about it
        elif target.is_file() and not new.exists():
            copy(target, source)
        return f"[{text}]({address}{place})"

    path.write_text(LINK.sub(link, path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
