"""Perturbations: genomes decoded as the definition says, corruption, and the three baselines."""

import itertools
import math
import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kit import perturbations

SHAPES = st.tuples(st.sampled_from([1, 2, 3]), st.integers(1, 7), st.integers(1, 7))
GENE = st.one_of(
    st.sampled_from([-0.0, 0.0, 0.5, 1.0, 1 - 1e-12, -1e-12, 1 + 1e-12, -3.0, 7.5]),
    st.floats(0, 1),
    st.floats(-2, 3),
)


@st.composite
def genomes(draw):
    """A genome with all that describes it: (numbers, classes, pixels, shape)."""
    shape, classes = draw(SHAPES), draw(st.integers(1, 4))
    pixels = draw(st.integers(1, min(4, shape[1] * shape[2])))
    length = classes * pixels * (2 + shape[0])
    genome = draw(st.lists(GENE, min_size=length, max_size=length))
    return genome, classes, pixels, shape


def clipped(number):
    return min(max(number, 0.0), 1.0)


def decoded(genome, classes, pixels, shape):
    """The definition, gene by gene: noise as nested lists (class, channel, row, column)."""
    channels, height, width = shape
    noise = [
        [[[0.0] * width for _ in range(height)] for _ in range(channels)] for _ in range(classes)
    ]
    genes = iter(genome)
    for image in noise:
        for _ in range(pixels):
            row = min(math.floor(clipped(next(genes)) * height), height - 1)
            column = min(math.floor(clipped(next(genes)) * width), width - 1)
            for channel in image:
                channel[row][column] += 2 * clipped(next(genes)) - 1
    assert next(genes, None) is None
    return torch.tensor(noise).clamp(-1, 1)


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def spots(noise):
    """Places (row, column) of one class's noise that are not zero in some channel."""
    return [tuple(place) for place in noise.abs().amax(0).nonzero().tolist()]


# Genomes ----------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=300)
@given(genomes())
def test_decode_as_defined(candidate):
    noise = perturbations.decode(*candidate)
    _, classes, pixels, shape = candidate
    assert noise.dtype == torch.float32
    assert noise.shape == (classes, *shape)
    torch.testing.assert_close(noise, decoded(*candidate), rtol=0, atol=1e-6)
    assert all(len(spots(image)) <= pixels for image in noise)


@settings(deadline=None, max_examples=50)
@given(genomes(), st.sampled_from([(1,), (3,), (2, 3), (0,)]), st.integers(0, 99))
def test_decode_batches(candidate, batch, seed):
    genome, *rest = candidate
    many = random(*batch, len(genome), seed=seed).double() * 1.4 - 0.2
    noise = perturbations.decode(many, *rest)
    assert noise.shape == (*batch, rest[0], *rest[2])
    for index in itertools.product(*map(range, batch)):
        assert torch.equal(noise[index], perturbations.decode(many[index], *rest))


@settings(deadline=None, max_examples=100)
@given(genomes())
def test_decode_clips(candidate):
    genome, *rest = candidate
    inside = [clipped(gene) for gene in genome]
    assert torch.equal(perturbations.decode(genome, *rest), perturbations.decode(inside, *rest))


@pytest.mark.parametrize("kind", [list, tuple, torch.tensor, lambda g: torch.tensor(g).double()])
def test_decode_takes_any_array(kind):
    noise = perturbations.decode(kind([0.5, 0.25, 0.75]), 1, 1, (1, 4, 4))
    assert noise.nonzero().tolist() == [[0, 0, 2, 1]]
    assert noise.max() == 0.5


@pytest.mark.parametrize(
    ("gene", "row"), [(0, 0), (0.2499, 0), (0.25, 1), (0.5, 2), (0.9999, 3), (1.0, 3), (9, 3)]
)
def test_places(gene, row):
    for genome, place in (([gene, 0, 1], (row, 0)), ([0, gene, 1], (0, row))):
        assert spots(perturbations.decode(genome, 1, 1, (1, 4, 4))[0]) == [place]


def test_pixels_on_one_spot_add_up_within_the_range():
    genome = [0, 0, 1.0, 0.0, 0.5, 0.2, 0.1, 1.0, 0.75, 0.5]  # 4×4: both fall into the first spot
    noise = perturbations.decode(genome, 1, 2, (3, 4, 4))
    assert spots(noise[0]) == [(0, 0)]
    torch.testing.assert_close(noise[0, :, 0, 0], torch.tensor([1.0, -0.5, 0.0]))


def test_a_value_of_one_half_is_no_noise():
    assert not perturbations.decode([0.3, 0.3, 0.5] * 10, 10, 1, (1, 8, 8)).any()


@settings(deadline=None, max_examples=50)
@given(SHAPES, st.integers(1, 12), st.integers(1, 49), st.data())
def test_genome_length(shape, classes, pixels, data):
    pixels = min(pixels, shape[1] * shape[2])
    length = perturbations.genome_length(classes, pixels, shape[0])
    assert len(perturbations.start(classes, pixels, shape)) == length
    perturbations.decode(torch.zeros(length), classes, pixels, shape)
    wrong = data.draw(st.integers(0, 2 * length).filter(lambda n: n != length))
    with pytest.raises(ValueError, match=rf"^\S.*\b{wrong}\b.*\b{length}\b.*\.$"):
        perturbations.decode(torch.zeros(wrong), classes, pixels, shape)


@pytest.mark.parametrize(("channels", "length"), [(1, 30), (3, 50)])
def test_genome_length_of_ten_classes(channels, length):
    assert perturbations.genome_length(10, 1, channels) == length


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 9)])
@pytest.mark.parametrize("pixels", [1, 3])
def test_start(shape, pixels):
    genome = perturbations.start(10, pixels, shape, place=0.4, value=0.9)
    assert genome.dtype == torch.float64
    for genes in genome.view(10, pixels, 2 + shape[0]).flatten(0, 1):
        assert genes.tolist() == [0.4, 0.4] + [0.9] * shape[0]
    noise = perturbations.decode(genome, 10, pixels, shape)
    for image in noise:
        ((row, column),) = spots(image)
        assert (row, column) == (int(0.4 * shape[1]), int(0.4 * shape[2]))
        assert image[:, row, column].tolist() == pytest.approx([min(0.8 * pixels, 1)] * shape[0])


@pytest.mark.parametrize(("shape", "pixels"), [((1, 8, 8), 1), ((3, 5, 7), 4)])
def test_encode_is_the_opposite_of_decode(shape, pixels):
    noise = perturbations.uniform(6, pixels, shape, seed=2)
    genome = perturbations.encode(noise, pixels)
    assert genome.shape == (perturbations.genome_length(6, pixels, shape[0]),)
    for saturation in (1.0, 4.0):
        decoded = perturbations.decode(genome, 6, pixels, shape, saturation=saturation)
        assert torch.equal(decoded, noise)
    with pytest.raises(
        ValueError, match=rf"has {pixels} pixels per class: {pixels + 1} are wanted"
    ):
        perturbations.encode(noise, pixels + 1)


@pytest.mark.parametrize(
    ("value", "saturation", "wanted"),
    [(0.75, 1.0, 0.5), (0.75, 1.5, 0.75), (0.75, 2.0, 1.0), (0.75, 4.0, 1.0), (0.4, 4.0, -0.8)],
)
def test_values_saturate(value, saturation, wanted):
    noise = perturbations.decode([0.5, 0.5, value], 1, 1, (1, 4, 4), saturation=saturation)
    assert float(noise.sum()) == pytest.approx(wanted)


def test_no_saturation_below_one():
    with pytest.raises(ValueError, match=r"^saturation is 0.5: use a number from 1 on\.$"):
        perturbations.decode([0.5, 0.5, 1], 1, 1, (1, 4, 4), saturation=0.5)


def test_start_is_a_bright_pixel_in_the_middle():
    noise = perturbations.decode(perturbations.start(2, 1, (1, 8, 8)), 2, 1, (1, 8, 8))
    assert noise.nonzero().tolist() == [[0, 0, 4, 4], [1, 0, 4, 4]]
    assert noise.max() == 0.5


@pytest.mark.parametrize("number", [-0.01, 1.01, -3, 2, math.nan, math.inf])
@pytest.mark.parametrize("name", ["place", "value"])
def test_start_out_of_range(name, number):
    with pytest.raises(ValueError, match=rf"^start_{name} is {number}: .* in \[0, 1\]\.$"):
        perturbations.start(10, 1, (1, 8, 8), **{name: number})


@pytest.mark.parametrize("number", [0, 1])
def test_start_in_a_corner(number):
    perturbations.start(10, 1, (1, 8, 8), place=number, value=number)


CALLS = {
    "start": lambda pixels, shape: perturbations.start(2, pixels, shape),
    "decode": lambda pixels, shape: perturbations.decode([0.0] * 6, 2, pixels, shape),
    "uniform": lambda pixels, shape: perturbations.uniform(2, pixels, shape),
}


@pytest.mark.parametrize("pixels", [0, -1, 13, 1000, True, False, 1.0, 0.5, "1", None])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_pixels_out_of_range(call, pixels):
    match = rf"^pixels is {pixels!r}: .* from 1 to 12,.* 3×4 pixels\.$"
    with pytest.raises(ValueError, match=match):
        call(pixels, (1, 3, 4))


# Corruption -------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(SHAPES, st.integers(1, 5), st.integers(0, 6), st.integers(0, 999))
def test_apply_as_a_loop(shape, classes, count, seed):
    x, noise = random(count, *shape, seed=seed), 3 * random(classes, *shape, seed=seed + 1) - 1.5
    y = torch.randint(classes, (count,), generator=torch.Generator().manual_seed(seed))
    before = x.clone(), noise.clone()
    corrupted = perturbations.apply(noise, x, y)
    assert corrupted.shape == x.shape
    for image, clean, label in zip(corrupted, x, y, strict=True):
        for got, pixel, change in zip(
            image.flatten().tolist(),
            clean.flatten().tolist(),
            noise[int(label)].flatten().tolist(),
            strict=True,
        ):
            assert got == pytest.approx(clipped(pixel + change), abs=1e-6)
            assert 0 <= got <= 1
    assert torch.equal(x, before[0])
    assert torch.equal(noise, before[1])


def test_no_noise_changes_nothing():
    x = random(4, 3, 5, 5)
    assert torch.equal(perturbations.apply(torch.zeros(2, 3, 5, 5), x, torch.arange(4) % 2), x)


@pytest.mark.parametrize("mapped", ["noise", "everything"])
def test_apply_under_vmap(mapped):
    noise, x, y = 2 * random(3, 4, 1, 5, 5) - 1, random(3, 6, 1, 5, 5), torch.arange(18) % 4
    y = y.view(3, 6)
    if mapped == "noise":  # one batch for all candidates, as training.fit_many has it
        x, y = x[0], y[0]
        result = torch.vmap(perturbations.apply, (0, None, None))(noise, x, y)
        alone = [perturbations.apply(candidate, x, y) for candidate in noise]
    else:
        result = torch.vmap(perturbations.apply)(noise, x, y)
        alone = [perturbations.apply(*parts) for parts in zip(noise, x, y, strict=True)]
    assert torch.equal(result, torch.stack(alone))


@pytest.mark.parametrize("colour", itertools.product((0, 1), repeat=3))
def test_full_amplitude_sets_a_pixel(colour):
    noise = torch.zeros(1, 3, 2, 2)
    noise[0, :, 1, 0] = torch.tensor(colour) * 2.0 - 1
    corrupted = perturbations.apply(noise, random(5, 3, 2, 2), torch.zeros(5, dtype=torch.int64))
    assert torch.equal(corrupted[:, :, 1, 0], torch.tensor(colour).float().expand(5, 3))


# The uniform baseline ---------------------------------------------------------------------------


@settings(deadline=None, max_examples=100)
@given(SHAPES, st.integers(1, 6), st.integers(1, 49), st.integers(0, 2**32 - 1))
def test_uniform(shape, classes, pixels, seed):
    pixels = min(pixels, shape[1] * shape[2])
    noise = perturbations.uniform(classes, pixels, shape, seed=seed)
    assert noise.shape == (classes, *shape)
    for image in noise:
        places = spots(image)
        assert len(places) == pixels
        for row, column in places:
            values = image[:, row, column].tolist()
            assert set(values) <= ({1.0} if shape[0] == 1 else {-1.0, 1.0})
    assert torch.equal(noise, perturbations.uniform(classes, pixels, shape, seed=seed))


def test_noise_for_no_class_is_refused():
    for make in (perturbations.left_column, lambda n, shape: perturbations.uniform(n, 1, shape)):
        with pytest.raises(ValueError, match="classes is 0: it must be a positive whole number"):
            make(0, (1, 4, 4))


def test_uniform_follows_the_seed_alone():
    noises = [perturbations.uniform(10, 2, (3, 8, 8), seed=seed) for seed in range(20)]
    assert len({noise.numpy().tobytes() for noise in noises}) == 20
    before = torch.get_rng_state()
    assert torch.equal(perturbations.uniform(10, 2, (3, 8, 8)), noises[0])
    assert torch.equal(torch.get_rng_state(), before)


def test_uniform_differs_between_classes():
    noise = perturbations.uniform(10, 1, (1, 28, 28))
    assert len({spots(image)[0] for image in noise}) > 7


@pytest.mark.parametrize("pixels", [1, 3])
def test_uniform_goes_everywhere(pixels):
    noises = [perturbations.uniform(5, pixels, (1, 3, 4), seed=seed) for seed in range(600)]
    hits, draws, chance = torch.stack(noises).sum((0, 1, 2)), 600 * 5, pixels / 12
    spread = math.sqrt(draws * chance * (1 - chance))
    assert ((hits - draws * chance).abs() < 5 * spread).all()


def test_uniform_uses_every_extreme_colour():
    noises = [perturbations.uniform(5, 2, (3, 2, 2), seed=seed) for seed in range(200)]
    pixels = torch.stack(noises).permute(0, 1, 3, 4, 2).reshape(-1, 3)
    colours, hits = pixels[pixels.any(1)].unique(dim=0, return_counts=True)
    draws, chance = 200 * 5 * 2, 1 / 8
    assert len(colours) == 8
    spread = math.sqrt(draws * chance * (1 - chance))
    assert ((hits - draws * chance).abs() < 5 * spread).all()


# The left column --------------------------------------------------------------------------------


@settings(deadline=None, max_examples=100)
@given(SHAPES, st.integers(1, 20))
def test_left_column(shape, classes):
    noise, rows = perturbations.left_column(classes, shape), []
    assert noise.shape == (classes, *shape)
    for label, image in enumerate(noise):
        ((row, column),) = spots(image)
        assert column == 0
        assert (image[:, row, 0] == 1).all(), "white"
        exact = label * (shape[1] - 1) / (classes - 1) if classes > 1 else 0
        assert abs(row - exact) <= 0.5
        rows.append(row)
    assert rows == sorted(rows)
    if classes > 1:
        assert (rows[0], rows[-1]) == (0, shape[1] - 1)
    if classes <= shape[1]:
        assert len(set(rows)) == classes


@pytest.mark.parametrize(
    ("shape", "rows"),
    [
        ((1, 28, 28), [0, 3, 6, 9, 12, 15, 18, 21, 24, 27]),
        ((3, 32, 32), [0, 3, 7, 10, 14, 17, 21, 24, 28, 31]),
        ((1, 8, 8), [0, 1, 2, 2, 3, 4, 5, 5, 6, 7]),
    ],
)
def test_left_column_of_ten_classes(shape, rows):
    assert [spots(image) for image in perturbations.left_column(10, shape)] == [
        [(row, 0)] for row in rows
    ]


# One-Pixel Shortcut -----------------------------------------------------------------------------


def labelled(count, classes, shape, seed):
    """Random images, at least two of each class, which differ in every pixel: no ties."""
    return random(count, *shape, seed=seed).double(), torch.arange(count) % classes


def shortcuts(x, y, classes):
    """By trying everything: (row, column, colour) for each class."""
    channels, height, width = x.shape[1:]
    triples = []
    for label in range(classes):
        of_class = x[y == label].tolist()
        best = -1.0, None
        for row, column in itertools.product(range(height), range(width)):
            for colour in itertools.product((0, 1), repeat=channels):
                changes = [
                    sum(abs(colour[c] - image[c][row][column]) for c in range(channels))
                    for image in of_class
                ]
                score = statistics.fmean(changes) / statistics.pstdev(changes)
                if (row, column, colour) not in triples and score > best[0]:
                    best = score, (row, column, colour)
        triples.append(best[1])
    return triples


def painted(triples, shape):
    noise = torch.zeros(len(triples), *shape)
    for image, (row, column, colour) in zip(noise, triples, strict=True):
        image[:, row, column] = torch.tensor(colour) * 2.0 - 1
    return noise


def read(noise):
    """The (row, column, colour) of each class, where exactly one pixel is set."""
    triples = []
    for image in noise:
        ((row, column),) = spots(image)
        values = image[:, row, column]
        assert (values.abs() == 1).all()
        triples.append((row, column, tuple(((values + 1) / 2).int().tolist())))
    return triples


@settings(deadline=None, max_examples=40)
@given(
    channels=st.sampled_from([1, 3]),
    size=st.tuples(st.integers(1, 3), st.integers(2, 4)),
    classes=st.integers(1, 4),
    seed=st.integers(0, 9999),
    chance=st.integers(0, 9),
)
def test_one_pixel_shortcut_is_the_best_of_all(channels, size, classes, seed, chance):
    shape = (channels, *size)
    x, y = labelled(5 * classes, classes, shape, seed)
    noise = perturbations.one_pixel_shortcut(x, y, classes, seed=chance)
    assert torch.equal(noise, painted(shortcuts(x, y, classes), shape))


def test_one_pixel_shortcut_does_not_depend_on_the_order():
    x, y = labelled(40, 4, (3, 4, 4), 1)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    noise = perturbations.one_pixel_shortcut(x, y, 4)
    assert torch.equal(noise, perturbations.one_pixel_shortcut(x[order], y[order], 4))
    assert torch.equal(noise, perturbations.one_pixel_shortcut(x.float(), y, 4))


def test_two_classes_with_one_best_pixel():
    x, y = labelled(20, 1, (1, 4, 4), 3)
    twice, labels = torch.cat([x, x]), torch.arange(2).repeat_interleave(20)
    first, second = read(perturbations.one_pixel_shortcut(twice, labels, 2))
    assert [first] == shortcuts(x, y, 1)
    assert first != second
    assert [first, second] == shortcuts(twice, labels, 2)


@pytest.mark.parametrize("value", [0.0, 0.1, 0.7, 1.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_that_never_vary_win(channels, value):
    x, y = labelled(35, 5, (channels, 6, 6), 0)
    x[:, :, :, 0] = value
    for seed in range(5):
        for _, column, colour in read(perturbations.one_pixel_shortcut(x, y, 5, seed=seed)):
            assert column == 0
            assert colour != (value,) * channels, "painting black on black is no change"


@pytest.mark.parametrize("seed", range(10))
def test_one_image_of_a_class(seed):
    # Every change is the same on every image: any will do that is one.
    x = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).expand(1, 1, 2, 2)
    ((row, column, colour),) = read(
        perturbations.one_pixel_shortcut(x, torch.tensor([0]), 1, seed=seed)
    )
    assert colour != (x[0, 0, row, column],)


def framed(count=40, classes=4, side=8):
    x, y = labelled(count, classes, (1, side, side), 0)
    x[:, :, [0, -1]] = x[..., [0, -1]] = 0
    return x, y


def test_ties_are_broken_by_the_seed():
    x, y = framed()
    before = torch.get_rng_state()
    draws = [read(perturbations.one_pixel_shortcut(x, y, 4, seed=seed)) for seed in range(60)]
    assert torch.equal(torch.get_rng_state(), before)
    assert draws[7] == read(perturbations.one_pixel_shortcut(x, y, 4, seed=7))
    assert len({tuple(draw) for draw in draws}) > 50
    places = {place for draw in draws for place in draw}
    # 240 draws from 28 spots: each stays out with a chance of 1 in 5,000.
    assert len(places) >= 26
    for row, column, colour in places:
        assert row in (0, 7) or column in (0, 7)
        assert colour == (1,)


@pytest.mark.parametrize("seed", range(20))
def test_ties_are_distinct_over_classes(seed):
    x, y = framed(56, classes=28)  # as many classes as spots in the frame
    triples = read(perturbations.one_pixel_shortcut(x, y, 28, seed=seed))
    assert len(set(triples)) == 28
    assert all(row in (0, 7) or column in (0, 7) for row, column, _ in triples)


def test_shortcut_is_seen_through_the_corruption():
    x, y = framed()
    corrupted = perturbations.apply(perturbations.one_pixel_shortcut(x, y, 4), x, y)
    for image, label in zip(corrupted, y, strict=True):
        place = read(perturbations.one_pixel_shortcut(x, y, 4))[int(label)]
        assert image[0, place[0], place[1]] == 1


def test_a_genome_must_hold_numbers():
    with pytest.raises(ValueError, match="holds NaN"):
        perturbations.decode([math.nan, 0, 1], 1, 1, (1, 4, 4))
    with pytest.raises(ValueError, match="has 1 numbers"):
        perturbations.decode(0.5, 1, 1, (1, 4, 4))


def test_the_shortcut_needs_an_image_of_each_class_and_enough_choices():
    x, y = torch.rand(10, 1, 1, 2), torch.arange(10) % 5
    with pytest.raises(ValueError, match="5 classes, but only 4 pairs"):
        perturbations.one_pixel_shortcut(x, y, 5)
    with pytest.raises(ValueError, match="no image of class 2"):
        perturbations.one_pixel_shortcut(torch.rand(10, 1, 4, 4), torch.arange(10) % 2, 3)


@settings(deadline=None, max_examples=100)
@given(genomes(), st.sampled_from([1.0, 1.5, 4.0]), st.integers(0, 99))
def test_noise_lies_in_the_range_that_is_promised(candidate, saturation, seed):
    """Even where all pixels fall on one spot; what is clipped never showed on an image."""
    genome, classes, pixels, shape = candidate
    genes = torch.tensor(genome, dtype=torch.float64).view(-1, 2 + shape[0])
    genes[:, :2] = 0.3  # one spot
    noise = perturbations.decode(genes.flatten(), classes, pixels, shape, saturation=saturation)
    assert noise.abs().max() <= 1
    values = (saturation * (2 * genes[:, 2:].clamp(0, 1) - 1)).clamp(-1, 1)
    added = values.view(classes, pixels, shape[0]).sum(1)
    x, y = random(20, *shape, seed=seed), torch.arange(20) % classes
    place = int(0.3 * shape[1]), int(0.3 * shape[2])
    unclipped = torch.zeros(classes, *shape)
    unclipped[:, :, place[0], place[1]] = added.float()
    expected = (x + unclipped[y]).clamp(0, 1)
    torch.testing.assert_close(perturbations.apply(noise, x, y), expected, rtol=0, atol=1e-6)


def test_opposite_pixels_on_one_spot_cancel():
    genome = [0.1, 0.1, 1.0, 0.1, 0.1, 0.0]
    assert not perturbations.decode(genome, 1, 2, (1, 4, 4)).any()


@pytest.mark.parametrize("label", [-1, 3, 100])
def test_apply_takes_no_other_class(label):
    """Indexing would take −1 for the last class."""
    noise, x = perturbations.uniform(3, 1, (1, 4, 4)), torch.rand(2, 1, 4, 4)
    with pytest.raises(ValueError, match="noise has 3, so use whole numbers from 0 to 2"):
        perturbations.apply(noise, x, torch.tensor([0, label]))


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 4), (3, 1, 4, 5), (2, 3, 1, 4, 4), (3, 3, 4, 4)])
def test_noise_of_another_shape(shape):
    with pytest.raises(ValueError, match=r"noise must be of shape \(classes, C, H, W\)"):
        perturbations.apply(torch.zeros(shape), torch.rand(2, 1, 4, 4), torch.tensor([0, 1]))
