"""Which heads a cluster predictor goes by (paper section 6, figures 5 and 6)."""

from __future__ import annotations

import numpy as np
import polars as pl
from catboost import CatBoostClassifier, EFstrType
from numpy.typing import NDArray

from apmae.prediction.classifiers import as_pool
from apmae.prediction.features import Blocks


def shap_values(model: CatBoostClassifier, blocks: Blocks) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """CatBoost's own SHAP values, in log odds.

    Returns:
        (prompts, columns) values and (prompts,) bias; a row's values and its bias add up to the
        model's raw score.
    """
    values = model.get_feature_importance(as_pool(blocks), type=EFstrType.ShapValues, thread_count=1)
    return values[:, :-1], values[:, -1]


def head_importance(shap: NDArray[np.float64], clusters: NDArray[np.int16]) -> pl.DataFrame:
    """Summarise the SHAP values of every head.

    Args:
        shap: (prompts, heads).
        clusters: (prompts, heads) cluster ids; noise is a cluster of its own, as for the model.

    Returns:
        One row per head: `max_difference` between the mean SHAP values of its clusters (the
        paper's measure), `mean_positive`, `mean_negative`, `mean_shap`.
    """
    return pl.DataFrame(
        {
            "max_difference": [
                _spread_of_means(values, ids) for values, ids in zip(shap.T, clusters.T, strict=True)
            ],
            "mean_positive": shap.clip(min=0).mean(0),
            "mean_negative": shap.clip(max=0).mean(0),
            "mean_shap": shap.mean(0),
        }
    )


def _spread_of_means(values: NDArray[np.float64], ids: NDArray[np.int16]) -> float:
    _, member_of, sizes = np.unique(ids, return_inverse=True, return_counts=True)
    means = np.bincount(member_of, weights=values) / sizes
    return float(means.max() - means.min())
