"""Training: equal to a plain torch loop, repeatable, and no trace left behind."""

import copy
import functools
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from kit import (
    attacks,
    checks,
    data,
    defenses,
    nets,
    neuroevolution,
    optimizers,
    perturbations,
    runtime,
    training,
)


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", train=320, test=100)


def trained(digits, **options):
    net = nets.build("lenet5", digits.shape)
    options = dict(epochs=2, batch_size=64) | options
    return net, training.fit(net, digits.x_train, digits.y_train, **options)


def weights(net):
    return torch.cat([p.detach().reshape(-1) for p in net.parameters()])


def mixed_net():
    """In training mode, but for its dropout: as a caller may have left it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Dropout(), nn.Linear(64, 10))
    net[2].eval()
    return net


def modes(net):
    return [part.training for part in net.modules()]


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop"])
@pytest.mark.parametrize("batch_size", [50, 1000])  # 320 images: a short last batch; only one
def test_fit_is_a_plain_loop(digits, optimizer, batch_size):
    x, y = digits.x_train, digits.y_train
    lr = {"adam": 1e-3, "sgd": 0.1, "rmsprop": 1e-3}[optimizer]
    options = dict(optimizer=optimizer, batch_size=batch_size, lr=lr, seed=3)
    net, history = trained(digits, epochs=3, **options)

    plain = nets.build("lenet5", digits.shape).to(memory_format=torch.channels_last)
    optimizers = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD, "rmsprop": torch.optim.RMSprop}
    update = optimizers[optimizer](plain.parameters(), lr)
    order, losses, accuracies = torch.Generator().manual_seed(3), [], []
    for _ in range(3):
        total = right = 0
        for index in torch.randperm(len(x), generator=order).split(batch_size):
            logits = plain(x[index])
            loss = nn.functional.cross_entropy(logits, y[index])
            update.zero_grad()
            loss.backward()
            update.step()
            total += loss.item() * len(index)
            right += int((logits.argmax(1) == y[index]).sum())
        losses.append(total / len(x))
        accuracies.append(right / len(x))
    torch.testing.assert_close(weights(net), weights(plain), rtol=0, atol=1e-6)
    assert history["loss"] == pytest.approx(losses, abs=1e-6)
    assert history["accuracy"] == pytest.approx(accuracies, abs=1e-6)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_fit_is_repeatable(digits, optimizer):
    random = torch.get_rng_state()
    net, history = trained(digits, optimizer=optimizer, seed=1)
    again, same = trained(digits, optimizer=optimizer, seed=1)
    other, _ = trained(digits, optimizer=optimizer, seed=2)
    assert torch.equal(weights(net), weights(again))
    assert history == same
    assert not torch.equal(weights(net), weights(other))
    assert torch.equal(torch.get_rng_state(), random)


def test_fit_learns(digits):
    net, history = trained(digits, epochs=12, batch_size=32, lr=3e-3)
    assert list(history) == ["loss", "accuracy"]
    assert all(len(values) == 12 for values in history.values())
    assert history["loss"][-1] < history["loss"][0] / 2
    assert history["accuracy"][-1] > 0.7
    assert training.accuracy(net, digits.x_test, digits.y_test) > 0.7
    assert not any(modes(net))


def test_fit_trains_in_training_mode(digits):
    net = mixed_net().eval()
    training.fit(net, digits.x_train, digits.y_train, epochs=2, batch_size=64)
    assert int(net[1].num_batches_tracked) == 2 * 5
    assert not any(modes(net))


def test_on_epoch_sees_the_net_in_evaluation_mode(digits):
    seen = []

    def on_epoch(epoch, net):
        seen.append((epoch, any(modes(net)), weights(net)))

    net, _ = trained(digits, epochs=3, on_epoch=on_epoch)
    assert [(epoch, mode) for epoch, mode, _ in seen] == [(1, False), (2, False), (3, False)]
    assert not torch.equal(seen[0][2], seen[1][2])
    assert torch.equal(seen[2][2], weights(net))


def test_watching_does_not_change_training(digits):
    def on_epoch(epoch, net):
        training.accuracy(net, digits.x_test, digits.y_test)

    assert torch.equal(weights(trained(digits, on_epoch=on_epoch)[0]), weights(trained(digits)[0]))


def test_frozen_weights_stay(digits):
    net = nets.build("lenet5", digits.shape)
    net.features.requires_grad_(False)
    before = copy.deepcopy(net.features.state_dict())
    training.fit(net, digits.x_train, digits.y_train, epochs=1)
    for name, value in net.features.state_dict().items():
        assert torch.equal(value, before[name])
        assert not net.features.get_parameter(name).requires_grad


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "rmsprob"}, "Unknown optimizer 'rmsprob': use one of adam, sgd, rmsprop"),
        ({"epochs": 0}, "epochs is 0"),
        ({"epochs": -1}, "epochs is -1"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"replays": 0}, "replays is 0"),
    ],
)
def test_options_out_of_range(digits, options, message):
    with pytest.raises(ValueError, match=message):
        trained(digits, **options)


@pytest.mark.parametrize(("images", "labels"), [(5, 4), (4, 5), (0, 0)])
def test_images_and_labels_must_fit(digits, images, labels):
    net = nets.build("lenet5", digits.shape)
    before = weights(net)
    with pytest.raises(ValueError, match=f"{images} images and {labels} labels"):
        training.fit(net, digits.x_train[:images], digits.y_train[:labels], epochs=1)
    assert torch.equal(weights(net), before)


def test_accuracy_needs_a_label_for_each_image(digits):
    with pytest.raises(ValueError, match="5 images and 4 labels"):
        training.accuracy(mixed_net(), digits.x_train[:5], digits.y_train[:4])


@pytest.mark.parametrize("batch_size", [1, 7, 99, 100, 1000])
def test_predict_does_not_depend_on_batches(digits, batch_size):
    net = mixed_net()
    labels = training.predict(net, digits.x_test, batch_size=batch_size)
    assert labels.dtype == torch.int64
    # Dropout and the batch's own statistics would show here.
    assert torch.equal(labels, net.eval()(digits.x_test).argmax(1))


@pytest.mark.parametrize("mode", ["train", "eval", "mixed"])
def test_predict_leaves_the_model_as_it_came(digits, mode):
    net = mixed_net()
    if mode != "mixed":
        net.train(mode == "train")
    before, values = modes(net), copy.deepcopy(net.state_dict())
    training.predict(net, digits.x_test)
    assert modes(net) == before
    assert all(torch.equal(value, values[name]) for name, value in net.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in net.parameters())


def test_predict_leaves_the_mode_after_a_failure(digits):
    net = mixed_net().train()
    with pytest.raises(ValueError, match=r"cannot take images of torch.float32 .* \(1, 4, 8\)"):
        training.predict(net, digits.x_test[:, :, :4])
    assert all(modes(net))


def test_images_whose_channels_come_last_are_told_the_remedy(digits):
    with pytest.raises(ValueError, match=r"channels come last; make it x\.permute\(0, 3, 1, 2\)"):
        training.predict(nn.Conv2d(1, 2, 3), digits.x_test.permute(0, 2, 3, 1))


def test_accuracy(digits):
    net, _ = trained(digits)
    x, y = digits.x_test, digits.y_test
    right = training.predict(net, x) == y
    assert training.accuracy(net, x, y) == pytest.approx(float(right.double().mean()))
    assert training.accuracy(net, x[right], y[right]) == 1
    assert training.accuracy(net, x[~right], y[~right]) == 0


def test_no_images(digits):
    net = nets.build("lenet5", digits.shape)
    labels = training.predict(net, digits.x_test[:0])
    assert labels.shape == (0,)
    assert labels.dtype == torch.int64
    assert math.isnan(training.accuracy(net, digits.x_test[:0], digits.y_test[:0]))


def test_adabound_follows_its_paper():
    """Luo et al. (ICLR 2019), Algorithm 2 with bias correction, as in the authors' own code."""
    weight = torch.nn.Parameter(torch.tensor([0.5, -2.0, 3.0], dtype=torch.float64))
    update = training.OPTIMIZERS["adabound"]([weight], lr=1e-3)
    plain, first, second = weight.detach().clone(), torch.zeros(3), torch.zeros(3)
    for t in range(1, 40):
        grad = 3 * plain**2 + t
        weight.grad = (3 * weight**2 + t).detach()
        update.step()
        first, second = 0.9 * first + 0.1 * grad, 0.999 * second + 0.001 * grad**2
        size = 1e-3 * math.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        low, high = 0.1 * (1 - 1 / (1e-3 * t + 1)), 0.1 * (1 + 1 / (1e-3 * t))
        plain = plain - (size / (second.sqrt() + 1e-8)).clamp(low, high) * first
        torch.testing.assert_close(weight.detach(), plain, rtol=0, atol=1e-9)


def test_transform_and_augment_come_before_the_net(digits):
    """Training through a transform and an augmentation is training on what they return."""
    seen = []

    def transform(x, y):
        return 1 - x, (y + 1) % 10

    def augment(x, generator):
        seen.append(float(x.mean()))
        return x + 0 * torch.rand(1, generator=generator)

    net, history = trained(digits, transform=transform)
    inverted = nets.build("lenet5", digits.shape)
    same = training.fit(
        inverted, 1 - digits.x_train, (digits.y_train + 1) % 10, epochs=2, batch_size=64
    )
    assert torch.equal(weights(net), weights(inverted))
    assert history == same
    trained(digits, transform=transform, augment=augment, epochs=1)
    assert np.mean(seen) == pytest.approx(float((1 - digits.x_train).mean()), abs=1e-3)


# Losses and perturbed batches --------------------------------------------------------------------


def smooth_net(norm=False, seed=0):
    """Twice differentiable everywhere, in float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 3, 3),
            nn.BatchNorm2d(3) if norm else nn.Identity(),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(3 * 36, 10),
        ).double()


def total_cross_entropy(net, x, y):
    return nn.functional.cross_entropy(net(x), y, reduction="sum")


def central_difference(function, values, place, step=1e-5):
    """Slope of a function when one number of a tensor is moved, in place and back."""
    with torch.no_grad():
        flat, results = values.view(-1), []
        for sign in (1, -1):
            flat[place] += sign * step
            results.append(float(function()))
            flat[place] -= sign * step
    return (results[0] - results[1]) / (2 * step)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_input_gradients_are_slopes(digits, norm, mode):
    net, x, y = smooth_net(norm), digits.x_train[:5].double(), digits.y_train[:5]
    net.train(mode == "train")
    grads = training.input_gradients(net, x, y)
    assert grads.shape == x.shape
    assert not grads.requires_grad
    x = x.clone()
    for place in range(0, x.numel(), 7):
        slope = central_difference(lambda: total_cross_entropy(net, x, y), x, place)
        assert grads.view(-1)[place].item() == pytest.approx(slope, abs=1e-7)
    assert all(weight.grad is None for weight in net.parameters())
    assert net.training == (mode == "train")


def test_input_gradients_belong_to_their_image_alone(digits):
    net, x, y = smooth_net(), digits.x_train[:6].double(), digits.y_train[:6]
    alone = [training.input_gradients(net, x[i : i + 1], y[i : i + 1]) for i in range(6)]
    torch.testing.assert_close(training.input_gradients(net, x, y), torch.cat(alone))
    with torch.no_grad():
        inside = training.input_gradients(net, x, y)
    assert torch.equal(inside, training.input_gradients(net, x, y))
    assert not x.requires_grad


def test_input_gradients_come_with_the_logits(digits):
    net, x, y = smooth_net(), digits.x_train[:6].double(), digits.y_train[:6]
    for create_graph in (False, True):
        options = dict(create_graph=create_graph)
        grads, logits = training.input_gradients(net, x, y, details=True, **options)
        assert torch.equal(grads, training.input_gradients(net, x, y, **options))
        assert torch.equal(logits, net(x))
        assert grads.requires_grad == logits.requires_grad == create_graph


def misaligned(reference, strength=1.0):
    """The loss of paper 4: cross-entropy and the mean cosine with stored gradients."""

    def loss(model, x, y, rows):
        grads, logits = training.input_gradients(model, x, y, create_graph=True, details=True)
        cosine = nn.functional.cosine_similarity(grads.flatten(1), reference[rows].flatten(1))
        return nn.functional.cross_entropy(logits, y) + strength * cosine.mean(), logits

    return loss


@pytest.mark.parametrize("norm", [False, True])
def test_double_backward_reaches_the_weights(digits, norm):
    """The slope of a loss on input gradients along single weights, by finite differences."""
    net, x, y = smooth_net(norm).train(), digits.x_train[:8].double(), digits.y_train[:8]
    random = torch.Generator().manual_seed(0)
    reference = torch.randn(x.shape, generator=random, dtype=torch.float64)
    loss, rows = misaligned(reference, strength=3.0), torch.arange(8)
    loss(net, x, y, rows)[0].backward()
    for weight in net.parameters():
        for place in range(0, weight.numel(), max(1, weight.numel() // 9)):
            slope = central_difference(lambda: loss(net, x, y, rows)[0], weight, place)
            assert weight.grad.view(-1)[place].item() == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_a_loss_of_gradients_trains(digits):
    """Trained for it, gradients turn away from the reference's, and classes are still learnt."""
    x, y, options = digits.x_train, digits.y_train, dict(epochs=10, batch_size=32, lr=3e-3)
    reference_net = nets.build("graynet", digits.shape)
    training.fit(reference_net, x, y, **options)
    reference, cosines = training.input_gradients(reference_net, x, y), []
    for strength in (0.0, 0.1):  # with 0.3 the net unlearns the classes: the easiest way to turn
        net, loss = nets.build("graynet", digits.shape), misaligned(reference, strength)
        history = training.fit(net, x, y, seed=1, loss=loss, **options)
        grads = training.input_gradients(net, x, y).flatten(1)
        cosines.append(float(torch.cosine_similarity(grads, reference.flatten(1)).mean()))
        assert history["accuracy"][-1] > 0.7
    assert cosines[1] < cosines[0] - 0.15


def noted_loss(seen):
    def loss(model, x, y, rows):
        seen.append((rows.clone(), x.clone(), y.clone()))
        return training.mean_cross_entropy(model, x, y, rows)

    return loss


def test_the_default_loss_by_hand(digits):
    seen = []
    net, history = trained(digits, loss=noted_loss(seen))
    other, same = trained(digits)
    assert torch.equal(weights(net), weights(other))
    assert history == same
    for rows, x, y in seen:
        assert torch.equal(x, digits.x_train[rows])
        assert torch.equal(y, digits.y_train[rows])
    assert sorted(torch.cat([rows for rows, *_ in seen[:5]]).tolist()) == list(range(320))


@pytest.mark.parametrize("pick", [lambda pair: pair[0], lambda pair: pair[1], list])
def test_a_loss_returns_loss_and_logits(digits, pick):
    def loss(*batch):
        return pick(training.mean_cross_entropy(*batch))

    with pytest.raises(ValueError, match=r"must return two tensors \(loss, logits\)"):
        trained(digits, loss=loss)


def test_a_loss_is_one_number(digits):
    def loss(model, x, y, rows):
        logits = model(x)
        return nn.functional.cross_entropy(logits, y, reduction="none"), logits

    with pytest.raises(ValueError, match="a scalar"):
        trained(digits, loss=loss)


def steps_uphill(model, x, y, eps=0.1):
    """FGSM as tutorials write it: it leaves gradients on the weights."""
    x = x.clone().requires_grad_()
    nn.functional.cross_entropy(model(x), y).backward()
    return (x + eps * x.grad.sign()).clamp(0, 1)


@pytest.mark.parametrize("name", ["lenet5", "resnet8"])
def test_adversarial_training_is_a_plain_loop(digits, name):
    x, y = digits.x_train[:120], digits.y_train[:120]
    net, plain = (nets.build(name, digits.shape) for _ in range(2))
    history = training.fit(net, x, y, epochs=2, batch_size=50, seed=3, perturb=steps_uphill)

    plain = plain.to(memory_format=torch.channels_last)
    update, order, losses = torch.optim.Adam(plain.parameters(), fused=True), torch.Generator(), []
    order.manual_seed(3)
    for _ in range(2):
        total = 0
        for index in torch.randperm(len(x), generator=order).split(50):
            adversarial = steps_uphill(plain, x[index], y[index]).detach()
            loss = nn.functional.cross_entropy(plain(adversarial), y[index])
            update.zero_grad()
            loss.backward()
            update.step()
            total += loss.item() * len(index)
        losses.append(total / len(x))
    for key, value in net.state_dict().items():
        assert torch.equal(value, plain.state_dict()[key])
    assert history["loss"] == pytest.approx(losses, rel=1e-6)


def test_attacks_perturb(digits):
    """An attack of the kit, which freezes weights and changes modes, leaves training as it was."""
    seen = []

    def perturb(model, x, y):
        assert model.training
        seen.append(attacks.fgsm(model, x, y, eps=0.1))
        return seen[-1]

    net = nets.build("resnet8", digits.shape)
    before = weights(net)
    training.fit(net, digits.x_train, digits.y_train, epochs=1, batch_size=64, perturb=perturb)
    assert not torch.equal(weights(net), before)
    # The attack did not move the statistics: one update per step.
    assert int(net.stem[1].num_batches_tracked) == len(seen) == 5


def test_a_perturbation_may_leave_the_model_in_evaluation_mode(digits):
    def perturb(model, x, y):
        model.eval()
        return x

    net, plain = mixed_net(), mixed_net()
    for model, option in ((net, perturb), (plain, None)):
        torch.manual_seed(0)  # for the dropout
        training.fit(model, digits.x_train, digits.y_train, epochs=1, perturb=option)
    assert torch.equal(weights(net), weights(plain))


def test_a_perturbation_comes_after_transform_and_augment(digits):
    calls = []

    def note(name, result):
        calls.append(name)
        return result

    trained(
        digits,
        epochs=1,
        batch_size=320,
        transform=lambda x, y: note("transform", (x, y)),
        augment=lambda x, generator: note("augment", x),
        perturb=lambda model, x, y: note("perturb", x),
        loss=lambda *batch: note("loss", training.mean_cross_entropy(*batch)),
    )
    assert calls == ["transform", "augment", "perturb", "loss"]


def test_weights_do_not_learn_through_the_perturbation(digits):
    """Images that depend on the weights count as constants."""

    def perturb(model, x, y):
        return x + 1e-3 * model(x).sum()

    def detached(model, x, y):
        return perturb(model, x, y).detach()

    ends = [weights(trained(digits, perturb=option)[0]) for option in (perturb, detached)]
    assert torch.equal(*ends)


# Batches of one image ---------------------------------------------------------------------------


def narrow_net(seed=0):
    """With a batch norm that sees one value per channel of an image."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 10)
        )


def sizes_seen(net, norm, digits, count, **options):
    """Batches that a batch norm of a net sees in training."""
    seen = []
    norm.register_forward_hook(
        lambda part, args, _: None if checks.looking() else seen.append(len(args[0]))
    )
    training.fit(net, digits.x_train[:count], digits.y_train[:count], **options)
    return seen


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"),
    [(33, 32, [33]), (65, 32, [32, 33]), (65, 64, [65]), (7, 2, [2, 2, 3]), (34, 32, [32, 2])],
)
def test_a_last_batch_of_one_image_joins_the_one_before(digits, count, batch_size, sizes):
    net = narrow_net()
    seen = sizes_seen(net, net[2], digits, count, epochs=2, batch_size=batch_size)
    tried = seen[: len(seen) - 2 * len(sizes)]  # on one image, before the training
    assert set(tried) <= {1}
    assert seen[len(tried) :] == 2 * sizes
    assert int(net[2].num_batches_tracked) == 2 * len(sizes)


def test_only_where_a_net_cannot_train_on_one_image(digits):
    """Norms of feature maps, or none at all, take the batches that they always took."""
    for name in ("resnet8", "lenet5"):
        net, plain = (nets.build(name, digits.shape) for _ in range(2))
        x, y = digits.x_train[:33], digits.y_train[:33]
        training.fit(net, x, y, epochs=1, batch_size=16, seed=3)
        plain = plain.to(memory_format=torch.channels_last)
        update = torch.optim.Adam(plain.parameters(), fused=True)
        order = torch.randperm(33, generator=torch.Generator().manual_seed(3))
        for index in order.split(16):
            update.zero_grad()
            nn.functional.cross_entropy(plain(x[index]), y[index]).backward()
            update.step()
        for key, value in net.state_dict().items():
            assert torch.equal(value, plain.state_dict()[key]), key


@pytest.mark.parametrize("subsets", [None, [range(33), range(40, 73)]])
def test_stacked_and_looped_join_the_same(digits, subsets):
    x, y = digits.x_train[: 33 if subsets is None else 320].double(), digits.y_train
    y, options = y[: len(x)], dict(epochs=2, batch_size=32, subsets=subsets)
    options |= dict(member_args=torch.tensor([0, 1]), transform=shifted)
    stacked, looped = ([narrow_net(seed).double() for seed in (0, 1)] for _ in range(2))
    for members, how in ((stacked, True), (looped, False)):
        training.fit_many(members, x, y, stacked=how, **options)
    for a, b in zip(stacked, looped, strict=True):
        torch.testing.assert_close(a.state_dict(), b.state_dict(), rtol=0, atol=1e-9)


def test_a_transform_may_make_two_of_one_image(digits):
    """The batch that counts is the one that the net sees."""

    def twice(x, y):
        return torch.cat([x, 1 - x]), torch.cat([y, y])

    net = narrow_net()
    seen = sizes_seen(net, net[2], digits, 33, epochs=1, batch_size=32, transform=twice)
    assert seen[-2:] == [64, 2]


@pytest.mark.parametrize("stacked", [None, True])
@pytest.mark.parametrize(("count", "batch_size"), [(1, 32), (5, 1), (1, 1)])
def test_single_images_are_refused_before_anything_is_trained(digits, count, batch_size, stacked):
    net, options = narrow_net().train(), dict(epochs=1, batch_size=batch_size)
    fit = functools.partial(training.fit_many, stacked=True) if stacked else training.fit
    before = copy.deepcopy(net.state_dict())
    x, y = digits.x_train[:count], digits.y_train[:count]
    with pytest.raises(ValueError, match=rf"^{count} images in batches of {batch_size}, .*\.$"):
        fit([net] if stacked else net, x, y, **options)
    torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)
    assert all(modes(net))
    history = training.fit(nets.build("lenet5", digits.shape), x, y, **options)
    assert math.isfinite(history["loss"][0])


@pytest.mark.parametrize("kind", ["fast", "free"])
def test_adversarial_training_of_a_larger_last_batch(digits, kind):
    options = defenses.adversarial_training(kind, eps=0.1, epochs=4)
    net, x, y = narrow_net(), digits.x_train[:33], digits.y_train[:33]
    history = training.fit(net, x, y, batch_size=16, **options)
    assert all(map(math.isfinite, history["loss"]))


def test_nets_with_one_image_too_many(digits):
    """Random architectures of the ci profile's space, and torchvision's net."""
    space = neuroevolution.Space(widths=(8, 16), kernels=(3,), side=8, blocks=6)
    rng = np.random.default_rng(0)
    genomes = [neuroevolution.random_genome(rng, space) for _ in range(25)]
    for net in ["resnet18", *genomes]:
        model = nets.build(net, digits.shape)
        training.fit(model, digits.x_train[:9], digits.y_train[:9], epochs=1, batch_size=8)


# Populations ------------------------------------------------------------------------------------


def noises(count, shape, dtype=torch.float32):
    members = [perturbations.uniform(10, 1, shape, seed=seed) for seed in range(count)]
    return torch.stack(members).to(dtype)


def corrupted(noise, x, y):
    return perturbations.apply(noise, x, y), y


def population(name, shape, dtype=torch.float32, count=3):
    return [nets.build(name, shape, seed=seed).to(dtype) for seed in range(count)]


@pytest.mark.parametrize("name", ["graynet", "resnet8", "linear"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop", "adabound"])
def test_stacked_and_looped_members_agree(digits, name, optimizer):
    """20 steps in float64, each member on its own noise; batch norms included."""
    x, noise = digits.x_train.double(), noises(3, digits.shape, torch.float64)
    lr = 0.1 if optimizer == "sgd" else 1e-3
    options = dict(epochs=2, batch_size=32, optimizer=optimizer, lr=lr)
    options |= dict(member_args=noise, transform=corrupted)
    stacked, looped = (population(name, digits.shape, torch.float64) for _ in range(2))
    histories = [
        training.fit_many(members, x, digits.y_train, stacked=how, **options)
        for members, how in ((stacked, True), (looped, False))
    ]
    for a, b in zip(stacked, looped, strict=True):
        for key, value in a.state_dict().items():
            torch.testing.assert_close(value, b.state_dict()[key], rtol=0, atol=1e-9)
    for a, b in zip(*histories, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-9)
        assert a["accuracy"] == pytest.approx(b["accuracy"], abs=1e-6)
    assert not any(mode for member in stacked for mode in modes(member))


def test_stacked_members_learn_as_well_in_float32(digits):
    noise = noises(3, digits.shape)
    options = dict(epochs=5, batch_size=16, member_args=noise, transform=corrupted)
    accuracies = []
    for how in (True, False):
        members = population("graynet", digits.shape)
        training.fit_many(members, digits.x_train, digits.y_train, stacked=how, **options)
        accuracies += [[training.accuracy(m, digits.x_test, digits.y_test) for m in members]]
    assert accuracies[0] == pytest.approx(accuracies[1], abs=0.05)
    assert min(accuracies[0]) > 0.3


def test_a_loop_of_many_is_fit(digits):
    """Without a transform, members are trained on the images themselves."""
    many = population("linear", digits.shape)
    histories = training.fit_many(many, digits.x_train, digits.y_train, epochs=2, seed=4)
    for member, history, alone in zip(
        many, histories, population("linear", digits.shape), strict=True
    ):
        assert history == training.fit(alone, digits.x_train, digits.y_train, epochs=2, seed=4)
        assert torch.equal(weights(member), weights(alone))


def test_a_member_that_fails_leaves_the_others_alone(digits):
    noise = noises(3, digits.shape)
    noise[1] = torch.nan
    options = dict(epochs=1, member_args=noise, transform=corrupted)
    for how in (True, False):
        members = population("graynet", digits.shape)
        history = training.fit_many(members, digits.x_train, digits.y_train, stacked=how, **options)
        assert [math.isnan(h["loss"][0]) for h in history] == [False, True, False]
        assert [bool(weights(m).isfinite().all()) for m in members] == [True, False, True]


@pytest.mark.parametrize(("count", "args"), [(0, None), (2, None), (2, 3)])
def test_every_member_needs_its_args(digits, count, args):
    args = None if args is None else noises(args, digits.shape)
    with pytest.raises(ValueError, match=r"models and .* member_args"):
        training.fit_many(
            population("linear", digits.shape, count=count),
            digits.x_train,
            digits.y_train,
            epochs=1,
            member_args=args,
            transform=corrupted,
        )


FOLDS = [train[:200] for train, _ in data.load("digits", train=320, test=100).folds(3, seed=0)]
SHIFTS = torch.tensor([0, 1, 2])


def shifted(shift, x, y):
    return 1 - x, (y + shift) % 10


@pytest.mark.parametrize("name", ["lenet5", "resnet8"])
@pytest.mark.parametrize("transform", [None, shifted])
def test_folds_stacked_looped_and_alone(digits, name, transform):
    """Every member trains on the images of its own fold, and every epoch can be looked at."""
    x, y = digits.x_train.double(), digits.y_train
    options = dict(epochs=2, batch_size=60, seed=5)  # 200 images: a short last batch
    snapshots = {True: {}, False: {}, "alone": {}}
    for how in (True, False):
        members = population(name, digits.shape, torch.float64)
        args = None if transform is None else SHIFTS

        def keep(m, epoch, model, how=how):
            assert not any(modes(model))
            snapshots[how][m, epoch] = {k: v.clone() for k, v in model.state_dict().items()}

        training.fit_many(
            members,
            x,
            y,
            subsets=FOLDS,
            on_epoch=keep,
            transform=transform,
            member_args=args,
            stacked=how,
            **options,
        )
    for m, alone in enumerate(population(name, digits.shape, torch.float64)):

        def keep_alone(epoch, model, m=m):
            snapshots["alone"][m, epoch] = {k: v.clone() for k, v in model.state_dict().items()}

        fold = torch.as_tensor(FOLDS[m])
        images, labels = (x[fold], y[fold]) if transform is None else shifted(m, x[fold], y[fold])
        training.fit(alone, images, labels, on_epoch=keep_alone, **options)
    assert sorted(snapshots["alone"]) == [(m, e) for m in range(3) for e in (1, 2)]
    for place, state in snapshots["alone"].items():
        for key, value in state.items():
            assert torch.equal(snapshots[False][place][key], value)
            torch.testing.assert_close(snapshots[True][place][key], value, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("subsets", "sentence"),
    [
        ([[0, 1]], "2 models and 1 subsets"),
        ([[0, 1], [0]], "all of the same size"),
        ([[], []], "all of the same size"),
        ([[0, 1], [0, 320]], "positions among the 320 images"),
        ([[0, 1], [0, -1]], "positions among the 320 images"),
    ],
)
def test_subsets_must_fit(digits, subsets, sentence):
    pair = population("linear", digits.shape, count=2)
    with pytest.raises(ValueError, match=sentence):
        training.fit_many(pair, digits.x_train, digits.y_train, epochs=1, subsets=subsets)


def test_evaluate_is_the_mean_cross_entropy(digits):
    net, _ = trained(digits)
    loss, accuracy = training.evaluate(net, digits.x_test, digits.y_test)
    plain = nn.functional.cross_entropy(net(digits.x_test), digits.y_test)
    assert loss == pytest.approx(plain.item(), abs=1e-6)
    assert accuracy == training.accuracy(net, digits.x_test, digits.y_test)
    assert all(map(math.isnan, training.evaluate(net, digits.x_test[:0], digits.y_test[:0])))


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_an_optimizer_starts_at_the_rate_it_is_given(name):
    weight = torch.zeros(1, requires_grad=True)
    (group,) = optimizers.OPTIMIZERS[name]([weight], 0.05).param_groups
    assert group["lr"] == 0.05


def test_names_of_optimizers_cost_no_torch():
    code = (
        "import sys, kit.optimizers as o; assert 'torch' not in sys.modules; print(*o.OPTIMIZERS)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.split() == ["adam", "sgd", "rmsprop", "adabound"], result.stderr
    assert training.OPTIMIZERS is optimizers.OPTIMIZERS


def test_training_loads_no_compiler():
    """torch's would take a second in every process that trains."""
    code = (
        "import sys, kit; from kit.optimizers import OPTIMIZERS\n"
        "digits = kit.data.load('digits')\n"
        "x, y = digits.x_train[:60], digits.y_train[:60]\n"
        "for name in OPTIMIZERS:\n"
        "    nets = [kit.nets.build('linear', digits.shape, seed=seed) for seed in (0, 1)]\n"
        "    kit.training.fit(nets[0], x, y, epochs=1, optimizer=name)\n"
        "    kit.training.fit_many(nets, x, y, epochs=1, optimizer=name, stacked=True)\n"
        "assert 'torch._dynamo' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=runtime.root())
