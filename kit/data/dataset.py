"""Images and labels in two parts."""

from __future__ import annotations

import dataclasses
import functools
import hashlib

import numpy as np
import torch
from sklearn.model_selection import StratifiedKFold, train_test_split

from kit.constraints import SEED, whole
from kit.data.titles import TITLES

ARRAYS = ("x_train", "y_train", "x_test", "y_test")


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels in two parts.

    Attributes
    ----------
    source
        Where the pixels come from: an archive's own note where it has one.
    classes
        Class names; the labels are their positions.
    x_train, x_test
        float32 of shape (N, C, H, W) in [0, 1].
    y_train, y_test
        int64 of shape (N,).
    """

    name: str
    source: str
    classes: tuple[str, ...]
    x_train: torch.Tensor
    y_train: torch.Tensor
    x_test: torch.Tensor
    y_test: torch.Tensor

    def __repr__(self) -> str:
        """One line on what it holds.

        Examples
        --------
        >>> from kit.data import load
        >>> load("digits")
        Dataset digits: 1437 training and 360 test images of 8×8, 10 classes (scikit-learn)
        """
        shape = "×".join(map(str, self.shape if self.shape[0] > 1 else self.shape[1:]))
        return (
            f"Dataset {self.name}: {len(self.x_train)} training and {len(self.x_test)} test images "
            f"of {shape}, {len(self.classes)} classes ({self.source})"
        )

    @property
    def title(self) -> str:
        """Name for people, with the archive's note: to be shown with every number made from it."""
        title = TITLES.get(self.name, self.name)
        ordinary = (f"{self.name}.npz", "scikit-learn", "torchvision")
        notes = [note for note in self.source.split(", ") if note not in ordinary]
        return f"{title} ({', '.join(notes)})" if notes else title

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image, (C, H, W)."""
        return tuple(self.x_train.shape[1:])

    @functools.cached_property
    def fingerprint(self) -> str:
        """A digest of the name, every pixel and every label; class names do not count."""
        digest = hashlib.sha256(self.name.encode())
        for name in ARRAYS:
            array = getattr(self, name).cpu().numpy()
            digest.update(repr((name, array.shape)).encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:16]

    def resplit(self, seed: int) -> Dataset:
        """Shuffle all images into a training and a test part of the same sizes as before.

        Stratified: each class keeps its share in both parts.

        Raises
        ------
        ValueError
            A class is too small to appear in both parts, or it is no seed.
        """
        seed = SEED.check("seed", seed)
        x, y = torch.cat([self.x_train, self.x_test]), torch.cat([self.y_train, self.y_test])
        try:
            train, test = train_test_split(
                np.arange(len(y)), test_size=len(self.y_test), stratify=y.cpu(), random_state=seed
            )
            if min(len(y[part].unique()) for part in (train, test)) < len(self.classes):
                raise ValueError("a class is so small that its share of one part is no image.")
        except ValueError as error:
            raise ValueError(f"Cannot re-split {self.name} with all classes in both parts: {error}")
        return dataclasses.replace(
            self, x_train=x[train], y_train=y[train], x_test=x[test], y_test=y[test]
        )

    def folds(self, n: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Index pairs of `n`-fold stratified cross-validation over the training part.

        Returns
        -------
        list
            Pairs of positions to train on and to validate on.
        """
        n, seed = whole(2).check("n", n), SEED.check("seed", seed)
        split = StratifiedKFold(n, shuffle=True, random_state=seed)
        labels = self.y_train.cpu()  # scikit-learn reads no other device
        return list(split.split(labels, labels))

    def copy(self) -> Dataset:
        """The same data with tensors of their own."""
        return dataclasses.replace(self, **{name: getattr(self, name).clone() for name in ARRAYS})

    def to(self, device: torch.device) -> Dataset:
        """The same data with their tensors on a device."""
        there = {name: getattr(self, name).to(device) for name in ARRAYS}
        return dataclasses.replace(self, **there)
