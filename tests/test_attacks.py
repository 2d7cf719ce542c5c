"""Attacks: alike to their peers, exact on linear models, strict, polite to the model."""

import copy
import functools
import itertools

import foolbox
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import Deaf, Diverged, Linear, random
from torch import nn

from kit import attacks, checks, data, gradients, nets, training
from kit.attacks import carlini_wagner, projected_gradient


class Fragile(nn.Module):
    """Fails at its `good` + 1-th call."""

    def __init__(self, good):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
        self.good = good

    def forward(self, x):
        self.good -= 1
        if self.good < 0:
            raise RuntimeError("out of order")
        return self.layers(x)


def norms(difference):
    return difference.flatten(1).norm(dim=1)


def random_net(shape, classes, seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        width = shape[0] * shape[1] * shape[2]
        layers = nn.Flatten(), nn.Linear(width, 12), nn.ReLU(), nn.Linear(12, classes)
        return nn.Sequential(*layers)


def best_of_ten(model, x, y):
    """An attack without gradients: of ten random directions the one with the largest loss."""
    with gradients.frozen(model), torch.no_grad():
        checks.check_batch(model, x, y)
        moved = torch.stack([attacks.random_direction(x, eps=0.1, seed=s) for s in range(10)])
        parts = moved.flatten(0, 1), y.repeat(10)
        loss = gradients.in_batches(
            lambda x, y: nn.functional.cross_entropy(
                gradients.outputs(model, x), y, reduction="none"
            ),
            *parts,
        )
    return moved[loss.view(10, -1).argmax(0), torch.arange(len(x))]


SMALL = dict(steps=15, search_steps=3, lr=0.05, initial_const=1.0)  # a budget for CW
ATTACKS = {
    "fgsm": lambda model, x, y: attacks.fgsm(model, x, y, eps=0.1),
    "all_targets": lambda model, x, y: attacks.fgsm_all_targets(
        model, x, y, eps=0.1, classes=next((len(w) for w in reversed([*model.parameters()])), 3)
    )[0],
    "fgsm_l2": lambda model, x, y: attacks.fgsm(model, x, y, eps=0.5, norm="l2"),
    "deepfool": lambda model, x, y: attacks.deepfool(model, x, y),
    "deepfool_unlabelled": lambda model, x, y: attacks.deepfool(model, x),
    "deepfool_clipped": lambda model, x, y: attacks.deepfool(model, x, y, max_eps=0.05),
    "pgd": lambda model, x, y: attacks.pgd(model, x, y, eps=0.1, steps=5, random_start=False),
    "pgd_l2": lambda model, x, y: attacks.pgd(
        model, x, y, eps=0.5, norm="l2", steps=5, random_start=False, targeted=True
    ),
    "pgd_random": lambda model, x, y: attacks.pgd(model, x, y, eps=0.1, steps=5),
    "pgd_l2_random": lambda model, x, y: attacks.pgd(model, x, y, eps=0.5, norm="l2", steps=5),
    "cw": lambda model, x, y: attacks.cw_l2(model, x, y, **SMALL),
    "cw_targeted": lambda model, x, y: attacks.cw_l2(
        model, x, y, targeted=True, confidence=0.1, **SMALL
    ),
    "nearest": lambda model, x, y: attacks.nearest_l2(model, x, y, steps=30),
    "nearest_targeted": lambda model, x, y: attacks.nearest_l2(
        model, x, y, targeted=True, confidence=0.1, steps=30
    ),
    "best_of_ten": best_of_ten,
}
RANDOM = ["pgd_random", "pgd_l2_random", "best_of_ten"]
GRADIENT_FREE = ["best_of_ten"]  # they ask for the model's outputs alone


def each(names):
    return pytest.mark.parametrize("attack", [ATTACKS[name] for name in names], ids=list(names))


each_attack = each(ATTACKS)
each_calm_attack = each([name for name in ATTACKS if name not in RANDOM])
each_attack_by_gradients = each([name for name in ATTACKS if name not in GRADIENT_FREE])
each_attack_on_labels = each([name for name in ATTACKS if name != "deepfool_unlabelled"])


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module")
def net(digits):
    net = nets.build("lenet5", digits.shape)
    training.fit(net, digits.x_train, digits.y_train, epochs=6, batch_size=32, lr=3e-3)
    return net


@pytest.fixture(scope="module")
def correct(digits, net):
    right = training.predict(net, digits.x_test) == digits.y_test
    assert right.float().mean() > 0.85
    return digits.x_test[right][:200], digits.y_test[right][:200]


# --- fast gradient sign method ---


@pytest.mark.parametrize("eps", [0.01, 0.1, 0.3, 1])
def test_fgsm_as_foolbox(digits, net, eps):
    peer, x, y = foolbox.PyTorchModel(net, (0, 1)), digits.x_test, digits.y_test
    attack = foolbox.attacks.LinfFastGradientAttack(random_start=False)
    theirs = attack(peer, x, y, epsilons=eps)[1]
    torch.testing.assert_close(attacks.fgsm(net, x, y, eps=eps), theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("eps", [0.01, 0.1, 0.3, 1])
def test_targeted_fgsm_as_foolbox(digits, net, eps):
    peer, x, aim = foolbox.PyTorchModel(net, (0, 1)), digits.x_test, (digits.y_test + 3) % 10
    # Foolbox's FGSM refuses targets; one whole step of projected descent is the same thing.
    attack = foolbox.attacks.LinfProjectedGradientDescentAttack(
        steps=1, rel_stepsize=1.0, random_start=False
    )
    theirs = attack(peer, x, foolbox.criteria.TargetedMisclassification(aim), epsilons=eps)[1]
    ours = attacks.fgsm(net, x, aim, eps=eps, targeted=True)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_fgsm_moves_the_loss_both_ways(digits, net):
    x, y = digits.x_test, digits.y_test

    def loss(images):
        return nn.functional.cross_entropy(net(images), y).item()

    down = attacks.fgsm(net, x, y, eps=0.02, targeted=True)
    assert loss(down) < loss(x) < loss(attacks.fgsm(net, x, y, eps=0.02))


def test_fgsm_all_targets(digits, net):
    x, y = digits.x_test[:30], digits.y_test[:30]
    x_adv, targets = attacks.fgsm_all_targets(net, x, y, eps=0.1, classes=10)
    assert x_adv.shape == (30, 9, *digits.shape)
    assert targets.shape == (30, 9)
    for label, aims in zip(y, targets, strict=True):
        assert sorted([int(label), *aims.tolist()]) == list(range(10))
    for column, aim in enumerate(targets.unbind(1)):
        alone = attacks.fgsm(net, x, aim, eps=0.1, targeted=True)
        torch.testing.assert_close(x_adv[:, column], alone, rtol=0, atol=0)


# --- DeepFool ---


def test_deepfool_fools_with_less_than_foolbox(net, correct):
    x, y = correct
    x_adv = attacks.deepfool(net, x, y)
    assert (training.predict(net, x_adv) != y).all()
    theirs = foolbox.attacks.L2DeepFoolAttack()(
        foolbox.PyTorchModel(net, (0, 1)), x, y, epsilons=None
    )[1]
    assert norms(x_adv - x).mean() <= norms(theirs - x).mean()


def gaps(model, x, y):
    """How far each class of a linear model lies behind, and how steeply it gains."""
    logits = model(x).detach()
    length = (model.weight[y][:, None] - model.weight).detach().norm(dim=2)
    return logits.gather(1, y[:, None]) - logits, length


def distances_to_boundary(model, x, y):
    """Exact L2 distance to the nearest other class of a linear model, were there no box."""
    gap, length = gaps(model, x, y)
    return (gap / length).scatter(1, y[:, None], torch.inf).min(1).values


def inner_problem(scale=1.0):
    """A linear model and images so near its boundary that no pixel meets the box."""
    generator = torch.Generator().manual_seed(0)
    weight = scale * torch.randn(4, 64, generator=generator)
    model = Linear(weight, -weight.sum(1) / 2)
    x = 0.45 + 0.1 * torch.rand(40, 1, 8, 8, generator=generator)
    y = model(x).argmax(1)
    distance = distances_to_boundary(model, x, y)
    far = distance > 0.01  # so that 3 % are well above what rounding and the authors' 1e-4 do
    assert far.sum() > 20
    return model, x[far], y[far], distance[far]


@pytest.mark.parametrize("scale", [1e-4, 1e-2, 1, 100, 1e4])
def test_deepfool_on_linear_models(scale):
    # Neither the decision nor the distance to it depends on the logits' scale.
    model, x, y, distance = inner_problem(scale)
    x_adv = attacks.deepfool(model, x, y)
    assert x_adv.min() > 0
    assert x_adv.max() < 1
    assert (model(x_adv).argmax(1) != y).all()
    ratio = norms(x_adv - x) / distance
    assert ratio.min() > 1 - 1e-4
    assert ratio.max() < 1.03


def test_deepfool_overshoots():
    model, x, y, distance = inner_problem()
    little, much = (attacks.deepfool(model, x, y, overshoot=o) for o in (0, 0.3))
    assert ((norms(little - x) / distance) < 1.02).all()
    assert ((norms(much - x) / distance) > 1.03).all()


def distance_in_box(x, normal, gap):
    """Least ‖d‖ with normal·d ≥ gap and x + d in the box: d = clamp(x + λ·normal) − x, bisected."""
    low, high = 0.0, 1e3
    for _ in range(100):
        middle = (low + high) / 2
        d = (x + middle * normal).clamp(0, 1) - x
        low, high = (middle, high) if d @ normal < gap else (low, middle)
    return float(d.norm())


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_deepfool_does_not_stall_at_the_box(share):
    # The strongest pixels sit at 0 or 1 and push outwards: only the weak ones can move.
    normal = random(64, seed=1, dtype=torch.float64) * 2 - 1
    order = normal.abs().argsort(descending=True)
    stuck, free = order[: int(64 * share)], order[int(64 * share) :]
    x = random(64, seed=2, dtype=torch.float64)
    x[stuck] = (normal[stuck] > 0).double()
    reach = (normal[free] > 0).double() - x[free]
    gap = float(0.5 * (reach * normal[free]).sum())  # half of what the free pixels can do
    weight = torch.stack([torch.zeros_like(normal), normal])
    model = Linear(weight, torch.stack([normal @ x + gap, torch.zeros(())]).double())
    image, y = x.view(1, 1, 8, 8), torch.tensor([0])
    x_adv = attacks.deepfool(model, image, y)
    assert model(x_adv).argmax(1) == 1
    assert torch.equal(x_adv.flatten()[stuck], x[stuck])
    assert norms(x_adv - image)[0] <= 1.05 * distance_in_box(x, normal, gap)


def test_deepfool_clips_to_max_eps(net, correct):
    x, y = correct
    whole = attacks.deepfool(net, x, y)
    sizes = (whole - x).abs().flatten(1).amax(1)
    for max_eps in (1e-3, float(sizes.median()), 1):
        x_adv = attacks.deepfool(net, x, y, max_eps=max_eps)
        expected = (x + (whole - x).clamp(-max_eps, max_eps)).clamp(0, 1)
        torch.testing.assert_close(x_adv, expected, rtol=0, atol=1e-6)
        assert (x_adv - x).abs().max() <= max_eps + 1e-6
        inside = sizes < max_eps
        assert (training.predict(net, x_adv[inside]) != y[inside]).all()


@pytest.mark.parametrize("max_eps", [None, 0.1])
def test_deepfool_leaves_misclassified_images(net, correct, max_eps):
    x, y = correct
    wrong = torch.arange(len(y)) % 3 == 0
    x_adv = attacks.deepfool(net, x, torch.where(wrong, (y + 1) % 10, y), max_eps=max_eps)
    assert torch.equal(x_adv[wrong], x[wrong])
    assert (norms(x_adv - x)[~wrong] > 0).all()


def test_deepfool_returns_what_it_did_not_fool_clean(net, correct):
    x, y = correct
    x_adv = attacks.deepfool(net, x, y, steps=3)
    fooled = training.predict(net, x_adv) != y
    assert 0.05 < fooled.float().mean() < 0.9
    assert torch.equal(x_adv[~fooled], x[~fooled])
    assert (norms(x_adv - x)[fooled] > 0).all()


def test_deepfool_looks_at_the_nearest_classes(net, correct):
    x, y = correct[0][:50], correct[1][:50]
    exact = attacks.deepfool(net, x, y, classes=None)
    assert torch.equal(attacks.deepfool(net, x, y), exact)  # of ten classes ten are all
    calls = []
    hook = net.register_full_backward_hook(lambda *_: calls.append(1))
    try:
        few = attacks.deepfool(net, x, y, classes=3)
        backward_passes = len(calls)
        attacks.deepfool(net, x, y, classes=None)
    finally:
        hook.remove()
    assert backward_passes < (len(calls) - backward_passes) / 2
    assert (training.predict(net, few) != y).all()
    assert norms(few - x).mean() < 1.1 * norms(exact - x).mean()


def test_deepfool_takes_predictions_for_labels(net, digits):
    x = digits.x_test[:50]
    assert torch.equal(attacks.deepfool(net, x), attacks.deepfool(net, x, training.predict(net, x)))


# --- projected gradient descent ---


def bare_pgd(model, x, y, start, *, eps, norm, steps, step_size, targeted):
    """Nothing but the definition."""
    x_adv = start
    for _ in range(steps):
        x_adv = x_adv.clone().requires_grad_()
        loss = nn.functional.cross_entropy(model(x_adv), y, reduction="sum")
        (grad,) = torch.autograd.grad(-loss if targeted else loss, x_adv)
        with torch.no_grad():
            if norm == "linf":
                change = (x_adv + step_size * grad.sign() - x).clamp(-eps, eps)
            else:
                grad = grad / grad.abs().amax((1, 2, 3), keepdim=True)  # else squares may vanish
                grad = grad / norms(grad)[:, None, None, None]
                change = x_adv + step_size * grad - x
                change *= (eps / norms(change)).clamp(max=1)[:, None, None, None]
            x_adv = (x + change).clamp(0, 1)
    return x_adv


# The second step size reaches the edge of the ball at once, the first one never.
PGD = {
    ("norm", "eps", "step_size"): [
        ("linf", 0.1, 0.004),
        ("linf", 0.1, 0.06),
        ("l2", 0.8, 0.05),
        ("l2", 0.8, 0.5),
    ],
    "targeted": [False, True],
    "random_start": [False, True],
}


def each_pgd(test):
    for names, values in PGD.items():
        test = pytest.mark.parametrize(names, values)(test)
    return test


def some_start(x, eps, norm):
    change = 2 * torch.rand_like(x) - 1
    size = change.abs().flatten(1).amax(1) if norm == "linf" else norms(change)
    return (x + 0.9 * eps * change / size[:, None, None, None]).clamp(0, 1)


@each_pgd
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pgd_is_a_bare_loop_bit_for_bit(
    net, digits, monkeypatch, norm, eps, step_size, targeted, random_start, dtype
):
    net, x, y = copy.deepcopy(net).to(dtype), digits.x_test[:50].to(dtype), digits.y_test[:50]
    start = some_start(x, eps, norm)
    monkeypatch.setattr(projected_gradient, "_random_start", lambda *_: start)
    options = dict(eps=eps, norm=norm, steps=12, step_size=step_size, targeted=targeted)
    aim = (y + 1) % 10 if targeted else y
    ours = attacks.pgd(net, x, aim, random_start=random_start, **options)
    same_layout = net.to(memory_format=torch.channels_last)  # in float64 rounding depends on it
    expected = bare_pgd(same_layout, x, aim, start if random_start else x, **options)
    assert torch.equal(ours, expected)


def test_a_net_keeps_its_memory_layout(net, digits):
    before = {name: values.stride() for name, values in net.state_dict().items()}
    attacks.fgsm(net, digits.x_test[:5], digits.y_test[:5], eps=0.1)
    with pytest.raises(ValueError, match="in"):
        attacks.fgsm(net, digits.x_test[:5] + 7, digits.y_test[:5], eps=0.1)
    assert before == {name: values.stride() for name, values in net.state_dict().items()}


@each_pgd
def test_pgd_as_torchattacks(
    exact, digits, monkeypatch, norm, eps, step_size, targeted, random_start
):
    # Its requirements are pinned to old versions: pip install --no-deps torchattacks
    peers = pytest.importorskip("torchattacks", reason="torchattacks, only to compare, is missing")
    x, y = digits.x_test[:50].double(), digits.y_test[:50]
    aim = (y + 1) % 10 if targeted else y
    build = {"linf": peers.PGD, "l2": peers.PGDL2}[norm]
    peer = build(exact, eps=eps, alpha=step_size, steps=12, random_start=random_start)
    if targeted:
        peer.set_mode_targeted_by_label(quiet=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        theirs = peer(x, aim)
        torch.manual_seed(1)  # the same numbers once more, for the start
        change = torch.empty_like(x)
        if norm == "linf":
            change.uniform_(-eps, eps)
        else:
            change.normal_()
            share = torch.zeros(len(x), 1, 1, 1).double().uniform_(0, 1)
            change *= share / norms(change)[:, None, None, None] * eps
    start = (x + change).clamp(0, 1)
    monkeypatch.setattr(projected_gradient, "_random_start", lambda *_: start)
    ours = attacks.pgd(
        exact,
        x,
        aim,
        eps=eps,
        norm=norm,
        steps=12,
        step_size=step_size,
        targeted=targeted,
        random_start=random_start,
    )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_pgd_default_step(net, digits):
    x, y = digits.x_test[:20], digits.y_test[:20]
    for norm in "linf", "l2":
        options = dict(eps=0.2, norm=norm, steps=10, random_start=False)
        chosen = attacks.pgd(net, x, y, step_size=0.05, **options)
        torch.testing.assert_close(attacks.pgd(net, x, y, **options), chosen, rtol=0, atol=1e-6)


def test_pgd_of_one_whole_step_is_fgsm(net, digits):
    x, y = digits.x_test[:50], digits.y_test[:50]
    for norm in "linf", "l2":
        for targeted in False, True:
            options = dict(eps=0.3, norm=norm, targeted=targeted)
            once = attacks.pgd(net, x, y, steps=1, step_size=0.3, random_start=False, **options)
            ours = attacks.fgsm(net, x, y, **options)
            torch.testing.assert_close(once, ours, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.05), ("l2", 0.5)])
def test_pgd_is_stronger_than_fgsm(net, correct, norm, eps):
    x, y = correct

    def loss_and_fooled(x_adv):
        logits = net(x_adv)
        return nn.functional.cross_entropy(logits, y), (logits.argmax(1) != y).float().mean()

    one = loss_and_fooled(attacks.fgsm(net, x, y, eps=eps, norm=norm))
    many = loss_and_fooled(attacks.pgd(net, x, y, eps=eps, norm=norm, steps=20))
    assert many[0] > 1.02 * one[0]
    assert many[1] >= one[1]


def starts(x, **options):
    """Where PGD starts: a constant model does not lead it away."""
    y = torch.zeros(len(x), dtype=torch.int64)
    return attacks.pgd(Deaf(1.0, 0.0), x, y, steps=1, **options)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_random_starts(norm):
    x = random(20, 3, 4, 4)
    first = starts(x, eps=0.3, norm=norm, seed=1)
    assert torch.equal(first, starts(x, eps=0.3, norm=norm, seed=1))
    other = starts(x, eps=0.3, norm=norm, seed=2)
    assert ((first - other).flatten(1).abs().amax(1) > 0).all()
    changes = (first - x).flatten(1)
    assert len(changes.unique(dim=0)) == 20  # every image has its own
    sizes = changes.abs().amax(1) if norm == "linf" else norms(changes)
    assert (sizes <= 0.3 + 1e-6).all()
    assert torch.equal(starts(x, eps=0.3, norm=norm, random_start=False), x)


def test_random_starts_fill_the_ball_evenly():
    x = torch.full((4000, 1, 2, 2), 0.5, dtype=torch.float64)
    for norm in "linf", "l2":
        change = (starts(x, eps=0.2, norm=norm) - x).flatten(1) / 0.2
        sizes = change.abs().amax(1) if norm == "linf" else norms(change)
        # A ball of half the radius has a 16th of the volume, and so on.
        for share in 0.1, 0.5, 0.9:
            inside = (sizes <= share**0.25).double().mean()
            assert inside == pytest.approx(share, abs=0.03)
        assert change.mean(0).abs().max() < 0.03
        assert (change > 0).double().mean(0) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("steps", [1, 10, 100])
def test_pgd_stays_in_the_ball(net, digits, norm, steps):
    x, y = digits.x_test[:20], digits.y_test[:20]
    for step_size in None, 1e-3, 0.3, 5:
        x_adv = attacks.pgd(net, x, y, eps=0.3, norm=norm, steps=steps, step_size=step_size)
        change = (x_adv - x).flatten(1)
        sizes = change.abs().amax(1) if norm == "linf" else norms(change)
        assert (sizes <= 0.3 + 1e-6).all()
        assert x_adv.min() >= 0
        assert x_adv.max() <= 1


# --- the nearest example in L2: Carlini & Wagner's attack, and the kit's ---

MINIMAL = {
    "CW": functools.partial(attacks.cw_l2, steps=60, search_steps=4, lr=0.05, initial_const=5.0),
    "nearest": functools.partial(attacks.nearest_l2, steps=30),
}
each_minimal = pytest.mark.parametrize("attack", MINIMAL.values(), ids=MINIMAL)


def test_nearest_fools_with_no_more_than_foolbox(net, correct):
    x, y = correct[0][:100], correct[1][:100]
    peer = foolbox.attacks.L2CarliniWagnerAttack(
        binary_search_steps=5, steps=100, stepsize=0.05, initial_const=1.0
    )
    theirs = peer(foolbox.PyTorchModel(net, (0, 1)), x, y, epsilons=None)[1]
    result = attacks.nearest_l2(net, x, y, details=True)
    assert result.success.all()
    assert (training.predict(net, result.x_adv) != y).all()
    assert norms(result.x_adv - x).mean() <= norms(theirs - x).mean()


@each_minimal
@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("confidence", [0, 3])
def test_success_is_what_the_model_says(net, correct, attack, targeted, confidence):
    x, y = correct[0][:50], correct[1][:50]
    aim = (y + 1) % 10 if targeted else y
    options = dict(targeted=targeted, confidence=confidence)
    result = attack(net, x, aim, details=True, **options)
    assert result.success.float().mean() > 0.3
    assert torch.equal(result.x_adv[~result.success], x[~result.success])
    assert torch.equal(result.c.isnan(), ~result.success)
    assert (result.c[result.success] >= 0).all()
    assert (result.c[result.success] > 0).double().mean() > 0.95
    for at_once in 1, 7, 1000:
        logits = torch.cat([net(part) for part in result.x_adv.split(at_once)]).detach()
        lead = gradients.margin(logits, aim)
        beyond = (-lead if targeted else lead)[result.success]
        assert beyond.min() >= confidence
        # Above what another batch, or another machine, may round away.
        assert (beyond - confidence > 5e-5 * logits[result.success].abs().amax(1)).all()
        hit = logits.argmax(1)[result.success]
        assert (hit == aim[result.success] if targeted else hit != aim[result.success]).all()
    assert torch.equal(attack(net, x, aim, **options), result.x_adv)


@each_minimal
def test_confidence_costs_distance(net, correct, attack):
    x, y = correct[0][:10], correct[1][:10]
    sizes = []
    for confidence in 0, 1, 4:
        result = attack(net, x, y, confidence=confidence, details=True)
        assert result.success.all()
        lead = gradients.margin(net(result.x_adv).detach(), y)
        assert lead.min() >= confidence
        assert lead.median() < confidence + 0.5  # the boundary is met, not left far behind
        sizes.append(norms(result.x_adv - x))
    for less, more in itertools.pairwise(sizes):
        assert (less < more).float().mean() > 0.8
        assert less.mean() < 0.95 * more.mean()


def test_nearest_finds_about_the_nearest_of_all_targets(net, correct):
    # Untargeted, each step goes towards the runner-up in logits, which need not be the nearest.
    x, y = correct[0][:5], correct[1][:5]
    options = dict(details=True)
    nearest = norms(attacks.nearest_l2(net, x, y, **options).x_adv - x)
    aims = [(y + k) % 10 for k in range(1, 10)]
    result = [attacks.nearest_l2(net, x, aim, targeted=True, **options) for aim in aims]
    sizes = [norms(one.x_adv - x).where(one.success, torch.inf) for one in result]
    ratio = nearest / torch.stack(sizes).amin(0)
    assert ratio.min() > 0.8
    assert ratio.median() < 1.1


@each_minimal
@pytest.mark.parametrize("targeted", [False, True])
def test_what_needs_no_change_gets_none(net, correct, attack, targeted):
    x, y = correct[0][:30], correct[1][:30]
    done = torch.arange(30) % 3 == 0
    wrong = (y + 1) % 10
    aim = torch.where(done, y, wrong) if targeted else torch.where(done, wrong, y)
    result = attack(net, x, aim, targeted=targeted, details=True)
    assert torch.equal(result.x_adv[done], x[done])
    assert result.success[done].all()
    assert result.c[done].isnan().all()
    assert torch.equal(norms(result.x_adv - x)[~done] > 0, result.success[~done])
    assert result.success[~done].float().mean() > 0.7


@each_minimal
@pytest.mark.parametrize("targeted", [False, True])
def test_what_cannot_be_fooled_comes_back_clean(attack, targeted):
    x = random(12, 1, 4, 4)
    weight = torch.stack([torch.ones(16), torch.zeros(16), -torch.ones(16)])
    far = Linear(weight, torch.tensor([1.0, 0.0, -1.0]))  # class 0 leads wherever there is a box
    for model in far, Deaf(1.0, 0.0, -1.0), CONSTANT["zero weights"](1.0, 0.0, -1.0):
        y = torch.full((12,), 1 if targeted else 0)
        result = attack(model, x, y, targeted=targeted, details=True)
        assert torch.equal(result.x_adv, x)
        assert not result.success.any()
        assert result.c.isnan().all()


@pytest.mark.parametrize("scale", [1e-3, 1, 1e3])
def test_nearest_on_linear_models(scale):
    model, x, y, distance = inner_problem(scale)
    result = attacks.nearest_l2(model, x, y, details=True)
    assert result.success.all()
    size = norms(result.x_adv - x)
    assert (size > distance * (1 - 1e-4)).all()
    # Descent goes towards the runner-up in logits, which is the nearest class for most.
    gap, length = gaps(model, x, y)
    runner_up = gap.scatter(1, y[:, None], torch.inf).argmin(1, keepdim=True)
    assert (size < 1.05 * (gap / length).gather(1, runner_up)[:, 0]).all()
    assert (size / distance).median() < 1.02


@pytest.mark.parametrize("scale", [1e-3, 1, 1e3])
def test_targeted_nearest_on_linear_models(scale):
    model, x, y, distance = inner_problem(scale)
    gap, length = gaps(model, x, y)
    aim = (gap / length).scatter(1, y[:, None], torch.inf).argmin(1)
    result = attacks.nearest_l2(model, x, aim, targeted=True, details=True)
    assert result.success.all()
    ratio = norms(result.x_adv - x) / distance
    assert ratio.min() > 1 - 1e-4
    assert ratio.max() < 1.1
    assert ratio.mean() < 1.04


def half_space(distance, pixels, scale=1.0, seed=0):
    """Two classes, and images in the middle of the box at an exact distance from the boundary."""
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(pixels, generator=generator)
    normal *= scale / normal.norm()
    x = 0.45 + 0.1 * torch.rand(10, 1, 1, pixels, generator=generator)
    # Every image the same distance away: shifted along the normal.
    x -= ((x.flatten(1) - 0.5) @ normal / scale**2).view(-1, 1, 1, 1) * normal
    weight = torch.stack([torch.zeros(pixels), normal])
    bias = torch.stack([normal.sum() / 2 + distance * scale, torch.zeros(())])
    return Linear(weight, bias), x, torch.zeros(10, dtype=torch.int64)


@pytest.mark.parametrize("distance", [0.03, 0.1, 0.3])
@pytest.mark.parametrize("pixels", [4, 64, 3072])
def test_nearest_at_any_distance_and_size(distance, pixels):
    model, x, y = half_space(distance, pixels)
    result = attacks.nearest_l2(model, x, y, details=True)
    assert result.success.all()
    ratio = norms(result.x_adv - x) / distance
    assert ratio.min() > 1 - 1e-4
    assert ratio.max() < 1.003


def test_nearest_confidence_on_linear_models():
    model, x, y = half_space(0.1, 64, scale=5.0)
    result = attacks.nearest_l2(model, x, y, confidence=1.0, details=True)
    assert result.success.all()
    ratio = norms(result.x_adv - x) / (0.1 + 1.0 / 5.0)
    assert ratio.min() > 1 - 1e-4
    assert ratio.max() < 1.003


@pytest.mark.parametrize("constant", [-100.0, 100.0, 10_000.0])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_nearest_depends_on_no_constant_or_scale_of_the_logits(net, correct, constant, scale):
    x, y = correct[0][:60], correct[1][:60]

    class Shifted(nn.Module):
        def forward(self, x):
            return scale * net(x) + constant

    plain, result = (attacks.nearest_l2(model, x, y, details=True) for model in (net, Shifted()))
    assert result.success.all()
    ratio = norms(result.x_adv - x).mean() / norms(plain.x_adv - x).mean()
    assert ratio == pytest.approx(1, abs=0.01)


def test_nearest_is_as_near_as_the_best_of_many_passes(net, correct):
    """Each image's nearest example of several attacks with ten times the passes."""
    x, y = correct[0][:60], correct[1][:60]
    ours = norms(attacks.nearest_l2(net, x, y) - x)
    peer = foolbox.attacks.L2CarliniWagnerAttack(binary_search_steps=5, steps=100, stepsize=0.05)
    ddn = foolbox.attacks.DDNAttack(steps=1000)
    known = foolbox.PyTorchModel(net, (0, 1))
    best = ours
    for attack in peer, ddn:
        x_adv, success = attack(known, x, y, epsilons=None)[1:]
        best = torch.minimum(best, norms(x_adv - x).where(success, torch.inf))
    assert ours.mean() < 1.01 * best.mean()


@each_minimal
def test_the_nearest_of_all_successes_is_kept(net, correct, attack):
    """Of the images that it has looked at none that fools lies nearer than the one it returns."""
    seen = []

    class Watched(nn.Module):
        def forward(self, x):
            seen.append((x.detach(), net(x)))
            return seen[-1][1]

    for x, y in zip(correct[0][:10].split(1), correct[1][:10].split(1), strict=True):
        seen.clear()
        result = attack(Watched(), x, y)
        images, logits = (torch.cat(part).detach() for part in zip(*seen, strict=True))
        spread = logits.amax(1) - logits.amin(1)
        lead = gradients.margin(logits, y.expand(len(images)))
        fooled = lead > 1.01 * carlini_wagner.ROUNDING * spread
        assert norms(result - x)[0] <= norms(images - x)[fooled].min() * (1 + 1e-6)


def test_nearest_finds_a_small_c():
    # Minimising ‖d‖² − c·w·d gives d = c·w/2, which is beyond the boundary from this c on.
    for scale in 0.1, 1.0, 10.0:
        model, x, y = half_space(0.2, 64, scale=scale)
        result = attacks.nearest_l2(model, x, y, details=True)
        ratio = result.c / (2 * 0.2 / scale)
        assert ratio.min() > 0.4
        assert ratio.max() < 3


@pytest.mark.parametrize("share", [0.5, 1])
def test_nearest_moves_pixels_at_the_edge_of_the_box(share):
    # Every pixel that matters is at exactly 0 or 1; the way inwards is the only one.
    normal = random(64, seed=1) * 2 - 1
    normal[int(64 * share) :] = 0
    x = (normal < 0).float()
    gap = 0.3 * normal.norm()
    weight = torch.stack([torch.zeros_like(normal), normal])
    model = Linear(weight, torch.stack([normal @ x + gap, torch.zeros(())]))
    result = attacks.nearest_l2(model, x.view(1, 1, 8, 8), torch.tensor([0]), details=True)
    assert result.success.all()
    assert norms(result.x_adv - x.view(1, 1, 8, 8))[0] == pytest.approx(0.3, rel=0.1)


@each_minimal
def test_details_do_not_depend_on_the_batch(exact, correct, monkeypatch, attack):
    x, y = correct[0][:20].double(), (correct[1][:20] + 1) % 10
    options = dict(targeted=True, details=True)
    result = attack(exact, x, y, **options)
    again = attack(exact, x, y, **options)
    monkeypatch.setattr(gradients, "BATCH", 3)
    split = attack(exact, x, y, **options)
    for one, same, other in zip(result, again, split, strict=True):
        torch.testing.assert_close(one, same, rtol=0, atol=0, equal_nan=True)
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6, equal_nan=True)


# --- Carlini & Wagner's alone ---


@pytest.mark.parametrize("confidence", [0, 2])
@pytest.mark.parametrize("targeted", [False, True])
def test_cw_as_foolbox(net, correct, targeted, confidence):
    x, y = correct[0][:30], correct[1][:30]
    aim = (y + 1) % 10 if targeted else y
    budget = dict(steps=50, initial_const=0.3, confidence=confidence)
    kinds = foolbox.criteria.Misclassification, foolbox.criteria.TargetedMisclassification
    peer = foolbox.attacks.L2CarliniWagnerAttack(
        binary_search_steps=4, stepsize=0.05, abort_early=False, **budget
    )
    theirs = peer(foolbox.PyTorchModel(net, (0, 1)), x, kinds[targeted](aim), epsilons=None)[1]
    ours = attacks.cw_l2(
        net, x, aim, targeted=targeted, search_steps=4, lr=0.05, details=True, **budget
    )
    assert torch.equal(ours.success, theirs.flatten(1).any(1))  # black is foolbox's failure
    size, peers = (norms(x_adv - x)[ours.success] for x_adv in (ours.x_adv, theirs))
    assert size.mean() == pytest.approx(peers.mean().item(), rel=0.01)
    # Most take the same way, step by step; a few part from it where rounding decides.
    assert ((size / peers - 1).abs() < 1e-3).float().mean() > 0.5


def art_cw(model, x, y, classes, *, steps, search_steps, lr, initial_const):
    pytest.importorskip("art", reason="the Adversarial Robustness Toolbox is only for comparison")
    from art.attacks.evasion import CarliniL2Method
    from art.estimators.classification import PyTorchClassifier

    known = PyTorchClassifier(
        model,
        nn.CrossEntropyLoss(),
        tuple(x.shape[1:]),
        classes,
        clip_values=(0, 1),
        device_type="cpu",
    )
    attack = CarliniL2Method(
        known,
        max_iter=steps,
        binary_search_steps=search_steps,
        learning_rate=lr,
        initial_const=initial_const,
        batch_size=len(x),
        verbose=False,
    )
    return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))


def test_cw_as_art_on_a_linear_model():
    """Where the way down does not matter: ART has no Adam but searches along each gradient."""
    model, x, y = half_space(0.3, 64)
    budget = dict(steps=50, search_steps=6, lr=0.01, initial_const=1.0)
    theirs = norms(art_cw(model, x, y, 2, **budget) - x)
    ours = norms(attacks.cw_l2(model, x, y, **budget) - x)
    assert ours.mean() == pytest.approx(theirs.mean().item(), rel=0.05)


def test_cw_comes_at_least_as_near_as_art(net, correct):
    x, y = correct[0][:20], correct[1][:20]
    budget = dict(steps=30, search_steps=4, lr=0.05, initial_const=1.0)
    theirs = art_cw(net, x, y, 10, **budget)
    ours = attacks.cw_l2(net, x, y, details=True, **budget)
    assert ours.success.all()
    assert (training.predict(net, theirs) != y).all()
    assert norms(ours.x_adv - x).mean() < norms(theirs - x).mean()


def test_cw_moves_as_adam_does():
    """Its first step changes each w by the learning rate, whatever the size of the gradient."""
    model, x, y = half_space(0.3, 64, scale=10.0)
    seen = []
    hook = model.register_forward_pre_hook(lambda _, shown: seen.append(shown[0].detach()))
    attacks.cw_l2(model, x, y, steps=2, search_steps=1, lr=0.01)
    hook.remove()
    start, moved = (torch.atanh(2 * image - 1) for image in seen[-2:])
    torch.testing.assert_close((moved - start).abs(), torch.full_like(x, 0.01), rtol=1e-2, atol=0)


@pytest.mark.parametrize("scale", [0.5, 5.0])
def test_cw_searches_for_the_smallest_c(scale):
    model, x, y = half_space(0.2, 64, scale=scale)
    least = 2 * 0.2 / scale  # from this c on the minimum lies beyond the boundary
    options = dict(steps=150, lr=0.02, initial_const=least / 500, details=True)
    assert not attacks.cw_l2(model, x, y, search_steps=3, **options).success.any()
    assert attacks.cw_l2(model, x, y, search_steps=4, **options).success.all()
    result = attacks.cw_l2(model, x, y, search_steps=9, **options)
    assert result.success.all()
    assert (result.c > 0.95 * least).all()
    ratio = norms(result.x_adv - x) / 0.2
    assert ratio.min() > 1 - 1e-4
    assert ratio.max() < 1.02


def test_cw_tries_one_c_after_another(monkeypatch):
    """Ten times as much after failures, then halfway between failure and success."""
    lost, real = [], carlini_wagner.gradient

    def gradient(loss, w):
        lost.append(loss.item())
        return real(loss, w)

    monkeypatch.setattr(carlini_wagner, "gradient", gradient)
    model, x, y = half_space(0.2, 64)  # it takes a c of 0.4
    budget = dict(steps=100, search_steps=7, lr=0.02, initial_const=0.02)
    attacks.cw_l2(model, x[:1], y[:1], **budget)
    # At the start of a descent nothing has been moved: the loss is c times what is missing.
    c = [loss / lost[0] for loss in lost[:: budget["steps"]]]
    assert c == pytest.approx([1, 10, 100, 55, 32.5, 21.25, 15.625], rel=1e-3)


# --- what holds for all of them ---


@settings(deadline=None, max_examples=30)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)),
    count=st.integers(1, 6),
    classes=st.integers(2, 5),
    eps=st.floats(1e-4, 1),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    black_or_white=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_attacked_images_are_images(shape, count, classes, eps, dtype, black_or_white, seed):
    model = random_net(shape, classes, seed).to(dtype)
    x = random(count, *shape, seed=seed, dtype=dtype)
    x = x.round() if black_or_white else x
    y = torch.arange(count) % classes
    before = x.clone()
    toward = attacks.nearest_l2(model, x, y, targeted=True, steps=24, details=True)
    away = attacks.nearest_l2(model, x, y, steps=24, details=True)
    published = attacks.cw_l2(model, x, y, details=True, **SMALL)
    result = {
        "fgsm": attacks.fgsm(model, x, y, eps=eps),
        "targeted": attacks.fgsm(model, x, y, eps=eps, targeted=True),
        "all": attacks.fgsm_all_targets(model, x, y, eps=eps, classes=classes)[0],
        "clipped": attacks.deepfool(model, x, max_eps=eps),
        "deepfool": attacks.deepfool(model, x),
        "fgsm_l2": attacks.fgsm(model, x, y, eps=2 * eps, norm="l2"),
        "pgd": attacks.pgd(model, x, y, eps=eps, steps=3),
        "pgd_targeted": attacks.pgd(model, x, y, eps=eps, steps=3, step_size=eps, targeted=True),
        "pgd_l2": attacks.pgd(model, x, y, eps=2 * eps, norm="l2", steps=3, step_size=eps),
        "cw": published.x_adv,
        "nearest": away.x_adv,
        "nearest_targeted": toward.x_adv,
    }
    assert torch.equal(x, before)
    for found in away, published:
        assert (training.predict(model, found.x_adv)[found.success] != y[found.success]).all()
    assert (training.predict(model, toward.x_adv)[toward.success] == y[toward.success]).all()
    for found in away, toward, published:
        assert found.success.dtype == torch.bool
        assert torch.equal(found.x_adv[~found.success], x[~found.success])
    for name, x_adv in result.items():
        original = x[:, None].expand(-1, classes - 1, *shape) if name == "all" else x
        assert x_adv.shape == original.shape
        assert x_adv.dtype == dtype
        assert x_adv.device == x.device
        assert x_adv.isfinite().all()
        assert x_adv.min() >= 0
        assert x_adv.max() <= 1
        if name.endswith("l2"):
            assert norms(x_adv - original).max() <= 2 * eps + 1e-6
        elif name not in ("deepfool", "cw", "nearest", "nearest_targeted"):
            assert (x_adv - original).abs().max() <= eps + 1e-6


@pytest.fixture(scope="module")
def exact(net):
    """The same net in float64: a gradient that rounds to 0 in one batch only would turn a sign."""
    return copy.deepcopy(net).double()


@each_calm_attack
def test_images_do_not_meet(exact, correct, attack):
    x, y = correct[0][:10].double(), correct[1][:10]
    alone = torch.cat([attack(exact, *pair) for pair in zip(x.split(1), y.split(1), strict=True)])
    torch.testing.assert_close(attack(exact, x, y), alone, rtol=0, atol=1e-5)


@each_attack
@pytest.mark.parametrize("at_once", [1, 3])
def test_batches_do_not_matter(exact, correct, monkeypatch, attack, at_once):
    x, y = correct[0][:10].double(), correct[1][:10]
    together, sizes = attack(exact, x, y), set()
    hook = exact.register_forward_pre_hook(
        lambda _, args: None if checks.looking() else sizes.add(len(args[0]))
    )
    monkeypatch.setattr(gradients, "BATCH", at_once)
    try:
        result = attack(exact, x, y)
    finally:
        hook.remove()
    if attack in (ATTACKS["nearest"], ATTACKS["nearest_targeted"]):
        assert max(sizes) <= 6  # an image's candidates go together
    else:
        assert max(sizes) == at_once  # else nothing has been tested
    torch.testing.assert_close(result, together, rtol=0, atol=1e-5)


@each_attack
def test_gradients_of_the_caller_stay_out(net, correct, attack):
    x, y = correct[0][:4].clone().requires_grad_(), correct[1][:4]
    result = attack(net, x, y)
    assert not result.requires_grad
    assert x.grad is None
    with torch.no_grad():
        assert torch.equal(attack(net, x, y), result)


def touchy_net():
    """Everything that training leaves in a model: statistics, gradients, frozen weights."""
    layers = nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(), nn.Linear(6, 3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), *layers)
        model(random(5, 1, 2, 2)).sum().backward()
    model[1].weight.requires_grad_(False)
    return model


def state(model):
    parts = {f"mode of {name}": part.training for name, part in model.named_modules()}
    for name, parameter in model.named_parameters():
        parts[f"wanted {name}"] = parameter.requires_grad
        parts[f"gradient {name}"] = None if parameter.grad is None else parameter.grad.tolist()
    return parts | {name: value.tolist() for name, value in model.state_dict().items()}


@each_attack
@pytest.mark.parametrize("mode", ["train", "eval", "frozen statistics"])
def test_model_is_left_as_it_came(attack, mode):
    model = touchy_net().train(mode != "eval")
    if mode == "frozen statistics":  # as in fine-tuning: training, but for one layer
        model[2].eval()
    before = state(model)
    x, y = random(6, 1, 2, 2), torch.arange(6) % 3
    result = attack(model, x, y)
    assert state(model) == before
    # Dropout would make them differ.
    assert torch.equal(attack(model, x, y), result)


@each_attack
@pytest.mark.parametrize("good", [0, 1, 5])
def test_model_is_left_as_it_came_by_a_failure(attack, good):
    model = Fragile(good).train()
    model.layers[1].bias.requires_grad_(False)
    before = state(model)
    x = random(6, 1, 2, 2)
    y = model.layers(x).argmax(1)

    def several():
        for _ in range(6):
            attack(model, x, y)

    # Of the first image, the model's error is what it is refused for.
    with pytest.raises((RuntimeError, ValueError), match="out of order"):
        several()
    assert state(model) == before


CONSTANT = {
    "zero weights": lambda *bias: Linear(torch.zeros(3, 16), torch.tensor(bias)),
    "no graph": Deaf,
}


@each_calm_attack
@pytest.mark.parametrize("build", CONSTANT.values(), ids=CONSTANT)
@pytest.mark.parametrize("bias", [(0.0, 0.0, 0.0), (5.0, 0.0, -5.0)])
def test_constant_model(attack, build, bias):
    model, x = build(*bias), random(4, 1, 4, 4)
    result = attack(model, x, torch.zeros(4, dtype=torch.int64))
    assert torch.equal(result, x[:, None].expand_as(result) if result.ndim == 5 else x)


@each(RANDOM)
@pytest.mark.parametrize("build", CONSTANT.values(), ids=CONSTANT)
def test_constant_model_leaves_the_random_start(attack, build):
    x, y = random(4, 1, 4, 4), torch.zeros(4, dtype=torch.int64)
    result = attack(build(5.0, 0.0, -5.0), x, y)
    assert torch.equal(result, attack(build(0.0, 0.0, 0.0), x, y))
    assert (norms(result - x) > 0).all()


# --- what they refuse ---


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("eps", [0, -0.1, 1.5, float("nan"), None, "0.1", True])
def test_epsilon_out_of_range(net, correct, eps, norm):
    x, y = correct[0][:3], correct[1][:3]
    calls = [
        lambda: attacks.fgsm(net, x, y, eps=eps, norm=norm),
        lambda: attacks.pgd(net, x, y, eps=eps, norm=norm),
        lambda: attacks.check_eps(eps, norm),
    ]
    if norm == "linf":
        calls += [
            lambda: attacks.fgsm_all_targets(net, x, y, eps=eps, classes=10),
            lambda: attacks.check_eps(eps),
        ]
        calls += [lambda: attacks.deepfool(net, x, y, max_eps=eps)] * (eps is not None)
    elif eps == 1.5:  # in L2 there is no upper limit
        calls[0](), calls[1](), calls[2]()
        return
    for call in calls:
        with pytest.raises(ValueError, match=r"^(max_)?eps is .* (in \(0, 1\]|positive)"):
            call()


@pytest.mark.parametrize("norm", ["l1", "L2", None, 2])
def test_unknown_norm(net, correct, norm):
    for attack in attacks.fgsm, attacks.pgd:
        with pytest.raises(ValueError, match=f"^Unknown norm {norm!r}: use one of linf, l2"):
            attack(net, *correct, eps=0.1, norm=norm)


@each_attack_on_labels
@pytest.mark.parametrize(("images", "labels"), [(3, 2), (2, 3), (0, 0), (0, 1), (1, 0)])
def test_images_and_labels_must_fit(net, correct, attack, images, labels):
    with pytest.raises(ValueError, match=f"{images} images and {labels} labels"):
        attack(net, correct[0][:images], correct[1][:labels])


@pytest.mark.parametrize(
    "options",
    [{"steps": 0}, {"steps": -1}, {"steps": 2.5}, {"overshoot": -0.1}, {"classes": 1}],
)
def test_deepfool_options_out_of_range(net, correct, options):
    with pytest.raises(ValueError, match=r"^(steps|overshoot|classes) is .*: (it must be|use) a "):
        attacks.deepfool(net, *correct, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 0},
        {"steps": -1},
        {"step_size": 0},
        {"step_size": -0.1},
        {"step_size": float("nan")},
        {"steps": 2.5},
        {"steps": None},
        {"seed": None},
        {"seed": -1},
    ],
)
def test_pgd_options_out_of_range(net, correct, options):
    with pytest.raises(ValueError, match=r"^(steps|step_size|seed) is .*: (it must be|use) a "):
        attacks.pgd(net, *correct, eps=0.1, **options)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("steps", 0), ("steps", 1.5), ("search_steps", 0), ("lr", 0), ("lr", float("inf")),
        ("initial_const", 0), ("initial_const", -1), ("confidence", -0.1),
        ("confidence", float("inf")), ("confidence", float("nan")),
    ],
)  # fmt: skip
def test_cw_options_out_of_range(net, correct, option, value):
    with pytest.raises(ValueError, match=f"^{option} is {value}: (use|it must be) a .*number"):
        attacks.cw_l2(net, *correct, **{option: value})


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("steps", 0), ("steps", 9), ("steps", 20.5), ("classes", -1), ("classes", None),
        ("confidence", -0.1), ("confidence", float("inf")), ("confidence", float("nan")),
    ],
)  # fmt: skip
def test_nearest_options_out_of_range(net, correct, option, value):
    with pytest.raises(ValueError, match=f"^{option} is {value}: use a .*number from"):
        attacks.nearest_l2(net, *correct, **{option: value})


@pytest.mark.parametrize("name", [name for name in ATTACKS if name != "deepfool_unlabelled"])
@pytest.mark.parametrize("labels", [[0, 3, 1], [0, -1, 1]])
def test_labels_out_of_range(name, labels):
    attack = ATTACKS[name]
    with pytest.raises(ValueError, match=r"labels reach from .*: the model knows 3 "):
        attack(CONSTANT["zero weights"](0.0, 0.0, 0.0), random(3, 1, 4, 4), torch.tensor(labels))


@pytest.mark.parametrize("name", [name for name in ATTACKS if name != "deepfool_unlabelled"])
@pytest.mark.parametrize(
    "labels",
    [
        torch.tensor([0.0, 1.0, 2.0]),
        torch.tensor([[0], [1], [2]]),
        torch.ones(3).bool(),
        torch.tensor([0, 1, 2], dtype=torch.int32),
        torch.tensor([0, 1, 2], dtype=torch.uint8),
        np.array([0, 1, 2]),
    ],
    ids=["float", "column", "bool", "int32", "uint8", "array"],
)
def test_labels_of_another_kind(name, labels):
    model, x = CONSTANT["zero weights"](0.0, 0.0, 0.0), random(3, 1, 4, 4)
    with pytest.raises(ValueError, match=r"labels are .*: give a torch.int64 tensor"):
        ATTACKS[name](model, x, labels)


@each_attack
def test_arrays_and_single_images(attack):
    model, y = CONSTANT["zero weights"](0.0, 0.0, 0.0), torch.tensor([0, 1, 2])
    for x in (random(3, 1, 4, 4).numpy(), random(3, 4, 4), [0.5]):
        with pytest.raises(
            ValueError, match=r"images are .*: give a torch.Tensor of shape \(N, C, H, W\)"
        ):
            attack(model, x, y)


@each_attack
def test_bytes_are_no_images(attack):
    x = torch.zeros(3, 1, 4, 4, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"torch.uint8: divide them by 255"):
        attack(CONSTANT["zero weights"](0.0, 0.0, 0.0), x, torch.tensor([0, 1, 2]))


@pytest.mark.parametrize("classes", [1, 0, 2.5, None])
def test_all_targets_need_classes(net, correct, classes):
    with pytest.raises(ValueError, match=r"^classes is .*: use a whole number from 2 on"):
        attacks.fgsm_all_targets(net, *correct, eps=0.1, classes=classes)


class Returning(nn.Module):
    """A linear model whose logits come back in another form."""

    def __init__(self, form):
        super().__init__()
        self.layer, self.form = nn.Linear(16, 3), form

    def forward(self, x):
        return self.form(self.layer(x.flatten(1)))


@each_attack
@pytest.mark.parametrize(
    "form",
    [lambda z: (z, z), lambda z: {"logits": z}, lambda z: z[:, 0], lambda z: z[0], lambda z: z[:1]],
    ids=["tuple", "dict", "flat", "one image", "one row"],
)
def test_models_that_return_no_logits(attack, form):
    x, y = random(4, 1, 4, 4), torch.tensor([0, 1, 2, 0])
    with pytest.raises(ValueError, match=r"^The model returns .*: it must return logits, a tensor"):
        attack(Returning(form), x, y)


class WithoutGrad(Returning):
    def forward(self, x):
        with torch.no_grad():
            return super().forward(x)


@each_attack_by_gradients
@pytest.mark.parametrize("model", [Returning(torch.Tensor.detach), WithoutGrad(lambda z: z)])
def test_models_that_detach_their_graph(attack, model):
    x, y = random(4, 1, 4, 4), torch.tensor([0, 1, 2, 0])
    with pytest.raises(ValueError, match=r"change with the image but carry no gradient"):
        attack(model, x, y)


def test_saturated_logits_are_counted():
    """Where softmax is 1 in float32, the loss has no gradient, and no image moves."""
    model = Linear(torch.eye(3), torch.zeros(3))
    x = torch.tensor([[0.9, 0.1, 0.1], [0.5, 0.499, 0.1], [0.1, 0.2, 0.9]]).view(3, 1, 1, 3)
    y = torch.tensor([0, 0, 2])
    assert not attacks.fgsm(model, x, y, eps=0.1, details=True).no_gradient.any()
    model.weight.data *= 1000
    for attack in attacks.fgsm, attacks.pgd:
        options = {} if attack is attacks.fgsm else {"random_start": False}
        result = attack(model, x, y, eps=0.1, details=True, **options)
        assert result.no_gradient.tolist() == [True, False, True]
        assert torch.equal(result.x_adv, attack(model, x, y, eps=0.1, **options))
        moved = (result.x_adv != x).flatten(1).any(1)
        assert moved.tolist() == [False, True, False]


def test_infinite_sizes(net, correct):
    for call in (
        lambda: attacks.fgsm(net, *correct, eps=float("inf"), norm="l2"),
        lambda: attacks.pgd(net, *correct, eps=0.1, step_size=float("inf")),
        lambda: attacks.nearest_l2(net, *correct, confidence=float("inf")),
        lambda: attacks.deepfool(net, *correct, overshoot=float("nan")),
    ):
        with pytest.raises(ValueError, match=r"inf|nan"):
            call()


def test_random_direction_is_as_large_as_the_attacks():
    x = torch.full((20, 3, 4, 4), 0.5)
    moved = attacks.random_direction(x, eps=0.25) - x
    assert moved.abs().unique().tolist() == [0.25]
    assert 0.4 < (moved > 0).float().mean() < 0.6
    apart = attacks.random_direction(x, eps=0.3, norm="l2", seed=1) - x
    torch.testing.assert_close(norms(apart), torch.full((20,), 0.3))
    again = attacks.random_direction(x, eps=0.3, norm="l2", seed=1) - x
    assert torch.equal(apart, again)
    with pytest.raises(ValueError, match="eps is 2"):
        attacks.random_direction(x, eps=2)


def directions(x, norm):
    return attacks.random_direction(x, eps=0.1, norm=norm, seed=5) - x


SHAPES_OF_16 = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (1, 4, 4)]  # of values, or a multiple
OTHER_SHAPES = [(1, 5, 5), (3, 5, 7)]


@pytest.mark.parametrize("first", [1, 2, 7, 31])
@pytest.mark.parametrize("shape", [*SHAPES_OF_16, *OTHER_SHAPES])
def test_noise_of_an_image_depends_on_its_position(shape, first):
    # As said in the docstrings of the package, of pgd and of random_direction.
    x = torch.full((32, *shape), 0.5)
    part, last = x[:first], first
    # Starts in L∞ do not depend on how many images follow.
    assert torch.equal(starts(part, eps=0.1), starts(x, eps=0.1)[:first])
    if shape in OTHER_SHAPES:  # the images that hold the last 16 values get others
        last = (first * part[0].numel() - 16) // part[0].numel()
    for norm in "linf", "l2":
        of_part, of_all = directions(part, norm), directions(x, norm)
        assert torch.equal(of_part[:last], of_all[:last])
        assert (last == first) == torch.equal(of_part, of_all[:first])
    # In L2 the radii are drawn after the directions: of these starts only the directions agree.
    of_part, of_all = (starts(each, eps=0.1, norm="l2") - each for each in (part, x))
    lengths = norms(of_part), norms(of_all)[:first]
    assert not torch.allclose(*lengths, rtol=1e-5)
    unit_vectors = [
        change[:last] / norms(change)[:last, None, None, None] for change in (of_part, of_all)
    ]
    torch.testing.assert_close(*unit_vectors, rtol=0, atol=1e-5)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_noise_does_not_depend_on_what_an_image_shows(norm):
    x, other = torch.full((6, 1, 4, 4), 0.5), torch.full((6, 1, 4, 4), 0.5)
    other[3:] = 0.4
    for noise in (directions, lambda x, norm: starts(x, eps=0.1, norm=norm) - x):
        torch.testing.assert_close(noise(x, norm), noise(other, norm), rtol=0, atol=1e-6)


@each_attack
@pytest.mark.parametrize("value", [-0.01, 1.01, 255, float("nan"), float("inf")])
def test_pixels_out_of_range(attack, value):
    x = random(3, 1, 4, 4)
    x[1, 0, 2, 2] = value
    with pytest.raises(ValueError, match=r"pixels reach from .*: they must lie in \[0, 1\]"):
        attack(CONSTANT["zero weights"](0.0, 0.0, 0.0), x, torch.tensor([0, 1, 2]))


def test_deepfool_without_labels_refuses_no_images(net, correct):
    with pytest.raises(ValueError, match="There are no images"):
        attacks.deepfool(net, correct[0][:0])


DIVERGED = {
    "all images": dict(everywhere=True),
    "some images": dict(),
    "some images, no gradient": dict(factor=False),
    "some gradients": dict(steep=True),
}


IN_GRADIENTS = ("some images, no gradient", "some gradients")  # no output shows it


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (name, kind)
        for name in ATTACKS
        for kind in DIVERGED
        if not (name in GRADIENT_FREE and kind in IN_GRADIENTS)
    ],
)
def test_diverged_model(name, kind):
    model = Diverged(**DIVERGED[kind])
    x = torch.cat([0.3 * random(1, 1, 4, 4), 0.7 + 0.3 * random(3, 1, 4, 4)])
    y = model.layer(x).argmax(1)
    y[2] = (y[2] + 1) % 3  # an image that needs no change would need no gradient
    with pytest.raises(ValueError, match="NaN"):
        ATTACKS[name](model, x, y)


def test_a_wide_net_sees_fewer_images_at_once(monkeypatch):
    model, x = random_net((1, 4, 4), 3, seed=0), random(20, 1, 4, 4)
    y, seen = torch.zeros(20, dtype=torch.int64), []
    model.register_forward_pre_hook(
        lambda _, args: None if checks.looking() else seen.append(len(args[0]))
    )
    together = attacks.fgsm(model, x, y, eps=0.1)
    assert max(seen) == 20
    seen.clear()
    gradients._AT_ONCE.clear()  # what is known of a net
    monkeypatch.setattr(gradients, "LARGEST", 5 * 64)  # bytes: an image has 64
    assert torch.equal(attacks.fgsm(model, x, y, eps=0.1), together)
    assert max(seen) == gradients.images_at_once(model, x) == 5
    gradients._AT_ONCE.clear()
