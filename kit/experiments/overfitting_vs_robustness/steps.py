"""The steps: both trainings, and what is measured on their snapshots."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

import kit
from kit import runtime
from kit.data.splits import Split
from kit.harness.steps import step

if TYPE_CHECKING:
    import torch

    from kit.data import Dataset

    Crafting = Callable[[], torch.Tensor | kit.attacks.GradientAttack]

NET = "lenet5"
CONTROL, NEAREST = "random signs", "nearest L2"
# By the names in tables; results bear the other ones.
ATTACKS = {"CW": "textbook", NEAREST: "cw", "FGSM": "fgsm", "PGD": "pgd", CONTROL: "noise"}
# The paper names neither CW's budget nor the grid of empirical robustness. Both are here what the
# Adversarial Robustness Toolbox takes by default, whose metrics the paper's are. (With as many
# steps its CW finds more: they are not those of Adam.)
BUDGET = {"steps": 10, "search_steps": 10, "lr": 0.01, "initial_const": 0.01}
COARSE = {"eps_step": 0.1, "eps_max": 0.3}
OUTPUTS = ("logits", "softmax")
EXAMPLES = 8


@step(
    version=1,
    label="{split}: {folds} folds, learning rate {lr:g}",
    work=lambda split, folds, epochs, **_: split.about.train * folds * epochs,
    bulky=("snapshots",),
)
def train_folds(
    *,
    split: Split,
    folds: int,
    epochs: int,
    batch_size: int,
    lr: float,
    precision: str = "float32",
) -> dict:
    """Train one net per fold, all at once, and keep every epoch of each.

    Equal folds start from equal weights and see the images in the same order, whatever the
    learning rate.

    Returns
    -------
    dict
        ``train_accuracy`` (averaged over the epoch while it trains) and ``validation_accuracy``,
        shape (folds, epochs); ``best``: for each fold the first epoch, counted from 1, of the best
        validation accuracy; ``snapshots``: for each fold the weights by name, shape (epochs, …).
    """
    data, seed = split.load(), split.seed
    pairs = data.folds(folds, runtime.derive_seed(seed, "folds"))
    shortest = min(len(rows) for rows, _ in pairs)  # folds may differ by an image or so
    members = [
        kit.nets.build(NET, data.shape, data.classes, seed=runtime.derive_seed(seed, "net", fold))
        for fold in range(folds)
    ]
    snapshots: list[list[dict]] = [[] for _ in members]
    validation = np.empty((folds, epochs))

    def keep(member: int, epoch: int, model: torch.nn.Module) -> None:
        held_out = pairs[member][1]
        accuracy = kit.training.accuracy(model, data.x_train[held_out], data.y_train[held_out])
        validation[member, epoch - 1] = accuracy
        snapshots[member].append(kit.nets.weights(model))

    histories = kit.training.fit_many(
        [member.to(data.x_train.device) for member in members],
        data.x_train,
        data.y_train,
        subsets=[rows[:shortest] for rows, _ in pairs],
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        seed=runtime.derive_seed(seed, "order"),
        on_epoch=keep,
        precision=precision,
    )
    return {
        "train_accuracy": np.array([history["accuracy"] for history in histories]),
        "validation_accuracy": validation,
        "best": (1 + validation.argmax(1)).tolist(),
        "snapshots": [
            {name: np.stack([weights[name] for weights in of_fold]) for name in of_fold[0]}
            for of_fold in snapshots
        ],
    }


def _net(data: Dataset, snapshots: Mapping, epoch: int) -> torch.nn.Module:
    """The net after an epoch, counted from 1."""
    weights = {name: values[epoch - 1] for name, values in snapshots.items()}
    net = kit.nets.restore(NET, data.shape, data.classes, weights)
    return net.to(data.x_test.device)


def _nets(data: Dataset, snapshots: Mapping) -> list[torch.nn.Module]:
    epochs = len(next(iter(snapshots.values())))
    return [_net(data, snapshots, epoch) for epoch in range(1, epochs + 1)]


@step(
    version=3,
    label="{split}: attacks ({attacks}), fold {fold}",
    work=lambda split, images, attacks, pgd_steps, **_: (
        (images or split.about.test) * (300 + pgd_steps * ("pgd" in attacks))
    ),
)
def attack(
    *,
    split: Split,
    snapshots: Mapping,
    epoch: int,
    fold: int,
    attacks: list[str],
    eps: float,
    norm: str,
    pgd_steps: int,
    images: int,
) -> dict:
    """Craft adversarial examples on one snapshot of a fold and show them to all of its snapshots.

    Only test images that the crafting snapshot gets right are attacked. ``noise`` is no attack: a
    random direction of the same size as FGSM's, clipped.

    Returns
    -------
    dict
        ``epoch`` of the crafting snapshot, ``labels`` of the test images and ``test_predictions``
        of all snapshots, shape (epochs, images); ``image``: which test images were attacked;
        ``no_gradient``: in how many of them FGSM and PGD met no gradient; ``passes``: how many
        ``forward`` and ``backward`` passes of an image each attack took in all (results from before
        they were counted lack it). For each attack NAME
        ``NAME_predictions``, shape (epochs, attacked), and ``NAME_norms``, shape (2, 3, attacked):
        over all channels and over the first alone, L0, L2 and L∞.
        ``NAME_examples`` and ``originals``: the first eight images.
    """
    data = split.load()
    nets = _nets(data, snapshots)
    net = nets[epoch - 1]
    right = _right(net, data, images)
    x, y = data.x_test[right], data.y_test[right]
    seed = runtime.derive_seed(split.seed, "attack", fold)
    craft: dict[str, Crafting] = {
        "cw": lambda: kit.attacks.nearest_l2(net, x, y),
        "fgsm": lambda: kit.attacks.fgsm(net, x, y, eps=eps, norm=norm, details=True),
        "pgd": lambda: kit.attacks.pgd(
            net, x, y, eps=eps, norm=norm, steps=pgd_steps, seed=seed, details=True
        ),
        "noise": lambda: kit.attacks.random_direction(x, eps=eps, norm=norm, seed=seed),
    }
    return {
        "epoch": epoch,
        "labels": data.y_test.cpu().numpy().astype(np.int16),
        "image": right.cpu().numpy().astype(np.int32),
        "originals": kit.data.as_bytes(x[:EXAMPLES]),
        "test_predictions": _predictions(nets, data.x_test),
        **_crafted(nets, net, x, {name: craft[name] for name in attacks}),
    }


@step(
    version=1,
    label="{split}: CW as published",
    work=lambda split, images, steps, search_steps, **_: (
        (images or split.about.test) * steps * search_steps
    ),
)
def textbook(
    *,
    split: Split,
    snapshots: Mapping,
    epoch: int,
    images: int,
    steps: int,
    search_steps: int,
    lr: float,
    initial_const: float,
) -> dict:
    """CW as published, with a small budget, on the images that :func:`attack` takes.

    Returns
    -------
    dict
        ``textbook_predictions``, ``textbook_norms``, ``textbook_examples`` and ``passes``, as of
        :func:`attack`.
    """
    data = split.load()
    nets = _nets(data, snapshots)
    net = nets[epoch - 1]
    right = _right(net, data, images)
    x, y = data.x_test[right], data.y_test[right]

    def craft() -> torch.Tensor:
        return kit.attacks.cw_l2(
            net, x, y, steps=steps, search_steps=search_steps, lr=lr, initial_const=initial_const
        )

    made = _crafted(nets, net, x, {"textbook": craft})
    return {name: value for name, value in made.items() if name != "no_gradient"}


def _right(net: torch.nn.Module, data: Dataset, images: int) -> torch.Tensor:
    """The first test images that a net gets right; 0 means all of these."""
    right = (kit.training.predict(net, data.x_test) == data.y_test).nonzero()[:, 0]
    return right[: images or None]


def _crafted(
    nets: list, net: torch.nn.Module, x: torch.Tensor, craft: Mapping[str, Crafting]
) -> dict:
    """What attacks on `net` make of images, and what all nets say of it."""
    sets, stuck, passes = {}, {}, {}
    for name, make in craft.items():
        with kit.watching.passes(net) as count:
            made = make() if len(x) else x
        # But for those of the first image by which the attack's check looks at the net.
        passes[name] = {kind: max(0, n - 1) for kind, n in dataclasses.asdict(count).items()}
        if isinstance(made, kit.attacks.GradientAttack):
            stuck[name] = int(made.no_gradient.sum())
            made = made.x_adv
        sets[name] = made
    return {
        "no_gradient": stuck,
        "passes": passes,
        **{f"{name}_norms": _norms(x, x_adv) for name, x_adv in sets.items()},
        **{f"{name}_examples": kit.data.as_bytes(x_adv[:EXAMPLES]) for name, x_adv in sets.items()},
        **{f"{name}_predictions": _predictions(nets, x_adv) for name, x_adv in sets.items()},
    }


def _norms(x: torch.Tensor, x_adv: torch.Tensor) -> np.ndarray:
    """Norms over all channels and over the first alone, shape (2, 3, N)."""
    norms = [kit.robustness.perturbation_norms(x, x_adv, channel=channel) for channel in (None, 0)]
    return np.array([[norm.float().cpu().numpy() for norm in each.values()] for each in norms])


def _predictions(nets: list, x: torch.Tensor) -> np.ndarray:
    """What every snapshot predicts, shape (snapshots, N)."""
    if not len(x):
        return np.empty((len(nets), 0), np.int16)
    return np.array([kit.training.predict(net, x).cpu().numpy() for net in nets], np.int16)


@step(
    version=2,
    label="{split}: gradients",
    work=lambda images, eps_step, **_: images * (1 + 0.1 / eps_step),
)
def gradient_metrics(*, split: Split, snapshots: Mapping, images: int, eps_step: float) -> dict:
    """Loss sensitivity and empirical robustness of every snapshot of a fold.

    Returns
    -------
    dict
        ``loss_sensitivity``, ``no_gradient`` (of how many images the loss has none),
        ``empirical_robustness`` (NaN where no step fooled) and ``successes``, each of shape
        (epochs,), on the first `images` test images.
    """
    data, rows = split.load(), []
    x, y = data.x_test[:images], data.y_test[:images]
    for net in _nets(data, snapshots):
        smallest = kit.robustness.empirical_robustness(net, x, eps_step=eps_step, details=True)
        sensitivity = kit.robustness.loss_sensitivity(net, x, y, details=True)
        rows.append(
            (sensitivity.value, sensitivity.no_gradient, smallest.value, smallest.successes)
        )
    names = ("loss_sensitivity", "no_gradient", "empirical_robustness", "successes")
    return dict(zip(names, np.array(rows, float).T, strict=True))


@step(
    version=1,
    label="{split}: the smallest steps that fool",
    work=lambda images, eps_step, eps_max, **_: images * (1 + eps_max / eps_step),
)
def smallest_steps(
    *, split: Split, snapshots: Mapping, images: int, eps_step: float, eps_max: float
) -> dict:
    """Empirical robustness of every snapshot of a fold, image by image.

    Returns
    -------
    dict
        ``relative``, shape (epochs, images): the smallest FGSM step of the grid that fools the
        snapshot, by the image's largest pixel; NaN where no step does.
    """
    data = split.load()
    x = data.x_test[:images]
    found = [
        kit.robustness.empirical_robustness(
            net, x, eps_step=eps_step, eps_max=eps_max, details=True
        ).relative
        for net in _nets(data, snapshots)
    ]
    return {"relative": np.array([relative.cpu().numpy() for relative in found])}


@step(
    version=1,
    label="{split}: CLEVER, epoch {epoch}",
    work=lambda images, batches, batch_size, **_: images * batches * batch_size,
)
def clever(
    *,
    split: Split,
    snapshots: Mapping,
    epoch: int,
    images: int,
    batches: int,
    batch_size: int,
    radius: float,
) -> dict:
    """CLEVER (L2) of one snapshot, on logits and on softmax outputs.

    Returns
    -------
    dict
        For OUTPUT ``logits`` and ``softmax``: ``OUTPUT_scores``, ``OUTPUT_fell_back`` and
        ``OUTPUT_at_cap``, each of shape (images,), on the first test images.
    """
    data, out = split.load(), {}
    net = _net(data, snapshots, epoch)
    for output in OUTPUTS:
        details = kit.robustness.clever(
            net,
            data.x_test[:images],
            radius=radius,
            batches=batches,
            batch_size=batch_size,
            output=output,
            details=True,
            seed=runtime.derive_seed(split.seed, "clever"),
        )
        for name in ("scores", "fell_back", "at_cap"):
            out[f"{output}_{name}"] = getattr(details, name).cpu().numpy()
    return out
