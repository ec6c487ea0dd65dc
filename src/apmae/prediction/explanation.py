"""Importance of every head for one task, by models of one block fitted on the training split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from apmae.common.atomic import replacing
from apmae.prediction.classifiers import learnable, uses_trees
from apmae.prediction.features import Blocks, StoredFeatures, head_numbers, take
from apmae.prediction.importance import head_importance, stability
from apmae.prediction.linear import LinearModel
from apmae.prediction.metrics import Values
from apmae.prediction.protocols import group_folds
from apmae.prediction.trees import fit_catboost, shap_values
from apmae.study import Study
from apmae.study.config import PredictionConfig

STABILITY_FOLDS = 5


def explain(
    study: Study, train: pl.DataFrame, name: str, groups: NDArray[np.int64], seed: int, path: Path
) -> pl.DataFrame:
    """Importance of every head, as in `IMPORTANCE` but for `task` and `features`.

    Where there is nothing to learn from, every head's importance is zero.

    Args:
        train: the task's prompts of the training split.
        name: a block of heads.
        groups: (prompts,) numbers of their groups.
        path: where the model goes if it is CatBoost's; it is that of the protocol `held_out`.
    """
    heads = head_numbers(study)
    correct = train["correct"].to_numpy()
    features = StoredFeatures(study, train, "held_out")
    blocks = features.blocks([name])
    if not learnable(blocks, correct):
        importance = head_importance(np.zeros((1, len(heads))), np.zeros((1, len(heads)), dtype=np.int16))
        return pl.concat([heads, importance, stability(np.empty((0, len(heads))))], how="horizontal")
    clusters = features.blocks(["clusters"])["clusters"].astype(np.int16)

    def importance_fitted_on(rows: NDArray[np.int64], save_to: Path | None = None) -> pl.DataFrame:
        shap = _head_shap(blocks, correct, groups, rows, study.config.prediction, seed, save_to)
        return head_importance(shap.reshape(*clusters.shape, -1).sum(-1), clusters)

    folds = group_folds(correct, groups, STABILITY_FOLDS, seed)
    by_fold = [importance_fitted_on(fold.train)["max_difference"].to_numpy() for fold in folds]
    importance = importance_fitted_on(np.arange(len(train)), path)
    agreement = stability(np.reshape(by_fold, (len(folds), len(heads))))
    return pl.concat([heads, importance, agreement], how="horizontal")


def _head_shap(
    blocks: Blocks,
    correct: NDArray[np.bool_],
    groups: NDArray[np.int64],
    rows: NDArray[np.int64],
    config: PredictionConfig,
    seed: int,
    save_to: Path | None,
) -> Values:
    """SHAP values (prompts, columns) of all rows of one block, by a model fitted on some."""
    fitted, right = take(blocks, rows), correct[rows]
    ((name, block),) = blocks.items()
    if not learnable(fitted, right):
        return np.zeros(block.shape)
    if not uses_trees(blocks):
        return LinearModel.fit(fitted, right, groups[rows], seed).shap_values(name, block)
    model = fit_catboost(fitted, right, config, seed)
    if save_to is not None:
        with replacing(save_to) as temporary:
            model.save_model(str(temporary))
    values, _ = shap_values(model, blocks)
    return values
