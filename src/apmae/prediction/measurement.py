"""From predictions to the metrics table: values, intervals, differences against confidence.

Intervals are 95% percentile intervals over resampled groups, since prompts of one group are not
independent. They say how sure a value is for other prompts, not for another training set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from apmae.prediction.features import CONFIDENCE, SHUFFLED
from apmae.prediction.metrics import (
    METRIC_FUNCTIONS,
    RATE_DEPENDENT,
    Scored,
    Values,
    probability_at_rate,
    weights_at_rate,
)

RESAMPLES = 1_000
AT_BASE_RATE = "_at_base_rate"


class Rates(NamedTuple):
    """Frequencies of correct completions: among the prompts kept, and among all that were tried."""

    kept: float
    base: float


def measure(sets: Mapping[str, Scored], groups: NDArray[np.int64], rates: Rates, seed: int) -> pl.DataFrame:
    """Every metric of every feature set on the same prompts.

    Args:
        sets: by feature set; `confidence` is what the others are compared with, but not
            `shuffled_labels`, whose outcomes are others.
        groups: (n,) number of each prompt's group, 0, 1, ... without a gap.
        seed: of the bootstrap.

    Returns:
        Rows (features, metric, value, low, high, difference, difference_low, difference_high,
        prompts); NaN where there is nothing to measure. A metric of the name `<metric>_at_base_rate` is at
        the base rate: prompts weighted to it, and probabilities moved to it.
    """
    resampled = resampled_weights(groups, np.random.default_rng(seed))
    found = {name: dict(_values(scored, resampled, rates)) for name, scored in sets.items()}
    rows = []
    for features, by_metric in found.items():
        for metric, values in by_metric.items():
            other = np.full_like(values, np.nan) if features == SHUFFLED else found[CONFIDENCE][metric]
            difference = values - other
            rows.append((features, metric, *interval(values), *interval(difference), len(groups)))
    schema = ["features", "metric", "value", "low", "high"]
    schema += ["difference", "difference_low", "difference_high", "prompts"]
    return pl.DataFrame(rows, schema=schema, orient="row")


def _values(scored: Scored, resampled: Values, rates: Rates) -> Iterator[tuple[str, Values]]:
    """Every metric, (1 + resamples,): of the prompts themselves, then of every resample."""
    weights = np.vstack([np.ones(len(scored.correct)), resampled])
    for name, metric in METRIC_FUNCTIONS.items():
        yield name, metric(scored, weights)
    if not (0 < rates.kept < 1 and 0 < rates.base < 1):
        yield from ((name + AT_BASE_RATE, np.full(len(weights), np.nan)) for name in RATE_DEPENDENT)
        return
    reweighted = weights_at_rate(scored.correct, weights, rates.base)
    moved = probability_at_rate(scored.probability, rates.kept, rates.base)
    for name in RATE_DEPENDENT:
        yield name + AT_BASE_RATE, METRIC_FUNCTIONS[name](scored._replace(probability=moved), reweighted)


def resampled_weights(groups: NDArray[np.int64], generator: np.random.Generator) -> Values:
    """(resamples, n): how often each prompt's group is drawn; no resample for fewer than two groups."""
    n_groups = int(groups.max(initial=-1)) + 1
    if n_groups < 2:
        return np.empty((0, len(groups)))
    drawn = generator.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=RESAMPLES)
    return drawn[:, groups].astype(np.float64)


def interval(values: Values) -> tuple[float, float, float]:
    """Value and 95% interval; resamples where the metric is not defined are left out."""
    resampled = values[1:][np.isfinite(values[1:])]
    if not len(resampled):
        return float(values[0]), np.nan, np.nan
    low, high = np.percentile(resampled, [2.5, 97.5])
    return float(values[0]), float(low), float(high)
