"""Which heads are changed, and on which prompts: everything here is decided before a model runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from apmae.artifacts import CONDITIONS_SCHEMA
from apmae.config import InterventionConfig
from apmae.seeding import numpy_generator
from apmae.target import Head

Operation = Literal["zero", "mean", "scale"]


@dataclass(frozen=True)
class Condition:
    """What is done to the prompts of a task; the names are those of `CONDITIONS_SCHEMA`."""

    task: str
    importance: str
    selection: str
    operation: Operation
    factor: float
    draw: int
    heads: tuple[Head, ...]

    @property
    def is_control(self) -> bool:
        """Are its heads drawn at random? Then it is compared with, never chosen."""
        return self.selection == "random"


def condition_table(conditions: Sequence[Condition]) -> pl.DataFrame:
    """`CONDITIONS_SCHEMA`, a condition's number being its place."""
    rows = [
        (
            number,
            made.task,
            made.importance,
            made.selection,
            made.operation,
            made.factor,
            made.draw,
            [list(head) for head in made.heads],
        )
        for number, made in enumerate(conditions)
    ]
    return pl.DataFrame(rows, schema=CONDITIONS_SCHEMA, orient="row")


def sweep(
    task: str, features: str, importance: pl.DataFrame, config: InterventionConfig, seed: int
) -> Iterator[Condition]:
    """A task's conditions but the greedy ones, by operation.

    Random heads, which no importance chooses, are the control of the first operation. Counts for which
    a selection has too few heads are left out: positive and negative heads are those with any positive
    or negative SHAP value (the paper's "where available").

    Args:
        features: whose importance it is.
        importance: `IMPORTANCE_SCHEMA`, of this task and these features.
    """
    for number, (operation, factor) in enumerate(operations(config)):
        has_control = number == 0 and features == config.importance[0]
        for selection in config.selections:
            if selection == "greedy" or (selection == "random" and not has_control):
                continue
            for draw in range(config.random_draws if selection == "random" else 1):
                generator = numpy_generator(seed, "interventions", task, selection, draw)
                ranked = rank_heads(importance, selection, generator)
                for count in sorted(config.head_counts):
                    if count <= len(ranked):
                        heads = tuple(ranked[:count])
                        yield Condition(task, features, selection, operation, factor, draw, heads)


def operations(config: InterventionConfig) -> Iterator[tuple[Operation, float]]:
    """Every operation with what it leaves of a head's own output."""
    for operation in config.operations:
        for factor in config.factors if operation == "scale" else (0.0,):
            yield operation, factor


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
        ranked = shuffled.sort("mean_absolute", maintain_order=True)
    else:
        ranked = shuffled
    return list(ranked.select("layer", "head").iter_rows())


def held_out_prompts(prompts: pl.DataFrame, task: str, per_outcome: int) -> pl.DataFrame:
    """The first right and the first wrong prompts of the task's held-out groups."""
    held_out = prompts.filter(task=task, split="test")
    return held_out.filter(pl.int_range(pl.len()).over("correct") < per_outcome)


def tuning_prompts(prompts: pl.DataFrame, task: str, per_outcome: int, seed: int) -> pl.DataFrame:
    """As many right as wrong prompts of the task's training groups, drawn at random; by prompt_id."""
    train = prompts.filter(task=task, split="train")
    order = numpy_generator(seed, "interventions", task, "tuning").permutation(train.height)
    drawn = train.select(pl.all().gather(order.tolist()))
    fewest = min(drawn.filter(correct=outcome).height for outcome in (True, False))
    rank = pl.int_range(pl.len()).over("correct")
    return drawn.filter(rank < min(per_outcome, fewest)).sort("prompt_id")
