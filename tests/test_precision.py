"""Training in bfloat16: a choice of `fit`, and a parameter of every study."""

import json

import notebook
import pytest
import torch
from test_accelerator import SMALLER
from test_notebooks import PAPERS, TINY

import kit
import run_all
from benchmarks.gpu.estimate import everything
from kit.harness import runner, steps
from kit.optimizers import PRECISIONS
from kit.training import loop

HALF = PRECISIONS[1]


@pytest.fixture(scope="module")
def digits():
    return kit.data.load("digits", train=600)


def trained(digits, net="lenet5", **options):
    model = kit.nets.build(net, digits.shape)
    options = {"epochs": 12, "batch_size": 32, "lr": 3e-3} | options
    kit.training.fit(model, digits.x_train, digits.y_train, **options)
    return model, kit.training.accuracy(model, digits.x_test, digits.y_test)


def test_it_learns_as_much_by_other_numbers(digits):
    whole, of_whole = trained(digits)
    half, of_half = trained(digits, precision=HALF)
    for one, other in zip(whole.parameters(), half.parameters(), strict=True):
        assert other.dtype == torch.float32
        assert not torch.equal(one, other)
    assert min(of_whole, of_half) > 0.85
    assert abs(of_whole - of_half) < 0.06


def test_only_what_is_multiplied_is_rounded(digits):
    """The loss sees logits of bfloat16's numbers; what is judged afterwards does not."""
    seen = []

    def loss(model, x, y, rows):
        value, logits = kit.training.mean_cross_entropy(model, x, y, rows)
        seen.append((logits.dtype, value.dtype))
        return value, logits

    model, _ = trained(digits, epochs=1, loss=loss, precision=HALF)
    assert set(seen) == {(torch.bfloat16, torch.float32)}
    assert kit.training.logits(model, digits.x_test).dtype == torch.float32


def test_equal_trainings_give_equal_weights(digits):
    nets = [trained(digits, epochs=1, precision=HALF)[0] for _ in range(2)]
    for one, other in zip(*(net.parameters() for net in nets), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("stacked", [False, True])
def test_a_population_does_so_too(digits, stacked):
    losses = []
    for precision in PRECISIONS:
        nets = [kit.nets.build("graynet", digits.shape, seed=seed) for seed in (0, 1)]
        options = {"epochs": 2, "batch_size": 32, "stacked": stacked, "precision": precision}
        histories = kit.training.fit_many(nets, digits.x_train, digits.y_train, **options)
        losses.append([history["loss"][-1] for history in histories])
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)


def test_another_name_is_refused(digits):
    with pytest.raises(ValueError, match="Unknown precision 'half' in precision: use one of float"):
        trained(digits, precision="half")


def planned(path, **options):
    study = runner.Notebook(path, run_all.EXPERIMENTS).experiment
    values = notebook.parameters(path.stem) | TINY[path.stem] | SMALLER.get(path.stem, {})
    return study.plan(study.Settings.read(values | options))


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.stem)
def test_keys_name_it_only_where_it_is_chosen(path):
    """What was stored before there was a choice is found again."""
    usual, chosen = (everything(planned(path, precision=name)) for name in PRECISIONS)
    assert not [task.label for task in usual if "precision" in json.dumps(task.keyed)]
    assert len(usual) == len(chosen)
    named = [task for task in chosen if "precision" in json.dumps(task.keyed)]
    able = [t for t in chosen if "precision" in t.step.signature.parameters or "search" in t.keyed]
    assert named == able
    assert named


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.stem)
def test_every_net_of_a_study_trains_so(path, store, monkeypatch):
    made = []
    check = loop.Schedule.__post_init__

    def noted(schedule):
        check(schedule)
        made.append(schedule.precision)

    monkeypatch.setattr(loop.Schedule, "__post_init__", noted)
    # The discriminator of paper 1, the one net that stays as it is, is not trained.
    errors = "kit.divergence.discriminator_errors"
    monkeypatch.setattr(errors, lambda noise, *a, **k: torch.zeros(len(noise)).double())
    plan = planned(path, precision=HALF)
    steps.compute(plan, jobs=1, device="cpu")
    assert set(made) == {HALF}
