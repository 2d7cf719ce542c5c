"""A call of each public function that takes tensors or models, as a caller would make it."""

import importlib
import inspect
import pkgutil

import numpy as np
import torch

import kit

METHODS = (
    "attacks", "data.augmentation", "defenses", "divergence", "evolution", "explain",
    "misalignment", "neighbors", "perturbations", "robustness", "training",
    "watching",
)  # fmt: skip
attacks, robustness, explain = kit.attacks, kit.robustness, kit.explain


class World:
    """Images, labels and nets on a device, for :data:`CALLS`."""

    def __init__(self, where):
        data = kit.data.load("digits", train=120, test=40).to(where)
        self.data, self.where = data, where
        self.x, self.y, self.shape = data.x_train, data.y_train, data.shape
        self.net = self.fitted(seed=0)
        self.noise = kit.perturbations.uniform(10, 2, self.shape).to(where)

    def fitted(self, net="lenet5", seed=0, **options):
        net = kit.nets.build(net, self.shape, seed=seed).to(self.where)
        options = dict(epochs=3, lr=0.003, batch_size=60) | options
        kit.training.fit(net, self.x, self.y, **options)
        return net

    @property
    def few(self):
        return self.x[:10], self.y[:10]

    @property
    def units(self):
        return kit.misalignment.reference_gradients(self.net, self.x, self.y)

    def triplets(self, **options):
        nets = [kit.nets.build("lenet5", self.shape, seed=s).to(self.where) for s in (0, 1, 2)]
        options = dict(epochs=1, batch_size=20) | options
        history = kit.training.fit_many(nets, self.x, self.y, **options)
        return history, [kit.nets.weights(net) for net in nets]


def search(w):
    (generation,) = kit.evolution.search(
        w.x, w.y, classes=10, generations=1, epochs=1, popsize=3, discriminator_epochs=1
    )
    return generation.fitness


def watched(w):
    with kit.watching.passes(w.net) as count, kit.watching.trace(w.net, *w.few) as seen:
        attacks.pgd(w.net, *w.few, eps=0.1, steps=5)
    return count.forward, count.backward, seen.loss, seen.distance, seen.fooled


def free(w):
    return w.fitted(**kit.defenses.adversarial_training("free", eps=0.1, epochs=2, replays=2))


def fast(w):
    return w.fitted(**kit.defenses.adversarial_training("fast", eps=0.1, epochs=1))


# Each public function that takes tensors or models, as a caller would call it.
CALLS = {
    "attacks.nearest_l2": lambda w: attacks.nearest_l2(w.net, *w.few, details=True),
    "attacks.cw_l2": lambda w: attacks.cw_l2(w.net, *w.few, steps=10, search_steps=3, details=True),
    "attacks.missing": lambda w: attacks.carlini_wagner.missing(w.net(w.x), w.y, 0.0, False),
    "attacks.deepfool": lambda w: [
        attacks.deepfool(w.net, *w.few), attacks.deepfool(w.net, w.few[0])
    ],
    "attacks.fgsm": lambda w: attacks.fgsm(w.net, w.x, w.y, eps=0.1, details=True),
    "attacks.fgsm_all_targets": lambda w: attacks.fgsm_all_targets(
        w.net, *w.few, eps=0.1, classes=10
    ),
    "attacks.pgd": lambda w: [
        attacks.pgd(w.net, *w.few, eps=eps, norm=norm, steps=5, details=True)
        for norm, eps in (("linf", 0.1), ("l2", 0.5))
    ],
    "attacks.random_direction": lambda w: attacks.random_direction(w.x, eps=0.1),
    "data.augmentation.as_bytes": lambda w: kit.data.as_bytes(w.x),
    "data.augmentation.random_crops": lambda w: kit.data.random_crops(
        w.x, torch.Generator().manual_seed(0), padding=1, flip=True
    ),
    "defenses.adversarial_training": lambda w: [kit.nets.weights(use(w)) for use in (free, fast)],
    "defenses.bilateral": lambda w: kit.defenses.bilateral(w.few[0]),
    "defenses.filtered": lambda w: kit.defenses.filtered(w.few[0], kind="jpeg"),
    "defenses.jpeg": lambda w: kit.defenses.jpeg(w.few[0]),
    "divergence.discriminator_errors": lambda w: kit.divergence.discriminator_errors(
        w.noise[None], w.x, w.y, epochs=2
    ),
    "evolution.fitness": lambda w: kit.evolution.fitness(
        w.noise[None], w.x, w.y, epochs=1, details=True
    ),
    "evolution.search": search,
    "explain.attribution_distance": lambda w: explain.attribution_distance(w.x[0], w.x[1]),
    "explain.background_share": lambda w: explain.background_share(w.x[:, 0], w.x),
    "explain.estimate_statistics": lambda w: explain.estimate_statistics(
        kit.nets.build("resnet8", w.shape).to(w.where), w.x
    ),
    "explain.grad_cam": lambda w: explain.grad_cam(w.net, *w.few),
    "explain.integrated_gradients": lambda w: explain.integrated_gradients(w.net, *w.few, steps=5),
    "explain.interpolate": lambda w: explain.interpolate(w.net, w.fitted(seed=1), 0.5, w.x)(w.x),
    "explain.sharpness": lambda w: explain.sharpness(w.net, w.x, w.y, steps=2),
    "misalignment.cosines": lambda w: kit.misalignment.cosines(w.fitted(seed=1), w.x, w.y, w.units),
    "misalignment.gradient_alignment": lambda w: kit.misalignment.gradient_alignment(
        w.net, w.x, w.y, w.units
    ),
    "misalignment.misaligned": lambda w: kit.nets.weights(
        w.fitted(loss=kit.misalignment.misaligned(w.units))
    ),
    "misalignment.reference_gradients": lambda w: w.units,
    "misalignment.unit": lambda w: kit.misalignment.unit(w.x),
    "neighbors.accuracy_by_k": lambda w: kit.neighbors.accuracy_by_k(
        w.x, w.y, w.data.x_test, w.data.y_test
    ),
    "neighbors.nearest": lambda w: kit.neighbors.nearest(w.x, w.data.x_test, 3),
    "neighbors.predict": lambda w: kit.neighbors.predict(w.x, w.y, w.data.x_test),
    "perturbations.apply": lambda w: kit.perturbations.apply(w.noise, w.x, w.y),
    "perturbations.encode": lambda w: kit.perturbations.encode(w.noise, 2),
    "perturbations.one_pixel_shortcut": lambda w: kit.perturbations.one_pixel_shortcut(
        w.x, w.y, 10
    ),
    "robustness.attack_success_rate": lambda w: robustness.attack_success_rate(w.net, w.x, w.y),
    "robustness.clever": lambda w: robustness.clever(
        w.net, w.x[:2], batches=3, batch_size=5, details=True
    ),
    "robustness.empirical_robustness": lambda w: robustness.empirical_robustness(
        w.net, w.x, details=True
    ),
    "robustness.fooling_rate": lambda w: robustness.fooling_rate(w.net, w.x, 1 - w.x),
    "robustness.loss_sensitivity": lambda w: robustness.loss_sensitivity(
        w.net, w.x, w.y, details=True
    ),
    "robustness.perturbation_norms": lambda w: robustness.perturbation_norms(w.x, w.x / 2),
    "training.accuracy": lambda w: kit.training.accuracy(w.net, w.x, w.y),
    "training.entropy": lambda w: kit.training.losses.entropy(w.net(w.x), w.y),
    "training.evaluate_or_nan": lambda w: kit.training.evaluate_or_nan(w.net, w.x, w.y),
    "training.measure": lambda w: kit.training.evaluation.measure(w.net, w.x, w.y),
    "training.evaluate": lambda w: kit.training.evaluate(w.net, w.x, w.y),
    "training.fit": lambda w: kit.nets.weights(w.fitted(optimizer="sgd")),
    "training.fit_many": lambda w: w.triplets(subsets=np.arange(120).reshape(3, 40)),
    "training.input_gradients": lambda w: kit.training.input_gradients(w.net, w.x, w.y),
    "training.logits": lambda w: kit.training.logits(w.net, w.x),
    "training.mean_cross_entropy": lambda w: kit.training.mean_cross_entropy(w.net, w.x, w.y, w.y),
    "training.predict": lambda w: kit.training.predict(w.net, w.x),
    "watching.passes": watched,
    "watching.trace": watched,
    "data.Dataset": lambda w: (w.data.folds(3, 0), w.data.resplit(0).x_test, w.data.fingerprint),
}  # fmt: skip


INNER = "kit.training.loop"  # what `fit` and `fit_many` share, and nobody else calls


def public():
    """Names of the methods' public functions that take tensors or models."""
    names = set()
    for package in METHODS:
        root = importlib.import_module(f"kit.{package}")
        parts = pkgutil.iter_modules(getattr(root, "__path__", ()), f"kit.{package}.")
        for module in [root, *(importlib.import_module(part.name) for part in parts)]:
            if module.__name__ == INNER:
                continue
            for name, function in inspect.getmembers(module, inspect.isfunction):
                own = function.__module__ == module.__name__ and not name.startswith("_")
                parameters = inspect.signature(function).parameters.values()
                takes = " ".join(str(parameter.annotation) for parameter in parameters)
                if own and ("Tensor" in takes or "Module" in takes):
                    names.add(f"{package}.{name}")
    return names
