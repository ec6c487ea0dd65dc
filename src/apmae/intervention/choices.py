"""Which condition to take, by what it does to the tuning prompts; held-out prompts have no say."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from apmae.intervention.gating import best_gate
from apmae.intervention.operations import OPERATIONS
from apmae.study.artifacts import CHOICES

CHOICE_METHODS = (*OPERATIONS, "greedy", "gated")
"""Best of the conditions that zero the heads of a SHAP selection, replace them by their mean, or scale
them; best of the greedy ones; best of all of these behind a gate. Random selections are no choice."""

CHANGE = pl.col("correct_after").cast(pl.Int8) - pl.col("correct_before").cast(pl.Int8)
"""1 where an incorrect completion became correct, -1 where a correct one became incorrect."""


def choose(interventions: pl.DataFrame) -> pl.DataFrame:
    """The best condition of every task and method; among equals the one of fewest heads, then the first.

    Args:
        interventions: `INTERVENTIONS`.

    Returns:
        `CHOICES`; a method under which nothing helps the tuning prompts has no row.
    """
    tuning = interventions.filter(pl.col("split") == "train", pl.col("selection") != "random")
    rows = [row for task in tuning["task"].unique(maintain_order=True) for row in _of_task(tuning, task)]
    return CHOICES.of_rows(rows)


def _of_task(tuning: pl.DataFrame, task: str) -> Iterator[tuple[object, ...]]:
    rows = tuning.filter(task=task)
    prompts = rows["prompt_id"].n_unique()
    # Fewest heads first, so that the first of equally good conditions is the one to take.
    conditions = rows.sort("n_heads", "condition").group_by("condition", maintain_order=True)
    gained = conditions.agg(
        pl.col("selection", "operation").first(), gain=CHANGE.sum().cast(pl.Float64)
    ).sort("gain", descending=True, maintain_order=True)
    for method in CHOICE_METHODS[:-1]:
        greedy = pl.col("selection") == "greedy"
        of_method = greedy if method == "greedy" else ~greedy & (pl.col("operation") == method)
        best = gained.filter(of_method, pl.col("gain") > 0).head(1)
        for condition, gain in best.select("condition", "gain").iter_rows():
            yield task, method, condition, None, prompts, gain / prompts
    gated = []
    for (condition,), chosen in conditions:
        gate = best_gate(
            chosen["gate_probability"].to_numpy(),
            chosen.select(CHANGE.cast(pl.Float64)).to_series().to_numpy(),
        )
        if gate is not None:
            gated.append((gate.gain, condition, gate.threshold))
    if gated:
        gain, condition, threshold = max(gated, key=lambda found: found[0])
        yield task, "gated", condition, threshold, prompts, gain / prompts


def best_ungated(choices: pl.DataFrame) -> pl.DataFrame:
    """The row of largest `tuning_net_change` of every task, among the methods without a gate."""
    ungated = choices.filter(pl.col("method") != "gated")
    best = ungated.filter(pl.col("tuning_net_change") == pl.col("tuning_net_change").max().over("task"))
    return best.unique("task", keep="first", maintain_order=True)
