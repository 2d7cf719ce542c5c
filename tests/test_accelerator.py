"""On an accelerator: everything runs there, gives what a CPU gives, and seldom makes it wait.

The accelerator is emulated (accelerator.py). With the environment variable ``KIT_TEST_DEVICE=cuda``
it is a real one; what is counted is then left out.
"""

import contextlib
import os
import types

import notebook
import numpy as np
import pytest
import torch
from calls import CALLS, World, public
from matplotlib.figure import Figure
from test_notebooks import PAPERS, TINY

import kit
import run_all
from kit import runtime
from kit.data import splits
from kit.harness import runner, steps

REAL = os.environ.get("KIT_TEST_DEVICE", "")
if REAL:
    DEVICE = torch.device(REAL)
else:
    accelerator = pytest.importorskip(
        "accelerator", exc_type=ImportError, reason="PyTorch's private-use interface has changed"
    )
    DEVICE = accelerator.DEVICE
emulated = pytest.mark.skipif(bool(REAL), reason="only the emulated accelerator counts")

# Still smaller than where the notebooks themselves are tested.
SMALLER = {
    "01_evolved_perturbations": {
        "train": 60, "test": 30, "search_train": 30, "epochs": 1, "search_seeds": 1, "pixels": [1],
        "rescored": 1, "uniforms": 1, "alphas": 3, "cam_images": 1, "batch_size": 50,
        "optimizers": {"adam": 1e-3, "sgd": 0.1}, "table_repeats": 1, "popsize": 2,
        "generations": 1, "curve_epochs": 1,
    },
    "02_overfitting_vs_robustness": {
        "train": 60, "test": 20, "metric_images": 3, "attack_images": 2, "eps_step": 0.5,
        "clever_images": 1,
    },
    "04_neuroevolution_gm": {"train": 60, "test": 20, "search_train": 30},
}  # fmt: skip
# Between a stacked population and nets trained one after another lies rounding alone, which grows
# as training goes on: by a few steps of it here. A GPU rounds otherwise in every operation.
TOLERANCE = 0.05 if REAL else 2e-3  # of an array's largest number
FLIPPED = 0.05 if REAL else 0.01  # share of labels and counts


@pytest.fixture
def device(monkeypatch, tmp_path):
    """The accelerator, on which everything runs that asks the kit where to run."""
    monkeypatch.setattr(runtime, "device", lambda name=None: DEVICE)
    monkeypatch.setenv("KIT_STEPS", str(tmp_path / "steps"))
    monkeypatch.setenv("KIT_FIGURES", str(tmp_path / "figures"))
    monkeypatch.setenv("KIT_IGNORE_COMMITTED", "1")
    splits._load.cache_clear()
    yield DEVICE
    splits._load.cache_clear()


# --- every step of every paper, every cell of every notebook --------------------------------------


def shown(*arguments, **options):
    return types.SimpleNamespace(display_id=0, update=shown)


def as_laid(model):
    """On a CPU kernels are laid otherwise, which rounds otherwise: not here."""
    return contextlib.nullcontext()


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.stem)
def test_every_step_and_every_cell(path, device, monkeypatch, tmp_path):
    """The numbers of all tasks are those of a CPU, populations stacked or not."""
    monkeypatch.setattr(Figure, "savefig", lambda figure, *a, **k: None)  # drawn, but not rendered
    monkeypatch.setattr("kit.harness.results.Report.finish", lambda report: None)
    parameters = {**TINY[path.stem], **SMALLER.get(path.stem, {}), "device": "cuda", "jobs": 1}
    names = notebook.run(path.stem, shown, out=str(tmp_path / "out"), **parameters)
    config, study = (
        names.get("c") or names["config"],
        runner.Notebook(path, run_all.EXPERIMENTS).experiment,
    )
    tasks = [leaf for leaf in steps.leaves(study.plan(config)) if isinstance(leaf, steps.Task)]
    there = steps.compute(tasks, jobs=1)
    assert {result.record["hardware"]["device"] for result in there} == {device.type}
    monkeypatch.undo()
    monkeypatch.setattr("kit.nets.channels_last", as_laid)
    monkeypatch.setattr("kit.gradients.channels_last", as_laid)
    monkeypatch.setenv("KIT_STEPS", str(tmp_path / "cpu"))
    monkeypatch.setenv("KIT_IGNORE_COMMITTED", "1")
    splits._load.cache_clear()
    here = steps.compute(tasks, jobs=1, device="cpu")
    for task, on_device, on_cpu in zip(tasks, there, here, strict=True):
        compare(on_device.field(), on_cpu.field(), task.label)


# --- every public function -----------------------------------------------------------------------


def test_every_public_function_is_called():
    internal = {"training.captured"}  # has tests of its own below
    assert not public() - internal - set(CALLS), "say in calls.py how a caller calls it"


@pytest.fixture(scope="module")
def worlds():
    return World(DEVICE), World(torch.device("cpu"))


@pytest.mark.parametrize("name", CALLS)
def test_a_public_function_gives_there_what_it_gives_here(name, worlds):
    there, here = worlds
    compare(CALLS[name](there), CALLS[name](here), name)


@pytest.fixture(scope="module")
def world(worlds):
    return worlds[0]


# --- what an inner loop asks of it ----------------------------------------------------------------

BATCH = 20


def epoch(w, steps, net="lenet5", **options):
    """An epoch of so many steps."""
    count = steps * BATCH
    options = {"epochs": 1, "batch_size": BATCH} | options
    model = kit.nets.build(net, w.shape).to(w.where)
    return kit.training.fit(model, w.x[:count], w.y[:count], **options)


def gm(w, steps):
    epoch(w, steps, loss=kit.misalignment.misaligned(w.units))


def crops(w, steps):
    epoch(w, steps, augment=lambda x, random: kit.data.random_crops(x, random, flip=True))


def fast(w, steps):
    epoch(w, steps, **kit.defenses.adversarial_training("fast", eps=0.1, epochs=1))


def stacked(w, steps):
    count, nets = steps * BATCH, [kit.nets.build("lenet5", w.shape).to(w.where) for _ in range(3)]
    kit.training.fit_many(
        nets,
        w.x[:count],
        w.y[:count],
        epochs=1,
        batch_size=BATCH,
        member_args=torch.stack([w.noise] * 3),
        transform=lambda noise, x, y: (kit.perturbations.apply(noise, x, y), y),
    )


def pgd(w, steps, norm="linf"):
    kit.attacks.pgd(w.net, *w.few, eps=0.1, norm=norm, steps=steps)


def cw(w, steps, search_steps=1):
    kit.attacks.cw_l2(w.net, *w.few, steps=steps, search_steps=search_steps)


def nearest(w, steps):
    kit.attacks.nearest_l2(w.net, *w.few, steps=20 * steps)


def clever(w, images):
    kit.robustness.clever(w.net, w.x[:images], batches=3, batch_size=5)


# For each step of a loop: kernels at most, waits of the host, copies from it. DeepFool and the grid
# of empirical robustness go on with the images that are left, and so have to know how many; CLEVER
# does once for each image, when it leaves out classes. Random crops and starts are drawn on the
# host, so that they are the same on every device.
LOOPS = {
    "fit": (epoch, 46, 0, 0),
    "fit by SGD": (lambda w, n: epoch(w, n, optimizer="sgd"), 46, 0, 0),
    "fit ResNet-20": (lambda w, n: epoch(w, n, net="resnet20"), 200, 0, 0),
    "fit with the GM loss": (gm, 150, 0, 0),
    "fit with crops": (crops, 60, 0, 1),
    "fast adversarial training": (fast, 90, 0, 1),
    "fit_many, stacked": (stacked, 96, 0, 0),
    "PGD": (pgd, 42, 0, 0),
    "PGD in L2": (lambda w, n: pgd(w, n, "l2"), 54, 0, 0),
    "CW": (cw, 100, 0, 0),
    "CW's search": (lambda w, n: cw(w, 2, n), 220, 0, 0),
    "nearest L2": (nearest, 20 * 104, 0, 0),
    "DeepFool": (lambda w, n: kit.attacks.deepfool(w.net, *w.few, overshoot=0, steps=n), 360, 1, 0),
    "CLEVER": (clever, 460, 1, 0),
    "empirical robustness": (
        lambda w, n: kit.robustness.empirical_robustness(w.net, w.x[:9], eps_step=1 / n), 45, 1, 0
    ),
}  # fmt: skip


@emulated
@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_makes_the_host_wait_no_more_than_it_must(name, world):
    loop, kernels, waits, uploads = LOOPS[name]
    loop(world, 1)
    with accelerator.ledger() as few:
        loop(world, 1)
    with accelerator.ledger() as more:
        loop(world, 3)

    def each(name):
        return (getattr(more, name).total() - getattr(few, name).total()) / 2

    assert each("waits") <= waits, more.waits - few.waits
    assert each("uploads") <= uploads, more.uploads - few.uploads
    assert each("launches") <= kernels


@emulated
def test_an_epoch_waits_once(world):
    with accelerator.ledger() as ledger:
        epoch(world, 3, epochs=2)
    # Each epoch's history; before them the values of the data, the logits of one image, and
    # whether they stay the same.
    assert ledger.waits.total() == 2 + 3, ledger.waits
    assert ledger.uploads.total() == 2 + 10, ledger.uploads  # the order, and LeNet-5's parameters


# --- memory --------------------------------------------------------------------------------------

WORK = {
    "PGD": lambda w: kit.attacks.pgd(w.net, w.x, w.y, eps=0.1, steps=3),
    "CW": lambda w: kit.attacks.cw_l2(w.net, w.x, w.y, steps=5, search_steps=2),
    "nearest L2": lambda w: kit.attacks.nearest_l2(w.net, w.x, w.y, steps=20),
    "DeepFool": lambda w: kit.attacks.deepfool(w.net, w.x, w.y),
    "CLEVER": lambda w: kit.robustness.clever(w.net, w.x[:1], batches=2, batch_size=200),
    "accuracy": lambda w: kit.training.accuracy(w.net, w.x, w.y),
    "K-NN": lambda w: kit.neighbors.predict(w.x, w.y, w.x),
    "a population": lambda w: w.triplets(
        member_args=w.noise * torch.tensor([0.0, 0.5, 1.0]).to(w.where).view(3, 1, 1, 1, 1),
        transform=lambda noise, x, y: (kit.perturbations.apply(noise, x, y), y),
    ),
}


@emulated
@pytest.mark.parametrize("name", WORK)
def test_where_memory_is_short_fewer_are_worked_on_at_once(name, world):
    """Half of what it takes: a warning, once, and the same numbers."""
    with accelerator.ledger() as enough:
        expected = WORK[name](world)
    with (
        accelerator.ledger(limit=int(0.6 * enough.peak)),
        pytest.warns(RuntimeWarning, match="works on half as many at once") as said,
    ):
        found = WORK[name](world)
    assert len({str(warning.message) for warning in said}) == 1
    compare(found, on_host(expected), name)


@emulated
def test_memory_too_small_for_a_batch_of_training_is_said_as_it_is(world):
    with accelerator.ledger(limit=1000), pytest.raises(torch.OutOfMemoryError):
        epoch(world, 1)


def on_host(tree):
    if isinstance(tree, dict):
        return {key: on_host(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [on_host(value) for value in tree]
    return tree.detach().cpu() if isinstance(tree, torch.Tensor) else tree


# --- CUDA graphs ---------------------------------------------------------------------------------


@pytest.fixture
def graphs(monkeypatch):
    """CUDA's graphs, or what stands for them: those that were made."""
    return [] if REAL else accelerator.stand_for_cuda(monkeypatch)


def trained(w, captured, **options):
    """Seven steps an epoch, the last of them smaller."""
    model = kit.nets.build("resnet8", w.shape).to(w.where)
    options = {"epochs": 3, "batch_size": 18} | options
    history = kit.training.fit(model, w.x, w.y, captured=captured, **options)
    return history, kit.nets.weights(model)


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop", "adabound"])
def test_a_captured_step_trains_as_one_that_is_not(optimizer, world, graphs):
    lr = 0.1 if optimizer == "sgd" else 1e-3
    plain, captured = (trained(world, on, optimizer=optimizer, lr=lr) for on in (False, True))
    compare(captured, plain, optimizer)
    if not REAL:
        assert len(graphs) == (optimizer != "adabound")  # which counts its steps on the host


@emulated
def test_a_captured_step_launches_nothing_but_its_graph(world, graphs):
    with accelerator.ledger() as plain:
        trained(world, False, epochs=4)
    with accelerator.ledger() as captured:
        trained(world, True, epochs=4)
    assert captured.launches.total() < 0.5 * plain.launches.total()


def test_stacked_and_gm_steps_can_be_captured(world, graphs):
    plain, captured = (world.triplets(captured=on, epochs=3) for on in (False, True))
    compare(captured, plain, "stacked")
    loss = kit.misalignment.misaligned(world.units)
    plain, captured = (trained(world, on, loss=loss) for on in (False, True))
    compare(captured, plain, "GM")
    if not REAL:
        assert len(graphs) == 2


def test_what_draws_or_perturbs_is_not_captured(world, graphs):
    crops = {"augment": kit.data.random_crops}
    compare(trained(world, True, **crops), trained(world, False, **crops), "crops")
    assert not graphs


# --- what it refuses -----------------------------------------------------------------------------

REFUSED = {
    "two devices": lambda x: x + torch.ones(x.shape),
    "a CPU generator": lambda x: torch.randperm(5, generator=torch.Generator(), device=DEVICE),
    "NumPy": lambda x: np.asarray(x),
    "an index on the device into the CPU": lambda x: torch.ones(5)[x.argmax(1)],
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_accelerator_refuses(name, world):
    with pytest.raises((RuntimeError, TypeError)):
        REFUSED[name](world.x.flatten(1))


@emulated
def test_the_ledger_counts(world):
    x = torch.rand(8, 4)
    with accelerator.ledger() as ledger:
        there = x.to(DEVICE)
        product = there @ there.T
        product.T[:3]  # views launch nothing
        float(product[0, 0])
    assert ledger.launches == {"aten::copy_": 1, "aten::mm": 1}
    assert ledger.moved["aten::mm"] == 2 * x.nbytes + 8 * 8 * 4
    assert ledger.flops["aten::mm"] == 2 * 8 * 4 * 8
    assert ledger.uploads.total() == ledger.waits.total() == 1
    assert ledger.held == x.nbytes + 8 * 8 * 4
    del product, there
    assert ledger.held == 0


@emulated
def test_a_planted_fault_is_noticed(world, monkeypatch):
    """A copy to the host in an inner loop, as in any of them."""
    steepest = kit.attacks.projected_gradient.steepest
    monkeypatch.setattr(
        "kit.attacks.projected_gradient.steepest",
        lambda g, norm: steepest(g.cpu(), norm).to(DEVICE),
    )
    with pytest.raises(AssertionError):
        test_a_loop_makes_the_host_wait_no_more_than_it_must("PGD", world)


def compare(a, b, where):
    """Equal but for rounding, and for a few labels that rounding flips."""
    if isinstance(b, dict):
        assert a.keys() == b.keys(), where
        for key in b:
            compare(a[key], b[key], f"{where}: {key}")
    elif isinstance(b, (list, tuple)):
        assert len(a) == len(b), where
        for i, (one, other) in enumerate(zip(a, b, strict=True)):
            compare(one, other, f"{where}[{i}]")
    elif isinstance(b, torch.Tensor):
        assert a.device.type in (DEVICE.type, "cpu"), where
        compare(a.detach().cpu().numpy(), b.detach().numpy(), where)
    elif isinstance(b, (np.ndarray, float, int)) and not isinstance(b, bool):
        a, b = np.asarray(a), np.asarray(b)
        assert a.shape == b.shape, where
        if b.dtype.kind == "f":
            scale = np.nanmax(np.abs(b), initial=0, where=np.isfinite(b))
            far = ~np.isclose(a, b, rtol=0, atol=TOLERANCE * max(scale, 0.05), equal_nan=True)
        else:
            far = a != b
        assert far.sum() <= max(FLIPPED * b.size, b.size >= 8), f"{where}: {far.mean():.1%} differ"
    else:
        assert a == b, where
