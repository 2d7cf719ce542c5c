"""Golden numbers: what every step computed of a tiny task when its version was recorded.

No training here takes more than five steps of its optimizer, so that rounding, which differs
between processors, has no time to grow. Record the steps whose names contain PART anew by
``python golden.py PART`` in this folder.
"""

import functools
import math
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

import kit
from kit.experiments.evolved_perturbations import noises, search_steps
from kit.experiments.evolved_perturbations import steps as evolved
from kit.experiments.images import split
from kit.experiments.knn_tradeoff import steps as knn
from kit.experiments.neuroevolution_gm import search_steps as gm_search
from kit.experiments.neuroevolution_gm import steps as gm
from kit.experiments.overfitting_vs_robustness import steps as regimes
from kit.harness import steps

FOLDER = Path(__file__).with_name("golden")
_DATA = tempfile.TemporaryDirectory(prefix="kit-golden-")
KEPT = 400  # numbers of a larger array, about
# Of an array's largest number. Other processors were emulated, on an AMD EPYC with AVX2, by
# ATEN_CPU_CAPABILITY=default and =avx2, ONEDNN_MAX_CPU_ISA=SSE41 and =AVX2, MKL_CBWR=COMPATIBLE and
# =SSE4_2, their combinations, two threads, and without oneDNN. The largest deviations were 1.1e-5
# (CLEVER's scores, by the fit), 5.6e-6 (Grad-CAM's maps, each scaled to sum 1), 4.4e-6 (weights
# that Adam moves along gradients of almost zero), 1.8e-6 (CW's norms), 1.4e-6 (F_m, a difference
# of two losses), and 1.3e-6 elsewhere. No whole number and no byte of an image changed.
# On an Intel Xeon with AVX-512 and AMX the same held, but for what is rounded to half precision,
# and for L0: CW leaves a few pixels by 1e-9 or not at all, as rounding has it.
TOLERANCE = 1e-4
OF_COUNTS = 0.02  # of L0, the mean over the images


# --- a tiny task of every step -----------------------------------------------------------------


@functools.cache
def _images(name="grey", **options):
    """Some of scikit-learn's digits, with a little noise; ``"colour"``: three channels of them.

    Without it equal pixels would tie in max-pooling and among neighbours, and rounding would break
    the ties this way on one processor and that way on another.
    """
    path = Path(_DATA.name) / f"{name}.npz"
    if not path.is_file():
        digits, random = kit.data.load("digits"), np.random.default_rng(0)
        arrays = {"y_train": digits.y_train, "y_test": digits.y_test}
        for part in ("x_train", "x_test"):
            x = getattr(digits, part).numpy()[:, 0]
            if name == "colour":
                x = x[..., None] * np.array([1, 0.8, 0.6], "f4")
            arrays[part] = np.clip(0.9 * x + 0.1 * random.random(x.shape, "f4") - 0.03, 0, 1)
        np.savez(path, **arrays)
    return split(name, _DATA.name, **options)


@steps.step(version=1)
def fitted(*, split, counts):
    """Nets to attack and to measure: random features, the last layer by least squares.

    They classify, as five steps of an optimizer would not make them, and depend on no other step.
    One for each number of training images in `counts`, stacked as the snapshots of a training are.
    """
    data, kept = split.load(), []
    for count in counts:
        net = kit.nets.build("lenet5", data.shape, data.classes, seed=1)
        last = net.classifier[-1]
        with torch.no_grad():
            features = net.classifier[:-1](net.features(data.x_train[:count])).double()
            features = torch.cat([features, torch.ones(count, 1)], 1)
            targets = 8 * torch.nn.functional.one_hot(data.y_train[:count], 10).double()
            gram = features.T @ features
            ridge = 1e-5 * gram.trace() * torch.eye(len(gram))
            solution = torch.linalg.solve(gram + ridge, features.T @ targets).T
            last.weight.copy_(solution[:, :-1])
            last.bias.copy_(solution[:, -1])
        kept.append(kit.nets.weights(net))
    return {"snapshots": {name: np.stack([w[name] for w in kept]) for name in kept[0]}} | {
        "weights": kept[-1]
    }


def _knn_tradeoff():
    images = _images(train=60, test=240, seed=6).at(1)
    # So small that DeepFool meets the bound.
    options = {"largest_k": 5, "eps": 0.09, "control_draws": 2}
    net = fitted.task(split=images, counts=[60])["weights"]
    return [
        knn.lenet.task(split=_images(train=150, test=60).at(1), epochs=2),
        knn.study.task(split=images, weights=net, **options),
    ]


def _overfitting_vs_robustness():
    images = _images(train=60, test=60)
    snapshots = fitted.task(split=images, counts=[10, 20, 30, 60])["snapshots"]
    common = {"split": images, "snapshots": snapshots}
    colour = _images("colour", train=60, test=60)
    crafted = fitted.task(split=colour, counts=[10, 20, 30, 60])["snapshots"]
    return [
        regimes.train_folds.task(
            split=_images(train=60, test=60, seed=5), folds=2, epochs=2, batch_size=15, lr=1e-2,
        ),
        regimes.attack.task(
            split=colour, snapshots=crafted, epoch=3, fold=2, eps=0.29, norm="linf", pgd_steps=3,
            images=12, attacks=["cw", "fgsm", "pgd", "noise"],
        ),
        regimes.textbook.task(
            split=colour, snapshots=crafted, epoch=3, images=12,
            steps=10, search_steps=3, lr=0.05, initial_const=1.0,
        ),
        regimes.gradient_metrics.task(**common, images=20, eps_step=0.1),
        regimes.smallest_steps.task(**common, images=20, eps_step=0.1, eps_max=0.3),
        regimes.clever.task(**common, epoch=2, images=6, batches=8, batch_size=10, radius=0.1),
    ]  # fmt: skip


def _evolved_perturbations():
    images = searched = _images(train=80, test=200)
    search = {
        "pixels": 1, "popsize": 4, "strategy": "cma-es", "start": "uniform", "saturation": 3.0,
        "sigma": 0.3, "place": 0.5, "value": 0.75, "options": {}, "net": "linear",
        "epochs": 1, "batch_size": 20, "optimizer": "adam", "lr": 0.05,
        "discriminator": "linear", "discriminator_epochs": 2,
    }  # fmt: skip
    about = {"split": searched, "method": "MDD-ES", "search": search, "start": 2}
    chain = [search_steps.generation.task(**about, number=1, previous=None)]
    previous = chain[0]["state"]
    chain += [search_steps.generation.task(**about, number=2, previous=previous)]
    # A white pixel for every class, then a half bright one elsewhere.
    white = [gene for k in range(10) for gene in (k / 10, 3 * k % 10 / 10, 1.0)]
    pale = [gene for k in range(10) for gene in (1 - k / 10, k / 10, 0.75)]
    common = {
        "split": images, "net": "linear", "noise": noises.evolved(1, "adam", white),
        "epochs": 2, "batch_size": 40, "repeat": 1,
    }  # fmt: skip
    return [
        chain[-1],
        evolved.train_perturbed.task(**common, optimizer="adabound", lr=0.05, crop=1, flip=True),
        evolved.course.task(**common, optimizer="sgd", lr=0.5, readings=2),
        evolved.interpolate.task(**common, lr_adam=0.05, lr_sgd=1.0, alphas=4),
        evolved.background.task(**{**common, "net": "graynet"}, lr=1e-2, images=3),
        evolved.grad_cam.task(**{**common, "net": "graynet"}, lr=1e-2, images=3),
        evolved.candidate_errors.task(**about, genomes=[pale, white, pale]),
        search_steps.choose.task(**about, genomes=[white, pale], count=2, repeats=2),
        search_steps.blind.task(split=searched, search=search, generations=2, count=2),
        search_steps.baseline_fitness.task(
            split=searched, search=search,
            baselines=[noises.LEFT, noises.SHORTCUT, noises.uniform(1, 2)],
        ),
        evolved.examples.task(split=images, noise=noises.evolved(1, "adam", pale, saturation=1.5)),
    ]  # fmt: skip


def _neuroevolution_gm():
    images = _images("colour", train=60, test=40, seed=3)
    net = {"net": "lenet5", "weights": fitted.task(split=images, counts=[60])["weights"]}
    common = {"split": images, "name": "Ref", **net, "run": 1}
    grads = gm.gradients.task(split=images, net="lenet5", weights=net["weights"], hold_out=10)
    attack = gm.attack.task(**common, method="L2-PGD", eps=0.5, steps=3, step_size=0.5, hold_out=10)
    others = gm.attack.task(**common, method="L∞-PGD", eps=0.1, steps=2, step_size=0.7)
    loss = {"gradients": grads["train"], "strength": 0.7, "variant": "cosine"}
    training = {"batch_size": 20, "optimizer": "adam", "lr": 1e-3, "hold_out": 10, "gm": loss}
    block = {"kind": "conv", "inputs": [0], "channels": 3, "kernel": 3}
    genome = [
        block,
        {"kind": "pool", "inputs": [1], "pool": "max"},
        {"kind": "concat", "inputs": [1, 2]},
    ]
    space = {"widths": [2, 4], "kernels": [3], "side": 8, "blocks": 6}
    random = gm_search.random_genomes.task(seed=1, run=1, count=3, distance=1.0, space=space)
    born = [
        {"genome": random["genomes"][k], "fitness": fitness, "generation": k}
        for k, fitness in enumerate((0.3, 0.5, 0.4))
    ]
    weights = [{"bias": [k / 2]} for k in range(3)]
    return [
        grads,
        attack,
        random,
        gm.train.task(split=images, name="NE+GM 1", net=genome, run=1, start=2, epochs=1,
                      **training),
        gm_search.child.task(
            split=images, name="child 1", genome=genome, generation=1, run=1, epochs=1,
            count=40, adversarial=attack["images"], on_test=others["images"], **training,
        ),
        gm_search.judge.task(
            split=images, name="finalist 1", genome="lenet5", weights=net["weights"], run=1,
            hold_out=10, adversarial=attack["images"],
        ),
        gm_search.finalist.task(
            run=1, rank=1, fitness=[0.3, 0.5, 0.4],
            genomes=[random["genomes"][k] for k in range(3)],
            weights=weights,
        ),
        gm_search.fittest.task(
            run=1, count=2, previous={"population": born[:2], "weights": weights[:2]},
            born=[born[2] | {"weights": weights[2]}],
        ),
        gm.examine.task(
            **common, images={"shifted": others["images"]},
            reference=grads["test"], image_filter={"kind": "bilateral"},
        ),
        gm.accuracy_by_eps.task(**common, eps=[0.02, 0.1], steps=3, step_size=0.4),
        gm.integrated_gradients.task(**common, count=4),
        gm_search.selection.task(
            seed=1, run=1, number=1, previous={"population": born[:2], "weights": weights[:2]},
            born=[born[2] | {"weights": weights[2]}], children=2, mutations=[4, 5], space=space,
        ),
    ]  # fmt: skip


def tasks():
    """A tiny task of every step, by the step's name."""
    papers = (
        _knn_tradeoff, _overfitting_vs_robustness, _evolved_perturbations, _neuroevolution_gm,
    )  # fmt: skip
    return {task.step.name: task for paper in papers for task in paper()}


def names(paper):
    """Names of a paper's steps."""
    return sorted(name for name in steps.REGISTRY if name.startswith(f"{paper}."))


# --- results as arrays -------------------------------------------------------------------------


def arrays(result, path=""):
    """All values of a result as arrays, by the names and positions that lead to them."""
    if path.endswith("_norms"):  # L0, L2 and L∞: each has a size of its own
        result = dict(zip(("L0", "L2", "Linf"), np.moveaxis(result, 1, 0), strict=True))
        result["L0"] = result["L0"].mean(-1)
    if isinstance(result, dict):
        parts = result.items()
    elif isinstance(result, (list, tuple)):
        parts = enumerate(result)
    else:
        return _thinned(path, np.asarray("None" if result is None else result))
    return {k: v for name, part in parts for k, v in arrays(part, f"{path}/{name}").items()}


def _thinned(path, array):
    """A large array as every k-th of its numbers, its length or sum of squares, and its shape."""
    if array.size <= KEPT:
        return {path: array}
    k = math.ceil(array.size / KEPT)
    while math.gcd(k, array.size) > 1:  # else it would always be the same columns
        k += 1
    if array.dtype.kind in "fu":
        whole = {f"{path} L2": np.array(np.linalg.norm(array.astype(float)))}
    else:
        whole = {f"{path} squares": np.array((array.astype(np.int64) ** 2).sum())}
    return {f"{path} [::{k}]": array.ravel()[::k], f"{path} shape": np.array(array.shape)} | whole


def compute(task):
    """The arrays of a task's result."""
    return arrays(steps.compute(task, jobs=1, device="cpu", data_root=_DATA.name).field())


# --- comparing and recording -------------------------------------------------------------------


def deviation(new, old):
    """How far an array is from the recorded one, relative to its largest number.

    It is infinite where they must not differ: in shape, in missing values, in whole numbers and
    text, and in bytes of images by more than one, which the least rounding may turn.
    """
    if new.shape != old.shape or new.dtype != old.dtype:
        return math.inf
    if old.dtype.kind != "f":
        image = old.dtype == np.uint8 and np.abs(new.astype(int) - old).max(initial=0) <= 1
        return 0.0 if image or np.array_equal(new, old) else math.inf
    finite = np.isfinite(old)
    if not np.array_equal(new[~finite], old[~finite], equal_nan=True):
        return math.inf
    if not np.isfinite(new[finite]).all():
        return math.inf
    apart = np.abs(new[finite].astype(float) - old[finite]).max(initial=0)
    largest = np.abs(old[finite].astype(float)).max(initial=0)
    return 0.0 if apart == 0 else float(apart / largest) if largest else math.inf


def read(name):
    """Recorded version and arrays of a step."""
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as archive:
        recorded = dict(archive)
    return int(recorded.pop("version")), recorded


def recorded(paper):
    """Names of a paper's steps that have recorded numbers."""
    return sorted(path.stem for path in FOLDER.glob(f"{paper}.*.npz"))


def changes(new, old):
    """What differs between a step's arrays and the recorded ones, in words."""
    found = [
        f"{name} is {'new' if name in new else 'gone'}" for name in sorted(set(new) ^ set(old))
    ]
    for name in sorted(set(new) & set(old)):
        apart = deviation(new[name], old[name])
        if apart > _tolerance(name, old[name].dtype):
            found.append(f"{name} by {apart:.1e} of its largest number")
    return found


def _tolerance(name, dtype):
    if name.endswith("/L0"):
        return OF_COUNTS
    return max(TOLERANCE, float(np.finfo(dtype).eps)) if dtype.kind == "f" else TOLERANCE


def check(name):
    """Compare a step's numbers with the recorded ones."""
    record_them = f"record its numbers: cd tests && python golden.py {name}"
    assert name in tasks(), f"Step {name} is new: give it a tiny task in tests/golden.py."
    task = tasks()[name]
    assert (FOLDER / f"{name}.npz").is_file(), f"Step {name} is new: {record_them}"
    version, old = read(name)
    assert version == task.step.version, (
        f"Step {name} is of version {task.step.version}, its numbers of version {version}: "
        f"{record_them}"
    )
    changed = changes(compute(task), old)
    assert not changed, (
        f"The numbers of step {name} have changed: raise the version of step {name} and "
        f"{record_them}\n" + "\n".join(changed)
    )


def record(part):
    """Write down what the steps compute whose names contain `part`."""
    FOLDER.mkdir(exist_ok=True)
    for name, task in tasks().items():
        if part in name:
            path = FOLDER / f"{name}.npz"
            before = read(name) if path.is_file() else (None, {})
            new = compute(task)
            np.savez_compressed(path, version=task.step.version, **new)
            print(f"{name}, version {task.step.version}: recorded")
            if before[0] == task.step.version and changes(new, before[1]):
                print("   Its numbers have changed, and its version has not. Was that meant?")


if __name__ == "__main__":
    import conftest  # noqa: F401  a step store of its own

    record(sys.argv[1])
