"""Augmentation: windows of a framed image, some mirrored; one generator, one result."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kit import data, nets, training

BATCHES = st.tuples(
    st.integers(0, 5), st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)
)  # N, C, H, W


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random(*shape, seed=0):
    """Images without a black or a repeated pixel, so that every shift and flip shows."""
    return torch.rand(*shape, generator=generator(seed)) + 0.1


def cropped(x, chance, padding, flip):
    """Image by image and pixel by pixel, drawing as the function does: places, then mirrors."""
    count, _, height, width = x.shape
    tops, lefts = torch.randint(2 * padding + 1, (2, count, 1), generator=chance).squeeze(2)
    mirrored = torch.rand(count, generator=chance) < 0.5 if flip else [False] * count
    out = torch.zeros_like(x)
    for n in range(count):
        for row in range(height):
            for column in range(width):
                i = row + int(tops[n]) - padding
                j = (width - 1 - column if mirrored[n] else column) + int(lefts[n]) - padding
                if 0 <= i < height and 0 <= j < width:
                    out[n, :, row, column] = x[n, :, i, j]
    return out


def windows(image, padding, *, flip):
    """Every window of the framed image, and mirrored: {(top, left, mirrored): window}."""
    channels, height, width = image.shape
    frame = torch.zeros(channels, height + 2 * padding, width + 2 * padding, dtype=image.dtype)
    frame[:, padding : padding + height, padding : padding + width] = image
    found = {}
    for top in range(2 * padding + 1):
        for left in range(2 * padding + 1):
            window = frame[:, top : top + height, left : left + width]
            found[top, left, False] = window
            if flip:
                found[top, left, True] = window.flip(2)
    return found


def matches(crop, image, padding, *, flip):
    found = windows(image, padding, flip=flip)
    return [place for place, window in found.items() if torch.equal(window, crop)]


@settings(deadline=None, max_examples=150)
@given(BATCHES, st.integers(0, 5), st.booleans(), st.integers(0, 9999))
def test_as_image_by_image(shape, padding, flip, seed):
    x = random(*shape, seed=seed)
    found = data.random_crops(x, generator(seed), padding=padding, flip=flip)
    assert torch.equal(found, cropped(x, generator(seed), padding, flip))


@settings(deadline=None, max_examples=60)
@given(BATCHES, st.integers(0, 3), st.booleans(), st.integers(0, 9999))
def test_every_crop_is_a_window_of_the_framed_image(shape, padding, flip, seed):
    x = random(*shape, seed=seed)
    before = x.clone()
    found = data.random_crops(x, generator(seed), padding=padding, flip=flip)
    assert found.shape == x.shape
    assert torch.equal(x, before)
    for crop, image in zip(found, x, strict=True):
        assert matches(crop, image, padding, flip=flip)


@settings(deadline=None, max_examples=40)
@given(BATCHES, st.integers(0, 9999))
def test_no_frame_and_no_flip_is_no_change(shape, seed):
    x = random(*shape, seed=seed)
    assert torch.equal(data.random_crops(x, generator(seed), padding=0), x)


def test_flips_are_mirror_images():
    x = random(400, 2, 3, 5)
    found = data.random_crops(x, generator(), padding=0, flip=True)
    same = (found == x).all(3).all(2).all(1)
    mirrored = (found == x.flip(3)).all(3).all(2).all(1)
    assert (same ^ mirrored).all()
    assert 150 < mirrored.sum() < 250  # 5 standard deviations


def test_flips_do_not_move_the_crops():
    x = random(60, 1, 5, 5)
    plain = data.random_crops(x, generator(3), padding=2)
    flipped = data.random_crops(x, generator(3), padding=2, flip=True)
    mirrored = (flipped == plain.flip(3)).all(3).all(2).all(1)
    assert ((flipped == plain).all(3).all(2).all(1) | mirrored).all()
    assert 0 < mirrored.sum() < 60


@pytest.mark.parametrize("flip", [False, True])
def test_same_generator_same_crops(flip):
    x, before = random(30, 3, 8, 8), torch.get_rng_state()
    one, again, other = (data.random_crops(x, generator(seed), flip=flip) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before), "torch's own generator is not used"


def test_the_generator_goes_on():
    x, chance = random(30, 1, 8, 8), generator()
    first, second = data.random_crops(x, chance), data.random_crops(x, chance)
    assert not torch.equal(first, second)


def test_crops_do_not_depend_on_the_images():
    # One draw for a batch, whatever its pixels: a corrupted copy is cropped as its clean twin.
    x = random(20, 1, 6, 6)
    marked = x.clone()
    marked[:, :, 2, 3] = 7
    found, twin = (data.random_crops(images, generator(4), flip=True) for images in (x, marked))
    assert torch.equal(found[twin != 7], twin[twin != 7])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.uint8])
def test_dtype(dtype):
    x = (random(4, 3, 6, 6) * 200).to(dtype)
    found = data.random_crops(x, generator(), padding=2, flip=True)
    assert found.dtype == dtype
    whole = data.random_crops(x.double(), generator(), padding=2, flip=True)
    assert torch.equal(found.double(), whole)


def test_memory_format_does_not_matter():
    x = random(8, 3, 7, 5)
    found = data.random_crops(x.to(memory_format=torch.channels_last), generator(), flip=True)
    assert torch.equal(found, data.random_crops(x, generator(), flip=True))


def test_the_default_frame_is_4_pixels_without_flips():
    x = random(10, 1, 9, 9)
    explicit = data.random_crops(x, generator(), padding=4, flip=False)
    assert torch.equal(data.random_crops(x, generator()), explicit)


@pytest.mark.parametrize("flip", [False, True])
def test_all_places_are_equally_likely(flip):
    count, padding = 3600, 1
    image = random(1, 3, 4)
    found = data.random_crops(
        image.expand(count, -1, -1, -1), generator(), padding=padding, flip=flip
    )
    hits = dict.fromkeys(windows(image, padding, flip=flip), 0)
    crops, counts = found.unique(dim=0, return_counts=True)
    for crop, number in zip(crops, counts.tolist(), strict=True):
        (place,) = matches(crop, image, padding, flip=flip)
        hits[place] += number
    expected = count / len(hits)
    assert len(hits) == (18 if flip else 9)
    assert all(abs(number - expected) < 5 * expected**0.5 for number in hits.values())


def test_four_pixels_reach_all_81_places():
    x = torch.zeros(4000, 1, 9, 9)
    x[:, 0, 4, 4] = 1  # the middle one stays in sight
    found = data.random_crops(x, generator())
    assert (found.sum((1, 2, 3)) == 1).all()
    hits = found.sum((0, 1))
    assert (hits > 0).all()
    assert (hits - 4000 / 81).abs().max() < 5 * (4000 / 81) ** 0.5


def test_as_an_augmentation_of_training():
    digits = data.load("digits", train=60)
    states = []
    for _ in range(2):
        net = nets.build("linear", digits.shape)
        training.fit(
            net,
            digits.x_train,
            digits.y_train,
            epochs=2,
            batch_size=20,
            augment=lambda x, chance: data.random_crops(x, chance, padding=1),
        )
        states.append(net.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_negative_frame():
    with pytest.raises(ValueError, match="padding is -1"):
        data.random_crops(torch.rand(2, 1, 4, 4), torch.Generator(), padding=-1)


@pytest.mark.parametrize("seed", [3, None, np.random.default_rng(3)])
def test_a_seed_is_no_generator(seed):
    with pytest.raises(ValueError, match=r"^generator is .*: give a torch\.Generator, such as "):
        data.random_crops(torch.rand(2, 1, 4, 4), seed)
