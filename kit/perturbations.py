"""Class-wise pixel noise: one sparse image per class, added to every training image of the class.

Noise is a tensor of shape (classes, C, H, W) with values in [−1, 1] and up to Np pixels that are
not zero per class. Images x of class y become clip(x + noise_y) in [0, 1] (Chaudhury & Yamasaki,
ICASSP 2020, §2). Adding +1 or −1 to a channel sets it to 1 or 0, so the baselines, which set
pixels, are noise of the same kind.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from kit.checks import check_data, check_pairs
from kit.constraints import SEED, is_whole, number

Shape = Sequence[int]  # of one image, (C, H, W)


def genome_length(classes: int, pixels: int, channels: int) -> int:
    """Numbers that describe one candidate: per class and pixel row, column and channel values.

    Examples
    --------
    >>> genome_length(classes=10, pixels=1, channels=1)
    30
    """
    return classes * pixels * (2 + channels)


def start(
    classes: int, pixels: int, shape: Shape, *, place: float = 0.5, value: float = 0.75
) -> Tensor:
    """Genome from which the search starts.

    Parameters
    ----------
    classes, pixels
        Number of classes, and of pixels per class.
    shape
        Shape of one image, (C, H, W).
    place, value
        Of every pixel, in [0, 1]. At value 0.5 nothing would be perturbed; below it pixels get
        darker, which does not show where they are black.

    Returns
    -------
    torch.Tensor
        float64, shape (classes · pixels · (2 + C),).

    Examples
    --------
    >>> start(classes=1, pixels=1, shape=(1, 8, 8)).tolist()
    [0.5, 0.5, 0.75]
    >>> noise = decode(start(classes=10, pixels=1, shape=(1, 8, 8)), 10, 1, (1, 8, 8))
    >>> noise[0, 0].nonzero().tolist(), float(noise[0].max())
    ([[4, 4]], 0.5)
    """
    _check_pixels(pixels, shape)
    for name, gene_value in (("start_place", place), ("start_value", value)):
        number(least=0, to=1).check(name, gene_value)
    gene = torch.tensor([place, place, *[value] * shape[0]], dtype=torch.float64)
    return gene.repeat(classes * pixels)


def encode(noise: Tensor, pixels: int) -> Tensor:
    """The genome of extreme noise, the opposite of :func:`decode`.

    Parameters
    ----------
    noise
        Shape (classes, C, H, W), with exactly `pixels` pixels per class that are not zero, each
        value of which is 1 or −1, as :func:`uniform` gives it.

    Returns
    -------
    torch.Tensor
        float64, shape (classes · pixels · (2 + C),): places in the middle of their pixels, values
        0 or 1.

    Examples
    --------
    >>> noise = uniform(classes=2, pixels=3, shape=(1, 8, 8))
    >>> torch.equal(decode(encode(noise, 3), 2, 3, (1, 8, 8)), noise)
    True
    """
    classes, channels, height, width = noise.shape
    flat = noise.flatten(2)
    changed = flat.abs().amax(1) > 0
    counts = changed.sum(1).unique().tolist()
    if counts != [pixels]:
        found = " or ".join(map(str, counts))
        raise ValueError(f"The noise has {found} pixels per class: {pixels} are wanted for each.")
    _, places = changed.nonzero(as_tuple=True)
    places = places.view(classes, pixels)
    row = (places // width + 0.5) / height
    column = (places % width + 0.5) / width
    values = flat.gather(2, places[:, None].expand(-1, channels, -1)).transpose(1, 2)
    genes = torch.cat([row[..., None], column[..., None], (values + 1) / 2], 2)
    return genes.double().flatten()


def decode(
    genome: ArrayLike, classes: int, pixels: int, shape: Shape, *, saturation: float = 1.0
) -> Tensor:
    """Noise that a genome describes.

    A pixel's genes are its row, its column and one value per channel, all in [0, 1]. Row r becomes
    min(⌊r·H⌋, H−1), likewise the column; value v becomes clip(saturation · (2v − 1)) in [−1, 1].
    Pixels that fall on one spot add up, clipped to [−1, 1] again: opposite ones cancel, and the
    class has fewer pixels than Np.

    Parameters
    ----------
    genome
        Shape (n,) or (…, n) with n = :func:`genome_length`; values outside [0, 1] are clipped.
    classes, pixels
        Number of classes, and of pixels per class.
    shape
        Shape of one image, (C, H, W).
    saturation
        From 1 on. The larger, the more values v are extreme.

    Returns
    -------
    torch.Tensor
        float32, shape (…, classes, C, H, W).

    Raises
    ------
    ValueError
        The genome has another length or holds NaN, there are fewer than one or too many pixels, or
        saturation is below 1.

    Examples
    --------
    >>> noise = decode([0.0, 0.99, 1.0], classes=1, pixels=1, shape=(1, 4, 4))
    >>> noise[0, 0].nonzero().tolist(), float(noise.sum())
    ([[0, 3]], 1.0)
    """
    _check_pixels(pixels, shape)
    number(least=1).check("saturation", saturation)
    channels, height, width = shape
    numbers = torch.as_tensor(genome, dtype=torch.float64)
    length = genome_length(classes, pixels, channels)
    count = numbers.shape[-1] if numbers.ndim else 1
    if count != length:
        raise ValueError(
            f"The genome has {count} numbers: {classes} classes of {pixels} pixels with "
            f"{channels} channels need {length}."
        )
    if numbers.isnan().any():
        raise ValueError("The genome holds NaN: every gene must be a number in [0, 1].")
    batch = numbers.shape[:-1]
    genes = numbers.clamp(0, 1).reshape(-1, pixels, 2 + channels)
    row = (genes[..., 0] * height).long().clamp_max(height - 1)
    column = (genes[..., 1] * width).long().clamp_max(width - 1)
    values = (saturation * (2 * genes[..., 2:] - 1)).clamp(-1, 1)
    values = values.transpose(1, 2)  # (images, C, pixels)
    places = (row * width + column)[:, None].expand_as(values)
    noise = torch.zeros(len(genes), channels, height * width, dtype=torch.float64)
    noise.scatter_add_(2, places, values).clamp_(-1, 1)
    return noise.reshape(*batch, classes, *shape).float()


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
    _check_pixels(pixels, shape)
    channels, height, width = shape
    generator = torch.Generator().manual_seed(SEED.check("seed", seed))
    noise = torch.zeros(classes, channels, height * width, dtype=torch.float32)
    for image in noise:
        places = torch.randperm(height * width, generator=generator)[:pixels]
        colours = torch.randint(2, (channels, pixels), generator=generator) * 2 - 1.0
        image[:, places] = colours if channels > 1 else 1.0
    return noise.reshape(classes, *shape)


def left_column(classes: int, shape: Shape) -> Tensor:
    """The shift of Jacobsen et al. (2018): class c whitens one pixel of the left-most column.

    Its row is round(c·(H−1)/(classes−1)), so that the rows spread over the column (our choice: the
    paper only says that the place depends on the class).

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
    noise = torch.zeros(classes, *shape, dtype=torch.float32)
    for label in range(classes):
        noise[label, :, round(label * (shape[1] - 1) / max(classes - 1, 1)), 0] = 1
    return noise


def one_pixel_shortcut(x: Tensor, y: Tensor, classes: int, *, seed: int = 0) -> Tensor:
    """One-Pixel Shortcut (Wu et al., ICLR 2023), found by trying every pixel and extreme colour.

    For each class the (position, colour in {0, 1}^C) with the largest mean over standard deviation
    of Σ_channels |colour − pixel| over the images of the class: a change that is large and the
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


def _check_pixels(pixels, shape):
    area = shape[1] * shape[2]
    if not is_whole(pixels) or not 1 <= pixels <= area:
        raise ValueError(
            f"pixels is {pixels!r}: use a whole number from 1 to {area}, "
            f"since an image has {shape[1]}×{shape[2]} pixels."
        )
