"""Bad images, labels and models: one sentence from every public function that takes them.

The functions are collected from the package: one that is in no list here fails a test.
"""

import functools
import importlib
import inspect
import math
import re
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import random
from torch import nn

from kit import (
    attacks,
    checks,
    data,
    defenses,
    divergence,
    evolution,
    explain,
    misalignment,
    neighbors,
    perturbations,
    robustness,
    training,
    watching,
)
from kit.batches import in_parts

CLASSES, COUNT, SHAPE = 3, 6, (1, 8, 8)
SENTENCE = re.compile(r"^[A-Z0-9][^\n]*\S\.$")


def small_net(outputs=CLASSES, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(256, outputs),
        ).eval()


def traced(model, x, y):
    with watching.trace(model, x, y):
        training.logits(model, x)


def images():
    return random(COUNT, *SHAPE)


def labels():
    return torch.arange(COUNT) % CLASSES


NOISE = perturbations.uniform(CLASSES, 1, SHAPE)
UNITS = torch.full((COUNT, *SHAPE), 1 / 8)
# Each function by its name, called on a model, images and labels; and by what it looks at.
WHOLE = {  # values too
    "attacks.cw_l2": lambda m, x, y: attacks.cw_l2(m, x, y, steps=5, search_steps=2),
    "attacks.nearest_l2": lambda m, x, y: attacks.nearest_l2(m, x, y, steps=10),
    "attacks.deepfool": lambda m, x, y: attacks.deepfool(m, x, y, steps=2),
    "attacks.fgsm": lambda m, x, y: attacks.fgsm(m, x, y, eps=0.1),
    "attacks.fgsm_all_targets": lambda m, x, y: attacks.fgsm_all_targets(
        m, x, y, eps=0.1, classes=CLASSES
    ),
    "attacks.pgd": lambda m, x, y: attacks.pgd(m, x, y, eps=0.1, steps=2),
    "attacks.random_direction": lambda m, x, y: attacks.random_direction(x, eps=0.1),
    "data.as_bytes": lambda m, x, y: data.as_bytes(x),
    "defenses.bilateral": lambda m, x, y: defenses.bilateral(x),
    "defenses.filtered": lambda m, x, y: defenses.filtered(x, kind="jpeg"),
    "defenses.jpeg": lambda m, x, y: defenses.jpeg(x),
    "divergence.discriminator_errors": lambda m, x, y: divergence.discriminator_errors(
        NOISE[None], x, y, epochs=1
    ),
    "evolution.fitness": lambda m, x, y: evolution.fitness(
        NOISE[None], x, y, net="linear", epochs=1, discriminator_epochs=1
    ),
    "evolution.search": lambda m, x, y: next(
        evolution.search(
            x, y, classes=CLASSES, popsize=2, net="linear", epochs=1, discriminator_epochs=1
        )
    ),
    "explain.background_share": lambda m, x, y: explain.background_share(
        torch.ones(COUNT, *SHAPE[1:]), x
    ),
    "explain.grad_cam": lambda m, x, y: explain.grad_cam(m, x, y),
    "explain.integrated_gradients": lambda m, x, y: explain.integrated_gradients(
        m, x, y, steps=2
    ),
    "explain.sharpness": lambda m, x, y: explain.sharpness(m, x, y, steps=1),
    "misalignment.cosines": lambda m, x, y: misalignment.cosines(
        m, x, y, UNITS
    ),
    "misalignment.reference_gradients": lambda m, x, y: misalignment.reference_gradients(m, x, y),
    "perturbations.one_pixel_shortcut": lambda m, x, y: perturbations.one_pixel_shortcut(
        x, y, CLASSES
    ),
    "robustness.attack_success_rate": lambda m, x, y: robustness.attack_success_rate(m, x, y),
    "robustness.clever": lambda m, x, y: robustness.clever(m, x, batches=2, batch_size=2),
    "robustness.empirical_robustness": lambda m, x, y: robustness.empirical_robustness(m, x),
    "robustness.fooling_rate": lambda m, x, y: robustness.fooling_rate(m, images(), x),
    "robustness.fooling_rate, before": lambda m, x, y: robustness.fooling_rate(m, x, images()),
    "robustness.loss_sensitivity": lambda m, x, y: robustness.loss_sensitivity(m, x, y),
    "robustness.perturbation_norms": lambda m, x, y: robustness.perturbation_norms(images(), x),
    "training.accuracy": lambda m, x, y: training.accuracy(m, x, y),
    "training.evaluate": lambda m, x, y: training.evaluate(m, x, y),
    "training.fit": lambda m, x, y: training.fit(m, x, y, epochs=1),
    "training.fit_many": lambda m, x, y: training.fit_many([m], x, y, epochs=1),
    "training.fit_many, stacked": lambda m, x, y: training.fit_many(
        [m], x, y, epochs=1, stacked=True
    ),
    "training.logits": lambda m, x, y: training.logits(m, x),
    "training.predict": lambda m, x, y: training.predict(m, x),
    "watching.trace": traced,
}  # fmt: skip
VECTORS = {  # images of any shape and range, any number of classes
    "neighbors.accuracy_by_k": lambda m, x, y: neighbors.accuracy_by_k(
        x, y, images(), labels(), ks=(1, 3)
    ),
    "neighbors.accuracy_by_k, queries": lambda m, x, y: neighbors.accuracy_by_k(
        images(), labels(), x, y, ks=(1,)
    ),
    "neighbors.nearest": lambda m, x, y: neighbors.nearest(x, images(), 1),
    "neighbors.nearest, queries": lambda m, x, y: neighbors.nearest(images(), x, 1),
    "neighbors.predict": lambda m, x, y: neighbors.predict(x, y, images(), ks=(1, 3)),
}  # fmt: skip
BATCHES = {  # what runs in every batch of a training: no pixels
    "misalignment.gradient_alignment": lambda m, x, y: misalignment.gradient_alignment(
        m, x, y, UNITS
    ),
    "perturbations.apply": lambda m, x, y: perturbations.apply(NOISE, x, y),
    "training.input_gradients": lambda m, x, y: training.input_gradients(m, x, y),
    "training.mean_cross_entropy": lambda m, x, y: training.mean_cross_entropy(m, x, y, None),
}
SHAPES = {  # of any type
    "data.random_crops": lambda m, x, y: data.random_crops(x, torch.Generator()),
}
RUN_ONLY = {  # whatever the model returns
    "explain.estimate_statistics": lambda m, x, y: explain.estimate_statistics(m, x),
    "explain.interpolate": lambda m, x, y: explain.interpolate(m, m, 0.5, x),
}
CALLS = WHOLE | VECTORS | BATCHES | SHAPES | RUN_ONLY
ELSEWHERE = {
    "training.evaluate_or_nan": "calls evaluate",
    "defenses.Fast": "a hook of fit, which has looked at the data",
    "defenses.Free": "a hook of fit, which has looked at the data",
    "watching.passes": "takes no images, and models that what it watches looks at",
}
MODULES = (
    attacks, data, defenses, divergence, evolution, explain, misalignment, neighbors,
    perturbations, robustness, training, watching,
)  # fmt: skip
IMAGES, LABELS, MODELS = {"x", "x_train", "x_adv"}, {"y", "y_train"}, {"model", "models"}
TAKEN = IMAGES | LABELS | MODELS | {"images", "labels", "net_", "end", "maps_of"}


def public(module):
    """Names of a module's own functions, and of its classes that are called."""
    names = getattr(module, "__all__", None) or vars(module)
    for name in names:
        value = getattr(module, name)
        own = getattr(value, "__module__", "").startswith(module.__name__)
        if name.startswith("_") or not own or not callable(value):
            continue
        called = vars(value).get("__call__") if inspect.isclass(value) else value
        if called:
            yield f"{module.__name__.removeprefix('kit.')}.{name}", called


def takes(function):
    return set(inspect.signature(function).parameters) & TAKEN


def in_turn(name):
    """What is called by a name in a list here."""
    return name.partition(",")[0]


def test_no_public_function_is_forgotten():
    found = {name for module in MODULES for name, call in public(module) if takes(call)}
    assert found == {in_turn(name) for name in CALLS} | set(ELSEWHERE)


def test_a_new_function_would_be_found(monkeypatch):
    def newly(model, images):
        pass

    newly.__module__ = "kit.divergence"
    monkeypatch.setattr(divergence, "newly", newly, raising=False)
    with pytest.raises(AssertionError, match=r"divergence\.newly"):
        test_no_public_function_is_forgotten()


@functools.cache
def parameters(name):
    module, function = in_turn(name).split(".")
    return takes(getattr(importlib.import_module(f"kit.{module}"), function))


OPTIONAL = [("attacks.deepfool", "no labels"), ("explain.interpolate", "no images")]


def cases(faults, which, *lists):
    """All pairs of a function that takes such a thing, and a fault."""
    found = [
        pytest.param(name, fault, id=f"{name}-{fault}")
        for calls in lists
        for name in calls
        for fault in faults
        if parameters(name) & which and (name, fault) not in OPTIONAL
    ]
    return pytest.mark.parametrize(("name", "fault"), found)


def refused(name, model, x, y):
    """One sentence, whichever of the exceptions for bad values it is."""
    with pytest.raises(ValueError, match=SENTENCE):
        CALLS[name](model, x, y)


@pytest.mark.parametrize("name", CALLS)
def test_good_input_is_taken(name):
    CALLS[name](small_net(), images(), labels())


# --- images ------------------------------------------------------------------------------------


def spoilt(value):
    x = images()
    x[-1, 0, 3, 3] = value
    return x


NOT_FINITE = {
    "NaN": lambda: spoilt(torch.nan),
    "infinite": lambda: spoilt(torch.inf),
    "minus infinity": lambda: spoilt(-torch.inf),
    "too large to square": lambda: spoilt(1e20),
}
OUT_OF_RANGE = {"0 to 255": lambda: 255 * images(), "negative": lambda: images() - 0.5}
OTHER_TYPES = {
    "bytes": lambda: (255 * images()).byte(),
    "whole numbers": lambda: (255 * images()).long(),
    "mask": lambda: images() > 0.5,
    "complex": lambda: images().to(torch.complex64),
    "float8": lambda: images().to(torch.float8_e4m3fn),
}
NO_TENSORS = {
    "array": lambda: images().numpy(),
    "list": lambda: images().tolist(),
    "no images": lambda: None,
    "a number": lambda: torch.tensor(0.5),
    "one row": lambda: torch.rand(COUNT),
}
OTHER_SHAPES = {
    "without channels": lambda: images()[:, 0],
    "in five dimensions": lambda: images()[None],
    "without pixels": lambda: images()[:, :, :0],
}
MISFITS = {
    "in colour": lambda: images().repeat(1, 3, 1, 1),
    "smaller": lambda: images()[:, :, :4, :4],
}
IMAGE_FAULTS = NOT_FINITE | OUT_OF_RANGE | OTHER_TYPES | NO_TENSORS | OTHER_SHAPES
# Any shape and number of channels will do for them.
FREE = [
    "attacks.random_direction", "data.as_bytes", "data.random_crops", "defenses.bilateral",
    "defenses.filtered", "defenses.jpeg", "evolution.search", "explain.background_share",
    "perturbations.one_pixel_shortcut",
]  # fmt: skip


@cases(IMAGE_FAULTS, IMAGES, WHOLE, RUN_ONLY)
def test_images_that_are_none(name, fault):
    refused(name, small_net(), IMAGE_FAULTS[fault](), labels())


@cases(OTHER_TYPES | NO_TENSORS | OTHER_SHAPES, IMAGES, BATCHES)
def test_batches_that_are_no_images(name, fault):
    refused(name, small_net(), IMAGE_FAULTS[fault](), labels())


@cases(NOT_FINITE | OTHER_TYPES | NO_TENSORS, IMAGES, VECTORS)
def test_vectors_that_are_none(name, fault):
    refused(name, None, IMAGE_FAULTS[fault](), labels())


@cases(NO_TENSORS | OTHER_SHAPES, IMAGES, SHAPES)
def test_shapes_that_are_none_of_images(name, fault):
    refused(name, None, IMAGE_FAULTS[fault](), labels())


@cases(MISFITS, IMAGES, {name: 0 for name in CALLS if name not in FREE and name not in BATCHES})
def test_images_that_do_not_fit(name, fault):
    refused(name, small_net(), MISFITS[fault](), labels())


@pytest.mark.parametrize("name", WHOLE | VECTORS | BATCHES | RUN_ONLY)
def test_what_holds_no_values_is_refused(name):
    refused(name, small_net(), images().to("meta"), labels().to("meta"))
    if parameters(name) & MODELS and name not in BATCHES:
        refused(name, small_net().to("meta"), images(), labels())


@pytest.mark.parametrize("name", WHOLE | RUN_ONLY)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("model_too", [False, True])
def test_other_floats_work_or_are_refused(name, dtype, model_too):
    model = small_net().to(dtype) if model_too else small_net()
    double = model_too and dtype == torch.float64 and parameters(name) & MODELS
    if double and "fooling_rate" not in name:  # which is given two types here
        CALLS[name](model, images().to(dtype), labels())
    else:
        works_or_is_refused(name, model, images().to(dtype), labels())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("side", [3, 20])  # the larger ones are ranked by directions
def test_nearest_in_other_precisions(dtype, side):
    x_train = random(500, 1, side, side).to(dtype)
    x = random(9, 1, side, side, seed=1).to(dtype)
    expected = torch.cdist(x.double().flatten(1), x_train.double().flatten(1)).argsort(1)[:, :3]
    assert torch.equal(neighbors.nearest(x_train, x, 3), expected)
    assert torch.equal(neighbors.nearest(x_train.double(), x, 3), expected)


# --- labels ------------------------------------------------------------------------------------

NO_LABELS = {
    "column": lambda: labels()[:, None],
    "row": lambda: labels()[None],
    "one of each class": lambda: torch.eye(CLASSES, dtype=torch.int64)[labels()],
    "floats": lambda: labels().float(),
    "mask": lambda: labels() > 0,
    **{
        str(kind).removeprefix("torch."): functools.partial(lambda kind: labels().to(kind), kind)
        for kind in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.uint16)
    },
    "array": lambda: labels().numpy(),
    "list": lambda: labels().tolist(),
    "no labels": lambda: None,
    "a number": lambda: torch.tensor(1),
    "one too few": lambda: labels()[:-1],
    "one too many": lambda: torch.arange(COUNT + 1) % CLASSES,
    "none": lambda: labels()[:0],
}


def counted(last):
    return torch.cat([labels()[:-1], torch.tensor([last])])


NEGATIVE = {"-1": lambda: counted(-1), "torch's own to leave out": lambda: counted(-100)}
TOO_LARGE = {"one class too many": lambda: counted(CLASSES), "huge": lambda: counted(2**40)}
LABEL_FAULTS = NO_LABELS | NEGATIVE | TOO_LARGE


@cases(LABEL_FAULTS, LABELS, WHOLE, BATCHES)
def test_labels_that_are_none(name, fault):
    refused(name, small_net(), images(), LABEL_FAULTS[fault]())


@cases(NO_LABELS | NEGATIVE, LABELS, VECTORS)
def test_labels_of_neighbours_that_are_none(name, fault):
    refused(name, None, images(), LABEL_FAULTS[fault]())


KINDS = [
    value
    for value in vars(torch).values()
    if isinstance(value, torch.dtype) and not str(value).startswith(("torch.q", "torch.float4"))
]


@st.composite
def tensors(draw):
    """Of any type and shape, mostly of small numbers."""
    shape = draw(st.lists(st.integers(0, 6), max_size=5) | st.just([COUNT]) | st.just([6, 1, 8, 8]))
    values = torch.randint(0, draw(st.sampled_from((1, 3, 300))), shape)
    kind = draw(st.sampled_from(KINDS) | st.sampled_from((torch.int64, torch.float32)))
    try:
        return values.to(kind)
    except (RuntimeError, NotImplementedError):  # types of a few bits, which torch cannot make
        return values


def good_labels(y):
    return y.dtype == torch.int64 and y.shape == (COUNT,) and y.min() >= 0 and y.max() < CLASSES


def good_images(x):
    return x.dtype in checks.FLOATS and x.shape == (COUNT, *SHAPE) and x.min() >= 0 and x.max() <= 1


ONE_OF_A_KIND = st.sampled_from([name for name in WHOLE if parameters(name) & LABELS])


@settings(deadline=None, max_examples=150)
@given(ONE_OF_A_KIND, tensors())
def test_any_tensor_as_labels(name, y):
    model = small_net()
    if good_labels(y):
        return
    if y.dtype == torch.int64 and y.shape == (COUNT,) and "fitness" in name:
        return
    refused(name, model, images(), y)


@settings(deadline=None, max_examples=150)
@given(st.sampled_from([n for n in WHOLE if parameters(n) & IMAGES and n not in FREE]), tensors())
def test_any_tensor_as_images(name, x):
    if good_images(x):
        return
    if not len(x.shape) or len(x):  # metrics of no images are NaN
        refused(name, small_net(), x, labels())


# --- models ------------------------------------------------------------------------------------


class Returning(nn.Module):
    """The logits of a net in another form."""

    def __init__(self, form, before=None):
        super().__init__()
        self.net, self.form, self.before = small_net(), form, before or (lambda x: x)

    def forward(self, x):
        return self.form(self.net(self.before(x)))


def always_dropping(x):
    return nn.functional.dropout(x, training=True)


class Restless(nn.Module):
    """Goes into training mode by itself."""

    def __init__(self, *first):
        super().__init__()
        self.net = nn.Sequential(*first, small_net())

    def forward(self, x):
        return self.train().net(x)


def scaled(factor):
    net = small_net()
    with torch.no_grad():
        net[4].weight.mul_(factor)
    return net


MODEL_FAULTS = {
    "a function": lambda: lambda x: x.flatten(1)[:, :3],
    "nothing": lambda: None,
    "a class": lambda: nn.Linear,
    "weights of NaN": lambda: scaled(torch.nan),
    "infinite weights": lambda: scaled(torch.inf),
    "weights of 1e30": lambda: scaled(1e30),
    "one output": lambda: small_net(1),
    "a sigmoid": lambda: nn.Sequential(small_net(1), nn.Sigmoid()),
    "no outputs": lambda: Returning(lambda z: z[:, :0]),
    "no dimension of classes": lambda: Returning(lambda z: z[:, 0]),
    "a tuple": lambda: Returning(lambda z: (z, z)),
    "labels": lambda: Returning(lambda z: z.argmax(1)),
    "votes": lambda: Returning(lambda z: z.long()),
    "maps": lambda: Returning(lambda z: z[:, :, None, None]),
    "minus infinity for a class": lambda: Returning(lambda z: z.masked_fill(z > 9, -torch.inf)
                                                    - torch.tensor([0, 0, torch.inf])),
    "dropout at all times": lambda: Returning(lambda z: z, before=always_dropping),
    "noise": lambda: Returning(lambda z: z + 0.01 * torch.randn_like(z)),
    "dropout in its own mode": lambda: Restless(nn.Dropout()),
    "batch norms in their own mode": lambda: Restless(),
}  # fmt: skip
KINDS_OF_MODEL = ("a function", "nothing", "a class")


@cases(MODEL_FAULTS, MODELS, WHOLE)
def test_models_that_are_none(name, fault):
    model = MODEL_FAULTS[fault]()
    refused(name, model, images(), labels())


def test_rounding_is_measured_by_the_largest_logit():
    class Rounding(nn.Module):
        runs = 0

        def forward(self, x):
            self.runs += 1
            return torch.tensor([[1000 + 0.01 * self.runs, 0.0]]).expand(len(x), 2)

    assert checks.check_model(Rounding(), images()) == 2


@pytest.mark.parametrize("name", RUN_ONLY)
@pytest.mark.parametrize("fault", KINDS_OF_MODEL)
def test_modules_that_are_none(name, fault):
    refused(name, MODEL_FAULTS[fault](), images(), labels())


def test_a_net_that_cannot_learn():
    for net in small_net().requires_grad_(False), nn.Flatten():
        with pytest.raises(ValueError, match="no weights that require a gradient"):
            training.fit(net, images(), labels(), epochs=1)


def test_a_net_without_weights_can_be_measured():
    net = nn.Sequential(nn.AvgPool2d((8, 2)), nn.Flatten())
    x = torch.zeros(4, 1, 8, 8)
    for k in range(4):
        x[k, :, :, 2 * k] = 1
    assert training.accuracy(net, x, torch.arange(4)) == 1


def test_a_net_that_diverges_after_the_first_image_is_refused():
    x = images()
    x[0] = 0
    net = Returning(lambda z: z)
    net.form = lambda z: torch.where(torch.arange(len(z))[:, None] > 0, torch.nan, z)
    for call in (training.accuracy, training.evaluate):
        with pytest.raises(checks.DivergedError, match="NaN"):
            call(net, x, labels())


@pytest.mark.parametrize("size", [1e16, 1e18, 1e20, 1e30, 1e37])
def test_gradients_too_large_to_square(size):
    """Logits are 0 at a black image, the gradient is not."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3, bias=False))
    nn.init.constant_(net[1].weight, 0)
    net[1].weight.data[1] = 2 * size
    x, y = torch.zeros(2, *SHAPE), torch.tensor([0, 1])
    for call in (
        robustness.loss_sensitivity, lambda m, x, y: robustness.clever(m, x),
        lambda m, x, y: attacks.fgsm(m, x, y, eps=0.1, norm="l2"), attacks.deepfool,
    ):  # fmt: skip
        with pytest.raises(checks.DivergedError, match=r"beyond 1e\+16"):
            call(net, x, y)


# --- torch's own states ------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(set(CALLS) - {"training.mean_cross_entropy"}))
def test_inference_mode_works_or_is_refused(name):
    net, x, y = small_net(), images(), labels()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with torch.inference_mode():
        made_there = images()
        for given_images in (x, made_there):
            works_or_is_refused(name, net, given_images, y)
        inside = small_net()
    works_or_is_refused(name, net, made_there, y)
    works_or_is_refused(name, inside, x, y)
    if "fit" not in name and "statistics" not in name:
        assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    CALLS[name](net, x, y)
    training.fit(net, x, y, epochs=1)


def works_or_is_refused(name, *given):
    try:
        CALLS[name](*given)
    except ValueError as refusal:
        sentence = str(refusal)
    else:
        return
    assert SENTENCE.search(sentence), sentence


@pytest.fixture
def double_by_default():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", CALLS)
def test_another_default_type_works_or_is_refused(name, double_by_default):
    x = images()
    assert x.dtype == torch.float64
    works_or_is_refused(name, small_net(), x.float(), labels())
    if "evolution" not in name and "divergence" not in name:
        CALLS[name](small_net(), x, labels())
    if "nearest" not in name and "neighbors" not in name:
        works_or_is_refused(name, small_net().float(), x, labels())


def test_noise_does_not_depend_on_the_default_type(double_by_default):
    for noise in (
        perturbations.uniform(3, 2, SHAPE), perturbations.left_column(3, SHAPE),
        perturbations.one_pixel_shortcut(images(), labels(), 3),
        perturbations.decode([0.5] * 9, 3, 1, SHAPE),
    ):  # fmt: skip
        assert noise.dtype == torch.float32
    assert perturbations.apply(NOISE, images().float(), labels()).dtype == torch.float32


def test_numbers_of_numpy():
    net, x, y = small_net(), images(), labels()
    for step in (0.1, 0.05, 0.25):
        plain = robustness.empirical_robustness(net, x, eps_step=step)
        for single in (np.float32(step), float(np.float32(step))):
            found = robustness.empirical_robustness(net, x, eps_step=single)
            assert found == plain or (np.isnan(found) and np.isnan(plain))
    expected = attacks.fgsm(net, x, y, eps=0.125)
    assert torch.equal(attacks.fgsm(net, x, y, eps=np.float32(0.125)), expected)


# --- reading values makes a GPU wait -----------------------------------------------------------


def readings(monkeypatch, name, count):
    """How often a function reads spans of values, of so many images."""
    found, spans = [], checks._spans
    monkeypatch.setattr(checks, "_spans", lambda *tensors: found.append(1) or spans(*tensors))
    copies = count // COUNT
    CALLS[name](small_net(), images().repeat(copies, 1, 1, 1), labels().repeat(copies))
    return len(found)


@pytest.mark.parametrize(
    "name",
    [name for name in WHOLE if name.startswith(("attacks", "explain.grad", "training"))],
)
def test_values_are_read_once_for_each_call(name, monkeypatch):
    """Not for each batch, nor for each epoch."""
    assert readings(monkeypatch, name, 1200) <= 2
    monkeypatch.undo()


@pytest.mark.parametrize("name", BATCHES)
def test_nothing_is_read_in_a_batch(name, monkeypatch):
    assert readings(monkeypatch, name, COUNT) == 0


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        (lambda x, y: (x, y[:, None]), "of one column make it y[:, 0]"),
        (lambda x, y: (x + torch.nan, y), "Some are no numbers"),
        (lambda x, y: (255 * x, y), "Normalisation belongs inside the model"),
    ],
)
def test_the_remedy_is_named(change, remedy):
    with pytest.raises(ValueError, match=re.escape(remedy)):
        checks.check_data(*change(torch.ones(2, *SHAPE), torch.tensor([0, 1])))


def test_a_model_that_lies_elsewhere():
    class Elsewhere(nn.Linear):
        def forward(self, x):
            raise RuntimeError("Expected all tensors to be on the same device")

    with pytest.raises(ValueError, match=r"lie on meta; use one device, as model.to\(x.device\)"):
        checks.run(Elsewhere(2, 2, device="meta"), torch.zeros(1, 2))


def test_all_targets_wants_labels_below_its_classes():
    net = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(SHAPE), 10))
    with pytest.raises(ValueError, match="there are 3 classes"):
        attacks.fgsm_all_targets(net, images(), torch.full((COUNT,), 5), eps=0.1, classes=3)


class Rounded(nn.Module):
    """Sees 16 shades alone: outputs that change with the image, and no gradient."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner((15 * x).round() / 15)


@pytest.mark.parametrize("extra", [0, 1])
def test_a_model_that_rounds_does_not_pass_for_robust(extra):
    """Whether autograd knows of a gradient of zero or of none."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(SHAPE), CLASSES))
    model = Rounded(net) if extra else nn.Sequential(nn.Identity(), Rounded(net))
    with pytest.raises(ValueError, match="carry no gradient"):
        attacks.pgd(model, images(), labels(), eps=0.1, steps=2)


def test_a_net_that_is_dead_at_one_image_alone_is_attacked():
    net = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(SHAPE), 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        net[1].weight.fill_(1.0)
        net[1].bias.fill_(-1.0)
    x = torch.zeros(2, *SHAPE)  # every ReLU is dead there, and alive at 0.5
    assert attacks.fgsm(net, x, torch.tensor([0, 1]), eps=0.1).shape == x.shape


def test_probabilities_have_a_gradient():
    net = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(SHAPE), CLASSES), nn.Softmax(1))
    with pytest.warns(RuntimeWarning, match="probabilities"):
        assert attacks.fgsm(net, images(), labels(), eps=0.1).shape == images().shape


@pytest.mark.parametrize("name", [name for name in WHOLE if parameters(name) & MODELS])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_of_probabilities_each_call_warns(name, dtype):
    net, x = nn.Sequential(small_net(), nn.Softmax(1)).to(dtype), images().to(dtype)
    if dtype != torch.float32 and "fooling_rate" in name:  # is given two types here
        return
    with pytest.warns(RuntimeWarning, match="seems to return probabilities: .* leave out the"):
        CALLS[name](net, x, labels())


def test_logits_pass_in_silence():
    """Those of one image may be no negative numbers that sum to 1, and all of them may."""
    net = nn.Sequential(nn.AvgPool2d((8, 2)), nn.Flatten())  # of a bright column: 1, 0, 0, 0
    x = torch.zeros(1, *SHAPE)
    x[..., :2] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        training.accuracy(net, x, torch.tensor([0]))
        training.accuracy(nn.Sequential(small_net(), nn.LogSoftmax(1)), images(), labels())


def test_a_model_is_looked_at_by_two_images_and_two_more():
    """Once for each call, however many steps an attack has; who counts passes leaves them out.

    And once in all by one image, for the size of its layers.
    """
    net, sizes = small_net(), []
    net[0].register_forward_hook(lambda layer, args, out: sizes.append(len(out)))
    with watching.passes(net) as count:
        attacks.pgd(net, images(), labels(), eps=0.1, steps=3)
    assert sizes == [1, 2, 2, 1, *[COUNT] * 3]
    assert count.forward == 1 + 3 * COUNT
    sizes.clear()
    attacks.pgd(net, images(), labels(), eps=0.1, steps=3)
    assert sizes == [1, 2, 2, *[COUNT] * 3]


@pytest.mark.parametrize("size", [0, -5, 1.5])
def test_batches_of_no_images_are_refused(size):
    """They would never end."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(SHAPE), CLASSES))
    with pytest.raises(ValueError, match="batch_size is"):
        training.predict(net, images(), batch_size=size)
    with pytest.raises(ValueError, match="at_once is"):
        in_parts(len, images(), at_once=size)


def test_queries_are_of_the_training_images_shape():
    """With their axes in another order they have as many values, and other neighbours."""
    x = torch.rand(6, 3, 8, 8)
    for find in (neighbors.predict, neighbors.exact.predict):
        with pytest.raises(ValueError, match="use one shape"):
            find(x, torch.arange(6) % 2, x.permute(0, 2, 3, 1), ks=(1,))


@pytest.mark.parametrize("find", [neighbors.predict, neighbors.exact.predict])
def test_bytes_beside_floats_are_told(find):
    """Whatever the queries show, the darkest training images would be the nearest."""
    x, y, dark = images(), labels(), 0 * images()
    for train, queries in ((255 * x, x), (x, 255 * x), (255 * x, dark)):
        with pytest.warns(RuntimeWarning, match="scale them alike"):
            find(train, y, queries, ks=(1,))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for train, queries in (
            (x, x),
            (255 * x, 200 * x),
            (5 * x, x),
            (99 * x - 9, x),
            (999 * x, x),
            (x, x[:0]),
        ):
            find(train, y, queries, ks=(1,))


def test_each_net_of_a_population_is_one_of_its_own():
    net = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(SHAPE), CLASSES))
    with pytest.raises(ValueError, match="stands twice"):
        training.fit_many([net, net], images(), labels(), epochs=1)


@pytest.mark.parametrize("lr", [0.0, -1.0, math.inf, math.nan, "0.1"])
def test_learning_rates_are_positive_numbers(lr):
    net = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(SHAPE), CLASSES))
    with pytest.raises(ValueError, match="lr is"):
        training.fit(net, images(), labels(), epochs=1, lr=lr)


def test_a_channel_is_a_whole_number():
    with pytest.raises(ValueError, match=r"channel is 0\.5"):
        robustness.perturbation_norms(images(), images(), channel=0.5)


def test_noise_has_as_many_pixels_in_each_class():
    noise = torch.zeros(2, *SHAPE)
    noise[0, :, 0, :2] = 1  # two in one class, none in the other
    with pytest.raises(ValueError, match="0 or 2 pixels per class: 1 are wanted"):
        perturbations.encode(noise, 1)
