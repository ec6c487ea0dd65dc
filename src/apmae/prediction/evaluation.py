"""From one feature set's predictions to its rows of the metrics table."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from apmae.prediction.features import Protocol
from apmae.prediction.metrics import METRICS, bootstrap_interval, mean_interval


def measure(predictions: pl.DataFrame, protocol: Protocol, seed: int) -> pl.DataFrame:
    """Every metric of one feature set under one protocol, with its 95% interval.

    `cross_validation`: mean over the folds and its t interval, as in the paper (figure 4);
    `held_out`: one value, and a bootstrap over groups. NaN where there is nothing to measure.

    Args:
        predictions: rows (fold, probability, correct, group).
        seed: of the bootstrap; sets measured with one seed are resampled alike.

    Returns:
        Rows (metric, value, low, high, prompts).
    """
    correct, probability = _columns(predictions)
    groups = predictions["group"].rank("dense").to_numpy().astype(np.int64) - 1
    folds = [_columns(fold) for _, fold in predictions.group_by("fold", maintain_order=True)]
    rows = []
    for name, metric in METRICS.items():
        values = np.array([metric(*columns, np.ones(len(columns[0]))) for columns in folds])
        value, low, high = mean_interval(values)
        if protocol == "held_out":
            generator = np.random.default_rng(seed)
            low, high = bootstrap_interval(metric, correct, probability, groups, generator)
        rows.append((name, value, low, high, len(predictions)))
    return pl.DataFrame(rows, schema=["metric", "value", "low", "high", "prompts"], orient="row")


def _columns(predictions: pl.DataFrame) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    return predictions["correct"].to_numpy(), predictions["probability"].to_numpy().astype(np.float64)
