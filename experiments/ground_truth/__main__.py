"""`python -m experiments.ground_truth [RUN...]` makes the tables of docs/ground-truth.md."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from apmae.common.command import one_line_errors
from apmae.common.progress import console
from apmae.common.seeding import derive_seed
from apmae.study import Study
from apmae.target_model import Target
from experiments.ground_truth import page, study
from experiments.ground_truth.measures import chance
from experiments.ground_truth.measuring import measure
from experiments.ground_truth.models import known_heads, load
from experiments.ground_truth.sequences import SEQUENCES


def main(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Finished studies of other models, for faithfulness alone.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the studies of models with known heads.")] = 0,
) -> None:
    """Study every model with known heads; print how well rankings find them, and how faithful they are."""
    measured = []
    with tempfile.TemporaryDirectory() as root:
        for name in SEQUENCES:
            made, target = study.run(name, Path(root) / name, seed, console), load(name)
            measured.append(measure(name, made, target, known_heads(target), console))
    chances = {
        ranking: chance(
            [found.auroc[ranking] for found in measured],
            [found.known for found in measured],
            derive_seed(seed, "ground truth", "chance"),
        )
        for ranking in measured[0].auroc
    }
    typer.echo(page.known_heads_table(measured, chances))
    for run in runs or []:
        other = Study.open(run)
        measured.append(
            measure(run.resolve().name, other, Target.from_config(other.config.target), [], console)
        )
    typer.echo(page.faithfulness_table(measured))


if __name__ == "__main__":
    with one_line_errors():
        typer.run(main)
