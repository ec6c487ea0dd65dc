"""Running prompts under conditions: one row of a batch is one prompt under one condition.

A condition leaves everything before its first head's layer as it was. So a plain pass is made of some
prompts at a time, what enters those layers is kept, and rows, sorted by the layer that they begin at,
go on from there; except where plain passes would cost more than they save.

Shape suffixes: R rows, L layers, H heads, D head size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl
import torch
from torch import Tensor

from apmae.intervention.intervention import Intervention
from apmae.study.artifacts import token_ids
from apmae.target_model import Target


@dataclass(frozen=True)
class Results:
    """What came out, a row a condition, a column a prompt.

    Attributes:
        predicted: (conditions, prompts) int64, the most probable next token.
        log_probability: (conditions, prompts) float32, of the true next token.
    """

    predicted: Tensor
    log_probability: Tensor


@dataclass(frozen=True)
class Batch:
    """Rows that run together: numbers of conditions and prompts, and the layer they begin at."""

    conditions: Tensor
    prompts: Tensor
    start: int


def run_conditions(
    target: Target,
    interventions: Sequence[Intervention],
    prompts: pl.DataFrame,
    means: Tensor | None,
    batch_size: int,
) -> Results:
    """Run every prompt under every intervention.

    Args:
        prompts: `input_ids` of one length, `next_token_id`.
        means: (L, H, D), what takes the place of a head's output; for operations that use means.
    """
    factors = torch.stack([made.factors(target.n_layers, target.n_heads) for made in interventions])
    (use_means,) = {made.operation.uses_means for made in interventions}  # equal for all that run together
    replacement = means if use_means else None
    starts = torch.tensor([min((layer for layer, _ in made.heads), default=0) for made in interventions])
    shape = (len(interventions), prompts.height)
    results = Results(torch.empty(shape, dtype=torch.int64), torch.empty(shape))
    for first in range(0, prompts.height, batch_size):
        chunk = prompts.slice(first, batch_size)
        input_ids = torch.from_numpy(token_ids(chunk)).long()
        true_ids = torch.tensor(chunk["next_token_id"].to_list())
        batches = list(split_into_batches(starts, chunk.height, batch_size))
        saved = sum(batch.start * len(batch.prompts) for batch in batches)
        restarts = saved > target.n_layers * chunk.height
        inputs = target.layer_inputs(input_ids, {batch.start for batch in batches}) if restarts else None
        for batch in batches:
            ids = input_ids[batch.prompts]
            with target.scale_heads(factors[batch.conditions], replacement):
                if inputs is None:
                    logits = target.logits(ids)
                else:
                    logits = target.logits_from(batch.start, inputs, batch.prompts, ids)
            true = true_ids[batch.prompts, None].to(logits.device)
            cells = (batch.conditions, batch.prompts + first)
            results.predicted[cells] = logits.argmax(-1).cpu()
            results.log_probability[cells] = logits.log_softmax(-1).gather(1, true)[:, 0].cpu()
    return results


def split_into_batches(starts: Tensor, n_prompts: int, batch_size: int) -> Iterator[Batch]:
    """All rows of some prompts; rows that begin at the same layer stand side by side.

    Args:
        starts: (conditions,) the layer that each begins at.
    """
    order = starts.argsort(stable=True)
    conditions = order.repeat_interleave(n_prompts)
    prompts = torch.arange(n_prompts).repeat(len(starts))
    for chosen, rows in zip(
        torch.split(conditions, batch_size), torch.split(prompts, batch_size), strict=True
    ):
        yield Batch(chosen, rows, int(starts[chosen].min()))
