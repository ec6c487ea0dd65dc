"""The intervene stage: zero the heads that SHAP points at (paper section 7).

1. Per task, heads are chosen by their SHAP values on the training split: most positive, most
   negative, nearest to zero, and at random (several draws), for each of the head counts.
2. A row of a batch is one held-out prompt under one such condition: its heads are multiplied by
   zero where they enter the output projection.
3. A row records whether the completion is right before and after.

Conditions are run in blocks; a block is the unit that survives a kill.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch

from apmae.config import InterventionConfig
from apmae.progress import Tracker
from apmae.seeding import numpy_generator
from apmae.study import INTERVENTIONS, INTERVENTIONS_SCHEMA, Study, write_parquet
from apmae.target import Head, Target

BLOCK_CONDITIONS = 4


@dataclass(frozen=True)
class Condition:
    """What is done to the prompts of a task: these heads are zeroed."""

    task: str
    selection: str
    draw: int
    heads: tuple[Head, ...]


@dataclass(frozen=True)
class Block:
    """Conditions of one task that run, and are saved, together."""

    number: int
    conditions: tuple[Condition, ...]
    prompts: pl.DataFrame


def run(study: Study, key: str, track: Tracker, target: Target) -> dict[str, object]:
    """Run every condition on the held-out prompts; returns counts for the stage's marker."""
    work = study.work_directory("intervene", key)
    blocks = list(plan(study, target))
    paths = {block.number: work / f"block-{block.number:05d}.parquet" for block in blocks}
    missing = [block for block in blocks if not paths[block.number].exists()]
    for block in track(missing, "intervene", len(blocks), done=len(blocks) - len(missing)):
        write_parquet(paths[block.number], run_block(block, target, study.config.target.batch_size))
    tables = [pl.DataFrame(schema=INTERVENTIONS_SCHEMA), *(pl.read_parquet(path) for path in paths.values())]
    study.write_table(INTERVENTIONS, pl.concat(tables), INTERVENTIONS_SCHEMA)
    return {
        "conditions": sum(len(block.conditions) for block in blocks),
        "tasks": sorted({block.conditions[0].task for block in blocks}),
    }


def plan(study: Study, target: Target) -> Iterator[Block]:
    """All blocks, in a fixed order; a task without importance or held-out prompts has none."""
    number = 0
    for task in study.config.prompts.tasks:
        importance = study.importance.filter(task=task, features="clusters")
        prompts = held_out_prompts(study.study_prompts, task, study.config.intervention)
        if importance.is_empty() or prompts.is_empty():
            continue
        chosen = list(conditions(task, importance, study.config.intervention, study.config.seed))
        for start in range(0, len(chosen), BLOCK_CONDITIONS):
            yield Block(number, tuple(chosen[start : start + BLOCK_CONDITIONS]), prompts)
            number += 1


def held_out_prompts(prompts: pl.DataFrame, task: str, config: InterventionConfig) -> pl.DataFrame:
    """The first right and the first wrong prompts of the task's held-out groups."""
    held_out = prompts.filter(task=task, split="test")
    rank = pl.int_range(pl.len()).over("correct")
    return held_out.filter(rank < config.prompts_per_outcome)


def conditions(
    task: str, importance: pl.DataFrame, config: InterventionConfig, seed: int
) -> Iterator[Condition]:
    """A task's conditions.

    Counts for which a selection has too few heads are left out: positive and negative heads are
    those with any positive or negative SHAP value (the paper's "where available").
    """
    for selection in config.selections:
        for draw in range(config.random_draws if selection == "random" else 1):
            generator = numpy_generator(seed, "interventions", task, selection, draw)
            ranked = rank_heads(importance, selection, generator)
            for count in sorted(set(config.head_counts)):
                if count <= len(ranked):
                    yield Condition(task, selection, draw, tuple(ranked[:count]))


def rank_heads(importance: pl.DataFrame, selection: str, generator: np.random.Generator) -> list[Head]:
    """Heads of a selection, the first ones first; ties are broken by the generator."""
    shuffled = importance.sort("layer", "head").select(
        pl.all().gather(generator.permutation(importance.height).tolist())
    )
    if selection == "positive":
        shuffled = shuffled.filter(pl.col("mean_positive") > 0)
        ranked = shuffled.sort("mean_positive", descending=True, maintain_order=True)
    elif selection == "negative":
        shuffled = shuffled.filter(pl.col("mean_negative") < 0)
        ranked = shuffled.sort("mean_negative", maintain_order=True)
    elif selection == "neutral":
        magnitude = pl.col("mean_positive") - pl.col("mean_negative")
        ranked = shuffled.sort(magnitude, maintain_order=True)
    else:
        ranked = shuffled
    return list(ranked.select("layer", "head").iter_rows())


def run_block(block: Block, target: Target, batch_size: int) -> pl.DataFrame:
    """Outcomes of a block's prompts under its conditions, `INTERVENTIONS_SCHEMA`."""
    factors = torch.stack([head_factors(condition, target) for condition in block.conditions])
    prompts = block.prompts.select("prompt_id", "input_ids", "target_id", "correct").rows()
    rows = [(index, prompt) for index in range(len(block.conditions)) for prompt in prompts]
    predicted: list[int] = []
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        with target.scale_heads(factors[[index for index, _ in batch]]):
            logits = target.logits([ids for _, (_, ids, _, _) in batch])
        predicted += logits.argmax(-1).tolist()
    return pl.DataFrame(
        [
            (
                block.conditions[index].task,
                block.conditions[index].selection,
                len(block.conditions[index].heads),
                block.conditions[index].draw,
                prompt_id,
                correct,
                token == target_id,
                token,
            )
            for (index, (prompt_id, _, target_id, correct)), token in zip(rows, predicted, strict=True)
        ],
        schema=INTERVENTIONS_SCHEMA,
        orient="row",
    )


def head_factors(condition: Condition, target: Target) -> torch.Tensor:
    """Factors (L, H): 0 for the condition's heads, 1 for the others."""
    factors = torch.ones(target.n_layers, target.n_heads)
    for layer, head in condition.heads:
        factors[layer, head] = 0
    return factors
