"""Statistics for the report and the command line: pure functions from tables to tables.

Rates and net changes are fractions, not percent. Intervals are 95%. NaN becomes null. Rows keep the order in
which tasks, feature sets and selections first appear in the input.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import polars as pl
from scipy import stats

from apmae.intervention.resampling import Resampling
from apmae.prediction.features import HEAD_BLOCKS, SHUFFLED
from apmae.prediction.measurement import REFERENCES

VARIANT = ("importance", "operation", "factor")
CONDITION = ("selection", "n_heads", *VARIANT)

SIGNIFICANCE = 0.05
"""Holm-corrected p-values below it are called significant."""

LOWER_IS_BETTER = ("brier", "ece", "aurc")
"""Metrics whose smallest value is the best, also in their base-rate variants."""


@dataclass(frozen=True)
class Comparison:
    """How a feature set differs from another one over the tasks.

    Attributes:
        tasks: in which both were measured.
        above, below: tasks in which the difference is significant, after Holm's correction over tasks.
        least, most: the smallest and the largest difference.
    """

    tasks: int
    above: int
    below: int
    least: float
    most: float


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Wilson's 95% score interval of a proportion; NaN without trials."""
    if trials == 0:
        return math.nan, math.nan
    low, high = stats.binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    return float(low), float(high)


def target_accuracy(tasks: pl.DataFrame) -> pl.DataFrame:
    """The tasks table with `low` and `high`, the Wilson interval of `base_rate` (figure 4 I)."""
    pairs = tasks.select("evaluated_correct", "evaluated", "base_rate").iter_rows()
    intervals = [(None, None) if _absent(rate) else wilson_interval(right, n) for right, n, rate in pairs]
    return tasks.with_columns(
        pl.col("base_rate").fill_nan(None),
        pl.Series("low", [low for low, _ in intervals], dtype=pl.Float64),
        pl.Series("high", [high for _, high in intervals], dtype=pl.Float64),
    )


def metrics_table(metrics: pl.DataFrame, protocol: str) -> pl.DataFrame:
    """One row per task and feature set.

    Returns:
        `task`, `features`, `prompts`, and for every metric `m`: `m`, `m_low`, `m_high`, the same for
        `m_difference` from confidence and `m_over_strong`, with `m_difference_p_holm` and
        `m_over_strong_p_holm`, and `m_best`, true if no other feature set of the task has a better value.
    """
    endings = ("", "_low", "_high", "_p_holm")
    differences = [reference + ending for reference in REFERENCES for ending in endings]
    suffixes = {"value": "", "low": "_low", "high": "_high", **{name: f"_{name}" for name in differences}}
    long = metrics.filter(pl.col("protocol") == protocol)
    long = long.with_columns(pl.col(*suffixes).fill_nan(None))
    names = metrics["metric"].unique(maintain_order=True).to_list()
    cells = [
        pl.col(column).filter(pl.col("metric") == name).first().alias(name + suffix)
        for name in names
        for column, suffix in suffixes.items()
    ]
    table = long.group_by("task", "features", maintain_order=True).agg(pl.col("prompts").first(), *cells)
    best = [(pl.col(name) == _best_of(name)).fill_null(False).alias(f"{name}_best") for name in names]
    return table.with_columns(best)


def compare(table: pl.DataFrame, features: str, metric: str, reference: str) -> Comparison | None:
    """How `features` differs from a reference in a `metrics_table`.

    Args:
        reference: `difference`, which is from confidence, or `over_strong`.

    Returns:
        None if no task has both values.
    """
    difference = f"{metric}_{reference}"
    if difference not in table.columns:
        return None
    known = table.filter(pl.col("features") == features).drop_nulls(difference)
    if known.is_empty():
        return None
    significant = pl.col(f"{difference}_p_holm") < SIGNIFICANCE
    found = known.select(
        above=(significant & (pl.col(difference) > 0)).sum(),
        below=(significant & (pl.col(difference) < 0)).sum(),
        least=pl.col(difference).min(),
        most=pl.col(difference).max(),
    ).row(0, named=True)
    return Comparison(tasks=known.height, **found)


def gains(table: pl.DataFrame, metric: str = "auroc") -> pl.DataFrame:
    """What each block of heads adds to confidence and to `strong` in a `metrics_table`.

    Returns:
        Rows (reference, block, task, gain, low, high, significant), of the unions of one block of heads with
        a reference; significant after Holm's correction over tasks.
    """
    parts = [
        table.filter(features=f"{reference}+{block}").select(
            pl.lit(reference).alias("reference"),
            pl.lit(block).alias("block"),
            "task",
            gain=f"{metric}_{column}",
            low=f"{metric}_{column}_low",
            high=f"{metric}_{column}_high",
            significant=(pl.col(f"{metric}_{column}_p_holm") < SIGNIFICANCE).fill_null(False),
        )
        for column, reference in REFERENCES.items()
        for block in HEAD_BLOCKS
        if f"{metric}_{column}" in table.columns
    ]
    empty = pl.DataFrame(schema={"task": pl.String, "gain": pl.Float64})
    return pl.concat(parts).drop_nulls("gain") if parts else empty


def top_heads(importance: pl.DataFrame, count: int) -> pl.DataFrame:
    """The `count` heads with the largest `max_difference` per task, largest first."""
    known = importance.with_columns(pl.col("max_difference").fill_nan(None)).drop_nulls("max_difference")
    order = known["task"].unique(maintain_order=True).to_list()
    ranked = known.sort("max_difference", "layer", "head", descending=[True, False, False])
    return pl.concat([known.clear(), *(ranked.filter(pl.col("task") == task).head(count) for task in order)])


def head_shape(clusters: pl.DataFrame) -> tuple[int, int]:
    """Number of layers of the target, and of heads per layer. The clusters table has every head."""
    layers, heads = clusters.select(pl.col("layer", "head").max().cast(pl.Int64) + 1).row(0)
    return layers, heads


def clusters_per_head(clusters: pl.DataFrame) -> pl.DataFrame:
    """`layer`, `head`, `n_clusters` (without noise) and `noise_fraction` of every head (figure 3)."""
    cluster = pl.col("cluster")
    return (
        clusters.group_by("layer", "head")
        .agg(n_clusters=cluster.filter(cluster >= 0).n_unique(), noise_fraction=(cluster < 0).mean())
        .sort("layer", "head")
    )


def intervention_effects(
    interventions: pl.DataFrame, resampling: Resampling, *, pooled: bool = False
) -> pl.DataFrame:
    """Net change in accuracy of held-out prompts under every condition (figure 7).

    A prompt's change is +1 if an incorrect completion became correct, -1 if a correct one became incorrect,
    else 0, averaged over the seeds of a random selection. The net change is its mean over the prompts.

    Args:
        pooled: pool each condition over the prompts of all tasks, else keep tasks apart. Pooled greedy
            conditions have at most `n_heads` heads, fewer in tasks whose search ended earlier.

    Returns:
        `task` (unless pooled), the names of `CONDITION`, `prompts`, `seeds`, `incorrect_to_correct` and
        `correct_to_incorrect` (prompts, mean over seeds), `net_change`, `low`, `high`.
    """
    by = list(CONDITION) if pooled else ["task", *CONDITION]
    before, after = pl.col("correct_before"), pl.col("correct_after")
    held_out = interventions.filter(pl.col("split") != "train")
    if pooled:
        held_out = _carry_greedy_forward(held_out)
    per_prompt = held_out.group_by("task", *CONDITION, "prompt_id", maintain_order=True).agg(
        incorrect_to_correct=(~before & after).mean(),
        correct_to_incorrect=(before & ~after).mean(),
        seeds=pl.col("seed").n_unique(),
    )
    per_prompt = per_prompt.with_columns(
        change=pl.col("incorrect_to_correct") - pl.col("correct_to_incorrect")
    )
    counts = per_prompt.group_by(by, maintain_order=True).agg(
        pl.len().alias("prompts"),
        pl.col("seeds").max(),
        pl.col("incorrect_to_correct", "correct_to_incorrect").sum(),
    )
    net_changes = resampling.mean_changes(per_prompt, by, "change", "net_change")
    net_changes = net_changes.rename({"net_change_low": "low", "net_change_high": "high"})
    return counts.join(net_changes, on=by, how="left", maintain_order="left")


def identity_changes(interventions: pl.DataFrame, prompts: pl.DataFrame) -> tuple[int, int]:
    """Prompts whose outcome under the identity condition is not the one mined, and all prompts."""
    mined = prompts.select("prompt_id", mined="correct")
    outcomes = interventions.join(mined, on="prompt_id").group_by("prompt_id")
    changed = outcomes.agg((pl.col("correct_before") != pl.col("mined")).any().alias("changed"))["changed"]
    return int(changed.sum()), len(changed)


def _carry_greedy_forward(held_out: pl.DataFrame) -> pl.DataFrame:
    """Give every task a row for every number of greedy heads: its largest set of at most that many."""
    greedy = held_out.filter(selection="greedy")
    if greedy.is_empty():
        return held_out
    labels = greedy.select(pl.lit(0, pl.Int32).alias("n_heads"), "selection", "seed", *VARIANT).row(
        0, named=True
    )
    unchanged = held_out.unique(["task", "prompt_id"], keep="first", maintain_order=True).with_columns(
        correct_after="correct_before", **{name: pl.lit(value) for name, value in labels.items()}
    )
    sets = pl.concat([unchanged, greedy], how="vertical_relaxed").sort("n_heads", maintain_order=True)
    carried = [
        sets.filter(pl.col("n_heads") <= count)
        .unique(["task", "prompt_id"], keep="last", maintain_order=True)
        .with_columns(n_heads=pl.lit(count, pl.Int32))
        for count in greedy["n_heads"].unique().sort()
    ]
    return pl.concat([held_out.filter(pl.col("selection") != "greedy"), *carried], how="vertical_relaxed")


def _best_of(metric: str) -> pl.Expr:
    """The best value of a task, not counting shuffled labels."""
    competing = pl.col(metric).filter(pl.col("features") != SHUFFLED)
    lower = metric.removesuffix("_at_base_rate") in LOWER_IS_BETTER
    return (competing.min() if lower else competing.max()).over("task")


def _absent(value: float | None) -> bool:
    return value is None or math.isnan(value)
