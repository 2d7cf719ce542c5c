"""The steps: one generation of a search, and what a noise does to nets trained on it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

import kit
from kit import runtime
from kit.data.splits import Split
from kit.experiments.evolved_perturbations import noises
from kit.steps import step

if TYPE_CHECKING:
    import torch

    from kit.data import Dataset

WATCHED = 1000  # training images on which a training is watched
Noise = Mapping[str, Any]
Search = Mapping[str, Any]
_PARTS = ("fitness", "mismatch", "divergence")


def _passes(split: Split, epochs: int, **_: Any) -> float:
    """How the work of a training grows."""
    return epochs * split.about.train * math.prod(split.about.shape[1:])


def _generation_work(split: Split, search: Search, **_: Any) -> float:
    genome = len(split.about.classes) * search["pixels"] * (2 + split.about.shape[0])
    candidates = search["popsize"] or 4 + int(3 * math.log(genome))  # pycma's choice
    return candidates * _passes(split, search["epochs"])


@step(
    version=2,
    label="{split}: {search[pixels]} px against {search[optimizer]}, generation {number}",
    work=_generation_work,
)
def generation(
    *, split: Split, search: Search, number: int, previous: Mapping | None, start: int = 1
) -> dict:
    """One generation of a search, from the state that the previous one left.

    Searches that differ in `start` alone are independent of each other.

    Returns
    -------
    dict
        ``candidates``, ``fitness``, ``mismatch``, ``divergence``, ``sigma`` and ``stopped``, as in
        :class:`kit.evolution.Generation`; after the search has stopped there are no candidates.
        ``state`` is what the next one needs: ``history``, the fitness in all generations so far;
        ``best``, the genome of the best candidate so far, and ``score``, its fitness; ``sigma`` and
        ``stopped``.
    """
    state = previous or {"history": [], "best": [], "score": None, "sigma": 0.0, "stopped": ""}
    if state["stopped"]:
        nothing = {name: np.empty(0) for name in _PARTS}
        nothing["candidates"] = np.empty((0, len(state["best"])))
        return nothing | {name: state[name] for name in ("sigma", "stopped")} | {"state": state}
    data = split.load()
    purpose = (search["pixels"], search["optimizer"], *[start] * (start > 1))
    (result,) = kit.evolution.search(
        data.x_train, data.y_train, classes=len(data.classes), generations=number,
        fitness_history=state["history"], **search,
        seed=runtime.derive_seed(split.seed, "search", *purpose),
    )  # fmt: skip
    score, best = state["score"], state["best"]
    if score is None or np.nanmax(result.fitness) > score:
        index = int(np.nanargmax(result.fitness))
        score, best = float(result.fitness[index]), result.candidates[index]
    out = {name: getattr(result, name) for name in ("candidates", *_PARTS, "sigma", "stopped")}
    history = np.stack([*state["history"], result.fitness])
    return out | {
        "state": {"history": history, "best": best, "score": score}
        | {name: out[name] for name in ("sigma", "stopped")}
    }


def _noise(noise: Noise, data: Dataset, seed: int) -> torch.Tensor:
    return noises.make(dict(noise), data, seed).to(data.x_train.device)


def _train(
    data: Dataset, seed: int, net: str, eta: torch.Tensor, repeat: int, *,
    on_epoch: Callable | None = None, **options: Any,
) -> torch.nn.Module:  # fmt: skip
    """A net trained on perturbed images; equal repeats start and shuffle alike."""
    initial = runtime.derive_seed(seed, "effect net", repeat)
    model = kit.nets.build(net, data.shape, data.classes, seed=initial).to(data.x_train.device)
    if on_epoch:
        on_epoch(0, model)
    kit.training.fit(
        model, data.x_train, data.y_train, on_epoch=on_epoch,
        transform=lambda x, y: (kit.perturbations.apply(eta, x, y), y),
        seed=runtime.derive_seed(seed, "effect order", repeat), **options,
    )  # fmt: skip
    return model


def _watched(data: Dataset, eta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Perturbed training images, 1,000 at most, with their labels."""
    x, y = data.x_train[:WATCHED], data.y_train[:WATCHED]
    return kit.perturbations.apply(eta, x, y), y


@step(version=2, label="{split}: {net} by {optimizer} on {noise[kind]}", work=_passes)
def train_perturbed(
    *, split: Split, net: str, noise: Noise, optimizer: str, lr: float, epochs: int,
    batch_size: int, crop: int, flip: bool, repeat: int,
) -> dict:  # fmt: skip
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
        data, split.seed, net, eta, repeat, epochs=epochs, batch_size=batch_size,
        optimizer=optimizer, lr=lr, augment=crops, on_epoch=watch,
    )  # fmt: skip
    names = ("train_loss", "train_accuracy", "test_accuracy")
    return dict(zip(names, np.array(rows).T, strict=True))


@step(version=3, label="{split}: from SGD's to Adam's weights", work=_passes)
def interpolate(
    *, split: Split, net: str, noise: Noise, lr_adam: float, lr_sgd: float, epochs: int,
    batch_size: int, alphas: int, repeat: int,
) -> dict:  # fmt: skip
    """Loss and accuracy on the line from the weights SGD finds (α = 0) to Adam's (α = 1).

    Both start from the same weights.

    Returns
    -------
    dict
        ``alpha``, and along it ``train_loss``, ``train_accuracy`` (perturbed images),
        ``test_loss`` and ``test_accuracy`` (clean); ``sharpness`` of SGD's and of Adam's end.
    """
    data = split.load()
    eta = _noise(noise, data, split.seed)
    perturbed, labels = _watched(data, eta)
    train = functools.partial(
        _train, data, split.seed, net, eta, repeat, epochs=epochs, batch_size=batch_size
    )
    sgd, adam = train(optimizer="sgd", lr=lr_sgd), train(optimizer="adam", lr=lr_adam)
    # Both ends are always among the points, rounded so that none is there twice.
    alpha, rows = np.unique(np.round([0, 1, *np.linspace(-0.25, 1.25, alphas)], 9)), []
    for place in alpha:
        model = kit.explain.interpolate(sgd, adam, place, perturbed)
        on_train = kit.training.evaluate(model, perturbed, labels)
        rows.append([*on_train, *kit.training.evaluate(model, data.x_test, data.y_test)])
    names = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
    ends = [kit.explain.sharpness(end, perturbed, labels) for end in (sgd, adam)]
    return {
        "alpha": alpha,
        **dict(zip(names, np.array(rows).T, strict=True)),
        "sharpness": np.array(ends),
    }


@step(version=2, label="{split}: Grad-CAM", work=_passes)
def grad_cam(
    *, split: Split, net: str, noise: Noise, lr: float, epochs: int, batch_size: int, images: int,
    repeat: int,
) -> dict:  # fmt: skip
    """Where nets trained on clean and on perturbed images look on clean test images (Grad-CAM).

    Returns
    -------
    dict
        For NAME ``clean`` and ``perturbed``: ``NAME_maps``, the mean map of every class, shape
        (classes, H, W), over its first `images` test images, and ``NAME_background``, the share
        of every map's mass on pixels darker than 0.1. ``mean_images``: of every class.
    """
    import torch

    data = split.load()
    of_class = [(data.y_test == label).nonzero()[:images, 0] for label in range(len(data.classes))]
    sizes, rows = [len(part) for part in of_class], torch.cat(of_class)
    x, y = data.x_test[rows], data.y_test[rows]

    def means(values: torch.Tensor) -> np.ndarray:
        return torch.stack([part.mean(0) for part in values.split(sizes)]).cpu().numpy()

    out = {"mean_images": means(x)}
    for name, described in (("clean", noises.CLEAN), ("perturbed", noise)):
        eta = _noise(described, data, split.seed)
        model = _train(
            data, split.seed, net, eta, repeat, epochs=epochs, batch_size=batch_size, lr=lr
        )
        maps = kit.explain.grad_cam(model, x, y)
        out[f"{name}_maps"] = means(maps)
        out[f"{name}_background"] = kit.explain.background_share(maps, x).cpu().numpy()
    return out


@step(
    version=2,
    label="{split}: errors over generations",
    work=lambda split, search, genomes, repeats, **_: (
        _passes(split, search["epochs"]) * len(genomes) * repeats
    ),
)
def learning_curve(
    *, split: Split, test: Split, search: Search, genomes: list, repeats: int
) -> dict:
    """Clean-test errors of nets trained on the best candidate so far, generation by generation.

    This comes after the search and has no part in it. Nets are trained as the search trains its
    own, `repeats` times for each new best candidate.

    Parameters
    ----------
    split, test
        What the search saw, and what to test on.
    search
        Options of the search.
    genomes
        Of the best candidate so far after each generation.

    Returns
    -------
    dict
        ``error``, shape (generations, repeats).
    """
    data, held_out = split.load(), test.load()
    options = {name: search[name] for name in ("epochs", "batch_size", "optimizer", "lr")}

    @functools.cache
    def errors(genome: bytes) -> list[float]:
        noise = noises.evolved(search["pixels"], search["optimizer"], np.frombuffer(genome).copy())
        eta = _noise(noise, data, split.seed)
        nets = [
            _train(data, split.seed, search["net"], eta, repeat, **options)
            for repeat in range(1, repeats + 1)
        ]
        return [1 - kit.training.accuracy(net, held_out.x_test, held_out.y_test) for net in nets]

    return {"error": np.array([errors(np.asarray(genome).tobytes()) for genome in genomes])}
