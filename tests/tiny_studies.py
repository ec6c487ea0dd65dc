"""Small studies of a tiny random-weight target, for the tests of stages."""

import numpy as np
import polars as pl

from apmae.artifacts import PROMPTS, PROMPTS_SCHEMA
from apmae.config import StudyConfig
from apmae.study import Study

LENGTH = 16


def tiny_config(directory, **sections):
    """A study that takes seconds: prompts of 16 tokens, patches of 4, the tiny AP-MAE."""
    values = {
        "name": "tiny",
        "directory": str(directory),
        "prompts": {"tasks": ["eol", "identifiers"], "length_tokens": LENGTH, "per_task": 8},
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
            (number, purpose, task, f"F{number}.java", 1, f"g{number}", split, "x", ids, 1, False, *outcome)
        )
    return pl.DataFrame(rows, schema=PROMPTS_SCHEMA, orient="row")


def tiny_study(directory, prompts=None, **sections):
    """A study directory with random prompts and nothing else."""
    study = Study.create(tiny_config(directory, **sections))
    study.write_table(PROMPTS, random_prompts() if prompts is None else prompts, PROMPTS_SCHEMA)
    return study
