"""Training: one net, in place, on data that live on its device."""

import torch
from torch.nn.functional import cross_entropy

from kit.nets import evaluating

OPTIMIZERS = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}


def fit(model, x, y, *, epochs, batch_size=128, optimizer="adam", lr=1e-3, seed=0, on_epoch=None):
    """Train a classifier in place by minimising the cross-entropy.

    Parameters
    ----------
    model : torch.nn.Module
        From images to logits; it stays on its device and ends in evaluation mode.
    x : torch.Tensor
        Images, shape (N, C, H, W), in [0, 1].
    y : torch.Tensor
        Labels, int64, shape (N,).
    epochs : int
        Passes over the data.
    batch_size : int
    optimizer : {"adam", "sgd"}
        With torch's defaults apart from `lr`.
    lr : float
        Learning rate.
    seed : int
        Shuffles the data; the order is the same on every device.
    on_epoch : callable, optional
        Is called as ``on_epoch(epoch, model)`` after each epoch, counted from 1.

    Returns
    -------
    dict of str to list of float
        ``"loss"`` and ``"accuracy"`` per epoch, averaged over the batches while training.

    Raises
    ------
    ValueError
        x and y do not fit together, or the optimizer is unknown.

    Examples
    --------
    >>> import kit
    >>> digits = kit.data.load("digits")
    >>> net = kit.nets.build("lenet5", digits.shape)
    >>> history = fit(net, digits.x_train, digits.y_train, epochs=2)
    >>> history["loss"][1] < history["loss"][0]
    True
    """
    if len(x) != len(y) or not len(x):
        raise ValueError(f"{len(x)} images and {len(y)} labels: give one label for each image.")
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"Unknown optimizer {optimizer!r}: use one of {', '.join(OPTIMIZERS)}.")
    if epochs < 1 or batch_size < 1:
        raise ValueError(f"epochs is {epochs} and batch_size {batch_size}: both must be positive.")
    device = next(model.parameters()).device
    x, y = x.to(device), y.to(device)
    update = OPTIMIZERS[optimizer](model.parameters(), lr=lr)
    order = torch.Generator().manual_seed(seed)
    history = {"loss": [], "accuracy": []}
    for epoch in range(1, epochs + 1):
        model.train()
        loss, accuracy = _epoch(model, x, y, batch_size, update, order)
        history["loss"].append(loss)
        history["accuracy"].append(accuracy)
        model.eval()
        if on_epoch:
            on_epoch(epoch, model)
    return history


def _epoch(model, x, y, batch_size, update, order):
    # Sums stay on the device: reading them every batch would make a GPU wait.
    loss_sum, right = torch.zeros((), device=x.device), torch.zeros((), device=x.device)
    for batch in torch.randperm(len(x), generator=order).to(x.device).split(batch_size):
        logits = model(x[batch])
        loss = cross_entropy(logits, y[batch])
        update.zero_grad()
        loss.backward()
        update.step()
        loss_sum += loss.detach() * len(batch)
        right += (logits.argmax(1) == y[batch]).sum()
    return float(loss_sum / len(x)), float(right / len(x))


@torch.no_grad()
def predict(model, x, *, batch_size=1000):
    """Predicted labels.

    Parameters
    ----------
    model : torch.nn.Module
        Is run in evaluation mode and left in the mode it came in.
    x : torch.Tensor
        Images, shape (N, C, H, W).
    batch_size : int

    Returns
    -------
    torch.Tensor
        Labels, int64, shape (N,), on the device of `x`.
    """
    device = next(model.parameters()).device
    with evaluating(model):
        labels = [model(part.to(device)).argmax(1) for part in x.split(batch_size)]
    return torch.cat(labels).to(x.device)


def accuracy(model, x, y):
    """Share of images that get their label.

    Returns
    -------
    float
        In [0, 1]; NaN for an empty set.
    """
    if len(x) != len(y):
        raise ValueError(f"{len(x)} images and {len(y)} labels: give one label for each image.")
    return float((predict(model, x) == y).float().mean()) if len(x) else float("nan")
