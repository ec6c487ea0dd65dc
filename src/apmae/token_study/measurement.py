"""Metrics of classifiers over all tokens, AUROC by syntax class, and differences, with intervals over groups.

A value is the mean over seeds, and so is each resample's: intervals are over other groups, not over seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import polars as pl
from scipy.special import expit

from apmae.common.progress import Progress, silent
from apmae.prediction.measurement import interval, p_value
from apmae.prediction.metrics import Metric, Scored, Values, auroc, brier_skill, ece, prr, risk_at
from apmae.prediction.protocols import group_numbers
from apmae.study.artifacts import TOKEN_METRICS

RESAMPLES = 1_000
"""Enough that the smallest p-value survives Holm's correction over all syntax classes."""
CHUNK = 50
COVERAGES = (50, 80, 95)
"""Percentages of the tokens, the most trusted ones, whose risk is measured."""
METRICS: Mapping[str, Metric] = {
    "auroc": auroc,
    "prr": prr,
    "brier_skill": brier_skill,
    "ece": ece,
    **{f"risk_at_{percent}": partial(risk_at, coverage=percent / 100) for percent in COVERAGES},
}
OF_CLASS = {"auroc": auroc}
"""Metrics of a syntax class."""

ALL = "all"
"""All tokens, where a syntax class would stand."""
FEWEST_TOKENS = 1_000
"""Held-out tokens of a class below which its differences are no claim."""


class Kind(NamedTuple):
    """Classifiers that differ in their seed alone.

    Attributes:
        features: see `apmae.token_study.columns`.
        model: see `apmae.token_study.models`.
        labels: tokens that each is fitted on; 0: all of the training split.
    """

    features: str
    model: str
    labels: int = 0


def measure(
    test: pl.DataFrame,
    log_odds: Mapping[Kind, Sequence[Values]],
    seed: int,
    references: Sequence[str],
    progress: Progress = silent,
    metrics: Mapping[str, Metric] = METRICS,
) -> pl.DataFrame:
    """`TOKEN_METRICS`.

    Args:
        test: the held-out rows of tokens.parquet.
        log_odds: of these rows, by kind, (test rows,) for each seed.
        seed: of the bootstrap.
        references: features that the others are compared with.
        progress: over the syntax classes.
        metrics: of all tokens, by name.
    """
    rows = []
    for syntax in progress([ALL, *test["syntax"].unique().sort()], "metrics"):
        chosen = np.flatnonzero((test["syntax"] == syntax).to_numpy() | (syntax == ALL))
        table = test[chosen]
        weights = _resampled(table, seed)
        values: dict[tuple[Kind, str], list[Values]] = {}
        for kind, odds in ((kind, odds) for kind, seeds in log_odds.items() for odds in seeds):
            for name, found in _metrics(table, odds[chosen], weights, metrics if syntax == ALL else OF_CLASS):
                values.setdefault((kind, name), []).append(found)
        means = {key: np.mean(found, axis=0) for key, found in values.items()}
        rows += [
            (*kind, syntax, metric, reference, *interval(found), p, table.height)
            for kind, metric in means
            for reference, found, p in _compared(kind, metric, means, references)
        ]
    return TOKEN_METRICS.of_rows(rows)


def _compared(
    kind: Kind, metric: str, means: Mapping[tuple[Kind, str], Values], references: Sequence[str]
) -> Iterator[tuple[str, Values, float]]:
    mean = means[kind, metric]
    yield "", mean, np.nan
    for reference in references:
        other = means.get((kind._replace(features=reference), metric))
        if reference != kind.features and other is not None:
            yield reference, mean - other, p_value(mean - other)


def _resampled(table: pl.DataFrame, seed: int) -> Values:
    """(1 + resamples, groups drawn) how often each token's group counts; the first is each once."""
    groups = group_numbers(table)
    count = int(groups.max(initial=0)) + 1
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    return np.vstack([np.ones(len(groups)), drawn[:, groups]])


def _metrics(
    table: pl.DataFrame, log_odds: Values, weights: Values, metrics: Mapping[str, Metric]
) -> Iterator[tuple[str, Values]]:
    correct = table["correct"].to_numpy()
    scored = Scored(correct, expit(log_odds), np.zeros(len(correct), dtype=np.int64))
    counts = table["weight"].to_numpy().astype(np.float64)
    for name, metric in metrics.items():
        pieces = np.array_split(weights, -(-len(weights) // CHUNK))
        yield name, np.concatenate([metric(scored, piece * counts) for piece in pieces])
