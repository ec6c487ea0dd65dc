"""Gradient-boosted trees on cluster ids, the paper's classifier (section 6), by CatBoost."""

from __future__ import annotations

import numpy as np
import polars as pl
from catboost import CatBoostClassifier, EFstrType, Pool
from numpy.typing import NDArray

from apmae.prediction.features import Blocks, take
from apmae.prediction.protocols import cross_validation
from apmae.study.config import PredictionConfig

ONE_HOT_MAX_SIZE = 255
"""CatBoost's limit: heads with more clusters than this are target-encoded."""

EARLY_STOPPING_FOLDS = 10
"""One of so many stratified folds is left out for early stopping (paper section 6.2)."""


def fit_catboost(
    blocks: Blocks, correct: NDArray[np.bool_], config: PredictionConfig, seed: int
) -> CatBoostClassifier:
    """A CatBoost model of blocks that tell something. It does not depend on the machine's cores.

    With `early_stopping_rounds`, a random tenth of the rows decides on the number of trees and is not
    fitted. Where an outcome has fewer than two rows, all are fitted and nothing stops early.
    """
    model = CatBoostClassifier(
        iterations=config.iterations,
        depth=config.depth,
        learning_rate=config.learning_rate,
        one_hot_max_size=ONE_HOT_MAX_SIZE,
        random_seed=seed,
        thread_count=1,
        allow_writing_files=False,
        verbose=False,
    )
    splits = cross_validation(correct, EARLY_STOPPING_FOLDS, seed) if config.early_stopping_rounds else []
    if not splits:
        return model.fit(as_pool(blocks, correct))
    fitted, left_out = splits[0]
    return model.fit(
        as_pool(take(blocks, fitted), correct[fitted]),
        eval_set=as_pool(take(blocks, left_out), correct[left_out]),
        early_stopping_rounds=config.early_stopping_rounds,
    )


def as_pool(blocks: Blocks, correct: NDArray[np.bool_] | None = None) -> Pool:
    """CatBoost's data set: columns are called `<block>_<number>`, integers are categories."""
    columns = {
        f"{name}_{number}": column
        for name, block in blocks.items()
        for number, column in enumerate(np.ascontiguousarray(block.T))
    }
    categories = [name for name, column in columns.items() if np.issubdtype(column.dtype, np.integer)]
    return Pool(pl.DataFrame(columns), correct, cat_features=categories)


def shap_values(model: CatBoostClassifier, blocks: Blocks) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """CatBoost's own SHAP values, in log odds.

    Returns:
        (prompts, columns) values and (prompts,) bias; a row's values and its bias add up to the
        model's raw score.
    """
    values = model.get_feature_importance(as_pool(blocks), type=EFstrType.ShapValues, thread_count=1)
    return values[:, :-1], values[:, -1]
