"""Seeds and counts: equal numbers give equal results, of whatever type they are."""

import importlib
import inspect
import pkgutil

import numpy as np
import pandas as pd
import pytest
import torch
from calls import INNER
from hypothesis import example, given, settings
from hypothesis import strategies as st

import kit
from kit import (
    data,
    divergence,
    evolution,
    nets,
    neuroevolution,
    perturbations,
    robustness,
    runtime,
    training,
)
from kit.attacks import pgd, random_direction
from kit.attacks.noise import uniform_ball
from kit.constraints import plain
from kit.evolution import strategies
from kit.experiments.images import split
from kit.neuroevolution import algorithm

WHOLE = [np.int64, np.int32, np.uint8, lambda n: pd.Series([n])[0], lambda n: np.array([n])[0]]


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", train=60, test=20)


def trained(digits, n, seed, many=False):
    options = {"epochs": n(1), "batch_size": n(16), "seed": seed}
    members = [nets.build("linear", digits.shape, n(10), seed=seed) for _ in range(2)]
    if many:
        training.fit_many(members, digits.x_train, digits.y_train, **options)
    else:
        training.fit(members[0], digits.x_train, digits.y_train, replays=n(1), **options)
    return members[0].state_dict()


def evolved(n, seed):
    found = neuroevolution.evolve(
        lambda genome, number: -len(genome),
        population=n(2),
        children=n(1),
        generations=n(1),
        seed=seed,
    )
    return [[member.genome for member in generation.population] for generation in found]


def attacked(digits):
    return nets.build("linear", digits.shape), digits.x_test[:4], digits.y_test[:4]


def scored(function, digits, n, seed, **options):
    noise = perturbations.uniform(10, 4, digits.shape)[None]
    sizes = {"epochs": n(1), "batch_size": n(30)}
    return function(noise, digits.x_train, digits.y_train, seed=seed, **sizes, **options)


# By function how it is called: `n` makes a count of a number, `seed` is the seed.
CALLS = {
    random_direction: lambda d, n, seed: random_direction(d.x_test, eps=0.1, seed=seed),
    uniform_ball: lambda d, n, seed: uniform_ball(
        (n(3), n(4)), "l2", seed=seed, dtype=torch.float32
    ),
    pgd: lambda d, n, seed: pgd(*attacked(d), eps=0.1, steps=n(2), seed=seed),
    data.Dataset.resplit: lambda d, n, seed: d.resplit(seed).x_test,
    data.Dataset.folds: lambda d, n, seed: [part.tolist() for _, part in d.folds(n(3), seed)],
    data.load: lambda d, n, seed: data.load(
        "digits", train=n(40), test=n(20), size=n(6), channels=n(1), seed=seed
    ).x_train,
    data.Split: lambda d, n, seed: (
        data.Split("digits", n(40), n(20), n(6), seed, n(1)).load().x_train
    ),
    split: lambda d, n, seed: split(
        "digits", train=n(40), test=n(20), size=n(6), seed=seed
    ),
    divergence.discriminator_errors: lambda d, n, seed: scored(
        divergence.discriminator_errors, d, n, seed
    ),
    evolution.search: lambda d, n, seed: [
        g.candidates
        for g in evolution.search(
            d.x_train, d.y_train, classes=n(10), pixels=n(1), generations=n(1), popsize=n(2),
            strategy="random", epochs=n(1), discriminator_epochs=n(1), seed=seed,
        )
    ],
    evolution.fitness: lambda d, n, seed: scored(
        evolution.fitness, d, n, seed, discriminator_epochs=n(1)
    ),
    strategies.proposer: lambda d, n, seed: strategies.proposer(
        "cma-es", "uniform", n(2), n(1), (n(1), n(8), n(8)), popsize=n(4), sigma=0.3, place=0.5,
        value=0.75, options=None, seed=seed,
    ).ask(),
    nets.build: lambda d, n, seed: nets.build(
        "linear", (n(1), n(8), n(8)), n(10), seed=seed
    ).state_dict(),
    algorithm.evolve: lambda d, n, seed: evolved(n, seed),
    algorithm.generator: lambda d, n, seed: algorithm.generator(seed, n(3)).random(3),
    perturbations.uniform: lambda d, n, seed: perturbations.uniform(
        n(3), n(4), (n(1), n(8), n(8)), seed=seed
    ),
    perturbations.one_pixel_shortcut: lambda d, n, seed: perturbations.one_pixel_shortcut(
        d.x_train, d.y_train, n(10), seed=seed
    ),
    robustness.clever: lambda d, n, seed: robustness.clever(
        *attacked(d)[:2], batches=n(2), batch_size=n(3), seed=seed
    ),
    runtime.Draws: lambda d, n, seed: drawn(seed),
    training.fit: lambda d, n, seed: trained(d, n, seed),
    training.fit_many: lambda d, n, seed: trained(d, n, seed, many=True),
}  # fmt: skip


def takers():
    """Every public function, method and class of the methods that takes a seed."""
    for module in pkgutil.walk_packages(kit.__path__, "kit."):
        if module.name.startswith(("kit.harness", "kit.experiments", INNER)):
            continue  # settings are read by `kit.harness.settings`, which has tests of its own
        for name, value in vars(importlib.import_module(module.name)).items():
            if getattr(value, "__module__", "") != module.name or name.startswith("_"):
                continue
            members = list(vars(value).values()) if inspect.isclass(value) else [value]
            for function in filter(inspect.isfunction, members):
                if "seed" in inspect.signature(function).parameters:
                    yield value if function.__name__ == "__init__" else function


def test_every_function_with_a_seed_is_here():
    assert {*takers(), split} == set(CALLS)


def drawn(seed):
    with runtime.Draws(seed):
        return torch.rand(3)


def as_text(value):
    if isinstance(value, dict):
        return [(name, as_text(part)) for name, part in value.items()]
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, list):
        return [as_text(part) for part in value]
    return value.tolist() if isinstance(value, np.ndarray) else repr(value)


@pytest.mark.parametrize("function", CALLS, ids=lambda f: f.__qualname__)
def test_numbers_of_numpy_count_as_pythons(digits, function):
    wanted = as_text(CALLS[function](digits, int, 1))
    for number in WHOLE:
        data.splits._load.cache_clear()  # or the first of equal splits would serve for all
        assert as_text(CALLS[function](digits, number, number(1))) == wanted, number


SEEDED = [function for function in CALLS if function is not algorithm.generator]


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "0", True, None])
@pytest.mark.parametrize("function", SEEDED, ids=lambda f: f.__qualname__)
def test_what_is_no_seed_is_one_sentence(digits, function, seed):
    with pytest.raises(ValueError, match=r"^seed is .*: use a whole number from 0 to"):
        CALLS[function](digits, int, seed)


@pytest.mark.parametrize("number", WHOLE)
def test_a_channel_may_be_a_number_of_numpy(digits, number):
    """Of type uint8, PyTorch would take it for a mask."""
    x = digits.x_test.expand(-1, 3, -1, -1)
    ours = robustness.perturbation_norms(x, 1 - x, channel=number(1))
    assert as_text(ours) == as_text(robustness.perturbation_norms(x, 1 - x, channel=1))


# --- derive_seed ---------------------------------------------------------------------------------

WORDS = st.integers(-(2**63), 2**63 - 1) | st.floats(width=32) | st.booleans() | st.text(max_size=5)
NUMPY = {int: np.int64, float: np.float32, bool: np.bool_, str: np.str_}


@settings(max_examples=200, deadline=None)
@given(st.lists(WORDS, max_size=4))
@example([2**63 - 1, 0.5, True, ""])
def test_equal_parts_give_equal_seeds(parts):
    of_numpy = [NUMPY[type(part)](part) for part in parts if not str(part).endswith("\0")]
    parts = [part for part in parts if not str(part).endswith("\0")]  # NumPy's words lose it
    assert runtime.derive_seed(*parts) == runtime.derive_seed(*of_numpy)
    assert runtime.derive_seed(parts) == runtime.derive_seed(of_numpy)
    assert [type(part) for part in plain(of_numpy)] == [type(part) for part in parts]


def test_seeds_are_those_that_they_always_were():
    """Committed results rest on them."""
    assert runtime.derive_seed(0, "split", 3) == 1166935051
    assert runtime.derive_seed(0, "search", "mdd-es", 4, "adam", 1) == 2756157297
    assert runtime.derive_seed(7, "x", 0.5, True, None) == 528145935


def test_kinds_of_parts_differ():
    kinds = (1, 1.0, True, "1", None, (1,), [1])
    assert len({runtime.derive_seed(0, kind) for kind in kinds}) == len(kinds)


@pytest.mark.parametrize(
    "part", [np.arange(3), torch.ones(1), b"x", {1}, {"a": 1}, object(), [{1}]]
)
def test_a_seed_is_derived_from_plain_values_alone(part):
    with pytest.raises(
        TypeError, match=r"A seed cannot be derived from a .*: use numbers and words"
    ):
        runtime.derive_seed(0, part)
