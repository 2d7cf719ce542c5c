"""Explain: Grad-CAM by hand, the line between two nets, and sharpness against brute force."""

import copy
import importlib
import math

import pytest
import torch
from captum.attr import IntegratedGradients, LayerGradCam
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy, interpolate

from kit import data, explain, gradients, nets, training
from kit.explain import landscape


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", train=320, test=100)


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def lively(net, seed=0):
    """With statistics and weights of batch norms that a mistake would show."""
    random = torch.Generator().manual_seed(seed)
    for part in net.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            for values in (part.running_mean, part.running_var, part.weight.data, part.bias.data):
                values.uniform_(0.5, 1.5, generator=random)
            part.num_batches_tracked.fill_(7)  # as after some training
    return net


def trained(digits, name="graynet", epochs=2, **options):
    net = nets.build(name, digits.shape)
    training.fit(net, digits.x_train, digits.y_train, epochs=epochs, batch_size=64, **options)
    return net


def mixed(net):
    """In training, but for some parts: as a caller may have left it."""
    net.train()
    for part in list(net.modules())[1::3]:
        part.training = False
    return net


def modes(net):
    return [part.training for part in net.modules()]


class Untouched:
    """A block that must leave a net as it came: modes, weights, statistics, gradients, hooks."""

    def __init__(self, net):
        self.net = net
        for number, weight in enumerate(net.parameters()):
            weight.grad = None if number % 2 else torch.full_like(weight, number)

    def __enter__(self):
        self.before = self.look()

    def look(self):
        parameters = dict(self.net.named_parameters())
        return copy.deepcopy(
            (
                modes(self.net),
                dict(self.net.state_dict()),
                {name: weight.grad for name, weight in parameters.items()},
                {name: weight.requires_grad for name, weight in parameters.items()},
                [
                    len(part._forward_hooks) + len(part._backward_hooks)
                    for part in self.net.modules()
                ],
            )
        )

    def __exit__(self, error, *_):
        if error is None:
            torch.testing.assert_close(self.look(), self.before, rtol=0, atol=0)


# Grad-CAM ---------------------------------------------------------------------------------------


def cam_by_hand(net, x, y, layer):
    """Selvaraju et al. (2017), Eq. 1 and 2, image by image, with hooks."""
    seen = {}
    hooks = [
        layer.register_forward_hook(lambda _, __, out: seen.update(features=out.detach())),
        layer.register_full_backward_hook(lambda _, __, out: seen.update(gradients=out[0])),
    ]
    net, maps = net.eval(), []
    for image, label in zip(x, y, strict=True):
        net(image[None].clone().requires_grad_())[0, int(label)].backward()
        weights = seen["gradients"].mean((2, 3), keepdim=True)
        cam = (weights * seen["features"]).sum(1, keepdim=True).clamp_min(0)
        cam = interpolate(cam, image.shape[1:], mode="bilinear", align_corners=False)[0, 0]
        maps.append(cam / cam.sum() if cam.sum() > 0 else torch.zeros_like(cam))
    for hook in hooks:
        hook.remove()
    net.zero_grad()
    return torch.stack(maps)


NETS = {  # the activation after the last convolution, or this, by hand
    "graynet": lambda net: net[5],
    "resnet8": lambda net: net.blocks[-1].second,
    "densenet40": lambda net: [m for m in net.modules() if isinstance(m, nn.ReLU)][-1],
}


@pytest.mark.parametrize("side", [8, 13])
@pytest.mark.parametrize("name", NETS)
def test_grad_cam_by_hand(name, side):
    shape = (1, side, side)
    net, x, y = lively(nets.build(name, shape, seed=1)), random(8, *shape), torch.arange(8)
    maps = explain.grad_cam(net, x, y)
    expected = cam_by_hand(net, x, y, NETS[name](net))
    assert maps.shape == (8, side, side)
    assert (expected.sum((1, 2)) > 0).sum() > 2, "too few maps to compare"
    torch.testing.assert_close(maps, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("layer", [0, 3])
def test_grad_cam_of_another_layer(layer):
    net, x, y = nets.build("graynet", (1, 8, 8)), random(6, 1, 8, 8), torch.arange(6)
    maps = explain.grad_cam(net, x, y, layer=net[layer])
    torch.testing.assert_close(maps, cam_by_hand(net, x, y, net[layer]), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", ["graynet", "resnet8"])
def test_maps_are_shares(digits, name):
    net = trained(digits, name)
    maps = explain.grad_cam(net, digits.x_test, digits.y_test)
    mass = maps.sum((1, 2))
    assert not maps.requires_grad
    assert (maps >= 0).all()
    assert (((mass - 1).abs() < 1e-5) | (mass == 0)).all()
    assert (mass > 0).float().mean() > 0.5


class Tutorial(nn.Module):
    """As most tutorials write it: one ReLU for everything, and parts in any order."""

    def __init__(self, inplace=False):
        super().__init__()
        self.last, self.hidden = nn.Linear(12, 10), nn.Linear(6 * 16, 12)
        self.second, self.first = nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(1, 4, 3, padding=1)
        self.relu, self.pool = nn.ReLU(inplace), nn.MaxPool2d(2)

    def features(self, x):
        x = self.relu(self.first(x))
        return self.relu(self.second(self.pool(x)))

    def forward(self, x):
        return self.last(self.relu(self.hidden(self.features(x).flatten(1))))


class Separate(Tutorial):
    """The same net with a ReLU for every place, in the order of execution."""

    def __init__(self):
        nn.Module.__init__(self)
        twin = Tutorial()
        self.first, self.one, self.pool = twin.first, nn.ReLU(), twin.pool
        self.second, self.two = twin.second, nn.ReLU()
        self.hidden, self.three, self.last = twin.hidden, nn.ReLU(), twin.last

    def forward(self, x):
        x = self.two(self.second(self.pool(self.one(self.first(x)))))
        return self.last(self.three(self.hidden(x.flatten(1))))


def by_captum(net, x, y, layer):
    coarse = LayerGradCam(net.eval(), layer).attribute(x, y, relu_attributions=True).detach()
    maps = interpolate(coarse, x.shape[2:], mode="bilinear")[:, 0]
    mass = maps.sum((1, 2), keepdim=True)
    return torch.where(mass > 0, maps / mass, 0)


@pytest.mark.parametrize("inplace", [False, True])
def test_grad_cam_follows_the_order_of_execution(inplace):
    separate, x, y = Separate(), random(8, 1, 8, 8), torch.arange(8)
    shared = Tutorial(inplace)
    shared.load_state_dict(separate.state_dict())
    maps = explain.grad_cam(shared, x, y)
    assert (maps.sum((1, 2)) > 0).sum() > 2, "too few maps to compare"
    expected = by_captum(separate, x, y, separate.two)
    assert torch.equal(explain.grad_cam(separate, x, y), expected)
    assert torch.equal(maps, expected)
    # Of a layer with several calls, the last one that gives feature maps.
    assert torch.equal(explain.grad_cam(shared, x, y, layer=shared.relu), expected)
    first = explain.grad_cam(shared, x, y, layer=shared.first)
    assert torch.equal(first, by_captum(separate, x, y, separate.first))
    assert not torch.equal(first, expected)


@pytest.mark.parametrize("name", [name for name in nets.ARCHITECTURES if name != "linear"])
def test_grad_cam_as_captum(name):
    shape = (1, 32, 32)
    net, x, y = lively(nets.build(name, shape, seed=1)), random(4, *shape), torch.arange(4)
    if name in ("resnet18", "resnet34"):  # one ReLU in each block: captum cannot name its last call
        expected = explain.grad_cam(net, x, y, layer=net.net.layer4)
    else:
        parts = [m for m in net.modules() if isinstance(m, (nn.Conv2d, nn.ReLU, nn.Flatten))]
        last = max(k for k, part in enumerate(parts) if isinstance(part, nn.Conv2d))
        follows = isinstance(([*parts, None])[last + 1], nn.ReLU)
        expected = by_captum(net, x, y, parts[last + follows])
    assert torch.equal(explain.grad_cam(net, x, y), expected)


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(4)), st.integers(0, 99))
def test_the_order_of_registration_does_not_matter(order, seed):
    """A chain of convolutions and ReLUs, registered in any order."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        chain = [nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 4, 3), nn.ReLU()]
        head = nn.Linear(4 * 16, 10)

    class Chain(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = nn.ModuleList([chain[k] for k in order])
            self.head = head

        def forward(self, x):
            for part in chain:
                x = part(x)
            return self.head(x.flatten(1))

    x, y = random(3, 1, 8, 8, seed=seed), torch.arange(3)
    maps = explain.grad_cam(Chain(), x, y)
    assert torch.equal(maps, by_captum(Chain(), x, y, chain[3]))


def test_grad_cam_of_a_layer_without_feature_maps():
    net, x, y = nets.build("lenet5", (1, 8, 8)), random(2, 1, 8, 8), torch.arange(2)
    for layer in (net.classifier[1], nn.Conv2d(1, 1, 1)):
        with pytest.raises(ValueError, match=r"^The model does not call this layer, or it .*\.$"):
            explain.grad_cam(net, x, y, layer=layer)


class OneSided(nn.Module):
    """The mean of a convolution speaks for class 1 and against class 0."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.ones_(self.convolution.weight)

    def forward(self, x):
        mean = self.convolution(x).mean((1, 2, 3))
        return torch.stack([-mean, mean], 1)


def test_where_nothing_speaks_for_the_class():
    x = random(2, 1, 4, 4)
    maps = explain.grad_cam(OneSided(), x, torch.tensor([0, 1]))
    assert torch.equal(maps[0], torch.zeros(4, 4))
    torch.testing.assert_close(maps[1], x[1, 0] / x[1].sum())


@pytest.mark.parametrize("batch", [1, 3, 8, 100])
@pytest.mark.parametrize("name", ["graynet", "resnet8"])
def test_maps_do_not_depend_on_batches(name, batch, monkeypatch):
    net, x, y = lively(nets.build(name, (1, 8, 8))).train(), random(8, 1, 8, 8), torch.arange(8)
    whole = explain.grad_cam(net, x, y)
    # By its name: the package's attribute is the function.
    monkeypatch.setattr(importlib.import_module("kit.explain.grad_cam"), "BATCH", batch)
    torch.testing.assert_close(explain.grad_cam(net, x, y), whole, rtol=1e-3, atol=1e-6)


def test_map_is_about_the_class_asked_for(digits):
    net, x = trained(digits), digits.x_test[:20]
    maps = [explain.grad_cam(net, x, torch.full((20,), label)) for label in (0, 1)]
    assert not torch.allclose(*maps)


@pytest.mark.parametrize("mode", ["train", "eval", "mixed"])
@pytest.mark.parametrize("name", ["graynet", "resnet8"])
def test_grad_cam_leaves_the_net_as_it_came(name, mode):
    net, x = lively(nets.build(name, (1, 8, 8))), random(5, 1, 8, 8)
    before = x.clone()
    mixed(net) if mode == "mixed" else net.train(mode == "train")
    with Untouched(net):
        maps = explain.grad_cam(net, x, torch.arange(5))
    assert torch.equal(x, before)
    assert not x.requires_grad
    assert x.grad is None
    torch.testing.assert_close(maps, explain.grad_cam(net.eval(), x, torch.arange(5)))


def test_grad_cam_inside_no_grad_and_of_frozen_nets():
    net, x, y = nets.build("graynet", (1, 8, 8)), random(5, 1, 8, 8), torch.arange(5)
    maps = explain.grad_cam(net, x, y)
    with torch.no_grad():
        assert torch.equal(explain.grad_cam(net, x, y), maps)
    net.requires_grad_(False)
    with Untouched(net):
        assert torch.equal(explain.grad_cam(net, x, y), maps)


def test_grad_cam_leaves_the_mode_after_a_failure():
    net = mixed(nets.build("graynet", (1, 8, 8)))
    before = modes(net)
    with pytest.raises(
        ValueError, match=r"cannot take images of torch.float32 and shape \(3, 8, 8\)"
    ):
        explain.grad_cam(net, random(2, 3, 8, 8), torch.arange(2))
    assert modes(net) == before


def test_no_convolution():
    net = nets.build("linear", (1, 8, 8))
    with pytest.raises(ValueError, match=r"^The model has no convolution: .*\.$"):
        explain.grad_cam(net, random(2, 1, 8, 8), torch.arange(2))


@pytest.mark.parametrize(("images", "labels"), [(3, 2), (2, 3), (0, 0)])
def test_grad_cam_needs_a_label_for_each_image(images, labels):
    net = nets.build("graynet", (1, 8, 8))
    with pytest.raises(ValueError, match=f"{images} images and {labels} labels"):
        explain.grad_cam(net, random(images, 1, 8, 8), torch.zeros(labels, dtype=torch.int64))


# Mass on the background -------------------------------------------------------------------------


def test_background_share_by_hand():
    x = torch.tensor([[0.0, 0.05], [0.5, 1.0]]).expand(4, 1, 2, 2)
    maps = torch.tensor(
        [
            [[0.25, 0.25], [0.25, 0.25]],
            [[1.0, 0.0], [0.0, 0.0]],
            [[0.0, 0.0], [0.5, 0.5]],
            [[0.0, 0.0], [0.0, 0.0]],
        ]
    )
    shares = explain.background_share(maps, x).tolist()
    assert shares[:3] == [0.5, 1, 0]
    assert math.isnan(shares[3])
    assert explain.background_share(maps, x, darker_than=0.01)[:2].tolist() == [0.25, 1]


@pytest.mark.parametrize(
    ("low", "limit", "words"),
    [
        (-0.1, 0.1, "The maps reach down to -0.1: "),
        (torch.nan, 0.1, "The maps reach down to nan: "),
        (0.0, 25, "darker_than is 25: "),
        (0.0, -0.1, "darker_than is -0.1: "),
    ],
)
def test_no_share_of_signed_maps_and_no_limit_beyond_white(low, limit, words):
    """Parts of both signs have no share in [0, 1]."""
    maps, x = torch.ones(2, 3, 3), torch.zeros(2, 1, 3, 3)
    maps[1, 0, 0] = low
    with pytest.raises(ValueError, match=f"^{words}"):
        explain.background_share(maps, x, darker_than=limit)


def test_background_is_dark_in_every_channel():
    maps = torch.full((1, 2, 2), 0.25)
    x = torch.zeros(1, 3, 2, 2)
    x[0, 2, 0, 1] = 0.2  # blue: its channels' mean would be dark
    assert explain.background_share(maps, x).item() == 0.75


def test_a_pixel_at_the_limit_is_not_darker():
    maps, x = torch.full((1, 2, 2), 0.25), torch.full((1, 1, 2, 2), 0.5)
    assert explain.background_share(maps, x, darker_than=0.5).item() == 0
    assert explain.background_share(maps, x, darker_than=0.51).item() == 1


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 4), st.integers(0, 999), st.floats(0.1, 9), st.floats(0, 1))
def test_background_share(count, seed, factor, limit):
    maps, x = random(count, 3, 4, seed=seed), random(count, 1, 3, 4, seed=seed + 1)
    shares = explain.background_share(maps, x, darker_than=limit)
    assert shares.shape == (count,)
    for share, cam, image in zip(shares.tolist(), maps.tolist(), x.tolist(), strict=True):
        pixels = [
            (mass, value)
            for masses, values in zip(cam, image[0], strict=True)
            for mass, value in zip(masses, values, strict=True)
        ]
        dark = sum(mass for mass, value in pixels if value < limit)
        # Brightness is float32: one that equals the limit but for rounding may go either way.
        if all(abs(value - limit) > 1e-6 for _, value in pixels):
            assert share == pytest.approx(dark / sum(mass for mass, _ in pixels), abs=1e-5)
    scaled = explain.background_share(factor * maps, x, darker_than=limit)
    torch.testing.assert_close(scaled, shares, rtol=0, atol=1e-5)


# The line between two nets ----------------------------------------------------------------------


def one_norm(seed):
    """A net whose only batch norm sees the features of one convolution."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(1, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(),
            nn.Linear(4 * 36, 10),
        )
    return lively(net, seed)


def pair(name):
    """Two nets of one architecture with different weights and statistics."""
    if name == "one norm":
        return one_norm(1), one_norm(2)
    return [lively(nets.build(name, (1, 8, 8), seed=seed), seed) for seed in (1, 2)]


def assert_same_weights(a, b):
    for one, other in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


each_net = pytest.mark.parametrize("name", ["linear", "graynet", "resnet8", "one norm"])


@each_net
def test_the_ends_of_the_line(name):
    start, end = pair(name)
    assert_same_weights(explain.interpolate(start, end, 0), start)
    assert_same_weights(explain.interpolate(start, end, 1), end)
    assert_same_weights(explain.interpolate(start, end, 0.0, random(20, 1, 8, 8)), start)


@each_net
@pytest.mark.parametrize("alpha", [-0.25, 0.1, 0.5, 0.9, 1.25, 3])
def test_between_and_beyond(name, alpha):
    start, end = pair(name)
    middle = explain.interpolate(start, end, alpha)
    for weight, a, b in zip(middle.parameters(), start.parameters(), end.parameters(), strict=True):
        torch.testing.assert_close(weight, torch.lerp(a, b, alpha), rtol=1e-5, atol=1e-6)
        if alpha == 0.5:
            torch.testing.assert_close(weight, (a + b) / 2)


@settings(deadline=None, max_examples=30)
@given(st.floats(-2, 3))
def test_the_line_has_two_directions(alpha):
    start, end = pair("linear")
    there, back = explain.interpolate(start, end, alpha), explain.interpolate(end, start, 1 - alpha)
    for one, other in zip(there.parameters(), back.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@each_net
@pytest.mark.parametrize("images", [None, 20])
def test_ends_are_left_alone(name, images):
    start, end = pair(name)
    mixed(start), mixed(end)
    with Untouched(start), Untouched(end):
        middle = explain.interpolate(
            start, end, 0.3, None if images is None else random(20, 1, 8, 8)
        )
        assert not any(modes(middle))
        with torch.no_grad():
            for value in middle.state_dict().values():
                value.zero_()


def test_a_net_between_two_can_be_trained(digits):
    start, end = pair("one norm")
    middle = explain.interpolate(start, end, 0.5, digits.x_train)
    assert all(weight.requires_grad for weight in middle.parameters())
    history = training.fit(middle, digits.x_train, digits.y_train, epochs=3)
    assert history["loss"][-1] < history["loss"][0]


@pytest.mark.parametrize("count", [2, 37, 500])
@pytest.mark.parametrize("alpha", [0, 0.5, 1.25])
def test_statistics_by_hand(alpha, count):
    start, end = pair("one norm")
    x = random(count, 1, 8, 8)
    middle = explain.interpolate(start, end, alpha, x)
    with torch.no_grad():
        features = (
            torch.lerp(start[0].weight, end[0].weight, alpha),
            torch.lerp(start[0].bias, end[0].bias, alpha),
        )
        features = nn.functional.conv2d(x, *features).transpose(0, 1).flatten(1)
    norm = middle[1]
    torch.testing.assert_close(norm.running_mean, features.mean(1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var, features.var(1), rtol=1e-4, atol=1e-6)
    assert norm.momentum == end[1].momentum


def test_statistics_over_many_batches():
    start, end = pair("one norm")
    x = random(1500, 1, 8, 8)
    x[500:1000] *= 0.5
    norm = explain.interpolate(start, end, 0.5, x)[1]
    parts = [explain.interpolate(start, end, 0.5, part)[1] for part in x.split(500)]
    for name in ("running_mean", "running_var"):
        average = torch.stack([getattr(part, name) for part in parts]).mean(0)
        torch.testing.assert_close(getattr(norm, name), average, rtol=1e-4, atol=1e-6)


def test_statistics_belong_to_the_weights_of_the_whole_net():
    # In a deep net the second norm must see what the first one makes of the batch, as in training.
    start, end = pair("resnet8")
    x = random(60, 1, 8, 8)
    middle = explain.interpolate(start, end, 0.5, x)
    twin = explain.interpolate(start, end, 0.5)
    for part in twin.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.reset_running_stats()
            part.momentum = 1.0
    with torch.no_grad():
        twin.train()(x)
    for (name, value), other in zip(
        middle.state_dict().items(), twin.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(value, other, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize("alpha", [0, 0.25, 1, 1.5])
def test_statistics_without_images_lie_between_those_of_the_ends(alpha):
    """At the ends they belong to the weights; beyond them no variance may be negative."""
    (start, end), share = pair("one norm"), min(alpha, 1)
    between = explain.interpolate(start, end, alpha)
    buffers = zip(between.named_buffers(), start.buffers(), end.buffers(), strict=True)
    for (name, value), a, b in buffers:
        if value.is_floating_point():
            torch.testing.assert_close(value, (1 - share) * a + share * b, msg=name)
    x = random(20, 1, 8, 8)
    if alpha in (0, 1):
        torch.testing.assert_close(between(x), (start, end)[alpha].eval()(x))


def test_nets_of_other_kinds_of_layers_are_refused():
    """Of equal weights, but not of one architecture."""
    tanh, relu = (
        nn.Sequential(nn.Flatten(), nn.Linear(64, 3), kind()) for kind in (nn.Tanh, nn.ReLU)
    )
    with pytest.raises(ValueError, match="modules of different kinds"):
        explain.interpolate(tanh, relu, 0.5)


def test_only_norms_leave_evaluation_mode():
    # A dropout before a norm would make the statistics random.
    def net(seed):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return nn.Sequential(
                nn.Flatten(), nn.Dropout(), nn.Linear(64, 5), nn.BatchNorm1d(5), nn.Linear(5, 10)
            )

    start, end, x = net(0), net(1), random(50, 1, 8, 8)
    middle = explain.interpolate(start, end, 1, x)
    with torch.no_grad():
        features = end[2](x.flatten(1))
    torch.testing.assert_close(middle[3].running_mean, features.mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(middle[3].running_var, features.var(0), rtol=1e-4, atol=1e-6)
    assert not any(modes(middle))


class Counted(nn.Sequential):
    calls = 0

    def forward(self, x):
        type(self).calls += 1
        return super().forward(x)


def test_nothing_is_estimated_without_norms():
    start, end = (Counted(*nets.build("graynet", (1, 8, 8), seed=seed)) for seed in (1, 2))
    middle = explain.interpolate(start, end, 0.5, random(20, 1, 8, 8))
    assert Counted.calls == 0
    assert_same_weights(middle, explain.interpolate(start, end, 0.5))


def test_estimate_statistics_changes_nothing_else(digits):
    net = lively(nets.build("resnet8", digits.shape)).eval()
    net.stem[1].momentum = 0.3
    before = copy.deepcopy(net.state_dict())
    random_state = torch.get_rng_state()
    explain.estimate_statistics(net, digits.x_train[:50])
    assert torch.equal(torch.get_rng_state(), random_state)
    for name, value in net.state_dict().items():
        statistic = name.endswith(("running_mean", "running_var", "num_batches_tracked"))
        assert statistic or torch.equal(value, before[name]), name
    assert not torch.equal(net.stem[1].running_mean, before["stem.1.running_mean"])
    assert (net.stem[1].momentum, net.blocks[0].norms[0].momentum) == (0.3, 0.1)
    assert all(weight.grad is None and weight.requires_grad for weight in net.parameters())


@pytest.mark.parametrize("mode", ["train", "mixed"])
def test_estimate_statistics_of_a_net_in_training(mode):
    """Without its dropout, and left in the modes that it came in."""
    nets_of = [one_norm(1) for _ in range(2)]
    for net in nets_of:
        net.insert(1, nn.Dropout(0.9))
    mixed(nets_of[0]) if mode == "mixed" else nets_of[0].train()
    before, x = modes(nets_of[0]), random(60, 1, 8, 8)
    for net in (nets_of[0], nets_of[1].eval()):
        explain.estimate_statistics(net, x)
    assert modes(nets_of[0]) == before
    for value, other in zip(nets_of[0].buffers(), nets_of[1].buffers(), strict=True):
        assert torch.equal(value, other)


def test_statistics_where_one_image_is_left_over(monkeypatch):
    monkeypatch.setattr(landscape, "BATCH", 10)
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 10)).eval()
    explain.estimate_statistics(net, random(21, 1, 8, 8))
    assert not any(modes(net))
    assert net[1].momentum == 0.1


# Sharpness --------------------------------------------------------------------------------------


def softmax_regression(digits, epochs, classes=10):
    """A linear net in float64: its loss is convex in the weights."""
    net = nets.build("linear", digits.shape, classes)
    if epochs:
        options = dict(epochs=epochs, batch_size=64, lr=1e-2)
        training.fit(net, digits.x_train, digits.y_train, **options)
    return net.double(), digits.x_train.double()[:100], digits.y_train[:100]


def vector(net):
    return nn.utils.parameters_to_vector(net.parameters()).detach()


def loss_at(net, weights, x, y):
    moved = copy.deepcopy(net)
    nn.utils.vector_to_parameters(weights, moved.parameters())
    with torch.no_grad():
        return float(cross_entropy(moved(x), y))


@pytest.mark.parametrize("radius", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("epochs", [0, 2, 30])
def test_no_random_direction_is_sharper(digits, epochs, radius):
    net, x, y = softmax_regression(digits, epochs)
    result, centre = explain.sharpness(net, x, y, radius=radius), vector(net)
    base, reach = loss_at(net, centre, x, y), radius * centre.norm()
    chance = torch.Generator().manual_seed(0)
    for _ in range(300):
        direction = torch.randn(len(centre), generator=chance, dtype=torch.float64)
        step = reach * direction / direction.norm()
        assert result >= loss_at(net, centre + step, x, y) - base - 1e-6
    assert result > 0
    # No weights in the ball can do worse than the steepest gradient of any image all the way.
    steepness = math.sqrt(2) * (x.flatten(1).square().sum(1) + 1).sqrt().mean()
    assert result <= reach * steepness


@pytest.mark.parametrize("radius", [0.01, 0.2, 1.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_sharpness_of_two_weights_by_brute_force(seed, radius):
    # Logits (0, w·x): the whole ball can be searched.
    class Logistic(nn.Module):
        def __init__(self, weights):
            super().__init__()
            self.weights = nn.Parameter(weights)

        def forward(self, x):
            logit = (x.flatten(1) - 0.5) @ self.weights
            return torch.stack([torch.zeros_like(logit), logit], 1)

    x, chance = random(30, 1, 1, 2, seed=seed).double(), random(32, seed=seed + 9).double()
    y, weights = (chance[:30] < 0.5).long(), 2 * chance[30:] + 0.5
    net = Logistic(weights.clone())
    result = explain.sharpness(net, x, y, radius=radius, steps=40)
    base, increases = loss_at(net, weights, x, y), []
    for angle in torch.linspace(0, 2 * math.pi, 721, dtype=torch.float64)[:-1]:
        step = radius * weights.norm() * torch.stack([angle.cos(), angle.sin()])
        increases.append(loss_at(net, weights + step, x, y) - base)
    # The loss is convex: its maximum over the ball lies on the circle.
    best = max(increases)
    assert result <= best * (1 + 1e-4) + 1e-9
    assert result >= best * (1 - 1e-3)


@pytest.mark.parametrize("epochs", [0, 10])
def test_sharpness_grows_with_the_radius(digits, epochs):
    net, x, y = softmax_regression(digits, epochs)
    result = [explain.sharpness(net, x, y, radius=r) for r in (1e-4, 1e-3, 0.01, 0.1, 0.3, 1)]
    assert result == sorted(result)
    assert len(set(result)) == len(result)
    assert result[0] < 0.02 * result[2]


@pytest.mark.parametrize("name", ["linear", "graynet", "resnet8"])
def test_sharpness_grows_with_the_steps(digits, name):
    net, x, y = trained(digits, name), digits.x_train[:60], digits.y_train[:60]
    result = [explain.sharpness(net, x, y, radius=0.05, steps=steps) for steps in (1, 2, 4, 8)]
    assert result == sorted(result)
    assert result[0] > 0
    assert result[-1] > 2 * result[0]  # one step goes a quarter of the way


@pytest.mark.parametrize("steps", [1, 2, 3, 9])
def test_sharpness_stays_in_the_ball(digits, steps, monkeypatch):
    net, x, y = softmax_regression(digits, 2)
    centre, distances, measure = vector(net), [], landscape.measure

    def spying(moved, *images):
        distances.append(float((vector(moved) - centre).norm() / centre.norm()))
        return measure(moved, *images)

    monkeypatch.setattr(landscape, "measure", spying)
    explain.sharpness(net, x, y, radius=0.04, steps=steps)
    assert distances[:2] == pytest.approx([0, 0.01], abs=1e-9)
    assert len(distances) == steps + 1
    assert max(distances) <= 0.04 + 1e-9


@pytest.mark.parametrize(
    ("losses", "expected"), [([1, 5, 3, 2], 4), ([1, 2, 3, 5], 4), ([1, 0.5, 0.2, 0.9], 0)]
)
def test_sharpness_is_the_highest_loss_on_the_way(digits, losses, expected, monkeypatch):
    net, x, y = pair("linear")[0], digits.x_train[:20], digits.y_train[:20]
    scripted = iter(losses)
    monkeypatch.setattr(landscape, "measure", lambda *_: (next(scripted), 0.5))
    assert explain.sharpness(net, x, y, steps=3) == expected


@pytest.mark.parametrize("mode", ["train", "eval", "mixed"])
@pytest.mark.parametrize("name", ["graynet", "resnet8", "one norm"])
def test_sharpness_leaves_the_net_as_it_came(digits, name, mode):
    net, x, y = pair(name)[0], digits.x_train[:30], digits.y_train[:30]
    mixed(net) if mode == "mixed" else net.train(mode == "train")
    with Untouched(net):
        result = explain.sharpness(net, x, y, steps=2)
        with torch.no_grad():
            assert explain.sharpness(net, x, y, steps=2) == result
    assert result == explain.sharpness(net.eval(), x, y, steps=2)
    assert result >= 0


def test_sharpness_does_not_depend_on_batches(digits, monkeypatch):
    net, x, y = softmax_regression(digits, 2)
    whole = explain.sharpness(net, x, y, radius=0.1)
    monkeypatch.setattr(landscape, "BATCH", 7)
    assert explain.sharpness(net, x, y, radius=0.1) == pytest.approx(whole, rel=1e-9)


def test_a_flat_loss_has_no_sharpness():
    class Deaf(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))

        def forward(self, x):
            return torch.zeros(len(x), 2) + 0 * self.weight.sum()

    assert explain.sharpness(Deaf(), random(5, 1, 2, 2), torch.arange(5) % 2) == 0


def test_scaling_weights_and_images_changes_nothing(digits):
    # Twice the weights on half the images: the same function, and the radius is relative.
    net, x, y = softmax_regression(digits, 2)
    nn.init.zeros_(net[1].bias)
    twin = copy.deepcopy(net)
    with torch.no_grad():
        twin[1].weight *= 2
    net[1].bias, twin[1].bias = None, None
    result = explain.sharpness(net, x, y, radius=0.1)
    assert explain.sharpness(twin, x / 2, y, radius=0.1) == pytest.approx(result, rel=1e-6)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (dict(radius=0), "radius is 0 and steps 10"),
        (dict(radius=-0.1), "radius is -0.1 and steps 10"),
        (dict(steps=0), "radius is 0.01 and steps 0"),
        (dict(steps=-2), "radius is 0.01 and steps -2"),
    ],
)
def test_sharpness_options_out_of_range(digits, options, match):
    net, x, y = pair("linear")[0], digits.x_train[:20], digits.y_train[:20]
    with pytest.raises(ValueError, match=rf"^{match}: .*\.$"):
        explain.sharpness(net, x, y, **options)


@pytest.mark.parametrize("radius", [math.nan, math.inf])
def test_sharpness_radius_must_be_a_number(digits, radius):
    net, x, y = pair("linear")[0], digits.x_train[:20], digits.y_train[:20]
    with pytest.raises(ValueError, match=f"radius is {radius}"):
        explain.sharpness(net, x, y, radius=radius)


def test_interpolate_needs_one_architecture():
    nets_of = [nets.build(name, (1, 8, 8)) for name in ("linear", "graynet")]
    with pytest.raises(ValueError, match="different shapes"):
        explain.interpolate(*nets_of, 0.5)


def test_sharpness_of_a_frozen_net(digits):
    net = nets.build("linear", digits.shape)
    x, y = digits.x_train[:50], digits.y_train[:50]
    expected = explain.sharpness(net, x, y)
    assert explain.sharpness(net.requires_grad_(False), x, y) == expected
    assert not any(weight.requires_grad for weight in net.parameters())


# --- integrated gradients ------------------------------------------------------------------------


def test_the_maps_of_a_linear_net_are_weights_times_pixels():
    net, x, y = nets.build("linear", (3, 4, 5), 4), random(2, 3, 4, 5), torch.tensor([1, 3])
    weight, _ = net.parameters()
    by_hand = (weight[y].view(2, 3, 4, 5) * x).sum(1)
    torch.testing.assert_close(explain.integrated_gradients(net, x, y), by_hand.detach())


def test_the_maps_sum_to_the_logit_less_that_of_black(digits):
    net = trained(digits)
    x, y = digits.x_test[:4], digits.y_test[:4]
    with Untouched(net):
        maps = explain.integrated_gradients(net, x, y, steps=300)
    with torch.no_grad():
        gained = (net(x) - net(torch.zeros_like(x))).gather(1, y[:, None])[:, 0]
    torch.testing.assert_close(maps.sum((1, 2)), gained, atol=0.02, rtol=0.01)


def test_the_distance_of_maps_ignores_their_scale():
    a, b = random(3, 4, 4, seed=1) - 0.5, random(3, 4, 4, seed=2) - 0.5
    apart = explain.attribution_distance(a, b)
    torch.testing.assert_close(explain.attribution_distance(3 * a, 0.1 * b), apart)
    assert ((apart > 0) & (apart < 2)).all()
    assert (explain.attribution_distance(a, a) == 0).all()
    torch.testing.assert_close(explain.attribution_distance(a, -a), torch.full((3,), 2.0))


class Counting(nn.Module):
    """Notes how many images each of its runs sees."""

    def __init__(self, net):
        super().__init__()
        self.net, self.seen = net, []

    def forward(self, x):
        self.seen.append(len(x))
        return self.net(x)


@pytest.mark.parametrize(("count", "steps"), [(1, 50), (35, 50), (7, 300), (2, 1200), (501, 2)])
def test_integrated_gradients_in_batches(count, steps):
    """Never more images at once than elsewhere, and captum's maps of all at once."""
    net = lively(nets.build("resnet8", (1, 8, 8))).eval()
    counting, x, y = Counting(net), random(count, 1, 8, 8), torch.arange(count) % 10
    maps = explain.integrated_gradients(counting, x, y, steps=steps)
    assert max(counting.seen) <= gradients.BATCH
    checked, counted = counting.seen[:3], counting.seen[3:]  # on a few images, before the others
    assert checked == [1, 2, 2]
    assert sum(counted) == count * steps
    whole = IntegratedGradients(net).attribute(x, target=y, n_steps=steps).sum(1).detach()
    torch.testing.assert_close(maps, whole.float(), rtol=1e-4, atol=1e-6)
