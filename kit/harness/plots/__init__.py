"""Figures: they know numbers, not methods. Colours are safe for colour-blind readers."""

from kit.harness.plots.appearance import colors, style
from kit.harness.plots.categories import bars, p_values, points
from kit.harness.plots.curves import curves, lines, scatter
from kit.harness.plots.images import image_rows, maps
from kit.harness.plots.showing import Slider, as_html, control, show

__all__ = [
    "Slider", "as_html", "bars", "colors", "control", "curves", "image_rows", "lines", "maps",
    "p_values", "points", "scatter", "show", "style",
]  # fmt: skip
