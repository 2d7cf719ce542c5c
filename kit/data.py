"""A name in, a data set of tensors out.

Seven data sets are known by name: scikit-learn's digits, which is always there, and six that
torchvision reads. Any other can be given as an archive ``NAME.npz`` in the style of Keras.
"""

import contextlib
import dataclasses
import difflib
import functools
import hashlib
import re
import socket
import zipfile
import zlib

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold, train_test_split

from kit import runtime

_TORCHVISION = {  # name: (class, how it names its two parts)
    "mnist": ("MNIST", {"train": True}, {"train": False}),
    "fashion_mnist": ("FashionMNIST", {"train": True}, {"train": False}),
    "kmnist": ("KMNIST", {"train": True}, {"train": False}),
    "cifar10": ("CIFAR10", {"train": True}, {"train": False}),
    "svhn": ("SVHN", {"split": "train"}, {"split": "test"}),
    "stl10": ("STL10", {"split": "train"}, {"split": "test"}),
}
_TITLES = {
    "digits": "digits",
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "kmnist": "KMNIST",
    "svhn": "SVHN",
    "cifar10": "CIFAR-10",
    "stl10": "STL-10",
}
_PLAIN = re.compile(r"\w[\w-]*")
NAMES = tuple(_TITLES)
# What torchvision raises on files that are missing, cut short or something else altogether.
_UNREADABLE = (RuntimeError, OSError, ValueError, TypeError, LookupError, AssertionError)
_ARRAYS = ("x_train", "y_train", "x_test", "y_test")


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels in two parts.

    Attributes
    ----------
    name : str
    source : str
        Where the pixels come from: an archive's own note where it has one.
    classes : tuple of str
        Class names; the labels are their positions.
    x_train, x_test : torch.Tensor
        float32 of shape (N, C, H, W) in [0, 1].
    y_train, y_test : torch.Tensor
        int64 of shape (N,).
    """

    name: str
    source: str
    classes: tuple
    x_train: torch.Tensor
    y_train: torch.Tensor
    x_test: torch.Tensor
    y_test: torch.Tensor

    @property
    def title(self):
        """Name for people, with the archive's note: to be shown with every number made from it."""
        title = _TITLES.get(self.name, self.name)
        ordinary = (f"{self.name}.npz", "scikit-learn", "torchvision")
        return title if self.source in ordinary else f"{title} ({self.source})"

    @property
    def shape(self):
        """Shape of one image, (C, H, W)."""
        return tuple(self.x_train.shape[1:])

    @functools.cached_property
    def fingerprint(self):
        """A digest of the name, every pixel and every label; class names do not count."""
        digest = hashlib.sha256(self.name.encode())
        for name in _ARRAYS:
            array = getattr(self, name).numpy()
            digest.update(repr((name, array.shape)).encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:16]

    def resplit(self, seed):
        """Shuffle all images into a training and a test part of the same sizes as before.

        Stratified: each class keeps its share in both parts.

        Parameters
        ----------
        seed : int

        Returns
        -------
        Dataset

        Raises
        ------
        ValueError
            A class is too small to appear in both parts.
        """
        x, y = torch.cat([self.x_train, self.x_test]), torch.cat([self.y_train, self.y_test])
        try:
            train, test = train_test_split(
                np.arange(len(y)), test_size=len(self.y_test), stratify=y, random_state=seed
            )
            if min(len(y[part].unique()) for part in (train, test)) < len(self.classes):
                raise ValueError("a class is so small that its share of one part is no image.")
        except ValueError as error:
            raise ValueError(f"Cannot re-split {self.name} with all classes in both parts: {error}")
        return dataclasses.replace(
            self, x_train=x[train], y_train=y[train], x_test=x[test], y_test=y[test]
        )

    def folds(self, n, seed):
        """Index pairs of `n`-fold stratified cross-validation over the training part.

        Returns
        -------
        list of (numpy.ndarray, numpy.ndarray)
            Positions to train on and to validate on.
        """
        split = StratifiedKFold(n, shuffle=True, random_state=seed)
        return list(split.split(self.x_train, self.y_train))


def load(name, root=None, *, train=None, test=None, size=None, channels=None, seed=0):
    """Load a data set by name.

    ``ROOT/NAME.npz`` is taken where it lies; otherwise the data set's own files are read through
    torchvision, and fetched if they are missing and there is a network.

    Parameters
    ----------
    name : str
        ``digits``, ``mnist``, ``fashion_mnist``, ``kmnist``, ``svhn``, ``cifar10``, ``stl10``, or
        the name of an archive with the arrays ``x_train y_train x_test y_test``: images
        (N, H, W) or (N, H, W, C), as uint8 or as floats in [0, 1]; integer labels. Optional
        entries: ``classes`` (names), ``source`` (a note).
    root : str or pathlib.Path, optional
        The data folder; by default as :func:`kit.runtime.folder` says.
    train, test : int, optional
        Keep only so many images, as evenly over the classes as they allow.
    size : int, optional
        Resize to `size` × `size` pixels.
    channels : {1, 3}, optional
        Make grey images colour or colour images grey.
    seed : int
        Chooses the images that `train` and `test` keep.

    Returns
    -------
    Dataset

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
    if not _PLAIN.fullmatch(str(name)):
        raise ValueError(
            f"{name!r} is not a data set name: use letters, digits, '_' and '-' only, "
            "and say where the data lie with the data folder."
        )
    whole = _read(name, folder)
    x_train, y_train = _reduced(whole, "train", train, seed)
    x_test, y_test = _reduced(whole, "test", test, seed)
    x_train, x_test = (_converted(x, size, channels) for x in (x_train, x_test))
    changed = size is not None and (size, size) != whole.shape[1:]
    source = f"{whole.source}, resized to {size}×{size}" if changed else whole.source
    return dataclasses.replace(
        whole, source=source, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test
    )


def present(name, root=None):
    """Is the data set on disk, so that loading it needs no network?"""
    folder = runtime.folder("data", root)
    if not _PLAIN.fullmatch(str(name)):
        return False
    if name == "digits" or (folder / f"{name}.npz").is_file():
        return True
    with contextlib.suppress(*_UNREADABLE):
        return name in _TORCHVISION and bool(_torchvision_parts(name, folder, download=False))
    return False


def _read(name, folder):
    if (folder / f"{name}.npz").is_file():
        return _read_archive(name, folder / f"{name}.npz")
    if name == "digits":
        return _read_digits()
    if name not in _TORCHVISION:
        close = difflib.get_close_matches(name.lower(), NAMES, 1)
        raise FileNotFoundError(
            f"There is no data set {name!r}{f' (did you mean {close[0]!r}?)' if close else ''}: "
            f"the known names are {', '.join(NAMES)}, and no {name}.npz lies in {folder}."
        )
    return _read_torchvision(name, folder)


def _read_digits():
    bunch = load_digits()
    x = torch.from_numpy(bunch.images).float().div(16).unsqueeze(1)
    y = torch.from_numpy(bunch.target).long()
    train, test = train_test_split(np.arange(len(y)), test_size=0.2, stratify=y, random_state=0)
    names = tuple(map(str, bunch.target_names))
    return Dataset("digits", "scikit-learn", names, x[train], y[train], x[test], y[test])


def _torchvision_parts(name, folder, download):
    import torchvision

    kind, *parts = _TORCHVISION[name]
    return [getattr(torchvision.datasets, kind)(folder, download=download, **p) for p in parts]


def _read_torchvision(name, folder):
    try:
        parts = _torchvision_parts(name, folder, download=False)
    except _UNREADABLE:
        parts = _fetched(name, folder)
    arrays = {}
    for part, which in zip(parts, ("train", "test"), strict=True):
        x = np.asarray(part.data)
        # MNIST and its kin hold (N, H, W), CIFAR-10 (N, H, W, C), SVHN and STL-10 (N, C, H, W).
        arrays[f"x_{which}"] = x.transpose(0, 2, 3, 1) if x.shape[1] == 3 else x
        arrays[f"y_{which}"] = np.asarray(part.targets if hasattr(part, "targets") else part.labels)
    names = getattr(parts[0], "classes", None)
    return _checked(name, "torchvision", arrays, names, folder)


def _fetched(name, folder):
    runtime.writable(folder)
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(20)
    try:
        return _torchvision_parts(name, folder, download=True)
    except _UNREADABLE as error:
        raise FileNotFoundError(
            f"Data set {name!r} is not in {folder} (or is damaged) and could not be downloaded: "
            f"either put {name}.npz there (arrays {', '.join(_ARRAYS)}), or run once with a "
            "network connection so that torchvision fetches it."
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)


def _read_archive(name, path):
    try:
        with zipfile.ZipFile(path):  # np.load would also take a lone array, or a pickle
            pass
        with np.load(path, allow_pickle=False) as archive:
            entries = {key: archive[key] for key in archive.files}
    except OSError as error:
        raise OSError(
            f"Cannot read {path} ({error.strerror or error}): change its permissions or move it."
        ) from error
    except (ValueError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        objects = "allow_pickle" in str(error)
        why = "it holds Python objects" if objects else "truncated, damaged or something else"
        raise ValueError(
            f"{path} is not a sound .npz archive ({why}): write it anew with numpy.savez "
            f"and the plain arrays {', '.join(_ARRAYS)}."
        ) from error
    missing = [key for key in _ARRAYS if key not in entries]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}: it must hold {', '.join(_ARRAYS)}.")
    source = str(entries["source"]) if "source" in entries else path.name
    return _checked(name, source, entries, entries.get("classes"), path)


def _checked(name, source, arrays, names, path):
    """A Dataset of raw arrays, or one sentence on what is wrong with them."""
    parts = {}
    for which in ("train", "test"):
        x, y = arrays[f"x_{which}"], arrays[f"y_{which}"]
        parts[f"x_{which}"] = _images(x, f"{path}: x_{which}")
        parts[f"y_{which}"] = _labels(y, len(x), f"{path}: y_{which}")
    if parts["x_train"].shape[1:] != parts["x_test"].shape[1:]:
        raise ValueError(
            f"{path}: training images are {tuple(parts['x_train'].shape[1:])} and test images "
            f"{tuple(parts['x_test'].shape[1:])} (channels, height, width): they must be alike."
        )
    if names is not None and np.ndim(names) != 1:
        raise ValueError(f"{path}: classes must be a list of names; it has shape {names.shape}.")
    count = len(names) if names is not None else int(parts["y_train"].max()) + 1
    for which in ("train", "test"):
        if parts[f"y_{which}"].max() >= count:
            raise ValueError(
                f"{path}: y_{which} has label {int(parts[f'y_{which}'].max())}, "
                f"but there are {count} classes: labels must be 0 … {count - 1}."
            )
    used = parts["y_train"].unique()  # not bincount, which a label of 10¹² would burst
    if len(used) < count:
        gaps = (used != torch.arange(len(used))).nonzero().flatten().tolist()
        raise ValueError(
            f"{path}: no training image has label {(gaps or [len(used)])[0]}: "
            f"labels must be 0 … {count - 1}, each of them in use."
        )
    names = tuple(map(str, names if names is not None else range(count)))
    return Dataset(name, source, names, **parts)


def _images(x, what):
    if x.ndim not in (3, 4) or not x.size or (x.ndim == 4 and x.shape[3] not in (1, 3)):
        raise ValueError(
            f"{what} has shape {x.shape}: images must be (N, H, W) or (N, H, W, C) with 1 or 3 "
            "channels, and at least one of them."
        )
    if x.dtype == np.uint8:
        scaled = torch.from_numpy(np.array(x)).float().div_(255)
    elif x.dtype.kind == "f" and x.min() >= 0 and x.max() <= 1:
        scaled = torch.from_numpy(x.astype(np.float32))
    else:
        span = f" from {x.min()} to {x.max()}" if x.dtype.kind in "iuf" else ""
        raise ValueError(f"{what} must be uint8, or floats in [0, 1]; it is {x.dtype}{span}.")
    return (scaled[:, None] if x.ndim == 3 else scaled.permute(0, 3, 1, 2)).contiguous()


def _labels(y, count, what):
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]  # Keras keeps CIFAR-10's labels as a column
    if y.dtype.kind not in "iu" or y.shape != (count,) or y.min() < 0:
        raise ValueError(
            f"{what} must be {count} integer labels from 0 on, one per image; "
            f"it is {y.dtype} of shape {y.shape}."
        )
    return torch.from_numpy(y.astype(np.int64))


def _reduced(whole, which, count, seed):
    x, y = getattr(whole, f"x_{which}"), getattr(whole, f"y_{which}")
    if count is None:
        return x, y
    if not len(whole.classes) <= count <= len(y):
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
    if size is not None and size < 1:
        raise ValueError(f"size is {size}: use a positive number of pixels.")
    if channels == 3 and x.shape[1] == 1:
        x = x.expand(-1, 3, -1, -1).contiguous()
    elif channels == 1 and x.shape[1] == 3:
        # Luma weights of ITU-R BT.601, as Pillow and torchvision use them.
        x = (x * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
    if size is not None and x.shape[2:] != (size, size):
        x = torch.nn.functional.interpolate(x, (size, size), mode="bilinear", antialias=True)
    return x.clamp(0, 1)


def as_bytes(x):
    """Images in [0, 1] as bytes, for storing and showing: uint8, shape of `x`, in NumPy."""
    return (x * 255).round().byte().cpu().numpy()


def random_crops(x, generator, *, padding=4, flip=False):
    """Augment a batch: crop it from a black frame at random, and mirror every other image or so.

    Parameters
    ----------
    x : torch.Tensor
        Images, shape (N, C, H, W), on any device.
    generator : torch.Generator
        On the CPU, so that the crops are the same on every device.
    padding : int
        Width of the frame, pixels.
    flip : bool
        Mirror each image left to right with probability 1/2.

    Returns
    -------
    torch.Tensor
        Shape of `x`.

    Raises
    ------
    ValueError
        padding is negative.

    Examples
    --------
    >>> x = torch.ones(5, 1, 4, 4)
    >>> random_crops(x, torch.Generator(), padding=2).shape
    torch.Size([5, 1, 4, 4])
    """
    if padding < 0:
        raise ValueError(f"padding is {padding}: use a whole number of pixels from 0 on.")
    count, channels, height, width = x.shape
    framed = torch.nn.functional.pad(x, [padding] * 4)
    top, left = torch.randint(2 * padding + 1, (2, count, 1), generator=generator).to(x.device)
    rows = top + torch.arange(height, device=x.device)
    columns = left + torch.arange(width, device=x.device)
    if flip:
        mirrored = torch.rand(count, 1, generator=generator).to(x.device) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    image = torch.arange(count, device=x.device).view(-1, 1, 1, 1)
    channel = torch.arange(channels, device=x.device).view(1, -1, 1, 1)
    return framed[image, channel, rows[:, None, :, None], columns[:, None, None, :]]
