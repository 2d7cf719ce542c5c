"""Sliders whose positions are drawn in advance."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from kit.harness import plots, positions

SLIDERS = st.lists(
    st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1))),
    min_size=1,
    max_size=3,
)


@given(SLIDERS)
def test_the_positions_are_few_and_hold_an_end_and_where_it_stands(sliders):
    counts, now = zip(*sliders, strict=True)
    places = positions.chosen(counts, now)
    for (count, place), chosen in zip(sliders, places, strict=True):
        assert chosen == sorted(set(chosen))
        assert place in chosen
        assert set(chosen) <= set(range(count))
        assert len(chosen) >= min(count, 2)
        if len(sliders) < 3:  # three sliders have two positions each
            assert {0, count - 1} <= set(chosen)
        else:
            assert {0, count - 1} & set(chosen)
    product = 1
    for chosen in places:
        product *= len(chosen)
    assert product <= positions.MOST + (len(counts) == 2)


def picture(k, word="a"):
    figure = Figure()
    figure.suptitle(f"picture {k} {word}")
    return figure


@pytest.fixture
def displayed(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **_: shown.append(data))
    return shown


def test_only_a_run_without_a_screen_draws_them_in_advance(displayed, monkeypatch):
    drawn = []

    def draw(k):
        drawn.append(k)
        return picture(k)

    monkeypatch.delenv(positions.ALL, raising=False)
    plots.control(draw, plots.Slider("K", [1, 3, 5], 3))
    assert drawn == [3]
    assert positions.MIME not in displayed[0]
    monkeypatch.setenv(positions.ALL, "1")
    plots.control(draw, plots.Slider("K", [1, 3, 5], 3))
    assert sorted(drawn) == [1, 3, 3, 5]


def test_each_combination_has_its_picture_and_the_first_is_the_one_shown(displayed, monkeypatch):
    monkeypatch.setenv(positions.ALL, "1")
    words = {"first <word>": "a", "second": "b"}
    plots.control(picture, plots.Slider("K", [1, 3, 5], 3), plots.Slider("word", words))
    text = positions.as_html(displayed[0][positions.MIME], "control-1")
    alts = re.findall(r'alt="([^"]*)"', text)
    wanted = [f"picture {k} {word}" for k, word in itertools.product([1, 3, 5], "ab")]
    assert alts == wanted
    assert text.count('type="radio"') == 5
    assert text.count(" checked") == 2
    assert "first &lt;word&gt;" in text
    (first,) = re.findall(r'class="at at-1-0 first"><img[^>]*alt="([^"]*)"', text)
    assert first == "picture 3 a"
    assert "<script" not in text
