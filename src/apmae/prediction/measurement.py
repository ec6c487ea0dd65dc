"""From predictions to the metrics table: values, intervals, and differences from confidence and `strong`.

Intervals are 95% percentile intervals over resampled groups, since prompts of one group are not
independent. They say how sure a value is for other prompts, not for another training set. The p-value of a
difference is the level at which its two-sided percentile interval would touch zero (Efron and Tibshirani
1993, chapter 15), and Holm's correction (Holm 1979) makes it one for all tasks together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from apmae.prediction.features import CONFIDENCE, SHUFFLED, STRONG
from apmae.prediction.metrics import (
    METRIC_FUNCTIONS,
    RATE_DEPENDENT,
    Scored,
    Values,
    auroc,
    probability_at_rate,
    weights_at_rate,
    within_group_auroc,
)

RESAMPLES = 1_000
AT_BASE_RATE = "_at_base_rate"

REFERENCES = {"difference": CONFIDENCE, "over_strong": STRONG}
"""Columns of differences, and the feature sets that they are from."""

AUROC_VARIANTS = ("within_group_auroc", "auroc_of_kind")
"""`auroc` over pairs of one group, and over prompts whose predicted token is of the hole's kind."""


class Rates(NamedTuple):
    """Frequencies of correct completions: among the prompts kept, and among all that were tried."""

    kept: float
    base: float


class Prompts(NamedTuple):
    """What is known of the prompts that are measured; all (n,).

    Attributes:
        group: number of each one's group, 0, 1, ... without a gap.
        of_kind: whether the predicted token is one that holes of training rows start with.
    """

    group: NDArray[np.int64]
    of_kind: NDArray[np.bool_]


def measure(sets: Mapping[str, Scored], prompts: Prompts, rates: Rates, seed: int) -> pl.DataFrame:
    """Every metric of every feature set on the same prompts.

    Args:
        sets: by feature set. `confidence` and `strong` are compared with the others, but not with
            `shuffled_labels`, whose outcomes are others.
        prompts: theirs.
        seed: of the bootstrap.

    Returns:
        Rows of `METRICS` without task and protocol, and without Holm's correction; NaN where there is
        nothing to measure. A metric of the name `<metric>_at_base_rate` is at the base rate: prompts
        weighted to it, and probabilities moved to it.
    """
    resampled = resampled_weights(prompts.group, np.random.default_rng(seed))
    found = {name: dict(_values(scored, prompts, resampled, rates)) for name, scored in sets.items()}
    rows = []
    for features, by_metric in found.items():
        for metric, values in by_metric.items():
            row = {"features": features, "metric": metric, **_named("value", interval(values))}
            for name, reference in REFERENCES.items():
                compared = features != SHUFFLED and reference in found
                difference = values - (found[reference][metric] if compared else np.nan)
                row |= {**_named(name, interval(difference)), f"{name}_p": p_value(difference)}
            rows.append({**row, "prompts": len(prompts.group)})
    return pl.DataFrame(rows)


def with_holm(metrics: pl.DataFrame) -> pl.DataFrame:
    """Holm's correction over tasks: `<difference>_p_holm` beside every `<difference>_p`.

    The tasks of a protocol, feature set and metric that have a p-value are one family.
    """
    family = ["protocol", "features", "metric"]
    return metrics.with_columns(
        pl.col(f"{name}_p")
        .map_batches(lambda p: pl.Series(holm(p.to_numpy())), return_dtype=pl.Float64)
        .over(family)
        .alias(f"{name}_p_holm")
        for name in REFERENCES
    )


def holm(p_values: Values) -> Values:
    """Holm's corrected p-values of one family, in its order; NaN stays, and counts for nothing."""
    known = np.flatnonzero(np.isfinite(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    corrected = np.full(len(p_values), np.nan)
    left = len(order) - np.arange(len(order))
    corrected[order] = np.maximum.accumulate(p_values[order] * left).clip(max=1)
    return corrected


def _named(name: str, values: tuple[float, float, float]) -> dict[str, float]:
    prefix = "" if name == "value" else f"{name}_"
    return dict(zip((name, f"{prefix}low", f"{prefix}high"), values, strict=True))


def _values(
    scored: Scored, prompts: Prompts, resampled: Values, rates: Rates
) -> Iterator[tuple[str, Values]]:
    """Every metric, (1 + resamples,): of the prompts themselves, then of every resample."""
    weights = np.vstack([np.ones(len(scored.correct)), resampled])
    for name, metric in METRIC_FUNCTIONS.items():
        yield name, metric(scored, weights)
    within, of_kind = AUROC_VARIANTS
    yield within, within_group_auroc(scored, prompts.group, weights)
    yield of_kind, auroc(scored, weights * prompts.of_kind)
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


def p_value(differences: Values) -> float:
    """Two-sided bootstrap p-value of a difference from zero; NaN without a resample where it is defined.

    Twice the fraction of resamples on the rarer side of zero, where zero itself is on both; with one more
    resample on either side, it is never zero.
    """
    resampled = differences[1:][np.isfinite(differences[1:])]
    if not len(resampled):
        return np.nan
    rarer = min((resampled <= 0).sum(), (resampled >= 0).sum())
    return float(min(1.0, 2 * (rarer + 1) / (len(resampled) + 1)))
