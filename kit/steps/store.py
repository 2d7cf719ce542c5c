"""The results of tasks on disk: one ``.npz`` with the arrays and one ``.json`` with the rest.

No pickle; written aside and renamed; the key and digests of the content are kept with it and
checked when it is read, so that a damaged or foreign file never passes for a result.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
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
    key : str
        Of the task.
    bulky : tuple of str
        Names that archives leave out.
    """

    def __init__(
        self, tree: dict, arrays: Any, record: dict, key: str = "", bulky: tuple[str, ...] = ()
    ):
        self._tree, self._arrays, self.record = tree, arrays, record
        self.key, self.bulky = key, bulky
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = self.field((name,))
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tree)

    def __len__(self) -> int:
        return len(self._tree)

    def has(self, path: tuple = ()) -> bool:
        """Is a part of it there? Archives leave out what is bulky."""
        return path[0] in self._tree if path else set(self.bulky) <= set(self._tree)

    def field(self, path: tuple = ()) -> Any:
        """A part of the result, read anew; the whole for an empty path."""
        if path and path[0] in self.bulky and not self.has(path):
            raise KeyError(
                f"{path[0]} is not kept with the committed results: compute(…, whole=True) "
                "computes it again."
            )
        part: Any = self._tree
        for place, step in enumerate(path):
            if isinstance(part, dict) and set(part) == {_ARRAY}:  # the rest leads into an array
                return self.field(path[:place])[path[place:]]
            part = part[step]
        if not isinstance(part, (dict, list)):
            return part
        with self._arrays.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return _restored(part, arrays)


class Store:
    """The folder of all results, a subfolder for each step.

    Parameters
    ----------
    folder
        By default as :func:`kit.runtime.folder` says.
    archives
        Read-only folders with more results, such as those in the repository.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = Store(Path(folder))
    ...     _ = store.write("demo.squares", "key", {"squares": np.arange(4) ** 2}, record={})
    ...     store.read("demo.squares", "key")["squares"].tolist()
    [0, 1, 4, 9]
    """

    def __init__(self, folder: Path | None = None, archives: Sequence[zipfile.Path] = ()):
        self.folder, self.archives = folder or runtime.folder("steps"), archives
        self.damaged: list[str] = []  # entries that were there and did not fit

    def path(self, step: str, key: str) -> Path:
        """Where an entry lies, without suffix."""
        return self.folder / step / key

    def read(self, step: str, key: str, bulky: tuple[str, ...] = ()) -> Result | None:
        """A sound result, or None; one that is there but does not fit is noted in `damaged`."""
        folders: list[Any] = [self.folder, *self.archives]  # paths on disk and within archives
        for folder in folders:
            text, arrays = (folder / step / f"{key}.{suffix}" for suffix in ("json", "npz"))
            if not text.is_file():
                continue
            try:
                entry = json.loads(text.read_text(encoding="utf-8"))
                digest = entry.pop("digest")
                if entry["key"] == key and digest == _digest(entry, arrays.read_bytes()):
                    return Result(entry["result"], arrays, entry["record"], key, bulky)
            except _DAMAGED:
                pass
            self.damaged.append(f"{step}/{key}")
        return None

    def write(
        self, step: str, key: str, result: Mapping, record: dict, bulky: tuple[str, ...] = ()
    ) -> Result:
        """Keep a result; the text goes last, since an entry without it does not count.

        Raises
        ------
        TypeError
            It holds an array of Python objects, or something that is no JSON value.
        OSError
            It cannot be written.
        """
        path = self.path(step, key)
        entry, content = packed(key, result, record)
        with runtime.atomic_write(path.with_suffix(".npz")) as beside:
            beside.write_bytes(content)
        text = json.dumps(entry, indent=1, allow_nan=False)
        with runtime.atomic_write(path.with_suffix(".json")) as beside:
            beside.write_text(text + "\n", encoding="utf-8")
        return Result(entry["result"], path.with_suffix(".npz"), entry["record"], key, bulky)

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


def packed(key: str, result: Mapping, record: dict, compressed: bool = True) -> tuple[dict, bytes]:
    """An entry: what its JSON file holds, and the content of its archive of arrays."""
    arrays: dict[str, np.ndarray] = {}
    tree = _plain(result, arrays, "")
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)  # type: ignore[arg-type]
    record = record if "disk" in record else record | {"disk": buffer.tell()}
    entry = {"key": key, "record": record, "result": tree}
    return entry | {"digest": _digest(entry, buffer.getvalue())}, buffer.getvalue()


def _digest(entry: dict, arrays: bytes) -> str:
    text = json.dumps(entry, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode() + arrays).hexdigest()


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
