"""Which heads are changed, and on which prompts: everything here is decided before a model runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from apmae.common.seeding import numpy_generator
from apmae.intervention.intervention import Intervention
from apmae.intervention.operations import Operation, operation_of, operations
from apmae.intervention.selections import SHAP_SELECTIONS, rank_heads
from apmae.study.artifacts import CONDITIONS
from apmae.study.config import InterventionConfig
from apmae.target_model import Head

SEARCHED = ("greedy", "learned_gates")
"""Selections that run the target to choose heads."""


@dataclass(frozen=True)
class Condition:
    """An intervention on the prompts of a task, and how its heads were chosen.

    Attributes:
        task: whose prompts.
        importance: the feature set whose importance chose the heads.
        selection: how they were chosen, see `apmae.intervention.selections`.
        seed: number of the seed of a random selection; 0 for the others.
        intervention: what is done to them.
    """

    task: str
    importance: str
    selection: str
    seed: int
    intervention: Intervention

    @property
    def heads(self) -> tuple[Head, ...]:
        """The heads, in the order in which they were chosen."""
        return self.intervention.heads

    @property
    def operation(self) -> Operation:
        """What is done to them."""
        return self.intervention.operation


def condition_table(conditions: Sequence[Condition]) -> pl.DataFrame:
    """`CONDITIONS`, a condition's number being its place."""
    return CONDITIONS.of_rows(
        (
            number,
            made.task,
            made.importance,
            made.selection,
            made.operation.name,
            made.operation.factor,
            made.seed,
            [list(head) for head in made.heads],
            None if made.intervention.gates is None else list(made.intervention.gates),
        )
        for number, made in enumerate(conditions)
    )


def condition_of(row: Mapping[str, Any]) -> Condition:
    """The condition that a row of `CONDITIONS` tells of; mean ablation without its means."""
    heads = tuple((layer, head) for layer, head in row["heads"])
    gates = None if row["gates"] is None else tuple(row["gates"])
    made = Intervention(heads, operation_of(row["operation"], row["factor"]), gates=gates)
    return Condition(row["task"], row["importance"], row["selection"], row["seed"], made)


def sweep(
    task: str,
    features: str,
    importance: pl.DataFrame,
    by_effect: Sequence[Head],
    config: InterventionConfig,
    seed: int,
) -> Iterator[Condition]:
    """A task's conditions but the searched ones, by operation.

    Random heads, which no importance chooses, are the control of the first operation. They have a seed for
    every SHAP selection, if `random_seeds` are fewer, so that as many sets of random heads can be chosen from
    (`apmae.intervention.choices`). Counts for which a selection has too few heads are left out: positive and
    negative heads are those with any positive or negative SHAP value (the paper's "where available").

    Args:
        features: whose importance it is.
        importance: `IMPORTANCE`, of this task and these features.
        by_effect: heads in the order of their effects, see `apmae.intervention.selections`.
    """
    by_shap = sum(selection in SHAP_SELECTIONS for selection in config.selections)
    random_seeds = max(config.random_seeds, by_shap * len(config.importance))
    for number, operation in enumerate(operations(config)):
        is_first = features == config.importance[0]
        for selection in config.selections:
            if selection in SEARCHED or (selection == "effects" and not is_first):
                continue
            if selection == "random" and not (is_first and number == 0):
                continue
            for number_of_seed in range(random_seeds if selection == "random" else 1):
                generator = numpy_generator(seed, "interventions", task, selection, number_of_seed)
                ranked = by_effect if selection == "effects" else rank_heads(importance, selection, generator)
                for count in sorted(config.head_counts):
                    if count <= len(ranked):
                        intervention = Intervention(tuple(ranked[:count]), operation)
                        yield Condition(task, features, selection, number_of_seed, intervention)


def held_out_prompts(prompts: pl.DataFrame, task: str, split: str, per_outcome: int) -> pl.DataFrame:
    """The first correct and the first incorrect prompts of the task's groups in the measured split."""
    held_out = prompts.filter(task=task, split=split)
    return held_out.filter(pl.int_range(pl.len()).over("correct") < per_outcome)


def tuning_prompts(prompts: pl.DataFrame, task: str, per_outcome: int, seed: int) -> pl.DataFrame:
    """As many correct as incorrect prompts of the task's training groups, drawn at random; by prompt_id."""
    train = prompts.filter(task=task, split="train")
    order = numpy_generator(seed, "interventions", task, "tuning").permutation(train.height)
    drawn = train.select(pl.all().gather(order.tolist()))
    fewest = min(drawn.filter(correct=outcome).height for outcome in (True, False))
    rank = pl.int_range(pl.len()).over("correct")
    return drawn.filter(rank < min(per_outcome, fewest)).sort("prompt_id")
