"""A finished study in one table, for the terminal."""

from __future__ import annotations

import math
from typing import Any

import polars as pl
from rich.table import Table

from apmae.report.summaries import best_interventions, metrics_table
from apmae.study import Study

FEATURES = ("clusters", "row_statistics", "confidence", "confidence+clusters", "confidence+row_statistics")


def summary_table(study: Study) -> Table:
    """Per task: the target's accuracy, how well it is predicted (held-out AUROC), what zeroing did."""
    table = Table(
        "task",
        "target\nright",
        *(features.replace("+", "\n+").replace("_", " ") for features in FEATURES),
        "best net change\nby zeroing heads",
        title=f"{study.config.name}: held-out AUROC of predicting a right completion",
        caption="net change: points of accuracy on held-out prompts, best of all conditions, 95% interval",
    )
    auroc = _by_task_and_features(metrics_table(study.metrics, "held_out"))
    best = {row["task"]: row for row in best_interventions(study.interventions).iter_rows(named=True)}
    for task in study.tasks.iter_rows(named=True):
        name = task["task"]
        table.add_row(
            name,
            _number(task["natural_rate"], "{:.0%}"),
            *(_number(auroc.get((name, features)), "{:.2f}") for features in FEATURES),
            _net_change(best.get(name)),
        )
    return table


def _by_task_and_features(metrics: pl.DataFrame) -> dict[tuple[str, str], float | None]:
    return {
        (task, features): auroc
        for task, features, auroc in metrics.select("task", "features", "auroc").rows()
    }


def _number(value: float | None, form: str) -> str:
    return "-" if value is None or math.isnan(value) else form.format(value)


def _net_change(row: dict[str, Any] | None) -> str:
    if row is None:
        return "-"
    interval = "" if row["low"] is None else f" [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"
    return f"{100 * row['net_change']:+.1f}{interval}, {row['selection']} {row['n_heads']}"
