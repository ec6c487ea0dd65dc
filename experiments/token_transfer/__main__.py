"""`python -m experiments.token_transfer RUN...`: fit what is missing, measure, and print the table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from apmae.common.command import one_line_errors
from apmae.common.errors import ApmaeError
from apmae.common.progress import console
from apmae.common.seeding import derive_seed
from apmae.prediction.metrics import Values
from apmae.study import Study
from apmae.token_study.measurement import Kind, measure
from apmae.vocabulary import TokenModel
from experiments.token_transfer import cells, page
from experiments.token_transfer.sources import reading_rows, readings_of, tokens_of_runs


def main(
    runs: Annotated[list[Path], typer.Argument(help="Directories of studies whose stage `tokens` is done.")],
    seeds: Annotated[int, typer.Option(help="Classifiers of each kind.")] = 2,
    model: Annotated[str, typer.Option(help="Kind: linear, mlp or heads.")] = "mlp",
    processes: Annotated[int | None, typer.Option(help="Worker processes; all cores by default.")] = None,
) -> None:
    """Print how classifiers do on classes of tokens and on runs that they were not fitted on."""
    if model not in get_args(TokenModel):
        raise ApmaeError(f"--model is one of {', '.join(get_args(TokenModel))}")
    table = tokens_of_runs(runs).table
    test = table.filter(split="test")
    readings = list(readings_of(table))
    sources = [reading.source for reading in readings]
    log_odds = cells.compute(runs, sources, cast(TokenModel, model), seeds, console, processes)
    seed = derive_seed(Study.open(runs[0]).config.seed, "token transfer", "bootstrap")
    measured = {}
    for reading in console(readings, "metrics"):
        rows = reading_rows(test, reading)
        by_kind: dict[Kind, list[Values]] = {}
        for cell, odds in log_odds.items():
            if cell.source == reading.source:
                by_kind.setdefault(Kind(cell.features, cell.model), []).append(odds[rows])
        measured[reading] = measure(test[rows], by_kind, seed, cells.REFERENCES)
    typer.echo(page.fragment([run.resolve().name for run in runs], measured))


if __name__ == "__main__":
    with one_line_errors():
        typer.run(main)
