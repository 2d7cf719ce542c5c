"""Training: equal to a plain torch loop, repeatable, and no trace left behind."""

import copy
import math

import pytest
import torch
from torch import nn

from kit import data, nets, runtime, training


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    # The nets are too small for more: threads would only wait for each other.
    with runtime.threads(1):
        yield


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", train=320, test=100)


def trained(digits, **options):
    net = nets.build("lenet5", digits.shape)
    options = dict(epochs=2, batch_size=64) | options
    return net, training.fit(net, digits.x_train, digits.y_train, **options)


def weights(net):
    return nn.utils.parameters_to_vector(net.parameters()).detach()


def mixed_net():
    """In training, but for its dropout: as a caller may have left it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Dropout(), nn.Linear(64, 10))
    net[2].eval()
    return net


def modes(net):
    return [part.training for part in net.modules()]


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("batch_size", [50, 1000])  # 320 images: a short last batch; only one
def test_fit_is_a_plain_loop(digits, optimizer, batch_size):
    x, y = digits.x_train, digits.y_train
    lr = {"adam": 1e-3, "sgd": 0.1}[optimizer]
    options = dict(optimizer=optimizer, batch_size=batch_size, lr=lr, seed=3)
    net, history = trained(digits, epochs=3, **options)

    plain = nets.build("lenet5", digits.shape)
    update = (torch.optim.Adam if optimizer == "adam" else torch.optim.SGD)(plain.parameters(), lr)
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
        ({"optimizer": "rmsprop"}, "Unknown optimizer 'rmsprop'"),
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
