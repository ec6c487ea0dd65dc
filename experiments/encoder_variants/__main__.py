"""`python -m experiments.encoder_variants`: run what is missing of every variant, and write the tables."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from apmae.common.atomic import replacing, write_parquet
from apmae.common.command import one_line_errors
from apmae.common.progress import Progress, console
from apmae.common.seeding import derive_seed
from apmae.cross_evaluation import evaluate
from apmae.study import Study
from experiments.encoder_variants import comparison, page, prediction, stages
from experiments.encoder_variants.variants import load_variants

HERE = Path(__file__).parent
STUDY = HERE.parents[1] / "studies" / "encoder-variants.yaml"
MASK_RATIO = 0.5
"""Of the evaluation, whatever the variants were trained with."""


def main(
    study: Annotated[Path, typer.Option(help="The base study.")] = STUDY,
    variants: Annotated[Path, typer.Option(help="The list of variants.")] = HERE / "variants.yaml",
    change: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value, for every variant.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="A variant to run; all by default.")] = None,
    reconstruction_prompts: Annotated[int, typer.Option(help="Held-out prompts to reconstruct.")] = 32,
    put_into: Annotated[Path | None, typer.Option(help="Page whose tables are replaced.")] = None,
) -> None:
    """Run what is missing of every variant, and write tables.md and comparison.parquet."""
    listed = load_variants(study, variants, change or [], only or [])
    studies = stages.run_stages([variant.config for variant in listed], console, typer.echo)
    predictions = {}
    for number, one in enumerate(studies):
        typer.echo(f"{one.config.name}: prediction")
        encode_key = stages.keys_of(one)["encode"]
        predictions[one.config.name] = prediction.predict(one, encode_key, console, first=not number)
    root = studies[0].directory.parent
    reconstruction = reconstruct(studies, root, reconstruction_prompts, console)
    seed = derive_seed(studies[0].config.seed, "ablations", "bootstrap")
    compared = comparison.compare(studies[0].study_prompts, predictions, seed)
    write_parquet(root / "comparison.parquet", compared)
    text = page.fragment(listed, studies, reconstruction, compared)
    with replacing(root / "tables.md") as path:
        path.write_text(text, encoding="utf-8")
    if put_into is not None:
        page.put_into(put_into, text)
    typer.echo(f"tables: {root / 'tables.md'}")


def reconstruct(studies: list[Study], root: Path, prompts: int, progress: Progress) -> pl.DataFrame:
    """Evaluate the encoders on the first study's held-out prompts, those of one size of patches at a time."""

    def patch_size(study: Study) -> int:
        return study.config.encoder.patch_size

    tables = []
    for size, alike in groupby(sorted(studies, key=patch_size), patch_size):
        encoders = [str(study.directory) for study in alike]
        output = root / f"evaluation-patch-{size}"
        tables.append(
            evaluate(
                encoders,
                [str(studies[0].directory)],
                output,
                prompts=prompts,
                mask_ratio=MASK_RATIO,
                progress=progress,
                announce=typer.echo,
            )
        )
    return pl.concat(tables)


if __name__ == "__main__":
    with one_line_errors():
        typer.run(main)
