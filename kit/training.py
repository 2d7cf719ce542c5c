"""Training, in place, on data that live on their device: one net, or many of one architecture."""

import copy
import functools

import torch
from torch.nn.functional import cross_entropy

from kit.nets import evaluating


def _adabound(parameters, lr):
    from pytorch_optimizer import AdaBound  # heavy, and seldom needed

    return AdaBound(parameters, lr=lr, final_lr=0.1)


OPTIMIZERS = {
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
    "adabound": _adabound,
}


def fit(
    model, x, y, *, epochs, batch_size=128, optimizer="adam", lr=1e-3, seed=0, view=None,
    augment=None, on_epoch=None,
):  # fmt: skip
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
    optimizer : {"adam", "sgd", "rmsprop", "adabound"}
        With the defaults of torch (AdaBound's from pytorch_optimizer, Luo et al. 2019, which ends
        as SGD with learning rate 0.1) apart from `lr`.
    lr : float
        Learning rate.
    seed : int
        Shuffles the data; the order is the same on every device.
    view : callable, optional
        ``view(x, y)`` turns a batch into the images and labels that the model sees.
    augment : callable, optional
        ``augment(x, generator)`` changes the images of a batch at random, after `view`.
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
    _check(x, y, epochs, batch_size, optimizer)
    device = next(model.parameters()).device
    x, y = x.to(device), y.to(device)
    update = OPTIMIZERS[optimizer](model.parameters(), lr=lr)
    random = torch.Generator().manual_seed(seed)

    def step(batch):
        images, labels = (x[batch], y[batch]) if view is None else view(x[batch], y[batch])
        logits = model(images if augment is None else augment(images, random))
        return cross_entropy(logits, labels), (logits.argmax(1) == labels).float().mean()

    history = {"loss": [], "accuracy": []}
    for epoch in range(1, epochs + 1):
        model.train()
        loss, accuracy = _epoch(step, update, len(x), batch_size, random, device)
        history["loss"].append(float(loss))
        history["accuracy"].append(float(accuracy))
        model.eval()
        if on_epoch:
            on_epoch(epoch, model)
    return history


def fit_many(
    models, x, y, *, epochs, batch_size=128, optimizer="adam", lr=1e-3, seed=0, view=None, own=None,
    subsets=None, on_epoch=None, stacked=None,
):  # fmt: skip
    """Train many nets of one architecture in place, on the same batches or on subsets of their own.

    On a GPU all of them are one stacked model, on a CPU they are trained one after another, which
    is faster there. The members come out the same but for rounding.

    Parameters
    ----------
    models : sequence of torch.nn.Module
        M nets alike but for their weights, on one device; they end in evaluation mode.
    x, y
        As in :func:`fit`; without `subsets` every net sees the same batches.
    epochs, batch_size, optimizer, lr, seed
        As in :func:`fit`.
    view : callable, optional
        ``view(own[m], x, y)`` turns a batch into the images and labels that net m sees. Stacked,
        it runs under :func:`torch.func.vmap`.
    own : torch.Tensor, optional
        What belongs to each net, such as its noise; shape (M, …). Needed with `view`.
    subsets : sequence of array_like of int, optional
        For each net the positions of the images it trains on, such as those of a fold, equally
        many for all. The nets go through them in the same shuffled order.
    on_epoch : callable, optional
        Is called as ``on_epoch(m, epoch, model)`` for every net m after each epoch, counted from 1.
    stacked : bool, optional
        By default whether the nets lie on a GPU.

    Returns
    -------
    list of dict
        For each net the history that :func:`fit` returns.

    Raises
    ------
    ValueError
        As :func:`fit`; or there are no nets; or `own` or `subsets` are not one for each of them.

    Examples
    --------
    >>> import kit
    >>> digits = kit.data.load("digits")
    >>> pair = [kit.nets.build("linear", digits.shape, seed=seed) for seed in (0, 1)]
    >>> histories = fit_many(pair, digits.x_train, digits.y_train, epochs=2)
    >>> len(histories), len(histories[0]["loss"])
    (2, 2)
    """
    _check(x, y, epochs, batch_size, optimizer)
    if not models or (view is not None and (own is None or len(own) != len(models))):
        count = None if own is None else len(own)
        raise ValueError(
            f"{len(models)} models and {count} members of own: give at least one model, and with "
            "view one member of own for each."
        )
    if subsets is not None:
        subsets = _checked_subsets(subsets, len(models), len(x))
    if stacked is None:
        stacked = next(models[0].parameters()).is_cuda
    options = dict(epochs=epochs, batch_size=batch_size, optimizer=optimizer, lr=lr, seed=seed)
    if stacked:
        options |= dict(view=view, own=own, subsets=subsets, on_epoch=on_epoch)
        return _fit_stacked(models, x, y, **options)
    histories = []
    for m, model in enumerate(models):
        rows = slice(None) if subsets is None else subsets[m].to(x.device)
        options["view"] = view and functools.partial(view, own[m])
        options["on_epoch"] = on_epoch and functools.partial(on_epoch, m)
        histories.append(fit(model, x[rows], y[rows], **options))
    return histories


def _checked_subsets(subsets, members, images):
    """Positions as one tensor, shape (members, images of each)."""
    rows = [torch.as_tensor(part) for part in subsets]
    sizes = {len(part) for part in rows}
    if len(rows) != members or len(sizes) != 1 or 0 in sizes:
        raise ValueError(
            f"{members} models and {len(rows)} subsets of {sorted(sizes)} images: give one subset "
            "for each model, all of the same size."
        )
    rows = torch.stack(rows)
    if rows.min() < 0 or rows.max() >= images:
        raise ValueError(
            f"The subsets reach from {rows.min()} to {rows.max()}: use positions among the "
            f"{images} images, from 0 to {images - 1}."
        )
    return rows


def _fit_stacked(
    models, x, y, *, epochs, batch_size, optimizer, lr, seed, view, own, subsets, on_epoch
):
    device = next(models[0].parameters()).device
    x, y = x.to(device), y.to(device)
    rows = None if subsets is None else subsets.to(device)
    apart = None if rows is None else 0  # the members' dimension of the images, where they have one
    for model in models:
        model.train()
    weights, buffers = torch.func.stack_module_state(models)
    skeleton = copy.deepcopy(models[0]).to("meta")
    update = OPTIMIZERS[optimizer](weights.values(), lr=lr)
    random = torch.Generator().manual_seed(seed)

    def forward(member, state, images):
        return torch.func.functional_call(skeleton, (member, state), (images,))

    def step(batch):
        places = batch if rows is None else rows[:, batch]
        images, labels, where = x[places], y[places], apart
        if view is not None:
            images, labels = torch.vmap(view, (0, apart, apart))(own, images, labels)
            where = 0
        logits = torch.vmap(forward, (0, 0, where), randomness="different")(
            weights, buffers, images
        )
        labels = labels.expand(len(models), -1)
        losses = cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
        right = (logits.argmax(2) == labels).float().mean(1)
        return losses.view(len(models), -1).mean(1), right

    histories = [{"loss": [], "accuracy": []} for _ in models]
    count = len(x) if rows is None else rows.shape[1]
    for epoch in range(1, epochs + 1):
        loss, accuracy = _epoch(step, update, count, batch_size, random, device)
        for history, *pair in zip(histories, loss.tolist(), accuracy.tolist(), strict=True):
            history["loss"].append(pair[0])
            history["accuracy"].append(pair[1])
        if on_epoch or epoch == epochs:
            _unstack(models, weights, buffers)
        for m, model in enumerate(models if on_epoch else ()):
            on_epoch(m, epoch, model)
    return histories


@torch.no_grad()
def _unstack(models, weights, buffers):
    """Copy the members of a stacked model back to where they came from."""
    for i, model in enumerate(models):
        for name, value in model.named_parameters():
            value.copy_(weights[name][i])
        for name, value in model.named_buffers():
            value.copy_(buffers[name][i])
        model.eval()


def _epoch(step, update, count, batch_size, random, device):
    """One pass over shuffled data; mean loss and accuracy, one each for every net in `step`."""
    # Sums stay on the device: reading them every batch would make a GPU wait.
    loss_sum, right = torch.zeros((), device=device), torch.zeros((), device=device)
    for batch in torch.randperm(count, generator=random).to(device).split(batch_size):
        loss, accuracy = step(batch)
        update.zero_grad()
        loss.sum().backward()
        update.step()
        loss_sum = loss_sum + loss.detach() * len(batch)
        right = right + accuracy * len(batch)
    return loss_sum / count, right / count


def _check(x, y, epochs, batch_size, optimizer):
    if len(x) != len(y) or not len(x):
        raise ValueError(f"{len(x)} images and {len(y)} labels: give one label for each image.")
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"Unknown optimizer {optimizer!r}: use one of {', '.join(OPTIMIZERS)}.")
    if epochs < 1 or batch_size < 1:
        raise ValueError(f"epochs is {epochs} and batch_size {batch_size}: both must be positive.")


@torch.no_grad()
def logits(model, x, *, batch_size=1000):
    """What a model says about images.

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
        Shape (N, classes), on the device of `x`.
    """
    device = next(model.parameters()).device
    with evaluating(model):
        found = [model(part.to(device)) for part in x.split(batch_size)]
    return torch.cat(found).to(x.device)


def predict(model, x, *, batch_size=1000):
    """Predicted labels, int64, shape (N,); parameters as in :func:`logits`."""
    return logits(model, x, batch_size=batch_size).argmax(1)


def accuracy(model, x, y):
    """Share of images that get their label.

    Returns
    -------
    float
        In [0, 1]; NaN for an empty set.
    """
    return evaluate(model, x, y)[1]


def evaluate(model, x, y):
    """Mean cross-entropy, and the share of images that get their label.

    Parameters
    ----------
    model : torch.nn.Module
        Is run in evaluation mode and left in the mode it came in.
    x : torch.Tensor
        Images, shape (N, C, H, W).
    y : torch.Tensor
        Labels, shape (N,).

    Returns
    -------
    tuple of float
        NaN for an empty set.

    Raises
    ------
    ValueError
        x and y do not fit together.
    """
    if len(x) != len(y):
        raise ValueError(f"{len(x)} images and {len(y)} labels: give one label for each image.")
    if not len(x):
        return float("nan"), float("nan")
    found = logits(model, x)
    return float(cross_entropy(found, y)), float((found.argmax(1) == y).float().mean())
