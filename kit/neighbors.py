"""Exact nearest neighbours, for every K in one pass."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

CHUNK = 512  # queries at once: with 60,000 training images their products are 120 MB
AT_ONCE = 2**20  # values measured in float64 at once: 8 MB
SPARE = 25  # candidates beyond K, so that rounding and lost directions rarely leave a doubt
DIRECTIONS = 192  # to rank by, of images with several times as many values
SAMPLE = 500  # training images that the directions are taken from
BLOCK = 64  # columns whose best is looked at first
ROUNDING = 2**-24  # of a float32 sum, for each term


def nearest(x_train: Tensor, x: Tensor, k: int) -> Tensor:
    """The `k` nearest training images of each query, exactly, in Euclidean distance.

    ‖q − t‖² = ‖q‖² − 2(q·t − ‖t‖²/2), so one matrix product ranks all training images. Of large
    images it takes the principal directions alone, in which no two are farther apart than they
    are. The few best are measured in float64 and in full. A bound on what rounding can add proves
    that no neighbour was missed; a query for which it does not is searched with more candidates.

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
    sample = train[:: max(1, len(train) // SAMPLE)][:SAMPLE]
    center = sample.mean(0)  # about the middle, norms and with them rounding errors are smaller
    basis = _directions(sample - center)
    low = _turned(train, center, basis)
    half_norm = torch.linalg.vector_norm(low, dim=1).square() / 2
    largest = (2 * half_norm.max()).sqrt()
    sums = 2 * low.shape[1] * ROUNDING  # twice, to be safe
    # Turned images are off by at most so much of their length.
    turn = 0.0 if basis is None else train.shape[1] * math.sqrt(low.shape[1]) * ROUNDING
    longest = torch.linalg.vector_norm(train, dim=1).max() + center.norm()
    index = []
    for part in queries.split(CHUNK):
        turned = _turned(part, center, basis)
        score = torch.addmm(half_norm, turned, low.T, beta=-1)
        norm = turned.double().norm(dim=1)
        error = sums * largest * (norm + largest)
        drift = turn * (longest + part.norm(dim=1) + center.norm())
        index.append(_best(train, part, score, norm, error, drift, k))
    return torch.cat(index).to(x.device)


def _directions(sample: Tensor) -> Tensor | None:
    """Orthonormal directions in which images differ most, (values, DIRECTIONS); None: take all."""
    if min(len(sample), sample.shape[1] // 2) < DIRECTIONS:
        return None
    _, weights = torch.linalg.eigh(sample @ sample.T)  # by rising variance
    return torch.linalg.qr(sample.T @ weights[:, -DIRECTIONS:])[0]


def _turned(images: Tensor, center: Tensor, basis: Tensor | None) -> Tensor:
    """Images about the center, along the directions if there are any."""
    if basis is None:
        return images - center
    return torch.addmm(center @ basis, images, basis, beta=-1)


def _best(
    train: Tensor,
    queries: Tensor,
    score: Tensor,
    norm: Tensor,
    error: Tensor,
    drift: Tensor,
    k: int,
) -> Tensor:
    """The k nearest of each query among its best-scoring candidates, with proof or more of them."""
    candidates = min(k + SPARE, len(train))
    best, index = _largest(score, candidates)
    distance, index = _measured(train, queries, index)
    index = index[:, :k]
    # Whoever is nearer than the k-th candidate scores at least so much, up to rounding.
    reach = distance[:, k - 1].sqrt() * (1 + 1e-5) + drift
    least = (norm.square() - reach.square()) / 2 - error
    unsure = (best[:, -1] >= least).nonzero().flatten() if candidates < len(train) else ()
    for row in unsure:
        within = (score[row] >= least[row]).nonzero().T
        index[row] = _measured(train, queries[row : row + 1], within)[1][0, :k]
    return index


def _largest(score: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """As ``score.topk(k)``, in half the time: only the k blocks with the largest maxima can count.

    Columns beyond the last full block are always looked at.
    """
    blocks = score.shape[1] // BLOCK
    if blocks <= k:
        return score.topk(k, dim=1)
    columns = torch.arange(score.shape[1], device=score.device)
    within, rest = columns[: blocks * BLOCK].view(blocks, BLOCK), columns[blocks * BLOCK :]
    maxima = score[:, : blocks * BLOCK].unflatten(1, (blocks, BLOCK)).amax(2)
    promising = within[maxima.topk(k, dim=1).indices].flatten(1)
    promising = torch.cat([promising, rest.expand(len(score), -1)], 1)
    best, place = score.gather(1, promising).topk(k, dim=1)
    return best, promising.gather(1, place)


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
