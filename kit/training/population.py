"""Training of many nets of one architecture: one after another, or stacked as one model."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kit.batches import in_parts
from kit.training import loop
from kit.training.fitting import fit
from kit.training.loop import History


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
    transform: Callable[[Any, Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
    member_args: Tensor | None = None,
    subsets: Sequence[Any] | None = None,
    on_epoch: Callable[[int, int, nn.Module], object] | None = None,
    stacked: bool | None = None,
    captured: bool = False,
    precision: str = "float32",
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
        By default whether the nets lie on a GPU. Where its memory does not hold all of them at
        once, they are stacked in halves, or quarters.
    captured, precision
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
    schedule = loop.Schedule(
        epochs, batch_size, optimizer, lr, seed, captured=captured, precision=precision
    )
    if not models or (transform and (member_args is None or len(member_args) != len(models))):
        count = "no" if member_args is None else len(member_args)
        raise ValueError(
            f"{len(models)} models and {count} member_args: give at least one model, and with "
            "transform one of member_args for each."
        )
    if len(set(map(id, models))) < len(models):
        raise ValueError("A model stands twice among the models: give a net of its own for each.")
    x, y = loop.checked(models, x, y, fixed=not transform)
    rows = None if subsets is None else _stacked_rows(subsets, len(models), len(x)).to(x.device)
    if stacked is None:
        stacked = x.device.type != "cpu"
    options: dict[str, Any] = dict(
        transform=transform, member_args=member_args, rows=rows, on_epoch=on_epoch
    )
    train = _fit_in_stacks if stacked else _fit_in_turn
    return train(models, x, y, schedule, **options)


def _fit_in_turn(models, x, y, schedule, *, transform, member_args, rows, on_epoch):
    histories = []
    for m, model in enumerate(models):
        loop.reset(transform)  # fit sees it wrapped
        subset = slice(None) if rows is None else rows[m]
        options: dict[str, Any] = dict(
            transform=transform and functools.partial(transform, member_args[m]),
            on_epoch=on_epoch and functools.partial(on_epoch, m),
        )
        options |= dataclasses.asdict(schedule)
        histories.append(fit(model, x[subset], y[subset], **options))
    return histories


def _fit_in_stacks(models, x, y, schedule, *, member_args, rows, on_epoch, **options):
    """As one stacked model, or as several where the device's memory does not hold it."""

    def fit_some(members):
        first, last = members[0], members[-1] + 1
        return _fit_stacked(
            models[first:last],
            x,
            y,
            schedule,
            member_args=None if member_args is None else member_args[first:last],
            rows=None if rows is None else rows[first:last],
            on_epoch=on_epoch and (lambda m, *epoch: on_epoch(int(first) + m, *epoch)),
            **options,
        )

    stacks = in_parts(fit_some, torch.arange(len(models)), at_once=len(models))
    return [history for of_stack in stacks for history in of_stack]


def _fit_stacked(models, x, y, schedule, *, transform, member_args, rows, on_epoch):
    first = None if transform is None else functools.partial(transform, member_args[0])
    count = len(x) if rows is None else rows.shape[1]
    sizes = loop.batch_sizes(models[0], x, y, first, count, schedule.batch_size)
    draws = loop.draws_of(schedule.seed, x.device)
    generator = torch.Generator().manual_seed(schedule.seed)
    for model in models:
        model.train()
    weights, buffers = torch.func.stack_module_state(models)
    skeleton = copy.deepcopy(models[0]).to("meta")

    def member_step(weights, buffers, args, images, labels, rows):
        if transform is not None:
            images, labels = transform(args, images, labels)
        model = functools.partial(torch.func.functional_call, skeleton, (weights, buffers))
        return loop.loss_and_accuracy(None, model, images, labels, rows)

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
            loop.reset(transform)
            return loop.train(
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
