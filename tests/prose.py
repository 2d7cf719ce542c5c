"""Numbers in the sentences of a document, and where they come from."""

import functools
import json
import re
import tomllib
from pathlib import Path

import yaml

from kit import runtime
from kit.harness.results.power import ERROR

ROOT = runtime.root()
LINK = re.compile(r"!?\[([^\]]*)\]\(([^)#:\s]+)\)")
ID = re.compile(r"\b[1-9]\.[A-Z]\d+\w*")  # of a claim, a table or a figure
# No part of a name (CIFAR-10, L2, ResNet-34), no number of a notebook (03) and no year.
NUMBER = re.compile(
    r"(?<![\w.,/-])(?!0\d|(?:19|20)\d\d(?!\.?\d))"
    r"[−-]?\d+(?:,\d{3})*(?:\.\d+)*(?:/255)?(?!\w|[.,/]\d)"
)
# What has no file of its own: the oldest Python, and the confidence of all intervals in per cent.
COMMON = (
    tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    + f" {100 * (1 - ERROR):g}"
)


def linked(text, folder):
    """The files and folders that a text in a folder links."""
    return [(folder / link).resolve() for _, link in LINK.findall(text)]


def paragraphs(document):
    """Each paragraph, with the first of its section; code, tables and headings are left out."""
    code_or_comment = r"^```.*?^```$|^<!--.*?-->$"
    text = re.sub(code_or_comment, "", document.read_text(), flags=re.DOTALL | re.MULTILINE)
    for section in re.split(r"^#.*$", text, flags=re.MULTILINE):
        blocks = [block.strip() for block in section.split("\n\n") if block.strip()]
        yield from ((block, blocks[0]) for block in blocks if not block.startswith("|"))


def numbers(paragraph):
    """The numbers of its sentences, as they are written."""
    text = re.sub(r"`[^`]*`", "", LINK.sub(r"\1", paragraph))
    return NUMBER.findall(ID.sub("", text))


def sources(paragraph, first, folder):
    """The texts in which a paragraph's numbers may be found."""
    results = (ROOT / "figures", ROOT / "benchmarks" / "results")
    for path in {*linked(paragraph, folder), *linked(first, folder)}:
        if any(path.is_relative_to(place) for place in results):
            yield from _committed(path)
    yield COMMON


@functools.cache
def _committed(path):
    return tuple(_read(path))


def _read(path):
    table = path.with_suffix(".csv") if path.suffix == ".png" else path
    if table.is_file() and (table.suffix in (".csv", ".md") or table.name == "claims.json"):
        text = table.read_text()
        yield text if table.suffix == ".csv" else re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)
    folder = path if path.is_dir() else path.parent
    if (folder / "manifest.json").is_file():
        yield from _settings(folder)


def _settings(folder):
    """What a notebook's results were made with, and what it takes in other profiles."""
    manifest = json.loads((folder / "manifest.json").read_text())
    sizes = [(data["title"], data["train"], data["test"]) for data in manifest["data"].values()]
    told = [manifest[name] for name in ("parameters", "packages", "seconds", "hardware")]
    yield json.dumps([told, sizes])
    for profile in (ROOT / "notebooks" / "profiles").glob("*.yaml"):
        yield json.dumps(yaml.safe_load(profile.read_text())[folder.name])


def found(number, texts):
    """Is a number in one of the texts, rounded as it is written?

    A minus sign must be there as well; a change without one may have either sign.
    """
    plain = number.replace("−", "-").replace(",", "")
    if plain.count(".") > 1:  # a version
        return any(re.search(rf"(?<![\d.]){re.escape(plain)}(?!\.?\d)", text) for text in texts)
    value, _, unit = plain.partition("/")
    scale = float(unit or 1)
    step = 10.0 ** -len(value.partition(".")[2])
    near = (0.5 + 1e-6) * step / scale
    return any(
        abs((v if plain[0] == "-" else abs(v)) - float(value) / scale) <= near
        for text in texts
        for v in _values(text)
    )


@functools.cache
def _values(text):
    text = ID.sub("", text.replace("−", "-"))
    written = re.findall(r"(?:(?<!\w)-)?\d+(?:\.\d+)?(?:e[+-]?\d+)?", text)
    return [float(number) for number in written]


def missing(document, folder=None):
    """The numbers of a document that none of the files has which they are attributed to."""
    return [
        (number, paragraph[:60])
        for paragraph, first in paragraphs(Path(document))
        for texts in [list(sources(paragraph, first, folder or document.parent))]
        for number in numbers(paragraph)
        if not found(number, texts)
    ]
