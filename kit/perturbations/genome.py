"""Genomes: noise as the numbers that a search changes, and back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from kit.constraints import is_whole, number

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
    check_pixels(pixels, shape)
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
    >>> from kit.perturbations import uniform
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
    check_pixels(pixels, shape)
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


def check_pixels(pixels: int, shape: Shape) -> None:
    """Refuse more pixels per class than an image has, or none, with a ValueError."""
    area = shape[1] * shape[2]
    if not is_whole(pixels) or not 1 <= pixels <= area:
        raise ValueError(
            f"pixels is {pixels!r}: use a whole number from 1 to {area}, "
            f"since an image has {shape[1]}×{shape[2]} pixels."
        )
