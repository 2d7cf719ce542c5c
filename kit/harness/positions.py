"""The positions of sliders drawn in advance: radio buttons that choose a picture by CSS alone.

A notebook that runs without a screen has nobody to move a slider. It leaves, beside the picture
that is shown, those of other positions; a page without scripts offers them.
"""

from __future__ import annotations

import html
import itertools
import os
from collections.abc import Iterator, Sequence
from typing import Any

ALL = "KIT_ALL_POSITIONS"  # environment variable of a kernel that is to draw them in advance
MIME = "application/vnd.kit.positions+json"
MOST = 8  # pictures of one control; of two sliders one more


def wanted() -> bool:
    """Is this a run without a screen, whose pages are read afterwards?"""
    return bool(os.environ.get(ALL))


def chosen(counts: Sequence[int], now: Sequence[int]) -> list[list[int]]:
    """For each slider the positions to draw: spread over all, with that at which it stands.

    Parameters
    ----------
    counts
        How many positions each slider has.
    now
        Where each stands.

    Examples
    --------
    >>> chosen([4], [2]), chosen([31], [10])
    ([[0, 1, 2, 3]], [[0, 4, 10, 13, 17, 21, 26, 30]])
    >>> [len(positions) for positions in chosen([20, 20], [0, 7])]
    [3, 3]
    """
    each = max(2, round(MOST ** (1 / len(counts))))
    return [_spread(count, each, place) for count, place in zip(counts, now, strict=True)]


def _spread(count: int, at_most: int, now: int) -> list[int]:
    if count <= at_most:
        return list(range(count))
    if at_most == 2:
        return sorted({now, 0 if now > (count - 1) / 2 else count - 1})
    even = {round(k * (count - 1) / (at_most - 1)) for k in range(at_most)}
    ends = {0, count - 1, now}
    movable = sorted(even - ends, key=lambda place: abs(place - now))
    while len(even | {now}) > at_most and movable:  # the one nearest to where it stands gives way
        even.discard(movable.pop(0))
    return sorted(even | {now})


def as_html(positions: dict[str, Any], name: str) -> str:
    """The pictures of a control, and radio buttons to choose among them.

    Parameters
    ----------
    positions
        ``sliders``: label, texts and the chosen position of each; ``pictures``: an HTML image for
        every combination of texts, the last slider's changing fastest.
    name
        Of this control on its page.
    """
    sliders = positions["sliders"]
    texts = [slider["texts"] for slider in sliders]
    combinations = list(itertools.product(*map(range, map(len, texts))))
    start = tuple(slider["position"] for slider in sliders)
    rules, pictures = [], []
    for at, picture in zip(combinations, positions["pictures"], strict=True):
        place = "-".join(map(str, at))
        checked = "".join(f":has(#{name}-{s}-{k}:checked)" for s, k in enumerate(at))
        rules.append(f".{name}{checked} .at-{place}{{display:block}}")
        first = " first" if at == start else ""
        pictures.append(f'<div class="at at-{place}{first}">{picture}</div>')
    old = f"@supports not selector(:has(*)){{.{name} .first{{display:block}}}}"
    style = f"<style>.{name} .at{{display:none}}{''.join(rules)}{old}</style>"
    groups = "".join(_group(name, number, slider) for number, slider in enumerate(sliders))
    return f'<div class="{name}">{style}{groups}{"".join(pictures)}</div>'


def _group(name: str, number: int, slider: dict[str, Any]) -> str:
    return (
        f"<fieldset><legend>{html.escape(slider['label'])}</legend>"
        + " ".join(_buttons(f"{name}-{number}", slider))
        + "</fieldset>"
    )


def _buttons(group: str, slider: dict[str, Any]) -> Iterator[str]:
    for place, text in enumerate(slider["texts"]):
        checked = " checked" if place == slider["position"] else ""
        yield (
            f'<label><input type="radio" name="{group}" id="{group}-{place}"{checked}> '
            f"{html.escape(text)}</label>"
        )
