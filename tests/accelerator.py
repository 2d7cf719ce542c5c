"""An accelerator without one: a device that refuses what CUDA refuses, and counts what it is asked.

A tensor on :data:`DEVICE` says that it lies there; its numbers lie on the CPU, which computes them.
As on a GPU, an operation on tensors of two devices, a conversion to NumPy and random numbers from a
CPU generator are errors. As on no GPU, every operation passes through Python, so that a
:class:`Ledger` can say how many kernels would be launched, how many bytes they would read and
write, and where the host would wait. A :class:`Graph` stands for CUDA's.

It is a backend of PyTorch's private-use kind. PyTorch calls that interface experimental: where it
has changed, importing this module raises an ImportError.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import types
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import flop_registry

NAME = "emulated"
aten = torch.ops.aten

try:
    from torch.optim.optimizer import _foreach_supported_types
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    _setup_privateuseone_for_python_backend(NAME)
    DEVICE = torch.device(NAME, 0)
except Exception as error:  # whatever another version of PyTorch raises
    raise ImportError(f"PyTorch's private-use interface has changed: {error}") from error

COPIES = {"aten::_to_copy", "aten::copy_"}  # between devices, and within one
INDEXING = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_unsafe_index"}
GATHERING = {"aten::index", "aten::gather", "aten::index_select", "aten::embedding"}
# Numbers of the device are read: as a result, or to know how large the result is.
READING = {
    "aten::_local_scalar_dense", "aten::equal", "aten::is_nonzero", "aten::nonzero",
    "aten::masked_select", "aten::bincount", "aten::_unique2", "aten::unique_consecutive",
    "aten::unique_dim", "aten::repeat_interleave",
}  # fmt: skip
# No kernel: memory is taken or given another name.
FREE = {
    "aten::empty",
    "aten::empty_like",
    "aten::empty_strided",
    "aten::new_empty",
    "aten::new_empty_strided",
    "aten::_local_scalar_dense",
}

UNDECLARED = {"aten::native_batch_norm"}  # changes running statistics, and does not say so


class DeviceError(RuntimeError):
    """What CUDA would refuse."""


@dataclasses.dataclass
class Ledger:
    """What was asked of the device while the ledger was open.

    Attributes
    ----------
    limit
        Bytes that may be held; more is a :class:`torch.OutOfMemoryError`. 0: any number.
    launches
        Kernels by operation: one for each that is not a view.
    moved
        Bytes read and written by operation, each tensor once.
    flops
        Floating-point operations of products and convolutions, by operation.
    uploads
        Copies from the host, by the line of the kit that asked for them.
    waits
        Where the host waits, likewise: it reads numbers of the device, or has to know how many of
        them come next.
    held, peak
        Bytes of tensors made since the ledger was opened, now and at most.
    calls
        Every kernel as (operation, bytes, floating-point operations).
    """

    limit: int = 0
    launches: Counter[str] = dataclasses.field(default_factory=Counter)
    moved: Counter[str] = dataclasses.field(default_factory=Counter)
    flops: Counter[str] = dataclasses.field(default_factory=Counter)
    uploads: Counter[str] = dataclasses.field(default_factory=Counter)
    waits: Counter[str] = dataclasses.field(default_factory=Counter)
    held: int = 0
    peak: int = 0
    exceeded: bool = False
    calls: list[tuple[str, int, int]] = dataclasses.field(default_factory=list)


_OPEN: list[Ledger] = []


@contextlib.contextmanager
def ledger(limit: int = 0) -> Iterator[Ledger]:
    """Count what is asked of the device inside the block."""
    opened = Ledger(limit)
    _OPEN.append(opened)
    try:
        yield opened
    finally:
        _OPEN.remove(opened)


class OnDevice(torch.Tensor):
    """A tensor that says it lies on the device; ``host`` holds its numbers."""

    host: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, host: torch.Tensor) -> OnDevice:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            host.shape,
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            device=DEVICE,
            requires_grad=False,
        )
        made.host = host
        _hold(host)
        return made

    @classmethod
    def __torch_dispatch__(cls, op, types, args=(), kwargs=None):
        return _dispatch(op, *args, **(kwargs or {}))

    def numpy(self, *args: Any, **options: Any) -> Any:
        """Refused, in CUDA's words."""
        raise TypeError(
            f"can't convert {DEVICE} device type tensor to numpy. Use Tensor.cpu() to copy the "
            "tensor to host memory first."
        )

    __array__ = numpy

    def tolist(self) -> Any:
        """Its numbers, for which the host waits."""
        return self.cpu().tolist()

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.dim() == 0 else repr(self)

    def __repr__(self) -> str:
        return f"{self.cpu()!r} on {DEVICE}"


# Backward passes run in the caller's thread, which knows the caller's line, and may raise.
torch.autograd.set_multithreading_enabled(False)
# Optimizers take all weights in one kernel only where these are of types that they know.
_foreach_supported_types.append(OnDevice)


# --- memory --------------------------------------------------------------------------------------


@dataclasses.dataclass
class _Memory:
    size: int
    ledgers: list[Ledger]
    holders: int = 0  # tensors


_MEMORY: dict[int, _Memory] = {}  # by storage


def _hold(host: torch.Tensor) -> None:
    """Memory is held until the last of its tensors is gone."""
    storage = host.untyped_storage()
    key, size = storage._cdata, storage.nbytes()
    if key not in _MEMORY:
        _MEMORY[key] = _Memory(size, list(_OPEN))
        for each in _OPEN:
            each.held += size
            each.peak = max(each.peak, each.held)
            each.exceeded |= 0 < each.limit < each.held
    _MEMORY[key].holders += 1
    weakref.finalize(host, _release, key).atexit = False


def _refuse_beyond_limit() -> None:
    """Say that there is no memory left, as the next operation begins.

    Not within a backward pass: an error of ours there would end the process.
    """
    if torch._C._current_graph_task_id() >= 0:
        return
    for each in _OPEN:
        if each.exceeded:
            each.exceeded = False
            raise torch.OutOfMemoryError(f"CUDA out of memory: {each.limit} bytes on {DEVICE}")


def _release(key: int) -> None:
    memory = _MEMORY[key]
    memory.holders -= 1
    if not memory.holders:
        del _MEMORY[key]
        for each in memory.ledgers:
            each.held -= memory.size


# --- every operation -----------------------------------------------------------------------------


def _dispatch(op: Any, *args: Any, **kwargs: Any) -> Any:
    """Refuse, compute on the CPU, take note."""
    _refuse_beyond_limit()
    flat = _leaves((args, kwargs))
    tensors = [leaf for leaf in flat if isinstance(leaf, torch.Tensor)]
    here = any(isinstance(leaf, OnDevice) for leaf in tensors)
    if here:
        _refuse_mixtures(op, flat, tensors)
    host_args, host_kwargs = _each(_on_host, args), _each(_on_host, kwargs)
    if _CAPTURING:
        _CAPTURING[-1].before(op, host_args, host_kwargs)
    out = op(*host_args, **host_kwargs)
    asked = [leaf.type == NAME for leaf in flat if isinstance(leaf, torch.device)]
    stays = asked[0] if asked else here
    # What works in place, or with out=, returns a tensor that it was given.
    given = {id(_on_host(leaf)): leaf for leaf in tensors}

    def placed(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or (stays and isinstance(value, OnDevice)):
            return value
        return given[id(value)] if id(value) in given else OnDevice(value) if stays else value

    result = _each(placed, out)
    if _CAPTURING:
        _CAPTURING[-1].after(op, host_args, host_kwargs, out)
    if _OPEN or _CAPTURING:
        flops = flop_registry.get(op._overloadpacket)
        count = flops(*host_args, **host_kwargs, out_val=out) if flops else 0
        _note(op, tensors, result, count)
    return result


_TREES = {list, tuple, dict}


def _leaves(tree: list | tuple | dict) -> list[Any]:
    """What lies in lists, tuples and mappings, in order."""
    found = []
    for part in tree.values() if type(tree) is dict else tree:
        if type(part) in _TREES:
            found += _leaves(part)
        else:
            found.append(part)
    return found


def _each(function: Callable[[Any], Any], tree: Any) -> Any:
    """The same lists, tuples and mappings with the function's result in place of each leaf."""
    if type(tree) is dict:
        return {key: _each(function, part) for key, part in tree.items()}
    if type(tree) in _TREES:
        parts = [_each(function, p) if type(p) in _TREES else function(p) for p in tree]
        return tuple(parts) if type(tree) is tuple else parts
    return function(tree)


def _on_host(leaf: Any) -> Any:
    if type(leaf) is OnDevice:
        return leaf.host
    emulated = type(leaf) is torch.device and leaf.type == NAME
    return torch.device("cpu") if emulated else leaf


def _refuse_mixtures(op: Any, flat: list, tensors: list[torch.Tensor]) -> None:
    for leaf in flat:
        if type(leaf) is torch.Generator and leaf.device.type != NAME:
            raise DeviceError(
                f"Expected a '{NAME}' device type for generator but found '{leaf.device}' ({op})"
            )
    name = op._schema.name
    if name in COPIES:
        return
    others = [leaf for leaf in tensors if leaf.dim() and not isinstance(leaf, OnDevice)]
    if name in INDEXING and isinstance(tensors[0], OnDevice):  # positions may lie on the host
        others = [leaf for leaf in others if leaf.is_floating_point()]
    if others:
        raise DeviceError(
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"{DEVICE} and cpu: {op}, of shape {[tuple(leaf.shape) for leaf in others]} on the cpu"
        )


def _note(op: Any, tensors: list[torch.Tensor], result: Any, flops: int) -> None:
    name = op._schema.name
    results = [leaf for leaf in _leaves([result]) if isinstance(leaf, torch.Tensor)]
    free = op.is_view or name in FREE
    size = sum(map(_size, results))
    if name in GATHERING:  # reads what it gathers, not all that is there
        size += size + sum(map(_size, tensors[1:]))
    else:
        size += sum(map(_size, tensors))
    from_host = any(leaf.dim() and not isinstance(leaf, OnDevice) for leaf in tensors)
    down = name in COPIES and not isinstance(result, OnDevice)
    masks = name in INDEXING and any(leaf.dtype == torch.bool for leaf in tensors[1:])
    waits = down or masks or name in READING
    if _CAPTURING and (waits or from_host):
        raise DeviceError(f"operation not permitted when stream is capturing: {name} at {_line()}")
    for each in _OPEN:
        if waits:
            each.waits[_line()] += 1
        elif from_host:
            each.uploads[_line()] += 1
        if not free:
            each.launches[name] += 1
            each.moved[name] += size
            each.flops[name] += flops
            each.calls.append((name, size, flops))


def _size(tensor: torch.Tensor) -> int:
    """Bytes of a tensor; what is repeated without being copied counts once."""
    count = tensor.element_size()
    for length, stride in zip(tensor.shape, tensor.stride(), strict=True):
        count *= length if stride else 1
    return count


def _line() -> str:
    """The line of the kit that is being run."""
    frame = sys._getframe(1)
    while frame and "kit" not in Path(frame.f_code.co_filename).parts:
        frame = frame.f_back
    if frame is None:
        return "elsewhere"
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}:{frame.f_lineno}"


# --- graphs --------------------------------------------------------------------------------------

_CAPTURING: list[Graph] = []


class Graph:
    """Stands for :class:`torch.cuda.CUDAGraph`: kernels that are launched again on the same memory.

    Capturing computes nothing: what it changed in place is put back.
    """

    def __init__(self) -> None:
        self.kernels: list[tuple[Any, tuple, dict, list[torch.Tensor]]] = []
        self.changed: list[tuple[torch.Tensor, torch.Tensor]] = []

    def before(self, op: Any, args: tuple, kwargs: dict) -> None:
        """Remember what an operation is about to change."""
        if op._schema.is_mutable or op._schema.name in UNDECLARED:
            leaves = _leaves((args, kwargs))
            tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
            self.changed += [(tensor, tensor.clone()) for tensor in tensors]

    def after(self, op: Any, args: tuple, kwargs: dict, out: Any) -> None:
        """Take an operation into the graph."""
        results = [leaf for leaf in _leaves([out]) if isinstance(leaf, torch.Tensor)]
        if not op.is_view:
            self.kernels.append((op, args, kwargs, results))

    def replay(self) -> None:
        """Launch all of them again."""
        for op, args, kwargs, results in self.kernels:
            leaves = _leaves([op(*args, **kwargs)])
            anew = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
            for result, value in zip(results, anew, strict=True):
                if result is not value:
                    result.copy_(value)


@contextlib.contextmanager
def capture(graph: Graph, stream: Any = None) -> Iterator[None]:
    """Stands for :func:`torch.cuda.graph`."""
    _CAPTURING.append(graph)
    try:
        yield
    finally:
        _CAPTURING.remove(graph)
        for tensor, value in reversed(graph.changed):
            tensor.copy_(value)


def stand_for_cuda(monkeypatch: Any) -> list[Graph]:
    """Let this module's graphs stand for CUDA's; those that are made are in the list."""
    made: list[Graph] = []

    def graph() -> Graph:
        made.append(Graph())
        return made[-1]

    stream = types.SimpleNamespace(wait_stream=lambda other: None)
    monkeypatch.setattr("torch.cuda.CUDAGraph", graph)
    monkeypatch.setattr("torch.cuda.graph", capture)
    monkeypatch.setattr("torch.cuda.Stream", lambda: stream)
    monkeypatch.setattr("torch.cuda.current_stream", lambda: stream)
    monkeypatch.setattr("torch.cuda.stream", lambda stream: contextlib.nullcontext())
    return made


# --- registration --------------------------------------------------------------------------------

_ANY = torch.library.Library("_", "IMPL")
_ANY.fallback(_dispatch, "PrivateUse1")
_ATEN = torch.library.Library("aten", "IMPL")


def _implement(name: str):
    return lambda function: _ATEN.impl(name, function, "PrivateUse1")


@_implement("empty.memory_format")
def _empty(size, dtype=None, layout=None, device=None, pin_memory=None, memory_format=None):
    return OnDevice(torch.empty(size, dtype=dtype, memory_format=memory_format))


@_implement("empty_strided")
def _empty_strided(size, stride, dtype=None, layout=None, device=None, pin_memory=None):
    return OnDevice(torch.empty_strided(size, stride, dtype=dtype))


@_implement("_copy_from")
def _copy_from(source, target, non_blocking=False):
    return _dispatch(aten.copy_.default, target, source)


@_implement("_local_scalar_dense")
def _local_scalar_dense(tensor):
    return _dispatch(aten._local_scalar_dense.default, tensor)
