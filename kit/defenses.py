"""What 4.T6 compares with: filters before the net, and adversarial training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from kit.attacks.noise import uniform_ball
from kit.checks import check_eps, check_images
from kit.constraints import OneOf
from kit.gradients import loss_gradient
from kit.training.losses import Model


def jpeg(x: Tensor, *, quality: int = 75) -> Tensor:
    """Images after JPEG compression (Guo et al., 2018).

    Parameters
    ----------
    x
        Images, shape (N, C, H, W), C being 1 or 3, in [0, 1].
    quality
        1 (worst) to 100.

    Returns
    -------
    torch.Tensor
        Shape of `x`, multiples of 1/255.

    Raises
    ------
    ValueError
        The quality is out of range, or x is no batch of images.
    """
    if not 1 <= quality <= 100:
        raise ValueError(f"quality is {quality}: use 1 to 100.")

    def compress(image: np.ndarray) -> np.ndarray:
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED))

    return _filtered(x, compress)


def bilateral(x: Tensor, *, diameter: int = 5, color: float = 25, space: float = 5) -> Tensor:
    """Images after a bilateral filter, which smooths but keeps edges.

    Parameters
    ----------
    x
        Images, shape (N, C, H, W), C being 1 or 3, in [0, 1].
    diameter
        Of the neighbourhood, in pixels.
    color, space
        Standard deviations: in grey levels of 255, and in pixels.

    Returns
    -------
    torch.Tensor
        Shape of `x`, multiples of 1/255.
    """
    return _filtered(x, lambda image: cv2.bilateralFilter(image, diameter, color, space))


FILTERS: dict[str, Callable[..., Tensor]] = {"jpeg": jpeg, "bilateral": bilateral}


def filtered(x: Tensor, *, kind: str, **options: Any) -> Tensor:
    """Images after the filter of a name in `FILTERS`."""
    OneOf(FILTERS, "filter").check("kind", kind)
    return FILTERS[kind](x, **options)


def _filtered(x: Tensor, function: Callable[[np.ndarray], np.ndarray]) -> Tensor:
    check_images(x)
    if x.shape[1] not in (1, 3):
        raise ValueError(f"The images have {x.shape[1]} channels: give grey or colour images.")
    # OpenCV has the channels last, and blue first.
    whole = (x * 255).round().byte().flip(1).permute(0, 2, 3, 1).cpu().numpy()
    out = np.stack([function(image).reshape(image.shape) for image in whole])
    pixels = torch.from_numpy(out).permute(0, 3, 1, 2).flip(1)
    return pixels.to(x.device).float().div(255).contiguous()


def adversarial_training(kind: str, *, eps: float, epochs: int, replays: int = 4) -> dict[str, Any]:
    """Options of :func:`kit.training.fit` for adversarial training, at a budget of updates.

    Parameters
    ----------
    kind
        ``"fast"`` (:class:`Fast`) or ``"free"`` (:class:`Free`).
    eps
        ε in L∞, in (0, 1].
    epochs
        Free training goes through the images `replays` times less often, since it takes each batch
        `replays` times in a row.
    replays
        Of free training.

    Examples
    --------
    >>> sorted(adversarial_training("free", eps=8 / 255, epochs=20))
    ['epochs', 'loss', 'replays']
    """
    check_eps(eps)
    if kind == "fast":
        return {"perturb": Fast(eps), "epochs": epochs}
    if kind == "free":
        return {"loss": Free(eps), "replays": replays, "epochs": max(round(epochs / replays), 1)}
    raise ValueError(f"Unknown adversarial training {kind!r}: use fast or free.")


class Fast:
    """Fast adversarial training (Wong, Rice & Kolter, ICLR 2020): FGSM from a random start.

    A hook for `perturb` of :func:`kit.training.fit`. Steps have size 1.25·ε, as in the paper.
    """

    def __init__(self, eps: float) -> None:
        self.eps = eps
        self.reset()

    def reset(self) -> None:
        """Begin a new training."""
        self.batches = 0  # that have drawn their random starts

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """Adversarial images to train on."""
        self.batches += 1
        start = uniform_ball(x.shape, "linf", seed=self.batches, dtype=x.dtype).to(x.device)
        change = self.eps * start
        grad = loss_gradient(model, (x + change).clamp(0, 1), y)
        change = (change + 1.25 * self.eps * grad.sign()).clamp(-self.eps, self.eps)
        return (x + change).clamp(0, 1)


class Free:
    """Free adversarial training (Shafahi et al., NeurIPS 2019).

    A `loss` for :func:`kit.training.fit`, which must replay each batch: one backward pass serves
    the weights and the images, whose change goes on from replay to replay and batch to batch.
    """

    def __init__(self, eps: float) -> None:
        self.eps = eps
        self.reset()

    def reset(self) -> None:
        """Begin a new training."""
        self.change: Tensor | None = None

    def __call__(self, model: Model, x: Tensor, y: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy on adversarial images, and their logits."""
        if self.change is None:
            self.change = torch.zeros_like(x)
        if len(self.change) < len(x):  # the last batch may be larger than the others
            self.change = torch.cat([self.change, torch.zeros_like(x[len(self.change) :])])
        change = self.change[: len(x)]

        def ascend(grad: Tensor) -> None:
            change.add_(self.eps * grad.sign()).clamp_(-self.eps, self.eps)

        images = (x + change).clamp(0, 1).requires_grad_()
        images.register_hook(ascend)
        logits = model(images.clone())  # a model may work in place
        return nn.functional.cross_entropy(logits, y), logits
