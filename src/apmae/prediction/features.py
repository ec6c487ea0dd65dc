"""What a classifier may look at, as named blocks of columns; a row is a prompt.

A feature set is a union of blocks, written with "+". The baselines are measured in every study.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, get_args

import numpy as np
import polars as pl
import zarr
from numpy.typing import NDArray

from apmae.artifacts import CLUSTERS, ENCODINGS, HIDDEN_STATE
from apmae.config import BlockName, HeadBlockName, ReadoutName, StudyConfig
from apmae.errors import ApmaeError
from apmae.study import Study

Block = NDArray[np.int16] | NDArray[np.float32]
Blocks = Mapping[str, Block]
"""Blocks by name, (prompts, columns) each; integers are categories."""

Protocol = Literal["cross_validation", "grouped_cross_validation", "held_out"]

CONFIDENCE = "confidence"
SHUFFLED = "shuffled_labels"
"""All blocks of the study's feature sets, fitted on and measured against shuffled outcomes: anything
but chance there is a leak."""

HEAD_ARRAYS = {
    "row_statistics": "row_statistics",
    **{f"{readout}_encodings": readout for readout in get_args(ReadoutName)},
}
"""Blocks that are arrays (heads, prompts, dim) of encodings.zarr."""
OUTCOME_COLUMNS = {
    "max_probability": ("max_probability",),
    "margin": ("margin",),
    "entropy": ("entropy",),
    "confidence": ("max_probability", "margin", "entropy"),
}
"""Blocks that are columns of the prompts' outcomes."""

BASELINES = ("prior", "position", "max_probability", "margin", "entropy", "confidence", "hidden_state")
CLUSTER_BLOCKS = ("clusters", "random_clusters")
HEAD_BLOCKS = get_args(HeadBlockName)
"""Blocks whose columns belong to heads, the same number to each, head by head."""


def feature_sets(config: StudyConfig) -> tuple[str, ...]:
    """The study's feature sets, the scorer's, then the baselines."""
    random = ("random_clusters",) if config.encoding.random_encoder else ()
    return tuple(
        dict.fromkeys((*config.prediction.features, config.prediction.scorer, *BASELINES, *random, SHUFFLED))
    )


def blocks_of(features: str, config: StudyConfig) -> tuple[str, ...]:
    """The names of a feature set's blocks."""
    if features == SHUFFLED:
        return tuple(dict.fromkeys("+".join(config.prediction.features).split("+")))
    return tuple(features.split("+"))


def measured_sets(config: StudyConfig, protocol: Protocol) -> tuple[str, ...]:
    """The feature sets that a protocol measures.

    Clusters are fitted twice, on all prompts and on the training split, not without each fold of groups.
    """
    if protocol != "grouped_cross_validation":
        return feature_sets(config)
    return tuple(
        features
        for features in feature_sets(config)
        if not set(CLUSTER_BLOCKS).intersection(blocks_of(features, config))
    )


def explained_blocks(config: StudyConfig) -> tuple[str, ...]:
    """Blocks of heads whose importance is measured: clusters, and those of the study's feature sets."""
    used = ("clusters", *blocks_of(SHUFFLED, config))
    return tuple(block for block in HEAD_BLOCKS if block in used)


def load_blocks(names: Iterable[str], study: Study, prompts: pl.DataFrame, protocol: Protocol) -> Blocks:
    """Read the named blocks of `prompts`, which are sorted by prompt_id."""
    return {name: BLOCKS[name](study, prompts, protocol) for name in names}


def blocks_of_pass(
    names: Iterable[str], arrays: Mapping[str, NDArray[Any]], outcomes: Mapping[str, NDArray[Any]]
) -> Blocks:
    """The named blocks, of those that a forward pass gives, as `load_blocks` has them.

    Args:
        arrays: as in encodings.zarr: (heads, prompts, dim), and `hidden_state` (prompts, hidden).
        outcomes: (prompts,) by name, as in prompts.parquet.
    """
    return {name: _of_pass(name, arrays, outcomes) for name in names}


def take(blocks: Blocks, rows: NDArray[np.int64]) -> Blocks:
    """The given rows of every block."""
    return {name: block[rows] for name, block in blocks.items()}


def head_numbers(study: Study) -> pl.DataFrame:
    """(layer, head) of every column of the block `clusters`, in order."""
    return pl.scan_parquet(study.path(CLUSTERS)).filter(prompt_id=0).select("layer", "head").collect()


def _clusters_in(prefix: str) -> Callable[[Study, pl.DataFrame, Protocol], NDArray[np.int16]]:
    """(prompts, heads) cluster ids, -1 for noise; `held_out` reads those fitted on the training split."""

    def read(study: Study, prompts: pl.DataFrame, protocol: Protocol) -> NDArray[np.int16]:
        column = f"{prefix}_held_out" if protocol == "held_out" else prefix
        chosen = pl.col("prompt_id").is_in(prompts["prompt_id"].implode())
        ids = pl.scan_parquet(study.path(CLUSTERS)).filter(chosen).select(column).collect()
        return ids[column].to_numpy().reshape(len(head_numbers(study)), len(prompts)).T

    return read


def _by_head(array: str) -> Callable[[Study, pl.DataFrame, Protocol], NDArray[np.float32]]:
    """(prompts, heads * dim) of an array of encodings.zarr."""

    def read(study: Study, prompts: pl.DataFrame, protocol: Protocol) -> NDArray[np.float32]:
        return _head_columns(_array(study, array).oindex[:, prompts["prompt_id"].to_numpy(), :])

    return read


def _columns(*names: str) -> Callable[[Study, pl.DataFrame, Protocol], NDArray[np.float32]]:
    """Columns of prompts.parquet."""

    def read(study: Study, prompts: pl.DataFrame, protocol: Protocol) -> NDArray[np.float32]:
        return prompts.select(names).to_numpy().astype(np.float32)

    return read


def _position(study: Study, prompts: pl.DataFrame, protocol: Protocol) -> NDArray[np.float32]:
    """(prompts, 3): log of the line of the hole, length in tokens, number of distinct tokens."""
    tokens = pl.col("input_ids")
    return prompts.select(
        pl.col("line").fill_null(0).log1p().cast(pl.Float32),
        tokens.list.len().cast(pl.Float32).alias("length"),
        tokens.list.n_unique().cast(pl.Float32).alias("distinct"),
    ).to_numpy()


def _hidden_state(study: Study, prompts: pl.DataFrame, protocol: Protocol) -> NDArray[np.float32]:
    """(prompts, hidden), what enters the target's middle layer at the predicting position."""
    return _finite(_array(study, HIDDEN_STATE).oindex[prompts["prompt_id"].to_numpy(), :])


def _nothing(study: Study, prompts: pl.DataFrame, protocol: Protocol) -> NDArray[np.float32]:
    """(prompts, 0): only the class frequency is left to go by."""
    return np.empty((len(prompts), 0), dtype=np.float32)


def _of_pass(
    name: str, arrays: Mapping[str, NDArray[Any]], outcomes: Mapping[str, NDArray[Any]]
) -> NDArray[np.float32]:
    if name in OUTCOME_COLUMNS:
        return np.stack([outcomes[column] for column in OUTCOME_COLUMNS[name]], 1).astype(np.float32)
    if name in HEAD_ARRAYS:
        return _head_columns(arrays[HEAD_ARRAYS[name]])
    assert name == HIDDEN_STATE
    return _finite(arrays[HIDDEN_STATE])


def _head_columns(values_HPD: object) -> NDArray[np.float32]:
    """(heads, prompts, dim) -> (prompts, heads * dim)."""
    values = _finite(values_HPD)
    n_heads, n_prompts, dim = values.shape
    return values.transpose(1, 0, 2).reshape(n_prompts, n_heads * dim)


def _array(study: Study, name: str) -> zarr.Array:  # type: ignore[type-arg]
    array = study.encodings.get(name)
    if array is None:
        raise ApmaeError(f"{study.path(ENCODINGS)} has no array {name}: remove it and run the study again")
    assert isinstance(array, zarr.Array)
    return array


def _finite(values: object) -> NDArray[np.float32]:
    found = np.asarray(values, dtype=np.float32)
    assert np.isfinite(found).all(), "encodings with NaN are not written yet"
    return found


BLOCKS: Mapping[str, Callable[[Study, pl.DataFrame, Protocol], Block]] = {
    "prior": _nothing,
    "position": _position,
    **{name: _columns(*columns) for name, columns in OUTCOME_COLUMNS.items()},
    "hidden_state": _hidden_state,
    **{name: _by_head(array) for name, array in HEAD_ARRAYS.items()},
    "clusters": _clusters_in("cluster"),
    "random_clusters": _clusters_in("random_cluster"),
}
"""Every block and how it is read."""
assert set(BLOCKS) == set(get_args(BlockName)), "the config knows the blocks by name"
