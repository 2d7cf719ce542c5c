"""The fast gradient sign method (Goodfellow et al. 2014)."""

import torch

from kit.attacks.common import (
    check_batch,
    check_epsilon,
    frozen,
    in_batches,
    loss_gradient,
    steepest,
)  # fmt: skip


def fgsm(model, x, y, *, eps, norm="linf", targeted=False):
    """Fast gradient sign method: one step of size eps up the loss.

    Goodfellow et al. 2014: x + ε·sign(∇x CE(f(x), y)), clipped to [0, 1]. Targeted, the step goes
    down the loss of the target label `y`.

    Parameters
    ----------
    model : torch.nn.Module
        From images to logits.
    x : torch.Tensor
        Images, shape (N, C, H, W), in [0, 1].
    y : torch.Tensor
        True labels, or with `targeted` the labels aimed at; shape (N,).
    eps : float
        Size of the step in `norm`: for L∞ the largest change of a pixel, in (0, 1].
    norm : {"linf", "l2"}
        With L2 the step goes along the gradient itself instead of its sign.
    targeted : bool

    Returns
    -------
    torch.Tensor
        Shape of `x`.

    Raises
    ------
    ValueError
        An option is out of range, x and y do not fit together, or the model returns NaN.
    """
    check_epsilon(eps, norm)
    step = -eps if targeted else eps
    with frozen(model):
        check_batch(model, x, y)
        slope = in_batches(lambda x, y: loss_gradient(model, x, y), x, y)
    return (x + step * steepest(slope, norm)).clamp(0, 1).detach()


def fgsm_all_targets(model, x, y, *, eps, classes):
    """Targeted FGSM at every class but the image's own.

    Parameters
    ----------
    model, x, eps
        As in :func:`fgsm`.
    y : torch.Tensor
        True labels, shape (N,).
    classes : int

    Returns
    -------
    x_adv : torch.Tensor
        Shape (N, classes − 1, C, H, W).
    targets : torch.Tensor
        The label that each of them aims at, shape (N, classes − 1).
    """
    with frozen(model):
        check_batch(model, x, y)  # a label out of range would become one within
    offsets = torch.arange(1, classes, device=y.device)
    targets = (y[:, None] + offsets) % classes
    x_adv = [fgsm(model, x, aim, eps=eps, targeted=True) for aim in targets.unbind(1)]
    return torch.stack(x_adv, 1), targets
