"""Every ranking of heads that the project offers, as a score for each head of a study's task.

All look at training prompts, or at prompts of no task; larger scores come first.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from apmae.intervention.conditions import tuning_prompts
from apmae.intervention.greedy import GRADIENT_BATCH
from apmae.study import Study
from apmae.study.artifacts import token_ids
from apmae.target_model import Target

Scores = NDArray[np.float64]

SINKS = ("first_token", "self")
"""Roles that heads have which do nothing in particular."""


def rankings(study: Study, task: str, target: Target) -> dict[str, Scores]:
    """(L * H,) by ranking, of those that the study has."""
    effects = study.effects.filter(
        task=task, split="train", operation="zero", outcome="log_probability", weighting="balanced"
    )
    tables = {
        "ablation": effects.filter(method="exact").with_columns(score=pl.col("value").abs()),
        "attribution": effects.filter(method="attribution").with_columns(score=pl.col("value").abs()),
        "learned gates": study.learned_gates.filter(task=task).with_columns(
            score=pl.max_horizontal(1 - pl.col("retained"), "removed")
        ),
        **{
            f"SHAP of {features}": importance.with_columns(score="max_difference")
            for (features,), importance in study.importance.filter(task=task).group_by(
                "features", maintain_order=True
            )
        },
        "roles": study.roles.filter(~pl.col("role").is_in(SINKS), text="code")
        .group_by("layer", "head")
        .agg(score=pl.col("difference").max()),
    }
    found = {name: _scores(table, target) for name, table in tables.items() if table.height}
    return {**found, "one derivative": _derivative(study, task, target)}


def _scores(table: pl.DataFrame, target: Target) -> Scores:
    """Heads that the table does not have come last."""
    scores = np.full((target.n_layers, target.n_heads), -np.inf)
    scores[table["layer"].to_numpy(), table["head"].to_numpy()] = table["score"].to_numpy()
    return scores.ravel()


def _derivative(study: Study, task: str, target: Target) -> Scores:
    """Mean derivative of the log probability by each head's factor (Michel et al. 2019)."""
    count, seed = study.config.effects.prompts_per_outcome, study.config.seed
    prompts = tuning_prompts(study.study_prompts, task, count, seed)
    gradients = [
        target.factor_gradients(token_ids(some), torch.tensor(some["next_token_id"].to_list()), {})
        for some in prompts.iter_slices(GRADIENT_BATCH)
    ]
    scores: Scores = torch.cat(gradients).mean(0).abs().flatten().double().numpy()
    return scores
