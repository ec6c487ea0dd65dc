"""Learned gates of every task of a study, as conditions; a search is a file of the work directory."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import polars as pl

from apmae.common.atomic import saved_parquet
from apmae.common.progress import Progress
from apmae.common.seeding import numpy_generator
from apmae.intervention.choices import LEARNED_GATES as LEARNED
from apmae.intervention.conditions import Condition
from apmae.intervention.experiment import Experiment
from apmae.intervention.greedy import Heads
from apmae.intervention.intervention import Intervention
from apmae.intervention.learned_gates import Penalised, learn_gates, verdict_of
from apmae.intervention.operations import Gates
from apmae.prediction.metrics import weights_at_rate
from apmae.study.artifacts import LEARNED_GATES


class Search(NamedTuple):
    """One search of gates, see `apmae.intervention.learned_gates.learn_gates`."""

    task: str
    penalised: Penalised
    penalty: float


def search_gates(
    experiment: Experiment, progress: Progress
) -> tuple[pl.DataFrame, list[Condition], list[str]]:
    """`LEARNED_GATES`, a condition for each task and penalty that closes a gate, and notes on searches."""
    study, target = experiment.study, experiment.target
    config = study.config.intervention
    if LEARNED not in config.selections:
        return LEARNED_GATES.of_rows(), [], []
    if not target.has_gradients:
        return LEARNED_GATES.of_rows(), [], [f"{target.name} gives no gradients, so no gates are learned"]
    code = study.prompts.filter(purpose="encoder", split="train")
    first = config.gate_penalties[0]
    searches = [
        search
        for task in experiment.prompts
        for search in (
            *(Search(task, "closed", penalty) for penalty in config.gate_penalties),
            Search(task, "open", first),
        )
    ]
    found: dict[Search, pl.DataFrame] = {}
    notes = []
    for search in progress(searches, "learned gates"):
        path = experiment.work / f"gates-{search.task}-{search.penalised}-{search.penalty}.parquet"
        found[search] = saved_parquet(path, partial(_learn, experiment, code, search))
        if (step := found[search]["diverged_at"][0]) is not None:
            notes.append(f"{search.task}: learning gates diverged at step {step}; those before are kept")
    conditions = [
        Condition(search.task, config.importance[0], LEARNED, 0, Intervention(heads, Gates(), gates=gates))
        for search, table in found.items()
        if search.penalised == "closed"
        for heads, gates in [_closed(table)]
        if heads
    ]
    rows = [
        (task, layer, head, retained, removed, verdict_of(retained, removed))
        for task in experiment.prompts
        for (layer, head, retained), removed in zip(
            found[Search(task, "closed", first)].select("layer", "head", "gate").iter_rows(),
            found[Search(task, "open", first)]["gate"],
            strict=True,
        )
    ]
    return LEARNED_GATES.of_rows(rows), conditions, notes


def _learn(experiment: Experiment, code: pl.DataFrame, search: Search) -> pl.DataFrame:
    """Gates of a task's training prompts that are no tuning prompts, weighted to the base rate."""
    study, target = experiment.study, experiment.target
    config = study.config
    tuning = experiment.prompts[search.task].tuning
    train = study.study_prompts.filter(task=search.task, split="train").join(
        tuning, on="prompt_id", how="anti"
    )
    if train["correct"].n_unique() < 2:
        train = tuning
    rate = study.tasks.filter(task=search.task)["base_rate"].item()
    correct = train["correct"].to_numpy()
    weights = weights_at_rate(correct, np.ones(len(correct)), rate)
    generator = numpy_generator(config.seed, "interventions", LEARNED, *map(str, search))
    steps = config.intervention.gate_steps
    found = learn_gates(
        target, train, weights, code, steps, search.penalty, generator, penalised=search.penalised
    )
    layers, heads = np.array(target.heads, dtype=np.int16).T
    return pl.DataFrame({"layer": layers, "head": heads, "gate": found.gates.flatten().numpy()}).with_columns(
        diverged_at=pl.lit(found.diverged_at, pl.Int32)
    )


def _closed(gates: pl.DataFrame) -> tuple[Heads, tuple[float, ...]]:
    """The heads whose gates are not fully open, the most closed first, and these gates."""
    rows = gates.filter(pl.col("gate") < 1).sort("gate", "layer", "head")
    return tuple(rows.select("layer", "head").iter_rows()), tuple(rows["gate"].to_list())
