"""How good predicted probabilities are, and how sure that is.

Shapes: n prompts; `weights` may have leading axes, (..., n), and the metric then has these axes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Values = NDArray[np.float64]
Metric = Callable[[NDArray[np.bool_], Values, Values], Values]
"""(correct (n,), probability (n,), weights (..., n)) -> (...); NaN where it is not defined."""

RESAMPLES = 1_000


def accuracy(correct: NDArray[np.bool_], probability: Values, weights: Values) -> Values:
    """Weighted fraction whose outcome is the one with probability above a half."""
    hits = (probability > 0.5) == correct
    return _ratio(weights @ hits.astype(np.float64), weights.sum(-1))


def auroc(correct: NDArray[np.bool_], probability: Values, weights: Values) -> Values:
    """Weighted chance that a right prompt has a higher probability than a wrong one; ties are half."""
    if not len(correct):
        return np.full(weights.shape[:-1], np.nan)
    order = np.argsort(probability, kind="stable")
    ranked = probability[order]
    ties = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    right = np.add.reduceat((weights * correct)[..., order], ties, axis=-1)
    wrong = np.add.reduceat((weights * ~correct)[..., order], ties, axis=-1)
    wins = right * (wrong.cumsum(-1) - wrong / 2)
    return _ratio(wins.sum(-1), right.sum(-1) * wrong.sum(-1))


METRICS: dict[str, Metric] = {"accuracy": accuracy, "auroc": auroc}


def mean_interval(values: Values) -> tuple[float, float, float]:
    """Mean, and its 95% interval by Student's t over the folds (paper figure 4).

    All are NaN for no value, the interval for one.
    """
    if len(values) < 2:
        return (float(values[0]) if len(values) else np.nan), np.nan, np.nan
    margin = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return float(values.mean()), float(values.mean() - margin), float(values.mean() + margin)


def bootstrap_interval(
    metric: Metric,
    correct: NDArray[np.bool_],
    probability: Values,
    groups: NDArray[np.int64],
    generator: np.random.Generator,
) -> tuple[float, float]:
    """95% percentile interval over resampled groups; prompts of one group are not independent.

    Resamples without both outcomes, where the metric needs them, are left out. NaN for fewer than
    two groups, which show no spread.

    Args:
        groups: (n,) number of each prompt's group, 0, 1, ... without a gap.
    """
    n_groups = int(groups.max(initial=-1)) + 1
    if n_groups < 2:
        return np.nan, np.nan
    drawn = generator.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=RESAMPLES)
    values = metric(correct, probability, drawn[:, groups].astype(np.float64))
    defined = values[np.isfinite(values)]
    if not len(defined):
        return np.nan, np.nan
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)


def _ratio(numerator: Values, denominator: Values) -> Values:
    with np.errstate(invalid="ignore"):
        return numerator / denominator
