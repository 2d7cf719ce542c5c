"""CLEVER of a LeNet-5 trained on MNIST against the Adversarial Robustness Toolbox."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from art import metrics
from art.estimators.classification import PyTorchClassifier

import kit
from benchmarks import models
from benchmarks.rows import Row, in_turn


def rows(root: str, quick: bool) -> Iterator[Row]:
    """L2, radius 5, 10 batches of 100 points."""
    mnist = kit.data.load("mnist", root, train=2000 if quick else 20_000, test=1000)
    _, net, x, _ = models.trained("LeNet-5", mnist, models.lenet, 4, 1 if quick else 3)
    known = PyTorchClassifier(
        net, torch.nn.CrossEntropyLoss(), mnist.shape, 10, clip_values=(0, 1), device_type="cpu"
    )

    def theirs() -> list[float]:
        np.random.seed(0)  # noqa: NPY002 ART draws from the global generator
        return [metrics.clever_u(known, i.numpy(), 10, 100, 5.0, 2, verbose=False) for i in x]

    ways = {"kit": lambda: kit.robustness.clever(net, x), "ART": theirs}
    ours, scores = ways["kit"](), theirs()
    same = ", ".join(f"{a:.2f} and {b:.2f}" for a, b in zip(ours.tolist(), scores, strict=True))
    seconds = in_turn(ways, 1 if quick else 3)
    why = "backward convolutions, one for each class that may decide, take most of the time"
    yield Row(f"CLEVER, {len(x)} images", "ART", *seconds.values(), 15, f"scores {same}", why)
