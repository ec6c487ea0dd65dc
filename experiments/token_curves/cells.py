"""One classifier per feature set, kind, number of labels and seed, read on the held-out tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from apmae.common.atomic import read_parquet
from apmae.common.progress import Progress
from apmae.common.seeding import numpy_generator
from apmae.common.workers import compute_parts
from apmae.study import Study
from apmae.token_study.columns import COPIES, OF_HEADS, ROWS, Tokens, blocks_of, inputs_of, labelled_tokens
from apmae.token_study.predictor import TokenPredictor, key_of_classifiers
from apmae.vocabulary import TokenModel

FEATURE_SETS = (
    "confidence",
    "identity",
    "hidden",
    "occurrences",
    ROWS,
    COPIES,
    f"confidence+{ROWS}",
    f"confidence+{COPIES}",
    "confidence+hidden",
    "confidence+occurrences",
    f"confidence+occurrences+{COPIES}",
    "strong",
    f"strong+{ROWS}",
    f"strong+{COPIES}",
    f"strong+{ROWS}+{COPIES}",
)


class Cell(NamedTuple):
    """A classifier.

    Attributes:
        labels: tokens that it is fitted on; 0: all.
    """

    features: str
    model: TokenModel
    labels: int
    seed: int


def cells_of(labels: Sequence[int], seeds: int, models: Sequence[TokenModel]) -> Iterator[Cell]:
    """Every cell of the tables; heads as tokens need heads."""
    for features, model, count, seed in product(FEATURE_SETS, models, labels, range(seeds)):
        if model != "heads" or set(OF_HEADS) & set(blocks_of(features)):
            yield Cell(features, model, count, seed)


def compute(
    study: Study, cells: Sequence[Cell], progress: Progress, processes: int | None
) -> dict[Cell, NDArray[np.float64]]:
    """Log-odds of every held-out token by cell, (test tokens,) each.

    Raises:
        ApmaeError: the study's stage `tokens` is not done, or kept no token of a split.
    """
    labelled_tokens(study)
    marker = study.marker("tokens")
    assert marker is not None
    work = study.work_directory("token_curves", key_of_classifiers(marker["key"]))
    paths = {cell: work / f"{'-'.join(map(str, cell))}.parquet" for cell in cells}
    parts = {paths[cell]: (study.directory, cell) for cell in cells}
    compute_parts(_predict, parts, progress, "token classifiers", processes=processes)
    return {cell: read_parquet(path)["log_odds"].to_numpy() for cell, path in paths.items()}


def labelled_rows(tokens: Tokens, labels: int, seed: int) -> NDArray[np.int64]:
    """Training rows of the first so many tokens, whole windows in a seeded order; all for 0 labels."""
    rows = tokens.rows("train")
    windows = tokens.table["window"].to_numpy()[rows]
    order = numpy_generator(seed, "token curves", "windows").permutation(np.unique(windows))
    rank = np.empty(int(windows.max()) + 1, dtype=np.int64)
    rank[order] = np.arange(len(order))
    by_window = rows[np.argsort(rank[windows], kind="stable")]
    return np.sort(by_window[: labels or len(by_window)])


@lru_cache(maxsize=1)
def _tokens(directory: Path) -> Tokens:
    return Tokens.of(Study.open(directory))


def _predict(directory: Path, cell: Cell) -> pl.DataFrame:
    tokens = _tokens(directory)
    train, test = labelled_rows(tokens, cell.labels, cell.seed), tokens.rows("test")
    predictor = TokenPredictor.fit(tokens, train, cell.features, cell.model, cell.seed)
    return pl.DataFrame({"log_odds": predictor.log_odds(inputs_of(tokens, cell.features, test, train))})
