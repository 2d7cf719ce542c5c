"""Every architecture by name; one file per family, imported when one of its nets is built."""

from __future__ import annotations

import contextlib
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kit import runtime
from kit.constraints import plain, whole
from kit.nets.genome import HAND_ENGINEERED

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from kit.nets.genome import Genome

_TORCHVISION = "kit.nets.torchvision_nets:Torchvision"
_GENOME_NET = "kit.nets.genome_net:GenomeNet"
_VGG11 = [64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"]
_VGG_SMALL = [16, "M", 32, "M", 64, "M"]
_DENSENET_SMALL = {"growth_rate": 8, "block_config": (3, 3, 3), "num_init_features": 16}
__all__ = [
    "ARCHITECTURES", "HAND_ENGINEERED", "build", "channels_last", "eval_mode", "restore", "weights",
]  # fmt: skip

# Name: (module:class, its options). Strings, because importing a class imports torch.
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "lenet5": ("kit.nets.lenet:LeNet5", {}),
    "graynet": ("kit.nets.search_nets:GrayNet", {}),
    "colornet": ("kit.nets.search_nets:ColorNet", {}),
    "resnet20": ("kit.nets.resnet:ResNet", {"blocks": 3}),
    "resnet32": ("kit.nets.resnet:ResNet", {"blocks": 5}),
    "densenet40": ("kit.nets.densenet:DenseNet", {"depth": 40, "growth": 12}),
    "linear": ("kit.nets.linear:Linear", {}),
    "resnet8": ("kit.nets.resnet:ResNet", {"blocks": 1}),
    "resnet18": (_TORCHVISION, {"builder": "resnet18", "least": 1}),
    "resnet34": (_TORCHVISION, {"builder": "resnet34", "least": 1}),
    "vgg11": ("kit.nets.torchvision_nets:VGG", {"layers": _VGG11, "hidden": 512}),
    "vgg_small": ("kit.nets.torchvision_nets:VGG", {"layers": _VGG_SMALL, "hidden": 64}),
    "densenet121": (_TORCHVISION, {"builder": "densenet121", "least": 29}),
    "densenet_small": (_TORCHVISION, {"builder": "DenseNet", "least": 13, **_DENSENET_SMALL}),
    "squeezenet": (_TORCHVISION, {"builder": "squeezenet1_1", "least": 17}),
    **{name: (_GENOME_NET, {"genome": genome}) for name, genome in HAND_ENGINEERED.items()},
}


def build(
    net: str | Genome, shape: Sequence[int], classes: int | Sequence[str] = 10, *, seed: int = 0
) -> nn.Module:
    """Build a freshly initialised net.

    Parameters
    ----------
    net
        One of `ARCHITECTURES`, or a genome: the list of its blocks (:mod:`kit.nets.genome`).
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
        Unknown name, a bad genome, or images too small or with too many channels for the
        architecture.

    Examples
    --------
    >>> net = build("lenet5", (1, 28, 28))
    >>> sum(p.numel() for p in net.parameters())
    61706
    """
    path, options = _described(net)
    architecture = pkgutil.resolve_name(path)
    count = len(classes) if hasattr(classes, "__len__") else whole(1).check("classes", classes)
    with runtime.Draws(seed):
        return architecture(plain(tuple(shape)), count, **options)


def _described(net: str | Genome) -> tuple[str, dict[str, Any]]:
    if isinstance(net, list):
        return _GENOME_NET, {"genome": net}
    if net not in ARCHITECTURES:
        raise ValueError(f"Unknown net {net!r}: use one of {', '.join(ARCHITECTURES)}.")
    return ARCHITECTURES[net]


def weights(model: nn.Module) -> dict[str, np.ndarray]:
    """A net's parameters and buffers by name, as NumPy arrays of their own."""
    return {name: value.cpu().numpy().copy() for name, value in model.state_dict().items()}


def restore(
    net: str | Genome,
    shape: Sequence[int],
    classes: int | Sequence[str],
    weights: Mapping[str, np.ndarray],
) -> nn.Module:
    """A net with the weights that :func:`weights` took of another; in evaluation mode."""
    import torch

    model = build(net, shape, classes)
    model.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    return model.eval()


@contextlib.contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode inside the block; then each module gets its mode back.

    Threads take turns: one that left the block would change the modes under another's feet.
    """
    with runtime.TURNS:
        modes = [(module, module.training) for module in model.modules()]
        model.eval()
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode


@contextlib.contextmanager
def channels_last(model: nn.Module) -> Iterator[None]:
    """Lay kernels out channels-last inside the block, on a CPU.

    Small nets train up to 1.6 times faster so, and gradients of images take down to a quarter of
    the time; results differ by rounding.
    """
    import torch

    kernels = [
        p
        for p in model.parameters()
        if p.ndim == 4 and p.device.type == "cpu" and not p.is_inference()
    ]
    before = [kernel.data for kernel in kernels]
    for kernel in kernels:
        kernel.data = kernel.data.to(memory_format=torch.channels_last)
    try:
        yield
    finally:
        for kernel, values in zip(kernels, before, strict=True):
            kernel.data = values.copy_(kernel.data)
