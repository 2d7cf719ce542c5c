"""kit.data: the seven names, archives, what is refused, splits, reduced sets, fingerprints."""

import contextlib
import dataclasses
import hashlib
import io
import json
import pickle
import re
import socket
import struct
import types
import urllib.error
import warnings
import zipfile

import numpy as np
import pytest
import scipy.io
import torch
import torchvision

from kit import data
from kit.experiments.images import split

ANIMALS = ["airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"]
KINDS = {  # name: (torchvision's class, shape of one image, first class name)
    "mnist": ("MNIST", (1, 28, 28), "0 - zero"),
    "fashion_mnist": ("FashionMNIST", (1, 28, 28), "T-shirt/top"),
    "kmnist": ("KMNIST", (1, 28, 28), "o"),
    "svhn": ("SVHN", (3, 32, 32), "0"),
    "cifar10": ("CIFAR10", (3, 32, 32), "airplane"),
    "stl10": ("STL10", (3, 96, 96), "airplane"),
}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """A test that asks for the network fails at once: kit.data does not catch pytest's failure."""
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("network"))


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def part(n, shape, seed, classes=10):
    """Random uint8 images (N, C, H, W), so that any flip or transposition shows, and labels."""
    x = np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)
    return x, (np.arange(n) % classes).astype(np.uint8)


def archive(folder, name="tiny", **changes):
    """Write a sound archive of three classes with some entries changed, or (None) left out."""
    (x_train, y_train), (x_test, y_test) = part(12, (6, 6), 0, 3), part(6, (6, 6), 1, 3)
    entries = dict(x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test) | changes
    folder.mkdir(exist_ok=True)
    np.savez(folder / f"{name}.npz", **{k: v for k, v in entries.items() if v is not None})
    return folder


def uneven(folder, train=(2, 10, 10), test=(2, 4, 4)):
    """Write an archive with so many images of each class."""
    labels = [np.repeat(np.arange(len(counts)), counts) for counts in (train, test)]
    images = [part(len(y), (6, 6), seed)[0] for seed, y in enumerate(labels)]
    return archive(folder, x_train=images[0], y_train=labels[0], x_test=images[1], y_test=labels[1])


def pairs(x, y):
    """Images with their labels as something to compare whatever the order."""
    return sorted((image.numpy().tobytes(), int(label)) for image, label in zip(x, y, strict=True))


def everything(d):
    return pairs(torch.cat([d.x_train, d.x_test]), torch.cat([d.y_train, d.y_test]))


def assert_holds(x, y, pixels, labels):
    assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
    assert x.is_contiguous()
    np.testing.assert_allclose(x.numpy(), pixels / np.float32(255), rtol=0, atol=1e-7)
    assert y.tolist() == labels.tolist()


@contextlib.contextmanager
def refusal(error, match):
    """One line that ends like a sentence; `match` holds a blank, which a temporary path never does.

    (pytest names temporary folders after the test: without the blank, the path could match.)
    """
    assert " " in match
    with pytest.raises(error, match=match) as caught:
        yield
    assert re.fullmatch(r"\S.*\.", str(caught.value)), "more than one line, or no full stop"


# The seven names --------------------------------------------------------------------------------


def write_idx(root, kind, train, test, monkeypatch):
    raw = root / kind / "raw"
    raw.mkdir(parents=True)
    for prefix, (x, y) in (("train", train), ("t10k", test)):
        for file, array in (("images-idx3", x[:, 0]), ("labels-idx1", y)):
            header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            (raw / f"{prefix}-{file}-ubyte").write_bytes(header + array.tobytes())


def write_svhn(root, kind, train, test, monkeypatch):
    files = {}
    for which, (x, y) in (("train", train), ("test", test)):
        path = root / f"{which}_32x32.mat"
        tens = np.where(y == 0, 10, y).astype(np.uint8)[:, None]
        scipy.io.savemat(path, {"X": x.transpose(2, 3, 1, 0), "y": tens})
        files[which] = ["http://nowhere.invalid", path.name, md5(path)]
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", files)


def write_cifar10(root, kind, train, test, monkeypatch):
    folder = root / "cifar-10-batches-py"
    folder.mkdir()

    def pickled(name, content):
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
        return [name, md5(folder / name)]

    def batch(name, x, y):
        return pickled(name, {"data": x.reshape(len(x), -1), "labels": y.tolist()})

    five = zip(np.array_split(train[0], 5), np.array_split(train[1], 5), strict=True)
    batches = [batch(f"data_batch_{i}", *xy) for i, xy in enumerate(five, 1)]
    name, digest = pickled("batches.meta", {"label_names": ANIMALS})
    cifar10 = torchvision.datasets.CIFAR10
    monkeypatch.setattr(cifar10, "train_list", batches)
    monkeypatch.setattr(cifar10, "test_list", [batch("test_batch", *test)])
    monkeypatch.setattr(cifar10, "meta", dict(filename=name, key="label_names", md5=digest))


def write_stl10(root, kind, train, test, monkeypatch):
    folder = root / "stl10_binary"
    folder.mkdir()
    (folder / "class_names.txt").write_text("\n".join(ANIMALS) + "\n")

    def binary(name, array):
        (folder / name).write_bytes(array.tobytes())
        return [name, md5(folder / name)]

    def both(which, x, y):  # column by column, and labels from 1 on
        return [binary(f"{which}_X.bin", x.transpose(0, 1, 3, 2)), binary(f"{which}_y.bin", y + 1)]

    unlabeled = binary("unlabeled_X.bin", np.zeros((1, 3, 96, 96), np.uint8))
    stl10 = torchvision.datasets.STL10
    monkeypatch.setattr(stl10, "train_list", [*both("train", *train), unlabeled])
    monkeypatch.setattr(stl10, "test_list", both("test", *test))


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


WRITERS = {"svhn": write_svhn, "cifar10": write_cifar10, "stl10": write_stl10}


def write_original(name, root, monkeypatch, train=None, test=None):
    """Write tiny files in the data set's own format; return the two parts they hold."""
    kind, shape, _ = KINDS[name]
    train, test = train or part(20, shape, 0), test or part(10, shape, 1)
    WRITERS.get(name, write_idx)(root, kind, train, test, monkeypatch)
    return train, test


@pytest.mark.parametrize("name", KINDS)
def test_original_files(name, tmp_path, monkeypatch):
    train, test = write_original(name, tmp_path, monkeypatch)
    _, shape, first = KINDS[name]
    loaded = data.load(name, tmp_path)
    assert_holds(loaded.x_train, loaded.y_train, *train)
    assert_holds(loaded.x_test, loaded.y_test, *test)
    assert (loaded.name, loaded.source, loaded.shape) == (name, "torchvision", shape)
    assert (len(loaded.classes), loaded.classes[0]) == (10, first)
    assert "torchvision" not in loaded.title
    assert data.present(name, tmp_path)


@pytest.mark.parametrize("name", KINDS)
def test_original_files_need_every_class(name, tmp_path, monkeypatch):
    train = part(20, KINDS[name][1], 0)
    train[1][train[1] == 4] = 5
    write_original(name, tmp_path, monkeypatch, train=train)
    with refusal(ValueError, "no training image has label 4"):
        data.load(name, tmp_path)


@pytest.mark.parametrize("name", KINDS)
def test_absent_and_no_network(name, tmp_path, monkeypatch):
    limits = []

    def download(self):
        limits.append(socket.getdefaulttimeout())
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(getattr(torchvision.datasets, KINDS[name][0]), "download", download)
    before = socket.getdefaulttimeout()
    with refusal(FileNotFoundError, f"'{name}' is not in .* and could not be downloaded: .*npz"):
        data.load(name, tmp_path)
    assert limits[0] is not None, "a dead network must not hang"
    assert socket.getdefaulttimeout() == before


def test_absent_files_are_fetched(tmp_path, monkeypatch):
    def download(self):
        if not (tmp_path / "new/MNIST").exists():
            write_original("mnist", tmp_path / "new", monkeypatch)

    monkeypatch.setattr(torchvision.datasets.MNIST, "download", download)
    assert len(data.load("mnist", tmp_path / "new").y_train) == 20


@pytest.mark.parametrize("kept", [0, 3, 10, 5000])
def test_original_file_cut_short(kept, tmp_path, monkeypatch):
    # An interrupted extraction leaves such files, and torchvision checks no digest of them.
    write_original("mnist", tmp_path, monkeypatch)
    file = tmp_path / "MNIST/raw/train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:kept])
    assert not data.present("mnist", tmp_path)
    with refusal((FileNotFoundError, ValueError), "Data set 'mnist'"):
        data.load("mnist", tmp_path)


def test_digits(digits, tmp_path):
    assert (digits.shape, len(digits.classes), digits.title) == ((1, 8, 8), 10, "digits")
    assert digits.x_train.dtype == torch.float32
    assert digits.y_train.dtype == torch.int64
    assert (digits.x_train.min(), digits.x_train.max()) == (0, 1)
    assert (len(digits.y_train), len(digits.y_test)) == (1437, 360)
    assert data.load("digits", tmp_path / "nothing").fingerprint == digits.fingerprint


def test_names():
    assert set(data.NAMES) == {"digits", *KINDS}


# Archives ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 5, 7), (3, 5, 7), (5, 7)], ids=str)
def test_archive_pixels(shape, dtype, tmp_path):
    pixels, labels = part(12, shape, 0, 3)
    stored = pixels if dtype == np.uint8 else (pixels / 255).astype(dtype)
    if len(shape) == 3:
        stored, nchw = stored.transpose(0, 2, 3, 1), pixels
    else:
        nchw = pixels[:, None]
    images = dict(x_train=stored, x_test=stored[:6])
    loaded = data.load("tiny", archive(tmp_path, y_train=labels[:, None], **images))
    assert loaded.shape == (*nchw.shape[1:],)
    if dtype == np.float16:
        assert abs(loaded.x_train.numpy() - nchw / 255).max() < 1e-3
    else:
        assert_holds(loaded.x_train, loaded.y_train, nchw, labels)
        assert_holds(loaded.x_test, loaded.y_test, nchw[:6], labels[:6])


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64, np.uint16, ">i8"], ids=str)
def test_archive_labels(dtype, tmp_path):
    labels = (np.arange(12) % 3).astype(dtype)
    loaded = data.load("tiny", archive(tmp_path, y_train=labels[:, None]))
    assert loaded.y_train.dtype == torch.int64
    assert loaded.y_train.tolist() == labels.tolist()


def test_archive_classes_and_source(tmp_path):
    plain = data.load("tiny", archive(tmp_path))
    assert (plain.classes, plain.source, plain.title) == (("0", "1", "2"), "tiny.npz", "tiny")
    changes = dict(classes=np.array(["a", "b", "c"]), source=np.array("made by hand"))
    noted = data.load("tiny", archive(tmp_path, **changes))
    assert (noted.classes, noted.source) == (("a", "b", "c"), "made by hand")
    assert noted.title == "tiny (made by hand)"


def test_names_and_notes_command_neither_a_terminal_nor_a_figure(tmp_path):
    changes = dict(classes=np.array(["$\\href", "a\nb", "c"]), source=np.array("\x1b[31mred\x07"))
    noted = data.load("tiny", archive(tmp_path, **changes))
    assert (noted.classes, noted.source) == (("\uff04\\href", "ab", "c"), "[31mred")


def test_class_names_and_the_source_may_be_bytes(tmp_path):
    changes = dict(classes=np.array([b"cat", "é".encode(), b"\xff"]), source=np.array(b"a note"))
    noted = data.load("tiny", archive(tmp_path, **changes))
    assert (noted.classes, noted.source) == (("cat", "é", "\N{REPLACEMENT CHARACTER}"), "a note")


def test_archive_wins(tmp_path, monkeypatch):
    write_original("mnist", tmp_path, monkeypatch)
    assert data.load("mnist", tmp_path).source == "torchvision"
    assert data.load("mnist", archive(tmp_path, "mnist")).shape == (1, 6, 6)
    assert data.load("mnist", tmp_path).title == "MNIST"
    archive(tmp_path, "mnist", source="scanned anew")
    assert data.load("mnist", tmp_path).title == "MNIST (scanned anew)"


def test_data_folder_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("KIT_DATA", str(archive(tmp_path)))
    assert data.load("tiny").source == "tiny.npz"


# What is refused --------------------------------------------------------------------------------


def npy(path):
    with path.open("wb") as file:
        np.save(file, np.zeros((12, 6, 6)))


def damaged(path):
    np.savez_compressed(path, x_train=part(12, (6, 6), 0)[0])
    content = bytearray(path.read_bytes())
    content[60:120] = b"\xff" * 60
    path.write_bytes(content)


def boastful(path):
    """Its header promises a million images."""
    file = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": (10**6, 6, 6)}
    np.lib.format.write_array_header_1_0(file, header)
    with zipfile.ZipFile(path, "w") as whole:
        whole.writestr("x_train.npy", file.getvalue())


SPOILERS = {
    "boastful": boastful,
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-200]),
    "cut to 2 bytes": lambda path: path.write_bytes(path.read_bytes()[:2]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not an archive\n" * 9),
    "npy": npy,
    "damaged inside": damaged,
}


@pytest.mark.parametrize("spoil", SPOILERS.values(), ids=SPOILERS)
def test_unsound_archive(spoil, tmp_path):
    path = archive(tmp_path) / "tiny.npz"
    spoil(path)
    # "It holds Python objects" would be the wrong reason.
    with refusal(ValueError, r"not a sound .npz archive \((?!it holds).*numpy.savez"):
        data.load("tiny", tmp_path)


def test_an_archive_that_memory_cannot_hold_is_known_by_its_headers(tmp_path, monkeypatch):
    folder = archive(tmp_path, thumbnails=np.zeros(10**6))  # what is not needed is not read
    assert data.load("tiny", folder).name == "tiny"
    free = types.SimpleNamespace(available=1000)
    monkeypatch.setattr("kit.data.readers.psutil.virtual_memory", lambda: free)
    monkeypatch.setattr(np, "load", None)
    with refusal(ValueError, "would take 0 GB, more memory than is free: keep fewer"):
        data.load("tiny", folder)


def test_unreadable_archive_is_not_called_truncated(tmp_path, monkeypatch):
    # "Write it anew" would be bad advice for a sound file that only lacks permissions.
    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(np, "load", denied)
    with refusal((ValueError, OSError), "Permission denied"):
        data.load("tiny", archive(tmp_path))


class Trap:
    """Unpickling it would make a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("key", ["x_train", "y_test", "classes", "source"])
def test_python_objects_are_never_unpickled(key, tmp_path):
    sprung = tmp_path / "sprung"
    archive(tmp_path, **{key: np.array([Trap(sprung)] * 3, dtype=object)})
    with refusal(ValueError, "holds Python objects"):
        data.load("tiny", tmp_path)
    (tmp_path / "bare.npz").write_bytes(pickle.dumps(Trap(sprung)))
    with refusal(ValueError, "not a sound .npz archive"):
        data.load("bare", tmp_path)
    assert not sprung.exists()


@pytest.mark.parametrize("brightest", [0, 1, 15])
def test_masks_and_other_nearly_black_images_warn_once(brightest, tmp_path):
    x = part(18, (6, 6), 0, 3)[0] % (brightest + 1)
    folder = archive(tmp_path, x_train=x[:12], x_test=x[12:])
    with pytest.warns(UserWarning, match="tiny.npz: the brightest pixel .* nearly black") as caught:
        data.load("tiny", folder)
    assert len(caught) == 1
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            data.load("tiny", folder)
    assert len(caught) == 1


def test_images_divided_twice_warn(tmp_path):
    x = part(18, (6, 6), 0, 3)[0] / 255 / 255
    with pytest.warns(UserWarning, match="divided by 255 twice"):
        data.load("tiny", archive(tmp_path, x_train=x[:12], x_test=x[12:]))


def test_one_bright_pixel_is_enough(tmp_path):
    x = part(12, (6, 6), 0, 3)[0] % 2
    x[3, 1, 1] = 200
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.load("tiny", archive(tmp_path, x_train=x))
        data.load("digits")


def bad(match, **changes):
    return pytest.param(changes, match, id=match)


FLOATS = np.linspace(0, 1, 12 * 36, dtype=np.float32).reshape(12, 6, 6)
LABELS = np.arange(12) % 3


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        bad("lacks x_train: it must hold", x_train=None),
        bad("lacks y_train, y_test: it must hold", y_train=None, y_test=None),
        bad(r"x_train has shape \(12, 36\)", x_train=FLOATS.reshape(12, 36)),
        bad(r"x_train has shape \(\)", x_train=np.array(5)),
        bad(r"x_train has shape \(12, 3, 6, 6\)", x_train=np.zeros((12, 3, 6, 6))),
        bad(r"x_train has shape \(12, 6, 6, 1, 1\)", x_train=FLOATS[..., None, None]),
        bad(r"x_test has shape \(0, 6, 6\)", x_test=FLOATS[:0], y_test=LABELS[:0]),
        bad(r"x_test has shape \(6, 0, 6\)", x_test=FLOATS[:6, :0]),
        bad(r"x_train must be uint8, .*in \[0, 1\].* int64", x_train=FLOATS.astype(int)),
        bad(r"x_train must be .* <U\d", x_train=FLOATS.astype(str)),
        bad(r"x_train must be .* complex64", x_train=FLOATS.astype(np.complex64)),
        bad(r"x_train must be .*in \[0, 1\]", x_train=FLOATS + 0.01),
        bad(r"x_test must be .*in \[0, 1\]", x_test=FLOATS[:6] - 0.01),
        bad(r"x_test must be .*floats in \[0, 1\]", x_test=np.where(FLOATS > 0.1, np.nan, 0)[:6]),
        bad("y_train must be 12 integer labels from 0", y_train=LABELS - 1),
        bad("y_train must be .* it is float64", y_train=LABELS / 1),
        bad("y_train must be .* it is bool", y_train=LABELS > 0),
        bad(r"y_train must be .* shape \(11,\)", y_train=LABELS[:-1]),
        bad(r"y_test must be .* shape \(6, 3\)", y_test=np.eye(3, dtype=int)[LABELS[:6]]),
        bad(r"y_test must be .* shape \(\)", y_test=np.array(1)),
        bad("y_train has label 2, but there are 2 classes", classes=np.array(["a", "b"])),
        bad("y_test has label 3, but there are 3 classes", y_test=LABELS[:6] + 1),
        bad("label 3: labels must be 0 … 3,", classes=np.array(list("abcd"))),
        bad("no training image has label 1", y_train=LABELS * 2),
        bad("no training image has label 3", y_train=np.where(np.arange(12) == 11, 2**62, LABELS)),
        bad(f"y_test has label {2**62}, but there are 3", y_test=np.full(6, 2**62)),
        bad("tiny.npz: classes .* shape", classes=np.array(3)),
        bad(r"training images are \(1, 6, 6\) and .*\(1, 6, 5\)", x_test=FLOATS[:6, :, :5]),
        bad(r"\(1, 6, 6\) and test images \(3, 6, 6\)", x_test=np.stack([FLOATS[:6]] * 3, -1)),
    ],
)
def test_unsound_arrays(changes, match, tmp_path):
    with refusal(ValueError, match):
        data.load("tiny", archive(tmp_path, **changes))


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../tiny", "a/b", "a\\b", "/tiny", "a.b", "tiny\n"]
)
def test_not_a_plain_name(name, tmp_path):
    archive(tmp_path)
    with refusal(ValueError, f"{re.escape(repr(name))} is not a data set name"):
        data.load(name, tmp_path / "below")


@pytest.mark.parametrize(
    ("name", "close"),
    [
        ("mnits", "mnist"),
        ("cifar", "cifar10"),
        ("fashion-mnist", "fashion_mnist"),
        ("MNIST", "mnist"),
        ("CIFAR-10", "cifar10"),
        ("FashionMNIST", "fashion_mnist"),
    ],
)
def test_unknown_name_with_a_close_one(name, close, tmp_path):
    with refusal(FileNotFoundError, rf"no data set '{name}' \(did you mean '{close}'\?\)"):
        data.load(name, tmp_path)


def test_unknown_name(tmp_path):
    with refusal(FileNotFoundError, "no data set 'zzz': the known names are digits, mnist"):
        data.load("zzz", tmp_path)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (dict(train=2), r"train=2 images of tiny: ask for 3 \(one per class\) to 12 \(all\)"),
        (dict(train=13), "train=13 images"),
        (dict(test=0), r"test=0 images of tiny: ask for 3 \(one per class\) to 6 \(all\)"),
        (dict(test=-3), "test=-3 images"),
        (dict(test=7), "test=7 images"),
        (dict(channels=2), r"channels is 2: use 1 \(grey\) or 3"),
        (dict(channels=0), r"channels is 0: use 1 \(grey\) or 3"),
        (dict(size=0), "size is 0: use a positive number"),
        (dict(size=-1), "size is -1: use a positive number"),
    ],
    ids=str,
)
def test_options_out_of_range(options, match, tmp_path):
    with refusal(ValueError, match):
        data.load("tiny", archive(tmp_path), **options)


# Splits -----------------------------------------------------------------------------------------


def test_resplit(digits):
    one, again, other = digits.resplit(1), digits.resplit(1), digits.resplit(2)
    assert one.fingerprint == again.fingerprint
    assert len({d.fingerprint for d in (digits, one, other)}) == 3
    assert everything(one) == everything(other) == everything(digits)
    assert (one.name, one.source, one.classes) == (digits.name, digits.source, digits.classes)
    counts = torch.cat([digits.y_train, digits.y_test]).bincount()
    for d in (one, other):
        assert (d.x_train.shape, d.x_test.shape) == (digits.x_train.shape, digits.x_test.shape)
        share = counts * len(d.y_test) / counts.sum()
        assert (d.y_test.bincount() - share).abs().max() < 1


@pytest.mark.parametrize(
    ("train", "test"),
    [((1, 9, 9), (0, 4, 4)), ((2, 99, 99), (0, 5, 5)), ((1, 3, 3), (1, 99, 99))],
    ids=["one image", "none to test on", "none to train on"],
)
def test_resplit_needs_every_class_in_both_parts(train, test, tmp_path):
    with pytest.raises(ValueError, match="Cannot re-split tiny with all classes in both parts"):
        data.load("tiny", uneven(tmp_path, train, test)).resplit(0)


def test_folds(digits):
    folds = digits.folds(5, seed=0)
    whole = np.arange(len(digits.y_train))
    for train, validation in folds:
        assert np.array_equal(np.sort(np.concatenate([train, validation])), whole)
    assert np.array_equal(np.sort(np.concatenate([v for _, v in folds])), whole)
    counts = torch.stack([digits.y_train[v].bincount(minlength=10) for _, v in folds])
    assert (counts.amax(0) - counts.amin(0)).max() <= 1

    def validations(seed):
        return [v.tolist() for _, v in digits.folds(5, seed)]

    assert validations(0) == [v.tolist() for _, v in folds]
    assert validations(0) != validations(1)


# Reduced sets and conversions -------------------------------------------------------------------


def test_reduced_sets_are_balanced(digits):
    reduced = data.load("digits", train=105, test=20)
    assert sorted(reduced.y_train.bincount().tolist()) == [10] * 5 + [11] * 5
    assert reduced.y_test.bincount().tolist() == [2] * 10
    kept = set(pairs(reduced.x_train, reduced.y_train))
    assert len(kept) == 105
    assert kept <= set(pairs(digits.x_train, digits.y_train))
    assert set(pairs(reduced.x_test, reduced.y_test)) <= set(pairs(digits.x_test, digits.y_test))


def test_reduced_sets_follow_the_seed():
    def fingerprint(seed):
        return data.load("digits", train=50, test=20, seed=seed).fingerprint

    assert fingerprint(0) == fingerprint(0) != fingerprint(1)


def test_reduced_sets_leave_the_other_part_alone(digits):
    assert torch.equal(data.load("digits", train=50).x_test, digits.x_test)
    same = data.load("digits", train=50, test=20)
    assert torch.equal(data.load("digits", train=50).x_train, same.x_train)


@pytest.mark.parametrize(
    ("train", "counts"),
    [(3, [1, 1, 1]), (6, [2, 2, 2]), (14, [2, 6, 6]), (22, [2, 10, 10])],
)
def test_reduced_sets_are_as_even_as_the_classes_allow(train, counts, tmp_path):
    assert data.load("tiny", uneven(tmp_path), train=train).y_train.bincount().tolist() == counts


@pytest.mark.parametrize(("height", "width"), [(6, 6), (4, 8), (4, 6), (6, 4)])
def test_size(height, width, tmp_path):
    x = np.zeros((12, height, width), np.uint8)
    x[:, : height // 2, : width // 2] = 255
    folder = archive(tmp_path, x_train=x, x_test=x[:6])
    for size in (2, 6, 12):
        images = data.load("tiny", folder, size=size).x_train
        assert images.shape == (12, 1, size, size)
        assert (images.min() >= 0) & (images.max() <= 1)
        bright = images[:, 0, : size // 2, : size // 2].sum((1, 2)) / images.sum((1, 2, 3))
        assert (bright > 0.6).all(), "the bright quarter has moved"


def test_size_keeps_flat_images_flat(tmp_path):
    x = np.full((12, 6, 6), 51, np.uint8)
    images = data.load("tiny", archive(tmp_path, x_train=x), size=9).x_train
    torch.testing.assert_close(images, torch.full((12, 1, 9, 9), 0.2))


def test_channels(tmp_path):
    red, green, blue = np.eye(3, dtype=np.uint8) * 255
    colours = np.resize([red, green, blue, red + green + blue], (12, 1, 1, 3))
    x = np.tile(colours, (1, 6, 6, 1))
    folder = archive(tmp_path, x_train=x, x_test=x[:6])
    grey = data.load("tiny", folder, channels=1)
    assert grey.shape == (1, 6, 6)
    luma = torch.tensor([0.299, 0.587, 0.114, 1])
    torch.testing.assert_close(grey.x_train[:4, 0, 3, 3], luma)
    assert grey.x_train.max() <= 1
    same = data.load("tiny", folder, channels=3)
    assert same.fingerprint == data.load("tiny", folder).fingerprint


def test_grey_to_colour(tmp_path):
    grey = data.load("tiny", archive(tmp_path))
    colour = data.load("tiny", tmp_path, channels=3, size=6)
    assert colour.shape == (3, 6, 6)
    assert torch.equal(colour.x_train, grey.x_train.repeat(1, 3, 1, 1))
    assert torch.equal(data.load("tiny", tmp_path, channels=1).x_test, grey.x_test)


# Fingerprints and presence ----------------------------------------------------------------------


def test_fingerprint(tmp_path):
    base = data.load("tiny", archive(tmp_path / "one"))
    names = np.array(["a", "b", "c"])
    assert data.load("tiny", archive(tmp_path / "two", classes=names)).fingerprint == (
        base.fingerprint
    )
    tensors = {k: getattr(base, k) for k in ("x_train", "y_train", "x_test", "y_test")}
    others = [base, base.resplit(0), dataclasses.replace(base, x_train=base.x_train.flip(0))]
    for name, tensor in tensors.items():
        changed = tensor.clone()
        changed.view(-1)[-1] = 0 if changed.view(-1)[-1] else 1
        others.append(dataclasses.replace(base, **{name: changed}))
    # The last training image becomes the first test image: the same numbers in the same order.
    moved = {
        f"{k}_{which}": torch.cat([tensors[f"{k}_train"], tensors[f"{k}_test"]])[cut]
        for k in "xy"
        for which, cut in (("train", slice(11)), ("test", slice(11, None)))
    }
    others.append(dataclasses.replace(base, **moved))
    wide = {x: tensors[x].reshape(-1, 1, 4, 9) for x in ("x_train", "x_test")}
    others.append(dataclasses.replace(base, **wide))
    others.append(data.load("tiny", tmp_path / "one", channels=3))
    others.append(data.load("tiny", tmp_path / "one", size=5))
    assert len({d.fingerprint for d in others}) == len(others)


def test_fingerprint_of_equal_pixels_whatever_their_storage(tmp_path):
    x = np.tile(np.array([0, 255], np.uint8), (12, 6, 3))
    stored = [x, (x / 255).astype(np.float64), x[..., None], np.asfortranarray(x)]
    prints = {
        data.load("tiny", archive(tmp_path, x_train=s, x_test=s[:6])).fingerprint for s in stored
    }
    assert len(prints) == 1


def test_present(tmp_path, monkeypatch):
    nowhere = tmp_path / "nowhere"
    assert data.present("digits", nowhere)
    assert not any(data.present(name, nowhere) for name in (*KINDS, "tiny", "zzz"))
    assert not nowhere.exists(), "asking must leave no trace"
    assert data.present("tiny", archive(tmp_path))
    (tmp_path / "below").mkdir()
    assert not data.present("../tiny", tmp_path / "below"), "load refuses this name"
    assert data.present("mnist", archive(tmp_path, "mnist"))
    write_original("svhn", tmp_path, monkeypatch)
    assert data.present("svhn", tmp_path)
    (tmp_path / "test_32x32.mat").unlink()
    assert not data.present("svhn", tmp_path)


# Splits: values, and no state shared by tasks ----------------------------------------------------


def test_what_a_task_does_to_its_data_is_not_seen_by_the_next():
    split = data.Split("digits", train=20, test=10)
    first = split.load()
    clean = {name: getattr(first, name).clone() for name in data.dataset.ARRAYS}
    for name in clean:
        getattr(first, name).zero_()
        getattr(first, name).numpy()[...] = 0  # which PyTorch does not notice
    for name, tensor in clean.items():
        assert torch.equal(getattr(split.load(), name), tensor), name


@pytest.mark.parametrize("order", [1, -1])
def test_equal_splits_load_equal_data_whoever_comes_first(order):
    made = [
        data.Split("digits", np.int64(40), np.int16(20), np.uint8(6), np.int64(1), np.int64(2)),
        data.Split("digits", 40, 20, 6, 1, 2),
    ]
    assert made[0] == made[1]
    assert repr(made[0]) == repr(made[1])
    assert json.dumps(made[0].identity) == json.dumps(made[1].identity)
    data.splits._load.cache_clear()
    one, other = (split.load() for split in made[::order])
    data.splits._load.cache_clear()
    assert torch.equal(one.x_train, other.x_train)
    assert torch.equal(one.x_train, made[order].load().x_train)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"train": 2.5}, "train is 2.5: use a whole number from 0 on"),
        ({"test": None}, "test is None: use a whole number"),
        ({"run": -1}, "run is -1: use a whole number"),
        ({"size": True}, "size is True: use a whole number"),
        ({"seed": "0"}, "seed is '0': use a whole number from 0"),
        ({"name": 3}, "name is 3: it must be text"),
    ],
)
def test_a_split_of_no_such_numbers_is_refused(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        data.Split(**{"name": "digits", **change})


def test_a_note_that_cannot_be_kept_does_not_matter(tmp_path, monkeypatch):
    """The step store may belong to somebody else: it is only a cache."""
    monkeypatch.setenv("KIT_STEPS", str(tmp_path))
    (tmp_path / "splits").write_text("not a folder")
    assert split("digits", train=100).about.train == 100


# The real thing ---------------------------------------------------------------------------------


def test_real_mnist(shared_data):
    mnist = data.load("mnist", shared_data)
    assert (mnist.shape, len(mnist.classes)) == ((1, 28, 28), 10)
    assert (len(mnist.y_train), len(mnist.y_test)) == (60_000, 10_000)
    assert (mnist.x_train.min(), mnist.x_train.max()) == (0, 1)


@pytest.mark.parametrize(
    ("source", "title"),
    [
        ("cifar10.npz", "CIFAR-10"),
        ("torchvision, resized to 16×16", "CIFAR-10 (resized to 16×16)"),
        ("cifar10.npz, resized to 16×16", "CIFAR-10 (resized to 16×16)"),
        ("JPEG copy", "CIFAR-10 (JPEG copy)"),
        ("JPEG copy, resized to 16×16", "CIFAR-10 (JPEG copy, resized to 16×16)"),
    ],
)
def test_a_title_says_what_is_special_about_the_pixels(source, title):
    digits = data.load("digits", train=10, test=10)
    shown = dataclasses.replace(digits, name="cifar10", source=source)
    assert shown.title == title


def test_a_part_that_is_nearly_black_is_told_whatever_the_other_is(tmp_path):
    """Test images divided by 255 twice beside training images as they should be."""
    rng = np.random.default_rng(0)
    x, y = rng.random((40, 8, 8)), np.arange(40) % 2
    np.savez(tmp_path / "half.npz", x_train=x, y_train=y, x_test=x / 255, y_test=y)
    with pytest.warns(UserWarning, match="brightest pixel of x_test is"):
        data.load("half", tmp_path)
