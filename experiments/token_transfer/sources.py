"""Tokens of several runs side by side, and which of them a classifier is fitted on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from apmae.common.errors import ApmaeError
from apmae.study import Study
from apmae.token_study.columns import Tokens
from apmae.token_study.measurement import FEWEST_TOKENS


class Source(NamedTuple):
    """Training tokens of a run.

    Attributes:
        run: number of the run.
        without: the syntax class that is left out; empty for none.
    """

    run: int
    without: str = ""


class Reading(NamedTuple):
    """A source, and the held-out tokens that its classifiers are read on.

    Attributes:
        run: number of the run that the tokens are of.
        syntax: their class; empty for all.
    """

    source: Source
    run: int
    syntax: str = ""


def tokens_of_runs(directories: Sequence[Path]) -> Tokens:
    """The tokens of all runs, with a column `run`; groups of different runs are different groups.

    Raises:
        ApmaeError: a run has no tokens, or another target or length of windows than the first one.
    """
    studies = [Study.open(directory) for directory in directories]
    for study in studies[1:]:
        if study.config.target.model != studies[0].config.target.model:
            raise ApmaeError(
                f"{study.directory} is of {study.config.target.model}, {studies[0].directory} of "
                f"{studies[0].config.target.model}: name runs of one target"
            )
        length, first = (each.config.prompts.length_tokens for each in (study, studies[0]))
        if length != first:
            raise ApmaeError(
                f"{study.directory} has windows of {length} tokens, {studies[0].directory} of {first}: "
                "name runs of one length"
            )
    parts = [Tokens.of(study) for study in studies]
    counts = [len(part.windows) for part in parts]
    tables = [
        part.table.with_columns(
            pl.lit(run).alias("run"),
            group=pl.format(f"{run}:{{}}", "group"),
            window=pl.col("window") + sum(counts[:run]),
        )
        for run, part in enumerate(parts)
    ]
    arrays = {name: np.concatenate([part.arrays[name] for part in parts]) for name in parts[0].arrays}
    return Tokens(pl.concat(tables), np.concatenate([part.windows for part in parts]), arrays)


def readings_of(table: pl.DataFrame) -> Iterator[Reading]:
    """What is read: every class of the first run that has enough held-out tokens, then all pairs of runs."""
    first = table.filter(run=0, split="test")
    for syntax, tokens in first["syntax"].value_counts().sort("syntax").iter_rows():
        if tokens >= FEWEST_TOKENS:
            yield Reading(Source(0), 0, syntax)
            yield Reading(Source(0, syntax), 0, syntax)
    runs = range(table["run"].n_unique())
    if len(runs) > 1:
        yield from (Reading(Source(source), run) for run in runs for source in runs)


def training_rows(tokens: Tokens, source: Source) -> NDArray[np.int64]:
    """Numbers of the rows that a source's classifiers are fitted on."""
    chosen = tokens.table.select(
        (pl.col("split") == "train") & (pl.col("run") == source.run) & (pl.col("syntax") != source.without)
    )
    return np.flatnonzero(chosen.to_series().to_numpy())


def reading_rows(test: pl.DataFrame, reading: Reading) -> NDArray[np.int64]:
    """Numbers of the held-out rows that a reading is of."""
    of_class = pl.lit(True) if not reading.syntax else pl.col("syntax") == reading.syntax
    return np.flatnonzero(test.select((pl.col("run") == reading.run) & of_class).to_series().to_numpy())
