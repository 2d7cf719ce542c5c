"""Attacks watched from outside: how often they run a model, and how they come along.

Hooks on the model see what it is shown and what it says, so that an attack needs no line for it.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from kit.checks import check_batch, check_module, looking
from kit.gradients import frozen, l2_norm


@dataclasses.dataclass
class Passes:
    """For how many images a model was run, and for how many a gradient was taken through it."""

    forward: int = 0
    backward: int = 0


@contextlib.contextmanager
def passes(model: nn.Module) -> Iterator[Passes]:
    """Count a model's forward and backward passes inside the block, in images.

    What is seen is each image of each call, whatever the batches. A backward pass is one call of
    torch's autograd that comes through the model, on its way to the images or to the weights. So a
    loss on input gradients (double backward) takes two: one for these, and one for the loss.

    Of each image FGSM takes one pass of both kinds, PGD one for each step, CW one for each step of
    each search step and a forward pass more, the search for the nearest image as many as it is
    given steps and two forward passes more, and DeepFool for each step one forward pass and a
    backward pass for every other class. Input checks add a pass of both kinds of the first
    image; DeepFool's add a forward pass more, and one of every image where it is given no labels.
    What checks run only to see whether outputs stay the same is not counted.

    Parameters
    ----------
    model
        Called in the block with images alone; its copies count, too.

    Yields
    ------
    Passes
        So far; complete at the end of the block.

    Examples
    --------
    >>> import kit
    >>> digits = kit.data.load("digits")
    >>> net, x, y = kit.nets.build("linear", digits.shape), digits.x_test[:50], digits.y_test[:50]
    >>> with passes(net) as count:
    ...     x_adv = kit.attacks.pgd(net, x, y, eps=0.1, steps=7)
    >>> count.forward - 1, count.backward - 1  # the check's
    (350, 350)
    """
    check_module(model)
    count, inside = Passes(), True

    def see(model: nn.Module, shown: tuple[Tensor, ...], logits: Tensor) -> None:
        images, tasks, counts = len(shown[0]), set[int](), inside and not looking()

        def note(gradient: Tensor) -> None:
            task = torch._C._current_graph_task_id()  # of this call of autograd
            if inside and task not in tasks:
                count.backward += images
            tasks.add(task)

        def note_second(gradient: Tensor) -> None:
            """Of a gradient that is differentiated itself: it may not come by the logits again."""
            if gradient.requires_grad and torch._C._current_graph_task_id() in tasks:
                gradient.register_hook(note)

        if counts:
            count.forward += images
            for tensor, hook in ((logits, note), (shown[0], note_second)):
                if getattr(tensor, "requires_grad", False):
                    tensor.register_hook(hook)

    handle = model.register_forward_hook(see)
    try:
        yield count
    finally:
        inside = False  # copies of the model keep the hook, and tensors theirs
        handle.remove()


@dataclasses.dataclass
class Trace:
    """What a model made of each image, each time that it was shown it; shape (times, images).

    ``loss`` is the cross-entropy, ``distance`` the L2 distance to the clean image, and ``fooled``
    says by 1 that another label won. NaN stands where an image was not shown so often.
    """

    loss: Tensor
    distance: Tensor
    fooled: Tensor


@contextlib.contextmanager
def trace(model: nn.Module, x: Tensor, y: Tensor) -> Iterator[Trace]:
    """Record the loss and the way from the clean image, each time that a model is shown an image.

    Attacks show images in parts, leave out those that are done, and work on several copies of the
    others, but they keep them in order. So what is shown is matched with clean images in order, as
    near to it as can be. This is certain where changes are shorter than half of the way between
    two clean images, and hardly ever wrong where they are longer. An attack's check shows the first
    image once more, before it begins.

    Parameters
    ----------
    model
        Called in the block with images alone.
    x
        A few clean images, all different, shape (N, C, H, W), in [0, 1].
    y
        Their labels, shape (N,).

    Yields
    ------
    Trace
        Filled at the end of the block.

    Raises
    ------
    ValueError
        x and y do not fit together, or not to the model.

    Examples
    --------
    PGD climbs the loss; how far it has come:

    >>> import kit
    >>> digits = kit.data.load("digits")
    >>> net, x, y = kit.nets.build("linear", digits.shape), digits.x_test[:5], digits.y_test[:5]
    >>> with trace(net, x, y) as seen:
    ...     x_adv = kit.attacks.pgd(net, x, y, eps=0.1, steps=20, random_start=False)
    >>> seen.loss.shape, bool((seen.loss[19] > seen.loss[0]).all())
    (torch.Size([21, 5]), True)
    """
    with frozen(model):
        check_batch(model, x, y)
    x, seen, rows = x.detach(), Trace(*torch.empty(3, 0, len(x))), list[Tensor]()
    image = distance = torch.empty(0)

    def look(model: nn.Module, shown: tuple[Tensor, ...]) -> None:
        if looking():
            return
        nonlocal image, distance  # now, since the model may work in place on what it is shown
        images = shown[0].detach()
        image = _origins(images, x)
        distance = l2_norm(images - x[image])

    def listen(model: nn.Module, shown: tuple[Tensor, ...], logits: Tensor) -> None:
        if looking():
            return
        logits, label = logits.detach(), y[image]
        loss = cross_entropy(logits, label, reduction="none")
        values = (image, loss, distance, logits.argmax(1) != label)
        rows.append(torch.stack([value.float() for value in values], 1))

    handles = [model.register_forward_pre_hook(look), model.register_forward_hook(listen)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
    if rows:
        seen.loss, seen.distance, seen.fooled = _by_image(torch.cat(rows).cpu(), len(x))


def _origins(images: Tensor, x: Tensor) -> Tensor:
    """Numbers of the clean images that these come from: copies of some, in order, set by set."""
    square = torch.cdist(images.flatten(1).float(), x.flatten(1).float()).square().cpu().numpy()
    found: list[tuple[float, int, list[int]]] = []
    for copies in range(1, len(images) + 1):
        some, rest = divmod(len(images), copies)
        if not rest and some <= len(x):
            cost, origins = _in_order(square.reshape(copies, some, -1).mean(0))
            found.append((cost, copies, origins))
    _, copies, origins = min(found, default=(0, 1, []))
    return torch.tensor(copies * origins, dtype=torch.int64, device=x.device)


def _in_order(cost: np.ndarray) -> tuple[float, list[int]]:
    """For each row a column, by rising numbers and at the least cost: its mean, and the columns."""
    count = cost.shape[1]
    least, places = np.zeros(count + 1), []  # of the rows so far, in columns before the k-th
    for row in cost:
        total = row + least[:-1]
        least = np.append(np.inf, np.minimum.accumulate(total))
        places.append(np.maximum.accumulate(np.where(total == least[1:], np.arange(count), 0)))
    columns, end = list[int](), count
    for place in reversed(places):
        end = int(place[end - 1])
        columns.insert(0, end)
    return least[-1] / len(cost), columns


def _by_image(rows: Tensor, count: int) -> Tensor:
    """Rows of an image's number and its values, as (values, times, images), NaN where none is."""
    image = rows[:, 0].long()
    order = image.argsort(stable=True)
    times = image.bincount(minlength=count)
    before = times.cumsum(0) - times
    time = torch.arange(len(rows)) - before[image[order]]
    table = rows.new_full((int(times.max()), count, rows.shape[1] - 1), torch.nan)
    table[time, image[order]] = rows[order, 1:]
    return table.movedim(2, 0)
