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
from apmae.study.artifacts import token_ids
from apmae.target_model import Target


@dataclass(frozen=True)
class Results:
    """The outcomes of prompts under conditions and under the identity condition.

    Attributes:
        predicted: (conditions, prompts) int64, the most probable next token.
        log_probability: (conditions, prompts) float32, of the true next token.
        plain_predicted: (prompts,) int64, under the identity condition.
        plain_log_probability: (prompts,) float32.
    """

    predicted: Tensor
    log_probability: Tensor
    plain_predicted: Tensor
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
        prompts: `input_ids` of one length, `next_token_id`.
        means: (L, H, D), what takes the place of a head's output; for operations that use means.
        batch_size: at most so many prompts a pass; batches are as equal as can be.
    """
    identity = torch.ones(target.n_layers, target.n_heads)
    factors = [made.factors(target.n_layers, target.n_heads) for made in interventions]
    starts = [min((layer for layer, _ in made.heads), default=0) for made in interventions]
    replacements = [means if made.operation.uses_means else None for made in interventions]
    predicted = torch.empty(1 + len(interventions), prompts.height, dtype=torch.int64)
    log_probability = torch.empty(predicted.shape)
    for places in _batches(prompts.height, batch_size):
        batch = prompts[places.tolist()]
        input_ids = torch.from_numpy(token_ids(batch)).long()
        true_ids = torch.tensor(batch["next_token_id"].to_list())
        with target.scale_heads(identity):
            plain, inputs = target.layer_inputs(input_ids, set(starts))
        predicted[0, places], log_probability[0, places] = _outcomes(plain, true_ids)
        rows = torch.arange(batch.height)
        for row, start in enumerate(starts, start=1):
            with target.scale_heads(factors[row - 1], replacements[row - 1]):
                logits = target.logits_from(start, inputs, rows, input_ids)
            predicted[row, places], log_probability[row, places] = _outcomes(logits, true_ids)
    return Results(predicted[1:], log_probability[1:], predicted[0], log_probability[0])


def _batches(prompts: int, most: int) -> Sequence[Tensor]:
    """Places of the prompts in batches of at most so many, as equal as can be."""
    return torch.arange(prompts).tensor_split(-(-prompts // most)) if prompts else ()


def _outcomes(logits: Tensor, true_ids: Tensor) -> tuple[Tensor, Tensor]:
    """(B,) predicted tokens and (B,) log probabilities of the true ones, on the CPU."""
    true = true_ids[:, None].to(logits.device)
    return logits.argmax(-1).cpu(), logits.log_softmax(-1).gather(1, true)[:, 0].cpu()
