"""The steps: one generation of a search, and what a noise does to nets trained on it."""

import functools

import numpy as np
import torch

from kit import data, evolution, explain, nets, perturbations, runtime, training
from kit.experiments import common
from kit.experiments.evolved_perturbations import noises
from kit.steps import step

WATCHED = 1000  # training images on which a training is watched


@step(version=1)
def generation(*, dataset, train, size, fingerprint, search, seed, number, data_root, device):
    """One generation of a search; it reads the earlier ones, or computes them.

    Returns
    -------
    dict
        ``candidates``, ``fitness``, ``mismatch``, ``divergence``, ``sigma`` and ``stopped``, as in
        :class:`kit.evolution.Generation`. After the search has stopped there are no candidates.
    """
    given = {
        "dataset": dataset, "train": train, "size": size, "fingerprint": fingerprint,
        "search": search, "seed": seed, "data_root": data_root, "device": device,
    }  # fmt: skip
    recorded = [as_generation(generation(**given, number=n), n) for n in range(1, number)]
    split = _Split(dataset, train, 0, size, fingerprint, seed, data_root, device)
    names = ("candidates", "fitness", "mismatch", "divergence", "sigma", "stopped")
    searching = evolution.search(
        split.x, split.y, classes=split.classes, generations=number, recorded=recorded,
        seed=runtime.derive_seed(seed, "search", search["pixels"], search["optimizer"]), **search,
    )  # fmt: skip
    for found in searching:
        return {name: getattr(found, name) for name in names}
    nothing = {name: getattr(recorded[-1], name)[:0] for name in names[:4]}
    return nothing | {name: getattr(recorded[-1], name) for name in names[4:]}


def as_generation(result, number, seconds=float("nan")):
    """A :class:`kit.evolution.Generation` from the result of :func:`generation`."""
    return evolution.Generation(number=number, seconds=seconds, **result)


def history(noise, data_root, device):
    """Generations of the search that a description of evolved noise names."""
    given = {k: v for k, v in noise.items() if k not in ("kind", "number")}
    given |= {"data_root": data_root, "device": device}
    numbers = range(1, noise["number"] + 1)
    return [as_generation(generation(**given, number=n), n) for n in numbers]


class _Split:
    """A data set on the device, with what every training on it needs."""

    def __init__(self, name, train, test, size, fingerprint, seed, data_root, device):
        self.dataset = common.load(name, data_root, train, test, size, seed)
        common.check_unchanged(self.dataset, fingerprint)
        self.classes, self.seed = len(self.dataset.classes), seed
        self.data_root, self.device = data_root, device
        there = common.on_device(self.dataset, device)
        self.x, self.y = there.x_train, there.y_train
        self.x_test, self.y_test = there.x_test, there.y_test

    def noise(self, described):
        """The noise that a description names, on the device."""

        def best_genome(noise):
            return evolution.best(history(noise, self.data_root, self.device))[2]

        return noises.make(described, self.dataset, self.seed, best_genome).to(self.x.device)

    def trained(self, net, noise, repeat, **options):
        """A net trained on corrupted images; equal repeats start and shuffle alike."""
        initial = runtime.derive_seed(self.seed, "effect net", repeat)
        model = nets.build(net, self.dataset.shape, self.classes, seed=initial).to(self.x.device)
        watch = options.get("on_epoch")
        if watch:
            watch(0, model)
        training.fit(
            model, self.x, self.y, view=lambda x, y: (perturbations.apply(noise, x, y), y),
            seed=runtime.derive_seed(self.seed, "effect order", repeat), **options,
        )  # fmt: skip
        return model

    def watched(self, noise):
        """Corrupted training images, 1,000 at most, with their labels."""
        x, y = self.x[:WATCHED], self.y[:WATCHED]
        return perturbations.apply(noise, x, y), y


@step(version=1)
def effect(
    *, dataset, train, test, size, fingerprint, net, noise, optimizer, lr, epochs, batch_size, crop,
    flip, seed, repeat, data_root, device,
):  # fmt: skip
    """Train a net on corrupted images and watch it on clean test images.

    Equal repeats start from equal weights and see the images in the same order, whatever the noise
    and the optimizer.

    Returns
    -------
    dict
        ``train_loss``, ``train_accuracy`` (on up to 1,000 of the corrupted training images) and
        ``test_accuracy`` (clean), each before training and after every epoch, in evaluation mode.
    """
    split = _Split(dataset, train, test, size, fingerprint, seed, data_root, device)
    made = split.noise(noise)
    corrupted, labels = split.watched(made)
    rows = []

    def watch(epoch, model):
        clean = training.accuracy(model, split.x_test, split.y_test)
        rows.append([*training.evaluate(model, corrupted, labels), clean])

    augment = functools.partial(data.random_crops, padding=crop, flip=flip) if crop else None
    split.trained(
        net, made, repeat, epochs=epochs, batch_size=batch_size, optimizer=optimizer, lr=lr,
        augment=augment, on_epoch=watch,
    )  # fmt: skip
    names = ("train_loss", "train_accuracy", "test_accuracy")
    return dict(zip(names, np.array(rows).T, strict=True))


@step(version=2)
def line(
    *, dataset, train, test, size, fingerprint, net, noise, lr_adam, lr_sgd, epochs, batch_size,
    alphas, seed, repeat, data_root, device,
):  # fmt: skip
    """Loss and accuracy on the line from the weights SGD finds (α = 0) to Adam's (α = 1).

    Both start from the same weights.

    Returns
    -------
    dict
        ``alpha``, and along it ``train_loss``, ``train_accuracy`` (corrupted images),
        ``test_loss`` and ``test_accuracy`` (clean); ``sharpness`` of SGD's and of Adam's end.
    """
    split = _Split(dataset, train, test, size, fingerprint, seed, data_root, device)
    made = split.noise(noise)
    corrupted, labels = split.watched(made)
    options = dict(epochs=epochs, batch_size=batch_size)
    sgd = split.trained(net, made, repeat, optimizer="sgd", lr=lr_sgd, **options)
    adam = split.trained(net, made, repeat, optimizer="adam", lr=lr_adam, **options)
    # Both ends are always among the points, rounded so that none is there twice.
    alpha, rows = np.unique(np.round([0, 1, *np.linspace(-0.25, 1.25, alphas)], 9)), []
    for place in alpha:
        model = explain.blend(sgd, adam, place, corrupted)
        known = training.evaluate(model, corrupted, labels)
        rows.append([*known, *training.evaluate(model, split.x_test, split.y_test)])
    names = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
    return {
        "alpha": alpha,
        **dict(zip(names, np.array(rows).T, strict=True)),
        "sharpness": np.array([explain.sharpness(end, corrupted, labels) for end in (sgd, adam)]),
    }


@step(version=1)
def cams(
    *, dataset, train, test, size, fingerprint, net, noise, lr, epochs, batch_size, images, seed,
    repeat, data_root, device,
):  # fmt: skip
    """Where nets trained on clean and on corrupted images look on clean test images (Grad-CAM).

    Returns
    -------
    dict
        For NAME ``clean`` and ``corrupted``: ``NAME_maps``, the mean map of every class, shape
        (classes, H, W), over its first `images` test images, and ``NAME_background``, the share
        of every map's mass on pixels darker than 0.1. ``mean_images``: of every class.
    """
    split = _Split(dataset, train, test, size, fingerprint, seed, data_root, device)
    rows = [(split.y_test == label).nonzero()[:images, 0] for label in range(split.classes)]
    sizes, rows = [len(of_class) for of_class in rows], torch.cat(rows)
    x, y = split.x_test[rows], split.y_test[rows]

    def means(values):
        return torch.stack([part.mean(0) for part in values.split(sizes)]).cpu().numpy()

    out = {"mean_images": means(x)}
    for name, described in (("clean", noises.CLEAN), ("corrupted", noise)):
        made = split.noise(described)
        model = split.trained(net, made, repeat, epochs=epochs, batch_size=batch_size, lr=lr)
        maps = explain.grad_cam(model, x, y)
        out[f"{name}_maps"] = means(maps)
        out[f"{name}_background"] = explain.background_share(maps, x).cpu().numpy()
    return out


@step(version=1)
def learning_curve(*, noise, test, repeats, data_root, device):
    """Clean-test errors of nets trained on the best candidate so far, generation by generation.

    This comes after the search and has no part in it. Nets are trained as the search trains its
    own, `repeats` times for each new best candidate.

    Returns
    -------
    dict
        ``error``, shape (generations, repeats).
    """
    name, train, size, seed = (noise[key] for key in ("dataset", "train", "size", "seed"))
    split = _Split(name, train, 0, size, noise["fingerprint"], seed, data_root, device)
    held_out = common.load(name, data_root, train, test, size, seed)
    held_out = held_out.x_test.to(split.x.device), held_out.y_test.to(split.x.device)
    search = noise["search"]
    options = {key: search[key] for key in ("epochs", "batch_size", "optimizer", "lr")}
    found = history(noise, data_root, device)

    @functools.cache
    def errors(number, index):
        genome = found[number - 1].candidates[index]
        made = perturbations.decode(genome, split.classes, search["pixels"], split.dataset.shape)
        models = [
            split.trained(search["net"], made.to(split.x.device), repeat, **options)
            for repeat in range(1, repeats + 1)
        ]
        return [1 - training.accuracy(model, *held_out) for model in models]

    best = [evolution.best(found, last)[:2] for last in range(1, len(found) + 1)]
    return {"error": np.array([errors(*which) for which in best])}
