"""Every architecture by name; one file per family."""

import contextlib
import functools
from collections.abc import Sequence

import torch

from kit.nets.convnets import ColorNet, GrayNet
from kit.nets.densenet import DenseNet
from kit.nets.lenet import LeNet5
from kit.nets.linear import Linear
from kit.nets.resnet import ResNet

ARCHITECTURES = {
    "lenet5": LeNet5,
    "graynet": GrayNet,
    "colornet": ColorNet,
    "resnet20": functools.partial(ResNet, blocks=3),
    "resnet32": functools.partial(ResNet, blocks=5),
    "densenet40": functools.partial(DenseNet, depth=40, growth=12),
    "linear": Linear,
}


def build(name, shape, classes=10, *, seed=0):
    """Build a freshly initialised net.

    Parameters
    ----------
    name : {"lenet5", "graynet", "colornet", "resnet20", "resnet32", "densenet40", "linear"}
    shape : tuple of int
        Shape of one image, (C, H, W).
    classes : int or sequence of str
        Number of classes, or their names.
    seed : int
        Equal seeds give equal weights; torch's global generator is left as it was.

    Returns
    -------
    torch.nn.Module
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
    if name not in ARCHITECTURES:
        raise ValueError(f"Unknown net {name!r}: use one of {', '.join(ARCHITECTURES)}.")
    count = len(classes) if isinstance(classes, Sequence) else classes
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return ARCHITECTURES[name](tuple(shape), count)


@contextlib.contextmanager
def evaluating(model):
    """Put a model into evaluation mode inside the block; then every part gets its own mode back."""
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
