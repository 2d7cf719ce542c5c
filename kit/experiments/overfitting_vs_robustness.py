"""The study of Pedraza, Deniz & Bueno (Symmetry 2021): two training regimes under attack.

Nets train on the folds of a cross-validation, in a normal and in an overfitting regime, and every
epoch is kept. The snapshot of best validation accuracy crafts adversarial examples; all snapshots
are then tested on them, and measured by CLEVER, loss sensitivity and empirical robustness.
"""

import functools

import numpy as np
import torch

from kit import attacks, data, nets, robustness, runtime, training
from kit.experiments import common
from kit.steps import Call, step

NET = "lenet5"
ATTACKS = ("cw", "fgsm", "pgd", "noise")
EXAMPLES = 8
COUNTS = (
    "folds", "epochs", "batch_size", "pgd_steps", "metric_images", "clever_images",
    "clever_every", "clever_batches", "clever_batch_size",
)  # fmt: skip
# What a training depends on, apart from its learning rate and the data.
TRAINING = ("train", "test", "folds", "epochs", "batch_size", "seed")


def check(*, datasets, norm, epsilon, eps_step, clever_radius, lr_normal, lr_overfitting, **given):
    """Refuse parameters that make no sense, in one sentence each.

    Raises
    ------
    ValueError
    """
    common.check_datasets(datasets)
    common.check_counts({name: given[name] for name in COUNTS})
    whole = ("train", "test", "attack_images", "seed")
    common.check_from_zero({name: given[name] for name in whole})
    common.check_positive(
        {"lr_normal": lr_normal, "lr_overfitting": lr_overfitting, "clever_radius": clever_radius}
    )
    attacks.check_epsilon(epsilon, norm)
    robustness.check_grid(eps_step, 1.0)
    if given["folds"] < 2 or given["clever_batches"] < 2:
        raise ValueError(
            f"folds is {given['folds']} and clever_batches {given['clever_batches']}: "
            "both must be at least 2."
        )


def regimes(given):
    """Learning rate of each regime."""
    return {"normal": given["lr_normal"], "overfitting": given["lr_overfitting"]}


def plan(*, datasets, data_root, device, **given):
    """The calls of the study: for each data set both trainings, then what is read off each fold.

    Parameters
    ----------
    datasets : list of str
    data_root, device : str
        Where it runs.
    **given
        The other parameters of the notebook, by name.

    Returns
    -------
    dict of str to (kit.data.Dataset, list of kit.steps.Call)

    Raises
    ------
    ValueError, FileNotFoundError
        A data set is not there, or too small for the folds.
    """
    plans = {}
    for name in datasets:
        dataset = common.load(name, data_root, given["train"], given["test"], 0, given["seed"])
        if dataset.y_train.bincount().min() < given["folds"]:
            raise ValueError(
                f"A class of {name} has fewer training images than there are folds, "
                f"{given['folds']}: use more images or fewer folds."
            )
        trained = {"dataset": name, "fingerprint": dataset.fingerprint}
        trained |= {key: given[key] for key in TRAINING}
        where = {"data_root": data_root, "device": device}
        made = [
            _regime_calls(dataset, given, label, {**trained, "lr": float(lr)}, where)
            for label, lr in regimes(given).items()
        ]
        # Both trainings first, so that they run side by side.
        plans[name] = dataset, [c[0] for c in made] + [call for c in made for call in c[1:]]
    return plans


def measured_epochs(epochs, every):
    """Epochs at which CLEVER is measured: the first, every so many, and the last."""
    return sorted({1, *range(every, epochs + 1, every), epochs})


def _regime_calls(dataset, given, label, trained, where):
    label, cost = f"{dataset.name} {label}", _costs(dataset, given)
    training = Call(
        regime, {**trained, **where}, f"{label}, {given['folds']} folds", **cost["regime"]
    )
    crafting = {"epsilon": float(given["epsilon"])} | {
        name: given[name] for name in ("norm", "pgd_steps", "attack_images")
    }
    measuring = {"images": given["metric_images"], "eps_step": float(given["eps_step"])}
    scoring = {
        "images": given["clever_images"], "batches": given["clever_batches"],
        "batch_size": given["clever_batch_size"], "radius": float(given["clever_radius"]),
    }  # fmt: skip
    calls = [training]

    def add(step, what, **own):
        parameters, name = {"trained": trained, **own, **where}, step.__name__
        calls.append(Call(step, parameters, f"{label}, {what}", after=(training,), **cost[name]))

    for fold in range(1, given["folds"] + 1):
        for crafted in ("best", "last"):
            what = f"fold {fold}: attacks on the {crafted} snapshot"
            add(attacked, what, fold=fold, crafted=crafted, **crafting)
        add(measured, f"fold {fold}: gradients", fold=fold, **measuring)
        for epoch in measured_epochs(given["epochs"], given["clever_every"]):
            add(scored, f"fold {fold}, epoch {epoch}: CLEVER", fold=fold, epoch=epoch, **scoring)
    return calls


def _costs(dataset, given):
    """What the steps take on one CPU core, roughly, from some timed on a 2023 Xeon."""
    values = int(np.prod(dataset.shape))
    per_image = 4e-5 + 1e-7 * values  # once through the net and back
    count, snapshots = len(dataset.x_train), given["folds"] * given["epochs"]
    attacks = given["attack_images"] or len(dataset.x_test)
    metrics = min(given["metric_images"], len(dataset.x_test))
    scores = 2 * given["clever_images"] * given["clever_batches"] * given["clever_batch_size"]
    size = 4 * sum(p.numel() for p in nets.build(NET, dataset.shape, dataset.classes).parameters())
    memory = 6e8 + 8 * (dataset.x_train.numel() + dataset.x_test.numel()) + 2 * snapshots * size
    seconds = {
        "regime": snapshots * count * (per_image + 1e-3 / given["batch_size"]),
        "attacked": per_image * (
            attacks * (300 + given["pgd_steps"])
            + given["epochs"] * (len(dataset.x_test) + 4 * attacks) / 3
        ),
        "measured": per_image * given["epochs"] * metrics * (1 + 0.1 / given["eps_step"]),
        "scored": per_image * scores * 3,
    }  # fmt: skip
    disk = {"regime": snapshots * size, "attacked": given["epochs"] * 5 * attacks}
    return {
        kind: {"seconds": cost, "memory": memory, "disk": disk.get(kind, 4e3)}
        for kind, cost in seconds.items()
    }


@step(version=1)
def regime(
    *, dataset, train, test, fingerprint, folds, epochs, batch_size, lr, seed, data_root, device
):
    """Train one net per fold, all at once, and keep every epoch of each.

    Equal folds start from equal weights and see the images in the same order, whatever the
    learning rate.

    Returns
    -------
    dict
        ``train_accuracy`` (averaged over the epoch while it trains) and ``validation_accuracy``,
        shape (folds, epochs), and for every parameter NAME of the net ``weights NAME``, shape
        (folds, epochs, …).
    """
    whole = common.load(dataset, data_root, train, test, 0, seed)
    common.check_unchanged(whole, fingerprint)
    pairs = whole.folds(folds, runtime.derive_seed(seed, "folds"))
    shortest = min(len(rows) for rows, _ in pairs)  # folds may differ by an image or so
    split = common.on_device(whole, device)
    members = [
        nets.build(NET, split.shape, split.classes, seed=runtime.derive_seed(seed, "net", fold))
        for fold in range(folds)
    ]
    state = members[0].state_dict()
    weights = {k: np.empty((folds, epochs, *v.shape), np.float32) for k, v in state.items()}
    validation = np.empty((folds, epochs))

    def keep(member, epoch, model):
        held_out = pairs[member][1]
        accuracy = training.accuracy(model, split.x_train[held_out], split.y_train[held_out])
        validation[member, epoch - 1] = accuracy
        for name, value in model.state_dict().items():
            weights[name][member, epoch - 1] = value.cpu().numpy()

    histories = training.fit_many(
        [member.to(split.x_train.device) for member in members], split.x_train, split.y_train,
        subsets=[rows[:shortest] for rows, _ in pairs], epochs=epochs, batch_size=batch_size,
        lr=lr, seed=runtime.derive_seed(seed, "order"), on_epoch=keep,
    )  # fmt: skip
    return {
        "train_accuracy": np.array([history["accuracy"] for history in histories]),
        "validation_accuracy": validation,
        **{f"weights {name}": value for name, value in weights.items()},
    }


@functools.lru_cache(maxsize=1)
def _kept(**trained):
    """The result of a training, kept in memory for the next step of its folds."""
    return regime(**trained)


class _Fold:
    """One fold of a trained regime: its data on the device, and its snapshots."""

    def __init__(self, trained, fold, data_root, device):
        names = ("dataset", "train", "test", "seed")
        dataset, train, test, seed = (trained[name] for name in names)
        self.split = common.on_device(common.load(dataset, data_root, train, test, 0, seed), device)
        found = _kept(**trained, data_root=data_root, device=device)
        self.best = 1 + int(found["validation_accuracy"][fold - 1].argmax())
        self.weights = {
            name.removeprefix("weights "): value[fold - 1]
            for name, value in found.items()
            if name.startswith("weights ")
        }

    def snapshot(self, epoch):
        """The net after an epoch, counted from 1."""
        net = nets.build(NET, self.split.shape, self.split.classes)
        net.load_state_dict({k: torch.from_numpy(v[epoch - 1]) for k, v in self.weights.items()})
        return net.eval().to(self.split.x_test.device)


@step(version=1)
def attacked(*, trained, fold, crafted, epsilon, norm, pgd_steps, attack_images, data_root, device):
    """Craft adversarial examples on one snapshot of a fold and show them to all of its snapshots.

    Only test images that the crafting snapshot gets right are attacked. ``crafted`` says which it
    is: ``"best"``, the first with the best validation accuracy, or ``"last"``, where only CW is
    run. ``noise`` is no attack: a random direction of the same size as FGSM's, clipped.

    Returns
    -------
    dict
        ``epoch`` of the crafting snapshot, ``labels`` of the test images and ``test_predictions``
        of all snapshots, shape (epochs, images); ``image``: which test images were attacked. For
        each attack NAME ``NAME_predictions``, shape (epochs, attacked), and ``NAME_norms``, shape
        (2, 3, attacked): over all channels and over the first alone, L0, L2 and L∞.
        ``NAME_examples`` and ``originals``: the first eight images.
    """
    study = _Fold(trained, fold, data_root, device)
    epochs = trained["epochs"]
    epoch = epochs if crafted == "last" else study.best
    net, split = study.snapshot(epoch), study.split
    right = (training.predict(net, split.x_test) == split.y_test).nonzero()[:, 0]
    right = right[: attack_images or None]
    x, y = split.x_test[right], split.y_test[right]
    random = runtime.derive_seed(trained["seed"], "attack", fold)
    options = {"eps": epsilon, "norm": norm}
    craft = {
        "cw": lambda: attacks.cw_l2(net, x, y),
        "fgsm": lambda: attacks.fgsm(net, x, y, **options),
        "pgd": lambda: attacks.pgd(net, x, y, steps=pgd_steps, seed=random, **options),
        "noise": lambda: attacks.random_direction(x, seed=random, **options),
    }
    chosen = ATTACKS[:1] if crafted == "last" else ATTACKS
    sets = {name: craft[name]() if len(x) else x for name in chosen}
    shown = {"test": split.x_test, **sets}
    snapshots = [study.snapshot(number) for number in range(1, epochs + 1)]
    return {
        "epoch": epoch,
        "labels": split.y_test.cpu().numpy().astype(np.int16),
        "image": right.cpu().numpy().astype(np.int32),
        "originals": data.as_bytes(x[:EXAMPLES]),
        **{f"{name}_norms": _norms(x, x_adv) for name, x_adv in sets.items()},
        **{f"{name}_examples": data.as_bytes(x_adv[:EXAMPLES]) for name, x_adv in sets.items()},
        **{f"{name}_predictions": _said(snapshots, images) for name, images in shown.items()},
    }


def _norms(x, x_adv):
    """Norms over all channels and over the first alone, shape (2, 3, N)."""
    found = [robustness.perturbation_norms(x, x_adv, channel=channel) for channel in (None, 0)]
    return np.array([[norm.float().cpu().numpy() for norm in each.values()] for each in found])


def _said(snapshots, x):
    """What every snapshot predicts, shape (snapshots, N)."""
    if not len(x):
        return np.empty((len(snapshots), 0), np.int16)
    return np.array([training.predict(net, x).cpu().numpy() for net in snapshots], np.int16)


@step(version=1)
def measured(*, trained, fold, images, eps_step, data_root, device):
    """Loss sensitivity and empirical robustness of every snapshot of a fold.

    Returns
    -------
    dict
        ``loss_sensitivity``, ``empirical_robustness`` (NaN where no step fooled) and
        ``successes``, each of shape (epochs,), on the first `images` test images.
    """
    study = _Fold(trained, fold, data_root, device)
    x, y = study.split.x_test[:images], study.split.y_test[:images]
    rows = []
    for epoch in range(1, trained["epochs"] + 1):
        net = study.snapshot(epoch)
        smallest = robustness.empirical_robustness(net, x, eps_step=eps_step, details=True)
        sensitivity = robustness.loss_sensitivity(net, x, y)
        rows.append((sensitivity, smallest.value, smallest.successes))
    names = ("loss_sensitivity", "empirical_robustness", "successes")
    return dict(zip(names, np.array(rows, float).T, strict=True))


@step(version=1)
def scored(*, trained, fold, epoch, images, batches, batch_size, radius, data_root, device):
    """CLEVER (L2) of one snapshot, on logits and on softmax outputs.

    Returns
    -------
    dict
        For OUTPUT ``logits`` and ``softmax``: ``OUTPUT_scores``, ``OUTPUT_fell_back`` and
        ``OUTPUT_at_cap``, each of shape (images,), on the first test images.
    """
    study = _Fold(trained, fold, data_root, device)
    out = {}
    for output in ("logits", "softmax"):
        found = robustness.clever(
            study.snapshot(epoch), study.split.x_test[:images], radius=radius, batches=batches,
            batch_size=batch_size, output=output, details=True,
            seed=runtime.derive_seed(trained["seed"], "clever"),
        )  # fmt: skip
        for name in ("scores", "fell_back", "at_cap"):
            out[f"{output}_{name}"] = getattr(found, name).cpu().numpy()
    return out
