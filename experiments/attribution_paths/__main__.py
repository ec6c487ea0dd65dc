"""`python -m experiments.attribution_paths RUN`: ablate every head, attribute along each path, compare."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
import polars as pl
import torch
import typer
from numpy.typing import NDArray
from torch import Tensor

from apmae.common.command import one_line_errors
from apmae.common.markdown import markdown_table
from apmae.effects.ablation import exact_effects
from apmae.effects.attribution import attributed_effects
from apmae.effects.summary import agreement
from apmae.intervention import Zero
from apmae.intervention.conditions import held_out_prompts
from apmae.intervention.greedy import gradient_batches
from apmae.study import Study
from apmae.target_model import Target

T = TypeVar("T")

PARTS = {"all heads together, 4 points": (1, 4), "4 parts, 2 points": (4, 2), "8 parts, 2 points": (8, 2)}
"""Paths of `apmae.effects.attribution`: parts of the heads, and points."""


def main(
    run: Annotated[Path, typer.Argument(help="A study's directory whose stage `prompts` is done.")],
    task: Annotated[list[str] | None, typer.Option(help="Tasks; all by default.")] = None,
    prompts_per_outcome: Annotated[int, typer.Option(help="Held-out prompts per task and outcome.")] = 24,
) -> None:
    """Print a table with a row for each task and path."""
    study = Study.open(run)
    target = Target.from_config(study.config.target)
    rows: list[tuple[str, ...]] = []
    for name in task or study.config.prompts.tasks:
        prompts = held_out_prompts(
            study.study_prompts, name, study.config.measured_split, prompts_per_outcome
        )
        rows += _of_task(target, name, prompts, study.config.target.batch_size)
        typer.echo(f"{name}: done", err=True)
    header = ("task", "estimate", "gradients", "correlation", "rank correlation", "time of ablation")
    typer.echo(markdown_table(header, rows))


def _of_task(target: Target, task: str, prompts: pl.DataFrame, batch_size: int) -> list[tuple[str, ...]]:
    exact, seconds = _timed(lambda: _ablated(target, prompts, batch_size))
    estimates = {"one derivative": (1, partial(_derivative, target, prompts))}
    for words, (parts, points) in PARTS.items():
        attributed = partial(attributed_effects, target, prompts, parts, points, 0)
        estimates[words] = (parts * points, attributed)
    rows: list[tuple[str, ...]] = []
    for words, (gradients, estimate) in estimates.items():
        found, took = _timed(estimate)
        values = found.mean(0).flatten().double().numpy()
        correlation, rank = agreement(values, exact, np.ones(len(exact)))
        cells = (f"{correlation:.2f}", f"{rank:.2f}", f"{took / seconds:.2f}")
        rows.append((task, words, str(gradients), *cells))
    return rows


def _ablated(target: Target, prompts: pl.DataFrame, batch_size: int) -> NDArray[np.float64]:
    table = exact_effects(target, target.heads, Zero(), prompts, None, batch_size)
    means: NDArray[np.float64] = table["log_probability"].to_numpy().reshape(len(target.heads), -1).mean(1)
    return means


def _derivative(target: Target, prompts: pl.DataFrame) -> Tensor:
    return -torch.cat(list(gradient_batches(target, prompts, {})))


def _timed(measure: Callable[[], T]) -> tuple[T, float]:
    started = time.process_time()
    return measure(), time.process_time() - started


if __name__ == "__main__":
    with one_line_errors():
        typer.run(main)
