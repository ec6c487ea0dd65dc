"""Which condition to take, by what it does to the tuning prompts; held-out prompts have no say."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from apmae.intervention.gating import best_gate
from apmae.intervention.operations import OPERATIONS
from apmae.study.artifacts import CHOICES

EFFECTS, GREEDY, LEARNED_GATES, RANDOM, GATED = "effects", "greedy", "learned_gates", "random", "gated"
CHOICE_METHODS = (*OPERATIONS, EFFECTS, GREEDY, LEARNED_GATES, GATED, RANDOM)
"""The best condition that zeroes the heads of a SHAP selection, replaces them by their mean, or scales them;
the best of heads by their effects; the best greedy one; the best learned gates; the best of all of these
behind a gate; and, their control, the best of random heads."""

BY_SHAP = ~pl.col("selection").is_in([EFFECTS, GREEDY, LEARNED_GATES, RANDOM])
METHOD = pl.when(BY_SHAP).then("operation").otherwise("selection")
"""The ungated method that chooses among conditions of this selection and operation."""

CHANGE = pl.col("correct_after").cast(pl.Int8) - pl.col("correct_before").cast(pl.Int8)
"""1 where an incorrect completion became correct, -1 where a correct one became incorrect."""


def choose(interventions: pl.DataFrame) -> pl.DataFrame:
    """The best condition of every task and method; among equals the one of fewest heads, then the first.

    Args:
        interventions: `INTERVENTIONS`.

    Returns:
        `CHOICES`; a method under which nothing helps the tuning prompts has no row.
    """
    tuning = _matched(interventions.filter(split="train")).with_columns(METHOD.alias("method"))
    rows = [row for task in tuning["task"].unique(maintain_order=True) for row in _of_task(tuning, task)]
    return CHOICES.of_rows(rows)


def best_ungated(choices: pl.DataFrame) -> pl.DataFrame:
    """The row of largest `tuning_net_change` of every task, among the methods without a gate; no control."""
    ungated = choices.filter(~pl.col("method").is_in([GATED, RANDOM]))
    best = ungated.filter(pl.col("tuning_net_change") == pl.col("tuning_net_change").max().over("task"))
    return best.unique("task", keep="first", maintain_order=True)


def _matched(interventions: pl.DataFrame) -> pl.DataFrame:
    """Without the random conditions by which random heads would have more to choose from than SHAP values.

    Of every number of heads, as many random sets stay as there are SHAP selections under the same operation.
    The best of more candidates is better on the tuning prompts by luck alone.
    """
    variant = ("task", "operation", "factor", "n_heads")
    by_shap = pl.col("condition").filter(BY_SHAP).n_unique().over(variant)
    return interventions.filter((pl.col("selection") != RANDOM) | (pl.col("seed") < by_shap))


def _of_task(tuning: pl.DataFrame, task: str) -> Iterator[tuple[object, ...]]:
    rows = tuning.filter(task=task)
    prompts = rows["prompt_id"].n_unique()
    # Fewest heads first, so that the first of equally good conditions is the one to take.
    conditions = rows.sort("n_heads", "condition").group_by("method", "condition", maintain_order=True)
    gained = conditions.agg(gain=CHANGE.sum().cast(pl.Float64))
    gained = gained.sort("gain", descending=True, maintain_order=True)
    for method in CHOICE_METHODS:
        best = gained.filter(pl.col("method") == method, pl.col("gain") > 0).head(1)
        for condition, gain in best.select("condition", "gain").iter_rows():
            yield task, method, condition, None, prompts, gain / prompts
    gated = []
    for (method, condition), chosen in conditions:
        if method == RANDOM:
            continue
        gate = best_gate(
            chosen["gate_probability"].to_numpy(),
            chosen.select(CHANGE.cast(pl.Float64)).to_series().to_numpy(),
        )
        if gate is not None:
            gated.append((gate.gain, condition, gate.threshold))
    if gated:
        gain, condition, threshold = max(gated, key=lambda found: found[0])
        yield task, GATED, condition, threshold, prompts, gain / prompts
