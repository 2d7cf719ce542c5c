"""A training step as one CUDA graph: for nets so small that starting kernels takes the time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# The first steps run as they are: on them the libraries choose their kernels, which none may do
# while a graph is captured.
WARM_UP = 3
OPTIMIZERS = ("adam", "sgd", "rmsprop")  # AdaBound counts its steps on the host


def captured(advance: Callable[[Tensor], Tensor], batch_size: int) -> Callable[[Tensor], Tensor]:
    """The same step, which after some calls is captured as a CUDA graph and replayed from then on.

    A replay starts all kernels of a step at once, on the memory that they had when they were
    captured. So positions are copied to where the captured step reads them.

    Parameters
    ----------
    advance
        Trains on the images at so many positions, in place, and returns a tensor. It must neither
        read numbers of the device on the host nor draw random numbers.
    batch_size
        Of the captured step; a batch of another size, such as an epoch's last one, runs as it is.
    """
    graph: torch.cuda.CUDAGraph | None = None
    stream, calls = torch.cuda.Stream(), 0
    positions = result = torch.empty(0)

    def step(rows: Tensor) -> Tensor:
        nonlocal graph, calls, positions, result
        if len(rows) != batch_size:
            return advance(rows)
        calls += 1
        if calls <= WARM_UP:
            return _aside(stream, advance, rows)
        if graph is None:
            positions, graph = rows.clone(), torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=stream):
                result = advance(positions)
        positions.copy_(rows)
        graph.replay()
        return result

    return step


def _aside(stream: torch.cuda.Stream, advance: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """A step on the stream that will capture it, as PyTorch asks for."""
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        result = advance(rows)
    torch.cuda.current_stream().wait_stream(stream)
    return result
