"""The calls of the study, from its parameters."""

import math

from kit import evolution, perturbations
from kit.experiments import common
from kit.experiments.evolved_perturbations import noises, settings, steps
from kit.steps import Call

# Seconds on one core for one training image, once, at 28×28 (graynet, lenet5) or 32×32 pixels;
# timed on a 2023 Xeon. Without training it is a third. Every batch costs some more.
SECONDS = {
    "graynet": 5e-4, "colornet": 4.5e-3, "resnet20": 6e-3, "resnet32": 9e-3, "densenet40": 6e-2,
    "lenet5": 3e-4, "linear": 1e-5,
}  # fmt: skip
PER_BATCH = 6e-3


def plan(*, datasets, data_root, device, **given):
    """The calls of the study: for each data set its searches, then what they do to other nets.

    Parameters
    ----------
    datasets : list of str
    data_root, device : str
        Where it runs.
    **given
        The other parameters of the notebook, by name.

    Returns
    -------
    dict of str to (kit.data.Dataset, list of kit.steps.Call)

    Raises
    ------
    ValueError, FileNotFoundError
        A data set is not there, or something does not fit its images.
    """
    where = {"data_root": data_root, "device": device}
    plans = {}
    for name in datasets:
        own = settings.parameters_of(name, given)
        dataset = common.load(name, data_root, own["train"], own["test"], own["size"], own["seed"])
        for pixels in own["pixels"]:
            perturbations.start(len(dataset.classes), pixels, dataset.shape)
        evolution.check_options(own["cma_options"])
        chains = _searches(dataset, own, where)
        # Generation by generation, so that all searches advance side by side.
        searching = [
            call for side_by_side in zip(*chains.values(), strict=True) for call in side_by_side
        ]
        made = _Plan(dataset, own, where, chains)
        made.trainings()
        made.pictures()
        if name in given["table_datasets"]:
            made.table()
        plans[name] = dataset, searching + made.calls
    return plans


def _searches(dataset, own, where):
    """The generations of every search, by its pixels and optimizer."""
    train = own["search_train"] or own["train"]
    searched = common.load(dataset.name, where["data_root"], train, 0, own["size"], own["seed"])
    net = evolution.search_net(dataset.shape)
    chains = {}
    for pixels, optimizer in settings.aims(own):
        search = settings.search_options(own, net, pixels, optimizer)
        given = {
            "dataset": dataset.name, "train": train, "size": own["size"],
            "fingerprint": searched.fingerprint, "search": search, "seed": own["seed"], **where,
        }  # fmt: skip
        cost, chain = _generation_cost(searched, search), ()
        for number in range(1, own["generations"] + 1):
            label = f"{dataset.name}, {pixels} px against {optimizer}, generation {number}"
            parameters = {**given, "number": number}
            chain += (Call(steps.generation, parameters, label, after=chain[-1:], **cost),)
        chains[pixels, optimizer] = chain
    return chains


class _Plan:
    """The calls of one data set after its searches."""

    def __init__(self, dataset, own, where, chains):
        self.dataset, self.own, self.where, self.calls = dataset, own, where, []
        self.evolved = {aim: noises.evolved(chain) for aim, chain in chains.items()}
        self.last = {aim: chain[-1:] for aim, chain in chains.items()}
        self.net = evolution.search_net(dataset.shape)
        self.common = {
            "dataset": dataset.name, "train": own["train"], "test": own["test"],
            "size": own["size"], "fingerprint": dataset.fingerprint,
            "batch_size": own["batch_size"], "seed": own["seed"], **where,
        }  # fmt: skip

    def add(self, made, what, noise, passes, **parameters):
        """One more call; `passes` over the training images tell its cost."""
        after = next((self.last[aim] for aim, n in self.evolved.items() if n is noise), ())
        given = {**parameters, "noise": noise, **self.where}
        label = f"{self.dataset.name}, {noises.title(noise, draws=True)}, {what}"
        net = parameters.get("net", self.net)
        cost = _training_cost(self.dataset, net, passes, self.own["batch_size"])
        self.calls.append(Call(made, given, label, after=after, **cost))

    def effect(self, net, noise, optimizer, epochs, repeat, crop=0, flip=False):
        """One training on corrupted images."""
        self.add(
            steps.effect, f"{net} by {optimizer}, repeat {repeat}", noise, epochs, **self.common,
            net=net, optimizer=optimizer, lr=float(self.own["optimizers"][optimizer]),
            epochs=epochs, crop=crop, flip=flip, repeat=repeat,
        )  # fmt: skip

    def trainings(self):
        """1.F3, 1.F5 and the comparisons with the baselines."""
        own, first, rival = self.own, self.own["search_optimizer"], self.own["rival"]
        wanted = [
            (self.evolved[pixels, first], optimizer, range(1, own["repeats"] + 1))
            for pixels in own["pixels"]
            for optimizer in own["optimizers"]
        ]
        for optimizer in (first, rival):
            for noise in (
                noises.CLEAN,
                noises.LEFT,
                noises.SHORTCUT,
                self.evolved[own["pixels"][0], rival],
            ):
                wanted.append((noise, optimizer, range(1, own["repeats"] + 1)))
            # Every draw is a repeat of its own: the weights it starts from differ too.
            for draw in range(1, own["uniforms"] + 1):
                wanted.append((noises.uniform(own["pixels"][0], draw), optimizer, [draw]))
        for noise, optimizer, repeats in wanted:
            for repeat in repeats:
                self.effect(self.net, noise, optimizer, own["epochs"], repeat)

    def pictures(self):
        """1.F2b, 1.F2c and d, 1.F4."""
        own, first = self.own, self.own["search_optimizer"]
        noise = self.evolved[own["pixels"][0], first]
        rates = {f"lr_{name}": float(own["optimizers"][name]) for name in ("adam", "sgd")}
        given = {**self.common, "net": self.net, "epochs": own["epochs"]}
        for repeat in range(1, own["repeats"] + 1):
            self.add(
                steps.line, f"from SGD to Adam, repeat {repeat}", noise, 2 * own["epochs"] + 5,
                **given, **rates, alphas=own["alphas"], repeat=repeat,
            )  # fmt: skip
            self.add(
                steps.cams, f"Grad-CAM, repeat {repeat}", noise, 2 * own["epochs"], **given,
                lr=rates["lr_adam"], images=own["cam_images"], repeat=repeat,
            )  # fmt: skip
        for pixels in own["pixels"]:
            passes = own["generations"] * own["repeats"] * own["search_epochs"] / 3
            self.add(
                steps.learning_curve, "errors over generations", self.evolved[pixels, first],
                passes, test=own["test"], repeats=own["repeats"],
            )  # fmt: skip

    def table(self):
        """1.T1: other nets, with augmentation.

        Flips for CIFAR-10 alone: a mirrored digit is no digit.
        """
        own = self.own
        if own["crop"] > min(self.dataset.shape[1:]) // 2:
            raise ValueError(
                f"crop is {own['crop']}: use at most half of the image's side, "
                f"{min(self.dataset.shape[1:]) // 2}."
            )
        flip = self.dataset.name == "cifar10"
        for net in own["table_nets"]:
            for repeat in range(1, own["table_repeats"] + 1):
                ours = [self.evolved[p, own["search_optimizer"]] for p in own["pixels"]]
                fixed = [noises.CLEAN, noises.LEFT, noises.SHORTCUT]
                for noise in [*fixed, noises.uniform(own["pixels"][0], repeat), *ours]:
                    self.effect(net, noise, "adam", own["table_epochs"], repeat, own["crop"], flip)


def _per_image(net, shape):
    usual = 28 * 28 if net in ("graynet", "lenet5") else 32 * 32
    return SECONDS[net] * shape[1] * shape[2] / usual


def _memory(dataset, net):
    values = dataset.x_train.numel() + dataset.x_test.numel()
    return 7e8 + 8 * values + (2e9 if net == "densenet40" else 3e8)


def _generation_cost(dataset, search):
    length = perturbations.genome_length(len(dataset.classes), search["pixels"], dataset.shape[0])
    popsize = search["popsize"] or 4 + int(3 * math.log(length))
    per_image = (search["epochs"] + 2 / 3) * _per_image(search["net"], dataset.shape)
    per_image += search["epochs"] * PER_BATCH / search["batch_size"]
    seconds = popsize * per_image * len(dataset.x_train)
    memory = _memory(dataset, search["net"])
    return {"seconds": seconds, "memory": memory, "disk": 10 * popsize * length}


def _training_cost(dataset, net, passes, batch_size):
    images = len(dataset.x_train) + (steps.WATCHED + len(dataset.x_test)) / 3
    seconds = passes * images * (_per_image(net, dataset.shape) + PER_BATCH / batch_size)
    return {"seconds": seconds, "memory": _memory(dataset, net), "disk": 4e3}
