"""The steps that train a net, attack it, and examine it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import kit
from kit import runtime
from kit.data.splits import Split
from kit.experiments.neuroevolution_gm.training import (
    GM,
    judged_on,
    passes,
    tensor,
    trained_net,
    trained_on,
)
from kit.harness.steps import step
from kit.nets.genome import Genome

if TYPE_CHECKING:
    import torch


METHODS = LINF, L2, FGSM = "L∞-PGD", "L2-PGD", "FGSM"  # of attack; words in keys, too


def _attack_work(split: Split, steps: int, **_: Any) -> float:
    return steps * split.about.test * math.prod(split.about.shape[1:])


@step(version=1, label="{split}: {name}, run {run}", work=passes, bulky=("weights",))
def train(
    *,
    split: Split,
    name: str,
    net: str | Genome,
    run: int,
    start: int,
    epochs: int,
    batch_size: int,
    optimizer: str,
    lr: float,
    hold_out: int,
    gm: GM | None = None,
    defense: Mapping | None = None,
    weights: Mapping[str, np.ndarray] | None = None,
    precision: str = "float32",
) -> dict:
    """Train a net on clean images: plainly, with the GM loss, or adversarially.

    Equal runs and starts begin from equal weights, as far as the architectures are equal, and see
    the images in equal order. With `weights` the training of a net goes on from these.

    Returns
    -------
    dict
        ``weights``, and ``train_accuracy`` on the images it was trained on.
    """
    data = split.load()
    model = trained_net(
        data,
        net,
        epochs=epochs,
        batch_size=batch_size,
        optimizer=optimizer,
        lr=lr,
        hold_out=hold_out,
        seed=runtime.derive_seed(split.seed, "net", run, start),
        gm=gm,
        defense=defense,
        weights=weights,
        precision=precision,
    )
    accuracy = kit.training.accuracy(model, *trained_on(data, hold_out))
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
    images = {"train": trained_on(data, hold_out), "test": (data.x_test, data.y_test)}
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
    *,
    split: Split,
    name: str,
    net: str | Genome,
    weights: Mapping[str, np.ndarray],
    run: int,
    method: str,
    eps: float,
    steps: int,
    step_size: float,
    hold_out: int = 0,
) -> dict:
    """Adversarial examples of the test images, or of those held out, made on a net.

    Parameters
    ----------
    method
        One of `METHODS`.
    step_size
        Of PGD, as a part of ε.

    Returns
    -------
    dict
        ``images``, float32, and ``labels`` that the net itself gives them.
    """
    data = split.load()
    x, y = judged_on(data, hold_out)
    model = kit.nets.restore(net, data.shape, data.classes, weights).to(x.device)
    if method == FGSM:
        images = kit.attacks.fgsm(model, x, y, eps=eps)
    else:
        images = kit.attacks.pgd(
            model,
            x,
            y,
            eps=eps,
            norm="l2" if method == L2 else "linf",
            steps=steps,
            step_size=step_size * eps,
            seed=runtime.derive_seed(split.seed, "pgd", run),
        )
    labels = kit.training.predict(model, images)
    return {"images": images.cpu().numpy(), "labels": labels.cpu().numpy()}


@step(version=1, label="{split}: examine {name}, run {run}")
def examine(
    *,
    split: Split,
    name: str,
    net: str | Genome,
    weights: Mapping[str, np.ndarray],
    run: int,
    images: Mapping[str, np.ndarray],
    reference: np.ndarray | None = None,
    image_filter: Mapping | None = None,
) -> dict:
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
            title: labels(tensor(values, data.x_test)) for title, values in images.items()
        },
    }
    if reference is not None:
        reference_grads = tensor(reference, data.x_test)
        cosines = kit.misalignment.cosines(model, data.x_test, data.y_test, reference_grads)
        out["cosines"] = cosines.cpu().numpy()
    return out


@step(version=1, label="{split}: {name}'s accuracy at several ε, run {run}", work=_attack_work)
def accuracy_by_eps(
    *,
    split: Split,
    name: str,
    net: str | Genome,
    weights: Mapping[str, np.ndarray],
    run: int,
    eps: Sequence[float],
    steps: int,
    step_size: float,
) -> dict:
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
    *,
    split: Split,
    name: str,
    net: str | Genome,
    weights: Mapping[str, np.ndarray],
    run: int,
    count: int,
) -> dict:
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
