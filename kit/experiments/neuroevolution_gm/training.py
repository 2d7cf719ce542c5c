"""What the study trains nets on, judges them on, and how it trains them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

import kit
from kit.data.splits import Split
from kit.nets.genome import Genome

if TYPE_CHECKING:
    import torch

    from kit.data import Dataset

GM = Mapping[str, Any]  # "gradients" of the training images, "strength" (λ) and "variant"


def passes(split: Split, epochs: int, count: int = 0, **_: Any) -> float:
    """How the work of a training grows."""
    return epochs * (count or split.about.train) * math.prod(split.about.shape[1:])


def trained_on(data: Dataset, hold_out: int, count: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Training images without those held out for the fitness; the first `count`, or all."""
    if (hold_out or count) and bool((data.y_train.diff() >= 0).all()):
        raise ValueError(
            f"The training images of {data.title} lie sorted by class, and search_train and "
            "hold_out take the first of them: shuffle the file, or set both to 0."
        )
    x, y = data.x_train[hold_out:], data.y_train[hold_out:]
    return x[: count or None], y[: count or None]


def judged_on(data: Dataset, hold_out: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What the fitness looks at: the test images as in the paper, or those held out."""
    if hold_out:
        return data.x_train[:hold_out], data.y_train[:hold_out]
    return data.x_test, data.y_test


def tensor(values: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    """An array as a tensor on another one's device."""
    import torch

    return torch.from_numpy(values).to(like.device)


def trained_net(
    data: Dataset,
    net: str | Genome,
    *,
    epochs: int,
    batch_size: int,
    optimizer: str,
    lr: float,
    hold_out: int,
    seed: int,
    count: int = 0,
    gm: GM | None = None,
    defense: Mapping | None = None,
    weights: Mapping[str, np.ndarray] | None = None,
    precision: str = "float32",
) -> torch.nn.Module:
    """A net trained plainly, with the GM loss, or adversarially (`defense`); from `weights` on."""
    x, y = trained_on(data, hold_out, count)
    options: dict[str, Any] = {"epochs": epochs, "precision": precision}
    if weights is None:
        model = kit.nets.build(net, data.shape, data.classes, seed=seed)
    else:
        model = kit.nets.restore(net, data.shape, data.classes, weights)
    model.to(x.device)
    if gm:
        options["loss"] = kit.misalignment.misaligned(
            tensor(gm["gradients"], x), strength=gm["strength"], variant=gm["variant"]
        )
    if defense:
        options |= kit.defenses.adversarial_training(**defense, epochs=epochs)
    kit.training.fit(
        model, x, y, batch_size=batch_size, optimizer=optimizer, lr=lr, seed=seed, **options
    )
    return model
