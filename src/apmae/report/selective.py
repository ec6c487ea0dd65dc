"""Calibration of predicted probabilities, and errors when only the most confident completions are trusted.

Pure functions from the table of held-out predictions (task, features, probability, correct).
"""

from __future__ import annotations

import polars as pl

from apmae.report.summaries import wilson_interval

BINS = 10


def reliability(predictions: pl.DataFrame) -> pl.DataFrame:
    """Observed frequency of correct completions by predicted probability, over the prompts of all tasks.

    Returns:
        Rows (features, probability, frequency, low, high, prompts), one per non-empty bin of width 0.1:
        mean probability, fraction of correct completions and its 95% Wilson interval.
    """
    bins = (pl.col("probability") * BINS).floor().clip(0, BINS - 1).alias("bin")
    tables = [
        rows.group_by("features", bins)
        .agg(
            pl.col("probability").mean(),
            frequency=pl.col("correct").mean(),
            correct=pl.col("correct").sum(),
            prompts=pl.len(),
        )
        .sort("bin")
        for rows in _partitions(predictions, "features")
    ]
    table = pl.concat(tables)
    bounds = [
        wilson_interval(correct, prompts) for correct, prompts in table.select("correct", "prompts").rows()
    ]
    return table.select(
        "features",
        "probability",
        "frequency",
        pl.Series("low", [low for low, _ in bounds], dtype=pl.Float64),
        pl.Series("high", [high for _, high in bounds], dtype=pl.Float64),
        "prompts",
    )


def risk_coverage(predictions: pl.DataFrame, tasks: pl.DataFrame) -> pl.DataFrame:
    """Fraction of incorrect completions among the most trusted, at the base rate of each task.

    Args:
        tasks: the tasks table; correct and incorrect prompts are weighted to its `base_rate`.

    Returns:
        Rows (task, features, coverage, risk), one per distinct probability, in descending order.
    """
    rate = pl.col("base_rate")
    of_outcome = pl.when("correct").then(rate).otherwise(1 - rate)
    weight = of_outcome / pl.len().over("task", "features", "correct")
    weighted = predictions.join(tasks.select("task", "base_rate"), on="task", maintain_order="left")
    weighted = weighted.with_columns(weight=weight)
    return pl.concat([_curve(rows) for rows in _partitions(weighted, "task", "features")])


def _curve(weighted: pl.DataFrame) -> pl.DataFrame:
    levels = (
        weighted.group_by("task", "features", "probability")
        .agg(trusted=pl.col("weight").sum(), incorrect=(pl.col("weight") * ~pl.col("correct")).sum())
        .sort("probability", descending=True)
    )
    trusted, incorrect = pl.col("trusted").cum_sum(), pl.col("incorrect").cum_sum()
    return levels.select(
        "task", "features", coverage=trusted / pl.col("trusted").sum(), risk=incorrect / trusted
    )


def _partitions(table: pl.DataFrame, *by: str) -> list[pl.DataFrame]:
    """Rows by group, in the order of the groups' first rows, or one empty table if there are no rows."""
    return table.partition_by(by, maintain_order=True) or [table]
