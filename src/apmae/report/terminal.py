"""A finished study in one table, for the terminal."""

from __future__ import annotations

import math
from typing import Any

import polars as pl
from rich.box import SIMPLE_HEAD
from rich.table import Table

from apmae.report.summaries import best_interventions, metrics_table
from apmae.study import Study

FEATURES = {
    "clusters": "clusters",
    "row_statistics": "row\nstats",
    "confidence": "conf.",
    "confidence+clusters": "conf. +\nclusters",
    "confidence+row_statistics": "conf. +\nrow stats",
}
"""Feature sets of the table and their headings."""


def summary_table(study: Study) -> Table:
    """Per task: the target's accuracy, how well it is predicted (held-out AUROC), what zeroing did."""
    table = Table(
        title=f"{study.config.name}: AUROC of predicting a right completion, on held-out groups",
        caption="conf.: the target's own confidence. Net change: points of accuracy on held-out prompts, "
        "the best of all conditions.",
        box=SIMPLE_HEAD,
    )
    for heading in ("task", "target\nright", *FEATURES.values(), "best net change [95%]\nby changing heads"):
        table.add_column(heading, no_wrap=True)
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
    how = "" if row["operation"] == "zero" else f", {row['operation']}"
    return f"{100 * row['net_change']:+.1f}{interval} {row['n_heads']} {row['selection']}{how}"
