"""Which classifier each feature set uses.

Clusters by themselves are given to gradient-boosted trees, as in the paper. Everything else, unions
with clusters too, is given to one linear model: hundreds of heads that each say little, on few
prompts, are more than trees can sort out.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from apmae.prediction.features import CLUSTER_BLOCKS, Blocks
from apmae.prediction.linear import LinearModel
from apmae.prediction.trees import as_pool, fit_catboost
from apmae.study.config import PredictionConfig

Predict = Callable[[Blocks], NDArray[np.float64]]
"""Blocks of new prompts -> (prompts,) probability that the completion is correct."""


def fit_features(
    blocks: Blocks,
    correct: NDArray[np.bool_],
    groups: NDArray[np.int64],
    config: PredictionConfig,
    seed: int,
) -> Predict:
    """Fit a feature set; where there is nothing to learn from, the class frequency is all there is.

    Args:
        blocks: training rows; all that is learned, scaling and reduction included, is from them.
        groups: (rows,) numbers of their groups.
    """
    if not learnable(blocks, correct):
        rate = float(correct.mean())
        return lambda blocks: np.full(len(next(iter(blocks.values()))), rate)
    if uses_trees(blocks):
        trees = fit_catboost(blocks, correct, config, seed)
        return lambda blocks: trees.predict_proba(as_pool(blocks))[:, 1]
    linear = LinearModel.fit(blocks, correct, groups, seed)
    return lambda blocks: expit(linear.log_odds(blocks))


def uses_trees(blocks: Blocks) -> bool:
    """Whether these blocks are cluster ids and nothing else."""
    return len(blocks) == 1 and next(iter(blocks)) in CLUSTER_BLOCKS


def learnable(blocks: Blocks, correct: NDArray[np.bool_]) -> bool:
    """Whether both outcomes occur and some column varies."""
    varies = any((block != block[:1]).any() for block in blocks.values())
    return bool(varies and correct.any() and not correct.all())
