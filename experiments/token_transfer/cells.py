"""One classifier per source, feature set and seed, read on the held-out tokens of all runs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain, product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from apmae.common.atomic import read_parquet
from apmae.common.progress import Progress
from apmae.common.workers import compute_parts
from apmae.study import Study
from apmae.token_study.columns import COPIES, ROWS, Tokens, inputs_of
from apmae.token_study.predictor import TokenPredictor, key_of_classifiers
from apmae.vocabulary import TokenModel
from experiments.token_transfer.sources import Source, tokens_of_runs, training_rows

REFERENCES = ("confidence+occurrences", "strong")
"""What needs no attention, and is read beside the same with `copies`."""

FEATURE_SETS = (
    "confidence",
    ROWS,
    COPIES,
    *chain.from_iterable((features, f"{features}+{COPIES}") for features in REFERENCES),
)


class Cell(NamedTuple):
    """A classifier."""

    source: Source
    features: str
    model: TokenModel
    seed: int


def compute(
    directories: Sequence[Path],
    sources: Sequence[Source],
    model: TokenModel,
    seeds: int,
    progress: Progress,
    processes: int | None,
) -> dict[Cell, NDArray[np.float64]]:
    """Log-odds of the held-out tokens of all runs by cell, (test tokens,) each."""
    studies = [Study.open(directory) for directory in directories]
    markers = [study.marker("tokens") for study in studies]
    keys = "-".join(marker["key"] for marker in markers if marker is not None)
    digest = hashlib.blake2b(key_of_classifiers(keys).encode(), digest_size=8).hexdigest()
    work = studies[0].work_directory("token_transfer", digest)
    cells = [Cell(*each) for each in product(dict.fromkeys(sources), FEATURE_SETS, [model], range(seeds))]
    paths = {
        cell: work / f"{cell.source.run}-{cell.source.without}-{cell.features}-{model}-{cell.seed}.parquet"
        for cell in cells
    }
    parts = {paths[cell]: (tuple(directories), cell) for cell in cells}
    compute_parts(_predict, parts, progress, "token classifiers", processes=processes)
    return {cell: read_parquet(path)["log_odds"].to_numpy() for cell, path in paths.items()}


_tokens = lru_cache(maxsize=1)(tokens_of_runs)


def _predict(directories: tuple[Path, ...], cell: Cell) -> pl.DataFrame:
    tokens: Tokens = _tokens(directories)
    train, test = training_rows(tokens, cell.source), tokens.rows("test")
    predictor = TokenPredictor.fit(tokens, train, cell.features, cell.model, cell.seed)
    return pl.DataFrame({"log_odds": predictor.log_odds(inputs_of(tokens, cell.features, test, train))})
