"""What a classifier may look at, as named blocks of columns; a row is a prompt.

A feature set is a union of blocks, written with "+". The baselines are measured in every study. A new
block is an entry of `READERS` and of `apmae.vocabulary.BLOCKS`; one that is learned from training rows, of
`apmae.prediction.learned.LEARNED` too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import polars as pl
import zarr
from numpy.typing import NDArray

from apmae.common.errors import ApmaeError
from apmae.study import Study
from apmae.study.artifacts import (
    BEFORE_HOLE,
    CLUSTERS,
    COPY_ATTENTION,
    ENCODINGS,
    HIDDEN_STATES,
    OCCURRENCES,
    STATISTICS,
    TOP_LOG_PROBS,
)
from apmae.study.config import StudyConfig
from apmae.vocabulary import BLOCKS, Detector, Protocol, Readout, blocks_in

Block = NDArray[np.int16] | NDArray[np.int64] | NDArray[np.float32]
Blocks = Mapping[str, Block]
"""Blocks by name, (prompts, columns) each; integers are categories, or what columns are learned from."""

CONFIDENCE = "confidence"
STRONG = "strong"
SHUFFLED = "shuffled_labels"
"""All blocks of the study's feature sets, fitted on and measured against shuffled outcomes: anything
but chance there is a leak."""

CLUSTER_BLOCKS = ("clusters", "random_clusters")
BASELINES = (
    *(name for name, block in BLOCKS.items() if block.is_baseline),
    STRONG,
    *(f"{CONFIDENCE}+{name}" for name, block in BLOCKS.items() if block.beside_confidence),
)
HEAD_BLOCKS = tuple(name for name, block in BLOCKS.items() if block.per_head)
"""Blocks whose columns belong to heads, the same number to each, head by head."""


class Features(ABC):
    """Where the blocks of some prompts are read from."""

    @abstractmethod
    def outcome(self, name: str) -> NDArray[Any]:
        """(prompts,) a column of the prompts' outcomes, as in prompts.parquet."""

    @abstractmethod
    def array(self, name: str) -> NDArray[Any]:
        """The prompts' part of an array of encodings.zarr: (..., prompts, dim)."""

    def blocks(self, names: Iterable[str]) -> Blocks:
        """The named blocks."""
        return {name: READERS[name](self) for name in names}


@dataclass(frozen=True)
class StoredFeatures(Features):
    """Of a study's prompts, from its directory.

    Attributes:
        prompts: rows of prompts.parquet, sorted by prompt_id.
        protocol: with `held_out`, clusters are those fitted on the training split.
    """

    study: Study
    prompts: pl.DataFrame
    protocol: Protocol

    def outcome(self, name: str) -> NDArray[Any]:  # noqa: D102
        return self.prompts[name].to_numpy()

    def array(self, name: str) -> NDArray[Any]:  # noqa: D102
        array = self.study.encodings.get(name)
        if array is None:
            raise ApmaeError(
                f"{self.study.path(ENCODINGS)} has no array {name}: remove it and run the study again"
            )
        assert isinstance(array, zarr.Array)
        numbers = self.prompts["prompt_id"].to_numpy()
        return np.asarray(array.oindex[(slice(None),) * (array.ndim - 2) + (numbers, slice(None))])

    def clusters(self, column: str) -> NDArray[np.int16]:
        """(prompts, heads) cluster ids, -1 for noise."""
        if self.protocol == "held_out":
            column += "_held_out"
        chosen = pl.col("prompt_id").is_in(self.prompts["prompt_id"].implode())
        ids = self.study.scan(CLUSTERS).filter(chosen).select(column).collect()
        return ids[column].to_numpy().reshape(len(head_numbers(self.study)), len(self.prompts)).T


@dataclass(frozen=True)
class PassFeatures(Features):
    """Of one forward pass; it has the blocks whose `in_one_pass` is true.

    Attributes:
        arrays: as in encodings.zarr, (..., prompts, dim).
        outcomes: (prompts,) by name, as in prompts.parquet; `next_token_id`, which a pass does not know, is
            any number.
    """

    arrays: Mapping[str, NDArray[Any]]
    outcomes: Mapping[str, NDArray[Any]]

    def outcome(self, name: str) -> NDArray[Any]:  # noqa: D102
        return self.outcomes[name]

    def array(self, name: str) -> NDArray[Any]:  # noqa: D102
        return self.arrays[name]


def feature_sets(config: StudyConfig) -> tuple[str, ...]:
    """The study's feature sets, the scorer's, then the baselines."""
    random = ("random_clusters",) if config.encoding.random_encoder else ()
    return tuple(
        dict.fromkeys((*config.prediction.features, config.prediction.scorer, *BASELINES, *random, SHUFFLED))
    )


def blocks_of(features: str, config: StudyConfig) -> tuple[str, ...]:
    """The names of a feature set's blocks."""
    if features == SHUFFLED:
        return tuple(dict.fromkeys(blocks_in("+".join(config.prediction.features))))
    return blocks_in(features)


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


def take(blocks: Blocks, rows: NDArray[np.int64]) -> Blocks:
    """The given rows of every block."""
    return {name: block[rows] for name, block in blocks.items()}


def head_numbers(study: Study) -> pl.DataFrame:
    """(layer, head) of every column of the block `clusters`, in order."""
    return study.scan(CLUSTERS).filter(prompt_id=0).select("layer", "head").collect()


def _prior(features: Features) -> Block:
    """(prompts, 0): only the class frequency is left to go by."""
    assert isinstance(features, StoredFeatures)
    return np.empty((len(features.prompts), 0), dtype=np.float32)


def _position(features: Features) -> Block:
    """(prompts, 3): log of the line of the hole, length in tokens, number of distinct tokens."""
    assert isinstance(features, StoredFeatures)
    tokens = pl.col("input_ids")
    return features.prompts.select(
        pl.col("line").fill_null(0).log1p().cast(pl.Float32),
        tokens.list.len().cast(pl.Float32).alias("length"),
        tokens.list.n_unique().cast(pl.Float32).alias("distinct"),
    ).to_numpy()


def _outcomes(*names: str) -> Callable[[Features], Block]:
    """(prompts, names) of outcomes."""

    def read(features: Features) -> Block:
        return np.stack([features.outcome(name) for name in names], axis=1).astype(np.float32)

    return read


def _plain(array: str) -> Callable[[Features], Block]:
    """(prompts, dim) of an array (prompts, dim)."""

    def read(features: Features) -> Block:
        return _finite(features.array(array))

    return read


def _token_kind(features: Features) -> Block:
    """(prompts, 2): the predicted token, and the one that the hole starts with."""
    tokens = [features.outcome(name) for name in ("predicted_id", "next_token_id")]
    return np.stack(tokens, axis=1).astype(np.int64)


def _token_identity(features: Features) -> Block:
    """(prompts, 3): the predicted token, the last one left of the hole, and the one before it."""
    predicted, before = features.outcome("predicted_id"), features.array(BEFORE_HOLE)
    return np.column_stack([predicted, before]).astype(np.int64)


def _file_memory(features: Features) -> Block:
    """(prompts, 2): hashes of the file and of its group."""
    assert isinstance(features, StoredFeatures)
    hashes = [features.prompts[name].hash(seed=0).to_numpy().view(np.int64) for name in ("file", "group")]
    return np.stack(hashes, axis=1)


def _at_depth(quarters: int) -> Callable[[Features], Block]:
    """(prompts, hidden): the residual stream behind some quarters of the layers."""

    def read(features: Features) -> Block:
        return _finite(features.array(HIDDEN_STATES)[quarters - 1])

    return read


def _side_by_side(array: str) -> Callable[[Features], Block]:
    """(prompts, n * dim) of an array (n, prompts, dim), whose n are heads or depths."""

    def read(features: Features) -> Block:
        values_NPD = _finite(features.array(array))
        number, n_prompts, dim = values_NPD.shape
        return values_NPD.transpose(1, 0, 2).reshape(n_prompts, number * dim)

    return read


def _clusters(column: str) -> Callable[[Features], Block]:
    """(prompts, heads) cluster ids."""

    def read(features: Features) -> Block:
        assert isinstance(features, StoredFeatures)
        return features.clusters(column)

    return read


def _finite(values: NDArray[Any]) -> NDArray[np.float32]:
    found = values.astype(np.float32)
    assert np.isfinite(found).all(), "encodings with NaN are not written yet"
    return found


READERS: Mapping[str, Callable[[Features], Block]] = {
    "prior": _prior,
    "position": _position,
    "max_probability": _outcomes("max_probability"),
    "margin": _outcomes("margin"),
    "entropy": _outcomes("entropy"),
    "confidence": _outcomes("max_probability", "margin", "entropy"),
    "top_log_probs": _plain(TOP_LOG_PROBS),
    "occurrences": _plain(OCCURRENCES),
    "token_kind": _token_kind,
    "token_identity": _token_identity,
    "file_memory": _file_memory,
    "hidden_state": _at_depth(2),
    "last_hidden_state": _at_depth(4),
    "hidden_states": _side_by_side(HIDDEN_STATES),
    "row_statistics": _side_by_side(STATISTICS),
    "copy_attention": _side_by_side(COPY_ATTENTION),
    **{f"{readout}_encodings": _side_by_side(readout) for readout in get_args(Readout)},
    **{detector: _side_by_side(detector) for detector in get_args(Detector)},
    "rauq": _plain("rauq"),
    "clusters": _clusters("cluster"),
    "random_clusters": _clusters("random_cluster"),
}
"""How every block is read."""
assert set(READERS) == set(BLOCKS), "the vocabulary has every block, and no other"
