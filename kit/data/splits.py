"""Which images a task uses, as a value that can be hashed, sent and loaded anywhere."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit import runtime
from kit.constraints import SEED, TEXT, whole

if TYPE_CHECKING:
    from kit.data.dataset import Dataset


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
        What is known of the images without loading them; None where nobody has looked.
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
    def asked_for(self) -> list:
        """Which images were asked for, in the data set's own split and without the fingerprint."""
        return dataclasses.replace(self, run=0).identity[:-1]

    @property
    def note(self) -> dict[str, Any]:
        """What is known of it, as plain JSON values."""
        about = dataclasses.asdict(self.about)
        return {"split": self.asked_for, "about": about, "fingerprint": self.fingerprint}

    def noted(self, note: dict[str, Any]) -> Split:
        """The split with what a :attr:`note` says of it."""
        lists = {key: tuple(note["about"][key]) for key in ("shape", "classes")}
        about = About(**note["about"] | lists)
        return dataclasses.replace(self, fingerprint=note["fingerprint"], about=about)

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

    def read(self, root: str | Path) -> Dataset:
        """The images asked for, in the data set's own split: :func:`kit.data.load` on it."""
        from kit.data.loading import load  # imports torch

        return load(
            self.name,
            root,
            train=self.train or None,
            test=self.test or None,
            size=self.size or None,
            seed=self.seed,
        )


@functools.lru_cache(maxsize=2)
def _load(split: Split, root: str, device: str) -> Dataset:
    dataset = split.read(root)
    if split.fingerprint and dataset.fingerprint != split.fingerprint:
        raise ValueError(f"The data set {split.name} has changed since this study was planned.")
    if split.run:
        dataset = dataset.resplit(runtime.derive_seed(split.seed, "split", split.run))
    return dataset.to(runtime.device(device))
