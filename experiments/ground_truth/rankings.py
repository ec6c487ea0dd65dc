"""Every ranking of heads that the project offers, as a score for each head of a study's task.

All look at training prompts, or at prompts of no task; larger scores come first.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from apmae.effects.rankings import head_rankings
from apmae.intervention.conditions import tuning_prompts
from apmae.intervention.greedy import gradient_batches
from apmae.roles.stage import CODE
from apmae.study import Study
from apmae.target_model import Target

Scores = NDArray[np.float64]

SINKS = ("first_token", "self")
"""Roles that heads have which do nothing in particular."""


def rankings(study: Study, task: str, target: Target) -> dict[str, Scores]:
    """(L * H,) by ranking, of those that the study has."""
    effects = study.effects.filter(split="train", operation="zero")
    exact = effects.filter(task=task, method="exact", outcome="log_probability", weighting="balanced")
    offered = head_rankings(effects, study.importance, study.learned_gates)
    roles = study.roles.filter(~pl.col("role").is_in(SINKS), text=CODE)
    tables = {
        "ablation": exact.with_columns(score=pl.col("value").abs()),
        **{name: table.filter(task=task) for name, table in offered.items()},
        "roles": roles.group_by("layer", "head").agg(score=pl.col("difference").max()),
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
    gradients_BLH = torch.cat(list(gradient_batches(target, prompts, {})))
    scores: Scores = gradients_BLH.mean(0).abs().flatten().double().numpy()
    return scores
