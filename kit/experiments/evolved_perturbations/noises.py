"""Noises by description: plain mappings that can stand among the arguments of a task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import kit
from kit import runtime
from kit.experiments.evolved_perturbations.settings import OURS, PLAIN, RANDOM, TITLES

if TYPE_CHECKING:
    import torch

    from kit.data import Dataset

CLEAN, LEFT, SHORTCUT = {"kind": "clean"}, {"kind": "left"}, {"kind": "shortcut"}
_METHODS = {OURS: "evolved", PLAIN: "plain MDD-ES", RANDOM: "random search"}
_NAMES = {"clean": "clean", "left": "left column [7]", "shortcut": "One-Pixel Shortcut"}


def uniform(pixels: int, draw: int) -> dict[str, Any]:
    """Description of one uniform baseline."""
    return {"kind": "uniform", "pixels": pixels, "draw": draw}


def shortcut(draw: int) -> dict[str, Any]:
    """Description of One-Pixel Shortcut with one choice among equally good pixels."""
    return SHORTCUT | {"draw": draw}


def evolved(
    pixels: int,
    aim: str,
    genome: Any,
    search: int = 1,
    method: str = OURS,
    saturation: float = 1.0,
) -> dict[str, Any]:
    """Description of a search's δ*: its genome, or the field of a task that has it."""
    return {
        "kind": "evolved", "pixels": pixels, "aim": aim, "search": search, "method": method,
        "saturation": saturation, "genome": genome,
    }  # fmt: skip


def title(noise: dict[str, Any]) -> str:
    """A noise in a few words, the same for all draws of the uniform baseline.

    Examples
    --------
    >>> title(uniform(1, 3)), title(LEFT), title(evolved(2, "adam", []))
    ('uniform Np = 1', 'left column [7]', 'evolved Np = 2 (Adam)')
    >>> title(evolved(1, "adam", [], method="random"))
    'random search Np = 1 (Adam)'
    """
    if noise["kind"] == "evolved":
        return f"{_METHODS[noise['method']]} Np = {noise['pixels']} ({TITLES[noise['aim']]})"
    return (
        f"uniform Np = {noise['pixels']}" if noise["kind"] == "uniform" else _NAMES[noise["kind"]]
    )


def make(noise: dict[str, Any], data: Dataset, seed: int) -> torch.Tensor:
    """The noise that a description names, shape (classes, C, H, W), on the CPU."""
    import torch

    classes, shape, kind = len(data.classes), data.shape, noise["kind"]
    if kind == "clean":
        return torch.zeros(classes, *shape)
    if kind == "left":
        return kit.perturbations.left_column(classes, shape)
    if kind == "shortcut":
        if "draw" in noise:
            seed = runtime.derive_seed(seed, "shortcut", noise["draw"])
        return kit.perturbations.one_pixel_shortcut(data.x_train, data.y_train, classes, seed=seed)
    if kind == "uniform":
        draw = runtime.derive_seed(seed, "uniform", noise["draw"])
        return kit.perturbations.uniform(classes, noise["pixels"], shape, seed=draw)
    return kit.perturbations.decode(
        noise["genome"], classes, noise["pixels"], shape, saturation=noise["saturation"]
    )
