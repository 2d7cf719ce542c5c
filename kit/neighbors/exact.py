"""K-nearest neighbours as a textbook has them: read this first."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from kit.checks import check_points, check_same_shape
from kit.neighbors.voting import check_ks


def predict(
    x_train: Tensor, y_train: Tensor, x: Tensor, ks: Sequence[int] = (1, 3, 5, 7)
) -> dict[int, Tensor]:
    """Labels by K-nearest-neighbour vote; the same as of :func:`kit.neighbors.predict`.

    That one is faster, and takes less memory: here all distances are measured, and all votes kept.

    Parameters
    ----------
    x_train, y_train, x, ks
        As for :func:`kit.neighbors.predict`, on one device.

    Returns
    -------
    labels
        For each K the labels, int64, shape (N,).

    Raises
    ------
    ValueError
        As there.

    Examples
    --------
    >>> x_train, y_train = torch.tensor([[0.0], [3.0], [4.0]]), torch.tensor([0, 1, 1])
    >>> predict(x_train, y_train, torch.tensor([[1.0]]), ks=(1, 3))
    {1: tensor([0]), 3: tensor([1])}
    """
    check_points(x_train, y_train)
    check_same_shape(x_train, x)
    check_ks(ks, len(x_train))
    train, queries = (images.flatten(1).double() for images in (x_train, x))
    distance = torch.cdist(queries, train, compute_mode="donot_use_mm_for_euclid_dist")
    nearest = distance.argsort(dim=1, stable=True)[:, : max(ks)]  # of equals the first
    votes = one_hot(y_train)[nearest].cumsum(1)  # of the nearest 1, 2, 3, … for each class
    return {k: votes[:, k - 1].argmax(1) for k in ks}  # of equals the smallest label
