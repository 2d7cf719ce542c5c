"""Which images a task uses, as a value that can be hashed, sent and loaded anywhere."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit import runtime
from kit.constraints import SEED, TEXT, whole
from kit.steps import archive

if TYPE_CHECKING:
    from kit.data.dataset import Dataset


PLAIN = re.compile(r"\w[\w-]*")  # names of data sets


@dataclasses.dataclass(frozen=True)
class About:
    """What is known of a split without loading it.

    Attributes
    ----------
    title
        The data set's name for people, with a note on what is special about its pixels.
    shape
        Of one image, (C, H, W).
    train, test
        Numbers of images.
    fewest
        Training images of the smallest class.
    """

    title: str
    source: str
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    train: int
    test: int
    fewest: int


@dataclasses.dataclass(frozen=True)
class Split:
    """Which images: part of a data set, perhaps resized, perhaps split anew.

    Attributes
    ----------
    train, test
        Images to keep, as evenly over the classes as they allow; 0 keeps all.
    size
        Resized to size × size pixels; 0 keeps them as they are.
    seed
        Chooses the images, and with `run` the new split.
    run
        0 for the data set's own training and test images; from 1 on, for run r, all of them are
        shuffled into new ones.
    fingerprint
        Of the images before that; loading others is refused.
    about
        What :func:`split` found out about the images; None in a split made by hand.
    """

    name: str
    train: int = 0
    test: int = 0
    size: int = 0
    seed: int = 0
    run: int = 0
    fingerprint: str = ""
    about: About = dataclasses.field(default=None, compare=False, repr=False)  # type: ignore

    def __post_init__(self) -> None:
        """Refuse what is no count or seed; numbers of NumPy's become Python's."""
        constraints = {name: whole(0) for name in ("train", "test", "size", "run")}
        for name, constraint in (constraints | {"name": TEXT, "seed": SEED}).items():
            # Frozen, and here still in the making.
            object.__setattr__(self, name, constraint.check(name, getattr(self, name)))

    @property
    def identity(self) -> list:
        """What enters the key of a task."""
        return [getattr(self, field.name) for field in dataclasses.fields(self) if field.compare]

    def __str__(self) -> str:
        return f"{self.name}, run {self.run}" if self.run else self.name

    def at(self, run: int) -> Split:
        """The same images in the split of a run."""
        return dataclasses.replace(self, run=run)

    def load(self, root: str | None = None, device: str | None = None) -> Dataset:
        """The data set, a copy of one's own; the last ones are kept in memory for the next task.

        Parameters
        ----------
        root, device
            Where the data lie and where they go; by default as the context of the task says
            (:func:`kit.runtime.context`).

        Raises
        ------
        ValueError
            The data have changed since the split was made.
        FileNotFoundError
            They are not there.
        """
        context = runtime.context()
        root = context.data_root if root is None else root
        return _load(self, root, context.device if device is None else device).copy()


@functools.lru_cache(maxsize=2)
def _load(split: Split, root: str, device: str) -> Dataset:
    dataset = _read(split, root)
    if split.fingerprint and dataset.fingerprint != split.fingerprint:
        raise ValueError(f"The data set {split.name} has changed since this study was planned.")
    if split.run:
        dataset = dataset.resplit(runtime.derive_seed(split.seed, "split", split.run))
    return dataset.to(runtime.device(device))


def _read(split: Split, root: str | Path) -> Dataset:
    from kit.data.loading import load  # imports torch

    return load(
        split.name, root, train=split.train or None, test=split.test or None,
        size=split.size or None, seed=split.seed,
    )  # fmt: skip


def present(name: str, root: str | Path | None = None) -> bool:
    """Is the data set on disk, so that loading it needs no network?"""
    folder = runtime.folder("data", root)
    if not PLAIN.fullmatch(str(name)):
        return False
    if name == "digits" or (folder / f"{name}.npz").is_file():
        return True
    from kit.data.readers import complete  # imports torch

    return complete(name, folder)


def split(
    name: str, root: str | Path = "", *, train: int = 0, test: int = 0, size: int = 0, seed: int = 0
) -> Split:
    """Describe part of a data set, with the fingerprint of its images.

    What was read off the images once is kept in the step store, and found again as long as the
    files of the data set are the same, so that planning a study need not load them. Of a data set
    that is not there, what lies with the committed results is taken.

    Parameters
    ----------
    name, root, train, test, size, seed
        As for :func:`kit.data.load`; 0 means all images, or their own size.

    Raises
    ------
    ValueError, FileNotFoundError, OSError
        As :func:`kit.data.load`.

    Examples
    --------
    >>> digits = split("digits", train=100)
    >>> digits.about.shape, digits.about.train, len(digits.load().x_train)
    ((1, 8, 8), 100, 100)
    """
    plain = Split(name, train, test, size, seed)
    path = _note(plain, root)
    # Missing, damaged, or not to be read: made again.
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        if path:
            return _noted(plain, json.loads(path.read_text(encoding="utf-8")))
    if (committed := archive.split_note(_named(plain))) and not present(name, root):
        return _noted(plain, committed)
    dataset = _read(plain, root)
    about = About(
        dataset.title, dataset.source, dataset.shape, dataset.classes, len(dataset.x_train),
        len(dataset.x_test), int(dataset.y_train.bincount().min()),
    )  # fmt: skip
    described = dataclasses.replace(plain, fingerprint=dataset.fingerprint, about=about)
    if path and path.parents[1].is_dir():  # the store is made by computing, not by planning
        with contextlib.suppress(OSError), runtime.atomic_write(path) as beside:
            beside.write_text(json.dumps(note(described)), encoding="utf-8")
    return described


def note(split: Split) -> dict[str, Any]:
    """What is known of a split, as plain JSON values; :func:`split` finds it again."""
    about = dataclasses.asdict(split.about)
    return {"split": _named(split), "about": about, "fingerprint": split.fingerprint}


def _named(split: Split) -> list:
    """Which images were asked for, in the data set's own split."""
    return split.at(0).identity[:-1]


def _noted(plain: Split, note: dict[str, Any]) -> Split:
    lists = {key: tuple(note["about"][key]) for key in ("shape", "classes")}
    about = About(**note["about"] | lists)
    return dataclasses.replace(plain, fingerprint=note["fingerprint"], about=about)


def known(split: Split, root: str | Path = "") -> bool:
    """Can :func:`split` describe these images without fetching them?"""
    return present(split.name, root) or archive.split_note(_named(split)) is not None


def sample(split: Split, root: str = "", device: str = "auto") -> Dataset:
    """Images to try things on: those of a split, or digits where its data set is not there.

    Committed results can be shown without their data; what a lesson tries live cannot.
    """
    if present(split.name, root):
        return split.load(root, device)
    print(f"{split.about.title} is not in the data folder: what is tried here uses digits.")
    return Split("digits", size=split.about.shape[1]).load(root, device)


def _note(split: Split, root: str | Path) -> Path | None:
    """Where what is known of a split is kept, by the state of the data set's files."""
    folder = runtime.folder("data", root)
    archive = folder / f"{split.name}.npz"
    if archive.is_file():
        files = [archive]
    elif split.name == "digits":
        files = []
    else:
        return None  # torchvision's folders: read anew
    state = [[str(p), p.stat().st_size, p.stat().st_mtime_ns] for p in files]
    versions = [importlib.metadata.version(name) for name in ("scikit-learn", "torch")]
    text = json.dumps([split.identity, state, versions])
    return (
        runtime.folder("steps")
        / "splits"
        / f"{hashlib.sha256(text.encode()).hexdigest()[:20]}.json"
    )
