"""A linear classifier, the hypothesis class that the theory of domain adaptation speaks of."""

import math

from torch import nn


class Linear(nn.Sequential):
    """One fully connected layer on the pixels (logistic regression).

    Parameters
    ----------
    shape : tuple of int
        Shape of one image, (C, H, W).
    classes : int
    """

    def __init__(self, shape, classes):
        super().__init__(nn.Flatten(), nn.Linear(math.prod(shape), classes))
