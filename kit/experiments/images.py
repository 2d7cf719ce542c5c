"""Which images a study uses: described once, and found again without loading them."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from kit import files, runtime
from kit.constraints import OneOf
from kit.data.names import present
from kit.data.splits import About, Split
from kit.data.titles import NAMES
from kit.harness.settings import Settings
from kit.harness.steps import archive
from kit.optimizers import PRECISIONS

if TYPE_CHECKING:
    from kit.data.dataset import Dataset


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
            return plain.noted(json.loads(path.read_text(encoding="utf-8")))
    if (committed := archive.split_note(plain.asked_for)) and not present(name, root):
        return plain.noted(committed)
    dataset = plain.read(root)
    about = About(
        dataset.title,
        dataset.source,
        dataset.shape,
        dataset.classes,
        len(dataset.x_train),
        len(dataset.x_test),
        int(dataset.y_train.bincount().min()),
    )
    described = dataclasses.replace(plain, fingerprint=dataset.fingerprint, about=about)
    if path and path.parents[1].is_dir():  # the store is made by computing, not by planning
        with contextlib.suppress(OSError), files.atomic_write(path) as beside:
            beside.write_text(json.dumps(described.note), encoding="utf-8")
    return described


def known(split: Split, root: str | Path = "") -> bool:
    """Can :func:`split` describe these images without fetching them?"""
    return present(split.name, root) or archive.split_note(split.asked_for) is not None


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
    path = folder / f"{split.name}.npz"
    state = []
    if path.is_file():
        state = [[str(path), path.stat().st_size, path.stat().st_mtime_ns]]
    elif split.name != "digits":
        return None  # torchvision's folders: read anew
    versions = [importlib.metadata.version(name) for name in ("scikit-learn", "torch")]
    text = json.dumps([split.identity, state, versions])
    return (
        runtime.folder("steps")
        / "splits"
        / f"{hashlib.sha256(text.encode()).hexdigest()[:20]}.json"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageSettings(Settings):
    """Parameters of a study on images.

    Attributes
    ----------
    precision
        Of the numbers that nets are trained with.
    """

    precision: Annotated[str, OneOf(PRECISIONS, "precision")] = PRECISIONS[0]

    @property
    def precise(self) -> dict[str, str]:
        """The argument of tasks that train; without the default, which their keys never named."""
        return {} if self.precision == PRECISIONS[0] else {"precision": self.precision}

    def images(self) -> Iterator[Split]:
        """Which images a run reads, not yet looked at."""
        for name in self.all_datasets:
            yield self.on(name).images_of(name)

    def images_of(self, name: str, seed: int | None = None) -> Split:
        """As many images of a data set as these parameters say, of their size."""
        seed = self.seed if seed is None else seed
        return Split(name, self.train, self.test, getattr(self, "size", 0), seed)

    @property
    def read_datasets(self) -> list[str]:
        """Every data set whose images a run reads."""
        return list(dict.fromkeys(images.name for images in self.images()))

    def is_there(self, dataset: str) -> bool:
        """Are its images on disk?"""
        return present(dataset, self.data_root)

    def fetch(self, dataset: str) -> None:
        """Put a data set on disk."""
        from kit.data import load

        load(dataset, self.data_root)

    def unknown(self) -> list[str]:
        """Data sets that would have to be fetched to plan the study.

        Raises
        ------
        FileNotFoundError
            There is no such data set.
        """
        names = dict[str, None]()
        for images in self.images():
            if not known(images, self.data_root):
                if images.name not in NAMES:
                    from kit.data import load  # imports torch

                    load(images.name, self.data_root)  # says that there is no such data set
                names[images.name] = None
        return list(names)
