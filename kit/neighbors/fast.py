"""The neighbours that :mod:`kit.neighbors.exact` finds, in a small part of its time.

Training images are ranked roughly and all at once. What rounding can have done to a rank is
bounded, and all that could be among the nearest are measured exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from kit import checks
from kit.batches import in_parts
from kit.constraints import is_whole

CHUNK = 512  # queries at once: with 60,000 training images their products are 120 MB
AT_ONCE = 2**20  # values measured in float64 at once: 8 MB
ROWS = 2048  # training images turned at once: they stay in a processor's cache
MEASURED = 25  # candidates beyond K that are measured at once
CANDIDATES = 80  # beyond K; those that could still be nearer are measured too
DIRECTIONS = 192  # to rank by, of images with several times as many values
HELD = 0.935  # of how images differ, at least; at less, too many have to be measured
SAMPLE = 500  # training images that the directions are taken from
BLOCK = 64  # columns whose best is looked at first
PIECES = 3  # bfloat16 numbers that sum to a float32 one
ROUNDING = {torch.float32: 2**-24, torch.bfloat16: 2**-8}  # largest relative error of one number


def nearest(x_train: Tensor, x: Tensor, k: int) -> Tensor:
    """The `k` nearest training images of each query, exactly, in Euclidean distance.

    ‖q − t‖² = ‖q‖² − 2(q·t − ‖t‖²/2), so one matrix product ranks all training images. Of large
    images it takes the principal directions alone, in which no two are farther apart than they
    are, and bfloat16 where the hardware multiplies it faster. The few best are measured in float64
    and in full. A bound on what rounding can add tells which others could be nearer: they are
    measured too.

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
        k is out of range, or the images differ in shape, are no floats, or hold NaN.

    Examples
    --------
    >>> nearest(torch.tensor([[0.0], [1.0], [5.0]]), torch.tensor([[4.0]]), 2)
    tensor([[2, 1]])
    """
    checks.check_same_shape(x_train, x)
    train, queries = (_wide(images.flatten(1)) for images in (x_train, x.to(x_train.device)))
    if not is_whole(k) or not 1 <= k <= len(train):
        raise ValueError(
            f"K is {k}: use a whole number from 1 to {len(train)}, the number of training images."
        )
    if not len(queries):
        return torch.empty(0, k, dtype=torch.int64, device=x.device)
    ranking = _Ranking(train)
    index = in_parts(
        lambda part: _best(train, part, ranking.scores(part), k), queries, at_once=CHUNK
    )
    return torch.cat(index).to(x.device)


def _wide(images: Tensor) -> Tensor:
    """Half precision as float32, which holds it exactly."""
    return images.float() if images.element_size() < 4 else images


class _Scores(NamedTuple):
    """What queries score against all training images, q·t − ‖t‖²/2, and how far off it may be."""

    score: Tensor  # (queries, training images), bfloat16 or float32
    norm: Tensor  # ‖q‖ of what is ranked
    error: Tensor  # of a score, before it is rounded to its type
    drift: Tensor  # of a distance, since both images are rounded
    stretch: Tensor  # of a distance, since the directions are

    def least(self, distance: Tensor) -> Tensor:
        """Least score of a training image within a distance of each query."""
        reach = distance * self.stretch * (1 + 1e-5) + self.drift
        least = (self.norm.square() - reach.square()) / 2 - self.error
        return least - ROUNDING[self.score.dtype] * least.abs()


class _Ranking:
    """All training images about their middle, in a fast type, along principal directions if any."""

    def __init__(self, train: Tensor) -> None:
        sample = train[:: max(1, len(train) // SAMPLE)][:SAMPLE]
        self.center = sample.mean(0)  # about it, norms and with them rounding errors are smaller
        self.kind = _fast_type(train)
        self.basis, self.stretch = None, torch.ones((), device=train.device)
        basis = _directions(sample - self.center, train[: len(sample)] - self.center)
        if basis is not None:
            self.basis = basis.to(self.kind)
            square = self.basis.float().T @ self.basis.float()
            self.stretch = torch.linalg.eigvalsh(square).max().sqrt()
        parts = [self._simplified(part) for part in train.split(ROWS)]
        low = torch.cat([part for part, _ in parts])
        self.drift = max(drift.max() for _, drift in parts)
        half_norm = torch.linalg.vector_norm(low, dim=1, dtype=torch.float32).square() / 2
        self.largest = (2 * half_norm.max()).sqrt()
        # One product gives q·t − ‖t‖²/2: of a query with ones and an image with minus ‖t‖²/2.
        self.lifted = torch.cat([low, *_pieces(-half_norm, self.kind)], 1).T

    def scores(self, queries: Tensor) -> _Scores:
        """Scores of the queries, shape (N, values), against all training images."""
        low, drift = self._simplified(queries)
        score = torch.nn.functional.pad(low, (0, PIECES), value=1) @ self.lifted
        norm = low.double().norm(dim=1)
        sums = 2 * len(self.lifted) * ROUNDING[torch.float32]  # twice, to be safe
        error = sums * self.largest * (norm + self.largest)
        return _Scores(score, norm, error, drift + self.drift, self.stretch)

    def _simplified(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What is ranked of each image, and how far rounding moves it at most."""
        centered = images - self.center
        norm = centered.norm(dim=1)
        low = centered.to(self.kind)
        drift = ROUNDING[torch.float32] * norm + (centered - low).norm(dim=1)
        if self.basis is not None:
            low = low @ self.basis
            values, directions = self.basis.shape
            sums = values * math.sqrt(directions) * ROUNDING[torch.float32]
            drift = self.stretch * (drift + (sums + ROUNDING[self.kind]) * norm)
        return low, drift


def _directions(sample: Tensor, others: Tensor) -> Tensor | None:
    """Orthonormal directions in which images differ most, (values, DIRECTIONS).

    None where they hold too little of how other images differ, or there are few values anyway.
    """
    if min(len(sample), sample.shape[1] // 2) < DIRECTIONS:
        return None
    _, weights = torch.linalg.eigh(sample @ sample.T)  # by rising variance
    basis = torch.linalg.qr(sample.T @ weights[:, -DIRECTIONS:])[0]
    held = (others @ basis).square().sum() / others.square().sum()
    return basis if held > HELD else None


def _fast_type(train: Tensor) -> torch.dtype:
    """bfloat16 for large images where the processor multiplies it much faster, else float32."""
    if train.device.type != "cpu" or train.shape[1] < 2 * DIRECTIONS:
        return torch.float32
    known = getattr(torch.cpu, "get_capabilities", dict)  # an older torch lacks it
    able: Mapping[str, bool] = known()
    fast = able.get("avx512_bf16", False) or able.get("amx_bf16", False)
    return torch.bfloat16 if fast else torch.float32


def _pieces(values: Tensor, kind: torch.dtype) -> list[Tensor]:
    """Columns of a type whose sum is the float32 values, to float32's precision."""
    columns = []
    for _ in range(PIECES):
        columns.append(values.to(kind)[:, None])
        values = values - columns[-1][:, 0].float()
    return columns


def _best(train: Tensor, queries: Tensor, scores: _Scores, k: int) -> Tensor:
    """The k nearest of each query: all that could be, by their scores, are measured."""
    count = len(train)
    best, index = _largest(scores.score, min(k + CANDIDATES, count))
    at_once = min(k + MEASURED, count)
    distance = torch.full(best.shape, math.inf, dtype=torch.float64, device=train.device)
    distance[:, :at_once] = _measured(train, queries, index[:, :at_once])
    least = scores.least(distance[:, :at_once].kthvalue(k, dim=1).values.sqrt())
    row, place = (best[:, at_once:] >= least[:, None]).nonzero(as_tuple=True)
    place = place + at_once
    distance[row, place] = _measured(train, queries[row], index[row, place, None])[:, 0]
    nearest = _sorted(distance, index)[:, :k]
    if best.shape[1] < count:
        for row in (best[:, -1] >= least).nonzero().flatten():
            within = (scores.score[row] >= least[row]).nonzero().T
            distance = _measured(train, queries[row : row + 1], within)
            nearest[row] = _sorted(distance, within)[0, :k]
    return nearest


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


def _measured(train: Tensor, queries: Tensor, index: Tensor) -> Tensor:
    """Squared distances to the candidates, in float64."""
    at_once = max(1, AT_ONCE // (index.shape[1] * train.shape[1]))
    distances = []
    for query, near in zip(queries.split(at_once), index.split(at_once), strict=True):
        difference = train[near].double() - query[:, None].double()
        distances.append((difference * difference).sum(2))
    return torch.cat(distances)


def _sorted(distance: Tensor, index: Tensor) -> Tensor:
    """Candidates by distance, equal distances by position."""
    index, order = index.sort(dim=1)
    return index.gather(1, distance.gather(1, order).argsort(dim=1, stable=True))
