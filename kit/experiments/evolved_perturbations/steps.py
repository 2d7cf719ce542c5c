"""The steps that train nets on a noise and look at what it did to them."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

import kit
from kit import runtime
from kit.data.splits import Split
from kit.experiments.evolved_perturbations import noises
from kit.harness.steps import step

if TYPE_CHECKING:
    import torch

    from kit.data import Dataset

WATCHED = 1000  # training images on which a training is watched
RADII = (0.002, 0.01, 0.03)  # of the balls in which sharpness is measured, relative to the weights
Noise = Mapping[str, Any]
Options = Mapping[str, Any]  # of a search, as Settings.options gives them


def passes(split: Split, epochs: int, **_: Any) -> float:
    """How the work of a training grows."""
    return epochs * split.about.train * math.prod(split.about.shape[1:])


def _noise(noise: Noise, data: Dataset, seed: int) -> torch.Tensor:
    return noises.make(dict(noise), data, seed).to(data.x_train.device)


def _train(
    data: Dataset,
    seed: int,
    net: str,
    eta: torch.Tensor,
    repeat: int,
    *,
    on_epoch: Callable | None = None,
    **options: Any,
) -> torch.nn.Module:
    """A net trained on perturbed images; equal repeats start and shuffle alike."""
    initial = runtime.derive_seed(seed, "effect net", repeat)
    model = kit.nets.build(net, data.shape, data.classes, seed=initial).to(data.x_train.device)
    if on_epoch:
        on_epoch(0, model)
    kit.training.fit(
        model,
        data.x_train,
        data.y_train,
        on_epoch=on_epoch,
        transform=lambda x, y: (kit.perturbations.apply(eta, x, y), y),
        seed=runtime.derive_seed(seed, "effect order", repeat),
        **options,
    )
    return model


def _watched(data: Dataset, eta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Perturbed training images, 1,000 at most, with their labels."""
    x, y = data.x_train[:WATCHED], data.y_train[:WATCHED]
    return kit.perturbations.apply(eta, x, y), y


@step(version=2, label="{split}: {net} by {optimizer} on {noise[kind]}", work=passes)
def train_perturbed(
    *,
    split: Split,
    net: str,
    noise: Noise,
    optimizer: str,
    lr: float,
    epochs: int,
    batch_size: int,
    crop: int,
    flip: bool,
    repeat: int,
    precision: str = "float32",
) -> dict:
    """Train a net on perturbed images and watch it on clean test images.

    Equal repeats start from equal weights and see the images in the same order, whatever the noise
    and the optimizer.

    Returns
    -------
    dict
        ``train_loss``, ``train_accuracy`` (on up to 1,000 of the perturbed training images) and
        ``test_accuracy`` (clean), each before training and after every epoch, in evaluation mode.
    """
    data = split.load()
    eta = _noise(noise, data, split.seed)
    perturbed, labels = _watched(data, eta)
    rows = []

    def watch(epoch: int, model: torch.nn.Module) -> None:
        clean = kit.training.accuracy(model, data.x_test, data.y_test)
        rows.append([*kit.training.evaluate(model, perturbed, labels), clean])

    crops = functools.partial(kit.data.random_crops, padding=crop, flip=flip) if crop else None
    _train(
        data,
        split.seed,
        net,
        eta,
        repeat,
        epochs=epochs,
        batch_size=batch_size,
        optimizer=optimizer,
        lr=lr,
        augment=crops,
        precision=precision,
        on_epoch=watch,
    )
    names = ("train_loss", "train_accuracy", "test_accuracy")
    return dict(zip(names, np.array(rows).T, strict=True))


@step(version=1, label="{split}: the course of {net} by {optimizer}", work=passes)
def course(
    *,
    split: Split,
    net: str,
    noise: Noise,
    optimizer: str,
    lr: float,
    epochs: int,
    batch_size: int,
    readings: int,
    repeat: int,
    precision: str = "float32",
) -> dict:
    """Train a net as :func:`train_perturbed` does, and watch its first epoch more closely.

    Parameters
    ----------
    readings
        In the first epoch, that at its end included.

    Returns
    -------
    dict
        ``epoch``, in the first one with fractions, and what :func:`train_perturbed` returns.
    """
    data = split.load()
    eta = _noise(noise, data, split.seed)
    perturbed, labels = _watched(data, eta)
    batches = math.ceil(len(data.x_train) / batch_size)
    read_before = {batches * reading // readings for reading in range(1, readings)} - {0}
    number, rows = itertools.count(), []

    def watch(epoch: float, model: torch.nn.Module) -> None:
        clean = kit.training.accuracy(model, data.x_test, data.y_test)
        rows.append([epoch, *kit.training.evaluate(model, perturbed, labels), clean])

    def watch_batch(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if (batch := next(number)) in read_before:
            watch(batch / batches, model)
        return x

    _train(
        data,
        split.seed,
        net,
        eta,
        repeat,
        epochs=epochs,
        batch_size=batch_size,
        optimizer=optimizer,
        lr=lr,
        perturb=watch_batch,
        precision=precision,
        on_epoch=watch,
    )
    names = ("epoch", "train_loss", "train_accuracy", "test_accuracy")
    return dict(zip(names, np.array(rows).T, strict=True))


@step(version=4, label="{split}: from SGD's to Adam's weights", work=passes)
def interpolate(
    *,
    split: Split,
    net: str,
    noise: Noise,
    lr_adam: float,
    lr_sgd: float,
    epochs: int,
    batch_size: int,
    alphas: int,
    repeat: int,
    precision: str = "float32",
) -> dict:
    """Loss and accuracy on the line from the weights SGD finds (α = 0) to Adam's (α = 1).

    Both start from the same weights.

    Returns
    -------
    dict
        ``alpha``, and along it ``train_loss``, ``train_accuracy`` (perturbed images),
        ``test_loss`` and ``test_accuracy`` (clean); of SGD's and of Adam's end ``sharpness``,
        shape (2, radii), and ``norm`` of the weights.
    """
    data = split.load()
    eta = _noise(noise, data, split.seed)
    perturbed, labels = _watched(data, eta)
    options: dict[str, Any] = dict(epochs=epochs, batch_size=batch_size, precision=precision)
    train = functools.partial(_train, data, split.seed, net, eta, repeat, **options)
    sgd, adam = train(optimizer="sgd", lr=lr_sgd), train(optimizer="adam", lr=lr_adam)
    # Both ends are always among the points, rounded so that none is there twice.
    alpha, rows = np.unique(np.round([0, 1, *np.linspace(-0.25, 1.25, alphas)], 9)), []
    for place in alpha:
        model = kit.explain.interpolate(sgd, adam, place, perturbed)
        on_train = kit.training.evaluate(model, perturbed, labels)
        rows.append([*on_train, *kit.training.evaluate(model, data.x_test, data.y_test)])
    names = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
    ends = [
        [kit.explain.sharpness(end, perturbed, labels, radius=radius) for radius in RADII]
        for end in (sgd, adam)
    ]
    norm = [sum(w.square().sum().item() for w in end.parameters()) ** 0.5 for end in (sgd, adam)]
    return {
        "alpha": alpha,
        **dict(zip(names, np.array(rows).T, strict=True)),
        "sharpness": np.array(ends),
        "norm": np.array(norm),
    }


def _grad_cams(
    split: Split, net: str, noise: Noise, images: int, repeat: int, **options: Any
) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    """Clean test images, the first `images` of each class, their classes, and their maps.

    The maps are of two nets that start alike, one trained on clean and one on perturbed images.
    """
    import torch

    data = split.load()
    of_class = [(data.y_test == label).nonzero()[:images, 0] for label in range(len(data.classes))]
    rows = torch.cat(of_class)
    x, y = data.x_test[rows], data.y_test[rows]
    maps = {}
    for name, described in (("clean", noises.CLEAN), ("perturbed", noise)):
        eta = _noise(described, data, split.seed)
        model = _train(data, split.seed, net, eta, repeat, **options)
        maps[name] = kit.explain.grad_cam(model, x, y)
    return x, y, maps


@step(version=1, label="{split}: Grad-CAM's mass on the background", work=passes)
def background(
    *,
    split: Split,
    net: str,
    noise: Noise,
    lr: float,
    epochs: int,
    batch_size: int,
    images: int,
    repeat: int,
    precision: str = "float32",
) -> dict:
    """How much of what nets look at is background, after clean and after perturbed training.

    Returns
    -------
    dict
        ``clean`` and ``perturbed``: the share of every Grad-CAM's mass on pixels darker than 0.1,
        NaN where a map has no mass; ``dark``: the share of such pixels in each image. All of the
        first `images` clean test images of each class.
    """
    options: dict[str, Any] = dict(epochs=epochs, batch_size=batch_size, lr=lr, precision=precision)
    x, _, maps = _grad_cams(split, net, noise, images, repeat, **options)
    shares = {name: kit.explain.background_share(of, x) for name, of in maps.items()}
    shares["dark"] = (x.amax(1) < kit.explain.DARK).float().mean((1, 2))
    return {name: share.cpu().numpy() for name, share in shares.items()}


@step(version=4, label="{split}: Grad-CAM", work=passes)
def grad_cam(
    *,
    split: Split,
    net: str,
    noise: Noise,
    lr: float,
    epochs: int,
    batch_size: int,
    images: int,
    repeat: int,
    precision: str = "float32",
) -> dict:
    """Where nets look on clean test images, after clean and after perturbed training.

    Returns
    -------
    dict
        ``clean`` and ``perturbed``: the mean Grad-CAM of every class, shape (classes, H, W), over
        its first `images` test images; ``image``: their mean, shape (classes, C, H, W).
    """
    options: dict[str, Any] = dict(epochs=epochs, batch_size=batch_size, lr=lr, precision=precision)
    x, y, maps = _grad_cams(split, net, noise, images, repeat, **options)
    shown, labels = {"image": x, **maps}, range(len(split.about.classes))
    return {
        name: np.stack([of[y == label].mean(0).cpu().numpy() for label in labels])
        for name, of in shown.items()
    }


@step(
    version=3,
    label="{split}: clean-test errors of candidates, {method}, {search[pixels]} px, search {start}",
    work=lambda split, search, genomes, **_: passes(split, search["epochs"]) * 2,
)
def candidate_errors(
    *, split: Split, method: str, search: Options, start: int, genomes: Any
) -> dict:
    """Clean-test errors of nets trained on candidates of a search, once for each candidate.

    This comes after the search and has no part in it.

    Parameters
    ----------
    genomes
        Shape (candidates, n).

    Returns
    -------
    dict
        ``error``, shape (candidates,). Equal candidates have equal errors.
    """
    data = split.load()
    names = ("epochs", "batch_size", "optimizer", "lr", "precision")
    options = {name: search[name] for name in names if name in search}

    @functools.cache
    def error(genome: bytes) -> float:
        noise = noises.evolved(
            search["pixels"],
            search["optimizer"],
            np.frombuffer(genome).copy(),
            saturation=search["saturation"],
        )
        eta = _noise(noise, data, split.seed)
        net = _train(data, split.seed, search["net"], eta, start, **options)
        return 1 - kit.training.accuracy(net, data.x_test, data.y_test)

    return {"error": np.array([error(np.asarray(genome).tobytes()) for genome in genomes])}


@step(version=1, label="{split}: examples")
def examples(*, split: Split, noise: Noise) -> dict:
    """The first training image of each class with a noise on it, as bytes, and the noise itself.

    Returns
    -------
    dict
        ``images``, uint8, and ``noise``, both of shape (classes, C, H, W).
    """
    import torch

    data = split.load()
    eta = _noise(noise, data, split.seed)
    labels = torch.arange(len(data.classes)).to(eta.device)
    x = torch.stack([data.x_train[data.y_train == label][0] for label in labels])
    images = kit.perturbations.apply(eta, x, labels)
    return {"images": kit.data.as_bytes(images), "noise": eta.cpu().numpy()}
