"""The steps: LeNet-5 on one run's split, and K-NN before and after attacks on that net."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

import kit
from kit import runtime
from kit.data.splits import Split
from kit.harness.steps import step

if TYPE_CHECKING:
    import torch

    from kit.data import Dataset


@step(
    version=2,
    label="{split}: LeNet-5",
    work=lambda split, epochs, **_: epochs * split.about.train,
    bulky=("weights",),
)
def lenet(*, split: Split, epochs: int, precision: str = "float32") -> dict:
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
    history = kit.training.fit(
        net, data.x_train, data.y_train, epochs=epochs, seed=order, precision=precision
    )
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
    *,
    split: Split,
    weights: Mapping[str, np.ndarray],
    largest_k: int,
    eps: float,
    control_draws: int,
) -> dict:
    """One run: K-NN labels of the test images and of their attacked versions.

    Attacked are the images that K-NN gets right for some K; :func:`tables.sets` picks those of
    one Z.

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
