"""Neighbours: exact against float64 brute force, alike in labels to scikit-learn."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier

from kit import data, neighbors
from kit.neighbors import exact, fast

KS = tuple(range(1, 16, 2))


def reference(x_train, x, k):
    """Positions by (distance, position); exact where squares fit into float64, as all below do."""
    a, b = (t.flatten(1).double().numpy() for t in (x, x_train))
    return np.argsort(((a[:, None] - b) ** 2).sum(2), axis=1, kind="stable")[:, :k]


def vote(labels):
    return np.array([np.bincount(row).argmax() for row in labels], dtype=np.int64)


def check(x_train, x, k):
    result = neighbors.nearest(x_train, x, k)
    assert result.dtype == torch.int64
    np.testing.assert_array_equal(result.numpy(), reference(x_train, x, k).reshape(len(x), k))


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module", params=[torch.float32, torch.bfloat16], autouse=True)
def kind(request):
    """Both types to rank in, whatever this processor is fast at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast, "_fast_type", lambda train: request.param)
        yield request.param


@pytest.fixture
def searches(monkeypatch):
    """Numbers of candidates of every search, so that a test can see the fallback at work."""
    monkeypatch.setattr(fast, "MEASURED", 5)
    monkeypatch.setattr(fast, "CANDIDATES", 25)
    sizes, measured = [], fast._measured

    def spy(train, queries, index):
        sizes.append(index.shape[1])
        return measured(train, queries, index)

    monkeypatch.setattr(fast, "_measured", spy)
    return sizes


@st.composite
def problems(draw):
    """Few values per pixel, so many equal distances and duplicates; anywhere on the real line.

    All values are multiples of `scale` with less than 24 significant bits: float32 holds them and
    float64 their squared differences, yet float32 products round.
    """
    width = draw(st.integers(1, 5))
    count, queries = draw(st.integers(1, 40)), draw(st.integers(0, 6))
    scale = 2.0 ** draw(st.sampled_from((0, -4, -20)))
    offset = draw(st.sampled_from((0, 1, 3)))
    high = draw(st.sampled_from((1, 3, 1000)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    grid = rng.integers(0, high + 1, (count + queries, width)) * scale + offset
    images = torch.from_numpy(grid).float()
    labels = torch.from_numpy(rng.integers(0, 4, count))
    ks = draw(st.lists(st.integers(0, (count - 1) // 2), min_size=1, max_size=3, unique=True))
    return images[:count], labels, images[count:], [2 * k + 1 for k in ks]


@settings(deadline=None, max_examples=150)
@given(problems())
def test_brute_force_on_grids(problem):
    x_train, y_train, x, ks = problem
    check(x_train, x, len(x_train))
    check(x_train, x, max(ks))
    labels = y_train.numpy()[reference(x_train, x, max(ks))]
    for predict in (neighbors.predict, exact.predict):
        result = predict(x_train, y_train, x, ks)
        assert list(result) == ks
        for k in ks:
            assert result[k].dtype == torch.int64
            np.testing.assert_array_equal(result[k].numpy(), vote(labels[:, :k]))


@st.composite
def real_images(draw):
    """Real numbers of any size, in clusters, far from the origin or near it; some twice."""
    chance = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    count, side = draw(st.integers(20, 200)), draw(st.sampled_from((1, 4, 22)))
    kind = draw(st.sampled_from((torch.float16, torch.bfloat16, torch.float32, torch.float64)))
    centers = torch.randn(5, 1, side, side, generator=chance) * draw(st.sampled_from((0, 1, 30)))
    labels = torch.randint(0, 5, (count,), generator=chance)
    images = centers[labels] + torch.randn(count, 1, side, side, generator=chance)
    images[0] = images[count // 3] = images[-1]
    return images.to(kind), labels, draw(st.integers(1, 15))


@settings(deadline=None, max_examples=100)
@given(real_images())
def test_the_fast_search_finds_what_the_plain_one_finds(problem):
    images, labels, queries = problem
    x_train, y_train, x = images[queries:], labels[queries:], images[:queries]
    plain, found = (p(x_train, y_train, x, (1, 5)) for p in (exact.predict, neighbors.predict))
    assert all(torch.equal(plain[k], found[k]) for k in (1, 5))


def test_digits_get_the_labels_of_the_plain_search(digits):
    d, ks = digits, (1, 3, 15)
    plain, found = (
        predict(d.x_train, d.y_train, d.x_test, ks)
        for predict in (exact.predict, neighbors.predict)
    )
    assert all(torch.equal(plain[k], found[k]) for k in ks)


@pytest.mark.parametrize("algorithm", ["brute", "kd_tree"])
def test_labels_of_scikit_learn_on_digits(digits, algorithm):
    a, b = digits.x_train.flatten(1).double().numpy(), digits.x_test.flatten(1).double().numpy()
    result = neighbors.predict(digits.x_train, digits.y_train, digits.x_test, KS)
    index = reference(digits.x_train, digits.x_test, max(KS) + 1)
    distance = ((b[:, None] - a[index]) ** 2).sum(2)
    for k in KS:
        peer = KNeighborsClassifier(k, algorithm=algorithm).fit(a, digits.y_train).predict(b)
        # scikit-learn promises no order among equal distances: skip where one straddles K.
        clear = distance[:, k - 1] < distance[:, k]
        assert clear.mean() > 0.9
        np.testing.assert_array_equal(result[k].numpy()[clear], peer[clear])
        ours = vote(digits.y_train.numpy()[index[:, :k]])
        np.testing.assert_array_equal(result[k].numpy(), ours)


@pytest.mark.parametrize("k", [1, 7, 15])
def test_nearest_on_digits(digits, k):
    check(digits.x_train, digits.x_test, k)


def test_votes_tie_to_the_smaller_label():
    x_train = torch.arange(1.0, 6.0)[:, None]
    result = neighbors.predict(x_train, torch.tensor([9, 4, 4, 9, 0]), torch.zeros(1, 1), (1, 3, 5))
    assert {k: int(v) for k, v in result.items()} == {1: 9, 3: 4, 5: 4}


@pytest.mark.parametrize("size", [2**-20, 2**-23])
def test_differences_at_the_resolution_of_float32(size, searches):
    # A far image keeps the mean, about which distances are computed, away from the others.
    generator = torch.Generator().manual_seed(0)
    x_train = 1 + size * torch.randint(0, 5, (400, 1, 4, 4), generator=generator)
    x_train[0] = 0
    x = 1 + size * torch.randint(0, 5, (20, 1, 4, 4), generator=generator)
    product = torch.cdist(x.flatten(1), x_train.flatten(1), compute_mode="use_mm_for_euclid_dist")
    assert (product.argsort(dim=1, stable=True)[:, :5].numpy() != reference(x_train, x, 5)).any()
    check(x_train, x, 5)
    assert max(searches) > 5 + fast.CANDIDATES


@pytest.mark.parametrize("spread", [0.0, 0.9, 1.0])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_large_images_are_ranked_by_directions_that_hold_enough(
    spread, offset, kind, searches, monkeypatch
):
    """They hold nearly all differences (a spread of 0), most, or few of them (of 1)."""
    monkeypatch.setattr(fast, "DIRECTIONS", 16)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(420, 200, generator=generator) * spread ** torch.arange(200)
    images = offset + images @ torch.linalg.qr(torch.randn(200, 200, generator=generator))[0]
    images[7] = images[3]  # equal distances go by position
    check(images[:400], images[400:], 7)
    basis = fast._Ranking(images[:400]).basis
    assert basis is None if spread == 1 else basis.shape == (200, 16)
    if kind == torch.float32 and not offset and spread != 0.9:
        assert max(searches) <= 7 + fast.CANDIDATES  # nothing was in doubt


def test_differences_lost_beside_a_large_value():
    # 1 − 2⁻³⁰ is 1 in float32: a difference must be taken in float64 too.
    check(torch.arange(50).flip(0)[:, None] * 2.0**-30, torch.ones(1, 1), 3)
    check(torch.arange(50)[:, None] * 2.0**-30, torch.ones(1, 1), 3)


@pytest.mark.parametrize("away", [1, 2000])
def test_queries_far_from_all_training_images(away):
    # ‖q‖² in float32 is off by more than the distances differ: no proof may rest on it.
    shuffled = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    x_train = torch.stack([torch.ones(200), shuffled / 2**13], 1)
    x_train = torch.cat([x_train, torch.zeros(1, 2)])
    check(x_train, torch.stack([away + 3 * torch.arange(20.0), torch.zeros(20)], 1), 3)


def test_identical_images_come_by_position(searches):
    x_train, x = torch.full((300, 1, 2, 2), 0.3), torch.full((3, 1, 2, 2), 0.7)
    assert neighbors.nearest(x_train, x, 9).tolist() == [list(range(9))] * 3
    assert max(searches) == len(x_train)
    assert len(searches) <= 5  # each once with the few best, and once with all


def test_only_unsure_queries_are_searched_again(searches):
    x_train = torch.cat([torch.full((100, 2), 5.0), torch.arange(40.0)[:, None].expand(-1, 2)])
    check(x_train, torch.tensor([[30.1, 30.1], [5.0, 5.0], [20.2, 20.2]]), 3)
    assert len(searches) > 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CHUNK", 1),
        ("CHUNK", 7),
        ("AT_ONCE", 1),
        ("AT_ONCE", 500),
        ("MEASURED", 0),
        ("MEASURED", 1000),
        ("CANDIDATES", 80),
        ("CANDIDATES", 1000),
        ("ROWS", 1),
    ],
)
def test_sizes_of_work_do_not_matter(monkeypatch, name, value):
    generator = torch.Generator().manual_seed(0)
    x_train = torch.randint(0, 3, (90, 1, 2, 2), generator=generator).float()
    x = torch.randint(0, 3, (20, 1, 2, 2), generator=generator).float()
    monkeypatch.setattr(fast, name, value)
    for k in (1, 9, 90):
        check(x_train, x, k)


def test_queries_are_independent_of_each_other(digits):
    together = neighbors.nearest(digits.x_train, digits.x_test[:40], 5)
    alone = [neighbors.nearest(digits.x_train, x[None], 5) for x in digits.x_test[:40]]
    assert torch.equal(together, torch.cat(alone))


def test_accuracy_by_k(digits):
    d = digits
    result = neighbors.predict(d.x_train, d.y_train, d.x_test, KS)
    accuracy = neighbors.accuracy_by_k(d.x_train, d.y_train, d.x_test, d.y_test, KS)
    assert accuracy == {k: float((result[k] == d.y_test).double().mean()) for k in KS}
    # The nearest image of a training image is that image.
    assert neighbors.accuracy_by_k(d.x_train, d.y_train, d.x_train, d.y_train, (1,)) == {1: 1.0}


def test_no_queries(digits):
    d = digits
    assert neighbors.nearest(d.x_train, d.x_test[:0], 3).shape == (0, 3)
    result = neighbors.predict(d.x_train, d.y_train, d.x_test[:0], (1, 3))
    assert all(v.shape == (0,) and v.dtype == torch.int64 for v in result.values())
    accuracy = neighbors.accuracy_by_k(d.x_train, d.y_train, d.x_test[:0], d.y_test[:0], (1, 3))
    assert list(accuracy) == [1, 3]
    assert all(map(math.isnan, accuracy.values()))


def test_a_vote_takes_no_memory_for_classes():
    """One label of 10¹² is a class among so many, of which one neighbour has one."""
    x_train, x = random_points(2000, seed=0), random_points(300, seed=1)
    y_train = torch.randint(0, 10**12, (2000,), generator=torch.Generator().manual_seed(0))
    y_train[::2] = 10**12
    few = torch.unique(y_train, return_inverse=True)
    result = neighbors.predict(x_train, y_train, x, ks=(1, 5, 15))
    for k, found in neighbors.predict(x_train, few[1], x, ks=(1, 5, 15)).items():
        assert torch.equal(result[k], few[0][found])


def random_points(count, seed):
    return torch.rand(count, 5, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("ks", [(), [], {}, 3, None, range(0)])
def test_no_k(ks):
    x, y = torch.rand(5, 3), torch.zeros(5, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"^ks is .*: give at least one K, such as"):
        neighbors.predict(x, y, x, ks)


@pytest.mark.parametrize("k", [3.0, 1.5, "3", True, torch.tensor(3), None, math.nan])
def test_a_k_is_a_whole_number(k):
    x, y = torch.rand(5, 3), torch.zeros(5, dtype=torch.int64)
    for call in (
        lambda: neighbors.predict(x, y, x, (k,)), lambda: neighbors.nearest(x, x, k),
        lambda: neighbors.accuracy_by_k(x, y, x, y, (1, k)), lambda: exact.predict(x, y, x, (k,)),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"^K is .*: use "):
            call()


def test_a_k_of_numpy():
    x, y = torch.rand(5, 3), torch.arange(5)
    assert neighbors.predict(x, y, x, np.array([1, 3])).keys() == {1, 3}
    assert neighbors.nearest(x, x, np.int64(1)).flatten().tolist() == list(range(5))


@pytest.mark.parametrize("k", [2, 0, -1, 7])
def test_impossible_k(k):
    x, y = torch.rand(5, 3), torch.zeros(5, dtype=torch.int64)
    for ks in ((k,), (1, k)):
        with pytest.raises(ValueError, match=f"K is {k}"):
            neighbors.predict(x, y, x, ks)
        with pytest.raises(ValueError, match=f"K is {k}"):
            neighbors.accuracy_by_k(x, y, x, y, ks)


@pytest.mark.parametrize("k", [0, -1, 6])
def test_nearest_refuses_k_out_of_range(k):
    with pytest.raises(ValueError, match=f"K is {k}"):
        neighbors.nearest(torch.rand(5, 3), torch.rand(2, 3), k)


def test_data_that_do_not_fit_together():
    x, y = torch.rand(5, 3), torch.zeros(5, dtype=torch.int64)
    with pytest.raises(ValueError, match="use one shape"):
        neighbors.predict(x, y, torch.rand(2, 4), (1,))
    with pytest.raises(ValueError, match="4 labels"):
        neighbors.predict(x, y[:4], x, (1,))
    with pytest.raises(ValueError, match="4 labels"):
        neighbors.accuracy_by_k(x, y, x, y[:4], (1,))
