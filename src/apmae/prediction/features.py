"""What a classifier may look at, as named blocks of columns; a row is a prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import numpy as np
import polars as pl
import zarr
from numpy.typing import NDArray

from apmae.study import CLUSTERS, Study

Block = NDArray[np.int16] | NDArray[np.float32]
Blocks = Mapping[str, Block]
"""Blocks by name, (prompts, columns) each; integers are categories."""

Protocol = Literal["cross_validation", "held_out"]


def load_blocks(names: Iterable[str], study: Study, prompts: pl.DataFrame, protocol: Protocol) -> Blocks:
    """Read the named blocks of `prompts`, which are sorted by prompt_id."""
    return {name: BLOCKS[name](study, prompts, protocol) for name in names}


def take(blocks: Blocks, rows: NDArray[np.int64]) -> Blocks:
    """The given rows of every block."""
    return {name: block[rows] for name, block in blocks.items()}


def head_numbers(study: Study) -> pl.DataFrame:
    """(layer, head) of every column of the block `clusters`, in order."""
    return pl.scan_parquet(study.path(CLUSTERS)).filter(prompt_id=0).select("layer", "head").collect()


def _clusters(study: Study, prompts: pl.DataFrame, protocol: Protocol) -> NDArray[np.int16]:
    """(prompts, heads) cluster ids, -1 for noise; `held_out` reads those fitted on the training split."""
    column = "cluster_held_out" if protocol == "held_out" else "cluster"
    table = pl.scan_parquet(study.path(CLUSTERS))
    ids = table.filter(pl.col("prompt_id").is_in(prompts["prompt_id"].implode())).select(column).collect()
    return ids[column].to_numpy().reshape(len(head_numbers(study)), len(prompts)).T


def _row_statistics(study: Study, prompts: pl.DataFrame, protocol: Protocol) -> NDArray[np.float32]:
    """(prompts, heads * 7), see `apmae.patterns.ROW_STATISTICS`."""
    array = study.encodings["row_statistics"]
    assert isinstance(array, zarr.Array)
    values = np.asarray(array.oindex[:, prompts["prompt_id"].to_numpy(), :])
    assert np.isfinite(values).all(), "row statistics with NaN are not written yet"
    return values.transpose(1, 0, 2).reshape(len(prompts), -1)


def _confidence(study: Study, prompts: pl.DataFrame, protocol: Protocol) -> NDArray[np.float32]:
    """(prompts, 3): the target's own max probability, margin and entropy."""
    return prompts.select("max_probability", "margin", "entropy").to_numpy()


def _nothing(study: Study, prompts: pl.DataFrame, protocol: Protocol) -> NDArray[np.float32]:
    """(prompts, 0): only the class frequency is left to go by."""
    return np.empty((len(prompts), 0), dtype=np.float32)


BLOCKS: dict[str, Callable[[Study, pl.DataFrame, Protocol], Block]] = {
    "clusters": _clusters,
    "row_statistics": _row_statistics,
    "confidence": _confidence,
    "prior": _nothing,
}
"""Every block and how it is read."""
