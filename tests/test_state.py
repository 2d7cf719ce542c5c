"""No hidden state: what a function is given, and the process's generators, stay as they were."""

import gc
import importlib
import inspect
import pkgutil
import random
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from calls import INNER
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import nn

import kit
from kit import (
    attacks,
    batches,
    checks,
    data,
    defenses,
    divergence,
    evolution,
    explain,
    gradients,
    misalignment,
    neighbors,
    nets,
    neuroevolution,
    optimizers,
    perturbations,
    robustness,
    training,
    watching,
)
from kit.experiments.images import split

SHAPE = (1, 8, 8)
MACHINERY = ("experiments", "harness")


class Touchy(nn.Module):
    """Works in place on its input, has batch norms and dropout, and one ReLU for everything."""

    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU(inplace=True)  # registered first
        self.convolution, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.dropout = nn.Dropout(0.3)
        self.hidden, self.last = nn.Linear(4 * 64, 8), nn.Linear(8, 3)
        self.second_norm = nn.BatchNorm1d(8)

    def forward(self, x):
        x.mul_(2).sub_(1)
        x = self.dropout(self.relu(self.norm(self.convolution(x))))
        x = self.second_norm(self.hidden(x.flatten(1)))
        return self.last(self.dropout(self.relu(x)))


def touchy(seed=0):
    """As training may leave it: statistics, gradients, frozen weights, modes of all kinds."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Touchy()
        net(torch.rand(5, *SHAPE)).square().sum().backward()
    net.norm.bias.requires_grad_(False)
    net.hidden.weight.requires_grad_(False)
    return net


def evaluated(function):
    """What runs a model as it is, called on one in evaluation mode."""

    def call(of):
        with nets.eval_mode(of.model):
            return function(of)

    return call


def entered(context):
    def call(of):
        with context(of.model):
            pass

    return call


def watched(of):
    with watching.passes(of.model), watching.trace(of.model, of.x, of.y):
        return attacks.pgd(of.model, of.x, of.y, eps=0.1, steps=2)


def units(of):
    return misalignment.unit(of.x_adv).view(of.x_adv.shape)


def closest(of):
    return list(
        neuroevolution.evolve(
            lambda genome, generation: len(genome), population=2, children=1, generations=1, least=1
        )
    )


GENOME = nets.HAND_ENGINEERED["hand_a"]
SMALL = dict(epochs=1, batch_size=3)
SEARCH = dict(classes=3, popsize=2, generations=1, epochs=1, discriminator_epochs=1)
PROPOSER = dict(popsize=2, sigma=0.3, place=0.5, value=0.75, options=None, seed=0)
# How every public function is called that takes tensors, models or seeds.
CALLS = {
    "attacks.carlini_wagner.missing": lambda of: attacks.carlini_wagner.missing(
        of.logits, of.y, 0.0, False
    ),
    "attacks.carlini_wagner.cw_l2": lambda of: attacks.cw_l2(
        of.model, of.x, of.y, steps=5, search_steps=2
    ),
    "attacks.nearest.nearest_l2": lambda of: attacks.nearest_l2(of.model, of.x, of.y, steps=10),
    "attacks.deep_fool.deepfool": lambda of: attacks.deepfool(of.model, of.x, steps=3),
    "attacks.fast_gradient.fgsm": lambda of: attacks.fgsm(of.model, of.x, of.y, eps=0.1),
    "attacks.fast_gradient.fgsm_all_targets": lambda of: attacks.fgsm_all_targets(
        of.model, of.x, of.y, eps=0.1, classes=3
    ),
    "attacks.noise.random_direction": lambda of: attacks.random_direction(of.x, eps=0.1),
    "attacks.noise.uniform_ball": lambda of: attacks.noise.uniform_ball(
        (2, 1, 4, 4), "l2", seed=0, dtype=torch.float32
    ),
    "attacks.projected_gradient.pgd": lambda of: attacks.pgd(of.model, of.x, of.y, eps=1, steps=2),
    "batches.in_parts": lambda of: batches.in_parts(torch.relu, of.x, at_once=2),
    "checks.check_attack": evaluated(lambda of: checks.check_attack(of.model, of.x, of.y)),
    "checks.check_batch": evaluated(lambda of: checks.check_batch(of.model, of.x, of.y)),
    "checks.check_gradient": evaluated(lambda of: checks.check_gradient(of.model, of.x)),
    "checks.check_images": lambda of: checks.check_images(of.x),
    "checks.check_alike": lambda of: checks.check_alike(of.x, of.x),
    "checks.check_data": lambda of: checks.check_data(of.x, of.y),
    "checks.check_labels": lambda of: checks.check_labels(of.y, len(of.x)),
    "checks.check_maps": lambda of: checks.check_maps(of.x[:, 0]),
    "checks.check_model": evaluated(lambda of: checks.check_model(of.model, of.x)),
    "checks.check_module": lambda of: checks.check_module(of.model),
    "checks.check_noise": lambda of: checks.check_noise(torch.zeros(1, 3, *SHAPE), of.x, of.y),
    "checks.check_pairs": lambda of: checks.check_pairs(of.x, of.y),
    "checks.check_points": lambda of: checks.check_points(of.x, of.y),
    "checks.check_recording": lambda of: checks.check_recording(of.model, of.x),
    "checks.check_shape": lambda of: checks.check_shape(of.x),
    "checks.check_same_shape": lambda of: checks.check_same_shape(of.x, of.x),
    "checks.check_shapes": lambda of: checks.check_shapes(of.x),
    "checks.check_trainable": lambda of: checks.check_trainable(of.model),
    "checks.check_vectors": lambda of: checks.check_vectors(x=of.x),
    "checks.finite": lambda of: checks.finite(of.x),
    "checks.run": evaluated(lambda of: checks.run(of.model, of.x)),
    "data.augmentation.as_bytes": lambda of: data.as_bytes(of.x.detach()),
    "data.augmentation.random_crops": lambda of: data.random_crops(
        of.x, torch.Generator(), flip=True
    ),
    "data.loading.load": lambda of: data.load("digits", train=50, test=20, size=4, seed=3),
    "defenses.Fast": evaluated(lambda of: defenses.Fast(0.1)(of.model, of.x, of.y)),
    "defenses.Free": evaluated(lambda of: defenses.Free(0.1)(of.model, of.x, of.y, of.y)),
    "defenses.bilateral": lambda of: defenses.bilateral(of.x),
    "defenses.filtered": lambda of: defenses.filtered(of.x, kind="jpeg"),
    "defenses.jpeg": lambda of: defenses.jpeg(of.x),
    "divergence.discriminator_errors": lambda of: divergence.discriminator_errors(
        of.noise, of.x, of.y, epochs=1
    ),
    "evolution.mdd_es.search": lambda of: list(evolution.search(of.x, of.y, **SEARCH)),
    "evolution.scoring.fitness": lambda of: evolution.fitness(of.noise, of.x, of.y, epochs=1),
    "evolution.strategies.proposer": lambda of: evolution.strategies.proposer(
        "cma-es", "uniform", 3, 1, SHAPE, **PROPOSER
    ).ask(),
    "explain.attribution.attribution_distance": lambda of: explain.attribution_distance(
        of.x[:, 0], of.x_adv[:, 0]
    ),
    "explain.attribution.integrated_gradients": lambda of: explain.integrated_gradients(
        of.model, of.x, of.y, steps=5
    ),
    "explain.grad_cam.background_share": lambda of: explain.background_share(of.x[:, 0], of.x),
    "explain.grad_cam.grad_cam": lambda of: explain.grad_cam(of.model, of.x, of.y),
    "explain.landscape.estimate_statistics": lambda of: explain.estimate_statistics(of.model, of.x),
    "explain.landscape.interpolate": lambda of: explain.interpolate(
        of.model, of.other, 0.5, of.x
    ),
    "explain.landscape.sharpness": lambda of: explain.sharpness(of.model, of.x, of.y, steps=2),
    "gradients.frozen": entered(gradients.frozen),
    "gradients.gradient": lambda of: gradients.gradient(of.logits.sum(), of.logits),
    "gradients.images_at_once": evaluated(
        lambda of: gradients.images_at_once(of.model, of.x)
    ),
    "gradients.in_batches": lambda of: gradients.in_batches(torch.relu, of.x),
    "gradients.l2_norm": lambda of: gradients.l2_norm(of.x),
    "gradients.loss_gradient": evaluated(
        lambda of: gradients.loss_gradient(of.model, of.x, of.y)
    ),
    "gradients.margin": lambda of: gradients.margin(of.logits, of.y),
    "gradients.outputs": evaluated(lambda of: gradients.outputs(of.model, of.x)),
    "gradients.per_image": lambda of: gradients.per_image(of.y, of.x),
    "gradients.predictions": evaluated(lambda of: gradients.predictions(of.model, of.x)),
    "gradients.spread": lambda of: gradients.spread(of.logits),
    "gradients.steepest": lambda of: gradients.steepest(of.x, "l2"),
    "misalignment.cosines": lambda of: misalignment.cosines(of.model, of.x, of.y, units(of)),
    "misalignment.gradient_alignment": evaluated(
        lambda of: misalignment.gradient_alignment(of.model, of.x, of.y, units(of))
    ),
    "misalignment.misaligned": evaluated(
        lambda of: misalignment.misaligned(units(of))(of.model, of.x, of.y, of.y)
    ),
    "misalignment.reference_gradients": lambda of: misalignment.reference_gradients(
        of.model, of.x, of.y
    ),
    "misalignment.unit": lambda of: misalignment.unit(of.x),
    "neighbors.exact.predict": lambda of: neighbors.exact.predict(
        of.x, of.y, of.x_adv, ks=(1, 3)
    ),
    "neighbors.voting.accuracy_by_k": lambda of: neighbors.accuracy_by_k(
        of.x, of.y, of.x_adv, of.y, ks=(1, 3)
    ),
    "neighbors.fast.nearest": lambda of: neighbors.nearest(of.x, of.x_adv, 3),
    "neighbors.voting.predict": lambda of: neighbors.predict(of.x, of.y, of.x_adv, ks=(1, 3)),
    "nets.build": lambda of: nets.build("squeezenet", (3, 17, 17), seed=1),
    "nets.channels_last": entered(nets.channels_last),
    "nets.eval_mode": entered(nets.eval_mode),
    "nets.weights": lambda of: nets.weights(of.model),
    "neuroevolution.algorithm.evolve": closest,
    "neuroevolution.algorithm.generator": lambda of: neuroevolution.algorithm.generator(0, 1),
    "neuroevolution.algorithm.offspring": lambda of: neuroevolution.algorithm.offspring(
        [GENOME], 1, np.random.default_rng(0)
    ),
    "neuroevolution.mutation.initial": lambda of: neuroevolution.initial(
        2, 1.0, np.random.default_rng(0)
    ),
    "neuroevolution.mutation.mutate": lambda of: neuroevolution.mutate(
        GENOME, np.random.default_rng(0)
    ),
    "neuroevolution.mutation.mutate_once": lambda of: neuroevolution.mutation.mutate_once(
        GENOME, np.random.default_rng(0)
    ),
    "neuroevolution.mutation.random_genome": lambda of: neuroevolution.random_genome(
        np.random.default_rng(0)
    ),
    "optimizers.adabound": lambda of: optimizers.adabound(of.model.parameters(), 0.1),
    "optimizers.adam": lambda of: optimizers.adam(of.model.parameters(), 0.1),
    "optimizers.rmsprop": lambda of: optimizers.rmsprop(of.model.parameters(), 0.1),
    "optimizers.sgd": lambda of: optimizers.sgd(of.model.parameters(), 0.1),
    "perturbations.noise.apply": lambda of: perturbations.apply(of.noise[0], of.x, of.y),
    "perturbations.genome.encode": lambda of: perturbations.encode(of.noise[1], 1),
    "perturbations.noise.one_pixel_shortcut": lambda of: perturbations.one_pixel_shortcut(
        of.x, of.y, 3
    ),
    "perturbations.noise.uniform": lambda of: perturbations.uniform(3, 2, SHAPE, seed=1),
    "robustness.clever.clever": lambda of: robustness.clever(
        of.model, of.x[:2], batches=2, batch_size=5
    ),
    "robustness.measures.attack_success_rate": lambda of: robustness.attack_success_rate(
        of.model, of.x_adv, of.y
    ),
    "robustness.measures.empirical_robustness": lambda of: robustness.empirical_robustness(
        of.model, of.x
    ),
    "robustness.measures.fooling_rate": lambda of: robustness.fooling_rate(
        of.model, of.x, of.x_adv
    ),
    "robustness.measures.loss_sensitivity": lambda of: robustness.loss_sensitivity(
        of.model, of.x, of.y
    ),
    "robustness.measures.perturbation_norms": lambda of: robustness.perturbation_norms(
        of.x, of.x_adv
    ),
    "training.evaluation.accuracy": lambda of: training.accuracy(of.model, of.x, of.y),
    "training.evaluation.evaluate_or_nan": lambda of: training.evaluation.evaluate_or_nan(
        of.model, of.x, of.y
    ),
    "training.evaluation.measure": lambda of: training.evaluation.measure(of.model, of.x, of.y),
    "training.losses.entropy": lambda of: training.losses.entropy(torch.zeros(len(of.y), 3), of.y),
    "training.evaluation.evaluate": lambda of: training.evaluate(of.model, of.x, of.y),
    "training.evaluation.logits": lambda of: training.logits(of.model, of.x),
    "training.evaluation.predict": lambda of: training.predict(of.model, of.x),
    "training.fitting.fit": lambda of: training.fit(of.model, of.x, of.y, **SMALL),
    "training.population.fit_many": lambda of: training.fit_many(
        [of.model, of.other], of.x, of.y, stacked=True, **SMALL
    ),
    "training.losses.input_gradients": evaluated(
        lambda of: training.input_gradients(of.model, of.x, of.y)
    ),
    "training.losses.mean_cross_entropy": evaluated(
        lambda of: training.mean_cross_entropy(of.model, of.x, of.y, of.y)
    ),
    "watching.passes": watched,
    "watching.trace": watched,
}  # fmt: skip
# Whose work it is to change a model, and what of it they leave alone.
TRAINING = ("training.fitting.fit", "training.population.fit_many")
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def modules():
    for part in pkgutil.iter_modules(kit.__path__, "kit."):
        if part.name.removeprefix("kit.") in MACHINERY:
            continue
        module = importlib.import_module(part.name)
        yield module
        for inner in pkgutil.iter_modules(getattr(module, "__path__", ()), f"{part.name}."):
            if inner.name != INNER:
                yield importlib.import_module(inner.name)


def public():
    """Functions of kit's methods that take tensors, models or seeds, by module and name."""
    for module in modules():
        for name, function in vars(module).items():
            own = getattr(function, "__module__", "") == module.__name__
            if not own or not callable(function) or name.startswith("_"):
                continue
            if inspect.isclass(function):  # a hook: what it takes when it is called
                if issubclass(function, nn.Module) or "__call__" not in vars(function):
                    continue
                function = function.__call__
            if takes_state(function):
                yield f"{module.__name__.removeprefix('kit.')}.{name}"


def takes_state(function):
    parameters = inspect.signature(function).parameters.values()
    return any(
        parameter.name in ("model", "models", "seed", "rng")
        or any(kind in str(parameter.annotation) for kind in ("Tensor", "Module", "Model"))
        for parameter in parameters
    )


def generators():
    name, keys, *rest = np.random.get_state()  # noqa: NPY002
    return torch.get_rng_state().tolist(), random.getstate(), name, keys.tolist(), rest


def of_model(model):
    """All that a model is, by name."""
    parts = {f"mode of {name}": part.training for name, part in model.named_modules()}
    for name, part in model.named_modules():
        parts[f"hooks of {name}"] = len(part._forward_hooks) + len(part._forward_pre_hooks)
    for name, weight in model.named_parameters():
        gradient = None if weight.grad is None else weight.grad.tolist()
        parts |= {f"gradient {name}": gradient, f"wanted {name}": weight.requires_grad}
        parts[f"layout {name}"] = weight.stride()
    return parts | {name: value.tolist() for name, value in model.state_dict().items()}


def of_images(images):
    return {
        name: (values.tolist(), values.requires_grad, values.grad, values.stride())
        for name, values in images.items()
    }


def changed(before, after):
    return {name for name in before if before[name] != after[name]}


def images(seed, wanting_gradients=False):
    chance = torch.Generator().manual_seed(seed)
    noise = torch.zeros(2, 3, *SHAPE)
    noise[1, :, 0, 2, 3] = 0.5
    return {
        "x": torch.rand(6, *SHAPE, generator=chance).requires_grad_(wanting_gradients),
        "x_adv": torch.rand(6, *SHAPE, generator=chance),
        "y": torch.tensor([0, 1, 2, 2, 1, 0]),
        "logits": torch.rand(6, 3, generator=chance),
        "noise": noise,
    }


def test_every_public_function_is_called_here():
    """A new function that takes tensors, models or seeds belongs into `CALLS`."""
    assert set(public()) - {"training.graphs.captured"} == set(CALLS)  # that one needs a GPU


def modes_of(net, number):
    for k, part in enumerate(net.modules()):
        part.training = bool(number >> k % 8 & 1)
    return net


@pytest.mark.parametrize("name", CALLS)
@settings(deadline=None, max_examples=3, derandomize=True, phases=[Phase.generate])
@given(st.integers(0, 255), st.integers(0, 99), st.booleans())
def test_models_images_and_generators_stay(name, modes, seed, wanting_gradients):
    models = {"model": modes_of(touchy(), modes), "other": modes_of(touchy(1), 255 - modes)}
    given_images = images(seed, wanting_gradients and not name.startswith("checks"))
    generators_before, images_before = generators(), of_images(given_images)
    models_before = {key: of_model(model) for key, model in models.items()}
    CALLS[name](SimpleNamespace(**models, **given_images))
    assert generators() == generators_before
    assert of_images(given_images) == images_before
    for key, model in models.items():
        found = changed(models_before[key], of_model(model))
        if name in TRAINING:
            found = {part for part in found if part.startswith(("wanted", "hooks", "layout"))}
            assert model.norm.bias.tolist() == models_before[key]["norm.bias"]
        if name == "explain.landscape.estimate_statistics":
            found = {part for part in found if not part.endswith(STATISTICS)}
        assert not found


@pytest.mark.parametrize("name", CALLS)
def test_no_tensor_waits_for_the_garbage_collector(name):
    """What a function no longer needs is free at once, so that memory does not grow meanwhile."""
    of = SimpleNamespace(model=touchy(), other=touchy(1), **images(0))
    CALLS[name](of)  # what is kept between calls is there now
    gc.disable()
    gc.freeze()  # only what is made from now on is found below
    try:
        CALLS[name](of)
        left = [found for found in gc.get_objects() if type(found) in (torch.Tensor, nn.Parameter)]
        assert sum(tensor.nbytes for tensor in left) < 100  # pycma's objects hold a genome
    finally:
        gc.unfreeze()
        gc.enable()


@pytest.mark.parametrize("name", [name for name in CALLS if name not in TRAINING])
def test_a_failure_leaves_them_too(name):
    """A model that fails in its n-th run, wherever the function has come by then."""
    for good in (0, 1):
        models, left = {"model": touchy(), "other": touchy(1)}, [good]

        def fail(*_, left=left):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt

        hooks = [model.last.register_forward_pre_hook(fail) for model in models.values()]
        given_images = images(0)
        before = generators(), of_images(given_images), [of_model(m) for m in models.values()]
        try:
            CALLS[name](SimpleNamespace(**models, **given_images))
        except KeyboardInterrupt:
            after = generators(), of_images(given_images), [of_model(m) for m in models.values()]
            assert after == before
        for hook in hooks:
            hook.remove()


# --- models that work in place -------------------------------------------------------------------


class InPlace(nn.Module):
    """Computes what another model does, in place on its input."""

    def __init__(self, net, twice=False):
        super().__init__()
        self.net, self.first = net, nn.ReLU(inplace=True) if twice else nn.Identity()

    def forward(self, x):
        x.sub_(0.25)
        return self.net(self.first(x))


class Plain(InPlace):
    def forward(self, x):
        x = x - 0.25
        return self.net(x.relu() if isinstance(self.first, nn.ReLU) else x)


WITH_MODEL = [name for name in CALLS if name.startswith(("attacks", "explain", "robust", "train"))]


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("name", WITH_MODEL)
def test_a_model_that_works_in_place_counts_as_one_that_does_not(name, twice):
    results = []
    for kind in (InPlace, Plain):
        model, other = (kind(nets.build("graynet", SHAPE, 3, seed=k), twice) for k in (1, 2))
        of = SimpleNamespace(model=model, other=other, **images(0))
        found = CALLS[name](of)
        if isinstance(found, nn.Module):
            found = training.logits(found, of.x)
        results.append((found, training.logits(model, of.x)))
    torch.testing.assert_close(*results, rtol=0, atol=0, equal_nan=True)


# --- what a seed decides -------------------------------------------------------------------------


def dropping(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 10)
        )


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", train=129, test=50)


def vector(net):
    return torch.cat([weight.detach().reshape(-1) for weight in net.parameters()])


@pytest.mark.parametrize("stacked", [None, False, True])
def test_the_seed_decides_what_dropout_draws(digits, stacked):
    def ends(seed, noise):
        torch.manual_seed(noise)
        members, options = [dropping(), dropping()], dict(epochs=2, batch_size=32, seed=seed)
        if stacked is None:
            members = members[:1]
            training.fit(members[0], digits.x_train, digits.y_train, **options)
        else:
            training.fit_many(members, digits.x_train, digits.y_train, stacked=stacked, **options)
        assert torch.equal(torch.get_rng_state(), torch.manual_seed(noise).get_state())
        return torch.stack([vector(member) for member in members])

    first = ends(3, noise=0)
    assert torch.equal(first, ends(3, noise=1))
    assert not torch.equal(first, ends(4, noise=0))
    if stacked is not None:  # looped, each draws what it would alone; stacked, its own
        assert torch.equal(first[0], first[1]) == (not stacked)


def test_a_loop_of_nets_with_dropout_is_fit(digits):
    pair, alone = [dropping(1), dropping(2)], [dropping(1), dropping(2)]
    options = dict(epochs=2, batch_size=32, seed=5)
    training.fit_many(pair, digits.x_train, digits.y_train, stacked=False, **options)
    for member, net in zip(pair, alone, strict=True):
        training.fit(net, digits.x_train, digits.y_train, **options)
        assert torch.equal(vector(member), vector(net))


@pytest.mark.parametrize("stacked", [None, True])
def test_who_watches_a_training_draws_for_himself(digits, stacked):
    """What `on_epoch` draws comes from the caller's generator and does not move the masks."""
    drawn, ends = [], []

    def watch(*_):
        drawn.append(torch.rand(1).item())

    for on_epoch in (None, watch):
        net, options = dropping(), dict(epochs=3, batch_size=32, on_epoch=on_epoch)
        torch.manual_seed(7)
        if stacked:
            training.fit_many([net], digits.x_train, digits.y_train, stacked=True, **options)
        else:
            training.fit(net, digits.x_train, digits.y_train, **options)
        ends.append(vector(net))
    assert torch.equal(*ends)
    torch.manual_seed(7)
    assert drawn == torch.cat([torch.rand(1) for _ in range(3)]).tolist()


def test_dropout_differs_from_batch_to_batch_and_epoch_to_epoch(digits):
    masks = []
    net = dropping()

    def note(drop, args, out):
        if drop.training:
            masks.append((out == 0) & (args[0] != 0))

    net[3].register_forward_hook(note)
    training.fit(net, digits.x_train[:32], digits.y_train[:32], epochs=3, batch_size=16)
    assert len({str(mask.tolist()) for mask in masks}) == len(masks) == 6


def test_the_step_that_trains_a_net_with_dropout_repeats_itself():
    from kit.experiments.neuroevolution_gm import steps

    options = dict(
        split=split("digits", train=40, test=20, size=17),
        name="squeezenet",
        run=1,
        start=1,
        net="squeezenet",
        epochs=1,
        batch_size=20,
        optimizer="adam",
        lr=1e-3,
        hold_out=0,
    )
    ends = []
    for noise in (0, 1):
        torch.manual_seed(noise)
        ends.append(steps.train.function(**options)["weights"])
    assert all(np.array_equal(ends[0][name], ends[1][name]) for name in ends[0])


@pytest.mark.parametrize("kind", ["fast", "free"])
@pytest.mark.parametrize("first_size", [20, 129])
def test_options_of_adversarial_training_serve_for_many_trainings(digits, kind, first_size):
    """Nothing goes over from one training to the next, whatever its size."""
    options = defenses.adversarial_training(kind, eps=0.1, epochs=4, replays=2)
    other = nets.build("linear", digits.shape, seed=9)
    training.fit(other, digits.x_train[:first_size], digits.y_train[:first_size], **options)
    used, fresh = nets.build("linear", digits.shape), nets.build("linear", digits.shape)
    training.fit(used, digits.x_train, digits.y_train, batch_size=32, **options)
    options = defenses.adversarial_training(kind, eps=0.1, epochs=4, replays=2)
    training.fit(fresh, digits.x_train, digits.y_train, batch_size=32, **options)
    assert torch.equal(vector(used), vector(fresh))


def test_functions_that_keep_something_begin_anew_for_every_member(digits):
    class Brightening:
        """Images that grow brighter from batch to batch."""

        def reset(self):
            self.batches = 0

        def __call__(self, arg, x, y):
            self.batches += 1
            return x + arg * self.batches / 10, y

    pair = [nets.build("linear", digits.shape) for _ in range(2)]
    options = dict(transform=Brightening(), member_args=torch.ones(2), stacked=False, epochs=2)
    training.fit_many(pair, digits.x_train, digits.y_train, **options)
    assert torch.equal(vector(pair[0]), vector(pair[1]))


# --- threads -------------------------------------------------------------------------------------


def at_once(*functions):
    """Run functions in threads that start together; their results, or what they raised."""
    ready, results = threading.Barrier(len(functions)), [None] * len(functions)

    def run(place, function):
        ready.wait()
        try:
            results[place] = function()
        except Exception as error:
            results[place] = error

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(functions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_two_threads_attack_one_net_in_training_mode(digits):
    net = nets.build("resnet8", digits.shape).train()
    inner = nn.Sequential(net, nn.Identity())  # shares all its modules
    x, y, before = digits.x_test[:20], digits.y_test[:20], of_model(net)

    def attack(model, steps):
        return lambda: attacks.pgd(model, x, y, eps=0.1, steps=steps)

    alone = [attack(net, steps)() for steps in (3, 7, 5)]
    for _ in range(5):
        together = at_once(attack(net, 3), attack(inner, 7), attack(net, 5))
        torch.testing.assert_close(together, alone, rtol=0, atol=0)
        assert of_model(net) == before


def test_a_net_is_attacked_between_the_epochs_of_its_training(digits):
    """Watching in another thread is no deadlock, and attacking meanwhile no other training."""
    x, y = digits.x_train, digits.y_train
    options = dict(epochs=3, batch_size=32)
    watched, alone = (nets.build("resnet8", digits.shape) for _ in range(2))

    def watch(epoch, model):
        [share] = at_once(lambda: training.accuracy(model, x, y))
        assert 0 <= share <= 1

    def attack():
        return attacks.fgsm(watched, x[:20], y[:20], eps=0.1)

    def train():
        return training.fit(watched, x, y, on_epoch=watch, **options)

    results = at_once(train, attack, attack)
    assert not [result for result in results if isinstance(result, Exception)]
    training.fit(alone, x, y, **options)
    assert torch.equal(vector(watched), vector(alone))


def test_nets_are_built_and_trained_in_threads_as_alone(digits):
    def make(seed):
        def run():
            net = nets.build("squeezenet", (1, 17, 17), seed=seed)
            x = nn.functional.interpolate(digits.x_train[:24], (17, 17))
            training.fit(net, x, digits.y_train[:24], epochs=2, batch_size=8, seed=seed)
            return vector(net)

        return run

    before = torch.get_rng_state()
    together = at_once(*(make(seed) for seed in range(3)))
    alone = [make(seed)() for seed in range(3)]
    torch.testing.assert_close(together, alone, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), before)
