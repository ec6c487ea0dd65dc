"""How the heads of an intervention are chosen: by importance (paper section 7), by effects, or at random.

A new selection is an entry of `RANKINGS` and its name in `apmae.vocabulary.Selection`. Selection by effects
reads effects.parquet. Greedy selection, which needs the target, is in `apmae.intervention.greedy`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import polars as pl

from apmae.target_model import Head


def _positive(importance: pl.DataFrame) -> pl.DataFrame:
    """Heads that speak for a correct completion, those that do so most first."""
    found = importance.filter(pl.col("mean_positive") > 0)
    return found.sort("mean_positive", descending=True, maintain_order=True)


def _negative(importance: pl.DataFrame) -> pl.DataFrame:
    """Heads that speak against it."""
    return importance.filter(pl.col("mean_negative") < 0).sort("mean_negative", maintain_order=True)


def _neutral(importance: pl.DataFrame) -> pl.DataFrame:
    """Heads whose SHAP values are nearest to zero first."""
    return importance.sort("mean_absolute", maintain_order=True)


def _positive_mean(importance: pl.DataFrame) -> pl.DataFrame:
    """Heads with a positive mean SHAP value, the largest first (paper appendix A)."""
    found = importance.filter(pl.col("mean_shap") > 0)
    return found.sort("mean_shap", descending=True, maintain_order=True)


def _negative_mean(importance: pl.DataFrame) -> pl.DataFrame:
    """Heads with a negative mean SHAP value, the smallest first."""
    return importance.filter(pl.col("mean_shap") < 0).sort("mean_shap", maintain_order=True)


def _neutral_mean(importance: pl.DataFrame) -> pl.DataFrame:
    """Heads by the distance of their mean SHAP value from zero, the nearest first."""
    return importance.sort(pl.col("mean_shap").abs(), maintain_order=True)


def _random(importance: pl.DataFrame) -> pl.DataFrame:
    """All heads, as the generator shuffled them."""
    return importance


RANKINGS: Mapping[str, Callable[[pl.DataFrame], pl.DataFrame]] = {
    "positive": _positive,
    "negative": _negative,
    "neutral": _neutral,
    "positive_mean": _positive_mean,
    "negative_mean": _negative_mean,
    "neutral_mean": _neutral_mean,
    "random": _random,
}
"""By selection: the importance of shuffled heads (`IMPORTANCE`) to that of the chosen ones, in order."""

SHAP_SELECTIONS = tuple(selection for selection in RANKINGS if selection != "random")


def heads_by_effect(effects: pl.DataFrame) -> list[Head]:
    """Heads whose zero ablation makes the true tokens of training prompts more probable, the best first.

    A head that was ablated goes by its exact effect, another one by its attribution.

    Args:
        effects: `EFFECTS` of one task.
    """
    found = effects.filter(split="train", operation="zero", outcome="log_probability", weighting="balanced")
    exact_first = found.sort(pl.col("method") != "exact", maintain_order=True)
    best_known = exact_first.unique(["layer", "head"], keep="first", maintain_order=True)
    helpful = best_known.filter(pl.col("value") > 0).sort(
        "value", "layer", "head", descending=[True, False, False]
    )
    return list(helpful.select("layer", "head").iter_rows())


def rank_heads(importance: pl.DataFrame, selection: str, generator: np.random.Generator) -> list[Head]:
    """Heads of a selection, the first ones first; ties are broken by the generator."""
    shuffled = importance.sort("layer", "head").select(
        pl.all().gather(generator.permutation(importance.height).tolist())
    )
    return list(RANKINGS[selection](shuffled).select("layer", "head").iter_rows())
