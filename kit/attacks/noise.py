"""No attack: what noise of an attack's size does."""

import torch

from kit.attacks.common import check_epsilon, check_images, steepest


def random_direction(x, *, eps, norm="linf", seed=0):
    """Move every image by ε in a direction that knows no model: the control for attacks.

    Parameters
    ----------
    x : torch.Tensor
        Images, shape (N, C, H, W), in [0, 1].
    eps : float
        Size of the change in `norm`, before it is clipped to [0, 1]; in (0, 1] for L∞.
    norm : {"linf", "l2"}
        With L∞ every value moves up or down by ε, as with FGSM; with L2 all directions are alike.
    seed : int
        Chooses the directions; the same on every device.

    Returns
    -------
    torch.Tensor
        Shape of `x`.

    Raises
    ------
    ValueError
        An option is out of range, or images lie outside [0, 1] or are missing.

    Examples
    --------
    >>> (random_direction(torch.full((1, 1, 2, 2), 0.5), eps=0.25) - 0.5).abs().unique().tolist()
    [0.25]
    """
    check_epsilon(eps, norm)
    check_images(x)
    random = torch.Generator().manual_seed(seed)
    direction = steepest(torch.randn(x.shape, generator=random, dtype=x.dtype), norm)
    return (x + eps * direction.to(x.device)).clamp(0, 1)
