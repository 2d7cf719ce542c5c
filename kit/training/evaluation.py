"""What a trained net says, and how often it is right."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from kit import checks
from kit.batches import in_parts
from kit.constraints import whole
from kit.nets import eval_mode


@torch.no_grad()
def logits(model: nn.Module, x: Tensor, *, batch_size: int = 1000) -> Tensor:
    """What a model says about images, on the device of `x`.

    Parameters
    ----------
    model
        Is run in evaluation mode and left in the mode it came in.
    x
        Images, shape (N, C, H, W), in [0, 1].

    Returns
    -------
    torch.Tensor
        Shape (N, classes).

    Raises
    ------
    ValueError
        x are no images, or do not fit the model, or the model has diverged
        (:class:`kit.checks.DivergedError`).

    Examples
    --------
    >>> import kit
    >>> digits = kit.data.load("digits")
    >>> net = kit.nets.build("lenet5", digits.shape)
    >>> logits(net, digits.x_test).shape
    torch.Size([360, 10])
    """
    checks.check_module(model)
    checks.check_images(x, some=False)
    with eval_mode(model), checks.seen_in_the_end():
        if len(x):
            checks.check_model(model, x, _device(model, x))
        return _logits(model, x, batch_size)


def _device(model: nn.Module, x: Tensor) -> torch.device:
    return next(model.parameters(), x).device


def _logits(model: nn.Module, x: Tensor, batch_size: int = 1000) -> Tensor:
    device = _device(model, x)
    whole(1).check("batch_size", batch_size)
    with eval_mode(model):
        outputs = in_parts(lambda part: checks.run(model, part.to(device)), x, at_once=batch_size)
    return checks.finite(torch.cat(outputs)).to(x.device)


def predict(model: nn.Module, x: Tensor, *, batch_size: int = 1000) -> Tensor:
    """Predicted labels, int64, shape (N,); parameters as in :func:`logits`.

    Examples
    --------
    >>> import kit
    >>> digits = kit.data.load("digits")
    >>> net = kit.nets.build("lenet5", digits.shape)
    >>> labels = predict(net, digits.x_test)
    >>> labels.shape, torch.equal(labels, logits(net, digits.x_test).argmax(1))
    (torch.Size([360]), True)
    """
    return logits(model, x, batch_size=batch_size).argmax(1)


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of images that get their label, in [0, 1]; NaN for an empty set.

    Parameters and errors are those of :func:`evaluate`.

    Examples
    --------
    >>> import kit
    >>> digits = kit.data.load("digits")
    >>> net = kit.nets.build("linear", digits.shape)
    >>> before = accuracy(net, digits.x_test, digits.y_test)
    >>> history = kit.training.fit(net, digits.x_train, digits.y_train, epochs=5, lr=0.01)
    >>> before < 0.3, accuracy(net, digits.x_test, digits.y_test) > 0.8
    (True, True)
    """
    return evaluate(model, x, y)[1]


def evaluate(model: nn.Module, x: Tensor, y: Tensor) -> tuple[float, float]:
    """Mean cross-entropy, and the share of images that get their label; NaN for an empty set.

    Parameters
    ----------
    model
        Is run in evaluation mode and left in the mode it came in.
    x
        Images, shape (N, C, H, W), in [0, 1].
    y
        Labels, int64, shape (N,).

    Raises
    ------
    ValueError
        x and y do not fit together or to the model, or the model has diverged
        (:class:`kit.checks.DivergedError`).

    Examples
    --------
    A net that finds all ten classes equally likely has the loss log 10:

    >>> import kit
    >>> digits = kit.data.load("digits")
    >>> net = kit.nets.build("linear", digits.shape)
    >>> for weights in net.parameters():
    ...     _ = torch.nn.init.zeros_(weights)
    >>> loss, share = evaluate(net, digits.x_test, digits.y_test)
    >>> round(loss, 4)
    2.3026
    """
    checks.check_module(model)
    checks.check_pairs(x, y)
    if not len(x):
        return float("nan"), float("nan")
    with eval_mode(model), checks.seen_in_the_end():
        checks.check_batch(model, x, y, _device(model, x))
        return measure(model, x, y)


def evaluate_or_nan(model: nn.Module, x: Tensor, y: Tensor) -> tuple[float, float]:
    """As :func:`evaluate`, but NaN of a model that has diverged, for searches: it loses.

    Examples
    --------
    >>> import kit
    >>> net = kit.nets.build("linear", (1, 8, 8))
    >>> for weights in net.parameters():
    ...     _ = torch.nn.init.constant_(weights, torch.nan)
    >>> evaluate_or_nan(net, torch.zeros(1, 1, 8, 8), torch.tensor([0]))
    (nan, nan)
    """
    try:
        return evaluate(model, x, y)
    except checks.DivergedError:
        return float("nan"), float("nan")


@torch.no_grad()
def measure(model: nn.Module, x: Tensor, y: Tensor) -> tuple[float, float]:
    """As :func:`evaluate`, of images and labels that have been checked."""
    outputs = _logits(model, x)
    right = (outputs.argmax(1) == y).float().mean()
    loss, share = torch.stack([cross_entropy(outputs, y), right]).tolist()
    return loss, share
