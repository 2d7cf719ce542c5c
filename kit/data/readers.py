"""Data sets as they lie on disk.

Seven data sets are known by name: scikit-learn's digits, which is always there, and six that
torchvision reads. Any other can be given as an archive ``NAME.npz`` in the style of Keras.
"""

from __future__ import annotations

import contextlib
import difflib
import math
import socket
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import psutil
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from kit import files
from kit.data.dataset import ARRAYS, Dataset
from kit.data.titles import NAMES

_TORCHVISION: dict[str, tuple[str, dict, dict]] = {  # name: (class, how it names its two parts)
    "mnist": ("MNIST", {"train": True}, {"train": False}),
    "fashion_mnist": ("FashionMNIST", {"train": True}, {"train": False}),
    "kmnist": ("KMNIST", {"train": True}, {"train": False}),
    "cifar10": ("CIFAR10", {"train": True}, {"train": False}),
    "svhn": ("SVHN", {"split": "train"}, {"split": "test"}),
    "stl10": ("STL10", {"split": "train"}, {"split": "test"}),
}
_NEEDED = {*ARRAYS, "classes", "source"}  # of an archive
DARK = 0.1  # brightness that no image of any use stays below
# What torchvision raises on files that are missing, cut short or something else altogether.
_UNREADABLE = (RuntimeError, OSError, ValueError, TypeError, LookupError, AssertionError)


def complete(name: str, folder: Path) -> bool:
    """Are the files that torchvision reads there?"""
    with contextlib.suppress(*_UNREADABLE):
        return name in _TORCHVISION and bool(_torchvision_parts(name, folder, download=False))
    return False


def read(name: str, folder: Path) -> Dataset:
    """All of a data set, from its archive in the folder or through its own reader."""
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
    files.writable(folder)
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(20)
    try:
        return _torchvision_parts(name, folder, download=True)
    except _UNREADABLE as error:
        raise FileNotFoundError(
            f"Data set {name!r} is not in {folder} (or is damaged) and could not be downloaded: "
            f"either put {name}.npz there (arrays {', '.join(ARRAYS)}), or run once with a "
            "network connection so that torchvision fetches it."
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)


def _read_archive(name, path):
    try:
        with zipfile.ZipFile(path) as members:  # np.load would also take a lone array, or a pickle
            size = sum(_in_memory(members, info) for info in members.infolist())
        if size > psutil.virtual_memory().available:
            raise MemoryError(f"{size / 1e9:.0f} GB")
        with np.load(path, allow_pickle=False) as archive:
            entries = {key: archive[key] for key in archive.files if key in _NEEDED}
    except MemoryError as error:
        raise ValueError(
            f"{path} would take {error}, more memory than is free: keep fewer or smaller images."
        ) from error
    except OSError as error:
        raise OSError(
            f"Cannot read {path} ({error.strerror or error}): change its permissions or move it."
        ) from error
    except (ValueError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        objects = "allow_pickle" in str(error)
        why = "it holds Python objects" if objects else "truncated, damaged or something else"
        raise ValueError(
            f"{path} is not a sound .npz archive ({why}): write it anew with numpy.savez "
            f"and the plain arrays {', '.join(ARRAYS)}."
        ) from error
    missing = [key for key in ARRAYS if key not in entries]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}: it must hold {', '.join(ARRAYS)}.")
    source = _text(entries["source"][()]) if "source" in entries else path.name
    return _checked(name, source, entries, entries.get("classes"), path)


def _in_memory(members, info):
    """Bytes that an array of an archive will take as float32, by its header alone."""
    if info.filename.removesuffix(".npy") not in _NEEDED:
        return 0
    with members.open(info) as file:
        version = np.lib.format.read_magic(file)
        header = {(1, 0): np.lib.format.read_array_header_1_0}
        shape, _, kind = header.get(version, np.lib.format.read_array_header_2_0)(file)
    if not kind.hasobject and math.prod(shape) * kind.itemsize > info.file_size:
        raise ValueError(f"{info.filename} is shorter than its header says")
    return math.prod(shape) * max(4, kind.itemsize)


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
    _warn_if_dark({name: float(parts[name].max()) for name in ("x_train", "x_test")}, path)
    names = tuple(map(_text, names if names is not None else range(count)))
    return Dataset(name, source, names, **parts)


def _warn_if_dark(brightest, path):
    dark = {name: value for name, value in brightest.items() if value < DARK}
    if dark:
        warnings.warn(
            f"{path}: the brightest pixel of {' and '.join(dark)} is {max(dark.values()):.2g} of "
            "white, so that all of these images are nearly black: if it was meant to be white (a "
            "mask of 0 and 1 as bytes, or images divided by 255 twice), store floats in [0, 1].",
            stacklevel=2,
        )


def _text(value):
    """A name or a note, without what others would obey.

    That are control characters in a terminal, and in figures and pages the sign that begins a
    formula; a wider one looks like it.
    """
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return "".join(filter(str.isprintable, text)).replace("$", "\N{FULLWIDTH DOLLAR SIGN}")


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
