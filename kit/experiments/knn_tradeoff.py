"""The K-NN study of Deniz, Vallez & Bueno (IWANN 2019), run by run.

Z-NN classifies the test images. Those it gets right are attacked on a LeNet-5; attacked images
that Z-NN then gets wrong are the adversarial set. How do smaller K fare on it?
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

import kit
from kit import runtime
from kit.constraints import number, odd, whole
from kit.data.splits import Split
from kit.experiments.images import ImageSettings, split
from kit.experiments.reference import REFERENCE
from kit.harness.results.study import Study
from kit.harness.steps import step

if TYPE_CHECKING:
    import torch

    from kit.data import Dataset

CONTROL = "noise (control)"
ATTACKS = {"FGSM": "fgsm", "DeepFool": "deepfool", CONTROL: "control"}
ADVERSARIAL = ("FGSM", "DeepFool")
LARGEST = 7  # K-NN labels are kept up to this K, or up to a larger Z, so that Z is chosen after
WHOLE, WRONG = "whole test set", "misclassified"
STUDY = Study(
    notebook="03_knn_tradeoff",
    reference=REFERENCE,
    datasets={"mnist": "MNIST", "cifar10": "CIFAR-10"},
    claims={
        "3.C1": "Accuracy on the adversarial set rises as K falls.",
        "3.C2": "It rises faster than on the misclassified set (S_1 and S_3, p < 0.05).",
        "3.C3": "Accuracy on the whole test set stays flat.",
        "3.X1": "Beyond the paper: it rises further than for random noise under the same filter.",
    },
    title="The K-NN trade-off",
    citation="Deniz, Vallez & Bueno: Adversarial Examples are a Manifestation of the"
    " Fitting-Generalization Trade-off. IWANN 2019.",
    headline="3.F5",
    shown_by={"3.C1": ("3.F5",), "3.C2": ("3.F7",), "3.C3": ("3.F5",)},
    names={
        "3.F4": {"mnist": "3.F4"},
        "3.F5": {"mnist": "3.F5", "cifar10": "3.F6"},
        "3.F7": {"mnist": "3.F7", "cifar10": "3.F8"},
        "3.X1": {"mnist": "3.X1"},
    },
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(ImageSettings):
    """Parameters of the study; the notebook says what each of them means."""

    runs: Annotated[int, whole(1)]
    z: Annotated[int, odd(3, "so that smaller odd K are left")]
    epsilon: Annotated[float, number(above=0, to=1)]
    epochs: Annotated[int, whole(1)]
    control_draws: Annotated[int, whole(1)]
    flat: Annotated[float, number(above=0, to=100)]

    def comparisons(self, dataset: str) -> dict[str, tuple[int, int | None]]:
        """Runs, one by one and as two samples."""
        return {
            "change within a run": (self.runs, None),
            "adversarial against misclassified": (self.runs, self.runs),
        }


@dataclasses.dataclass(frozen=True)
class Runs:
    """The nets and the runs on one data set: tasks, and once they are computed their results."""

    split: Split
    nets: list
    runs: list


def plan(config: Settings) -> dict[str, Runs]:
    """The tasks of the study by data set; one that is too small for `z` is refused."""
    return {name: _plan(config.on(name), name) for name in config.datasets}


def _plan(c: Settings, name: str) -> Runs:
    images = split(name, c.data_root, train=c.train, test=c.test, seed=c.seed)
    if c.z > images.about.train:
        raise ValueError(f"z is {c.z}: there are only {images.about.train} training images.")
    splits = [images.at(run) for run in range(1, c.runs + 1)]
    nets = [lenet.task(split=s, epochs=c.epochs) for s in splits]
    largest = max(c.z, min(LARGEST, (images.about.train - 1) | 1))
    options = {"largest_k": largest, "eps": c.epsilon, "control_draws": c.control_draws}
    runs = [
        study.task(split=s, weights=net["weights"], **options)
        for s, net in zip(splits, nets, strict=True)
    ]
    return Runs(images, nets, runs)


@step(
    version=2,
    label="{split}: LeNet-5",
    work=lambda split, epochs: epochs * split.about.train,
    bulky=("weights",),
)
def lenet(*, split: Split, epochs: int) -> dict:
    """Train LeNet-5 on one run's training split.

    Returns
    -------
    dict
        ``weights`` by name, ``accuracy`` on the run's test split, and the ``loss`` per epoch.
    """
    data, (seed, run) = split.load(), (split.seed, split.run)
    net = kit.nets.build(
        "lenet5", data.shape, data.classes, seed=runtime.derive_seed(seed, "net", run)
    ).to(data.x_train.device)
    order = runtime.derive_seed(seed, "order", run)
    history = kit.training.fit(net, data.x_train, data.y_train, epochs=epochs, seed=order)
    return {
        "weights": kit.nets.weights(net),
        "accuracy": kit.training.accuracy(net, data.x_test, data.y_test),
        "loss": np.array(history["loss"]),
    }


@step(
    version=4,
    label="{split}: K-NN under attack",
    work=lambda split, control_draws, **_: (
        split.about.test
        * (len(split.about.classes) + 1 + control_draws)
        * split.about.train
        * np.prod(split.about.shape)
    ),
)
def study(
    *, split: Split, weights: Mapping[str, np.ndarray], largest_k: int, eps: float,
    control_draws: int,
) -> dict:  # fmt: skip
    """One run: K-NN labels of the test images and of their attacked versions.

    Attacked are the images that K-NN gets right for some K; :func:`sets` picks those of one Z.

    Returns
    -------
    dict
        ``labels`` and ``test_votes`` of the test images, and for each attack NAME (``fgsm``,
        ``deepfool``, ``control``)

        - ``NAME_image``: which test image was attacked,
        - ``NAME_votes``: its labels by K-NN, one column for each odd K up to `largest_k`,
        - ``NAME_fools_net``: does LeNet-5 get it wrong?
        - ``NAME_examples``: up to ten rows of the adversarial set, for every Z from 3 on, each of
          another image, ``NAME_pixels`` their images and ``NAME_originals`` what they were made
          from.
    """
    import torch

    data = split.load()
    net = kit.nets.restore("lenet5", data.shape, data.classes, weights).to(data.x_train.device)

    def votes(x: torch.Tensor) -> np.ndarray:
        labels = kit.neighbors.predict(data.x_train, data.y_train, x, range(1, largest_k + 1, 2))
        return torch.stack(list(labels.values()), 1).cpu().numpy().astype(np.int16)

    labels, test_votes = data.y_test.cpu().numpy().astype(np.int16), votes(data.x_test)
    right = test_votes == labels[:, None]
    generator = torch.Generator().manual_seed(runtime.derive_seed(split.seed, "control", split.run))
    versions = {
        "fgsm": lambda x, y: kit.attacks.fgsm_all_targets(
            net, x, y, eps=eps, classes=len(data.classes)
        )[0],
        "deepfool": lambda x, y: kit.attacks.deepfool(net, x, y, max_eps=eps)[:, None],
        "control": lambda x, y: _noisy(x, eps, control_draws, generator),
    }
    out = {"labels": labels, "test_votes": test_votes}
    for attack, craft in versions.items():
        result = _attack(craft, net, data, right, votes)
        out |= {f"{attack}_{name}": value for name, value in result.items()}
    return out


def _noisy(x: torch.Tensor, eps: float, draws: int, generator: torch.Generator) -> torch.Tensor:
    """Copies of each image with random-sign noise, shape (N, draws, C, H, W)."""
    import torch

    signs = torch.randint(2, (len(x), draws, *x.shape[1:]), generator=generator) * 2 - 1
    return (x[:, None] + eps * signs.to(x.device)).clamp(0, 1)


def _attack(
    craft: Callable, net: torch.nn.Module, data: Dataset, right: np.ndarray, votes: Callable
) -> dict[str, Any]:
    """The results of one attack on the test images that K-NN gets `right` for some K, (N, K)."""
    import torch

    nothing = votes(data.x_test[:0]), np.empty((0, *data.shape), np.uint8)
    image, labels, pixels = [np.empty(0, np.int32)], [nothing[0]], [nothing[1]]
    fooled, examples, count = [np.empty(0, bool)], [], 0  # type: ignore[var-annotated]
    attacked = torch.from_numpy(np.flatnonzero(right.any(1)))
    for part in attacked.split(kit.attacks.BATCH) if len(attacked) else ():
        x_adv = craft(data.x_test[part], data.y_test[part])
        part = part.repeat_interleave(x_adv.shape[1])
        x_adv, truth = x_adv.flatten(0, 1), data.y_test[part]
        fooled.append((kit.training.predict(net, x_adv) != truth).cpu().numpy())
        image.append(part.numpy().astype(np.int32))
        labels.append(votes(x_adv))
        missed = labels[-1] != truth.cpu().numpy()[:, None]
        kept = np.flatnonzero((right[part.numpy()] & missed)[:, 1:].all(1))
        # One version of an image is enough to look at.
        kept = kept[np.unique(part[kept], return_index=True)[1]][: 10 - len(examples)]
        examples += (count + kept).tolist()
        pixels.append(kit.data.as_bytes(x_adv[kept]))
        count += len(x_adv)
    which, rows = np.concatenate(image), np.array(examples, dtype=np.int64)
    return {
        "image": which,
        "votes": np.concatenate(labels),
        "fools_net": np.concatenate(fooled),
        "examples": rows,
        "pixels": np.concatenate(pixels),
        "originals": kit.data.as_bytes(data.x_test[which[rows]]),
    }


def sets(run: Mapping, z: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The sets of images that the paper compares, from the result of :func:`study`.

    Returns
    -------
    dict
        For each set the K-NN labels of its images, one column for each odd K up to `z`, and the
        true labels.
    """
    columns = z // 2 + 1
    labels, votes = run["labels"], run["test_votes"][:, :columns]
    wrong = votes[:, -1] != labels
    chosen = {WHOLE: (votes, labels), WRONG: (votes[wrong], labels[wrong])}
    for name, attack in ATTACKS.items():
        image, votes = run[f"{attack}_image"], run[f"{attack}_votes"][:, :columns]
        kept = ~wrong[image] & (votes[:, -1] != labels[image])
        chosen[name] = votes[kept], labels[image[kept]]
    return chosen
