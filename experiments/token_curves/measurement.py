"""Metrics of every cell over all tokens and by syntax class, and differences, with intervals over groups.

A value is the mean over seeds, and so is each resample's: intervals are over other packages, not over seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit

from apmae.prediction.measurement import interval, p_value
from apmae.prediction.metrics import Scored, Values, auroc, brier_skill, prr
from experiments.token_curves.cells import Cell

RESAMPLES = 400
CHUNK = 50
METRICS = {"auroc": auroc, "prr": prr, "brier_skill": brier_skill}
ALL = "all"
"""All tokens, where a syntax class would stand."""
FEWEST_TOKENS = 1_000
"""Held-out tokens of a class below which its differences are no claim."""
REFERENCES = ("confidence", "strong")

CURVES_SCHEMA = pl.Schema(
    {
        "features": pl.String,
        "model": pl.String,
        "labels": pl.Int32,  # 0: all
        "syntax": pl.String,  # a class, or "all"
        "metric": pl.String,
        "difference_from": pl.String,  # "" for the value itself
        "value": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "p": pl.Float64,  # of a difference
        "tokens": pl.Int32,
    }
)


class Kind(NamedTuple):
    """Cells that differ in their seed alone."""

    features: str
    model: str
    labels: int


def measure(test: pl.DataFrame, log_odds: Mapping[Cell, NDArray[np.float64]], seed: int) -> pl.DataFrame:
    """All metrics, `CURVES_SCHEMA`.

    Args:
        test: the held-out rows of tokens.parquet.
        log_odds: of these rows, by cell.
        seed: of the bootstrap.
    """
    rows = []
    for syntax in (ALL, *test["syntax"].unique().sort()):
        chosen = np.flatnonzero((test["syntax"] == syntax).to_numpy() | (syntax == ALL))
        table = test[chosen]
        weights = _resampled(table, seed)
        values: dict[tuple[Kind, str], list[Values]] = {}
        for cell, odds in log_odds.items():
            for name, found in _metrics(table, odds[chosen], weights):
                values.setdefault((Kind(*cell[:3]), name), []).append(found)
        means = {key: np.mean(found, axis=0) for key, found in values.items()}
        rows += [
            (*kind, syntax, metric, reference, *interval(found), p, table.height)
            for (kind, metric), mean in means.items()
            for reference, found, p in _compared(kind, metric, mean, means)
        ]
    return pl.DataFrame(rows, schema=CURVES_SCHEMA, orient="row")


def _compared(
    kind: Kind, metric: str, mean: Values, means: Mapping[tuple[Kind, str], Values]
) -> Iterator[tuple[str, Values, float]]:
    yield "", mean, np.nan
    for reference in REFERENCES:
        other = means.get((kind._replace(features=reference), metric))
        if reference != kind.features and other is not None:
            yield reference, mean - other, p_value(mean - other)


def _resampled(table: pl.DataFrame, seed: int) -> Values:
    """(1 + resamples, groups drawn) how often each token's group counts; the first is each once."""
    groups = table["group"].rank("dense").to_numpy().astype(np.int64) - 1
    count = int(groups.max(initial=0)) + 1
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    return np.vstack([np.ones(len(groups)), drawn[:, groups]])


def _metrics(table: pl.DataFrame, log_odds: Values, weights: Values) -> Iterator[tuple[str, Values]]:
    correct = table["correct"].to_numpy()
    scored = Scored(correct, expit(log_odds), np.zeros(len(correct), dtype=np.int64))
    counts = table["weight"].to_numpy().astype(np.float64)
    for name, metric in METRICS.items():
        pieces = np.array_split(weights, -(-len(weights) // CHUNK))
        yield name, np.concatenate([metric(scored, piece * counts) for piece in pieces])
