"""The results of tasks on disk: one ``.npz`` with the arrays and one ``.json`` with the rest.

No pickle; written aside and renamed; the key and digests of the content are kept with it and
checked when it is read, so that a damaged or foreign file never passes for a result.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kit import runtime

_ARRAY = "npz"  # {"npz": "votes"} stands in the JSON for the array of this name
# What reading a missing, cut off or altered entry raises.
_DAMAGED = (
    OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, RecursionError,
    zipfile.BadZipFile,
)  # fmt: skip


class Result(Mapping):
    """A task's result: a mapping that reads an array from disk when it is asked for.

    Attributes
    ----------
    record : dict
        How it was made: step, version, arguments, hardware, seconds, memory (bytes), date.
    """

    def __init__(self, tree: dict, arrays: Path, record: dict):
        self._tree, self._arrays, self.record = tree, arrays, record
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = self.field((name,))
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tree)

    def __len__(self) -> int:
        return len(self._tree)

    def field(self, path: tuple = ()) -> Any:
        """A part of the result, read anew; the whole for an empty path."""
        part = self._tree
        for step in path:
            part = part[step]
        if not isinstance(part, (dict, list)):
            return part
        with np.load(self._arrays, allow_pickle=False) as archive:
            return _restored(part, archive)


class Store:
    """The folder of all results, a subfolder for each step."""

    def __init__(self, folder: Path | None = None):
        self.folder = folder or runtime.folder("steps")
        self.damaged: list[str] = []  # entries that were there and did not fit

    def path(self, step: str, key: str) -> Path:
        """Where an entry lies, without suffix."""
        return self.folder / step / key

    def read(self, step: str, key: str) -> Result | None:
        """A sound result, or None; one that is there but does not fit is noted in `damaged`."""
        text, arrays = (self.path(step, key).with_suffix(s) for s in (".json", ".npz"))
        if not text.is_file():
            return None
        try:
            entry = json.loads(text.read_text(encoding="utf-8"))
            digest = entry.pop("digest")
            if entry["key"] == key and digest == _digest(entry, arrays):
                return Result(entry["result"], arrays, entry["record"])
        except _DAMAGED:
            pass
        self.damaged.append(f"{step}/{key}")
        return None

    def write(self, step: str, key: str, result: Mapping, record: dict) -> Result:
        """Keep a result; the text goes last, since an entry without it does not count.

        Raises
        ------
        TypeError
            It holds an array of Python objects, or something that is no JSON value.
        OSError
            It cannot be written.
        """
        arrays: dict[str, np.ndarray] = {}
        tree = _plain(result, arrays, "")
        path = self.path(step, key)
        with runtime.atomic_write(path.with_suffix(".npz")) as beside:
            np.savez_compressed(beside, **arrays)  # type: ignore[arg-type]
        record = record | {"disk": path.with_suffix(".npz").stat().st_size}
        entry = {"key": key, "record": record, "result": tree}
        entry["digest"] = _digest(entry, path.with_suffix(".npz"))
        text = json.dumps(entry, indent=1, allow_nan=False)
        with runtime.atomic_write(path.with_suffix(".json")) as beside:
            beside.write_text(text + "\n", encoding="utf-8")
        return Result(tree, path.with_suffix(".npz"), record)

    def records(self, step: str) -> Iterator[dict]:
        """Records of everything that is stored of a step."""
        for path in sorted((self.folder / step).glob("[!.]*.json")):
            try:
                yield json.loads(path.read_text(encoding="utf-8"))["record"]
            except _DAMAGED:
                continue

    def sizes(self) -> dict[str, int]:
        """Bytes per step, as ``{"knn_tradeoff.study": 123456}``."""
        folders = sorted(self.folder.iterdir()) if self.folder.is_dir() else []
        return {f.name: sum(p.stat().st_size for p in f.iterdir()) for f in folders if f.is_dir()}


def _digest(entry: dict, arrays: Path) -> str:
    text = json.dumps(entry, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode() + arrays.read_bytes()).hexdigest()


def _plain(value: Any, arrays: dict[str, np.ndarray], name: str) -> Any:
    """A value as JSON has it; its arrays go to `arrays`, by their place."""
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise TypeError(
                f"The result {name} is an array of Python objects: it would be pickled."
            )
        unique = f"{len(arrays)} {name}"
        arrays[unique] = value
        return {_ARRAY: unique}
    if isinstance(value, Mapping):
        return {key: _plain(part, arrays, f"{name} {key}".strip()) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part, arrays, f"{name} {i}".strip()) for i, part in enumerate(value)]
    return value.item() if isinstance(value, np.generic) else value


def _restored(value: Any, archive: Mapping) -> Any:
    """The opposite of :func:`_plain`."""
    if isinstance(value, dict):
        if set(value) == {_ARRAY}:
            return archive[value[_ARRAY]]
        return {key: _restored(part, archive) for key, part in value.items()}
    return [_restored(part, archive) for part in value] if isinstance(value, list) else value
