"""What an intervention that was chosen for one task does elsewhere."""

from __future__ import annotations

import polars as pl
import torch
from torch import Tensor

from apmae.common.seeding import numpy_generator
from apmae.intervention.conditions import Condition, held_out_prompts
from apmae.intervention.run_conditions import run_conditions
from apmae.study import Study
from apmae.study.artifacts import SIDE_EFFECTS, token_ids
from apmae.target_model import Target

RANDOM_CODE = "random code"
TEXT_BATCH = 4
"""Prompts at a time, of which the logits of every position are held."""


def side_effects(study: Study, target: Target, condition: Condition, means: Tensor | None) -> pl.DataFrame:
    """Held-out prompts of the other tasks, and random code, with and without the intervention.

    Returns:
        `SIDE_EFFECTS`.
    """
    config = study.config
    count = config.intervention.side_effect_prompts
    others = [task for task in config.prompts.tasks if task not in (condition.task, "noise")]
    measured = [
        _on_task(
            target,
            condition,
            means,
            held_out_prompts(study.study_prompts, task, config.measured_split, -(-count // 2)),
            config.target.batch_size,
        )
        for task in others
    ]
    code = study.prompts.filter(pl.col("split").is_in(config.analysed_splits), purpose="encoder")
    order = numpy_generator(config.seed, "interventions", RANDOM_CODE).permutation(code.height)
    measured.append(_on_code(target, condition, means, code.select(pl.all().gather(order[:count].tolist()))))
    table = pl.concat(measured).select(pl.lit(condition.task).alias("task"), pl.all())
    return table.cast(SIDE_EFFECTS.schema)


def token_losses(target: Target, input_ids: Tensor) -> Tensor:
    """(B,) float32: cross-entropy of prompts' own tokens but the first, nats per token.

    Args:
        input_ids: (B, T) without padding.
    """
    with torch.inference_mode():
        ids = input_ids.to(target.device)
        logits = target.model(input_ids=ids, use_cache=False).logits[:, :-1].float()
        losses = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none"
        )
        return losses.view(len(ids), -1).mean(1).cpu()


def _on_task(
    target: Target, condition: Condition, means: Tensor | None, prompts: pl.DataFrame, batch_size: int
) -> pl.DataFrame:
    found = run_conditions(target, [condition.intervention], prompts, means, batch_size)
    return prompts.select(
        measured_on="task",
        prompt_id="prompt_id",
        before=pl.Series(found.plain_correct.float().numpy()),
        after=pl.Series(found.correct[0].float().numpy()),
    )


def _on_code(target: Target, condition: Condition, means: Tensor | None, code: pl.DataFrame) -> pl.DataFrame:
    factors = condition.intervention.factors(target.n_layers, target.n_heads)
    replacement = means if condition.operation.uses_means else None
    before, after = [], []
    for batch in torch.split(torch.from_numpy(token_ids(code)).long(), TEXT_BATCH):
        before.append(token_losses(target, batch))
        with target.scale_heads(factors, replacement):
            after.append(token_losses(target, batch))
    return code.select(
        measured_on=pl.lit(RANDOM_CODE),
        prompt_id="prompt_id",
        before=pl.Series(torch.cat(before).numpy()),
        after=pl.Series(torch.cat(after).numpy()),
    )
