"""`python -m experiments.fine_tuning RUN`: train what is missing, measure, and print the tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from apmae.common.command import one_line_errors
from apmae.common.progress import console
from apmae.common.seeding import derive_seed
from apmae.prediction.metrics import Values
from apmae.study import Study
from apmae.token_study.measurement import Kind, measure
from experiments.fine_tuning import cells, page


def main(
    run: Annotated[Path, typer.Argument(help="A study's directory whose stage `encode` is done.")],
    labels: Annotated[list[int] | None, typer.Option(help="Prompts to train on; 0 for all.")] = None,
    seeds: Annotated[int, typer.Option(help="Classifiers of each kind.")] = 1,
    processes: Annotated[int | None, typer.Option(help="Worker processes; all cores by default.")] = None,
) -> None:
    """Print what the AP-MAE's pre-training is worth for predicting correctness."""
    study = Study.open(run)
    sizes = labels or [500, 2_000, 0]
    log_odds = cells.compute(study, list(cells.cells_of(sizes, seeds)), console, processes)
    by_kind: dict[Kind, list[Values]] = {}
    for cell, odds in log_odds.items():
        by_kind.setdefault(Kind(cell.way, "network", cell.labels), []).append(odds)
    test = cells.prompts_of(study, "test").with_columns(syntax=pl.col("task"), weight=pl.lit(1.0))
    seed = derive_seed(study.config.seed, "fine-tuning", "bootstrap")
    typer.echo(page.fragment(measure(test, by_kind, seed, page.REFERENCES, console), sizes))


if __name__ == "__main__":
    with one_line_errors():
        typer.run(main)
