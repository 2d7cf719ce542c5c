"""Training: equal to a plain torch loop, repeatable, and no trace left behind."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from kit import data, nets, perturbations, training


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
    """In training, but for its dropout: as a caller may have left it."""
    with torch.random.fork_rng():
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

    plain = nets.build("lenet5", digits.shape)
    made = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD, "rmsprop": torch.optim.RMSprop}
    update = made[optimizer](plain.parameters(), lr)
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
        ({"batch_size": 0}, "batch_size 0"),
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
    with pytest.raises(RuntimeError):
        training.predict(net, digits.x_test[:, :, :4])
    assert all(modes(net))


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
        slope = 3 * plain**2 + t
        weight.grad = (3 * weight**2 + t).detach()
        update.step()
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        size = 1e-3 * math.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        low, high = 0.1 * (1 - 1 / (1e-3 * t + 1)), 0.1 * (1 + 1 / (1e-3 * t))
        plain = plain - (size / (second.sqrt() + 1e-8)).clamp(low, high) * first
        torch.testing.assert_close(weight.detach(), plain, rtol=0, atol=1e-9)


def test_view_and_augment_come_before_the_net(digits):
    """Training through a view and an augmentation is training on what they return."""
    seen = []

    def view(x, y):
        return 1 - x, (y + 1) % 10

    def augment(x, generator):
        seen.append(float(x.mean()))
        return x + 0 * torch.rand(1, generator=generator)

    net, history = trained(digits, view=view)
    inverted = nets.build("lenet5", digits.shape)
    same = training.fit(
        inverted, 1 - digits.x_train, (digits.y_train + 1) % 10, epochs=2, batch_size=64
    )
    assert torch.equal(weights(net), weights(inverted))
    assert history == same
    trained(digits, view=view, augment=augment, epochs=1)
    assert np.mean(seen) == pytest.approx(float((1 - digits.x_train).mean()), abs=1e-3)


def noises(count, shape, dtype=torch.float32):
    made = [perturbations.uniform(10, 1, shape, seed=seed) for seed in range(count)]
    return torch.stack(made).to(dtype)


def corrupted(own, x, y):
    return perturbations.apply(own, x, y), y


def population(name, shape, dtype=torch.float32, count=3):
    return [nets.build(name, shape, seed=seed).to(dtype) for seed in range(count)]


@pytest.mark.parametrize("name", ["graynet", "resnet20", "linear"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop", "adabound"])
def test_stacked_and_looped_members_agree(digits, name, optimizer):
    """20 steps in float64, each member on its own noise; batch norms included."""
    x, noise = digits.x_train.double(), noises(3, digits.shape, torch.float64)
    lr = 0.1 if optimizer == "sgd" else 1e-3
    options = dict(epochs=2, batch_size=32, optimizer=optimizer, lr=lr, own=noise, view=corrupted)
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
    options = dict(epochs=5, batch_size=16, own=noises(3, digits.shape), view=corrupted)
    accuracies = []
    for how in (True, False):
        members = population("graynet", digits.shape)
        training.fit_many(members, digits.x_train, digits.y_train, stacked=how, **options)
        accuracies += [[training.accuracy(m, digits.x_test, digits.y_test) for m in members]]
    assert accuracies[0] == pytest.approx(accuracies[1], abs=0.05)
    assert min(accuracies[0]) > 0.3


def test_a_loop_of_many_is_fit(digits):
    """Without a view, members are trained on the images themselves."""
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
    options = dict(epochs=1, own=noise, view=corrupted)
    for how in (True, False):
        members = population("graynet", digits.shape)
        history = training.fit_many(members, digits.x_train, digits.y_train, stacked=how, **options)
        assert [math.isnan(h["loss"][0]) for h in history] == [False, True, False]
        assert [bool(weights(m).isfinite().all()) for m in members] == [True, False, True]


@pytest.mark.parametrize(("count", "own"), [(0, None), (2, None), (2, 3)])
def test_every_member_needs_its_own(digits, count, own):
    own = None if own is None else noises(own, digits.shape)
    with pytest.raises(ValueError, match=r"models and .* members of own"):
        training.fit_many(
            population("linear", digits.shape, count=count), digits.x_train, digits.y_train,
            epochs=1, own=own, view=corrupted,
        )  # fmt: skip


FOLDS = [train[:200] for train, _ in data.load("digits", train=320, test=100).folds(3, seed=0)]
SHIFTS = torch.tensor([0, 1, 2])


def shifted(own, x, y):
    return 1 - x, (y + own) % 10


@pytest.mark.parametrize("name", ["lenet5", "resnet20"])
@pytest.mark.parametrize("view", [None, shifted])
def test_folds_stacked_looped_and_alone(digits, name, view):
    """Every member trains on the images of its own fold, and every epoch can be looked at."""
    x, y = digits.x_train.double(), digits.y_train
    options = dict(epochs=2, batch_size=60, seed=5)  # 200 images: a short last batch
    snapshots = {True: {}, False: {}, "alone": {}}
    for how in (True, False):
        members = population(name, digits.shape, torch.float64)
        own = None if view is None else SHIFTS

        def keep(m, epoch, model, how=how):
            assert not any(modes(model))
            snapshots[how][m, epoch] = {k: v.clone() for k, v in model.state_dict().items()}

        training.fit_many(
            members, x, y, subsets=FOLDS, on_epoch=keep, view=view, own=own, stacked=how, **options
        )
    for m, alone in enumerate(population(name, digits.shape, torch.float64)):

        def keep_alone(epoch, model, m=m):
            snapshots["alone"][m, epoch] = {k: v.clone() for k, v in model.state_dict().items()}

        fold = torch.as_tensor(FOLDS[m])
        images, labels = (x[fold], y[fold]) if view is None else shifted(m, x[fold], y[fold])
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
