"""Importance of every head for one task, by models of one block fitted on the training split.

The SHAP values of a prompt are those of a model of other groups. A model's values on the prompts that
it was fitted on show what it memorised too, such as a head that knows the package by its pattern.
"""

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

FOLDS = 5


def explain(
    study: Study, train: pl.DataFrame, name: str, groups: NDArray[np.int64], seed: int, path: Path
) -> pl.DataFrame:
    """Importance of every head, as in `IMPORTANCE` but for `task` and `features`.

    Where there is nothing to learn from, or all of it in one group, every importance is zero.

    Args:
        train: the task's prompts of the training split.
        name: a block of heads.
        groups: (prompts,) numbers of their groups.
        path: where CatBoost's model of all these prompts goes, that of the protocol `held_out`.
    """
    heads, config = head_numbers(study), study.config.prediction
    correct = train["correct"].to_numpy()
    features = StoredFeatures(study, train, "held_out")
    blocks = features.blocks([name])
    clusters = features.blocks(["clusters"])["clusters"].astype(np.int16)
    folds = []
    if learnable(blocks, correct):
        folds = group_folds(correct, groups, FOLDS, seed)
        if uses_trees(blocks):
            with replacing(path) as temporary:
                fit_catboost(blocks, correct, config, seed).save_model(str(temporary))
    by_fold = [head_shap(blocks, correct, groups, fold.train, len(heads), config, seed) for fold in folds]
    shap, of_rows = np.zeros((1, len(heads))), np.zeros((1, len(heads)), dtype=np.int16)
    if folds:
        shap = np.concatenate([values[fold.test] for values, fold in zip(by_fold, folds, strict=True)])
        of_rows = np.concatenate([clusters[fold.test] for fold in folds])
    differences = [head_importance(values, clusters)["max_difference"].to_numpy() for values in by_fold]
    agreement = stability(np.reshape(differences, (len(folds), len(heads))))
    return pl.concat([heads, head_importance(shap, of_rows), agreement], how="horizontal")


def head_shap(
    blocks: Blocks,
    correct: NDArray[np.bool_],
    groups: NDArray[np.int64],
    rows: NDArray[np.int64],
    n_heads: int,
    config: PredictionConfig,
    seed: int,
) -> Values:
    """SHAP values of every head on all rows, by a model of one block that is fitted on some of them.

    Args:
        blocks: the block, its columns head by head.
        rows: numbers of the rows to fit.

    Returns:
        (prompts, heads) in log-odds: a head's columns together.
    """
    fitted, right = take(blocks, rows), correct[rows]
    ((name, block),) = blocks.items()
    if not learnable(fitted, right):
        return np.zeros((len(block), n_heads))
    if uses_trees(blocks):
        values, _ = shap_values(fit_catboost(fitted, right, config, seed), blocks)
    else:
        values = LinearModel.fit(fitted, right, groups[rows], seed).shap_values(name, block)
    return values.reshape(len(block), n_heads, -1).sum(-1)  # type: ignore[no-any-return]
