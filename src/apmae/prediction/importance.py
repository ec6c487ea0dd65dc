"""Which heads a predictor goes by (paper section 6, figures 5, 6 and 8 to 17).

Stability says how far models fitted on folds of the training prompts agree; heads that matter in one
fold only are not to be trusted. Folds share most of their prompts, so it is an upper bound of what other
prompts would give.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from apmae.prediction.metrics import Values

TOP = 10
"""Heads that count as a fold's top heads."""

MIN_CLUSTER_PROMPTS = 10
"""Prompts from which on a cluster counts. A largest difference is that of the most extreme clusters, and
the mean of a few prompts is extreme by chance, through what their other heads do."""


def head_importance(shap: Values, clusters: NDArray[np.int16]) -> pl.DataFrame:
    """Summarise the SHAP values of every head.

    Args:
        shap: (prompts, heads).
        clusters: (prompts, heads) cluster ids; noise is a cluster of its own, as for the model.

    Returns:
        One row per head: `max_difference` between the mean SHAP values of its
        clusters of at least ten prompts (the paper's measure), 0 if there are no two; `mean_shap`;
        `mean_absolute`; `mean_positive` and `mean_negative`, of its positive and of its negative values
        alone, 0 if it has none. A head's values average to about zero, so sums of either sign would rank
        heads alike.
    """
    return pl.DataFrame(
        {
            "max_difference": [
                _spread_of_means(values, ids) for values, ids in zip(shap.T, clusters.T, strict=True)
            ],
            "mean_positive": _mean_where(shap > 0, shap),
            "mean_negative": _mean_where(shap < 0, shap),
            "mean_absolute": np.abs(shap).mean(0),
            "mean_shap": shap.mean(0),
        }
    )


def stability(by_fold: Values) -> pl.DataFrame:
    """How far folds agree on which heads matter.

    Args:
        by_fold: (folds, heads) importance.

    Returns:
        One row per head: `top_fraction`, the fraction of folds that rank it among the ten most
        important (and important at all), and `rank_correlation`, Spearman's between two folds, its
        mean over all pairs. NaN where there are no two folds, or a fold gives all heads the same.
    """
    n_folds, n_heads = by_fold.shape
    if n_folds < 2:
        return pl.DataFrame({name: np.full(n_heads, np.nan) for name in ("top_fraction", "rank_correlation")})
    ranks = np.stack([stats.rankdata(-fold, method="min") for fold in by_fold])
    with np.errstate(invalid="ignore"):
        correlations = np.corrcoef(np.stack([stats.rankdata(fold) for fold in by_fold]))
    pairs = [correlations[pair] for pair in combinations(range(n_folds), 2)]
    return pl.DataFrame(
        {
            "top_fraction": ((ranks <= TOP) & (by_fold > 0)).mean(0),
            "rank_correlation": np.full(n_heads, np.mean(pairs)),
        }
    )


def _mean_where(chosen: NDArray[np.bool_], values: Values) -> Values:
    """(rows, columns) -> (columns,): the mean of the chosen values, 0 where there is none."""
    return np.where(chosen, values, 0).sum(0) / np.maximum(chosen.sum(0), 1)  # type: ignore[no-any-return]


def _spread_of_means(values: Values, ids: NDArray[np.int16]) -> float:
    _, member_of, sizes = np.unique(ids, return_inverse=True, return_counts=True)
    means = (np.bincount(member_of, weights=values) / sizes)[sizes >= MIN_CLUSTER_PROMPTS]
    return float(np.ptp(means)) if len(means) else 0.0
