"""Exact nearest neighbours, for every K in one pass."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

CHUNK = 512  # queries at once: with 60,000 training images their products are 120 MB
AT_ONCE = 2**20  # values measured in float64 at once: 8 MB
SPARE = 25  # candidates beyond K, so that rounding rarely leaves a doubt


def nearest(x_train: Tensor, x: Tensor, k: int) -> Tensor:
    """The `k` nearest training images of each query, exactly, in Euclidean distance.

    ‖q − t‖² = ‖q‖² − 2(q·t − ‖t‖²/2), so one matrix product ranks all training images; it may be
    as rough as bfloat16, which some processors and GPUs multiply several times faster. The few
    best are measured again in float64. A bound on the product's rounding error proves that no
    neighbour was missed; a query for which it does not is searched with more candidates.

    Parameters
    ----------
    x_train
        Training images, shape (M, …).
    x
        Queries, shape (N, …).
    k
        From 1 to M.

    Returns
    -------
    index
        Positions in `x_train`, nearest first, equal distances by position; int64, shape (N, k),
        on the device of `x`.

    Raises
    ------
    ValueError
        k is out of range, or the images differ in shape.

    Examples
    --------
    >>> nearest(torch.tensor([[0.0], [1.0], [5.0]]), torch.tensor([[4.0]]), 2)
    tensor([[2, 1]])
    """
    train, queries = x_train.flatten(1), x.flatten(1).to(x_train.device)
    if train.shape[1] != queries.shape[1]:
        raise ValueError(
            f"Training images have {train.shape[1]} values, queries {queries.shape[1]}."
        )
    if not 1 <= k <= len(train):
        raise ValueError(f"K is {k}: it must lie between 1 and the {len(train)} training images.")
    if not len(queries):
        return torch.empty(0, k, dtype=torch.int64, device=x.device)
    # About the mean, the norms and with them the rounding errors are smaller.
    center = train.mean(0)
    centered = train - center
    half_norm = torch.linalg.vector_norm(centered, dim=1).square() / 2
    largest = (2 * half_norm.max()).sqrt()
    index = []
    for part in queries.split(CHUNK):
        with _fast_products():
            score = torch.addmm(half_norm, part - center, centered.T, beta=-1)
        norm = (part.double() - center.double()).norm(dim=1)
        # Rounding both factors to bfloat16 changes a product by up to 2⁻⁸ of the norms' product;
        # a sum of d float32 terms by d·2⁻²⁴, taken twice to be safe.
        sums = train.shape[1] * 2**-23
        error = largest * ((1.01 * 2**-8 + sums) * norm + sums * largest)
        index.append(_best(train, part, score, norm, error, k, k + SPARE))
    return torch.cat(index).to(x.device)


@contextlib.contextmanager
def _fast_products() -> Iterator[None]:
    """Let products of float32 matrices use bfloat16 or TF32 units where the hardware has them."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _best(
    train: Tensor,
    queries: Tensor,
    score: Tensor,
    norm: Tensor,
    error: Tensor,
    k: int,
    candidates: int,
) -> Tensor:
    """The k nearest of each query among its best-scoring candidates, with proof or more of them."""
    candidates = min(candidates, len(train))
    best, index = score.topk(candidates, dim=1)
    distance, index = _measured(train, queries, index)
    index = index[:, :k]
    if candidates < len(train):
        # Whoever is no candidate scores at most best[:, -1], up to rounding.
        outside = norm.square() - 2 * (best[:, -1] + error)
        unsure = (~(distance[:, k - 1] < outside)).nonzero().flatten()
        if len(unsure):
            args = (queries[unsure], score[unsure], norm[unsure], error[unsure])
            index[unsure] = _best(train, *args, k, 8 * candidates)
    return index


def _measured(train: Tensor, queries: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distances in float64 to the candidates, sorted, ties by position."""
    index = index.sort(dim=1).values
    at_once = max(1, AT_ONCE // (index.shape[1] * train.shape[1]))
    distances = []
    for query, near in zip(queries.split(at_once), index.split(at_once), strict=True):
        difference = train[near].double() - query[:, None].double()
        distances.append((difference * difference).sum(2))
    distance, order = torch.cat(distances).sort(dim=1, stable=True)
    return distance, index.gather(1, order)


def predict(
    x_train: Tensor, y_train: Tensor, x: Tensor, ks: Sequence[int] = (1, 3, 5, 7)
) -> dict[int, Tensor]:
    """Labels by K-nearest-neighbour vote, for several K from one search.

    Parameters
    ----------
    x_train, x
        Training images (M, …) and queries (N, …).
    y_train
        Labels, int64, shape (M,).
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
        A K is even, not positive or larger than M.
    """
    check_ks(ks, len(x_train))
    if len(x_train) != len(y_train):
        raise ValueError(f"{len(x_train)} training images and {len(y_train)} labels.")
    labels = y_train.to(x.device)[nearest(x_train, x, max(ks))]
    votes = torch.nn.functional.one_hot(labels, int(y_train.max()) + 1).cumsum(1)
    return {k: _first_max(votes[:, k - 1]) for k in ks}


def _first_max(votes: Tensor) -> Tensor:
    # argmax promises no order among equals; prefer smaller labels explicitly.
    classes = votes.shape[1]
    return (votes * classes + torch.arange(classes - 1, -1, -1, device=votes.device)).argmax(1)


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
    if len(x) != len(y):
        raise ValueError(f"{len(x)} queries and {len(y)} labels: give one label for each.")
    labels = predict(x_train, y_train, x, ks)
    return {k: float((predicted == y).double().mean()) for k, predicted in labels.items()}


def check_ks(ks: Sequence[int], count: int) -> None:
    """Refuse a K that is even, not positive or above the number of training images."""
    for k in ks:
        if k < 1 or k % 2 == 0:
            raise ValueError(f"K is {k}: use odd positive numbers, so that two classes cannot tie.")
        if k > count:
            raise ValueError(f"K is {k}, but there are only {count} training images.")
