"""Every architecture by name; one file per family, imported when one of its nets is built."""

from __future__ import annotations

import contextlib
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

# Name: (module:class, its options). Strings, because importing a class imports torch.
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "lenet5": ("kit.nets.lenet:LeNet5", {}),
    "graynet": ("kit.nets.search_nets:GrayNet", {}),
    "colornet": ("kit.nets.search_nets:ColorNet", {}),
    "resnet20": ("kit.nets.resnet:ResNet", {"blocks": 3}),
    "resnet32": ("kit.nets.resnet:ResNet", {"blocks": 5}),
    "densenet40": ("kit.nets.densenet:DenseNet", {"depth": 40, "growth": 12}),
    "linear": ("kit.nets.linear:Linear", {}),
}


def build(
    name: str, shape: Sequence[int], classes: int | Sequence[str] = 10, *, seed: int = 0
) -> nn.Module:
    """Build a freshly initialised net.

    Parameters
    ----------
    name
        One of `ARCHITECTURES`.
    shape
        Shape of one image, (C, H, W).
    classes
        Number of classes, or their names.
    seed
        Equal seeds give equal weights; torch's global generator is left as it was.

    Returns
    -------
    net
        From images in [0, 1], shape (N, C, H, W), to logits, shape (N, classes).

    Raises
    ------
    ValueError
        Unknown name, or images too small or with too many channels for the architecture.

    Examples
    --------
    >>> net = build("lenet5", (1, 28, 28))
    >>> sum(p.numel() for p in net.parameters())
    61706
    """
    import torch

    if name not in ARCHITECTURES:
        raise ValueError(f"Unknown net {name!r}: use one of {', '.join(ARCHITECTURES)}.")
    path, options = ARCHITECTURES[name]
    architecture = pkgutil.resolve_name(path)
    count = len(classes) if isinstance(classes, Sequence) else classes
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return architecture(tuple(shape), count, **options)


def weights(model: nn.Module) -> dict[str, np.ndarray]:
    """A net's parameters and buffers by name, as NumPy arrays of their own."""
    return {name: value.cpu().numpy().copy() for name, value in model.state_dict().items()}


def restore(
    name: str, shape: Sequence[int], classes: int | Sequence[str], weights: Mapping[str, np.ndarray]
) -> nn.Module:
    """A net with the weights that :func:`weights` took of another; in evaluation mode."""
    import torch

    model = build(name, shape, classes)
    model.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    return model.eval()


@contextlib.contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode inside the block; then each module gets its mode back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
