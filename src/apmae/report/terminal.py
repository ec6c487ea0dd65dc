"""A finished study in one table, for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from apmae.intervention.choices import RANDOM
from apmae.report.chosen import CHOSEN, chosen_effects
from apmae.report.resampling import Resampling
from apmae.report.summaries import SIGNIFICANCE, metrics_table
from apmae.study import Study

FEATURES = {
    "clusters": "clusters",
    "token_kind": "token\nkind",
    "confidence": "conf.",
    "strong": "strong",
}
"""Feature sets of the table and their headings."""


def summary_table(study: Study) -> Table:
    """Per task: the target's accuracy, held-out AUROC of predicting it, and the best net change."""
    groups = "held-out" if study.config.measured_split == "test" else study.config.measured_split
    table = Table(
        title=f"{escape(study.config.name)}: AUROC of predicting a correct completion, on {groups} groups",
        caption="conf.: the target's own confidence; strong: all that needs no attention.\n"
        "Row stats add: AUROC with row statistics less AUROC without; *: significant, Holm-corrected over "
        "tasks.\n"
        "File memory: by the outcomes of the same files, in random folds.\n"
        "Net change: points of accuracy on held-out prompts, of the heads that gain most on tuning prompts.\n"
        "Random heads are chosen likewise. Intervals are 95%, over groups.",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for heading in (
        "task",
        "target\ncorrect",
        *FEATURES.values(),
        "row stats\nadd to conf.",
        "row stats add\nto strong",
        "file\nmemory",
        "net change by\nchosen heads",
        "random heads,\nchosen likewise",
    ):
        table.add_column(heading, no_wrap=True)
    held_out = metrics_table(study.metrics, "held_out")
    rows = {(row["task"], row["features"]): row for row in held_out.iter_rows(named=True)}
    crossed = metrics_table(study.metrics, "cross_validation").filter(features="file_memory")
    memory = {row["task"]: row.get("auroc") for row in crossed.iter_rows(named=True)}
    chosen = chosen_effects(study.interventions, study.choices, study.tasks, Resampling.of(study))
    changes = {(row["task"], row["method"]): row for row in chosen.iter_rows(named=True)}
    for task in study.tasks.iter_rows(named=True):
        name = task["task"]
        table.add_row(
            name,
            _number(task["base_rate"], "{:.0%}"),
            *(_number(rows.get((name, features), {}).get("auroc"), "{:.2f}") for features in FEATURES),
            _gain(rows.get((name, "confidence+row_statistics"), {}), "auroc_difference"),
            _gain(rows.get((name, "strong+row_statistics"), {}), "auroc_over_strong"),
            _number(memory.get(name), "{:.2f}"),
            _net_change(changes.get((name, CHOSEN))),
            _net_change(changes.get((name, RANDOM))),
        )
    return table


def _number(value: float | None, form: str) -> str:
    return "-" if value is None or math.isnan(value) else form.format(value)


def _gain(row: Mapping[str, float | None], column: str) -> str:
    """A difference with its interval, and a star where it is significant; a dash where there is none."""
    value, low, high = (row.get(name) for name in (column, f"{column}_low", f"{column}_high"))
    if value is None or low is None or high is None:
        return "-"
    p = row.get(f"{column}_p_holm")
    star = "*" if p is not None and p < SIGNIFICANCE else ""
    return f"{value:+.2f}{star}\n[{low:+.2f}, {high:+.2f}]"


def _net_change(row: dict[str, Any] | None) -> str:
    if row is None:
        return "-"
    if row["condition"] is None:
        return "nothing helped"
    how = "" if row["operation"] == "zero" else f", {row['operation']}"
    interval = f"[{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"
    return f"{100 * row['net_change']:+.1f}: {row['n_heads']} {row['selection']}{how}\n{interval}"
