"""The stage `intervene`: what is decided elsewhere, run on the target and written down.

Conditions run in blocks; a block, a greedy step and a task's side effects are files of the work
directory, and a killed stage loses the one in flight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import polars as pl
import torch
from torch import Tensor

from apmae.common.atomic import read_parquet, saved_parquet, write_parquet
from apmae.common.progress import Progress
from apmae.intervention.choices import best_ungated, choose
from apmae.intervention.conditions import (
    Condition,
    condition_table,
    held_out_prompts,
    sweep,
    tuning_prompts,
)
from apmae.intervention.experiment import Experiment, TaskPrompts
from apmae.intervention.gate_search import search_gates
from apmae.intervention.gating import gate_probabilities
from apmae.intervention.generated import draw_holes, generated
from apmae.intervention.greedy import Effect, Heads, Propose, greedy_heads, promising_heads
from apmae.intervention.intervention import Intervention
from apmae.intervention.means import saved_means
from apmae.intervention.operations import Zero, operations
from apmae.intervention.selections import heads_by_effect
from apmae.intervention.side_effects import side_effects
from apmae.pipeline import Context
from apmae.prompts import PromptFormatter
from apmae.study import Study
from apmae.study.artifacts import (
    BEST,
    CHOICES,
    CONDITIONS,
    GENERATED,
    INTERVENTIONS,
    LEARNED_GATES,
    SIDE_EFFECTS,
)
from apmae.target_model import Head, Target

STAGE = "intervene"
BLOCK_CONDITIONS = 16

OUTCOMES_SCHEMA = pl.Schema(
    {"run_as": pl.Int32}  # number of the first condition that does this
    | {
        name: INTERVENTIONS.schema[name]
        for name in (
            "split",
            "prompt_id",
            "correct_before",
            "correct_after",
            "predicted_before",
            "predicted_id",
        )
    }
)


def run(context: Context) -> dict[str, object]:
    """Write the tables of interventions and `best/`; returns counts for the stage's marker."""
    study, target, progress = context.study, context.target, context.progress
    work = study.work_directory(STAGE, context.key)
    prompts = {task: found for task in study.config.prompts.tasks if (found := _task_prompts(study, task))}
    experiment = Experiment(study, target, work, prompts, _means(study, target, prompts, work))
    gates, gated, notes = search_gates(experiment, progress)
    study.write(LEARNED_GATES, gates)
    conditions = [*_sweeps(experiment), *_greedy(experiment, progress), *gated]
    study.write(CONDITIONS, condition_table(conditions))
    interventions = _run_blocks(experiment, conditions, progress)
    study.write(INTERVENTIONS, interventions)
    choices = choose(interventions)
    study.write(CHOICES, choices)
    best = dict(best_ungated(choices).select("task", "condition").iter_rows())
    chosen = [conditions[number] for number in best.values()]
    _write_side_effects(experiment, chosen, progress)
    _write_generated(experiment, context, chosen)
    _write_best(experiment, chosen)
    return {
        "conditions": len(conditions),
        "tasks": sorted(prompts),
        "helped": sorted(best),
        "notes": notes,
    }


def _task_prompts(study: Study, task: str) -> TaskPrompts | None:
    """None for a task without importance, held-out prompts, or prompts of both outcomes to choose on."""
    config, split = study.config.intervention, study.config.measured_split
    if study.importance.filter(task=task).is_empty():
        return None
    held_out = held_out_prompts(study.study_prompts, task, split, config.prompts_per_outcome)
    count, seed = config.tuning_prompts_per_outcome, study.config.seed
    tuning = tuning_prompts(study.study_prompts, task, count, seed)
    return None if held_out.is_empty() or tuning.is_empty() else TaskPrompts(tuning, held_out)


def _means(study: Study, target: Target, prompts: dict[str, TaskPrompts], work: Path) -> Tensor | None:
    """(L, H, D) mean head outputs over the tuning prompts of all tasks; None where nothing needs them."""
    if not prompts or not any(made.uses_means for made in operations(study.config.intervention)):
        return None
    tuning = pl.concat([of_task.tuning for of_task in prompts.values()])
    return saved_means(work / "means.safetensors", target, tuning, study.config.target.batch_size)


def _sweeps(experiment: Experiment) -> Iterator[Condition]:
    study = experiment.study
    config = study.config.intervention
    for task in experiment.prompts:
        by_effect = heads_by_effect(study.effects.filter(task=task))
        for features in config.importance:
            importance = study.importance.filter(task=task, features=features)
            yield from sweep(task, features, importance, by_effect, config, study.config.seed)


def _greedy(experiment: Experiment, progress: Progress) -> list[Condition]:
    """Zeroing the first one, two, ... of the heads that were chosen one after the other."""
    config = experiment.study.config.intervention
    if "greedy" not in config.selections:
        return []
    conditions = []
    for task in progress(experiment.prompts, "greedy selection", len(experiment.prompts)):
        heads = greedy_heads(_proposer(experiment, task), config.greedy_heads, _scorer(experiment, task))
        conditions += [
            _greedy_condition(experiment, task, heads[:count]) for count in range(1, len(heads) + 1)
        ]
    return conditions


def _greedy_condition(experiment: Experiment, task: str, heads: Heads) -> Condition:
    of = experiment.study.config.intervention.importance[0]
    return Condition(task, of, "greedy", 0, Intervention(heads, Zero()))


def _proposer(experiment: Experiment, task: str) -> Propose:
    """Proposes heads by gradients on the task's tuning prompts; each call is a file."""
    tuning, target = experiment.prompts[task].tuning, experiment.target
    count = experiment.study.config.intervention.greedy_candidates

    def propose(chosen: Heads) -> list[Head]:
        path = experiment.work / f"greedy-{task}-proposed-{len(chosen):03d}.parquet"
        schema = {"layer": pl.Int32, "head": pl.Int32}

        def find() -> pl.DataFrame:
            return pl.DataFrame(promising_heads(target, tuning, chosen, count), schema, orient="row")

        return list(saved_parquet(path, find).iter_rows())

    return propose


def _scorer(experiment: Experiment, task: str) -> Callable[[Sequence[Heads]], list[Effect]]:
    """Scores sets of heads on the task's tuning prompts; each call is a file."""
    tuning = experiment.prompts[task].tuning
    calls = 0

    def score(sets: Sequence[Heads]) -> pl.DataFrame:
        conditions = [_greedy_condition(experiment, task, heads) for heads in sets]
        found = experiment.run(conditions, tuning)
        right = found.correct.sum(1) - found.plain_correct.sum()
        gain = (found.log_probability - found.plain_log_probability).mean(1)
        return pl.DataFrame({"net_change": right.tolist(), "log_probability": gain.tolist()})

    def evaluate(sets: Sequence[Heads]) -> list[Effect]:
        nonlocal calls
        calls += 1
        path = experiment.work / f"greedy-{task}-scored-{calls:03d}.parquet"
        return [Effect(*row) for row in saved_parquet(path, lambda: score(sets)).iter_rows()]

    return evaluate


def _run_blocks(experiment: Experiment, conditions: list[Condition], progress: Progress) -> pl.DataFrame:
    """`INTERVENTIONS` of all conditions; equal interventions run once."""
    first_of: dict[tuple[str, Intervention], int] = {}
    run_as = [
        first_of.setdefault((made.task, made.intervention), number) for number, made in enumerate(conditions)
    ]
    numbered = groupby(
        ((number, conditions[number]) for number in first_of.values()),
        key=lambda pair: pair[1].task,
    )
    blocks = [
        chosen[start : start + BLOCK_CONDITIONS]
        for _, group in numbered
        for chosen in [list(group)]
        for start in range(0, len(chosen), BLOCK_CONDITIONS)
    ]
    paths = [experiment.work / f"block-{number:05d}.parquet" for number in range(len(blocks))]
    missing = [number for number, path in enumerate(paths) if not path.exists()]
    for number in progress(missing, "intervene", len(blocks), done=len(blocks) - len(missing)):
        write_parquet(paths[number], run_block(experiment, blocks[number]))
    labels = condition_table(conditions).select(
        pl.exclude("heads"),
        n_heads=pl.col("heads").list.len().cast(pl.Int32),
        run_as=pl.Series(run_as, dtype=pl.Int32),
    )
    outcomes = pl.concat([pl.DataFrame(schema=OUTCOMES_SCHEMA), *map(read_parquet, paths)])
    gates = [pl.DataFrame(schema={"prompt_id": pl.Int32, "gate_probability": pl.Float32})]
    gates += [gate_probabilities(experiment.study, task) for task in experiment.prompts]
    return (
        labels.join(outcomes, on="run_as", maintain_order="left_right")
        .join(pl.concat(gates), on="prompt_id", how="left", maintain_order="left")
        .select(INTERVENTIONS.schema.names())
    )


def run_block(experiment: Experiment, block: Sequence[tuple[int, Condition]]) -> pl.DataFrame:
    """Outcomes of a task's prompts under numbered conditions, `OUTCOMES_SCHEMA`."""
    of_task = experiment.prompts[block[0][1].task]
    prompts = pl.concat([of_task.tuning, of_task.held_out])
    found = experiment.run([condition for _, condition in block], prompts)
    tables = [
        prompts.select(
            pl.lit(number).alias("run_as"),
            pl.col("split", "prompt_id"),
            correct_before=pl.Series(found.plain_correct.numpy()),
            correct_after=pl.Series(found.correct[place].numpy()),
            predicted_before=pl.Series(found.plain_predicted.numpy()),
            predicted_id=pl.Series(found.predicted[place].numpy()),
        )
        for place, (number, _) in enumerate(block)
    ]
    return pl.concat(tables).cast(OUTCOMES_SCHEMA)


def _write_side_effects(experiment: Experiment, chosen: list[Condition], progress: Progress) -> None:
    tables = [SIDE_EFFECTS.of_rows()]
    for condition in progress(chosen, "side effects", len(chosen)):
        path = experiment.work / f"side-effects-{condition.task}.parquet"

        def measure(condition: Condition = condition) -> pl.DataFrame:
            return side_effects(experiment.study, experiment.target, condition, experiment.means)

        tables.append(saved_parquet(path, measure))
    experiment.study.write(SIDE_EFFECTS, pl.concat(tables))


def _write_generated(experiment: Experiment, context: Context, chosen: list[Condition]) -> None:
    study, target = experiment.study, experiment.target
    prompts = study.config.prompts
    tables = [GENERATED.of_rows()]
    if chosen and study.config.intervention.generated_holes:
        formatter = PromptFormatter(target.tokenizer, prompts.format, prompts.length_tokens, "whole_hole")
        tasks = [made.task for made in chosen]
        drawn = draw_holes(context.corpus, study.config, formatter, tasks, target.max_tokens)
        total = study.config.intervention.generated_holes * len(chosen)
        holes = list(context.progress(drawn, "holes to fill in", total))
        for condition in context.progress(chosen, "generated code", len(chosen)):
            path = experiment.work / f"generated-{condition.task}.parquet"

            def write(condition: Condition = condition) -> pl.DataFrame:
                return generated(target, holes, condition, experiment.means, study.config)

            tables.append(saved_parquet(path, write))
    study.write(GENERATED, pl.concat(tables))


def _write_best(experiment: Experiment, chosen: list[Condition]) -> None:
    study = experiment.study
    with study.writing(BEST) as directory:
        directory.mkdir()
        for condition in chosen:
            means = None
            if condition.operation.uses_means:
                assert experiment.means is not None
                means = torch.stack([experiment.means[head] for head in condition.heads])
            best = replace(condition.intervention, means=means, target=study.config.target)
            best.save(directory / condition.task)
