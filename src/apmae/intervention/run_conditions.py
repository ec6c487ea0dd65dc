"""Running prompts under conditions, and unchanged in the same batches.

Logits of bfloat16 tie, and which of two tied tokens wins can depend on the batch. So before and after an
intervention come from the same prompts in the same batch:

1. A batch of prompts passes through the whole model under the identity condition, which multiplies every
   head's output by one. Its outcome is what a condition's outcome is compared with.
2. What entered each layer in this pass is shared: a condition leaves everything before its first head's layer
   as it was, so the same batch goes on from there under each condition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
import torch
from torch import Tensor

from apmae.intervention.intervention import Intervention
from apmae.target_model import Completions, Target


@dataclass(frozen=True)
class Results:
    """The outcomes of prompts under conditions and under the identity condition.

    Attributes:
        predicted: (conditions, prompts) int64, the most probable next token.
        correct: (conditions, prompts) bool, whether greedy decoding writes the true tokens.
        log_probability: (conditions, prompts) float32, of the true tokens, nats.
        plain_predicted, plain_correct, plain_log_probability: (prompts,), under the identity condition.
    """

    predicted: Tensor
    correct: Tensor
    log_probability: Tensor
    plain_predicted: Tensor
    plain_correct: Tensor
    plain_log_probability: Tensor


def run_conditions(
    target: Target,
    interventions: Sequence[Intervention],
    prompts: pl.DataFrame,
    means: Tensor | None,
    batch_size: int,
) -> Results:
    """Run every prompt under the identity condition and under every intervention.

    Args:
        prompts: `input_ids` of one length, `true_ids`.
        means: (L, H, D), what takes the place of a head's output; for operations that use means.
        batch_size: at most so many prompts a pass; batches are as equal as can be.
    """
    identity = torch.ones(target.n_layers, target.n_heads)
    factors = [made.factors(target.n_layers, target.n_heads) for made in interventions]
    starts = [min((layer for layer, _ in made.heads), default=0) for made in interventions]
    replacements = [means if made.operation.uses_means else None for made in interventions]
    shape = (1 + len(interventions), prompts.height)
    tables = [torch.empty(shape, dtype=dtype) for dtype in (torch.int64, torch.bool, torch.float32)]

    def take_down(row: int, places: Tensor, completions: Completions, logits: Tensor) -> None:
        found = logits[:, 0].argmax(-1), completions.written(logits), completions.log_probability(logits)
        for table, values in zip(tables, found, strict=True):
            table[row, places] = values.cpu()

    for places in _batches(prompts.height, batch_size):
        batch = Completions.of_table(prompts[places.tolist()])
        with target.scale_heads(identity):
            logits, inputs = target.layer_inputs(batch.input_ids, batch.positions, set(starts))
        take_down(0, places, batch, logits)
        rows = torch.arange(len(places))
        for row, start in enumerate(starts, start=1):
            with target.scale_heads(factors[row - 1], replacements[row - 1]):
                logits = target.logits_from(start, inputs, rows, batch.input_ids, batch.positions)
            take_down(row, places, batch, logits)
    of_conditions, plain = ([table[rows] for table in tables] for rows in (slice(1, None), 0))
    return Results(*of_conditions, *plain)


def _batches(prompts: int, most: int) -> Sequence[Tensor]:
    """Places of the prompts in batches of at most so many, as equal as can be."""
    return torch.arange(prompts).tensor_split(-(-prompts // most)) if prompts else ()
