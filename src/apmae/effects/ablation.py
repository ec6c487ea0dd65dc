"""Exact effects: heads ablated one by one, and which heads these are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray
from torch import Tensor

from apmae.intervention.intervention import Intervention
from apmae.intervention.operations import Operation
from apmae.intervention.run_conditions import run_conditions
from apmae.target_model import Head, Target


def heads_to_ablate(
    attribution: NDArray[np.float64], count: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """How probably each head was to be ablated: 1 for heads that are sure to be, 0 for the others.

    A third of them have the largest attribution, a third the smallest. The others are drawn at random among
    the rest, and have the probability of this draw.

    Args:
        attribution: (heads,), estimated effects.
        count: heads that are ablated; all where there are no more.

    Returns:
        (heads,): inclusion probability of the heads that are ablated, 0 for those that are not.
    """
    heads = len(attribution)
    if count >= heads:
        return np.ones(heads)
    inclusion = np.zeros(heads)
    order = np.argsort(attribution, kind="stable")
    third = count // 3
    inclusion[order[:third]] = inclusion[order[heads - third :]] = 1
    between, drawn = order[third : heads - third], count - 2 * third
    inclusion[generator.choice(between, drawn, replace=False)] = drawn / len(between)
    return inclusion


def exact_effects(
    target: Target,
    heads: Sequence[Head],
    operation: Operation,
    prompts: pl.DataFrame,
    means: Tensor | None,
    batch_size: int,
) -> pl.DataFrame:
    """Every prompt with each head ablated alone, less the same prompt unchanged in the same batch.

    Args:
        prompts: `prompt_id`, `input_ids` of one length, `true_ids`.
        means: (L, H, D), for mean ablation.

    Returns:
        `prompt_id`, `layer`, `head`, `log_probability` (nats) and `correct` (-1, 0 or 1): changes.
    """
    ablations = [Intervention((head,), operation) for head in heads]
    found = run_conditions(target, ablations, prompts, means, batch_size)
    gained = (found.log_probability - found.plain_log_probability).numpy()
    layers, places = np.array(heads, dtype=np.int16).reshape(-1, 2).T
    return pl.DataFrame(
        {
            "prompt_id": np.tile(prompts["prompt_id"].to_numpy(), len(heads)),
            "layer": np.repeat(layers, prompts.height),
            "head": np.repeat(places, prompts.height),
            "log_probability": gained.ravel().astype(np.float64),
            "correct": (found.correct.numpy().astype(np.int8) - found.plain_correct.numpy()).ravel(),
        }
    )
