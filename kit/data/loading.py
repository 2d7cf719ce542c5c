"""A name in, a data set of tensors out: whole or reduced, resized, grey or in colour."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch

from kit import runtime
from kit.constraints import SEED, is_whole
from kit.data.dataset import Dataset
from kit.data.names import PLAIN
from kit.data.readers import read


def load(
    name: str,
    root: str | Path | None = None,
    *,
    train: int | None = None,
    test: int | None = None,
    size: int | None = None,
    channels: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Load a data set by name.

    ``ROOT/NAME.npz`` is taken where it lies; otherwise the data set's own files are read through
    torchvision, and fetched if they are missing and there is a network.

    Parameters
    ----------
    name
        ``digits``, ``mnist``, ``fashion_mnist``, ``kmnist``, ``svhn``, ``cifar10``, ``stl10``, or
        the name of an archive with the arrays ``x_train y_train x_test y_test``: images
        (N, H, W) or (N, H, W, C), as uint8 or as floats in [0, 1]; integer labels. Optional
        entries: ``classes`` (names), ``source`` (a note).
    root
        The data folder; by default as :func:`kit.runtime.folder` says.
    train, test
        Keep only so many images, as evenly over the classes as they allow.
    size
        Resize to `size` × `size` pixels.
    channels
        1 or 3: make colour images grey or grey images colour.
    seed
        Chooses the images that `train` and `test` keep.

    Raises
    ------
    FileNotFoundError
        It is neither there nor can it be fetched.
    ValueError
        The name is not a plain name, or the archive is not a sound image archive.

    Examples
    --------
    >>> load("digits", train=100).y_train.bincount().tolist()
    [10, 10, 10, 10, 10, 10, 10, 10, 10, 10]
    """
    folder = runtime.folder("data", root)
    if not PLAIN.fullmatch(str(name)):
        raise ValueError(
            f"{name!r} is not a data set name: use letters, digits, '_' and '-' only, "
            "and say where the data lie with the data folder."
        )
    seed = SEED.check("seed", seed)
    whole = read(name, folder)
    x_train, y_train = _reduced(whole, "train", train, seed)
    x_test, y_test = _reduced(whole, "test", test, seed)
    x_train, x_test = (_converted(x, size, channels) for x in (x_train, x_test))
    changed = size is not None and (size, size) != whole.shape[1:]
    source = f"{whole.source}, resized to {size}×{size}" if changed else whole.source
    return dataclasses.replace(
        whole, source=source, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test
    )


def _reduced(whole, which, count, seed):
    x, y = getattr(whole, f"x_{which}"), getattr(whole, f"y_{which}")
    if count is None:
        return x, y
    if not is_whole(count) or not len(whole.classes) <= count <= len(y):
        raise ValueError(
            f"{which}={count} images of {whole.name}: "
            f"ask for {len(whole.classes)} (one per class) to {len(y)} (all)."
        )
    order = np.random.default_rng(runtime.derive_seed(seed, which)).permutation(len(y))
    # The n-th image of every class comes before any (n+1)-th: a prefix is as even as can be.
    labels, rank = y.numpy()[order], np.empty(len(y), dtype=np.int64)
    for label in range(len(whole.classes)):
        rank[labels == label] = np.arange((labels == label).sum())
    keep = np.sort(order[np.lexsort((labels, rank))[:count]])
    return x[keep], y[keep]


def _converted(x, size, channels):
    if channels not in (None, 1, 3):
        raise ValueError(f"channels is {channels}: use 1 (grey) or 3 (colour).")
    if size is not None and (not is_whole(size) or size < 1):
        raise ValueError(f"size is {size}: use a positive number of pixels.")
    if channels == 3 and x.shape[1] == 1:
        x = x.expand(-1, 3, -1, -1).contiguous()
    elif channels == 1 and x.shape[1] == 3:
        # Luma weights of ITU-R BT.601, as Pillow and torchvision use them.
        x = (x * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
    if size is not None and x.shape[2:] != (size, size):
        size = int(size)
        x = torch.nn.functional.interpolate(x, (size, size), mode="bilinear", antialias=True)
    return x.clamp(0, 1)
