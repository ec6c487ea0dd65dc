"""Cross-model evaluation: every encoder on every target's patterns (paper section 4.1, table 2).

1. `sources`: the encoders, and the held-out encoder prompts of every target. They come from the study that
   has this target; else they are mined with a study's config.
2. `cells`: one encoder on one target. Every head's pattern on every prompt is masked, by masks that
   are the same for every encoder, and reconstructed; the errors of every pattern are kept, so that a
   killed evaluation goes on at the first cell that is missing.
3. Means and standard deviations over a cell's patterns are the table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from apmae import pipeline
from apmae.autoencoder.reconstruction import ReconstructionErrors
from apmae.common.atomic import replacing, write_parquet
from apmae.common.progress import Progress, silent
from apmae.cross_evaluation.cells import evaluate_cell, mask_noise, open_cells
from apmae.cross_evaluation.sources import (
    EncoderRow,
    TargetColumn,
    agree_on_masks,
    check_sizes,
    find_encoders,
    find_studies,
    held_out_prompts,
)
from apmae.figures.style import encode
from apmae.report import cross_evaluation
from apmae.study.artifacts import EVALUATION
from apmae.study.config import StudyConfig

__all__ = ["EncoderRow", "TargetColumn", "evaluate", "evaluate_cell", "mask_noise"]

CELLS = "cells"
PROMPTS = "prompts"


def evaluate(
    encoders: Sequence[str],
    targets: Sequence[str],
    output: Path,
    *,
    base: StudyConfig | None = None,
    prompts: int = 64,
    mask_ratio: float | None = None,
    trust_remote_code: bool = False,
    progress: Progress = silent,
    announce: Callable[[str], None] = lambda line: None,
) -> pl.DataFrame:
    """Evaluate every encoder on every target, and write the table, a page and a figure.

    Args:
        encoders: directories of studies, directories of encoders, or hub ids.
        targets: models as in `target.model`, or directories of studies.
        output: `evaluation.parquet`, `.md`, `.svg` and `.png` go there, and `cells/` (every pattern's
            errors) and `prompts/` (studies of mined prompts).
        base: its config mines the prompts of targets that no study has; by default that of the first
            study that is given.
        prompts: at most this many held-out prompts of a target.
        mask_ratio: fraction of the patches that is masked; the encoders' own by default.
        trust_remote_code: whether targets of named studies may bring code of their own; what a study's
            directory says of that does not count.

    Returns:
        `EVALUATION`, encoders and targets in the given order.

    Raises:
        ApmaeError: an encoder, study or target cannot be read; the encoders' masks or the patterns'
            sizes differ; a target has no prompts.
    """
    rows = find_encoders(encoders, trust_remote_code)
    agree_on_masks(rows, mask_ratio)
    of_encoders = [row.study for row in rows if row.study]
    studies = find_studies(targets, of_encoders, base, output / PROMPTS, trust_remote_code)
    for study in studies:
        check_sizes(rows, study.config)
    lines = []
    for study in studies:
        if study.directory.is_relative_to(output / PROMPTS):
            announce(f"prompts of {study.config.target.model}, mined in {study.directory}")
            pipeline.run(study.config, only="prompts", progress=progress, announce=announce)
        column = TargetColumn(study.config, held_out_prompts(study, prompts))
        cells = open_cells(rows, column, output / CELLS, progress, announce)
        lines += [_line(row, column, cell) for row, cell in zip(rows, cells, strict=True)]
    table = _table(lines, [row.name for row in rows])
    _write(table, output)
    return table


def _line(row: EncoderRow, column: TargetColumn, cell: pl.DataFrame) -> dict[str, Any]:
    """A line of the table, `EVALUATION`."""
    measured = cell.select(ReconstructionErrors._fields).cast(pl.Float64)
    spreads = measured.std().row(0, named=True)
    return {
        "encoder": row.name,
        "target": column.name,
        "own_target": row.study is not None and row.study.config.target.model == column.name,
        "held_out": _known_held_out(row, column),
        "scaling": row.model.config.scaling,
        "row_tokens": row.model.config.row_tokens,
        "prompts": cell["prompt_id"].n_unique(),
        "patterns": cell.height,
        **measured.mean().row(0, named=True),
        **{f"{name}_std": value for name, value in spreads.items()},
    }


def _known_held_out(row: EncoderRow, column: TargetColumn) -> bool:
    """Whether the encoder was trained in a study that held out the same groups."""
    if row.study is None or row.study.config.encoder.pretrained is not None:
        return False
    return _split(row.study.config) == _split(column.config)


def _split(config: StudyConfig) -> tuple[object, ...]:
    """What says which groups are held out."""
    return config.seed, config.prompts.test_fraction, config.corpus


def _table(lines: Sequence[dict[str, Any]], encoders: Sequence[str]) -> pl.DataFrame:
    table = EVALUATION.cast(pl.DataFrame(lines))
    rank = pl.col("encoder").replace_strict({name: place for place, name in enumerate(encoders)})
    return table.sort(rank, maintain_order=True)


def _write(table: pl.DataFrame, output: Path) -> None:
    name = Path(EVALUATION.name).stem
    write_parquet(output / f"{name}.parquet", table)
    with replacing(output / f"{name}.md") as path:
        path.write_text(cross_evaluation.markdown(table), encoding="utf-8")
    figure = cross_evaluation.figure(table)
    for kind in ("svg", "png"):
        with replacing(output / f"{name}.{kind}") as path:
            path.write_bytes(encode(figure, kind))
