"""Every ranking of a study's heads, measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from apmae.common.progress import Progress
from apmae.common.seeding import numpy_generator
from apmae.intervention.conditions import tuning_prompts
from apmae.study import Study
from apmae.study.artifacts import token_ids
from apmae.target_model import Head, Target
from experiments.ground_truth.measures import Order, Scores, auroc, faithfulness, precision
from experiments.ground_truth.rankings import rankings

RANDOM = "random order"
RANDOM_ORDERS = 20
PROMPTS = 32
"""Held-out prompts a task that the whole model completes correctly."""


class Measured(NamedTuple):
    """How good the rankings of a study are.

    Attributes:
        name: of the study's target.
        known: (heads,) whether a head is known to matter; none where that is not known.
        auroc, precision: by ranking; empty where no heads are known.
        faithfulness: by ranking CPR and CMD, (2, tasks); of random orders (2, orders), means over tasks.
    """

    name: str
    known: NDArray[np.bool_]
    auroc: dict[str, float]
    precision: dict[str, float]
    faithfulness: dict[str, Scores]


def measure(name: str, study: Study, target: Target, known: Sequence[Head], progress: Progress) -> Measured:
    """Measure every ranking on every task of a study that has effects.

    Args:
        known: heads that are known to matter.
    """
    is_known = np.array([head in known for head in target.heads])
    areas: dict[str, list[Scores]] = {}
    found: dict[str, Scores] = {}
    for task in study.effects["task"].unique(maintain_order=True):
        found = rankings(study, task, target)
        generator = numpy_generator(study.config.seed, "ground truth", name, task)
        orders = [_order(scores, generator) for scores in found.values()]
        orders += [generator.permutation(len(target.heads)) for _ in range(RANDOM_ORDERS)]
        of_orders = _areas(study, task, target, orders, progress)
        for number, ranking in enumerate(found):
            areas.setdefault(ranking, []).append(of_orders[number])
        areas.setdefault(RANDOM, []).append(of_orders[len(found) :])
    random = np.mean(areas.pop(RANDOM), axis=0).T
    return Measured(
        name,
        is_known,
        {ranking: auroc(scores, is_known) for ranking, scores in found.items()} if known else {},
        {ranking: precision(scores, is_known) for ranking, scores in found.items()} if known else {},
        {ranking: np.array(of_tasks).T for ranking, of_tasks in areas.items()} | {RANDOM: random},
    )


def _order(scores: Scores, generator: np.random.Generator) -> Order:
    """Heads by falling score; ties in random order."""
    shuffled = generator.permutation(len(scores))
    order: Order = shuffled[np.argsort(-scores[shuffled], kind="stable")]
    return order


def _areas(study: Study, task: str, target: Target, orders: Sequence[Order], progress: Progress) -> Scores:
    """(orders, 2): CPR and CMD."""
    config = study.config
    right = study.study_prompts.filter(pl.col("correct"), task=task, split=config.measured_split)
    ids, size = (
        token_ids(tuning_prompts(study.study_prompts, task, PROMPTS, config.seed)),
        config.target.batch_size,
    )
    means = target.mean_head_outputs(ids[start : start + size] for start in range(0, len(ids), size))
    found = [
        faithfulness(target, order, right.head(PROMPTS), means, size)
        for order in progress(orders, f"faithfulness, {task}")
    ]
    return np.array([(areas.cpr, areas.cmd) for areas in found])
