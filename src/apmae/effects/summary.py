"""Mean effects of every head with intervals, and how far attribution agrees with ablation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from apmae.intervention.resampling import PseudoPrompt, stratified_means
from apmae.study.artifacts import EFFECTS

Values = NDArray[np.float64]

PSEUDO_PROMPTS = (PseudoPrompt(0, 1.0), PseudoPrompt(1, -1.0))
"""An incorrect prompt gained and a correct one lost, so that no interval of correctness has zero width."""


class Sample(NamedTuple):
    """The prompts of a task and split on which effects were measured.

    Attributes:
        prompts: `prompt_id`, `group`, `correct`.
        base_rate: of the task; NaN if unknown.
        seed: of the bootstrap.
    """

    task: str
    split: str
    prompts: pl.DataFrame
    base_rate: float
    seed: int


def summarised(
    sample: Sample, effects: pl.DataFrame, operation: str, method: str, inclusion: Values, n_heads: int
) -> pl.DataFrame:
    """Mean effects of heads over prompts.

    Args:
        effects: of each head on each prompt: `prompt_id`, `layer`, `head`, and a column for each outcome.
        inclusion: (L * H,), see `apmae.effects.ablation.heads_to_ablate`.
        n_heads: H.

    Returns:
        `EFFECTS`; no rows of a weighting for which an outcome has no prompt, or the rate is not known.
    """
    parts = [EFFECTS.of_rows()]
    for outcome in (name for name in ("log_probability", "correct") if name in effects.columns):
        wide = effects.pivot(["layer", "head"], index="prompt_id", values=outcome, sort_columns=False)
        rows = sample.prompts.join(wide, on="prompt_id", how="inner", maintain_order="left")
        values = rows.select(wide.columns[1:]).to_numpy().astype(np.float64)
        heads = effects.select("layer", "head").unique(maintain_order=True)
        for weighting, found in _weighted(sample, rows, values, outcome):
            numbers = (heads["layer"].cast(pl.Int64) * n_heads + heads["head"]).to_numpy()
            part = heads.with_columns(
                task=pl.lit(sample.task),
                split=pl.lit(sample.split),
                operation=pl.lit(operation),
                method=pl.lit(method),
                outcome=pl.lit(outcome),
                weighting=pl.lit(weighting),
                value=found[0],
                low=found[1],
                high=found[2],
                prompts=pl.lit(rows.height),
                inclusion=inclusion[numbers],
            )
            parts.append(EFFECTS.cast(part).with_columns(pl.col("low", "high").fill_nan(None)))
    return pl.concat(parts)


def agreement(attribution: Values, exact: Values, inclusion: Values) -> tuple[float, float]:
    """Correlation and rank correlation of two estimates over all heads, of which only some have both.

    Heads weigh the inverse of their inclusion probability, so that the heads drawn at random stand for those
    that were not (Horvitz and Thompson 1952).

    Args:
        attribution, exact: (heads,) of the heads that have both.
        inclusion: (heads,) their inclusion probabilities.

    Returns:
        NaN for fewer than three heads, or where one of them is the same for all.
    """
    if len(exact) < 3:
        return np.nan, np.nan
    weights = 1 / inclusion
    return (
        _correlation(attribution, exact, weights),
        _correlation(_ranks(attribution, weights), _ranks(exact, weights), weights),
    )


def _weighted(
    sample: Sample, rows: pl.DataFrame, values: Values, outcome: str
) -> Iterator[tuple[str, Values]]:
    correct = rows["correct"].to_numpy().astype(np.int64)
    pseudo = PSEUDO_PROMPTS if outcome == "correct" else ()
    if len(np.unique(correct)) < 2:
        return
    for weighting, rate in (("balanced", 0.5), ("base_rate", sample.base_rate)):
        if np.isfinite(rate):
            weights = np.array([1 - rate, rate])
            yield (
                weighting,
                stratified_means(values, rows["group"], correct, weights, pseudo, sample.seed),
            )


def _correlation(first: Values, second: Values, weights: Values) -> float:
    covariance = np.cov(first, second, aweights=weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]))


def _ranks(values: Values, weights: Values) -> Values:
    """Weight of the smaller values and half of the equal ones."""
    smaller = values[None] < values[:, None]
    equal = values[None] == values[:, None]
    ranks: Values = ((smaller + equal / 2) * weights).sum(1)
    return ranks
