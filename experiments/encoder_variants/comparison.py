"""AUROC and accuracy of every variant and feature set, and how far they are from one another.

Groups are resampled once for all, over all tasks together, so every difference is a paired one and
the mean over tasks has an interval of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import polars as pl

from apmae.prediction.measurement import interval, resampled_weights
from apmae.prediction.metrics import METRIC_FUNCTIONS, Scored, Values
from apmae.prediction.protocols import group_numbers
from experiments.encoder_variants.prediction import BASELINES

MEASURED = ("auroc", "accuracy")
MEAN = "mean"
"""The mean over the tasks, where a task's name would stand."""

Measured = dict[tuple[str, str, str], Values]
"""By (variant, features, metric): (tasks + 1, 1 + resamples), the last row their mean; the first column is
of the prompts themselves."""

COMPARISON_SCHEMA = pl.Schema(
    {
        "variant": pl.String,  # none for a baseline, which is the same for all
        "features": pl.String,
        "metric": pl.String,
        "task": pl.String,
        "difference_from": pl.String,  # what was subtracted: "" for nothing, the first variant, ...
        "value": pl.Float64,
        "low": pl.Float64,  # 95% interval, bootstrap over groups
        "high": pl.Float64,
    }
)


def compare(prompts: pl.DataFrame, predictions: Mapping[str, pl.DataFrame], seed: int) -> pl.DataFrame:
    """Measure and compare, `COMPARISON_SCHEMA`.

    Args:
        prompts: the study prompts.
        predictions: by variant, see `ablations.prediction.predict`; the first has the baselines.
        seed: of the bootstrap.
    """
    tasks = prompts["task"].unique(maintain_order=True).to_list()
    measured = measure(prompts, tasks, predictions, seed)
    rows = []
    for (variant, features, metric), values in measured.items():
        for difference_from, other in _references(
            measured, next(iter(predictions)), variant, features, metric
        ):
            for task, of_task in zip([*tasks, MEAN], values - other, strict=True):
                rows.append((variant, features, metric, task, difference_from, *interval(of_task)))
    return pl.DataFrame(rows, schema=COMPARISON_SCHEMA, orient="row")


def measure(
    prompts: pl.DataFrame, tasks: list[str], predictions: Mapping[str, pl.DataFrame], seed: int
) -> Measured:
    """Every metric, of the prompts and of every resample."""
    resampled = resampled_weights(group_numbers(prompts), np.random.default_rng(seed))
    weights = np.vstack([np.ones(len(prompts)), resampled])
    of_task = {task: (prompts["task"] == task).to_numpy() for task in tasks}
    found = {}
    for variant, table in predictions.items():
        for (features,), by_features in table.group_by("features", maintain_order=True):
            scored = by_features.join(prompts.select("prompt_id", "correct"), "prompt_id").sort("prompt_id")
            values: dict[str, list[Values]] = {metric: [] for metric in MEASURED}
            for task, members in of_task.items():
                rows = scored.filter(task=task)
                one = Scored(*(rows[name].to_numpy() for name in ("correct", "probability", "fold")))
                for metric in MEASURED:
                    values[metric].append(METRIC_FUNCTIONS[metric](one, weights[:, members]))
            name = "" if features in BASELINES else variant
            for metric in MEASURED:
                found[name, str(features), metric] = np.stack([*values[metric], np.mean(values[metric], 0)])
    return found


def _references(
    measured: Measured, first: str, variant: str, features: str, metric: str
) -> Iterator[tuple[str, Values]]:
    """What a value is compared with, after itself: 0."""
    values = measured[variant, features, metric]
    yield "", np.zeros_like(values)
    candidates = {
        first: (first, features),
        "row_statistics": ("", "row_statistics"),
        "cls": (variant, f"cls_{features.rpartition('_')[2]}"),
    }
    for name, (other, other_features) in candidates.items():
        reference = measured.get((other, other_features, metric))
        if variant and reference is not None and (other, other_features) != (variant, features):
            yield name, reference
