"""A linear classifier, the hypothesis class that the theory of domain adaptation speaks of."""

from __future__ import annotations

import math

from torch import nn


class Linear(nn.Sequential):
    """One fully connected layer on the pixels (logistic regression).

    Parameters
    ----------
    shape
        Shape of one image, (C, H, W).
    classes
        Number of classes.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(math.prod(shape), classes))
