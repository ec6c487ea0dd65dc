"""Figures of rates, intervals and curves: tables of `summaries` in, Matplotlib figures out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from textwrap import fill

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter

from apmae.figures import style
from apmae.figures.wording import readable
from apmae.intervention.operations import operation_of
from apmae.report.summaries import VARIANT

PANEL_CHARACTERS = 26
"""Longest line of a title over one of four panels."""

METRIC_NAMES = {"accuracy": "Accuracy (fraction of prompts)", "auroc": "AUROC (0.5 is chance)"}


@style.styled
def target_accuracy(tasks: pl.DataFrame) -> Figure:
    """How often the target is correct, and which prompts were kept (`summaries.target_accuracy`)."""
    figure = Figure(figsize=(style.WIDTH_INCHES, 1.5 + 0.34 * tasks.height))
    rates, kept = figure.subplots(1, 2, sharey=True, width_ratios=[3, 2])
    _rate_bars(rates, tasks)
    _kept_bars(kept, tasks)
    rates.set_yticks(range(tasks.height), [readable(task) for task in tasks["task"]])
    rates.set_ylim(tasks.height - 0.45, -0.55)
    rates.set_ylabel("Task")
    style.title(figure, "How often the target completes the hole correctly")
    return figure


@style.styled
def prediction(table: pl.DataFrame, protocol_name: str) -> Figure:
    """Accuracy and AUROC of every feature set with 95% intervals (a `summaries.metrics_table`)."""
    tasks = table["task"].unique(maintain_order=True).to_list()
    features = table["features"].unique(maintain_order=True).to_list()
    legend_rows = math.ceil(len(features) / 4)
    height = 1.1 + 0.22 * legend_rows + len(tasks) * (0.14 * len(features) + 0.16)
    figure = Figure(figsize=(style.WIDTH_INCHES, height))
    panels = figure.subplots(1, 2, sharey=True)
    for axes, metric in zip(panels, METRIC_NAMES, strict=True):
        _dots(axes, table, metric, tasks, features)
    panels[0].set_yticks(range(len(tasks)), [readable(task) for task in tasks])
    panels[0].set_ylim(len(tasks) - 0.5, -0.5)
    panels[0].set_ylabel("Task")
    _legend(figure, panels[:1], 4)
    style.title(figure, f"Predicting whether a completion is correct ({protocol_name})")
    return figure


@style.styled
def reliability(table: pl.DataFrame) -> Figure:
    """Observed against predicted frequency, a panel for each feature set (`selective.reliability`)."""
    sets = table["features"].unique(maintain_order=True).to_list()
    predicted, right = "Predicted probability", "Correct completions\n(fraction)"
    figure, panels = _panel_grid(len(sets), 4, 0.7, 2.5, predicted, right)
    for axes, name in zip(panels, sets, strict=True):
        bins = table.filter(pl.col("features") == name)
        axes.plot([0, 1], [0, 1], color=style.MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.vlines(bins["probability"], bins["low"], bins["high"], color=style.PALETTE[0], linewidth=1.2)
        sizes = 90 * bins["prompts"] / bins["prompts"].sum() + 8
        axes.scatter(bins["probability"], bins["frequency"], s=sizes, color=style.PALETTE[0], zorder=3)
        axes.set_title(fill(readable(name), PANEL_CHARACTERS))
        axes.grid()
    style.title(figure, "Are predicted probabilities true?")
    return figure


@style.styled
def risk_coverage(curves: pl.DataFrame) -> Figure:
    """Incorrect completions among the surest ones, a panel for each task (`selective.risk_coverage`)."""
    tasks = curves["task"].unique(maintain_order=True).to_list()
    features = curves["features"].unique(maintain_order=True).to_list()
    colour = style.colours(features)
    trusted, wrong = "Completions trusted (fraction, surest first)", "Incorrect among them\n(fraction)"
    figure, panels = _panel_grid(len(tasks), 3, 1.1, 2.2, trusted, wrong)
    for axes, task in zip(panels, tasks, strict=True):
        for name in features:
            curve = curves.filter(pl.col("task") == task, pl.col("features") == name)
            axes.plot(
                curve["coverage"], curve["risk"], color=colour[name], linewidth=1.3, label=readable(name)
            )
        axes.set_title(readable(task))
        axes.grid()
    _legend(figure, panels, 4)
    style.title(figure, "How many mistakes remain when only the surest completions are trusted")
    return figure


@style.styled
def intervention_overview(effects: pl.DataFrame) -> Figure:
    """Net change over all tasks against the number of heads zeroed (`intervention_effects`)."""
    figure = Figure(figsize=(style.WIDTH_INCHES, 3.9))
    axes = figure.subplots()
    _curves(axes, effects, effects["selection"].unique(maintain_order=True).to_list())
    axes.set_xlabel("Heads zeroed (number, log scale)")
    axes.set_ylabel("Net change in accuracy\n(percentage points)")
    figure.legend(loc="outside lower left", ncols=6)
    style.title(figure, "Zeroing heads: net change over all tasks")
    return figure


@style.styled
def intervention_tasks(effects: pl.DataFrame) -> Figure:
    """Net change of every task, one panel each, axes shared (`intervention_effects`)."""
    panels = {readable(name): rows for (name,), rows in effects.group_by("task", maintain_order=True)}
    return _curve_panels(panels, "Heads zeroed", "Zeroing heads: net change per task")


@style.styled
def intervention_variants(effects: pl.DataFrame) -> Figure:
    """Net change over all tasks, a panel for each of `VARIANT` (pooled `intervention_effects`)."""
    several = effects["importance"].n_unique() > 1
    panels = {
        operation_of(operation, factor).words + (f", by {readable(importance)}" if several else ""): rows
        for (importance, operation, factor), rows in effects.group_by(VARIANT, maintain_order=True)
    }
    return _curve_panels(panels, "Heads changed", "Changing heads: net change over all tasks")


@style.styled
def training_loss(history: pl.DataFrame) -> Figure:
    """The AP-MAE's training and validation loss per step."""
    figure = Figure(figsize=(style.WIDTH_INCHES, 3.2))
    axes = figure.subplots()
    axes.plot(history["step"], history["loss"], color="#9cc4de", linewidth=1, label="training batch")
    validation = history.drop_nulls("validation_loss")
    axes.plot(
        validation["step"],
        validation["validation_loss"],
        color=style.PALETTE[1],
        marker="o",
        markersize=3.5,
        linewidth=1.4,
        label="validation, held-out groups",
    )
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(_plain_number))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(left=0)
    axes.grid(axis="y")
    axes.set_xlabel("Optimiser step (number)")
    axes.set_ylabel("Mean squared error of masked\npatches (log scale, no unit)")
    axes.legend()
    style.title(figure, "Training of the encoder")
    return figure


def _rate_bars(axes: Axes, tasks: pl.DataFrame) -> None:
    for position, row in enumerate(tasks.iter_rows(named=True)):
        if row["base_rate"] is None:
            axes.text(0.01, position, "has no correct answer", va="center", color=style.MUTED)
            continue
        axes.barh(position, row["base_rate"], height=0.56, color="#9cc4de")
        axes.hlines(position, row["low"], row["high"], color=style.INK, linewidth=1.4)
        label = f"{row['base_rate']:.0%} of {row['evaluated']:,}"
        axes.text(row["high"] + 0.015, position, label, va="center", fontsize=8)
    axes.set_xlim(0, 1.22)
    axes.set_xticks(np.arange(0, 1.01, 0.25))
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.spines["bottom"].set_bounds(0, 1)
    axes.grid(axis="x")
    axes.set_xlabel("Correct completions before balancing (% of prompts)")


def _kept_bars(axes: Axes, tasks: pl.DataFrame) -> None:
    positions = np.arange(tasks.height)
    right, wrong = tasks["kept_correct"].to_numpy(), tasks["kept_incorrect"].to_numpy()
    axes.barh(positions, right, height=0.56, color=style.PALETTE[0], label="correct")
    axes.barh(positions, wrong, height=0.56, left=right, color=style.PALETTE[4], label="incorrect")
    axes.tick_params(axis="y", left=False)
    axes.grid(axis="x")
    style.integer_ticks(axes, x=5)
    axes.set_xlabel("Prompts kept (number)")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.1)


def _dots(axes: Axes, table: pl.DataFrame, metric: str, tasks: list[str], features: list[str]) -> None:
    colour, marker = style.colours(features), style.markers(features)
    step = 0.8 / len(features)
    axes.axvline(0.5, color=style.MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    for index, name in enumerate(features):
        rows = table.filter(pl.col("features") == name)
        places = [tasks.index(task) + (index - (len(features) - 1) / 2) * step for task in rows["task"]]
        value = rows[metric].cast(pl.Float64).fill_null(np.nan).to_numpy()
        low = rows[f"{metric}_low"].cast(pl.Float64).fill_null(np.nan).to_numpy()
        high = rows[f"{metric}_high"].cast(pl.Float64).fill_null(np.nan).to_numpy()
        axes.hlines(places, low, high, color=colour[name], linewidth=1.3)
        axes.plot(
            value, places, marker[name], color=colour[name], markersize=4.2, label=readable(name), zorder=3
        )
    for boundary in np.arange(0.5, len(tasks) - 0.5):
        axes.axhline(boundary, color=style.RULE, linewidth=0.7)
    axes.grid(axis="x")
    axes.set_xlabel(METRIC_NAMES[metric])


def _curves(axes: Axes, effects: pl.DataFrame, selections: Sequence[str]) -> None:
    colour, marker = style.colours(selections), style.markers(selections)
    counts = effects["n_heads"].to_list()
    left, right = min(counts) / 1.2, max(counts) * 1.2
    axes.axhline(0, color=style.MUTED, linewidth=0.8)
    for index, name in enumerate(selections):
        rows = effects.filter(pl.col("selection") == name).sort("n_heads")
        if rows.is_empty():
            continue
        # Curves lie side by side, 1% of the axis apart, so that no interval hides another.
        heads = rows["n_heads"].to_numpy() * (right / left) ** (0.01 * (index - (len(selections) - 1) / 2))
        change, low, high = (
            100 * rows[column].fill_null(np.nan).to_numpy() for column in ("net_change", "low", "high")
        )
        axes.vlines(heads, low, high, color=colour[name], linewidth=1, alpha=0.75)
        axes.plot(
            heads, change, color=colour[name], marker=marker[name], markersize=4, linewidth=1.4, label=name
        )
    axes.set_xscale("log")
    axes.set_xlim(left, right)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(_plain_number))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()
    axes.grid(axis="y")


def _curve_panels(panels_of: dict[str, pl.DataFrame], heads: str, title: str) -> Figure:
    """Net change against the number of heads, a panel for each table, axes shared."""
    selections = pl.concat(list(panels_of.values()))["selection"].unique(maintain_order=True).to_list()
    change = "Net change in accuracy\n(percentage points)"
    figure, panels = _panel_grid(len(panels_of), 3, 0.9, 2.2, f"{heads} (number, log scale)", change)
    for axes, (name, effects) in zip(panels, panels_of.items(), strict=True):
        _curves(axes, effects, selections)
        axes.set_title(name)
    _legend(figure, panels, 6)
    style.title(figure, title)
    return figure


def _panel_grid(
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


def _legend(figure: Figure, panels: Sequence[Axes], columns: int) -> None:
    """One legend below the panels: every label of any of them once."""
    handles = {
        label: handle
        for axes in panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(list(handles.values()), list(handles), loc="outside lower left", ncols=columns)


def _plain_number(value: float, _position: int | None = None) -> str:
    return f"{value:g}"
