"""MDD-ES: pycma's updates, the sign of the score, repeatable, resumable, blind to test images."""

import warnings

import cma
import numpy as np
import pytest
import torch

from kit import data, evolution, perturbations, runtime, training
from kit.evolution import mdd_es, strategies

SHORT = dict(classes=10, pixels=1, popsize=4, epochs=1, batch_size=32, discriminator_epochs=2)


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", train=120, test=100)


def searched(digits, generations=3, **options):
    options = SHORT | dict(generations=generations) | options
    return list(evolution.search(digits.x_train, digits.y_train, **options))


def assert_same(a, b):
    assert len(a) == len(b)
    for one, other in zip(a, b, strict=True):
        for name in ("candidates", "fitness", "mismatch", "divergence", "learnt"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        for name in ("number", "sigma", "stopped"):
            assert getattr(one, name) == getattr(other, name)


@pytest.fixture(scope="module")
def undisturbed(digits):
    return searched(digits)


def test_one_seed_one_search(digits, undisturbed):
    np.random.seed(5)  # noqa: NPY002  pycma would draw from the global generator
    torch.manual_seed(5)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    assert_same(undisturbed, searched(digits))
    np.testing.assert_array_equal(before[0], np.random.get_state()[1])  # noqa: NPY002
    assert torch.equal(before[1], torch.get_rng_state())
    other = searched(digits, generations=1, seed=1)
    assert not np.array_equal(other[0].candidates, undisturbed[0].candidates)


def test_an_earlier_generation_in_which_all_failed_is_refused(digits):
    history = [[0.1, 0.2], [np.nan, np.nan]]
    with pytest.raises(ValueError, match="fitness_history has no number for generation 2"):
        searched(digits, popsize=2, fitness_history=history)


@pytest.mark.parametrize("done", [0, 1, 2, 3, 4])
def test_a_search_goes_on_from_the_fitness_values_alone(digits, undisturbed, done):
    history = [generation.fitness for generation in undisturbed[:done]]
    assert_same(undisturbed[done:], searched(digits, fitness_history=history))


def test_a_history_can_come_from_a_file(digits, undisturbed):
    history = [generation.fitness.tolist() for generation in undisturbed[:2]]
    assert_same(undisturbed[2:], searched(digits, fitness_history=history))


def test_nothing_of_the_history_is_scored_again(digits, undisturbed, monkeypatch):
    calls, fitness = [], evolution.fitness
    monkeypatch.setattr(mdd_es, "fitness", lambda *a, **o: calls.append(a) or fitness(*a, **o))
    searched(digits, fitness_history=[generation.fitness for generation in undisturbed[:2]])
    assert len(calls) == 1


def test_a_history_must_fit_the_population(digits, undisturbed):
    history = [undisturbed[0].fitness, undisturbed[1].fitness[:3]]
    with pytest.raises(ValueError, match=r"shape \(3,\) for generation 2: give .* 4 candidates"):
        searched(digits, fitness_history=history)


@pytest.mark.parametrize("done", [0, 1, 2, 3])
def test_a_resumed_search_stops_where_the_undisturbed_one_did(digits, done):
    options = dict(popsize=3, options={"maxiter": 2}, generations=5)
    whole = searched(digits, **options)
    assert [generation.stopped for generation in whole] == ["", "maxiter: 2"]
    history = [generation.fitness for generation in whole] + [np.empty(0)]
    resumed = searched(digits, fitness_history=history[:done], **options)
    assert_same(whole[done:], resumed)


def test_a_rule_over_several_generations_stops_a_resumed_search_too(digits):
    """tolfunhist compares the last ten: pycma must remember those that were replayed."""
    options = dict(generations=20, options={"tolfunhist": 10.0}, popsize=3)
    whole = searched(digits, **options)
    assert len(whole) == 10
    assert "tolfunhist" in whole[-1].stopped
    history = [generation.fitness for generation in whole]
    for done in (8, 9, 10):
        assert_same(whole[done:], searched(digits, fitness_history=history[:done], **options))


def test_the_updates_are_those_of_pycma(undisturbed):
    """Driven by hand with the search's scores, pycma proposes the search's candidates."""
    random = np.random.default_rng(0)
    options = {
        "bounds": [0, 1], "popsize": 4, "verbose": -9, "seed": np.nan,
        "randn": lambda *size: random.standard_normal(size),
    }  # fmt: skip
    drawn = perturbations.uniform(10, 1, (1, 8, 8), seed=runtime.derive_seed(0, "start"))
    start = perturbations.encode(drawn, 1)  # the paper's starting point
    strategy = cma.CMAEvolutionStrategy(start, 0.3, options)
    for generation in undisturbed:
        asked = strategy.ask()
        np.testing.assert_array_equal(asked, generation.candidates)
        strategy.tell(asked, -generation.fitness)
        assert strategy.sigma == generation.sigma


def test_population_step_and_stopping_rules_are_passed_on(digits):
    by_default = searched(digits, generations=1, popsize=None)
    assert by_default[0].candidates.shape == (4 + int(3 * np.log(30)), 30)
    few = searched(digits, popsize=3, options={"maxiter": 2}, generations=5)
    assert [len(g.fitness) for g in few] == [3, 3]
    assert "maxiter: 2" in few[-1].stopped
    assert not few[0].stopped
    narrow = searched(digits, generations=1, sigma=1e-3, start="middle")[0].candidates
    np.testing.assert_allclose(narrow, [[0.5, 0.5, 0.75] * 10] * 4, atol=0.01)


def test_a_start_from_uniform_pixels_is_at_full_amplitude(digits):
    (near,) = searched(digits, generations=1, sigma=1e-3)
    noise = perturbations.decode(near.candidates, 10, 1, digits.shape, saturation=4.0)
    drawn = perturbations.uniform(10, 1, digits.shape, seed=runtime.derive_seed(0, "start"))
    assert all(torch.equal(candidate, drawn) for candidate in noise)
    (wide,) = searched(digits, generations=1, popsize=20)
    values = wide.candidates.reshape(20, 10, 3)[..., 2]
    saturated = (4 * (2 * values - 1)).clip(-1, 1)
    assert (saturated == 1).mean() > 0.6
    assert saturated.mean() > (2 * values - 1).mean()


def test_random_search_draws_as_the_uniform_baseline_does(digits):
    found = searched(digits, generations=2, strategy="random")
    noise = perturbations.decode(np.concatenate([g.candidates for g in found]), 10, 1, digits.shape)
    drawn = [
        perturbations.uniform(10, 1, digits.shape, seed=runtime.derive_seed(0, "draw", number))
        for number in range(8)
    ]
    assert torch.equal(noise, torch.stack(drawn))
    assert [(g.stopped, g.sigma) for g in found] == [("", 0), ("", 0)]
    history = [found[0].fitness]
    again = searched(digits, generations=2, strategy="random", fitness_history=history)
    np.testing.assert_array_equal(again[0].candidates, found[1].candidates)
    np.testing.assert_array_equal(again[0].fitness, found[1].fitness)
    (default,) = searched(digits, generations=1, strategy="random", popsize=None)
    assert len(default.candidates) == 14


def test_what_the_search_nets_learnt_is_told(digits):
    noise = perturbations.left_column(10, digits.shape)[None]
    scores = evolution.fitness(noise, digits.x_train, digits.y_train, epochs=20, details=True)
    (lazy,) = evolution.fitness(
        noise, digits.x_train, digits.y_train, epochs=1, lr=1e-9, details=True
    ).learnt
    assert scores.learnt.item() > 0.9 > 0.4 > lazy


def test_the_score_rewards_bad_generalization(digits):
    """A pixel in the always-dark corner region that tells the class against no pixel at all."""
    x, y = digits.x_train * 0.5, digits.y_train  # 0.5: the pixel is the loudest feature
    telling = perturbations.uniform(10, 1, digits.shape, seed=3)
    noise = torch.stack([torch.zeros_like(telling), telling])
    scores = evolution.fitness(noise, x, y, epochs=30, batch_size=20, details=True)
    assert scores.mismatch[0] == pytest.approx(0, abs=1e-6)
    assert scores.mismatch[1] > 0.2
    assert abs(scores.divergence[0]) < 0.3 < scores.divergence[1]
    torch.testing.assert_close(scores.total, scores.mismatch + scores.divergence)
    assert torch.equal(scores.total, evolution.fitness(noise, x, y, epochs=30, batch_size=20))


def test_a_score_does_not_depend_on_the_other_candidates(digits):
    noise = torch.stack([perturbations.uniform(10, 1, digits.shape, seed=s) for s in range(3)])
    x, y = digits.x_train, digits.y_train
    together = evolution.fitness(noise, x, y, epochs=1)
    alone = [float(evolution.fitness(one[None], x, y, epochs=1)) for one in noise]
    assert together.tolist() == alone


def break_candidates(monkeypatch, broken):
    """Make the losses of some candidates infinite or not a number after training."""
    real = training.fit_many

    def fit_many(models, *args, **options):
        histories = real(models, *args, **options)
        if len(list(models[0].children())) > 2:  # the search nets, not the discriminators
            for index in broken:
                torch.nn.init.constant_(next(models[index].parameters()), torch.nan)
        return histories

    monkeypatch.setattr(training, "fit_many", fit_many)


def test_a_candidate_without_a_loss_ranks_last_and_the_search_goes_on(digits, monkeypatch):
    break_candidates(monkeypatch, [1])
    with pytest.warns(UserWarning, match=r"Generation 1: the loss of candidate 1 .*goes on"):
        generations = searched(digits, generations=2)
    assert [np.isnan(g.fitness).tolist() for g in generations] == [[False, True, False, False]] * 2
    assert np.isnan(generations[0].mismatch[1])
    ranked = strategies._ranked(generations[0].fitness)
    assert ranked.argmax() == 1
    assert np.isfinite(ranked).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        history = [generations[0].fitness]
        assert_same(generations[1:], searched(digits, generations=2, fitness_history=history))


def test_a_generation_without_any_loss_is_one_sentence(digits, monkeypatch):
    break_candidates(monkeypatch, range(4))
    with pytest.raises(ValueError, match=r"every candidate in generation 1 .*smaller learning"):
        searched(digits)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"pixels": 0}, "pixels is 0: use a whole number from 1 to 64"),
        ({"pixels": 65}, "pixels is 65"),
        ({"popsize": 1}, r"popsize is 1: use a whole number from 2 on \(λ\)"),
        ({"popsize": 2.5}, "popsize is 2.5"),
        ({"generations": 0}, "generations is 0: use a whole number from 1 on"),
        ({"sigma": 0}, "sigma is 0: it must be a positive number"),
        ({"sigma": float("nan")}, "sigma is nan"),
        ({"value": 1.5}, "start_value is 1.5"),
        ({"start": "corner"}, "Unknown start 'corner' in start: use one of uniform, middle"),
        ({"strategy": "grid"}, "Unknown strategy 'grid' in strategy: use one of cma-es, random"),
        ({"saturation": 0.9}, "saturation is 0.9: use a number from 1 on"),
        ({"optimizer": "adamm"}, "Unknown optimizer 'adamm': use one of adam, sgd"),
        ({"net": "greynet"}, "Unknown net 'greynet'"),
        ({"options": {"no_such_option": 1}}, "cma_options has 'no_such_option', which pycma"),
        ({"options": {"popsize": "x y"}}, "pycma refuses the options"),
    ],
)
def test_bad_options_are_one_sentence(digits, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        searched(digits, **options)


def test_a_grey_net_for_colour_data():
    x, y = torch.rand(20, 3, 8, 8), torch.arange(20) % 10
    with pytest.raises(ValueError, match="'graynet' is for grey images; these have 3 channels"):
        list(evolution.search(x, y, net="graynet", **SHORT))


def test_colour_images_have_a_search_net_of_their_own():
    x, y = torch.rand(20, 3, 8, 8), torch.arange(20) % 10
    (generation,) = evolution.search(x, y, generations=1, **SHORT)
    assert generation.candidates.shape == (4, 50)
