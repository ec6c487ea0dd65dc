"""The paper's own measures, to compare with its figures 4 and 7 and its section 7.2."""

from __future__ import annotations

import math

import polars as pl

from apmae.common.seeding import derive_seed
from apmae.report.data import ReportData, by_task
from apmae.report.paper_measures import (
    accuracy_over_folds,
    collapses,
    effects_over_tasks,
    paper_conditions,
)
from apmae.report.section import Section


def section(data: ReportData) -> Section | None:
    """Measures over folds and over tasks, and collapses."""
    conditions = paper_conditions(data.interventions, data.prompts, data.config.intervention.importance[0])
    accuracy = accuracy_over_folds(data.in_task_order(data.study.predictions), data.prompts)
    if conditions.is_empty() and accuracy.is_empty():
        return None
    seed = derive_seed(data.config.seed, "collapses")
    found = collapses(conditions, seed).with_columns(
        words=pl.struct("heads", "low", "high", "tried").map_elements(_collapse_in_words, pl.String)
    )
    content = {
        "accuracy": accuracy.to_dicts(),
        "effects": effects_over_tasks(conditions).to_dicts(),
        "selections": found["selection"].unique(maintain_order=True).to_list(),
        "collapses": {
            task: {row["selection"]: row["words"] for row in rows} for task, rows in by_task(found).items()
        },
    }
    return Section("paper", "The paper's measures", (), content)


def _collapse_in_words(found: dict[str, float]) -> str:
    """A number of heads with its interval: `10 [5, 20]`, where `>40` are more than were tried."""
    heads, low, high = (
        f">{found['tried']:.0f}" if math.isinf(found[name]) else f"{found[name]:.0f}"
        for name in ("heads", "low", "high")
    )
    return f"{heads} [{low}, {high}]"
