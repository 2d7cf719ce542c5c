"""An architecture as plain data: a list of blocks, each with the blocks that it reads.

A genome is JSON: ``[{"kind": "conv", "inputs": [0], "channels": 16, "kernel": 3}, …]``. Input 0 is
the image, input k the block at position k, counted from 1; the last block is the output.

==========  ======  =====================================  ========================================
kind        inputs  options                                what it does
==========  ======  =====================================  ========================================
conv        1       channels, kernel (odd)                 convolution, batch norm, ReLU
strided     1       channels, kernel (odd)                 the same with stride 2
pool        1       pool ("max" or "average")              2×2 pooling
sum         2                                              adds; missing channels are zeros
concat      2                                              stacks the channels
==========  ======  =====================================  ========================================

Where the inputs of a sum or a concat differ in size, the larger one is pooled to the smaller one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Block = dict[str, Any]
Genome = list[Block]
Shape = tuple[int, int, int]

OPTIONS = {
    "conv": {"channels", "kernel"},
    "pool": {"pool"},
    "strided": {"channels", "kernel"},
    "sum": set(),
    "concat": set(),
}
KINDS = tuple(OPTIONS)  # in the order of a spectrum
JOINS = ("sum", "concat")
POOLS = ("max", "average")

# The two simple nets of the paper's appendix (Fig. 4): their channels and joins are our reading.
HAND_ENGINEERED: dict[str, Genome] = {
    "hand_a": [
        {"kind": "conv", "inputs": [0], "channels": 16, "kernel": 3},
        {"kind": "conv", "inputs": [1], "channels": 16, "kernel": 3},
        {"kind": "sum", "inputs": [1, 2]},
        {"kind": "conv", "inputs": [3], "channels": 32, "kernel": 3},
        {"kind": "concat", "inputs": [3, 4]},
        {"kind": "sum", "inputs": [2, 5]},
    ],
    "hand_b": [
        {"kind": "conv", "inputs": [0], "channels": 16, "kernel": 3},
        {"kind": "conv", "inputs": [1], "channels": 16, "kernel": 3},
        {"kind": "sum", "inputs": [1, 2]},
        {"kind": "pool", "inputs": [3], "pool": "max"},
        {"kind": "conv", "inputs": [4], "channels": 32, "kernel": 3},
        {"kind": "concat", "inputs": [4, 5]},
        {"kind": "conv", "inputs": [6], "channels": 32, "kernel": 3},
    ],
}
# The same with half as many channels, for processors.
HAND_ENGINEERED |= {
    f"{name}_narrow": [b | {"channels": b["channels"] // 2} if "channels" in b else b for b in net]
    for name, net in HAND_ENGINEERED.items()
}


def shapes(genome: Genome, shape: Sequence[int]) -> list[Shape]:
    """Shapes of the image and of each block's output, (C, H, W); a bad genome is refused.

    Parameters
    ----------
    genome
        Blocks, the last one being the output.
    shape
        Of an image, (C, H, W).

    Raises
    ------
    ValueError
        A block is malformed, reads a block that is missing or comes later, shrinks the image below
        1×1 pixels, or has no path to the output. The message names the block.

    Examples
    --------
    >>> shapes(HAND_ENGINEERED["hand_a"], (3, 32, 32))[-1]
    (48, 32, 32)
    """
    if not isinstance(genome, list) or not genome:
        raise ValueError("The genome has no blocks: give a list of at least one.")
    out: list[Shape] = [tuple(shape)]  # type: ignore[list-item]
    for number, block in enumerate(genome, 1):
        _check_block(number, block)
        out.append(_shape_after(number, block, [out[k] for k in block["inputs"]]))
    read = {k for block in genome for k in block["inputs"]}
    for number, block in enumerate(genome[:-1], 1):
        if number not in read:
            raise ValueError(
                f"{_name(number, block)} has no path to the output: let a later block read it, or "
                "leave it out."
            )
    return out


def _name(number: int, block: Any) -> str:
    kind = block.get("kind") if isinstance(block, dict) else block
    return f"Block {number} ({kind})"


def _check_block(number: int, block: Any) -> None:
    kind = block.get("kind") if isinstance(block, dict) else None
    if kind not in OPTIONS:
        raise ValueError(
            f"Block {number} is {block!r}: its kind must be one of {', '.join(KINDS)}."
        )
    name, wanted = _name(number, block), {"kind", "inputs"} | OPTIONS[kind]
    if set(block) != wanted:
        raise ValueError(f"{name} has {', '.join(block)}: it needs {', '.join(sorted(wanted))}.")
    _check_inputs(name, number, block["inputs"], 2 if kind in JOINS else 1)
    for option, least in (("channels", 1), ("kernel", 1)):
        value = block.get(option, least)
        if type(value) is not int or value < least:
            raise ValueError(f"{name} has {option} {value!r}: use a whole number from {least} on.")
    if block.get("kernel", 1) % 2 == 0:
        raise ValueError(f"{name} has kernel {block['kernel']}: use an odd number.")
    if block.get("pool", "max") not in POOLS:
        raise ValueError(f"{name} has pool {block['pool']!r}: use one of {', '.join(POOLS)}.")


def _check_inputs(name: str, number: int, inputs: Any, count: int) -> None:
    whole = isinstance(inputs, list) and all(type(k) is int for k in inputs)
    if not whole or len(set(inputs)) != len(inputs) or len(inputs) != count:
        raise ValueError(
            f"{name} has inputs {inputs!r}: list {count} block numbers, all different."
        )
    for k in inputs:
        if not 0 <= k < number:
            raise ValueError(
                f"{name} reads block {k}: it may read blocks 0 (the image) to {number - 1}."
            )


def _shape_after(number: int, block: Block, inputs: list[Shape]) -> Shape:
    channels = block.get("channels", inputs[0][0])
    height, width = (min(sizes) for sizes in list(zip(*inputs, strict=True))[1:])
    match block["kind"]:
        case "sum":
            channels = max(shape[0] for shape in inputs)
        case "concat":
            channels = sum(shape[0] for shape in inputs)
        case "pool" | "strided":
            height, width = height // 2, width // 2
    if not (height and width):
        raise ValueError(
            f"{_name(number, block)} shrinks its {inputs[0][1]}×{inputs[0][2]} input below 1×1 "
            "pixels: leave it out, or use larger images."
        )
    return channels, height, width
