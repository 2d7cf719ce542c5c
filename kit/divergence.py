"""How far apart two domains are, from samples (Ben-David et al. 2006, 2010).

A discriminator learns to tell clean from corrupted images. The smaller its error, the farther
apart the two domains, and the looser the bound on the risk that a classifier of the one has on the
other (Chaudhury & Yamasaki, ICASSP 2020, §3.1 and §3.2).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kit import checks, nets, perturbations, runtime, training


def risk_bound(
    source_risk: float,
    divergence: float,
    n: int,
    dimension: int,
    *,
    delta: float = 0.05,
    beta: float = 0.0,
) -> float:
    """Theorem 1's upper bound on the target risk, as printed (Eq. 3).

    Parameters
    ----------
    source_risk
        Empirical risk on the source, in [0, 1].
    divergence
        Empirical H-divergence.
    n
        Size of each sample.
    dimension
        VC dimension d of the hypotheses; C·H·W + 1 for a linear one on pixels.
    delta
        The bound holds with probability 1 − δ; in (0, 1).
    beta
        At least the smallest combined risk on both domains that one hypothesis can have.

    Returns
    -------
    float
        May be far above 1: then it says nothing.

    Raises
    ------
    ValueError
        n or dimension is below 1, n is too small for it, or delta is not in (0, 1).

    Examples
    --------
    >>> risk_bound(0.1, 0.5, 10**9, 10) < 0.61
    True
    """
    if n < 1 or dimension < 1:
        raise ValueError(f"n is {n} and dimension {dimension}: both must be at least 1.")
    if not 0 < delta < 1:
        raise ValueError(f"delta is {delta}: it must be in (0, 1).")
    confidence = math.log(4 / delta)
    second = dimension * math.log(2 * n / dimension) + confidence  # the first is larger by d
    if second < 0:
        raise ValueError(
            f"n is {n}, too small for dimension {dimension}: the bound has no value there; use "
            f"n of at least {dimension}."
        )
    first = math.sqrt(4 / n * (second + dimension))
    second = 4 * math.sqrt(second / n)
    return source_risk + first + divergence + second + beta


def discriminator_errors(
    noise: Tensor,
    x: Tensor,
    y: Tensor,
    *,
    net: str = "linear",
    epochs: int = 20,
    lr: float = 1e-2,
    batch_size: int = 128,
    seed: int = 0,
    stacked: bool | None = None,
) -> Tensor:
    """Errors of discriminators, one for each candidate noise (corrupted = 0, clean = 1).

    Each is fitted to both twins (clean and corrupted) of one half of the images and measured on
    both twins of the other half.

    Parameters
    ----------
    noise
        Candidates, shape (M, classes, C, H, W).
    x
        Clean images, shape (N, C, H, W), in [0, 1], on the device to compute on.
    y
        Labels, shape (N,).
    net
        ``"linear"``, as the theory has it, or any name that :func:`kit.nets.build` knows.
    epochs, lr, batch_size
        Training by Adam; a batch holds `batch_size` images in both versions.
    seed
        Halves the images, and starts every discriminator alike.
    stacked
        As in :func:`kit.training.fit_many`.

    Returns
    -------
    torch.Tensor
        float64, shape (M,), in [0, 1]; NaN for a discriminator that diverged.

    Raises
    ------
    ValueError
        There are fewer than two images, or noise, images and labels do not fit together.

    Examples
    --------
    Without noise a discriminator can only guess; noise that it sees makes it err less:

    >>> import kit
    >>> digits = kit.data.load("digits")
    >>> pixels = kit.perturbations.uniform(10, 8, digits.shape)
    >>> noise = torch.stack([torch.zeros_like(pixels), pixels])
    >>> none, some = discriminator_errors(noise, digits.x_train, digits.y_train, epochs=10)
    >>> round(float(none), 2), bool(some < 0.3)
    (0.5, True)
    """
    checks.check_pairs(x, y)
    if len(x) < 2:
        raise ValueError(f"{len(x)} images: a discriminator needs at least 2.")
    checks.check_noise(noise, x, y)
    order = torch.Generator().manual_seed(runtime.derive_seed(seed, "halves"))
    fitted, measured = torch.randperm(len(x), generator=order).to(x.device).tensor_split(2)
    noise = noise.to(x.device)
    models = [nets.build(net, x.shape[1:], 2, seed=seed).to(x.device) for _ in noise]
    training.fit_many(
        models,
        x[fitted],
        y[fitted],
        member_args=noise,
        transform=_twins,
        epochs=epochs,
        lr=lr,
        batch_size=batch_size,
        seed=runtime.derive_seed(seed, "order"),
        stacked=stacked,
    )
    errors = []
    for model, candidate in zip(models, noise, strict=True):
        both, labels = _twins(candidate, x[measured], y[measured])
        errors.append(1 - training.evaluate_or_nan(model, both, labels)[1])
    return torch.tensor(errors, dtype=torch.float64)


def _twins(noise, x, y):
    """Corrupted images with label 0, then their clean twins with label 1."""
    zeros = torch.zeros_like(y)
    return torch.cat([perturbations.apply(noise, x, y), x]), torch.cat([zeros, zeros + 1])
