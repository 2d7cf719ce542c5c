"""How harmful is a perturbation? The score that a search climbs (Chaudhury & Yamasaki, §3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, overload

import torch
from torch import Tensor

from kit import checks, divergence, nets, perturbations, runtime, training
from kit.constraints import SEED


class Fitness(NamedTuple):
    """Scores of M candidates, float64 of shape (M,) each; NaN where a loss was not a number.

    ``learnt`` is the accuracy of each net on the corrupted images that it was trained on: where it
    is low, ``mismatch`` says little.
    """

    total: Tensor
    mismatch: Tensor
    divergence: Tensor
    learnt: Tensor


def search_net(shape: Sequence[int]) -> str:
    """The paper's search net for images of a shape: ``"graynet"`` or ``"colornet"``.

    Examples
    --------
    >>> search_net((1, 28, 28)), search_net((3, 32, 32))
    ('graynet', 'colornet')
    """
    return "graynet" if shape[0] == 1 else "colornet"


@overload
def fitness(
    noise: Tensor,
    x: Tensor,
    y: Tensor,
    *,
    net: str | None = ...,
    epochs: int = ...,
    optimizer: str = ...,
    lr: float = ...,
    batch_size: int = ...,
    discriminator: str = ...,
    discriminator_epochs: int = ...,
    seed: int = ...,
    stacked: bool | None = ...,
    precision: str = ...,
    details: Literal[False] = ...,
) -> Tensor: ...
@overload
def fitness(
    noise: Tensor,
    x: Tensor,
    y: Tensor,
    *,
    net: str | None = ...,
    epochs: int = ...,
    optimizer: str = ...,
    lr: float = ...,
    batch_size: int = ...,
    discriminator: str = ...,
    discriminator_epochs: int = ...,
    seed: int = ...,
    stacked: bool | None = ...,
    precision: str = ...,
    details: Literal[True],
) -> Fitness: ...
def fitness(
    noise: Tensor,
    x: Tensor,
    y: Tensor,
    *,
    net: str | None = None,
    epochs: int = 3,
    optimizer: str = "adam",
    lr: float = 1e-3,
    batch_size: int = 128,
    discriminator: str = "linear",
    discriminator_epochs: int = 10,
    seed: int = 0,
    stacked: bool | None = None,
    precision: str = "float32",
    details: bool = False,
) -> Tensor | Fitness:
    """How much does training on corrupted images hurt on clean ones? (§3.3)

    For each candidate a fresh net f is trained on the corrupted images. Then F = F_m + F_d with

    - F_m = E[CE(f(x), y)] − E[CE(f(x + δ), y)], the semantic mismatch on the training images. The
      paper prints the terms the other way round; its words ("encourages high loss of
      generalization between clean and corrupted") fix the sign.
    - F_d = 1 − 2ε, the domain divergence, ε the error of :func:`kit.divergence.
      discriminator_errors`. At its largest value, 1, only F_m still tells candidates apart.

    All candidates of one call start from the same weights and see the same batches, so that their
    scores differ by the candidates alone. Scores of calls with other seeds differ by chance too.

    Parameters
    ----------
    noise
        Candidates, shape (M, classes, C, H, W).
    x
        Clean training images, shape (N, C, H, W), in [0, 1], on the device to compute on.
    y
        Labels, shape (N,).
    net
        Name for :func:`kit.nets.build`; by default as :func:`search_net` says.
    epochs, optimizer, lr, batch_size
        Training of the nets, as in :func:`kit.training.fit`.
    discriminator
        Name of the discriminator's net; ``"linear"`` as in the theory.
    discriminator_epochs
    seed
    stacked, precision
        As in :func:`kit.training.fit_many`; the discriminator, which is small, keeps float32.
    details
        Return both parts too.

    Returns
    -------
    torch.Tensor or Fitness
        Shape (M,); larger is more harmful.

    Raises
    ------
    ValueError
        A name is unknown, the net does not fit the images, or they, labels and noise each other.

    Examples
    --------
    Noise that is none harms nothing:

    >>> import kit
    >>> digits = kit.data.load("digits", train=200)
    >>> pixels = kit.perturbations.uniform(10, 8, digits.shape)
    >>> noise = torch.stack([torch.zeros_like(pixels), pixels])
    >>> none, some = fitness(noise, digits.x_train, digits.y_train, epochs=2)
    >>> abs(round(float(none), 3)), bool(some > 0)
    (0.0, True)
    """
    checks.check_noise(noise, x, y)
    seed, noise = SEED.check("seed", seed), noise.to(x.device)
    mismatch, learnt = _mismatch(
        noise,
        x,
        y,
        net=net,
        seed=seed,
        epochs=epochs,
        optimizer=optimizer,
        lr=lr,
        batch_size=batch_size,
        stacked=stacked,
        precision=precision,
    )
    errors = divergence.discriminator_errors(
        noise,
        x,
        y,
        net=discriminator,
        epochs=discriminator_epochs,
        batch_size=batch_size,
        seed=runtime.derive_seed(seed, "discriminator"),
        stacked=stacked,
    )
    scores = Fitness(mismatch + 1 - 2 * errors, mismatch, 1 - 2 * errors, learnt)
    return scores if details else scores.total


def _mismatch(noise, x, y, *, net, seed, **options):
    """F_m of each candidate, NaN where a loss is no finite number, and accuracy; shape (M,)."""
    shape, classes = tuple(x.shape[1:]), noise.shape[1]
    initial = runtime.derive_seed(seed, "net")
    models = [
        nets.build(net or search_net(shape), shape, classes, seed=initial).to(x.device)
        for _ in noise
    ]
    order = runtime.derive_seed(seed, "order")
    training.fit_many(models, x, y, member_args=noise, transform=_corrupt, seed=order, **options)
    rows = []
    for model, candidate in zip(models, noise, strict=True):
        clean, _ = training.evaluate_or_nan(model, x, y)
        corrupted, learnt = training.evaluate_or_nan(model, *_corrupt(candidate, x, y))
        rows.append((clean - corrupted, learnt))
    mismatch, learnt = torch.tensor(rows, dtype=torch.float64).T
    return mismatch.where(mismatch.isfinite(), torch.nan), learnt


def _corrupt(noise, x, y):
    return perturbations.apply(noise, x, y), y
