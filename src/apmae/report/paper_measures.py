"""Measures as the paper reports them: over folds, over tasks, and where a task collapses.

The report's other tables measure the same by resampling groups, in which prompts are alike. Rates and changes
are fractions; intervals are 95%.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from apmae.intervention.selections import RANKINGS
from apmae.prediction.measurement import resampled_weights

COLLAPSED = 0.9
"""Fraction of the correct prompts that become incorrect in a collapse. The paper gives no number."""


def accuracy_over_folds(predictions: pl.DataFrame, prompts: pl.DataFrame) -> pl.DataFrame:
    """Mean accuracy of the clusters' classifier over the folds of the cross-validation (paper figure 4 II).

    Folds share most of their training prompts, so the interval is too narrow for other prompts.

    Args:
        predictions, prompts: `PREDICTIONS`, and the study prompts.

    Returns:
        `task`, `folds`, `accuracy`, and `low` and `high` of Student's t over the folds, null for one fold.
    """
    crossed = predictions.filter(protocol="cross_validation", features="clusters")
    hits = (pl.col("probability") > 0.5) == pl.col("correct")
    by_fold = (
        crossed.join(prompts.select("prompt_id", "correct"), on="prompt_id")
        .group_by("task", "fold", maintain_order=True)
        .agg(accuracy=hits.mean())
    )
    return _over(by_fold, ["task"], "folds", "accuracy")


def paper_conditions(interventions: pl.DataFrame, prompts: pl.DataFrame, importance: str) -> pl.DataFrame:
    """Held-out prompts under the paper's conditions: zero ablation by SHAP values or at random.

    Args:
        interventions, prompts: `INTERVENTIONS`, and the study prompts.
        importance: the feature set whose importance chose the heads.

    Returns:
        `task`, `selection`, `n_heads`, `prompt_id`, `group`, `correct_before`, and `correct_after` and
        `changed` (whether another token is predicted), means over the seeds of a random selection.
    """
    measured = (pl.col("split") != "train", pl.col("selection").is_in(list(RANKINGS)))
    chosen = interventions.filter(*measured, operation="zero", importance=importance)
    return (
        chosen.join(prompts.select("prompt_id", "group"), on="prompt_id")
        .group_by("task", "selection", "n_heads", "prompt_id", "group", maintain_order=True)
        .agg(
            pl.col("correct_before").first(),
            pl.col("correct_after").mean(),
            changed=(pl.col("predicted_id") != pl.col("predicted_before")).mean(),
        )
    )


def effects_over_tasks(conditions: pl.DataFrame) -> pl.DataFrame:
    """Net change and changed predictions, as means over the tasks that have the condition (paper figure 7 a).

    Args:
        conditions: from `paper_conditions`.

    Returns:
        `selection`, `n_heads`, `tasks`, `net_change` with `low` and `high` of Student's t over the tasks,
        null for one task; `changed_correct` and `changed_incorrect`: fractions of the correct and of the
        incorrect prompts for which another token is predicted.
    """
    by = ["selection", "n_heads"]
    correct = pl.col("correct_before")
    of_tasks = conditions.group_by("task", *by, maintain_order=True).agg(
        net_change=(pl.col("correct_after") - correct.cast(pl.Float64)).mean(),
        changed_correct=pl.col("changed").filter(correct).mean(),
        changed_incorrect=pl.col("changed").filter(~correct).mean(),
    )
    changed = of_tasks.group_by(by).agg(pl.col("changed_correct", "changed_incorrect").mean())
    effects = _over(of_tasks, by, "tasks", "net_change").join(changed, on=by, maintain_order="left")
    order = pl.Enum(effects["selection"].unique(maintain_order=True))
    return effects.sort(pl.col("selection").cast(order), "n_heads")


def collapses(conditions: pl.DataFrame, seed: int) -> pl.DataFrame:
    """The fewest heads, of the numbers tried, whose ablation makes nine of ten correct prompts incorrect.

    Args:
        conditions: from `paper_conditions`.
        seed: of the bootstrap over groups.

    Returns:
        `task`, `selection`, `heads`, `low`, `high`, and `tried`, the most heads; infinite where more heads
        than were tried would be needed.
    """
    correct = conditions.filter("correct_before")
    rows = [
        (task, selection, *_collapse(of_both, seed), float(str(of_both["n_heads"].max())))
        for (task, selection), of_both in correct.group_by("task", "selection", maintain_order=True)
    ]
    numbers = dict.fromkeys(("heads", "low", "high", "tried"), pl.Float64())
    schema = {"task": pl.String(), "selection": pl.String(), **numbers}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _collapse(of_both: pl.DataFrame, seed: int) -> NDArray[np.float64]:
    """Heads, low and high of one task and selection."""
    lost = of_both.with_columns(lost=1 - pl.col("correct_after")).pivot(
        "n_heads", index=["prompt_id", "group"], values="lost"
    )
    counts = sorted(int(name) for name in lost.columns[2:])
    groups = lost["group"].rank("dense").to_numpy().astype(np.int64) - 1
    resampled = resampled_weights(groups, np.random.default_rng(seed))
    weights = np.vstack([np.ones(len(groups)), resampled])
    fractions = weights @ lost.select(map(str, counts)).to_numpy() / weights.sum(1, keepdims=True)
    collapsed = fractions >= COLLAPSED
    heads = np.where(collapsed.any(1), np.array(counts)[collapsed.argmax(1)], np.inf)
    ends = heads[1:] if len(heads) > 1 else heads
    return np.array([heads[0], *np.quantile(ends, [0.025, 0.975], method="inverted_cdf")])


def _over(table: pl.DataFrame, by: list[str], number: str, value: str) -> pl.DataFrame:
    """The mean of a column with the interval of Student's t."""
    rows = table.group_by(by, maintain_order=True).agg(
        pl.len().alias(number), pl.col(value).mean(), error=pl.col(value).std() / pl.len().sqrt()
    )
    quantiles = [stats.t.ppf(0.975, count - 1) if count > 1 else None for count in rows[number]]
    half = pl.col("error") * pl.Series(quantiles, dtype=pl.Float64)
    return rows.with_columns(low=pl.col(value) - half, high=pl.col(value) + half).drop("error")
