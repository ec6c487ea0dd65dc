"""Heat maps of layer x head."""

from __future__ import annotations

import math
from textwrap import fill

import matplotlib
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from apmae.figures import style
from apmae.figures.wording import readable

NARROW_HEADS = 16
TITLE_CHARACTERS = 24
"""Longest line of a title over one of five maps."""


def task_maps(
    table: pl.DataFrame, column: str, shape: tuple[int, int], label: str
) -> tuple[Figure, dict[str, Axes]]:
    """Maps of the heads, one panel per task, on one colour scale. Returns the figure and its panels by task.

    The scale starts at zero, or is centred on zero if any value is negative.
    """
    tasks = table["task"].unique(maintain_order=True).to_list()
    grids = [head_grid(table.filter(pl.col("task") == task), column, shape) for task in tasks]
    columns = min(5 if shape[1] <= NARROW_HEADS else 4, len(tasks))
    rows = math.ceil(len(tasks) / columns)
    figure = Figure(figsize=(style.WIDTH_INCHES, rows * map_height(grids[0]) + 0.9))
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    values = np.stack(grids)
    highest = float(np.abs(values[np.isfinite(values)]).max(initial=0.0)) or 1.0
    signed = bool((values < 0).any())
    for axes, task, grid in zip(panels, tasks, grids, strict=False):
        image = heat_map(axes, grid, -highest if signed else 0, highest)
        axes.set_title(panel_title(task))
    for axes in panels[len(tasks) :]:
        axes.remove()
    for axes in panels[max(len(tasks) - columns, 0) : len(tasks)]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("Head (index)")
    for axes in panels[: len(tasks) : columns]:
        axes.set_ylabel("Layer (index)")
    bar = figure.colorbar(
        image, ax=list(panels[: len(tasks)]), shrink=min(1.0, 2 / rows), aspect=20 * min(rows, 2), pad=0.01
    )
    bar.set_label(label)
    bar.outline.set_visible(False)
    return figure, dict(zip(tasks, panels, strict=False))


def panel_title(task: str, agreement: float | None = None) -> str:
    """A task's name above its map, with a number behind it if there is one, in lines that fit."""
    number = "" if agreement is None else f" ({agreement:.2f})"
    return fill(readable(task) + number, TITLE_CHARACTERS)


def head_grid(table: pl.DataFrame, column: str, shape: tuple[int, int]) -> NDArray[np.float64]:
    """`column` as a (layers, heads) array, NaN for heads missing from the table."""
    grid = np.full(shape, np.nan)
    grid[table["layer"].to_numpy(), table["head"].to_numpy()] = table[column].cast(pl.Float64).to_numpy()
    return grid


def map_height(grid: NDArray[np.float64]) -> float:
    """Height of a map in inches."""
    return float(np.clip(0.11 * grid.shape[0], 1.8, 4.2))


def heat_map(axes: Axes, grid: NDArray[np.float64], low: float, high: float) -> AxesImage:
    """Draw a grid of heads, in signed colours if `low` is below zero."""
    colours = style.SIGNED_COLOURS if low < 0 else style.QUANTITY_COLOURS
    image = axes.imshow(
        np.ma.masked_invalid(grid),
        cmap=matplotlib.colormaps[colours].with_extremes(bad=style.ABSENT),
        vmin=low,
        vmax=high,
        aspect="auto",
        interpolation="nearest",
    )
    style.integer_ticks(axes, x=8, y=10)
    return image
