"""Work on many images, part by part; smaller parts where a device's memory is short."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from kit.constraints import whole

SHORT = (
    "The device's memory is short: it now works on half as many at once. This changes no number "
    "but takes longer; fewer jobs would leave each of them more memory."
)


def in_parts(function: Callable[..., Any], *tensors: Tensor, at_once: int) -> list[Any]:
    """What a function returns for the first rows of all tensors, for the next ones, and so on.

    Parameters
    ----------
    function
        Must say of a row the same whatever other rows come with it.
    tensors
        Equally long.
    at_once
        Rows of each part; halved, with a warning, when the device's memory does not suffice.

    Raises
    ------
    torch.OutOfMemoryError
        It does not suffice for a single row.

    Examples
    --------
    >>> in_parts(lambda x: x.sum().item(), torch.arange(5), at_once=2)
    [1, 5, 4]
    """
    whole(1).check("at_once", at_once)
    if len({len(tensor) for tensor in tensors}) != 1:
        raise ValueError(f"The tensors have {[len(t) for t in tensors]} rows: give equally many.")
    results: list[Any] = []
    start, end = 0, len(tensors[0])
    while start < end or not results:
        try:
            results.append(function(*(tensor[start : start + at_once] for tensor in tensors)))
            start += at_once
        except torch.OutOfMemoryError:
            if min(at_once, end) <= 1:
                raise
            at_once = -(-min(at_once, end) // 2)
            gc.collect()  # what the attempt held may lie in cycles, as an optimizer does
            warnings.warn(SHORT, RuntimeWarning, stacklevel=2)
    return results
