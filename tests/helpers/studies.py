"""Studies of seconds: with random prompts, for single stages, and whole ones, as files."""

import os
import sys
from typing import Any

import numpy as np
import yaml

from apmae.common.progress import silent
from apmae.pipeline import Context, Inputs
from apmae.study import Study
from apmae.study.artifacts import PROMPTS
from apmae.study.config import StudyConfig

LENGTH = 16
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def tiny_config(directory, **sections):
    """A study that takes seconds: prompts of 16 tokens, patches of 4, the tiny AP-MAE."""
    values = {
        "name": "tiny",
        "directory": str(directory),
        "prompts": {
            "tasks": ["eol", "identifiers"],
            "length_tokens": LENGTH,
            "per_task": 8,
            "format": "causal",
        },
        "target": {"dtype": "float32", "batch_size": 4},
        "encoder": {"size": "tiny", "patch_size": 4, "row_token_size": 2},
        "training": {
            "steps": 8,
            "batch_size": 16,
            "prompts_per_round": 8,
            "validate_every_steps": 4,
            "checkpoint_every_steps": 3,
            "precision": "float32",
        },
        "encoding": {"shard_prompts": 5, "precision": "float32"},
        **sections,
    }
    return StudyConfig.model_validate(values)


def random_prompts(count=24, encoder_count=20, seed=0):
    """Prompts of random token ids with random outcomes."""
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(count + encoder_count):
        purpose = "study" if number < count else "encoder"
        task = ("eol", "identifiers")[number % 2] if purpose == "study" else "random"
        ids = generator.integers(0, 512, LENGTH).tolist()
        split = "test" if number % 4 == 0 else "train"
        right = bool(generator.integers(2))
        outcome = (int(ids[0]), right, 0.5, 0.6, 0.2, 1.0)
        rows.append(
            (
                number,
                purpose,
                task,
                f"F{number}.java",
                1,
                f"g{number}",
                split,
                "x",
                ids,
                1,
                [1],
                False,
                *outcome,
            )
        )
    return PROMPTS.of_rows(rows)


def tiny_study(directory, prompts=None, **sections):
    """A study directory with random prompts and nothing else."""
    study = Study.create(tiny_config(directory, **sections))
    study.write(PROMPTS, random_prompts() if prompts is None else prompts)
    return study


def context_of(study, target=None, corpus=None, key="key", progress=silent):
    """What the pipeline would give a stage of the study."""
    inputs = Inputs(study.config)
    for name, value in (("target", target), ("corpus", corpus)):
        if value is not None:
            vars(inputs)[name] = value
    return Context(study, key, progress, inputs)


def write_study(path, target, corpus, directory, **sections):
    """The study's file: every stage, in seconds; `sections` have keys beside these, or in their place."""
    config: dict[str, Any] = {
        "name": "miniature",
        "directory": str(directory),
        "target": {"model": str(target), "dtype": "float32", "device": "cpu", "batch_size": 8},
        "corpus": {"source": "directory", "path": str(corpus)},
        "prompts": {
            "tasks": ["eol", "identifiers", "noise"],
            "per_task": 32,
            "encoder_prompts": 24,
            "length_tokens": 64,
        },
        "effects": {"prompts_per_outcome": 2, "partitions": 2, "points": 1},
        "roles": {"windows": 8, "random_sequences": 8},
        "encoder": {"size": "tiny", "patch_size": 16},
        "training": {
            "steps": 12,
            "batch_size": 16,
            "prompts_per_round": 8,
            "validate_every_steps": 6,
            "checkpoint_every_steps": 4,
            "precision": "float32",
        },
        "encoding": {"shard_prompts": 16, "precision": "float32"},
        "clustering": {"n_clusters": 3, "processes": 1},
        "prediction": {"folds": 3, "iterations": 20, "processes": 1},
        "intervention": {
            "head_counts": [1, 4],
            "random_seeds": 2,
            "prompts_per_outcome": 4,
            "tuning_prompts_per_outcome": 4,
            "greedy_candidates": 3,
            "greedy_heads": 2,
            "gate_steps": 2,
            "side_effect_prompts": 6,
            "generated_holes": 3,
        },
        "report": {"gallery_clusters": 4, "reconstructions": 2},
    }
    for name, section in sections.items():
        config[name] = {**config.get(name, {}), **section}
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def command(path, *options):
    """Run a study in a process of its own: the sums of float32 depend on what a process did before."""
    return [sys.executable, "-m", "apmae", "run", str(path), *options]
