"""The steps: train a net, attack it, examine it; and the two halves of a search."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import kit
from kit import runtime
from kit.data.splits import Split
from kit.harness.steps import step
from kit.nets.genome import Genome
from kit.neuroevolution import Member, Space, algorithm, mutation

if TYPE_CHECKING:
    import torch

    from kit.data import Dataset

GM = Mapping[str, Any]  # "gradients" of the training images, "strength" (λ) and "variant"


def _passes(split: Split, epochs: int, count: int = 0, **_: Any) -> float:
    """How the work of a training grows."""
    return epochs * (count or split.about.train) * math.prod(split.about.shape[1:])


def _attack_work(split: Split, steps: int, **_: Any) -> float:
    return steps * split.about.test * math.prod(split.about.shape[1:])


def _trained_on(data: Dataset, hold_out: int, count: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Training images without those held out for the fitness; the first `count`, or all."""
    if (hold_out or count) and bool((data.y_train.diff() >= 0).all()):
        raise ValueError(
            f"The training images of {data.title} lie sorted by class, and search_train and "
            "hold_out take the first of them: shuffle the file, or set both to 0."
        )
    x, y = data.x_train[hold_out:], data.y_train[hold_out:]
    return x[: count or None], y[: count or None]


def _judged_on(data: Dataset, hold_out: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What the fitness looks at: the test images as in the paper, or those held out."""
    if hold_out:
        return data.x_train[:hold_out], data.y_train[:hold_out]
    return data.x_test, data.y_test


def _tensor(values: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.from_numpy(values).to(like.device)


def _train(
    data: Dataset, net: str | Genome, *, epochs: int, batch_size: int, optimizer: str, lr: float,
    hold_out: int, seed: int, count: int = 0, gm: GM | None = None,
    defense: Mapping | None = None,
) -> torch.nn.Module:  # fmt: skip
    x, y = _trained_on(data, hold_out, count)
    options: dict[str, Any] = {"epochs": epochs}
    model = kit.nets.build(net, data.shape, data.classes, seed=seed).to(x.device)
    if gm:
        options["loss"] = kit.misalignment.misaligned(
            _tensor(gm["gradients"], x), strength=gm["strength"], variant=gm["variant"]
        )
    if defense:
        options |= kit.defenses.adversarial_training(**defense, epochs=epochs)
    kit.training.fit(
        model, x, y, batch_size=batch_size, optimizer=optimizer, lr=lr, seed=seed, **options
    )
    return model


@step(version=1, label="{split}: {name}, run {run}", work=_passes, bulky=("weights",))
def train(
    *, split: Split, name: str, net: str | Genome, run: int, start: int, epochs: int,
    batch_size: int, optimizer: str, lr: float, hold_out: int, gm: GM | None = None,
    defense: Mapping | None = None,
) -> dict:  # fmt: skip
    """Train a net on clean images: plainly, with the GM loss, or adversarially.

    Equal runs and starts begin from equal weights, as far as the architectures are equal, and see
    the images in equal order.

    Returns
    -------
    dict
        ``weights``, and ``train_accuracy`` on the images it was trained on.
    """
    data = split.load()
    model = _train(
        data, net, epochs=epochs, batch_size=batch_size, optimizer=optimizer, lr=lr,
        hold_out=hold_out, seed=runtime.derive_seed(split.seed, "net", run, start), gm=gm,
        defense=defense,
    )  # fmt: skip
    accuracy = kit.training.accuracy(model, *_trained_on(data, hold_out))
    return {"weights": kit.nets.weights(model), "train_accuracy": accuracy}


@step(version=1, label="{split}: input gradients of the reference", bulky=("train", "test"))
def gradients(
    *, split: Split, net: str | Genome, weights: Mapping[str, np.ndarray], hold_out: int
) -> dict:
    """The reference's input gradients as unit vectors: constants of a whole study.

    Returns
    -------
    dict
        ``train`` and ``test``, float16, each with the shape of its images.
    """
    data = split.load()
    model = kit.nets.restore(net, data.shape, data.classes, weights).to(data.x_train.device)
    images = {"train": _trained_on(data, hold_out), "test": (data.x_test, data.y_test)}
    units = {
        name: kit.misalignment.reference_gradients(model, *part, classes=len(data.classes))
        for name, part in images.items()
    }
    return {name: values.cpu().numpy() for name, values in units.items()}


@step(
    version=1,
    label="{split}: {method} on {name}, run {run}",
    work=_attack_work,
    bulky=("images",),
)
def attack(
    *, split: Split, name: str, net: str | Genome, weights: Mapping[str, np.ndarray], run: int,
    method: str, eps: float, steps: int, step_size: float, hold_out: int = 0,
) -> dict:  # fmt: skip
    """Adversarial examples of the test images, or of those held out, made on a net.

    Parameters
    ----------
    method
        ``"L∞-PGD"``, ``"L2-PGD"`` or ``"FGSM"``.
    step_size
        Of PGD, as a part of ε.

    Returns
    -------
    dict
        ``images``, float32, and ``labels`` that the net itself gives them.
    """
    data = split.load()
    x, y = _judged_on(data, hold_out)
    model = kit.nets.restore(net, data.shape, data.classes, weights).to(x.device)
    if method == "FGSM":
        images = kit.attacks.fgsm(model, x, y, eps=eps)
    else:
        images = kit.attacks.pgd(
            model, x, y, eps=eps, norm="l2" if method == "L2-PGD" else "linf", steps=steps,
            step_size=step_size * eps, seed=runtime.derive_seed(split.seed, "pgd", run),
        )  # fmt: skip
    labels = kit.training.predict(model, images)
    return {"images": images.cpu().numpy(), "labels": labels.cpu().numpy()}


@step(version=1, label="{split}: examine {name}, run {run}")
def examine(
    *, split: Split, name: str, net: str | Genome, weights: Mapping[str, np.ndarray], run: int,
    images: Mapping[str, np.ndarray], reference: np.ndarray | None = None,
    image_filter: Mapping | None = None,
) -> dict:  # fmt: skip
    """What a net says of the test images and of adversarial twins of them.

    Parameters
    ----------
    images
        Sets of adversarial examples by name, each in the order of the test images.
    reference
        The reference's unit gradients on the test images.
    image_filter
        What the images pass before the net sees them, see :func:`kit.defenses.filtered`.

    Returns
    -------
    dict
        ``true`` labels; ``clean`` and ``adversarial`` (by name) labels that the net gives; with
        `reference` the ``cosines`` of its input gradients with it.
    """
    data = split.load()
    model = kit.nets.restore(net, data.shape, data.classes, weights).to(data.x_test.device)

    def labels(x: torch.Tensor) -> np.ndarray:
        if image_filter:
            x = kit.defenses.filtered(x, **image_filter)
        return kit.training.predict(model, x).cpu().numpy()

    out = {
        "true": data.y_test.cpu().numpy(),
        "clean": labels(data.x_test),
        "adversarial": {
            title: labels(_tensor(values, data.x_test)) for title, values in images.items()
        },
    }
    if reference is not None:
        reference_grads = _tensor(reference, data.x_test)
        cosines = kit.misalignment.cosines(model, data.x_test, data.y_test, reference_grads)
        out["cosines"] = cosines.cpu().numpy()
    return out


@step(version=1, label="{split}: {name}'s accuracy at several ε, run {run}", work=_attack_work)
def accuracy_by_eps(
    *, split: Split, name: str, net: str | Genome, weights: Mapping[str, np.ndarray], run: int,
    eps: Sequence[float], steps: int, step_size: float,
) -> dict:  # fmt: skip
    """Accuracy of a net under its own L∞-PGD, by ε.

    Returns
    -------
    dict
        ``accuracy``, in the order of `eps`.
    """
    data = split.load()
    model = kit.nets.restore(net, data.shape, data.classes, weights).to(data.x_test.device)
    x, y, seed = data.x_test, data.y_test, runtime.derive_seed(split.seed, "pgd", run)
    accuracies = [
        kit.training.accuracy(
            model,
            kit.attacks.pgd(model, x, y, eps=e, steps=steps, step_size=step_size * e, seed=seed),
            y,
        )
        for e in eps
    ]
    return {"accuracy": np.array(accuracies)}


@step(version=1, label="{split}: integrated gradients of {name}, run {run}")
def integrated_gradients(
    *, split: Split, name: str, net: str | Genome, weights: Mapping[str, np.ndarray], run: int,
    count: int,
) -> dict:  # fmt: skip
    """Integrated gradients of a net's true-class logits on the first test images.

    Returns
    -------
    dict
        ``images`` and ``maps``, shapes (count, C, H, W) and (count, H, W); ``labels``.
    """
    data = split.load()
    model = kit.nets.restore(net, data.shape, data.classes, weights).to(data.x_test.device)
    x, y = data.x_test[:count], data.y_test[:count]
    maps = kit.explain.integrated_gradients(model, x, y)
    return {name: t.cpu().numpy() for name, t in (("images", x), ("maps", maps), ("labels", y))}


@step(version=1, label="{split}: {name}, generation {generation}, run {run}", work=_passes)
def child(
    *, split: Split, name: str, genome: Genome, generation: int, run: int, epochs: int,
    batch_size: int, optimizer: str, lr: float, hold_out: int, count: int, gm: GM,
    adversarial: np.ndarray,
) -> dict:  # fmt: skip
    """Train a net that a search proposes, from scratch, and judge it (eq. 4).

    Parameters
    ----------
    count
        Training images; 0 for all.
    adversarial
        The reference's adversarial examples of the images that the fitness looks at.

    Returns
    -------
    dict
        ``genome``, ``clean`` and ``adversarial`` accuracy, ``fitness`` (all three NaN of a net
        that diverged) and ``generation``.
    """
    data = split.load()
    seed = runtime.derive_seed(split.seed, "child", run, generation, name)
    model = _train(
        data, genome, epochs=epochs, batch_size=batch_size, optimizer=optimizer, lr=lr,
        hold_out=hold_out, seed=seed, count=count, gm=gm,
    )  # fmt: skip
    x, y = _judged_on(data, hold_out)
    clean = kit.training.evaluate_or_nan(model, x, y)[1]
    against = kit.training.evaluate_or_nan(model, _tensor(adversarial, x), y)[1]
    return {
        "genome": genome, "clean": clean, "adversarial": against,
        "fitness": kit.neuroevolution.fitness(clean, against), "generation": generation,
    }  # fmt: skip


def first_population(
    seed: int, run: int, count: int, distance: float, space: Space
) -> list[Genome]:
    """Where the search of a run begins; refused with a ValueError where the space is too small."""
    rng = algorithm.generator(runtime.derive_seed(seed, "search", run), 0)
    return mutation.initial(count, distance, rng, space=space)


@step(version=1, label="random architectures, run {run}")
def random_genomes(
    *, seed: int, run: int, count: int, distance: float | None, space: Mapping
) -> dict:
    """Random architectures, for a first population some distance apart.

    Returns
    -------
    dict
        ``genomes``.
    """
    limits = _space(space)
    if distance is not None:
        return {"genomes": first_population(seed, run, count, distance, limits)}
    rng = algorithm.generator(runtime.derive_seed(seed, "random", run), 0)
    return {"genomes": [mutation.random_genome(rng, limits) for _ in range(count)]}


@step(version=1, label="selection {number}, run {run}")
def selection(
    *, seed: int, run: int, number: int, previous: Sequence[Mapping] | None,
    born: Sequence[Mapping], children: int, mutations: Sequence[int], space: Mapping,
) -> dict:  # fmt: skip
    """One generation of Algorithm 1 after its children are trained, and the next one's children.

    Parameters
    ----------
    previous
        The population before; None where `born` is the first one.
    born
        Results of :func:`child`, in the order of Algorithm 1.

    Returns
    -------
    dict
        ``population`` (genome, fitness and generation of each), ``best`` (their genomes, the
        fittest first), ``replaced`` (for each child the position that it took, or -1), and
        ``genomes``, the next children.
    """
    new = [Member(part["genome"], part["fitness"], part["generation"]) for part in born]
    if previous is None:
        population, replaced = new, list(range(len(new)))
    else:
        population, replaced = algorithm.select([Member(**part) for part in previous], new)
    order = sorted(population, key=algorithm.rank, reverse=True)  # of equals the first
    rng = algorithm.generator(runtime.derive_seed(seed, "search", run), number + 1)
    genomes = algorithm.offspring(
        [member.genome for member in population], children, rng, space=_space(space),
        times=mutations,
    )  # fmt: skip
    return {
        "population": [dataclasses.asdict(member) for member in population],
        "best": [member.genome for member in order], "replaced": replaced, "genomes": genomes,
    }  # fmt: skip


def _space(values: Mapping) -> Space:
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return Space(**fields)
