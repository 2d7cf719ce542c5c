"""Training, in place, on data that live on their device: one net, or many of one architecture."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kit import checks, nets, runtime
from kit.batches import in_parts
from kit.checks import seen_in_the_end
from kit.constraints import SEED, whole
from kit.optimizers import OPTIMIZERS
from kit.training import graphs
from kit.training.losses import Loss, mean_cross_entropy

History = dict[str, list[float]]


def fit(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epochs: int,
    batch_size: int = 128,
    optimizer: str = "adam",
    lr: float = 1e-3,
    seed: int = 0,
    loss: Loss | None = None,
    transform: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    perturb: Callable[[nn.Module, Tensor, Tensor], Tensor] | None = None,
    replays: int = 1,
    on_epoch: Callable[[int, nn.Module], object] | None = None,
    captured: bool = False,
) -> History:
    """Train a classifier in place. A batch passes `transform`, `augment`, `perturb`, then `loss`.

    Of these functions, one that has a method ``reset`` has it called before the first batch, so
    that nothing it keeps goes over from one training to the next.

    Parameters
    ----------
    model
        From images to logits; it stays on its device and ends in evaluation mode.
    x
        Images, shape (N, C, H, W), in [0, 1].
    y
        Labels, int64, shape (N,).
    epochs, batch_size
        Passes over the data, and images per step. A last batch of a single image joins the one
        before it where the model cannot train on it: a batch norm would see one value per channel.
    optimizer, lr
        A name in `OPTIMIZERS`, and its learning rate.
    seed
        Shuffles the data, in the same order on every device, and decides what the model and the
        functions below draw from torch's global generators, such as dropout's masks. These
        generators are left as they were.
    loss
        ``loss(model, x, y, rows)`` returns a batch's loss, a scalar to minimise, and its logits,
        from which the running accuracy is counted. `rows` are the positions of the batch's images
        in the training set, to look up what was computed for each of them beforehand. By default
        :func:`mean_cross_entropy`.
    transform
        ``transform(x, y)`` turns a batch into the images and labels that the model sees.
    augment
        ``augment(x, generator)`` changes the images of a batch at random.
    perturb
        ``perturb(model, x, y)`` returns the images to train on instead, such as adversarial ones.
        It may change modes and gradients as it likes: the step that follows starts from clean
        gradients, in training mode.
    replays
        Steps on each batch, one after another (free adversarial training).
    on_epoch
        Is called as ``on_epoch(epoch, model)`` after each epoch, counted from 1.
    captured
        On a GPU, replay the steps as one CUDA graph (:func:`kit.training.graphs.captured`), unless
        they `augment` or `perturb`, or `loss` reads numbers on the host. It is off because no GPU
        has shown yet that results are equal and what is gained; on a CPU it changes nothing.

    Returns
    -------
    dict
        ``"loss"`` and ``"accuracy"`` per epoch, averaged over the batches while training.

    Raises
    ------
    ValueError
        x and y do not fit together or to the model, the optimizer is unknown, or `loss` returns
        something else; or all batches are of a single image and the model cannot train on it.

    Examples
    --------
    >>> import kit
    >>> digits = kit.data.load("digits")
    >>> net = kit.nets.build("lenet5", digits.shape)
    >>> history = fit(net, digits.x_train, digits.y_train, epochs=2)
    >>> history["loss"][1] < history["loss"][0]
    True
    """
    captured = captured and augment is None and perturb is None
    schedule = _Schedule(epochs, batch_size, optimizer, lr, seed, replays, captured)
    x, y = _checked([model], x, y, fixed=not (transform or augment or perturb))
    sizes = _batch_sizes(model, x, y, transform, len(x), schedule.batch_size)
    draws = _draws(schedule.seed, x.device)
    generator = torch.Generator().manual_seed(schedule.seed)

    def step(rows: Tensor) -> tuple[Tensor, Tensor]:
        images, labels = x[rows], y[rows]
        if transform is not None:
            images, labels = transform(images, labels)
        if augment is not None:
            images = augment(images, generator)
        if perturb is not None:
            images = perturb(model, images, labels).detach()
            model.train()
        return _loss_and_accuracy(loss, model, images, labels, rows)

    def finish(epoch: int) -> None:
        model.eval()
        if on_epoch:
            with draws.paused():
                on_epoch(epoch, model)

    options: dict[str, Any] = dict(start=model.train, finish=finish)
    with draws, nets.channels_last(model), seen_in_the_end():
        _reset(transform, augment, perturb, loss)
        return _train(step, model.parameters(), sizes, schedule, generator, **options)[0]


def fit_many(
    models: Sequence[nn.Module],
    x: Tensor,
    y: Tensor,
    *,
    epochs: int,
    batch_size: int = 128,
    optimizer: str = "adam",
    lr: float = 1e-3,
    seed: int = 0,
    loss: Loss | None = None,
    transform: Callable[[Any, Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
    member_args: Tensor | None = None,
    subsets: Sequence[Any] | None = None,
    on_epoch: Callable[[int, int, nn.Module], object] | None = None,
    stacked: bool | None = None,
    captured: bool = False,
) -> list[History]:
    """Train many nets of one architecture in place, on the same batches or on subsets of their own.

    On a GPU all of them are one stacked model, on a CPU they are trained one after another, which
    is faster there. The members come out the same but for rounding, and but for dropout: one after
    another, each draws what it would alone; stacked, they draw from one stream, each its own part.
    Either way equal seeds give equal members.

    Parameters
    ----------
    models
        M nets alike but for their weights, on one device; they end in evaluation mode.
    x, y
        As in :func:`fit`; without `subsets` every net sees the same batches.
    epochs, batch_size, optimizer, lr, seed
        As in :func:`fit`.
    loss
        As in :func:`fit`; `rows` are positions in `x`, with `subsets` too. Stacked, it runs under
        :func:`torch.func.vmap`, which forbids :func:`input_gradients`.
    transform
        ``transform(member_args[m], x, y)`` turns a batch into the images and labels that net m
        sees. Stacked, it runs under :func:`torch.func.vmap`.
    member_args
        What belongs to each net, such as its noise; shape (M, …). Needed with `transform`.
    subsets
        For each net the positions of the images it trains on, such as those of a fold, equally
        many for all. The nets go through them in the same shuffled order.
    on_epoch
        Is called as ``on_epoch(m, epoch, model)`` for every net m after each epoch, counted from 1.
    stacked
        By default whether the nets lie on a GPU and `loss` is the default one. Where its
        memory does not hold all of them at once, they are stacked in halves, or quarters.
    captured
        As in :func:`fit`.

    Returns
    -------
    list of dict
        For each net the history that :func:`fit` returns.

    Raises
    ------
    ValueError
        As :func:`fit`; or there are no nets; or `member_args` or `subsets` are not one for each.

    Examples
    --------
    >>> import kit
    >>> digits = kit.data.load("digits")
    >>> pair = [kit.nets.build("linear", digits.shape, seed=seed) for seed in (0, 1)]
    >>> histories = fit_many(pair, digits.x_train, digits.y_train, epochs=2)
    >>> len(histories), len(histories[0]["loss"])
    (2, 2)
    """
    schedule = _Schedule(epochs, batch_size, optimizer, lr, seed, captured=captured)
    if not models or (transform and (member_args is None or len(member_args) != len(models))):
        count = "no" if member_args is None else len(member_args)
        raise ValueError(
            f"{len(models)} models and {count} member_args: give at least one model, and with "
            "transform one of member_args for each."
        )
    x, y = _checked(models, x, y, fixed=not transform)
    rows = None if subsets is None else _stacked_rows(subsets, len(models), len(x)).to(x.device)
    if stacked is None:
        stacked = x.device.type != "cpu" and loss is None
    options: dict[str, Any] = dict(
        loss=loss, transform=transform, member_args=member_args, rows=rows, on_epoch=on_epoch
    )
    train = _fit_in_stacks if stacked else _fit_in_turn
    return train(models, x, y, schedule, **options)


def _fit_in_turn(models, x, y, schedule, *, loss, transform, member_args, rows, on_epoch):
    histories = []
    for m, model in enumerate(models):
        _reset(transform, loss)  # fit sees them wrapped
        subset = slice(None) if rows is None else rows[m]
        options = dict(
            loss=loss if rows is None else _at(rows[m], loss),
            transform=transform and functools.partial(transform, member_args[m]),
            on_epoch=on_epoch and functools.partial(on_epoch, m),
        )
        options |= dataclasses.asdict(schedule)
        histories.append(fit(model, x[subset], y[subset], **options))
    return histories


def _at(subset, loss):
    """The loss on a part of the data, which still reads positions among all of them."""
    return loss and (lambda model, x, y, rows: loss(model, x, y, subset[rows]))


def _fit_in_stacks(models, x, y, schedule, *, member_args, rows, on_epoch, **options):
    """As one stacked model, or as several where the device's memory does not hold it."""

    def fit_some(members):
        first, last = members[0], members[-1] + 1
        return _fit_stacked(
            models[first:last], x, y, schedule,
            member_args=None if member_args is None else member_args[first:last],
            rows=None if rows is None else rows[first:last],
            on_epoch=on_epoch and (lambda m, *epoch: on_epoch(int(first) + m, *epoch)),
            **options,
        )  # fmt: skip

    stacks = in_parts(fit_some, torch.arange(len(models)), at_once=len(models))
    return [history for of_stack in stacks for history in of_stack]


def _fit_stacked(models, x, y, schedule, *, loss, transform, member_args, rows, on_epoch):
    first = None if transform is None else functools.partial(transform, member_args[0])
    count = len(x) if rows is None else rows.shape[1]
    sizes = _batch_sizes(models[0], x, y, first, count, schedule.batch_size)
    draws = _draws(schedule.seed, x.device)
    generator = torch.Generator().manual_seed(schedule.seed)
    for model in models:
        model.train()
    weights, buffers = torch.func.stack_module_state(models)
    skeleton = copy.deepcopy(models[0]).to("meta")

    def member_step(weights, buffers, args, images, labels, rows):
        if transform is not None:
            images, labels = transform(args, images, labels)
        model = functools.partial(torch.func.functional_call, skeleton, (weights, buffers))
        return _loss_and_accuracy(loss, model, images, labels, rows)

    of_args = None if transform is None else 0
    of_images = None if rows is None else 0  # the members' dimension, where they have one
    dims = (0, 0, of_args, of_images, of_images, of_images)
    all_members = torch.vmap(member_step, dims, randomness="different")

    def step(batch):
        places = batch if rows is None else rows[:, batch]
        return all_members(weights, buffers, member_args, x[places], y[places], places)

    done = 0

    def finish(epoch):
        nonlocal done
        done = epoch
        if on_epoch or epoch == schedule.epochs:
            _unstack(models, weights, buffers)
        with draws.paused():
            for m, model in enumerate(models if on_epoch else ()):
                on_epoch(m, epoch, model)

    try:
        with draws:
            _reset(transform, loss)
            return _train(
                step, weights.values(), sizes, schedule, generator, len(models), finish=finish
            )
    except torch.OutOfMemoryError as error:
        if done:  # the nets are no longer what they were: they cannot be trained anew in halves
            raise RuntimeError(f"The device's memory was full after epoch {done}: {error}")
        raise


@torch.no_grad()
def _unstack(models, weights, buffers):
    """Copy the members of a stacked model back to where they came from."""
    for i, model in enumerate(models):
        for name, value in model.named_parameters():
            value.copy_(weights[name][i])
        for name, value in model.named_buffers():
            value.copy_(buffers[name][i])
        model.eval()


@dataclasses.dataclass(frozen=True)
class _Schedule:
    epochs: int
    batch_size: int
    optimizer: str
    lr: float
    seed: int
    replays: int = 1
    captured: bool = False

    def __post_init__(self):
        if self.optimizer not in OPTIMIZERS:
            known = ", ".join(OPTIMIZERS)
            raise ValueError(f"Unknown optimizer {self.optimizer!r}: use one of {known}.")
        for name in ("epochs", "batch_size", "replays"):
            # Frozen, and here still in the making.
            object.__setattr__(self, name, whole(1).check(name, getattr(self, name)))
        object.__setattr__(self, "seed", SEED.check("seed", self.seed))


def _reset(*functions):
    """Let functions that keep something between batches begin anew."""
    for function in functions:
        if hasattr(function, "reset"):
            function.reset()


def _draws(seed, device):
    """Of what the model draws; not the stream that shuffles."""
    return runtime.Draws(runtime.derive_seed(seed, "draws"), device)


def _batch_sizes(model, x, y, transform, count, batch_size):
    """How many of `count` images go into each batch of an epoch."""
    full, rest = divmod(count, batch_size)
    sizes = [batch_size] * full + [rest] * bool(rest)
    if sizes[-1] > 1 or not _refuses_a_single_image(model, x, y, transform):
        return sizes
    if len(sizes) == 1 or batch_size == 1:
        raise ValueError(
            f"{count} images in batches of {batch_size}, and the model cannot train on single "
            "images, of which its batch norms see one value per channel: use at least 2 images, in "
            "batches of at least 2."
        )
    return [*sizes[:-2], batch_size + 1]


@torch.no_grad()
def _refuses_a_single_image(model, x, y, transform):
    """Does a norm of the model want more than one value per channel? Its statistics stay."""
    image, label = x[:1].clone(), y[:1].clone()
    if transform is not None:
        image, _ = transform(image, label)
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    with nets.eval_mode(model), _draws(0, x.device):  # for the modes that they end in
        try:
            torch.func.functional_call(model.train(), buffers, (image,))
        except ValueError:
            return True
    return False


def _train(step, weights, sizes, schedule, generator, members=1, *, start=None, finish):
    """Every epoch over all images, shuffled; `step` gives loss and accuracy of each member."""
    weights, count = list(weights), sum(sizes)
    device = weights[0].device
    update = OPTIMIZERS[schedule.optimizer](weights, schedule.lr)
    histories: list[History] = [{"loss": [], "accuracy": []} for _ in range(members)]

    def advance(rows):
        losses, accuracies = step(rows)
        update.zero_grad()
        losses.sum().backward()
        update.step()
        return torch.stack([losses.detach(), accuracies]) * len(rows)

    if schedule.captured and device.type != "cpu" and schedule.optimizer in graphs.OPTIMIZERS:
        for group in update.param_groups:
            group["capturable"] = True
        advance = graphs.captured(advance, schedule.batch_size)
    for epoch in range(1, schedule.epochs + 1):
        if start:
            start()
        # Sums stay on the device: reading them every batch would make a GPU wait.
        sums = torch.zeros((), device=device)
        order = torch.randperm(count, generator=generator).to(device)
        batches = order.split(sizes)
        for rows in (rows for rows in batches for _ in range(schedule.replays)):
            sums = sums + advance(rows)
        means = (sums / (count * schedule.replays)).view(2, members).tolist()
        for name, of_members in zip(("loss", "accuracy"), means, strict=True):
            for history, mean in zip(histories, of_members, strict=True):
                history[name].append(mean)
        finish(epoch)
    update.zero_grad()  # what follows finds no gradients
    return histories


def _loss_and_accuracy(loss, model, x, y, rows):
    result = (loss or mean_cross_entropy)(model, x, y, rows)
    if not isinstance(result, tuple) or len(result) != 2 or result[0].ndim:
        raise ValueError(
            "The loss function must return two tensors (loss, logits): the batch's loss, a scalar "
            "such as the mean over its images, and the logits of its images."
        )
    value, logits = result
    return value, (logits.argmax(1) == y).float().mean()


def _checked(models, x, y, fixed):
    """The data on the models' device; refused if they do not fit together, or to the models.

    Only `fixed` data are what a model sees.
    """
    with runtime.TURNS:  # an attack in another thread freezes the weights for a while
        for model in models:
            checks.check_trainable(model)
    checks.check_pairs(x, y)
    device = next(models[0].parameters()).device
    x, y = x.detach().to(device), y.to(device)
    checks.check_recording(models[0], x)
    if not fixed:
        checks.check_data(x, y)
        return x, y
    with nets.eval_mode(models[0]):
        checks.check_batch(models[0], x, y)
    return x, y


def _stacked_rows(subsets, members, images):
    """Positions as one tensor, shape (members, images of each)."""
    rows = [torch.as_tensor(part) for part in subsets]
    sizes = {len(part) for part in rows}
    if len(rows) != members or len(sizes) != 1 or 0 in sizes:
        raise ValueError(
            f"{members} models and {len(rows)} subsets of {sorted(sizes)} images: give one subset "
            "for each model, all of the same size."
        )
    stacked = torch.stack(rows)
    if stacked.min() < 0 or stacked.max() >= images:
        raise ValueError(
            f"The subsets reach from {stacked.min()} to {stacked.max()}: use positions among the "
            f"{images} images, from 0 to {images - 1}."
        )
    return stacked
