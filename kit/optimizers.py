"""Optimizers by name, with torch's defaults but for the learning rate.

torch is imported where an optimizer is made, so that settings can check names without it.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

PRECISIONS = ("float32", "bfloat16")  # of the numbers that a net is trained with
# What readers know them by.
TITLES = {"adam": "Adam", "sgd": "SGD", "rmsprop": "RMSProp", "adabound": "AdaBound"}


def adam(parameters: Iterable[torch.Tensor], lr: float) -> torch.optim.Optimizer:
    """Adam (Kingma & Ba, ICLR 2015)."""
    from torch.optim import Adam

    # One pass over the weights: with small batches a third of the time of training on a CPU.
    return _light(Adam)(parameters, lr=lr, fused=True)


def sgd(parameters: Iterable[torch.Tensor], lr: float) -> torch.optim.Optimizer:
    """Stochastic gradient descent without momentum."""
    from torch.optim import SGD

    return _light(SGD)(parameters, lr=lr)


def rmsprop(parameters: Iterable[torch.Tensor], lr: float) -> torch.optim.Optimizer:
    """RMSprop (Tieleman & Hinton, 2012)."""
    from torch.optim import RMSprop

    return _light(RMSprop)(parameters, lr=lr)


def adabound(parameters: Iterable[torch.Tensor], lr: float) -> torch.optim.Optimizer:
    """AdaBound (Luo et al., ICLR 2019), which ends as SGD with learning rate 0.1."""
    from pytorch_optimizer import AdaBound

    return _light(AdaBound)(parameters, lr=lr, final_lr=0.1)


@functools.cache
def _light(kind: type[torch.optim.Optimizer]) -> Callable[..., torch.optim.Optimizer]:
    """The same optimizer without the wrappers of its methods that load torch's compiler.

    Nothing is compiled here, and loading it takes a second in every process that trains.
    """
    import torch

    bare = {name: inspect.unwrap(getattr(kind, name)) for name in ("add_param_group", "zero_grad")}
    return type(
        kind.__name__, (kind,), {**bare, "step": torch.no_grad()(inspect.unwrap(kind.step))}
    )


def cma_popsize(genes: int) -> int:
    """CMA-ES's default λ, candidates per generation, for genomes of a length.

    Examples
    --------
    >>> cma_popsize(30)
    14
    """
    return 4 + int(3 * math.log(genes))


OPTIMIZERS: dict[str, Callable[[Iterable[torch.Tensor], float], torch.optim.Optimizer]] = {
    "adam": adam,
    "sgd": sgd,
    "rmsprop": rmsprop,
    "adabound": adabound,
}
