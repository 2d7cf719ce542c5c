"""Attacks: alike to Foolbox, exact on linear models, polite to the model."""

import copy

import foolbox
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kit import attacks, data, nets, runtime, training


class Linear(nn.Module):
    """Logits w·x + b, for which distances to boundaries are known."""

    def __init__(self, weight, bias):
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, x):
        return x.flatten(1) @ self.weight.T + self.bias


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
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        width = shape[0] * shape[1] * shape[2]
        layers = nn.Flatten(), nn.Linear(width, 12), nn.ReLU(), nn.Linear(12, classes)
        return nn.Sequential(*layers)


def random(*shape, seed=0, **options):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), **options)


ATTACKS = {
    "fgsm": lambda model, x, y: attacks.fgsm(model, x, y, eps=0.1),
    "all_targets": lambda model, x, y: attacks.fgsm_all_targets(model, x, y, eps=0.1, classes=3)[0],
    "deepfool": lambda model, x, y: attacks.deepfool(model, x, y),
    "deepfool_own": lambda model, x, y: attacks.deepfool(model, x),
    "deepfool_clipped": lambda model, x, y: attacks.deepfool(model, x, y, max_eps=0.05),
}
each_attack = pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    # The nets are too small for more: threads would only wait for each other.
    with runtime.threads(1):
        yield


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
    # Foolbox's own FGSM refuses targets; one whole step of projected descent is the same thing.
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


def distances_to_boundary(model, x, y):
    """Exact L2 distance to the nearest other class of a linear model, were there no box."""
    logits = model(x).detach()
    gap = logits.gather(1, y[:, None]) - logits
    distance = gap / (model.weight[y][:, None] - model.weight).detach().norm(dim=2)
    return distance.scatter(1, y[:, None], torch.inf).min(1).values


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
    room = (normal[free] > 0).double() - x[free]
    gap = float(0.5 * (room * normal[free]).sum())  # half of what the free pixels can do
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


def test_deepfool_takes_predictions_for_labels(net, digits):
    x = digits.x_test[:50]
    assert torch.equal(attacks.deepfool(net, x), attacks.deepfool(net, x, training.predict(net, x)))


# --- what holds for all of them ---


@settings(deadline=None, max_examples=60)
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
    found = {
        "fgsm": attacks.fgsm(model, x, y, eps=eps),
        "targeted": attacks.fgsm(model, x, y, eps=eps, targeted=True),
        "all": attacks.fgsm_all_targets(model, x, y, eps=eps, classes=classes)[0],
        "clipped": attacks.deepfool(model, x, max_eps=eps),
        "deepfool": attacks.deepfool(model, x),
    }
    assert torch.equal(x, before)
    for name, x_adv in found.items():
        original = x[:, None].expand(-1, classes - 1, *shape) if name == "all" else x
        assert x_adv.shape == original.shape
        assert x_adv.dtype == dtype
        assert x_adv.isfinite().all()
        assert x_adv.min() >= 0
        assert x_adv.max() <= 1
        if name != "deepfool":
            assert (x_adv - original).abs().max() <= eps + 1e-6


@each_attack
@pytest.mark.parametrize("at_once", [1, 3, 500])
def test_batches_do_not_matter(net, correct, monkeypatch, attack, at_once):
    # float64: a gradient that rounds to 0 in one batch only would turn a sign.
    model, x, y = copy.deepcopy(net).double(), correct[0][:10].double(), correct[1][:10]
    alone = torch.cat([attack(model, *pair) for pair in zip(x.split(1), y.split(1), strict=True)])
    monkeypatch.setattr(attacks, "BATCH", at_once)
    torch.testing.assert_close(attack(model, x, y), alone, rtol=0, atol=1e-5)


@each_attack
def test_gradients_of_the_caller_stay_out(net, correct, attack):
    x, y = correct[0][:4].clone().requires_grad_(), correct[1][:4]
    found = attack(net, x, y)
    assert not found.requires_grad
    assert x.grad is None
    with torch.no_grad():
        assert torch.equal(attack(net, x, y), found)


def touchy_net():
    """Everything that training leaves in a model: statistics, gradients, frozen weights."""
    layers = nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(), nn.Linear(6, 3)
    with torch.random.fork_rng():
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
    found = attack(model, x, y)
    assert state(model) == before
    # Dropout would make them differ.
    assert torch.equal(attack(model, x, y), found)


@each_attack
@pytest.mark.parametrize("good", [0, 1])
def test_model_is_left_as_it_came_by_a_failure(attack, good):
    model = Fragile(good).train()
    model.layers[1].bias.requires_grad_(False)
    before = state(model)
    x = random(6, 1, 2, 2)
    y = model.layers(x).argmax(1)
    with pytest.raises(RuntimeError, match="out of order"):
        attack(model, x, y), attack(model, x, y)
    assert state(model) == before


@each_attack
@pytest.mark.parametrize("bias", [(0.0, 0.0, 0.0), (5.0, 0.0, -5.0)])
def test_constant_model(attack, bias):
    model, x = Linear(torch.zeros(3, 16), torch.tensor(bias)), random(4, 1, 4, 4)
    found = attack(model, x, torch.zeros(4, dtype=torch.int64))
    assert torch.equal(found, x[:, None].expand_as(found) if found.ndim == 5 else x)


@pytest.mark.parametrize("eps", [0, -0.1, 1.5, float("nan")])
def test_epsilon_out_of_range(net, correct, eps):
    x, y = correct[0][:3], correct[1][:3]
    for call in (
        lambda: attacks.fgsm(net, x, y, eps=eps),
        lambda: attacks.fgsm_all_targets(net, x, y, eps=eps, classes=10),
        lambda: attacks.deepfool(net, x, y, max_eps=eps),
        lambda: attacks.check_epsilon(eps),
    ):
        with pytest.raises(ValueError, match=r"epsilon is .* in \(0, 1\]"):
            call()


def test_epsilon_in_l2_has_no_upper_limit():
    attacks.check_epsilon(20, "l2")
    with pytest.raises(ValueError, match="positive"):
        attacks.check_epsilon(0, "l2")


@pytest.mark.parametrize("attack", [a for n, a in ATTACKS.items() if n != "deepfool_own"])
@pytest.mark.parametrize(("images", "labels"), [(3, 2), (2, 3), (0, 0), (0, 1), (1, 0)])
def test_images_and_labels_must_fit(net, correct, attack, images, labels):
    with pytest.raises(ValueError, match=f"{images} images and {labels} labels"):
        attack(net, correct[0][:images], correct[1][:labels])


@pytest.mark.parametrize("options", [{"steps": 0}, {"steps": -1}, {"overshoot": -0.1}])
def test_deepfool_options_out_of_range(net, correct, options):
    with pytest.raises(ValueError, match="use at least 1 and 0"):
        attacks.deepfool(net, *correct, **options)
