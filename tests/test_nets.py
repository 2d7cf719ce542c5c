"""Nets: the sizes of the papers, and weights that depend on the seed alone."""

import contextlib
import math
import re
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import conv2d, linear, max_pool2d, relu

from kit import nets, runtime
from kit.nets import densenet, resnet

# The lines of Chaudhury & Yamasaki (2020), §4.
GRAYNET = "24C3-P-48C3-P-256FC-10S"
COLORNET = "32C3-32C3-P-64C3-64C3-P-128C3-128C3-P-512FC-10S"
LARGE = {"resnet18": 1, "resnet34": 1, "vgg11": 32, "densenet121": 29, "squeezenet": 17}
NAMES = [name for name in nets.ARCHITECTURES if name not in LARGE]
LEAST = {
    "lenet5": 8, "graynet": 4, "colornet": 8, "densenet40": 4, "vgg_small": 8,
    "densenet_small": 13, "hand_b": 2, "hand_b_narrow": 2,
}  # fmt: skip  # pixels; the others take 1


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def count(net):
    return sum(parameter.numel() for parameter in net.parameters())


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(("shape", "size"), [((1, 28, 28), 61_706), ((3, 32, 32), 62_006)])
def test_lenet5_has_the_size_of_the_paper(shape, size):
    assert count(nets.build("lenet5", shape)) == size


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 96, 96), (1, 8, 96)])
def test_logits(shape):
    net, x = nets.build("lenet5", shape), torch.rand(3, *shape)
    assert net(x).shape == (3, 10)
    assert net(x[:0]).shape == (0, 10)
    torch.testing.assert_close(torch.cat([net(image[None]) for image in x]), net(x))


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(8, 40), st.integers(8, 40)),
    classes=st.integers(1, 12),
)
def test_every_image_of_8_pixels_or_more(shape, classes):
    net, x = nets.build("lenet5", shape, classes), torch.rand(2, *shape)
    logits = net(x)
    assert logits.shape == (2, classes)
    assert logits.isfinite().all()
    logits.sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_28_pixels_are_padded_to_32():
    small, large = nets.build("lenet5", (1, 28, 28)), nets.build("lenet5", (1, 32, 32))
    x = torch.rand(2, 1, 28, 28)
    padded = torch.nn.functional.pad(x, (2, 2, 2, 2))
    torch.testing.assert_close(small(x), large(padded))


def test_seed_decides_the_weights():
    nets_of = [nets.build("lenet5", (1, 8, 8), seed=seed) for seed in (0, 0, 1)]
    assert same(nets_of[0], nets_of[1])
    assert not same(nets_of[0], nets_of[2])
    torch.manual_seed(5)
    assert same(nets.build("lenet5", (1, 8, 8)), nets_of[0])


@pytest.mark.parametrize("seed", [0, 7])
def test_global_generator_is_left_alone(seed):
    before = torch.get_rng_state()
    nets.build("lenet5", (1, 8, 8), seed=seed)
    assert torch.equal(torch.get_rng_state(), before)


def test_generators_of_gpus_are_left_alone(monkeypatch):
    # Stands in for a GPU: torch.manual_seed seeds them all, and fork_rng restores but those named.
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    monkeypatch.setattr(torch.cuda, "manual_seed", seeded.append)
    nets.build("lenet5", (1, 8, 8))
    assert not seeded


def test_weights_are_fresh_and_trainable():
    net = nets.build("lenet5", (1, 8, 8))
    assert all(p.requires_grad and p.dtype == torch.float32 for p in net.parameters())
    assert not same(net, nets.build("lenet5", (1, 8, 8), seed=3))


@pytest.mark.parametrize("names", [("cat", "dog", "owl"), ["cat", "dog", "owl"]])
def test_classes_by_name(names):
    named = nets.build("lenet5", (1, 8, 8), names)
    assert named(torch.rand(2, 1, 8, 8)).shape == (2, 3)
    assert same(named, nets.build("lenet5", (1, 8, 8), 3))


def test_unknown_name():
    with pytest.raises(ValueError, match="Unknown net 'lenet': use one of lenet5"):
        nets.build("lenet", (1, 28, 28))


@pytest.mark.parametrize("shape", [(1, 7, 7), (1, 7, 28), (3, 28, 7), (1, 0, 0)])
def test_images_too_small(shape):
    with pytest.raises(ValueError, match="at least 8×8"):
        nets.build("lenet5", shape)


@pytest.mark.parametrize("use", ["list(nets.ARCHITECTURES)", "'linear' in nets.ARCHITECTURES"])
def test_names_are_known_without_torch(use):
    code = f"import sys; from kit import nets; {use}; print('torch' in sys.modules)"
    out = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=runtime.root())
    assert out.strip() == "False"


def test_eval_mode_gives_every_module_its_mode_back():
    net = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm1d(2), nn.Dropout()))
    net[1][0].eval()
    modes = [module.training for module in net.modules()]
    with nets.eval_mode(net):
        assert not any(module.training for module in net.modules())
    assert [module.training for module in net.modules()] == modes
    with contextlib.suppress(RuntimeError), nets.eval_mode(net):
        raise RuntimeError("out of order")
    assert [module.training for module in net.modules()] == modes


# The nets of the evolved perturbations ----------------------------------------------------------


def size_by_hand(line, shape):
    """Weights and biases of a line such as 24C3-P-256FC-10S; convolutions keep the image's size."""
    channels, height, width = shape
    flat, total = None, 0
    for layer in line.split("-"):
        outputs = int(re.match(r"\d*", layer)[0] or 0)
        if layer == "P":
            height, width = height // 2, width // 2
        elif layer.endswith("C3"):
            total += outputs * (channels * 3 * 3 + 1)
            channels = outputs
        else:
            total += outputs * ((flat or channels * height * width) + 1)
            flat = outputs
    return total


def read_aloud(line, net, x):
    """Logits of a net by its weights and the paper's line: each ReLU right behind its layer."""
    weights = iter(net.parameters())
    for layer in line.split("-"):
        if layer == "P":
            x = max_pool2d(x, 2)
        elif layer.endswith("C3"):
            x = relu(conv2d(x, next(weights), next(weights), padding="same"))
        else:
            x = linear(x.flatten(1), next(weights), next(weights))
            x = x if layer.endswith("S") else relu(x)
    assert next(weights, None) is None
    return x


SEARCH_NETS = [
    ("graynet", GRAYNET, (1, 28, 28), 615_594),
    ("colornet", COLORNET, (3, 32, 32), 1_341_226),
]


@pytest.mark.parametrize(("name", "line", "shape", "size"), SEARCH_NETS)
def test_search_nets_have_the_size_of_their_line(name, line, shape, size):
    assert count(nets.build(name, shape)) == size_by_hand(line, shape) == size


@pytest.mark.parametrize(("name", "line", "shape", "size"), SEARCH_NETS)
def test_search_nets_are_their_line(name, line, shape, size):
    net, x = nets.build(name, shape, seed=2), random(3, *shape)
    torch.testing.assert_close(net(x), read_aloud(line, net, x), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "size", "printed", "layers"),
    [
        ("resnet20", 269_722, "0.27", 20),
        ("resnet32", 464_154, "0.46", 32),
        ("densenet40", 1_019_722, "1.0", 40),
    ],
)
def test_evaluation_nets_have_the_size_of_their_paper(name, size, printed, layers):
    net = nets.build(name, (3, 32, 32))
    assert count(net) == size
    decimals = len(printed.partition(".")[2])
    assert f"{size / 1e6:.{decimals}f}" == printed
    assert sum(isinstance(part, (nn.Conv2d, nn.Linear)) for part in net.modules()) == layers


def test_linear_has_a_weight_per_pixel():
    net, x = nets.build("linear", (3, 5, 4), 7), random(2, 3, 5, 4)
    assert count(net) == 7 * (3 * 5 * 4 + 1)
    weight, bias = net.parameters()
    torch.testing.assert_close(net(x), x.flatten(1) @ weight.T + bias)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        (name, shape)
        for name in NAMES
        for shape in ((1, 8, 8), (1, 32, 32), (3, 32, 32))
        if (shape[0] == 1 or name != "graynet") and LEAST.get(name, 1) <= shape[1]
    ],
)
def test_logits_of_an_image_do_not_depend_on_its_batch(name, shape):
    net, x = nets.build(name, shape).eval(), random(4, *shape)
    with torch.no_grad():
        logits, alone = net(x), torch.cat([net(image[None]) for image in x])
        assert net(x[:0]).shape == (0, 10)
    assert logits.shape == (4, 10)
    assert logits.unique(dim=0).shape == (4, 10), "a net must tell images apart"
    torch.testing.assert_close(logits, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=6)
@given(
    channels=st.integers(1, 4),
    extra=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    classes=st.integers(1, 12),
)
def test_every_net_takes_every_image_that_is_large_enough(name, channels, extra, classes):
    channels = {"graynet": 1, "densenet_small": 2 * (channels // 3) + 1}.get(name, channels)
    shape = (channels, *(LEAST.get(name, 1) + more for more in extra))
    net = nets.build(name, shape, classes).eval()
    logits = net(random(2, *shape))
    assert logits.shape == (2, classes)
    assert logits.isfinite().all()
    logits.sum().backward()
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_seed_decides_the_weights_of_every_net(name):
    before = torch.get_rng_state()
    one, again, other = (nets.build(name, (1, 13, 13), seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert same(one, again)
    assert not same(one, other)
    assert all(p.requires_grad and p.dtype == torch.float32 for p in one.parameters())


@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 28, 28), (4, 2, 2)])
def test_grey_net_for_colour_data(shape):
    with pytest.raises(ValueError, match=f"have {shape[0]} channels") as caught:
        nets.build("graynet", shape)
    for word in ("'graynet'", "'colornet'", "channels=1"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("graynet", (1, 3, 3)),
        ("graynet", (1, 3, 28)),
        ("graynet", (1, 28, 3)),
        ("graynet", (1, 0, 0)),
        ("colornet", (3, 7, 7)),
        ("colornet", (3, 7, 32)),
        ("colornet", (1, 32, 4)),
        ("densenet40", (3, 3, 3)),
        ("densenet40", (3, 32, 2)),
    ],
)
def test_images_too_small_for_the_new_nets(name, shape):
    least, (_, height, width) = LEAST[name], shape
    match = rf"^\S.* at least {least}×{least} pixels, not {height}×{width}\.$"
    with pytest.raises(ValueError, match=match):
        nets.build(name, shape)


def test_unknown_name_lists_all():
    with pytest.raises(ValueError, match="Unknown net 'alexnet'") as caught:
        nets.build("alexnet", (3, 32, 32))
    assert all(name in str(caught.value) for name in nets.ARCHITECTURES)


# Parameters of the originals for ImageNet, less what 990 classes fewer take: as published.
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resnet18", 11_689_512 - 990 * 513),
        ("resnet34", 21_797_672 - 990 * 513),
        ("densenet121", 7_978_856 - 990 * 1025),
        ("squeezenet", 1_235_496 - 990 * 513),
        ("vgg11", 9_225_984 + 512 * 513 + 10 * 513),  # convolutions and norms; one hidden layer
    ],
)
def test_the_large_nets_are_torchvisions(name, parameters):
    net = nets.build(name, (3, 32, 32), seed=1).eval()
    assert count(net) == parameters
    with torch.no_grad():
        assert net(random(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("name", LARGE)
def test_large_nets_refuse_what_they_cannot_take(name):
    least = LARGE[name]
    if least > 1:
        with pytest.raises(
            ValueError, match=f"at least {least}×{least} pixels, not 32×{least - 1}"
        ):
            nets.build(name, (3, 32, least - 1))
    if name != "vgg11":
        with pytest.raises(ValueError, match="these have 2 channels"):
            nets.build(name, (2, 32, 32))


def test_grey_images_become_three_equal_channels():
    net, x = nets.build("squeezenet", (1, 17, 17)).eval(), random(2, 1, 17, 17)
    with torch.no_grad():
        torch.testing.assert_close(net(x), net(x.repeat(1, 3, 1, 1)))


def lively(module, seed=0):
    """With statistics and weights of batch norms that a mistake would show."""
    random = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for values in (part.running_mean, part.running_var, part.weight.data, part.bias.data):
                values.uniform_(0.5, 1.5, generator=random)
    return module.eval()


def normed(norm, x):
    mean, var, weight, bias = (
        values.view(1, -1, 1, 1)
        for values in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    return (x - mean) / (var + norm.eps).sqrt() * weight + bias


@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 6), (5, 9), (1, 1)])
@pytest.mark.parametrize("inputs", [16, 32])
def test_resnet_shrinks_without_weights(inputs, height, width):
    block, x = lively(resnet.Block(inputs, 2 * inputs)), random(2, inputs, height, width)
    rows, columns = range(0, height, 2), range(0, width, 2)
    shortcut = torch.zeros(2, 2 * inputs, len(rows), len(columns))
    for channel in range(inputs):  # the new channels are zero, half in front and half behind
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                shortcut[:, inputs // 2 + channel, i, j] = x[:, channel, row, column]
    # A stride of 2 is every second value of a stride of 1.
    y = conv2d(x, block.first.weight, padding=1)[:, :, ::2, ::2]
    y = conv2d(relu(normed(block.norms[0], y)), block.second.weight, padding=1)
    expected = relu(normed(block.norms[1], y) + shortcut)
    torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-5)
    assert count(block) == 2 * inputs * 9 * (inputs + 2 * inputs) + 4 * 2 * inputs


def test_resnet_block_of_one_size_adds_its_input():
    block, x = lively(resnet.Block(16, 16)), random(2, 16, 6, 6) - 0.5
    nn.init.zeros_(block.norms[1].weight)
    nn.init.zeros_(block.norms[1].bias)
    assert torch.equal(block(x), relu(x))


@pytest.mark.parametrize("name", ["resnet20", "resnet32"])
def test_resnet_shrinks_twice(name):
    net, shapes = nets.build(name, (3, 32, 32)).eval(), []
    for block in net.blocks:
        block.register_forward_hook(lambda _, __, y: shapes.append(tuple(y.shape[1:])))
    net(random(1, 3, 32, 32))
    n = (int(name[-2:]) - 2) // 6
    assert shapes == [(16, 32, 32)] * n + [(32, 16, 16)] * n + [(64, 8, 8)] * n


@settings(deadline=None, max_examples=20)
@given(inputs=st.integers(1, 9), growth=st.integers(1, 5), seed=st.integers(0, 99))
def test_densenet_puts_what_is_new_behind_what_it_got(inputs, growth, seed):
    layer, x = lively(densenet.Layer(inputs, growth), seed), random(2, inputs, 5, 4, seed=seed)
    y, norm, convolution = layer(x), layer[0], layer[2]
    assert y.shape == (2, inputs + growth, 5, 4)
    assert torch.equal(y[:, :inputs], x)
    new = conv2d(relu(normed(norm, x)), convolution.weight, padding=1)
    torch.testing.assert_close(y[:, inputs:], new, rtol=1e-4, atol=1e-5)


def test_densenet_grows_by_12_channels_a_layer():
    net, shapes = nets.build("densenet40", (3, 32, 32)).eval(), []
    for part in net.features:
        if isinstance(part, densenet.Layer):
            part.register_forward_hook(lambda _, __, y: shapes.append(tuple(y.shape[1:])))
    net(random(1, 3, 32, 32))
    expected = [
        (16 + 12 * (12 * block + layer), side, side)
        for block, side in enumerate((32, 16, 8))
        for layer in range(1, 13)
    ]
    assert shapes == expected
    assert net.classifier.in_features == 16 + 36 * 12


@pytest.mark.parametrize("name", ["resnet20", "resnet32", "densenet40"])
def test_signals_neither_vanish_nor_explode(name):
    # He initialisation; the batch norms in training mode use the batch.
    logits = nets.build(name, (3, 16, 16))(random(8, 3, 16, 16))
    assert 0.01 < logits.std() < 10
    assert logits.mean().abs() < math.log(10)
