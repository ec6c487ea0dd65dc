"""Base rates of correct completions, and numbers of kept prompts (paper figure 4 I)."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from apmae.figures import style
from apmae.figures.wording import readable
from apmae.report import summaries
from apmae.report.data import ReportData
from apmae.report.section import Drawing, Section


def section(data: ReportData) -> Section:
    """The base rates."""
    tasks = data.in_task_order(summaries.target_accuracy(data.study.tasks))
    whole_hole = data.study.config.prompts.outcome == "whole_hole"
    return Section("target_accuracy", "Target accuracy", (_figure(tasks),), {"whole_hole": whole_hole})


def _figure(tasks: pl.DataFrame) -> Drawing:
    return Drawing(
        "target_accuracy",
        lambda: target_accuracy(tasks),
        alt="Bar chart of the target's rate of correct completions per task, and of the prompts kept.",
        caption="Left: fraction of all evaluated prompts that the target completes correctly, with the 95% "
        "Wilson interval as a line. Right: how many correct and incorrect prompts were kept, so that later "
        "figures start from a balanced sample; matched are those with a partner of the other outcome in the "
        "same package. Paper figure 4 (I).",
    )


@style.styled
def target_accuracy(tasks: pl.DataFrame) -> Figure:
    """Base rates and numbers of kept prompts (`summaries.target_accuracy`)."""
    figure = Figure(figsize=(style.WIDTH_INCHES, 1.5 + 0.34 * tasks.height))
    rates, kept = figure.subplots(1, 2, sharey=True, width_ratios=[3, 2])
    _rate_bars(rates, tasks)
    _kept_bars(kept, tasks)
    rates.set_yticks(range(tasks.height), [readable(task) for task in tasks["task"]])
    rates.set_ylim(tasks.height - 0.45, -0.55)
    rates.set_ylabel("Task")
    style.title(figure, "How often the target completes the hole correctly")
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
    for position, (count, matched) in enumerate(zip(right + wrong, tasks["kept_matched"], strict=True)):
        if count:
            axes.text(count * 1.03, position, f"{matched / count:.0%} matched", va="center", fontsize=8)
    axes.set_xlim(0, 1.5 * max((right + wrong).max(), 1))
    axes.tick_params(axis="y", left=False)
    axes.grid(axis="x")
    style.integer_ticks(axes, x=5)
    axes.set_xlabel("Prompts kept (number)")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.1)
