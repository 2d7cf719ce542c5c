"""Figures: they know numbers, not methods. Colours are safe for colour-blind readers."""

from kit.plots.appearance import colors, style
from kit.plots.categories import bars, p_values, points
from kit.plots.curves import curves, lines, scatter

__all__ = ["bars", "colors", "curves", "lines", "p_values", "points", "scatter", "style"]
