"""`python -m experiments.token_curves RUN`: fit what is missing, measure, and print the tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import polars as pl
import typer

from apmae.common.atomic import replacing, write_parquet
from apmae.common.command import one_line_errors
from apmae.common.errors import ApmaeError
from apmae.common.progress import console
from apmae.common.seeding import derive_seed
from apmae.figures.style import encode
from apmae.prediction.metrics import Values
from apmae.study import Study
from apmae.token_study.measurement import OF_CLASS, Kind, measure
from apmae.vocabulary import TokenModel
from experiments.token_curves import cells, figure, page, pairs

CURVES = "token_curves.parquet"
FIGURE = "token_curves-{model}.png"


def main(
    run: Annotated[Path, typer.Argument(help="A study's directory whose stage `tokens` is done.")],
    labels: Annotated[list[int] | None, typer.Option(help="Tokens to fit on; 0 for all.")] = None,
    seeds: Annotated[int, typer.Option(help="Classifiers of each kind.")] = 3,
    model: Annotated[list[str] | None, typer.Option(help="Kinds: linear, mlp, heads.")] = None,
    processes: Annotated[int | None, typer.Option(help="Worker processes; all cores by default.")] = None,
) -> None:
    """Write token_curves.parquet and a figure for each kind into the study's directory; print the tables."""
    models: list[TokenModel] = [name for name in get_args(TokenModel) if not model or name in model]
    if not models:
        raise ApmaeError(f"--model is one of {', '.join(get_args(TokenModel))}")
    study = Study.open(run)
    sizes = labels or [1_000, 10_000, 0]
    chosen = list(cells.cells_of(sizes, seeds, models))
    log_odds = cells.compute(study, chosen, console, processes)
    tokens = study.tokens
    test, training = tokens.filter(split="test"), tokens.filter(split="train")
    by_kind: dict[Kind, list[Values]] = {}
    for cell, odds in log_odds.items():
        by_kind.setdefault(Kind(*cell[:3]), []).append(odds)
    seed = derive_seed(study.config.seed, "token curves", "bootstrap")
    references = (*page.REFERENCES, *pairs.CONTROLS)
    most = 0 if 0 in sizes else max(sizes)
    of_most = {kind: odds for kind, odds in by_kind.items() if kind.labels == most}
    of_fewer = {kind: odds for kind, odds in by_kind.items() if kind.labels != most}
    averaged = pairs.averages({cell: odds for cell, odds in log_odds.items() if cell.labels == most})
    curves = pl.concat(
        [
            measure(test, of_most | averaged, seed, references, console),
            measure(test, of_fewer, seed, (), console, metrics=OF_CLASS),
        ]
    )
    write_parquet(study.path(CURVES), curves)
    for name in models:
        drawn = figure.figure(curves, name, training.height)
        with replacing(study.path(FIGURE.format(model=name))) as path:
            path.write_bytes(encode(drawn, "png"))
    typer.echo(page.fragment(curves))


if __name__ == "__main__":
    with one_line_errors():
        typer.run(main)
