"""Rankings of a study's heads besides ablation itself."""

from __future__ import annotations

import polars as pl


def head_rankings(
    effects: pl.DataFrame, importance: pl.DataFrame, learned_gates: pl.DataFrame
) -> dict[str, pl.DataFrame]:
    """How large attribution, SHAP values and learned gates say that each head is for each task.

    Args:
        effects: `EFFECTS` of one split.
        importance, learned_gates: `IMPORTANCE` and `LEARNED_GATES`.

    Returns:
        By name `task`, `layer`, `head`, `score`; the larger the score, the more a head matters. A ranking
        that the study has not is left out.
    """
    attribution = effects.filter(method="attribution", outcome="log_probability", weighting="balanced")
    closed, needed = 1 - pl.col("retained"), pl.col("removed")
    rankings = {
        "attribution": attribution.with_columns(score=pl.col("value").abs()),
        **{
            f"SHAP of {features}": of_features.with_columns(score="max_difference")
            for (features,), of_features in importance.group_by("features", maintain_order=True)
        },
        "learned gates": learned_gates.with_columns(score=pl.max_horizontal(closed, needed)),
    }
    return {
        name: table.select("task", "layer", "head", "score")
        for name, table in rankings.items()
        if table.height
    }
