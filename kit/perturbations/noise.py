"""Noise added to images, and the baselines: uniform pixels, the left column, the shortcut."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from kit.checks import check_data, check_pairs
from kit.constraints import SEED, whole
from kit.perturbations.genome import Shape, check_pixels


def apply(noise: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Corrupt a batch: clip(x + noise_y) in [0, 1].

    Parameters
    ----------
    noise
        Shape (classes, C, H, W), on the device of `x`.
    x
        Images, shape (N, C, H, W), in [0, 1].
    y
        Labels, int64, shape (N,).

    Returns
    -------
    torch.Tensor
        Shape of `x`.

    Raises
    ------
    ValueError
        Shapes or types do not fit together, on a CPU also if the noise has no such class: since it
        runs in every batch of a training, pixels are not looked at.

    Examples
    --------
    >>> import kit
    >>> digits = kit.data.load("digits")
    >>> noise = uniform(classes=10, pixels=1, shape=digits.shape)
    >>> corrupted = apply(noise, digits.x_train, digits.y_train)
    >>> int((corrupted != digits.x_train).flatten(1).sum(1).max())  # pixels of an image
    1
    """
    check_pairs(x, y)
    if noise.shape[1:] != x.shape[1:]:
        raise ValueError(
            f"The noise has shape {tuple(noise.shape)} and the images {tuple(x.shape)}: noise must "
            "be of shape (classes, C, H, W)."
        )
    try:  # indexing would take −1 for the last class
        of_image = noise.index_select(0, y)
    except IndexError as error:
        raise ValueError(
            f"Some labels are no classes: the noise has {len(noise)}, so use whole numbers from 0 "
            f"to {len(noise) - 1}."
        ) from error
    return (x + of_image).clamp(0, 1)


def uniform(classes: int, pixels: int, shape: Shape, *, seed: int = 0) -> Tensor:
    """The paper's baseline (§4.2): places drawn uniformly over the image, at full amplitude.

    Parameters
    ----------
    classes, pixels
        Number of classes, and of pixels per class.
    shape
        Shape of one image, (C, H, W).

    Returns
    -------
    torch.Tensor
        Shape (classes, C, H, W). Grey pixels become white, colour pixels a random extreme colour;
        the pixels of one class never fall on one spot.

    Examples
    --------
    >>> grey, colour = uniform(10, 3, shape=(1, 8, 8)), uniform(10, 3, shape=(3, 8, 8))
    >>> grey[0].count_nonzero().item(), grey.unique().tolist(), colour.unique().tolist()
    (3, [0.0, 1.0], [-1.0, 0.0, 1.0])
    """
    check_pixels(pixels, shape)
    channels, height, width = shape
    generator = torch.Generator().manual_seed(SEED.check("seed", seed))
    whole(1).check("classes", classes)
    noise = torch.zeros(classes, channels, height * width, dtype=torch.float32)
    for image in noise:
        places = torch.randperm(height * width, generator=generator)[:pixels]
        colours = torch.randint(2, (channels, pixels), generator=generator) * 2 - 1.0
        image[:, places] = colours if channels > 1 else 1.0
    return noise.reshape(classes, *shape)


def left_column(classes: int, shape: Shape) -> Tensor:
    """The shift of Jacobsen et al. (2018): class c whitens one pixel of the left-most column.

    Its row is round(c·(H−1)/(classes−1)), so that the rows spread over the column (our choice: the
    paper only says that the place depends on the class). Where there are more classes than rows,
    neighbours share one, and the noise does not tell them apart.

    Parameters
    ----------
    classes
        Number of classes.
    shape
        Shape of one image, (C, H, W).

    Returns
    -------
    torch.Tensor
        Shape (classes, C, H, W).

    Examples
    --------
    >>> noise = left_column(classes=10, shape=(1, 28, 28))
    >>> [noise[label, 0, :, 0].argmax().item() for label in range(10)]
    [0, 3, 6, 9, 12, 15, 18, 21, 24, 27]
    """
    noise = torch.zeros(whole(1).check("classes", classes), *shape, dtype=torch.float32)
    for label in range(classes):
        noise[label, :, round(label * (shape[1] - 1) / max(classes - 1, 1)), 0] = 1
    return noise


def one_pixel_shortcut(x: Tensor, y: Tensor, classes: int, *, seed: int = 0) -> Tensor:
    """One-Pixel Shortcut (Wu et al., ICLR 2023), found by trying every pixel and extreme colour.

    For each class the (position, colour in {0, 1}^C) with the largest mean over standard deviation
    of ``Σ_channels |colour − pixel|`` over the images of the class: a change that is large and the
    same on every image. Pixels that never vary tie at infinity (MNIST's border); ties are broken
    at random, and no two classes get the same position and colour.

    Parameters
    ----------
    x
        Training images, shape (N, C, H, W), in [0, 1].
    y
        Labels, shape (N,).
    classes
        Number of classes.
    seed
        Breaks ties.

    Returns
    -------
    torch.Tensor
        Shape (classes, C, H, W), on the CPU.

    Raises
    ------
    ValueError
        A class has no image, there are more classes than choices, or x and y do not fit together.

    Examples
    --------
    Every class gets a pixel and a colour of its own:

    >>> import kit
    >>> digits = kit.data.load("digits")
    >>> noise = one_pixel_shortcut(digits.x_train, digits.y_train, classes=10)
    >>> (noise != 0).flatten(1).sum(1).tolist()
    [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]
    >>> len(noise.unique(dim=0))
    10
    """
    check_data(x, y, classes)
    shape = tuple(x.shape[1:])
    choices = 2 ** shape[0] * shape[1] * shape[2]
    if classes > choices:
        raise ValueError(f"{classes} classes, but only {choices} pairs of a place and a colour.")
    empty = [label for label in range(classes) if not (y == label).any()]
    if empty:
        raise ValueError(f"There is no image of class {empty[0]}: give at least one of each class.")
    colours = torch.tensor(list(itertools.product((0.0, 1.0), repeat=shape[0])), dtype=x.dtype)
    generator = torch.Generator().manual_seed(SEED.check("seed", seed))
    noise = torch.zeros(classes, *shape, dtype=torch.float32)
    taken = torch.zeros(len(colours), shape[1] * shape[2], dtype=torch.bool)
    for label in range(classes):
        score = _steadiness(x[y == label].double().cpu(), colours).masked_fill(taken, -1)
        ties = (score == score.max()).nonzero()
        choice = torch.randint(len(ties), (1,), generator=generator)
        colour, place = ties[choice][0].tolist()
        taken[colour, place] = True
        noise[label, :, place // shape[2], place % shape[2]] = 2 * colours[colour] - 1
    return noise


def _steadiness(x, colours):
    """Mean over standard deviation of the change to each colour at each place, (colours, H·W)."""
    scores = []
    for colour in colours:
        change = (x - colour.view(1, -1, 1, 1)).abs().sum(1).flatten(1)
        score = change.mean(0) / change.std(0, correction=0)
        scores.append(score.nan_to_num(nan=0.0, posinf=torch.inf))  # 0 / 0: no change at all
    return torch.stack(scores)
