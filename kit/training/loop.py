"""The loop that every training runs through: what it is given, its batches, its steps."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kit import checks, nets, runtime
from kit.constraints import SEED, OneOf, number, whole
from kit.optimizers import OPTIMIZERS, PRECISIONS
from kit.training import graphs
from kit.training.losses import Loss, mean_cross_entropy

History = dict[str, list[float]]
Transform = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How long and by what to train; refused with a ValueError where it makes no sense."""

    epochs: int
    batch_size: int
    optimizer: str
    lr: float
    seed: int
    replays: int = 1
    captured: bool = False
    precision: str = "float32"

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            known = ", ".join(OPTIMIZERS)
            raise ValueError(f"Unknown optimizer {self.optimizer!r}: use one of {known}.")
        for name in ("epochs", "batch_size", "replays"):
            # Frozen, and here still in the making.
            object.__setattr__(self, name, whole(1).check(name, getattr(self, name)))
        object.__setattr__(self, "seed", SEED.check("seed", self.seed))
        object.__setattr__(self, "lr", float(number(above=0).check("lr", self.lr)))
        OneOf(PRECISIONS, "precision").check("precision", self.precision)


def checked(
    models: Sequence[nn.Module], x: Tensor, y: Tensor, fixed: bool
) -> tuple[Tensor, Tensor]:
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


def reset(*functions: Any) -> None:
    """Let functions that keep something between batches begin anew."""
    for function in functions:
        if hasattr(function, "reset"):
            function.reset()


def draws_of(seed: int, device: torch.device) -> runtime.Draws:
    """Of what the model draws; not the stream that shuffles."""
    return runtime.Draws(runtime.derive_seed(seed, "draws"), device)


def batch_sizes(
    model: nn.Module, x: Tensor, y: Tensor, transform: Transform | None, count: int, batch_size: int
) -> list[int]:
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
def _refuses_a_single_image(
    model: nn.Module, x: Tensor, y: Tensor, transform: Transform | None
) -> bool:
    """Does a norm of the model want more than one value per channel? Its statistics stay."""
    image, label = x[:1].clone(), y[:1].clone()
    if transform is not None:
        image, _ = transform(image, label)
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    with nets.eval_mode(model), draws_of(0, x.device):  # for the modes that they end in
        try:
            torch.func.functional_call(model.train(), buffers, (image,))
        except ValueError:
            return True
    return False


def loss_and_accuracy(
    loss: Loss | None, model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, rows: Tensor
) -> tuple[Tensor, Tensor]:
    """Of one batch, the accuracy as a share; refused if `loss` returns something else."""
    result = (loss or mean_cross_entropy)(model, x, y, rows)
    if not isinstance(result, tuple) or len(result) != 2 or result[0].ndim:
        raise ValueError(
            "The loss function must return two tensors (loss, logits): the batch's loss, a scalar "
            "such as the mean over its images, and the logits of its images."
        )
    value, logits = result
    return value, (logits.argmax(1) == y).float().mean()


def train(
    step: Callable[[Tensor], tuple[Tensor, Tensor]],
    weights: Iterable[Tensor],
    sizes: Sequence[int],
    schedule: Schedule,
    generator: torch.Generator,
    members: int = 1,
    *,
    start: Callable[[], object] | None = None,
    finish: Callable[[int], object],
) -> list[History]:
    """Every epoch over all images, shuffled.

    Parameters
    ----------
    step
        Loss and accuracy of each member on the images at some positions.
    weights
        What is trained.
    sizes
        Of the batches of an epoch.
    generator
        Shuffles.
    members
        Nets that `step` trains at once.
    start, finish
        Called before an epoch, and with its number, from 1 on, after it.

    Returns
    -------
    list of dict
        For each member the history that :func:`kit.training.fit` returns.
    """
    weights, count = list(weights), sum(sizes)
    device = weights[0].device
    update = OPTIMIZERS[schedule.optimizer](weights, schedule.lr)
    histories: list[History] = [{"loss": [], "accuracy": []} for _ in range(members)]

    precise: Any = contextlib.nullcontext()
    if schedule.precision == "bfloat16":
        precise = torch.autocast(device.type, torch.bfloat16)

    def advance(rows):
        with precise:
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
