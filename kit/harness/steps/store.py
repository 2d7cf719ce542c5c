"""The results of tasks on disk: one ``.npz`` with the arrays and one ``.json`` with the rest.

What is no JSON value stands in the JSON as a mapping with one marked name: an array, a number that
is not finite, a mapping whose keys are no text. So what is read is what was computed.

No pickle; written aside and renamed; the key and digests of the content are kept with it and
checked when it is read, so that a damaged or foreign file never passes for a result.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import math
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from kit import files, runtime
from kit.constraints import plain

# What stands in the JSON for what JSON does not have.
_ARRAY = "npz"  # {"npz": "votes"}: the array of this name
_NUMBER = "float"  # {"float": "nan"}, "inf" or "-inf"
_MAPPING = "mapping"  # {"mapping": [[1, 0.97], [3, 0.96]]}: keys are no text, or one of these names
_MARKS = ({_ARRAY}, {_NUMBER}, {_MAPPING})
_UNFIT = re.compile(r"[\x00-\x1f\\]")  # in names of arrays: a zip file has no such
_HALVES = re.compile(r"[\ud800-\udfff]")  # of characters: JSON joins two of them
# What reading a missing, cut off or altered entry raises.
DAMAGED = (
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
        self._tree, self._arrays, self.record = _decoded(tree), arrays, record
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
            if isinstance(part, _Array):  # the rest leads into it
                return self.field(path[:place])[path[place:]]
            part = part[step]
        return self._read(part)

    def fields(self, names: Iterable[str]) -> dict[str, Any]:
        """Some parts of the result, read anew and at once."""
        return self._read({name: self._tree[name] for name in names})

    def _read(self, part: Any) -> Any:
        with contextlib.ExitStack() as opened:

            @functools.cache
            def arrays() -> Mapping[str, np.ndarray]:
                file = opened.enter_context(self._opened())
                return opened.enter_context(np.load(file, allow_pickle=False))

            return _restored(part, arrays)

    def _opened(self) -> IO[bytes]:
        """The file of the arrays; of an archive's, all of it: to seek there is to unpack anew."""
        if isinstance(self._arrays, Path):
            return self._arrays.open("rb")
        return io.BytesIO(self._arrays.read_bytes())


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
                content = arrays.read_bytes() if arrays.is_file() else b""  # of a pipe: for ever
                if entry["key"] == key and digest == _digest(entry, content):
                    return Result(entry["result"], arrays, entry["record"], key, bulky)
            except DAMAGED:
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
            It is no mapping, or holds something that cannot be read back as it was.
        OSError
            It cannot be written.
        """
        path = self.path(step, key)
        entry, content = packed(key, result, record)
        with files.atomic_write(path.with_suffix(".npz")) as beside:
            beside.write_bytes(content)
        text = json.dumps(entry, indent=1, allow_nan=False)
        with files.atomic_write(path.with_suffix(".json")) as beside:
            beside.write_text(text + "\n", encoding="utf-8")
        return Result(entry["result"], path.with_suffix(".npz"), entry["record"], key, bulky)

    def records(self, step: str) -> Iterator[dict]:
        """Records of everything that is stored of a step."""
        for path in sorted((self.folder / step).glob("[!.]*.json")):
            with contextlib.suppress(*DAMAGED):
                if path.is_file():  # nothing that one would wait for
                    yield json.loads(path.read_text(encoding="utf-8"))["record"]

    def sizes(self) -> dict[str, int]:
        """Bytes per step, as ``{"knn_tradeoff.study": 123456}``."""
        folders = sorted(self.folder.iterdir()) if self.folder.is_dir() else []
        return {f.name: sum(p.stat().st_size for p in f.iterdir()) for f in folders if f.is_dir()}


def packed(key: str, result: Mapping, record: dict, compressed: bool = True) -> tuple[dict, bytes]:
    """An entry: what its JSON file holds, and the content of its archive of arrays."""
    if not isinstance(result, Mapping):
        raise TypeError(
            f"The result is of type {type(result).__name__}: a step returns a dictionary."
        )
    arrays: dict[str, np.ndarray] = {}
    tree = _encoded(result, arrays, "")
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)  # type: ignore[arg-type]
    record = record if "disk" in record else record | {"disk": buffer.tell()}
    entry = {"key": key, "record": record, "result": tree}
    return entry | {"digest": _digest(entry, buffer.getvalue())}, buffer.getvalue()


def _digest(entry: dict, arrays: bytes) -> str:
    text = json.dumps(entry, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode() + arrays).hexdigest()


class _Array(str):
    """The name of an array, where it stands in a result."""


def _encoded(value: Any, arrays: dict[str, np.ndarray], name: str) -> Any:
    """A value as JSON has it; its arrays go to `arrays`, by their place."""
    value = plain(value)
    if isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray):
        if value.dtype.hasobject:
            raise TypeError(
                f"The result {name} is an array of Python objects: it would be pickled."
            )
        unique = _UNFIT.sub("_", f"{len(arrays)} {name}")
        arrays[unique] = value
        return {_ARRAY: unique}
    if isinstance(value, Mapping):
        keys = [plain(key) for key in value]
        if wrong := [key for key in keys if not isinstance(key, (str, bool, int, float))]:
            raise TypeError(
                f"The result {name} has the key {wrong[0]!r}: keys of a mapping are text or "
                "numbers."
            )
        marked = [_encoded(key, arrays, name) for key in keys]
        parts = [_encoded(part, arrays, f"{name} {key}".strip()) for key, part in value.items()]
        if set(keys) in _MARKS or not all(isinstance(key, str) for key in keys):
            return {_MAPPING: [list(pair) for pair in zip(marked, parts, strict=True)]}
        return dict(zip(keys, parts, strict=True))
    if isinstance(value, (list, tuple)):
        return [_encoded(part, arrays, f"{name} {i}".strip()) for i, part in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        return {_NUMBER: str(value)}
    if isinstance(value, str) and _HALVES.search(value):
        raise TypeError(f"The result {name} holds text that is no Unicode: {value!a}.")
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise TypeError(
        f"The result {name} is of type {type(value).__name__}: a step returns arrays of NumPy's, "
        "numbers, text, booleans and None, in lists and mappings."
    )


def _decoded(value: Any) -> Any:
    """The opposite of :func:`_encoded`, with names of arrays in their place."""
    if isinstance(value, list):
        return [_decoded(part) for part in value]
    if not isinstance(value, dict):
        return value
    if set(value) not in _MARKS:
        return {key: _decoded(part) for key, part in value.items()}
    ((mark, content),) = value.items()
    if mark == _MAPPING:
        return {_decoded(key): _decoded(part) for key, part in content}
    return _Array(content) if mark == _ARRAY else float(content)


def _restored(value: Any, arrays: Callable[[], Mapping[str, np.ndarray]]) -> Any:
    """A part of a result with its arrays, which are asked for where there is one."""
    if isinstance(value, _Array):
        return arrays()[value]
    if isinstance(value, dict):
        return {key: _restored(part, arrays) for key, part in value.items()}
    return [_restored(part, arrays) for part in value] if isinstance(value, list) else value
