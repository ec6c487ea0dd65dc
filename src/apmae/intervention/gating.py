"""Gated interventions: only completions that are predicted to be incorrect are changed.

The paper leaves this to future work. The gate is a predictor of correct completions. For the
prompts that its threshold is chosen on, which are training prompts, it is fitted on training prompts
of other groups; for held-out prompts, on all training prompts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from apmae.common.seeding import derive_seed
from apmae.prediction.classifiers import fit_features
from apmae.prediction.features import StoredFeatures, blocks_of, take
from apmae.prediction.protocols import group_folds
from apmae.study import Study

FOLDS = 5


class Gate(NamedTuple):
    """What a gate is worth: `gain` is the sum of the changes of the prompts that it lets through."""

    threshold: float
    gain: float


def gate_probabilities(study: Study, task: str) -> pl.DataFrame:
    """Predicted probability that the plain completion is correct, by a predictor that has not seen it.

    Returns:
        `prompt_id` and `gate_probability` of every study prompt of the task.
    """
    features = study.config.intervention.gate
    train = study.study_prompts.filter(task=task, split="train").sort("prompt_id")
    held_out = study.predictions.filter(task=task, protocol="held_out", features=features)
    probability = pl.col("probability").alias("gate_probability")
    own = train.select("prompt_id", probability=pl.Series(_out_of_fold(study, train, features)))
    return pl.concat([part.select("prompt_id", probability.cast(pl.Float32)) for part in (own, held_out)])


def best_gate(probability: NDArray[np.float32], change: NDArray[np.float64]) -> Gate | None:
    """The threshold that gains most; None where no threshold gains anything.

    Args:
        probability: (prompts,) predicted probability that the plain completion is correct.
        change: (prompts,) 1 where the intervention makes a prompt correct, -1 where it makes it incorrect.

    Returns:
        Prompts of at most this probability are changed; the lowest of equally good thresholds.
    """
    order = np.argsort(probability, kind="stable")
    ascending = probability[order]
    gains = np.cumsum(change[order])
    last_of_equals = np.append(ascending[1:] > ascending[:-1], [True] * bool(len(ascending)))
    gains = np.where(last_of_equals, gains, -np.inf)
    if not len(gains) or gains.max() <= 0:
        return None
    best = int(gains.argmax())
    return Gate(float(ascending[best]), float(gains[best]))


def _out_of_fold(study: Study, train: pl.DataFrame, features: str) -> NDArray[np.float64]:
    """(prompts,) predicted by models of other groups; where there are none, the fraction of correct ones."""
    correct = train["correct"].to_numpy()
    groups = train["group"].rank("dense").to_numpy().astype(np.int64) - 1
    task = str(train["task"].first())
    seed = derive_seed(study.config.seed, "interventions", task, "gate")
    blocks = StoredFeatures(study, train, "held_out").blocks(blocks_of(features, study.config))
    probability = np.full(len(correct), correct.mean() if len(correct) else np.nan)
    for fit, predicted in group_folds(correct, groups, FOLDS, seed):
        predict = fit_features(take(blocks, fit), correct[fit], groups[fit], study.config.prediction, seed)
        probability[predicted] = predict(take(blocks, predicted))
    return probability
