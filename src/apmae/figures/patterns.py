"""Pictures of patterns: T x T values in [0, 1], masked places grey, places above the diagonal white."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgba
from matplotlib.figure import Figure
from numpy.typing import NDArray

from apmae.figures import style

MASKED = "#aab2bb"
PATTERN_SCALE = Normalize(0, 1)

SCALINGS = {
    "absolute": "0 is an attention weight of at most one ten-millionth, 1 is all of the attention "
    "(log scale, the same for all patterns)",
    "min_normalized": "0 is the smallest attention weight of the pattern, 1 is all of the attention "
    "(log scale, each pattern on its own)",
    "probability": "0 to 1 is the attention weight itself",
}
"""Meaning of 0 and 1 in a picture of a pattern, by `encoder.scaling`."""


@style.styled
def pattern(values: NDArray[np.floating]) -> Figure:
    """One pattern as a small picture."""
    figure = Figure(figsize=(2.9, 2.75))
    axes = figure.subplots()
    draw_pattern(axes, values)
    axes.set_xlabel("Key position (tokens)")
    axes.set_ylabel("Query position (tokens)")
    return figure


@style.styled
def pattern_scale() -> Figure:
    """The colour scale of every pattern picture."""
    figure = Figure(figsize=(3.4, 0.62))
    axes = figure.subplots()
    figure.colorbar(_pattern_colours(), cax=axes, orientation="horizontal")
    axes.set_xlabel("Scaled attention (0 to 1, no unit)")
    return figure


def draw_pattern(axes: Axes, values: NDArray[np.floating]) -> None:
    """Draw a pattern, with NaN as masked."""
    colours = _pattern_colours().to_rgba(np.asarray(values, dtype=np.float32))
    colours[np.isnan(values)] = to_rgba(MASKED)
    colours[np.triu_indices(len(values), 1)] = to_rgba("white")
    axes.imshow(colours, interpolation="none")
    style.integer_ticks(axes, x=4, y=4)


def pattern_bar(figure: Figure, panels: list[Axes]) -> None:
    """A colour bar beside panels of patterns."""
    bar = figure.colorbar(
        _pattern_colours(), ax=panels, shrink=min(1.0, 4 / figure.get_figheight()), pad=0.02
    )
    bar.set_label("Scaled attention (0 to 1, no unit)")
    bar.outline.set_visible(False)


def _pattern_colours() -> ScalarMappable:
    return ScalarMappable(norm=PATTERN_SCALE, cmap=style.PATTERN_COLOURS)
