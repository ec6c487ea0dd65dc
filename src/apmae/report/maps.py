"""Figures of heads and patterns: heat maps of layer x head, and T x T pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from apmae.autoencoder.reconstruction import Reconstruction
from apmae.figures import style
from apmae.figures.wording import head_name, readable

NARROW_HEADS = 16
MASKED = "#aab2bb"
PATTERN_SCALE = Normalize(0, 1)


@style.styled
def clusters_per_head(counts: pl.DataFrame, shape: tuple[int, int]) -> Figure:
    """Number of clusters of every head, as a map and as a histogram (paper figure 3).

    Args:
        counts: from `summaries.clusters_per_head`.
        shape: (layers, heads) of the target.
    """
    grid = head_grid(counts, "n_clusters", shape)
    figure = Figure(figsize=(style.WIDTH_INCHES, _map_height(grid) + 0.9))
    heat, histogram = figure.subplots(1, 2, width_ratios=[3, 2])
    image = _heat_map(heat, grid, 0, max(float(np.nanmax(grid)), 1.0))
    heat.set_title("Clusters of every head")
    heat.set_xlabel("Head (index)")
    heat.set_ylabel("Layer (index)")
    bar = figure.colorbar(image, ax=heat, label="Clusters (number, noise not counted)", pad=0.02)
    style.integer_ticks(bar.ax, y=8)
    bar.outline.set_visible(False)
    values = counts["n_clusters"].value_counts().sort("n_clusters")
    histogram.bar(values["n_clusters"], values["count"], width=0.8, color="#5aa5cf")
    style.integer_ticks(histogram, x=10, y=6)
    histogram.set_xlim(-0.6, max(values["n_clusters"].to_list()) + 0.6)
    histogram.grid(axis="y")
    histogram.set_title("Distribution over the heads")
    histogram.set_xlabel("Clusters in a head (number)")
    histogram.set_ylabel("Heads (number)")
    style.title(figure, "How many recurring patterns a head has")
    return figure


@style.styled
def importance(table: pl.DataFrame, top: pl.DataFrame, shape: tuple[int, int]) -> Figure:
    """Largest difference of mean SHAP values between a head's clusters, per task (figures 5, 6).

    Args:
        table: the importance table.
        top: the heads to ring, from `summaries.top_heads`.
        shape: (layers, heads) of the target.
    """
    label = "Largest difference of mean\nSHAP values (log-odds)"
    figure, panels = _task_maps(table, "max_difference", shape, label)
    for task, axes in panels.items():
        marked = top.filter(pl.col("task") == task)
        axes.plot(
            marked["head"], marked["layer"], "o", markersize=6.5, fillstyle="none", color=style.PALETTE[1]
        )
    style.title(figure, "Which heads tell correct from incorrect completions")
    return figure


@style.styled
def mean_shap(table: pl.DataFrame, shape: tuple[int, int]) -> Figure:
    """Mean SHAP value of every head, per task (figures 8 to 17); arguments as of `importance`."""
    figure, _ = _task_maps(table, "mean_shap", shape, "Mean SHAP value\n(log-odds)")
    style.title(figure, "Towards which outcome a head speaks on average")
    return figure


def _task_maps(
    table: pl.DataFrame, column: str, shape: tuple[int, int], label: str
) -> tuple[Figure, dict[str, Axes]]:
    """A map of the heads for every task, on one colour scale, with the panel of each task.

    The scale begins at zero, or has it in the middle where there are values of either sign.
    """
    tasks = table["task"].unique(maintain_order=True).to_list()
    grids = [head_grid(table.filter(pl.col("task") == task), column, shape) for task in tasks]
    columns = min(5 if shape[1] <= NARROW_HEADS else 4, len(tasks))
    rows = math.ceil(len(tasks) / columns)
    figure = Figure(figsize=(style.WIDTH_INCHES, rows * _map_height(grids[0]) + 0.9))
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    values = np.stack(grids)
    highest = float(np.abs(values[np.isfinite(values)]).max(initial=0.0)) or 1.0
    signed = bool((values < 0).any())
    for axes, task, grid in zip(panels, tasks, grids, strict=False):
        image = _heat_map(axes, grid, -highest if signed else 0, highest)
        axes.set_title(readable(task))
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


@style.styled
def pattern(values: NDArray[np.floating]) -> Figure:
    """One pattern as a small picture."""
    figure = Figure(figsize=(2.9, 2.75))
    axes = figure.subplots()
    _picture(axes, values)
    axes.set_xlabel("Key position (tokens)")
    axes.set_ylabel("Query position (tokens)")
    return figure


@style.styled
def pattern_scale() -> Figure:
    """The colours of every pattern picture."""
    figure = Figure(figsize=(3.4, 0.62))
    axes = figure.subplots()
    figure.colorbar(_pattern_colours(), cax=axes, orientation="horizontal")
    axes.set_xlabel("Scaled attention (0 to 1, no unit)")
    return figure


@style.styled
def gallery(patterns: Sequence[NDArray[np.floating]], names: Sequence[str]) -> Figure:
    """All patterns of the gallery in one figure (paper figure 2)."""
    columns = min(4, len(patterns))
    rows = math.ceil(len(patterns) / columns)
    figure = Figure(figsize=(style.WIDTH_INCHES, 2.5 * rows + 1.1))
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes, values, name in zip(panels, patterns, names, strict=False):
        _picture(axes, values)
        axes.set_title(name)
    for axes in panels[len(patterns) :]:
        axes.remove()
    for axes in panels[max(len(patterns) - columns, 0) : len(patterns)]:
        axes.tick_params(labelbottom=True)
    figure.supxlabel("Key position (tokens)", fontsize=8.5)
    figure.supylabel("Query position (tokens)", fontsize=8.5)
    _pattern_bar(figure, list(panels[: len(patterns)]))
    style.title(figure, "Recurring patterns of the heads that matter most")
    return figure


@style.styled
def reconstructions(items: Sequence[Reconstruction]) -> Figure:
    """Original, masked and reconstructed pattern, a row for each (paper figure 1)."""
    figure = Figure(figsize=(style.WIDTH_INCHES, 3.0 * len(items) + 0.7))
    panels = figure.subplots(len(items), 3, squeeze=False, sharex=True, sharey=True)
    for row, item in zip(panels, items, strict=True):
        for axes, values in zip(row, (item.pattern, item.masked, item.reconstruction), strict=True):
            _picture(axes, values)
        row[0].set_title(f"Head {head_name(item.layer, item.head)}, prompt {item.prompt_id}: original")
        row[1].set_title("what the encoder saw")
        row[2].set_title(f"reconstruction, loss {item.loss:.4f}")
        row[0].set_ylabel("Query position (tokens)")
    for axes in panels[-1]:
        axes.set_xlabel("Key position (tokens)")
    _pattern_bar(figure, list(panels.ravel()))
    style.title(figure, "Patterns reconstructed from the patches left visible")
    return figure


def head_grid(table: pl.DataFrame, column: str, shape: tuple[int, int]) -> NDArray[np.float64]:
    """`column` as a (layers, heads) array, NaN for heads that the table does not have."""
    grid = np.full(shape, np.nan)
    grid[table["layer"].to_numpy(), table["head"].to_numpy()] = table[column].cast(pl.Float64).to_numpy()
    return grid


def _map_height(grid: NDArray[np.float64]) -> float:
    return float(np.clip(0.11 * grid.shape[0], 1.8, 4.2))


def _heat_map(axes: Axes, grid: NDArray[np.float64], low: float, high: float) -> AxesImage:
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


def _picture(axes: Axes, values: NDArray[np.floating]) -> None:
    colours = _pattern_colours().to_rgba(np.asarray(values, dtype=np.float32))
    colours[np.isnan(values)] = to_rgba(MASKED)
    colours[np.triu_indices(len(values), 1)] = to_rgba("white")
    axes.imshow(colours, interpolation="none")
    style.integer_ticks(axes, x=4, y=4)


def _pattern_colours() -> ScalarMappable:
    return ScalarMappable(norm=PATTERN_SCALE, cmap=style.PATTERN_COLOURS)


def _pattern_bar(figure: Figure, panels: list[Axes]) -> None:
    bar = figure.colorbar(
        _pattern_colours(), ax=panels, shrink=min(1.0, 4 / figure.get_figheight()), pad=0.02
    )
    bar.set_label("Scaled attention (0 to 1, no unit)")
    bar.outline.set_visible(False)
