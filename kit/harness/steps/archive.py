"""What committed tables were computed from: one ``results.zip`` beside the tables of a notebook.

It holds entries as the store does, without what is bulky (weights, images), and what is known of
the data sets. With it anyone makes the tables again, without the data and within seconds.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kit import files, runtime
from kit.harness import progress
from kit.harness.steps.store import DAMAGED, Result, packed

NAME = "results.zip"
IGNORED = "KIT_IGNORE_COMMITTED"  # environment variable: compute everything, read no archive
COMMITTED = ("ci", "paper")  # profiles whose results lie in the repository
_SPLITS = "splits.json"


def write(path: Path, results: Iterable[Result], splits: Iterable[Mapping[str, Any]]) -> None:
    """Write an archive; equal results give equal members.

    Parameters
    ----------
    path
        Of the archive.
    results
        Of tasks.
    splits
        What is known of the data, with an entry ``split`` that says which ones.
    """
    members: dict[str, bytes] = {_SPLITS: json.dumps(list(splits), indent=1).encode()}
    for result in results:
        kept = result.fields(name for name in result if name not in result.bulky)
        entry, arrays = packed(result.key, kept, result.record, compressed=False)
        name = f"{result.record['step']}/{result.key}"
        members[f"{name}.npz"] = arrays
        members[f"{name}.json"] = json.dumps(entry, allow_nan=False).encode()
    with files.atomic_write(path) as beside, zipfile.ZipFile(beside, "w") as archive:
        for name, content in sorted(members.items()):
            info = zipfile.ZipInfo(name)  # of 1980, whenever it is written
            # LZMA would take four fifths of the space, and common programs do not unpack it.
            archive.writestr(info, content, zipfile.ZIP_DEFLATED, compresslevel=9)


def committed() -> list[zipfile.Path]:
    """The archives in the repository, those of the ``paper`` profile last."""
    if os.environ.get(IGNORED):
        return []
    folders = [runtime.root() / "figures" / profile for profile in COMMITTED]
    paths = [path for folder in folders for path in sorted(folder.glob(f"*/{NAME}"))]
    opened = [_opened(path, path.stat().st_mtime_ns) for path in paths if path.is_file()]
    return [archive for archive in opened if archive]


@functools.cache
def _opened(path: Path, changed: int) -> zipfile.Path | None:
    """An archive; None, said once, where the file cannot be read."""
    try:
        archive = zipfile.Path(path)
        json.loads((archive / _SPLITS).read_text())
        return archive
    except DAMAGED as error:
        progress.say(f"{path} cannot be read and is left out ({error}).", sys.stderr)
        return None


@functools.cache  # an estimate asks twice: for seconds, and for memory
def records(path: Path, changed: int, steps: frozenset[str]) -> list[dict[str, Any]]:
    """How the results of some steps were made; of an archive that cannot be read, none.

    Parameters
    ----------
    path, changed
        Of the archive, and when it was changed.
    steps
        Names of the steps.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist() if n.endswith(".json")]
            wanted = [name for name in names if name.partition("/")[0] in steps]
            return [json.loads(archive.read(name))["record"] for name in wanted]
    except DAMAGED:
        return []


def split_note(identity: list) -> dict[str, Any] | None:
    """What the archives know of a split of data, by its identity without the fingerprint."""
    for archive in reversed(committed()):
        for note in json.loads((archive / _SPLITS).read_text()):
            if note["split"] == identity:
                return note
    return None
