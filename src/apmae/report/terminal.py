"""A finished study in two tables of 80 columns, for the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from apmae.intervention.choices import RANDOM
from apmae.intervention.resampling import Resampling
from apmae.report.chosen import CHOSEN, chosen_effects
from apmae.report.summaries import SIGNIFICANCE, metrics_table
from apmae.study import Study

WIDEST_TASK = 13
"""Characters of a task's name beyond which it takes two lines."""

FEATURES = {
    "clusters": "clus-\nters",
    "token_kind": "token\nkind",
    "confidence": "conf.",
    "strong": "strong",
}
"""Feature sets of the first table and their headings."""


def summary(study: Study) -> Group:
    """How well a correct completion is predicted, and what interventions change, by task."""
    return Group(prediction_table(study), "", intervention_table(study))


def prediction_table(study: Study) -> Table:
    """Per task: the target's accuracy, and held-out AUROC of predicting it."""
    groups = "held-out" if study.config.measured_split == "test" else study.config.measured_split
    table = _table(
        f"{study.config.name}: AUROC of predicting a correct completion, on {groups} groups",
        "conf.: the target's own confidence; strong: all that needs no attention.\n"
        "Rows, copies add: AUROC with row statistics, or with attention to what is copied, less AUROC "
        "without, 95% interval over groups; *: significant, Holm-corrected over tasks.\n"
        "File mem.: by the outcomes of the same files, in random folds.",
        (
            "task",
            "target\nright",
            *FEATURES.values(),
            "rows add\nto strong",
            "copies add\nto strong",
            "file\nmem.",
        ),
    )
    held_out = metrics_table(study.metrics, "held_out")
    rows = {(row["task"], row["features"]): row for row in held_out.iter_rows(named=True)}
    crossed = metrics_table(study.metrics, "cross_validation").filter(features="file_memory")
    memory = {row["task"]: row.get("auroc") for row in crossed.iter_rows(named=True)}
    for name, base_rate in study.tasks.select("task", "base_rate").iter_rows():
        table.add_row(
            _two_lines(name),
            _number(base_rate, "{:.0%}"),
            *(_number(rows.get((name, features), {}).get("auroc"), "{:.2f}") for features in FEATURES),
            _gain(rows.get((name, "strong+row_statistics"), {}), "auroc_over_strong"),
            _gain(rows.get((name, "strong+copy_attention"), {}), "auroc_over_strong"),
            _number(memory.get(name), "{:.2f}"),
        )
    return table


def intervention_table(study: Study) -> Table:
    """Per task: the net change of the heads that tuning prompts chose, beside random ones."""
    table = _table(
        "Net change in accuracy, points",
        "On held-out prompts, of the heads that gain most on tuning prompts; random heads are chosen "
        "likewise. Intervals are 95%, over groups.",
        ("task", "chosen heads", "random heads"),
    )
    effects = chosen_effects(study.interventions, study.choices, study.tasks, Resampling.of(study))
    changes = {(row["task"], row["method"]): row for row in effects.iter_rows(named=True)}
    for name in study.tasks["task"]:
        table.add_row(name, *(_net_change(changes.get((name, method))) for method in (CHOSEN, RANDOM)))
    return table


def _table(title: str, caption: str, headings: Iterable[str]) -> Table:
    table = Table(
        title=escape(title),
        caption=caption,
        box=SIMPLE_HEAD,
        padding=0,
        pad_edge=False,
        title_justify="left",
        caption_justify="left",
    )
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    return table


def _two_lines(name: str) -> str:
    """A long name in two lines: other cells of its row have two as well."""
    return name if len(name) <= WIDEST_TASK else name.replace("_", "_\n", 1)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None or math.isnan(value) else form.format(value)


def _gain(row: Mapping[str, float | None], column: str) -> str:
    """A difference with its interval, and a star where it is significant; a dash where there is none."""
    value, low, high = (row.get(name) for name in (column, f"{column}_low", f"{column}_high"))
    if value is None or low is None or high is None:
        return "-"
    p = row.get(f"{column}_p_holm")
    star = "*" if p is not None and p < SIGNIFICANCE else ""
    return f"{value:+.2f}{star}\n[{low:+.2f},{high:+.2f}]"


def _net_change(row: dict[str, Any] | None) -> str:
    if row is None:
        return "-"
    if row["condition"] is None:
        return "nothing helped"
    how = "" if row["operation"] == "zero" else f", {row['operation']}"
    interval = f"[{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"
    return f"{100 * row['net_change']:+.1f}: {row['n_heads']} {row['selection']}{how}\n{interval}"
