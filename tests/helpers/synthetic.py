"""A small study on disk, up to its encodings, with one head that knows the outcome."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import zarr

from apmae.study import Study
from apmae.study.artifacts import ENCODINGS, PROMPTS, TASKS
from apmae.study.config import StudyConfig

TELLING_LAYER, TELLING_HEAD = 1, 0


def synthetic_study(
    directory: Path,
    *,
    tasks: tuple[str, ...] = ("eol",),
    per_task: int = 60,
    layers: int = 2,
    heads: int = 2,
    dim: int = 4,
    noise: float = 0.1,
    informative: bool = True,
    config: dict[str, object] | None = None,
) -> Study:
    """A study whose head (1, 0) forms two clusters, the correct and the incorrect completions.

    Every other head forms three clusters that say nothing. Half of each task's prompts are correct;
    groups have six prompts each, and every fourth group is in the test split. `noise` is the
    spread of the clusters, whose centres lie 5.7 apart. Without
    `informative`, the telling head's clusters and the confidence say nothing either.
    """
    generator = np.random.default_rng(0)
    study = Study.create(
        StudyConfig.model_validate(
            {
                "name": "synthetic",
                "directory": directory,
                "prompts": {"tasks": tasks, "per_task": per_task, "length_tokens": 16},
                "encoder": {"patch_size": 4, "row_token_size": 4},
                **(config or {}),
            }
        )
    )
    correct = np.arange(len(tasks) * per_task) // len(tasks) % 2 == 0
    told = correct if informative else generator.permutation(correct)
    study.write(PROMPTS, _prompts(tasks, correct, told, generator))
    study.write(TASKS, _tasks(tasks, per_task))
    with study.writing(ENCODINGS) as path:
        _write_encodings(path, told, (layers, heads, dim), noise, generator)
    return study


def _prompts(
    tasks: tuple[str, ...], correct: np.ndarray, told: np.ndarray, generator: np.random.Generator
) -> pl.DataFrame:
    count = len(correct)
    group = np.arange(count) // 6
    task = np.array(tasks)[np.arange(count) % len(tasks)]
    confidence = np.clip(generator.normal(0.5 + 0.1 * told, 0.2), 0.01, 0.99)
    return pl.DataFrame(
        {
            "prompt_id": np.arange(count),
            "purpose": "study",
            "task": task,
            "file": [f"F{number}.java" for number in group],
            "line": 1,
            "group": [f"g{number}" for number in group],
            "split": np.where(group % 4 == 3, "test", "train"),
            "text": "x",
            "input_ids": [[0] * 16] * count,
            "next_token_id": 1,
            "true_ids": [[1]] * count,
            "searched": False,
            "predicted_id": np.where(correct, 1, 2),
            "correct": correct,
            "next_token_probability": confidence,
            "max_probability": confidence,
            "margin": confidence / 2,
            "entropy": -np.log(confidence),
        }
    ).with_columns(correct=pl.when(pl.col("task") != "noise").then("correct"))


def _tasks(tasks: tuple[str, ...], per_task: int) -> pl.DataFrame:
    """Three of four are correct naturally."""
    half = per_task // 2
    return pl.DataFrame(
        {
            "task": tasks,
            "evaluated": 4 * half,
            "evaluated_correct": 3 * half,
            "base_rate": 0.75,
            "searched": 0,
            "kept_correct": half,
            "kept_incorrect": half,
            "kept_matched": 2 * half,
        }
    )


def _write_encodings(
    path: Path, told: np.ndarray, shape: tuple[int, int, int], noise: float, generator: np.random.Generator
) -> None:
    layers, heads, dim = shape
    count = len(told)
    kinds = generator.integers(0, 3, (layers * heads, count))
    kinds[TELLING_LAYER * heads + TELLING_HEAD] = told
    centres = np.eye(dim)[:3] * 4
    encodings = centres[kinds] + generator.normal(0, noise, (layers * heads, count, dim))
    statistics = generator.normal(0, 1, (layers * heads, count, 7))
    statistics[TELLING_LAYER * heads + TELLING_HEAD, :, 0] += 3 * told
    group = zarr.open_group(path, mode="w", attributes={"n_heads": heads})
    for readout in ("cls", "row", "random_cls"):
        group.create_array(readout, data=encodings.astype(np.float16))
    for name, shape_of in {
        "laplacian_eigenvalues": (layers * heads, count, 10),
        "sink_scores": (layers * heads, count, 10),
        "lookback_ratios": (layers * heads, count, 1),
        "rauq": (count, 1),
        "logit_lens_entropies": (3, count, layers),
    }.items():
        group.create_array(name, data=generator.normal(0, 1, shape_of).astype(np.float32))
    group.create_array("row_statistics", data=statistics.astype(np.float32))
    group.create_array("hidden_states", data=generator.normal(0, 1, (4, count, 5)).astype(np.float32))
    group.create_array("top_log_probs", data=generator.normal(-3, 1, (count, 20)).astype(np.float32))
    group.create_array("before_hole", data=generator.integers(0, 4, (count, 2)).astype(np.int32))
    group.create_array("copy_attention", data=generator.random((layers * heads, count, 3), dtype=np.float32))
    group.create_array("occurrences", data=generator.random((count, 8), dtype=np.float32))
