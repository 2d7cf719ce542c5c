"""Attacks on a LeNet-5 trained on MNIST, and on nets of other kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import kit
from benchmarks import models
from benchmarks.rows import Row, in_turn

EPS, STEP, STEPS = 0.1, 0.01, 40
Attack = Callable[[nn.Module, Tensor, Tensor], Tensor]
OURS: dict[str, Attack] = {
    "nearest L2": kit.attacks.nearest_l2,
    # With the budget that its peers get, too.
    "CW (textbook)": lambda net, x, y: kit.attacks.cw_l2(
        net, x, y, steps=100, search_steps=5, lr=0.05, initial_const=1.0
    ),
}
TARGETS = {
    "nearest L2": {"foolbox CW": 4, "ART CW": 5},
    "CW (textbook)": {"foolbox CW": 0.97, "ART CW": 5},
}


def bare_pgd(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """PGD as one would write it down, without a random start."""
    x_adv = x
    for _ in range(STEPS):
        x_adv = x_adv.detach().requires_grad_()
        grad = torch.autograd.grad(cross_entropy(net(x_adv), y, reduction="sum"), x_adv)[0]
        change = (x_adv.detach() + STEP * grad.sign() - x).clamp(-EPS, EPS)
        x_adv = (x + change).clamp(0, 1)
    return x_adv


def distances(net: nn.Module, x: Tensor, y: Tensor, x_adv: Tensor) -> Tensor:
    """L2 of each image's change; infinity where it does not fool."""
    fooled = kit.training.predict(net, x_adv.detach()) != y
    return (x_adv - x).detach().flatten(1).norm(dim=1).where(fooled, torch.inf)


def nearness(
    net: nn.Module, x: Tensor, y: Tensor, attacks: Mapping[str, Attack]
) -> tuple[pd.DataFrame, dict[str, Tensor]]:
    """Success, mean L2, its distance to the best of all attacks image by image, and passes."""
    found, passes = {}, {}
    for name, attack in attacks.items():
        with kit.watching.passes(net) as count:
            found[name] = distances(net, x, y, attack(net, x, y))
        passes[name] = count.backward / len(x)
    best = torch.stack(list(found.values())).amin(0)
    rows = []
    for name, far in found.items():
        hit = far.isfinite()
        beyond = 100 * float(far[hit].mean() / best[hit].mean() - 1)
        rows.append(
            (name, 100 * float(hit.float().mean()), float(far[hit].mean()), beyond, passes[name])
        )
    columns = ["attack", "success (%)", "mean L2", "over the best of all (%)", "gradient passes"]
    return pd.DataFrame(rows, columns=columns), found


def rows(root: str, quick: bool) -> Iterator[Row | tuple[str, pd.DataFrame]]:
    """PGD, DeepFool, CW and nearest L2 on a LeNet-5: seconds; and how near each comes."""
    from benchmarks import peers

    mnist = kit.data.load("mnist", root, train=2000 if quick else 20_000, test=2000)
    _, net, x, y = models.trained("LeNet-5", mnist, models.lenet, 4, 20 if quick else 250)
    runs = 1 if quick else 5
    options = {"eps": EPS, "steps": STEPS, "random_start": False, "step_size": STEP}
    ways = {
        "kit": lambda: kit.attacks.pgd(net, x, y, **options),
        "bare loop": lambda: bare_pgd(net, x, y),
    }
    apart = float((ways["kit"]() - ways["bare loop"]()).abs().max())
    seconds = in_turn(ways, runs)
    yield Row(
        "PGD-L∞, 40 steps", "bare loop", *seconds.values(), 0.97, f"largest difference {apart:.0e}"
    )

    deepfool = {"kit": kit.attacks.deepfool} | peers.DEEPFOOL
    table, found = nearness(net, x, y, deepfool)
    yield "DeepFool on LeNet-5, MNIST", table
    yield from _timed(
        "DeepFool", net, x, y, deepfool, found, {"foolbox": 2, "ART": 8, "adv-lib": 1.2}, runs
    )

    x, y = x[:100], y[:100]
    minimal = OURS | peers.MINIMAL
    table, found = nearness(net, x, y, minimal)
    yield "Nearest in L2 on LeNet-5, MNIST", table
    for name, targets in TARGETS.items():
        few = {key: minimal[key] for key in (name, *targets)}
        yield from _timed(name, net, x, y, few, found, targets, min(runs, 2))

    for name, net, x, y in models.other_nets(root, quick):
        few = {key: attack for key, attack in minimal.items() if key != "ART CW"}
        yield f"Nearest in L2 on another net: {name}", nearness(net, x, y, few)[0]


def _timed(
    work: str,
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    attacks: Mapping[str, Attack],
    found: Mapping[str, Tensor],
    targets: Mapping[str, float],
    runs: int,
) -> Iterator[Row]:
    """The first of the attacks is ours."""
    ways = {name: (lambda attack=attack: attack(net, x, y)) for name, attack in attacks.items()}
    seconds, ours = in_turn(ways, runs), next(iter(ways))
    for peer, target in targets.items():
        said = ", ".join(
            f"{name}: {found[name].isfinite().double().mean():.0%} at L2 {_mean(found[name]):.3f}"
            for name in (ours, peer)
        )
        yield Row(f"{work}, {len(x)} images", peer, seconds[ours], seconds[peer], target, said)


def _mean(far: Tensor) -> float:
    return float(far[far.isfinite()].mean())
