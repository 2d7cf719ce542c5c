"""Models that tests are made of, and random images."""

import torch
from torch import nn


class Linear(nn.Module):
    """Logits w·x + b, for which distances to boundaries are known."""

    def __init__(self, weight, bias):
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, x):
        return x.flatten(1) @ self.weight.T + self.bias


class Deaf(nn.Module):
    """Says the same whatever it sees, without a graph from the images to the logits."""

    def __init__(self, *logits):
        super().__init__()
        self.logits = logits

    def forward(self, x):
        return torch.tensor(self.logits, dtype=x.dtype, device=x.device).expand(len(x), -1)


class Diverged(nn.Module):
    """Says NaN of bright images, or of all; with `steep` it is the gradient that is missing."""

    def __init__(self, everywhere=False, steep=False, factor=True):
        super().__init__()
        weight = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
        self.layer = Linear(weight, torch.zeros(3))
        self.everywhere, self.steep, self.factor = everywhere, steep, factor

    def forward(self, x):
        logits, flat = self.layer(x), x.flatten(1)
        bad = (flat.mean(1, keepdim=True) > 0.5) | self.everywhere
        if self.steep:  # the root of 0 is 0, but infinitely steep
            return logits + (flat[:, :1] * torch.where(bad, 0, 1)).sqrt()
        if self.factor:
            return logits * torch.where(bad, torch.nan, 1)
        return torch.where(bad, torch.nan, logits)


def random(*shape, seed=0, **options):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), **options)
