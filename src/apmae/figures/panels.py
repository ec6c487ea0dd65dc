"""Grids of panels that share their axes, their legend, and numbers on their ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from apmae.figures import style


def panel_grid(
    count: int, most_columns: int, margin_inches: float, row_inches: float, x: str, y: str
) -> tuple[Figure, list[Axes]]:
    """Panels that share their axes, named at the first column and at the lowest panel of each column."""
    columns = min(most_columns, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(style.WIDTH_INCHES, margin_inches + row_inches * rows))
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel().tolist()
    panels = grid[:count]
    for unused in grid[count:]:
        unused.remove()
    for axes in panels[::columns]:
        axes.set_ylabel(y)
    for axes in panels[-columns:]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel(x)
    return figure, panels


def legend(figure: Figure, panels: Sequence[Axes], columns: int) -> None:
    """One legend below the panels, with every label once."""
    handles = {
        label: handle
        for axes in panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(list(handles.values()), list(handles), loc="outside lower left", ncols=columns)


def plain_number(value: float, _position: int | None = None) -> str:
    """A tick's number without trailing zeros."""
    return f"{value:g}"
