"""Nets to attack: a LeNet-5, and others. On the held-out ones no option of an attack was chosen."""

from __future__ import annotations

import math

import torch
from torch import nn

import kit

IMAGES = 60


def mlp(shape, classes=10):
    """Two hidden layers."""
    width = math.prod(shape)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(width, 256),
        nn.ReLU(),
        nn.Linear(256, 256),
        nn.ReLU(),
        nn.Linear(256, classes),
    )


def tanh_net(shape, classes=10):
    """Two strided convolutions with a smooth activation."""
    return nn.Sequential(
        nn.Conv2d(shape[0], 16, 5, 2),
        nn.Tanh(),
        nn.Conv2d(16, 32, 5, 2),
        nn.Tanh(),
        nn.Flatten(),
        nn.LazyLinear(64),
        nn.Tanh(),
        nn.Linear(64, classes),
    )


def gelu_mlp(shape, classes=10):
    """Three hidden layers with a smooth activation."""
    width = math.prod(shape)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(width, 200),
        nn.GELU(),
        nn.Linear(200, 200),
        nn.GELU(),
        nn.Linear(200, 100),
        nn.GELU(),
        nn.Linear(100, classes),
    )


def smooth_norm_net(shape, classes=10):
    """Convolutions with batch normalisation, SiLU and softplus."""
    return nn.Sequential(
        nn.Conv2d(shape[0], 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.SiLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.Softplus(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.LazyLinear(classes),
    )


def pooled_net(shape, classes=10):
    """Borders with many folds: leaky ReLU, tanh, and maxima over sixteen pixels."""
    return nn.Sequential(
        nn.Conv2d(shape[0], 16, 5, padding=2),
        nn.LeakyReLU(0.1),
        nn.MaxPool2d(4),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.LeakyReLU(0.1),
        nn.Flatten(),
        nn.LazyLinear(64),
        nn.Tanh(),
        nn.Linear(64, classes),
    )


def trained(name: str, data, build, epochs: int, count: int):
    """A net after some epochs, and test images that it gets right, with their labels."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = build(data.shape)
        net(data.x_train[:2])
    kit.training.fit(net, data.x_train, data.y_train, epochs=epochs)
    right = (kit.training.predict(net, data.x_test) == data.y_test).nonzero().flatten()[:count]
    net.eval().requires_grad_(False)
    return name, net, data.x_test[right], data.y_test[right]


def lenet(shape):
    """The net of papers 2 and 3."""
    return kit.nets.build("lenet5", shape)


def other_nets(root: str, quick: bool):
    """Nets of other kinds, on grey and on colour images; four of them are held out."""
    few, many, count = (1000, 2000, 10) if quick else (10_000, 20_000, IMAGES)
    mnist, fashion = (
        kit.data.load(name, root, train=many, test=1000) for name in ("mnist", "fashion_mnist")
    )
    cifar = kit.data.load("cifar10", root, train=few, test=1000)

    def known(name: str):
        return lambda shape: kit.nets.build(name, shape)

    yield trained("MLP, MNIST", mnist, mlp, 3, count)
    yield trained("tanh net, MNIST", mnist, tanh_net, 3, count)
    yield trained(
        "ResNet-8 with BatchNorm, CIFAR-10", cifar, known("resnet8"), 1 if quick else 6, count
    )
    yield trained("GELU MLP, Fashion-MNIST (held out)", fashion, gelu_mlp, 3, count)
    yield trained("net with maxima of 4×4, Fashion-MNIST (held out)", fashion, pooled_net, 3, count)
    yield trained("SiLU net with BatchNorm, MNIST (held out)", mnist, smooth_norm_net, 3, count)
    yield trained(
        "small VGG, CIFAR-10 (held out)", cifar, known("vgg_small"), 1 if quick else 6, count
    )
