"""The K-NN study of Deniz, Vallez & Bueno (IWANN 2019), run by run.

Z-NN classifies the test images. Those it gets right are attacked on a LeNet-5; attacked images
that Z-NN then gets wrong are the adversarial set. How do smaller K fare on it?
"""

import numpy as np
import torch

from kit import attacks, data, neighbors, nets, runtime, training
from kit.experiments import common
from kit.steps import Call, step


def check(
    *, datasets, runs, max_runs, train, test, z, epsilon, epochs, control_draws, flat, seed, **_
):  # fmt: skip
    """Refuse parameters that make no sense, in one sentence each.

    Raises
    ------
    ValueError
    """
    common.check_datasets(datasets)
    unknown = [name for name in max_runs if name not in datasets]
    if unknown:
        raise ValueError(f"max_runs names {unknown[0]!r}, which is not among datasets, {datasets}.")
    counts = {"runs": runs, "epochs": epochs, "control_draws": control_draws, "z": z}
    common.check_counts(counts | {f"max_runs of {name}": count for name, count in max_runs.items()})
    if {type(train), type(test), type(seed)} != {int} or min(train, test) < 0:
        raise ValueError(
            f"train is {train!r}, test {test!r} and seed {seed!r}: use whole numbers, "
            "for train and test 0 to keep all images."
        )
    if z < 3 or z % 2 == 0:
        raise ValueError(f"z is {z}: use an odd number from 3 on, so that smaller odd K are left.")
    attacks.check_epsilon(epsilon)
    if not 0 < flat <= 100:
        raise ValueError(f"flat is {flat}: it must be a number of percentage points, up to 100.")


def plan(
    *, datasets, runs, max_runs, train, test, z, epsilon, epochs, control_draws, seed, data_root,
    device, **_,
):  # fmt: skip
    """The calls of the study, first the nets, then the runs, and the data sets they are about.

    Parameters
    ----------
    datasets : list of str
    runs : int
        Repeats; run r re-splits each data set with its own seed.
    max_runs : dict of str to int
        Fewer runs for some data sets.
    train, test : int
        Images to keep in all; 0 keeps all of them.
    z : int
        The K that defines the adversarial and the misclassified set.
    epsilon : float
        Largest change of a pixel, in (0, 1].
    epochs : int
        Training of LeNet-5.
    control_draws : int
        Noisy copies of each image in the control.
    seed : int
    data_root, device : str
        Where it runs.

    Returns
    -------
    dict of str to (kit.data.Dataset, list of kit.steps.Call)

    Raises
    ------
    ValueError, FileNotFoundError
        A data set is not there, or too small for `z`.
    """
    plans = {}
    for name in datasets:
        dataset = data.load(name, data_root, train=train or None, test=test or None, seed=seed)
        neighbors.check_ks([z], len(dataset.x_train))
        given = {
            "dataset": name, "train": train, "test": test, "fingerprint": dataset.fingerprint,
            "z": z, "epsilon": float(epsilon), "epochs": epochs, "control_draws": control_draws,
            "seed": seed, "data_root": data_root, "device": device,
        }  # fmt: skip
        shorter = {k: given[k] for k in given if k not in ("z", "epsilon", "control_draws")}
        count = min(runs, max_runs.get(name, runs))
        cost = _costs(dataset, epochs, control_draws)
        repeats = range(1, count + 1)
        trained = [
            Call(lenet, {**shorter, "run": r}, f"{name} LeNet-5 {r} of {count}", **cost["LeNet-5"])
            for r in repeats
        ]
        studied = [
            Call(
                study,
                {**given, "run": r},
                f"{name} run {r} of {count}",
                after=(net,),
                **cost["run"],
            )
            for r, net in zip(repeats, trained, strict=True)
        ]
        plans[name] = dataset, trained + studied
    return plans


def _costs(dataset, epochs, draws):
    """What a training and a run take on one CPU core, roughly, from some timed on a 2023 Xeon."""
    m, n = len(dataset.x_train), len(dataset.x_test)
    values = int(np.prod(dataset.shape))
    queries = n * (len(dataset.classes) + 1 + draws)
    memory = 6e8 + 4 * 4 * (m + n) * values
    searching = 2e-11 * queries * m * values + 0.006 * n
    return {
        "LeNet-5": {"seconds": 1.2e-4 * epochs * m, "memory": memory, "disk": 3e5},
        "run": {"seconds": searching, "memory": memory, "disk": 4 * queries},
    }


@step(version=1)
def lenet(*, dataset, train, test, fingerprint, epochs, seed, run, data_root, device):
    """Train LeNet-5 on one run's training split.

    Returns
    -------
    dict
        The weights by name, ``accuracy`` on the run's test split, and the ``loss`` per epoch.
    """
    split = _split(dataset, train, test, fingerprint, seed, run, data_root, device)
    initial = runtime.derive_seed(seed, "net", run)
    net = nets.build("lenet5", split.shape, split.classes, seed=initial)
    net.to(split.x_train.device)
    order = runtime.derive_seed(seed, "order", run)
    history = training.fit(net, split.x_train, split.y_train, epochs=epochs, seed=order)
    weights = {name: value.cpu().numpy() for name, value in net.state_dict().items()}
    accuracy = training.accuracy(net, split.x_test, split.y_test)
    return {**weights, "accuracy": accuracy, "loss": np.array(history["loss"])}


@step(version=1)
def study(
    *, dataset, train, test, fingerprint, z, epsilon, epochs, control_draws, seed, run, data_root,
    device,
):  # fmt: skip
    """One run: K-NN labels of the test images and of their attacked versions.

    Returns
    -------
    dict
        ``labels`` and ``test_votes`` of the test images, LeNet-5's ``net_accuracy`` on them, and
        for each attack NAME (``fgsm``, ``deepfool``, ``control``)

        - ``NAME_image``: which test image was attacked,
        - ``NAME_votes``: its labels by K-NN, one column for each odd K up to `z`,
        - ``NAME_fools_net``: the share that LeNet-5 gets wrong,
        - ``NAME_examples``: up to ten rows of the adversarial set, each of another image,
          ``NAME_pixels`` their images and ``NAME_originals`` what they were made from.
    """
    which = {
        "dataset": dataset, "train": train, "test": test, "fingerprint": fingerprint,
        "seed": seed, "run": run, "data_root": data_root, "device": device,
    }  # fmt: skip
    split, trained = _split(**which), lenet(**which, epochs=epochs)
    net = nets.build("lenet5", split.shape, split.classes).to(split.x_train.device)
    net.load_state_dict({name: torch.from_numpy(trained[name]) for name in net.state_dict()})

    def votes(x):
        found = neighbors.predict(split.x_train, split.y_train, x, range(1, z + 1, 2))
        return torch.stack(list(found.values()), 1).cpu().numpy().astype(np.int16)

    labels, test_votes = split.y_test.cpu().numpy().astype(np.int16), votes(split.x_test)
    right = torch.from_numpy(np.flatnonzero(test_votes[:, -1] == labels))
    generator = torch.Generator().manual_seed(runtime.derive_seed(seed, "control", run))
    versions = {
        "fgsm": lambda x, y: attacks.fgsm_all_targets(
            net, x, y, eps=epsilon, classes=len(split.classes)
        )[0],
        "deepfool": lambda x, y: attacks.deepfool(net, x, y, max_eps=epsilon)[:, None],
        "control": lambda x, y: _noisy(x, epsilon, control_draws, generator),
    }
    out = {"labels": labels, "test_votes": test_votes, "net_accuracy": trained["accuracy"]}
    for attack, make in versions.items():
        found = _attacked(make, net, split, right, votes)
        out |= {f"{attack}_{name}": value for name, value in found.items()}
    return out


def _split(dataset, train, test, fingerprint, seed, run, data_root, device):
    whole = data.load(dataset, data_root, train=train or None, test=test or None, seed=seed)
    common.check_unchanged(whole, fingerprint)
    return common.on_device(whole.resplit(runtime.derive_seed(seed, "split", run)), device)


def _noisy(x, epsilon, draws, generator):
    """Copies of each image with random-sign noise, shape (N, draws, C, H, W)."""
    signs = torch.randint(2, (len(x), draws, *x.shape[1:]), generator=generator) * 2 - 1
    return (x[:, None] + epsilon * signs.to(x.device)).clamp(0, 1)


def _attacked(make, net, split, right, votes):
    """The results of one attack on the test images at the positions `right`."""
    empty = votes(split.x_test[:0]), np.empty((0, *split.shape), np.uint8)
    image, found, pixels = [np.empty(0, np.int32)], [empty[0]], [empty[1]]
    examples, fooled, count = [], 0, 0
    for part in right.split(attacks.BATCH) if len(right) else ():
        x_adv = make(split.x_test[part], split.y_test[part])
        part = part.repeat_interleave(x_adv.shape[1])
        x_adv, truth = x_adv.flatten(0, 1), split.y_test[part]
        fooled += int((training.predict(net, x_adv) != truth).sum())
        image.append(part.numpy().astype(np.int32))
        found.append(votes(x_adv))
        kept = np.flatnonzero(found[-1][:, -1] != truth.cpu().numpy())
        # One version of an image is enough to look at.
        kept = kept[np.unique(part[kept], return_index=True)[1]][: 10 - len(examples)]
        examples += (count + kept).tolist()
        pixels.append(data.as_bytes(x_adv[kept]))
        count += len(x_adv)
    image, examples = np.concatenate(image), np.array(examples, dtype=np.int64)
    return {
        "image": image,
        "votes": np.concatenate(found),
        "fools_net": fooled / count if count else None,
        "examples": examples,
        "pixels": np.concatenate(pixels),
        "originals": data.as_bytes(split.x_test[image[examples]]),
    }
