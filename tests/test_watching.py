"""Passes and progress of attacks, seen from outside."""

import copy
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from models import random
from torch import nn

import kit
from kit import attacks, checks, data, misalignment, nets, training, watching

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", train=400, test=60)


@pytest.fixture(scope="module")
def net(digits):
    net = nets.build("lenet5", digits.shape)
    training.fit(net, digits.x_train, digits.y_train, epochs=10, lr=0.003)
    return net


@pytest.fixture(scope="module")
def right(digits, net):
    known = training.predict(net, digits.x_test) == digits.y_test
    return digits.x_test[known], digits.y_test[known]


def counted(model, attack):
    with watching.passes(model) as count:
        attack()
    return count.forward, count.backward


# --- passes --------------------------------------------------------------------------------------

CHECK = 1  # the first image, to see whether the model has a gradient


@pytest.mark.parametrize("batch", [500, 7])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_passes_of_fgsm_and_pgd(net, right, batch, norm, monkeypatch):
    monkeypatch.setattr("kit.gradients.BATCH", batch)
    (x, y), n = right, len(right[0])
    assert counted(net, lambda: attacks.fgsm(net, x, y, eps=0.1, norm=norm)) == (
        n + CHECK,
        n + CHECK,
    )
    found = counted(net, lambda: attacks.pgd(net, x, y, eps=0.1, norm=norm, steps=9))
    assert found == (9 * n + CHECK, 9 * n + CHECK)
    found = counted(net, lambda: attacks.fgsm_all_targets(net, x, y, eps=0.1, classes=10))
    assert found == (9 * n + CHECK, 9 * n + CHECK)


def test_passes_of_random_directions(net, right):
    assert counted(net, lambda: attacks.random_direction(right[0], eps=0.1)) == (0, 0)


@pytest.mark.parametrize("classes", [3, 10, None])
def test_passes_of_deepfool(net, right, classes):
    """One step: a forward pass of each image, a backward pass for each other class; and a look."""
    (x, y), n = right, len(right[0])
    found = counted(net, lambda: attacks.deepfool(net, x, y, steps=1, classes=classes))
    others = (classes or 10) - 1
    number_of_classes, look = 1, n
    assert found == (CHECK + number_of_classes + n + look, others * n + CHECK)
    without_labels = counted(net, lambda: attacks.deepfool(net, x, steps=1, classes=classes))
    assert without_labels == (found[0] + n, found[1])


def test_images_that_deepfool_is_done_with_cost_nothing_more(net, right):
    x, y = right
    found = counted(net, lambda: attacks.deepfool(net, x, y, classes=4))
    seen = []
    hook = net.register_forward_hook(
        lambda model, shown, logits: None if checks.looking() else seen.append(len(shown[0]))
    )
    attacks.deepfool(net, x, y, classes=4)
    hook.remove()
    steps = seen[2:]  # without the check and the number of classes
    assert steps == sorted(steps, reverse=True)
    assert steps[0] == len(x) > steps[-1]
    assert found == (sum(seen), 3 * sum(steps) + CHECK)


@pytest.mark.parametrize("batch", [500, 30])
@pytest.mark.parametrize(("steps", "classes"), [(20, 5), (50, 5), (100, 5), (40, 2)])
def test_passes_of_nearest_l2_are_its_budget(net, right, steps, classes, batch, monkeypatch):
    """And two looks at each image: does it fool already, and where did the wide search end?"""
    monkeypatch.setattr("kit.gradients.BATCH", batch)
    (x, y), n = right, len(right[0])
    forward, backward = counted(
        net, lambda: attacks.nearest_l2(net, x, y, steps=steps, classes=classes)
    )
    assert backward == steps * n + CHECK
    assert forward == backward + 2 * n


def test_passes_of_cw_are_its_budget(net, right):
    """And a look at each image: does it fool already?"""
    (x, y), n = right, len(right[0])
    forward, backward = counted(net, lambda: attacks.cw_l2(net, x, y, steps=7, search_steps=3))
    assert backward == 7 * 3 * n + CHECK
    assert forward == backward + n


def test_nearest_l2_takes_no_gradient_of_images_that_fool_already(net, right):
    x, y = right
    wrong = (y + 1) % 10
    assert counted(net, lambda: attacks.nearest_l2(net, x, wrong)) == (len(x) + CHECK, CHECK)


def test_training_with_a_loss_on_input_gradients_takes_two_backward_passes(net, right):
    """One for the images' gradients, one for the loss; with fit's own look at the first image."""
    (x, y), n, model = right, len(right[0]), copy.deepcopy(net)
    grads = misalignment.unit(random(*x.shape)).view_as(x)
    plain = counted(model, lambda: training.fit(model, x, y, epochs=2))
    assert plain == (2 * n + CHECK, 2 * n)
    loss = misalignment.misaligned(grads)
    assert counted(model, lambda: training.fit(model, x, y, epochs=2, loss=loss)) == (
        2 * n + CHECK, 4 * n
    )  # fmt: skip


def squared(x):
    return x.square().sum()


@pytest.mark.parametrize("nonlinear", [False, True])
def test_double_backward_of_any_loss(nonlinear):
    """The second derivative of what is linear in the logits does not come by them again."""
    model, x = (
        nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.ReLU(), nn.Linear(5, 3)),
        random(4, *SHAPE),
    )
    x.requires_grad_()
    with watching.passes(model) as count:
        logits = model(x)
        value = logits.logsumexp(1).sum() if nonlinear else logits[:, 0].sum()
        (first,) = torch.autograd.grad(value, x, create_graph=True)
        assert count == watching.Passes(4, 4)
        squared(first).backward(retain_graph=True)
        assert count == watching.Passes(4, 8)
        squared(first).backward()
    assert count == watching.Passes(4, 12)


def test_calls_on_the_same_images_are_counted_apart():
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), random(4, *SHAPE).requires_grad_()
    with watching.passes(model) as count:
        first, second = model(x), model(x)
        first.sum().backward(retain_graph=True)
        assert count == watching.Passes(8, 4)
        (squared(first) + squared(second)).backward()
        assert count == watching.Passes(8, 12)
        x.sum().backward()
        model(x.detach()[:2]).sum().backward()  # to the weights alone
        with torch.no_grad():
            model(x)
    assert count == watching.Passes(14, 14)


def test_only_the_block_counts(net, right):
    x = right[0][:3].clone().requires_grad_()
    before = net(x).sum()
    with watching.passes(net) as count:
        logits = net(x)
        twin = copy.deepcopy(net)
        twin(x)
        before.backward()
    logits.sum().backward()
    twin(x).sum().backward()
    net(x)
    assert count == watching.Passes(6, 0)


def test_counts_within_counts(net, right):
    x, y = right
    with watching.passes(net) as outer:
        attacks.fgsm(net, x, y, eps=0.1)
        with watching.passes(net) as inner:
            attacks.pgd(net, x, y, eps=0.1, steps=3)
    assert inner.backward == 3 * len(x) + CHECK
    assert outer.backward == 4 * len(x) + 2 * CHECK


# --- what both have in common --------------------------------------------------------------------

WATCH = {
    "passes": lambda model, x, y: watching.passes(model),
    "trace": lambda model, x, y: watching.trace(model, x, y),
}


def hooks(model):
    return [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules()]


@pytest.mark.parametrize("name", WATCH)
def test_hooks_go_after_an_error_too(net, right, name):
    x, y = right
    with pytest.raises(ValueError, match="eps is 2"), WATCH[name](net, x, y):
        attacks.pgd(net, x, y, eps=0.1 if sum(hooks(net)) == 0 else 2)
    assert sum(hooks(net)) == 0


@pytest.mark.parametrize("name", WATCH)
def test_an_attack_does_the_same_when_it_is_watched(net, right, name):
    x, y = right
    for attack in (
        lambda: attacks.pgd(net, x, y, eps=0.1, steps=3),
        lambda: attacks.cw_l2(net, x, y, steps=10, search_steps=2),
        lambda: attacks.nearest_l2(net, x, y, steps=20),
        lambda: attacks.deepfool(net, x, y, steps=5),
    ):  # fmt: skip
        alone = attack()
        with WATCH[name](net, x, y):
            watched = attack()
        assert torch.equal(alone, watched)


@pytest.mark.parametrize("name", WATCH)
def test_a_bad_model_still_gets_its_sentence(name, right):
    x, y = right
    model = nn.Identity()
    with WATCH["passes"](model, x, y), pytest.raises(ValueError, match="it must return logits"):
        attacks.fgsm(model, x, y, eps=0.1)


# --- the trace -----------------------------------------------------------------------------------


def test_trace_of_pgd(net, right):
    """Against PGD step by step."""
    (x, y), options = right, dict(eps=0.2, step_size=0.05, random_start=False)
    with watching.trace(net, x, y) as seen:
        attacks.pgd(net, x, y, steps=6, **options)
    assert seen.loss.shape == seen.distance.shape == seen.fooled.shape == (7, len(x))
    assert seen.distance[0].max() == seen.distance[1, 0] == 0  # the check, and the first step
    for step in range(1, 6):
        x_adv = attacks.pgd(net, x, y, steps=step, **options)
        logits = training.logits(net, x_adv)
        loss = nn.functional.cross_entropy(logits, y, reduction="none")
        for image, time in ((0, step + 1), (1, step), (len(x) - 1, step)):
            torch.testing.assert_close(seen.loss[time, image], loss[image])
            length = (x_adv[image] - x[image]).norm()
            torch.testing.assert_close(seen.distance[time, image], length)
            assert seen.fooled[time, image] == (logits[image].argmax() != y[image])
    assert seen.loss[6, 1:].isnan().all()  # nothing but the check shows an image more often


@pytest.mark.parametrize("batch", [500, 12])
def test_the_nearest_success_in_a_trace_of_nearest_l2_is_its_result(net, right, batch, monkeypatch):
    """Whatever the batches: six candidates of an image at a time."""
    monkeypatch.setattr("kit.gradients.BATCH", batch)
    x, y = right[0][:20], right[1][:20]
    with watching.trace(net, x, y) as seen:
        found = attacks.nearest_l2(net, x, y, steps=50, details=True)
    assert found.success.all()
    assert (~seen.loss.isnan()).sum(0).tolist() == [53, *[52] * 19]
    nearest = seen.distance.where(seen.fooled == 1, torch.inf).amin(0)
    distance = (found.x_adv - x).flatten(1).norm(dim=1)
    assert (nearest <= distance + 1e-6).all()  # it wants a success to stand above rounding
    torch.testing.assert_close(nearest, distance, rtol=2e-3, atol=0)


def test_a_trace_of_deepfool_ends_where_an_image_fools(net, right):
    x, y = right[0][:20], right[1][:20]
    with watching.trace(net, x, y) as seen:
        x_adv = attacks.deepfool(net, x, y)
    times = (~seen.loss.isnan()).sum(0)
    assert len(set(times.tolist())) > 1
    last = times - 1
    assert (seen.fooled.gather(0, last[None]) == 1).all()
    length = (x_adv - x).flatten(1).norm(dim=1)
    torch.testing.assert_close(seen.distance.gather(0, last[None])[0], length)


@pytest.mark.parametrize(
    "attack",
    [
        lambda net, x, y: attacks.pgd(net, x, y, eps=0.3),
        lambda net, x, y: attacks.pgd(net, x, y, eps=2.0, norm="l2"),
        lambda net, x, y: attacks.cw_l2(net, x, y, steps=20, search_steps=2, lr=0.1),
        lambda net, x, y: attacks.nearest_l2(net, x, y),
        lambda net, x, y: attacks.nearest_l2(net, x, y, confidence=5),
        lambda net, x, y: attacks.nearest_l2(net, x, (y + 1) % 10, targeted=True),
    ],
)
def test_images_are_told_apart_under_large_changes(net, right, attack):
    """Larger than half of the way between two images, which then may lie nearer to each other."""
    x, y = right
    origins = []

    def look(model, shown):
        if len(shown[0]) % len(x) == 0:  # whole sets: all but the check
            origins.append(watching._origins(shown[0].detach(), x))

    hook = net.register_forward_pre_hook(look)
    attack(net, x, y)
    hook.remove()
    truth = torch.cat([torch.arange(len(found)) % len(x) for found in origins])
    assert len(truth) > 500
    assert torch.equal(torch.cat(origins), truth)


@pytest.mark.parametrize("copies", [1, 2, 6])
def test_origins_of_some_images(right, copies):
    x = right[0]
    for seed in range(20):
        chance = torch.Generator().manual_seed(seed)
        some = torch.randperm(len(x), generator=chance)[: 1 + seed].sort().values
        shown = x[some].repeat(copies, 1, 1, 1)
        shown = (shown + 0.3 * torch.randn(shown.shape, generator=chance)).clamp(0, 1)
        assert watching._origins(shown, x).tolist() == some.tolist() * copies
    assert watching._origins(x[:0], x).tolist() == []


@given(st.integers(1, 5), st.integers(0, 4), st.integers(0, 99))
def test_the_cheapest_rising_columns(rows, more, seed):
    cost = np.random.default_rng(seed).integers(0, 9, (rows, rows + more)).astype(float)
    mean, columns = watching._in_order(cost)
    ways = list(itertools.combinations(range(rows + more), rows))
    assert tuple(columns) in ways
    assert mean == cost[range(rows), columns].mean()
    assert mean == min(cost[range(rows), way].mean() for way in ways)


def test_a_trace_sees_images_before_a_model_works_on_them(net, right):
    class InPlace(nn.Module):
        def forward(self, x):
            return net(x.mul_(1))

    class Emptied(nn.Module):
        def forward(self, x):
            logits = net(x)
            x.detach().zero_()
            return logits

    x, y = right[0][:5], right[1][:5]
    for model in (InPlace(), Emptied()):
        with watching.trace(model, x, y) as seen, torch.no_grad():
            model((x + 0.01).clamp(0, 1))
        assert (seen.distance > 0).all()


def test_a_trace_of_nothing(net, right):
    with watching.trace(net, *right) as seen:
        pass
    assert seen.loss.shape == seen.distance.shape == seen.fooled.shape == (0, len(right[0]))


def test_bad_input_is_refused(net, right):
    x, y = right
    with pytest.raises(ValueError, match=r"give a torch\.Tensor of shape"):
        watching.trace(net, x[0], y).__enter__()
    for watch in WATCH.values():
        with pytest.raises(ValueError, match=r"give a torch\.nn\.Module"):
            watch(kit, x, y).__enter__()
