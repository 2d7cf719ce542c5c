"""What the studies share: checks of parameters, data sets kept at hand."""

import dataclasses
import functools
import math

from kit import data, runtime


def check_datasets(datasets):
    """Refuse anything but a list of different names, with a ValueError."""
    if type(datasets) is not list or not datasets or {*map(type, datasets)} != {str}:
        raise ValueError(f"datasets is {datasets!r}: list at least one name, such as ['digits'].")
    if len(set(datasets)) < len(datasets):
        raise ValueError(f"datasets is {datasets}: name each data set once.")


def check_counts(counts):
    """Refuse anything but positive whole numbers, given by name, with a ValueError."""
    for name, value in counts.items():
        if type(value) is not int or value < 1:
            raise ValueError(f"{name} is {value!r}: it must be a positive whole number.")


def check_from_zero(counts):
    """Refuse anything but whole numbers from 0 on, given by name, with a ValueError."""
    for name, value in counts.items():
        if type(value) is not int or value < 0:
            raise ValueError(f"{name} is {value!r}: use a whole number from 0 on.")


def check_positive(numbers):
    """Refuse anything but positive finite numbers, given by name, with a ValueError."""
    for name, value in numbers.items():
        if type(value) not in (int, float) or not 0 < value < math.inf:
            raise ValueError(f"{name} is {value!r}: it must be a positive number.")


@functools.lru_cache(maxsize=4)
def load(name, root, train, test, size, seed):
    """A data set, kept in memory for the next step; 0 images mean all, size 0 the images' own."""
    return data.load(
        name, root, train=train or None, test=test or None, size=size or None, seed=seed
    )


def check_unchanged(dataset, fingerprint):
    """Refuse a data set that is not the one a study was planned with, with a ValueError."""
    if dataset.fingerprint != fingerprint:
        raise ValueError(f"The data set {dataset.name} has changed since this study was planned.")


def on_device(dataset, device):
    """The data set with its tensors on the device of a name."""
    where, parts = runtime.device(device), ("x_train", "y_train", "x_test", "y_test")
    there = {name: getattr(dataset, name).to(where) for name in parts}
    return dataclasses.replace(dataset, **there)
