"""Votes of the nearest neighbours, for several K from one search."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from kit import checks
from kit.constraints import is_whole
from kit.neighbors.fast import nearest


def predict(
    x_train: Tensor, y_train: Tensor, x: Tensor, ks: Sequence[int] = (1, 3, 5, 7)
) -> dict[int, Tensor]:
    """Labels by K-nearest-neighbour vote, for several K from one search.

    Parameters
    ----------
    x_train, x
        Training images (M, …) and queries (N, …).
    y_train
        Labels from 0 on, int64, shape (M,).
    ks
        Odd, from 1 to M.

    Returns
    -------
    labels
        For each K the labels, int64, shape (N,). Of classes with equally many votes the smaller
        label wins, as in scikit-learn's ``KNeighborsClassifier``.

    Raises
    ------
    ValueError
        A K is even, not positive or larger than M, or there is none; or images and labels are not
        what they have to be (:mod:`kit.checks`).

    Examples
    --------
    >>> x_train, y_train = torch.tensor([[0.0], [3.0], [4.0]]), torch.tensor([0, 1, 1])
    >>> predict(x_train, y_train, torch.tensor([[1.0]]), ks=(1, 3))
    {1: tensor([0]), 3: tensor([1])}
    """
    checks.check_points(x_train, y_train)
    check_ks(ks, len(x_train))
    labels = y_train.to(x.device)[nearest(x_train, x, max(ks))]
    return {k: _vote(labels[:, :k]) for k in ks}


def _vote(labels: Tensor) -> Tensor:
    """The label that most of each row have, of equals the smallest.

    It counts in the sorted rows, which takes no memory for classes that no neighbour has.
    """
    ordered = labels.sort(dim=1).values.contiguous()
    votes = torch.searchsorted(ordered, ordered, right=True) - torch.searchsorted(ordered, ordered)
    elected = votes == votes.amax(1, keepdim=True)
    return ordered.where(elected, ordered[:, -1:]).amin(1)


def accuracy_by_k(
    x_train: Tensor, y_train: Tensor, x: Tensor, y: Tensor, ks: Sequence[int] = (1, 3, 5, 7)
) -> dict[int, float]:
    """Share of queries whose K-nearest-neighbour label is right, for several K.

    Parameters
    ----------
    x_train, y_train, x, ks
        As in :func:`predict`.
    y
        True labels of the queries, shape (N,).

    Returns
    -------
    accuracy
        For each K, in [0, 1]; NaN for an empty set of queries.

    Examples
    --------
    >>> import kit
    >>> d = kit.data.load("digits")
    >>> accuracy = accuracy_by_k(d.x_train, d.y_train, d.x_test, d.y_test, ks=(1, 3))
    >>> round(accuracy[1], 3)
    0.983
    """
    checks.check_points(x, y)
    labels = predict(x_train, y_train, x, ks)
    return {k: float((predicted == y).double().mean()) for k, predicted in labels.items()}


def check_ks(ks: Sequence[int], count: int) -> None:
    """Refuse a K that is even, not positive or above the number of training images, or none.

    Examples
    --------
    >>> check_ks((1, 2), count=100)
    Traceback (most recent call last):
        ...
    ValueError: K is 2: use odd positive whole numbers, for which ties are rarer.
    """
    if not isinstance(ks, Collection) or not len(ks):
        raise ValueError(f"ks is {ks!r}: give at least one K, such as (1, 3, 5).")
    for k in ks:
        if not is_whole(k) or k < 1 or k % 2 == 0:
            raise ValueError(f"K is {k}: use odd positive whole numbers, for which ties are rarer.")
        if k > count:
            raise ValueError(f"K is {k}, but there are only {count} training images.")
