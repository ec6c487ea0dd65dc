"""A study of a model with known heads: its prompts, and the stages that rank heads."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import polars as pl
import torch

from apmae.common.progress import Progress
from apmae.common.seeding import derive_seed, numpy_generator
from apmae.pipeline import Context, Inputs
from apmae.roles.relations import token_relations
from apmae.roles.stage import CODE, example_of, scores_of_examples, summarised
from apmae.stages import STAGES, StageName
from apmae.study import Study
from apmae.study.artifacts import PROMPTS, ROLES, TASKS, token_ids
from apmae.study.config import StudyConfig
from apmae.target_model import Target
from apmae.target_model.outcomes import outcomes
from experiments.ground_truth.models import MODELS
from experiments.ground_truth.sequences import LENGTH, SEQUENCES

TASK = "random"
"""What the study calls its one task, since it has to be one of a language's."""
PROMPTS_PER_GROUP = 4
HELD_OUT_GROUPS = 3
"""Every third group is held out."""
BATCH = 64

RANKING_STAGES: tuple[StageName, ...] = ("effects", "train", "encode", "cluster", "predict", "intervene")


def config_of(name: str, directory: Path, seed: int) -> StudyConfig:
    """What is studied of a model of `MODELS`."""
    return StudyConfig.model_validate(
        {
            "name": f"ground-truth-{name}",
            "seed": seed,
            "directory": directory,
            "target": {"model": str(MODELS / name), "dtype": "float32"},
            "prompts": {
                "tasks": [TASK],
                "per_task": 600,
                "encoder_prompts": 256,
                "length_tokens": LENGTH,
                "format": "causal",
            },
            "effects": {"prompts_per_outcome": 48},
            "encoder": {"size": "tiny", "patch_size": 16},
            "training": {"steps": 300, "base_learning_rate": 4e-4},
            "prediction": {"features": ["clusters", "row_statistics", "confidence+row_statistics"]},
            "intervention": {
                "importance": ["clusters", "row_statistics"],
                "selections": ["learned_gates"],
                "operations": ["zero"],
            },
        }
    )


def run(name: str, directory: Path, seed: int, progress: Progress) -> Study:
    """Make the prompts of a model, and run every stage that ranks heads."""
    study = Study.create(config_of(name, directory, seed))
    inputs = Inputs(study.config)
    prompts = draw_prompts(name, study.config, inputs.target)
    study.write(PROMPTS, prompts)
    study.write(TASKS, task_table(prompts))
    modules = {stage.name: stage.module for stage in STAGES}
    for stage in RANKING_STAGES:
        import_module(modules[stage]).run(Context(study, "ground truth", progress, inputs))
    study.write(ROLES, roles_of(inputs.target, prompts.filter(purpose="study", split="train"), seed))
    return study


def draw_prompts(name: str, config: StudyConfig, target: Target) -> pl.DataFrame:
    """`PROMPTS`: encoder prompts as they come, and as many correct as incorrect study prompts."""
    generator = numpy_generator(config.seed, "ground truth", name, "prompts")
    half, others = config.prompts.per_task // 2, config.prompts.encoder_prompts
    drawn = _batch(name, target, generator)
    while min(drawn[others:].filter(correct=outcome).height for outcome in (True, False)) < half:
        drawn = pl.concat([drawn, _batch(name, target, generator)])
    kept = drawn[others:].filter(pl.int_range(pl.len()).over("correct") < half)
    purposes = pl.concat(
        [kept.with_columns(purpose=pl.lit("study")), drawn[:others].with_columns(purpose=pl.lit("encoder"))]
    )
    number = pl.int_range(pl.len())
    group = number // PROMPTS_PER_GROUP
    return PROMPTS.cast(
        purposes.with_columns(
            prompt_id=number,
            task=pl.lit(TASK),
            file=group.cast(pl.String),
            line=pl.lit(1),
            group=group.cast(pl.String),
            split=pl.when(group % HELD_OUT_GROUPS == 0).then(pl.lit("test")).otherwise(pl.lit("train")),
            searched=pl.lit(False),
        )
    )


def _batch(name: str, target: Target, generator: np.random.Generator) -> pl.DataFrame:
    """Prompts as they come, and what the model makes of them."""
    prompts = [SEQUENCES[name].prompt(generator) for _ in range(BATCH)]
    to_ids = target.tokenizer.convert_tokens_to_ids
    ids = np.array([to_ids(tokens) for tokens, _ in prompts], dtype=np.int32)
    following = torch.tensor([to_ids(token) for _, token in prompts])
    found = outcomes(target.logits(ids), following)
    return pl.DataFrame(
        {
            "text": [token for _, token in prompts],
            "input_ids": ids.tolist(),
            "next_token_id": following.numpy(),
            "true_ids": following[:, None].tolist(),
            **{column: values.numpy() for column, values in found._asdict().items()},
        }
    )


def task_table(prompts: pl.DataFrame) -> pl.DataFrame:
    """`TASKS`; the base rate is that of the encoder prompts, which are as they came."""
    as_they_came = prompts.filter(purpose="encoder")["correct"]
    kept = prompts.filter(purpose="study")["correct"]
    right, wrong = int(kept.sum()), int((~kept).sum())
    counts = (len(as_they_came), int(as_they_came.sum()), as_they_came.mean(), 0, right, wrong, 0)
    return TASKS.of_rows([(TASK, *counts)])


def roles_of(target: Target, prompts: pl.DataFrame, seed: int) -> pl.DataFrame:
    """`ROLES` of a model, those that need token ids alone, on prompts."""
    examples = [
        example_of(CODE, group, ids, token_relations(ids))
        for group, ids in zip(prompts["group"], token_ids(prompts), strict=True)
    ]
    scores = scores_of_examples(target, list(enumerate(examples)))
    return summarised(scores, derive_seed(seed, "roles", "bootstrap"))
