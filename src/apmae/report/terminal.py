"""A finished study in one table, for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from apmae.intervention.choices import RANDOM
from apmae.report.chosen import CHOSEN, chosen_effects
from apmae.report.resampling import Resampling
from apmae.report.summaries import metrics_table
from apmae.study import Study

FEATURES = {
    "clusters": "clusters",
    "confidence": "conf.",
    "confidence+row_statistics": "conf. +\nrow stats",
}
"""Feature sets of the table and their headings."""


def summary_table(study: Study) -> Table:
    """Per task: the target's accuracy, held-out AUROC of predicting it, and the best net change."""
    groups = "held-out" if study.config.measured_split == "test" else study.config.measured_split
    table = Table(
        title=f"{study.config.name}: AUROC of predicting a correct completion, on {groups} groups",
        caption="conf.: the target's own confidence. Row stats above chance: AUROC less 0.5. Attention adds: "
        "conf. + row stats less conf.\nNet change: points of accuracy on held-out prompts, of the heads that "
        "gain most on tuning prompts. Random heads are chosen likewise. Intervals are 95%, over groups.",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for heading in (
        "task",
        "target\ncorrect",
        *FEATURES.values(),
        "row stats\nabove chance",
        "attention\nadds",
        "net change by\nchosen heads",
        "random heads,\nchosen likewise",
    ):
        table.add_column(heading, no_wrap=True)
    held_out = metrics_table(study.metrics, "held_out")
    rows = {(row["task"], row["features"]): row for row in held_out.iter_rows(named=True)}
    chosen = chosen_effects(study.interventions, study.choices, study.tasks, Resampling.of(study))
    changes = {(row["task"], row["method"]): row for row in chosen.iter_rows(named=True)}
    for task in study.tasks.iter_rows(named=True):
        name = task["task"]
        table.add_row(
            name,
            _number(task["base_rate"], "{:.0%}"),
            *(_number(rows.get((name, features), {}).get("auroc"), "{:.2f}") for features in FEATURES),
            _with_interval(rows.get((name, "row_statistics"), {}), "auroc", less=0.5),
            _with_interval(rows.get((name, "confidence+row_statistics"), {}), "auroc_difference"),
            _net_change(changes.get((name, CHOSEN))),
            _net_change(changes.get((name, RANDOM))),
        )
    return table


def _number(value: float | None, form: str) -> str:
    return "-" if value is None or math.isnan(value) else form.format(value)


def _with_interval(row: Mapping[str, float | None], column: str, less: float = 0.0) -> str:
    """A value and its interval, both minus a reference; a dash if one is missing."""
    values = [row.get(name) for name in (column, f"{column}_low", f"{column}_high")]
    if any(value is None or math.isnan(value) for value in values):
        return "-"
    value, low, high = (value - less for value in values if value is not None)
    return f"{value:+.2f}\n[{low:+.2f}, {high:+.2f}]"


def _net_change(row: dict[str, Any] | None) -> str:
    if row is None:
        return "-"
    if row["condition"] is None:
        return "nothing helped"
    how = "" if row["operation"] == "zero" else f", {row['operation']}"
    interval = f"[{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"
    return f"{100 * row['net_change']:+.1f}: {row['n_heads']} {row['selection']}{how}\n{interval}"
