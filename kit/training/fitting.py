"""Training of one net, in place, on data that live on its device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from kit import nets
from kit.checks import seen_in_the_end
from kit.training import loop
from kit.training.loop import History, Transform
from kit.training.losses import Loss


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
    transform: Transform | None = None,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    perturb: Callable[[nn.Module, Tensor, Tensor], Tensor] | None = None,
    replays: int = 1,
    on_epoch: Callable[[int, nn.Module], object] | None = None,
    captured: bool = False,
    precision: str = "float32",
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
    precision
        ``"float32"``, or ``"bfloat16"``: convolutions and products of matrices then compute with
        numbers of 8 significant bits, by torch's autocast, which processors and GPUs with units for
        them do faster. Weights, their updates, norms and losses stay in float32, and so does every
        evaluation. Without such units it may be slower. What it changes in paper 1 is measured in
        docs/01_evolved_perturbations.md.

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
    schedule = loop.Schedule(epochs, batch_size, optimizer, lr, seed, replays, captured, precision)
    x, y = loop.checked([model], x, y, fixed=not (transform or augment or perturb))
    sizes = loop.batch_sizes(model, x, y, transform, len(x), schedule.batch_size)
    draws = loop.draws_of(schedule.seed, x.device)
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
        return loop.loss_and_accuracy(loss, model, images, labels, rows)

    def finish(epoch: int) -> None:
        model.eval()
        if on_epoch:
            with draws.paused():
                on_epoch(epoch, model)

    options: dict[str, Any] = dict(start=model.train, finish=finish)
    with draws, nets.channels_last(model), seen_in_the_end():
        loop.reset(transform, augment, perturb, loss)
        return loop.train(step, model.parameters(), sizes, schedule, generator, **options)[0]
