"""Pictures as a notebook shows them: with a text for who cannot see them, and with sliders."""

from __future__ import annotations

import base64
import functools
import html
import io
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from matplotlib.figure import Figure

from kit.harness import positions
from kit.harness.plots.appearance import style


def as_html(png: bytes, alt: str) -> dict[str, str]:
    """A PNG of 150 dots per inch as a notebook displays it, at 100.

    JupyterLab drops the text of an output that is a bare PNG.
    """
    width = int.from_bytes(png[16:20], "big") * 2 // 3  # as its header says
    content = base64.b64encode(png).decode()
    source = f"data:image/png;base64,{content}"
    return {
        "text/html": f'<img src="{source}" width="{width}" alt="{html.escape(alt)}">',
        "text/plain": f"Figure: {alt}",
    }


def show(figure: Figure, alt: str) -> None:
    """Display a figure; `alt` says what it shows to those who cannot see it."""
    from IPython.display import display

    display(_drawn(figure, alt), raw=True)


class Slider(anywidget.AnyWidget):
    """A slider over some values.

    Parameters
    ----------
    label
        Stands before it; a screen reader says it.
    values
        What it may be set to, or these by what is shown in their place.
    value
        Where it stands at first; by default at the first of them.

    Examples
    --------
    >>> k = Slider("K", [1, 3, 5, 7], 5)
    >>> k.position, k.value
    (2, 5)
    """

    _esm = Path(__file__).parents[1] / "templates" / "slider.js"
    label = traitlets.Unicode().tag(sync=True)
    texts = traitlets.List(traitlets.Unicode()).tag(sync=True)
    position = traitlets.Int().tag(sync=True)

    def __init__(
        self, label: str, values: Sequence[Any] | Mapping[str, Any], value: Any = None
    ) -> None:
        named = values if isinstance(values, Mapping) else {f"{v:g}": v for v in values}
        self.values = list(named.values())
        if value is not None and value not in self.values:
            raise ValueError(f"{label} has no value {value}: use one of {', '.join(named)}.")
        position = 0 if value is None else self.values.index(value)
        super().__init__(label=label, texts=list(named), position=position)

    @property
    def value(self) -> Any:
        """The value it is set to."""
        return self.values[self.position]


def control(draw: Callable[..., Figure], *sliders: Slider) -> None:
    """Show the picture that `draw` makes of the sliders' values, and anew when one is moved.

    A picture is drawn once. Its heading (``suptitle``) says what it shows to those who cannot see
    it. Where no one moves the sliders, as in a run without a screen, the first picture stays.
    """
    from IPython.display import display

    @functools.cache
    def drawn(*values: Any) -> dict[str, str]:
        figure = draw(*values)
        return _drawn(figure, figure.get_suptitle())

    def now() -> dict[str, str]:
        return drawn(*(slider.value for slider in sliders))

    first = now() | (_in_advance(drawn, sliders) if positions.wanted() else {})
    shown = display(first, raw=True, display_id=True)
    for slider in sliders:
        slider.observe(lambda change: shown.update(now(), raw=True), "position")
        display(slider)


def _in_advance(drawn: Callable[..., dict[str, str]], sliders: Sequence[Slider]) -> dict[str, Any]:
    """What a page without scripts needs to offer the sliders' positions, or some of them."""
    places = positions.chosen([len(s.values) for s in sliders], [s.position for s in sliders])
    offered = [
        {"label": s.label, "texts": [s.texts[k] for k in at], "position": at.index(s.position)}
        for s, at in zip(sliders, places, strict=True)
    ]
    values = ([s.values[k] for k in at] for s, at in zip(sliders, places, strict=True))
    pictures = [drawn(*combination)["text/html"] for combination in itertools.product(*values)]
    return {positions.MIME: {"sliders": offered, "pictures": pictures}}


def _drawn(figure: Figure, alt: str) -> dict[str, str]:
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format="png")
    return as_html(buffer.getvalue(), alt)
