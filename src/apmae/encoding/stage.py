"""The encode stage: every head of every study prompt -> encodings.zarr.

The target runs on a batch of prompts; each layer's patterns go straight through the encoder, inside
the forward pass, so that no more than one layer's patterns exist at a time. A shard of prompts is
written whole, once, by one process; a killed stage goes on with the shards that are not written.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import polars as pl
import zarr
from torch import Tensor

from apmae.autoencoder import APMAEConfig
from apmae.autoencoder.patterns import ROW_STATISTICS
from apmae.common import distributed
from apmae.common.atomic import replacing
from apmae.common.progress import Progress
from apmae.encoding.copying import OCCURRENCE_COLUMNS, SOURCES
from apmae.encoding.detectors import array_shapes
from apmae.encoding.encoders import load_encoder, random_encoder
from apmae.encoding.forward import encode_patches, run_batch
from apmae.pipeline import Context
from apmae.prompts.formats import hole_sentinel, tokens_before_hole
from apmae.study import Study
from apmae.study.artifacts import (
    BEFORE_HOLE,
    COPY_ATTENTION,
    ENCODINGS,
    HIDDEN_STATES,
    OCCURRENCES,
    RANDOM_CLS,
    STATISTICS,
    TOP_LOG_PROBS,
    token_ids,
)
from apmae.study.config import EncodingConfig, StudyConfig
from apmae.target_model import TOP_TOKENS, Target
from apmae.vocabulary import Detector

WRITTEN = "written"

DTYPES = {
    **dict.fromkeys(
        (STATISTICS, COPY_ATTENTION, OCCURRENCES, HIDDEN_STATES, TOP_LOG_PROBS, *get_args(Detector)),
        "float32",
    ),
    BEFORE_HOLE: "int32",
}
"""Of the arrays that are no encodings."""


def run(context: Context) -> dict[str, object]:
    """Write `encodings.zarr` of every study prompt; returns counts for the stage's marker."""
    (counts,) = run_together([(context.study, context.key)], context.progress, context.target)
    return counts


def run_together(
    jobs: Sequence[tuple[Study, str]], progress: Progress, target: Target
) -> list[dict[str, object]]:
    """Encode the same prompts for several studies; the target runs on each prompt once.

    Args:
        jobs: studies and their keys. They have the same prompts, detectors, size of patches and of shards.

    Returns:
        Counts for each study's marker.
    """
    config, prompts = jobs[0][0].config, jobs[0][0].study_prompts
    writers = [EncodingsWriter(study, key, target) for study, key in jobs]
    assert all(study.study_prompts.equals(prompts) for study, _ in jobs)
    shards = -(-prompts.height // config.encoding.shard_prompts)
    missing = sorted(set().union(*(writer.missing for writer in writers)))
    sentinel = hole_sentinel(target.tokenizer, config.prompts.format)
    distributed.barrier()  # until all know what is missing
    mine = missing[distributed.rank() :: distributed.world_size()]
    for shard in progress(mine, "encode", done=shards - len(missing)):
        start = shard * config.encoding.shard_prompts
        rows = prompts.slice(start, config.encoding.shard_prompts)
        writing = [writer for writer in writers if shard in writer.missing]
        encoded = encode_prompts(target, writing, rows, config)
        before_hole = {BEFORE_HOLE: tokens_before_hole(token_ids(rows), sentinel)}
        for writer, arrays in zip(writing, encoded, strict=True):
            writer.write(shard, slice(start, start + rows.height), {**arrays, **before_hole})
    return [
        {"heads": len(target.heads), "prompts": prompts.height, "arrays": writer.names} for writer in writers
    ]


class EncodingsWriter:
    """A study's encoders and its encodings.zarr, which is made unless an earlier run with the key did.

    Attributes:
        patch_size: of the encoders.
        missing: numbers of the shards that were not written.
        names: of the arrays.
    """

    def __init__(self, study: Study, key: str, target: Target) -> None:
        encoding = study.config.encoding
        self._model = load_encoder(study, target.device)
        self._untrained = random_encoder(study, self._model) if encoding.random_encoder else None
        self._readouts, self._precision = encoding.readouts, encoding.precision
        config = self._model.config
        self.patch_size = config.patch_size
        shapes = _array_shapes(target, study.study_prompts.height, config, encoding)
        if distributed.is_main():
            _prepare_arrays(study.path(ENCODINGS), key, target.n_heads, shapes, encoding.shard_prompts)
        distributed.barrier()
        self._arrays = dict(zarr.open_group(study.path(ENCODINGS), mode="r+").arrays())
        self.missing = set(np.flatnonzero(np.asarray(self._arrays[WRITTEN][:]) == 0).tolist())
        self.names = list(shapes)

    def encode(self, log_patches_BHKP: Tensor) -> dict[str, Tensor]:
        """Encode one layer's patterns, see `encode_patches`."""
        return encode_patches(self._model, log_patches_BHKP, self._readouts, self._precision, self._untrained)

    def write(self, shard: int, prompts: slice, values: dict[str, np.ndarray]) -> None:
        """Write a shard: the values of the arrays for these prompts."""
        for name, array in values.items():
            self._arrays[name][..., prompts, :] = array
        self._arrays[WRITTEN][shard] = 1


def encode_prompts(
    target: Target, encoders: Sequence[EncodingsWriter], prompts: pl.DataFrame, config: StudyConfig
) -> list[dict[str, np.ndarray]]:
    """Encode every head of some prompts with several encoders, whose patches have one size.

    Returns:
        For each encoder, values of its arrays, see `apmae.study.artifacts`.
    """
    (patch_size,) = {encoder.patch_size for encoder in encoders}
    encodes = [encoder.encode for encoder in encoders]
    batches = [
        run_batch(target, token_ids(batch), patch_size, encodes, config.encoding.detectors)[1]
        for batch in prompts.iter_slices(config.target.batch_size)
    ]
    return [
        {name: np.concatenate([part[name] for part in parts], axis=-2) for name in parts[0]}
        for parts in zip(*batches, strict=True)
    ]


def _array_shapes(
    target: Target, prompts: int, config: APMAEConfig, encoding: EncodingConfig
) -> dict[str, tuple[int, ...]]:
    heads = len(target.heads)
    random = {RANDOM_CLS: (heads, prompts, config.encoder_dim)} if encoding.random_encoder else {}
    return {
        **{readout: (heads, prompts, config.readout_dim(readout)) for readout in encoding.readouts},
        **random,
        **array_shapes(encoding.detectors, target, prompts),
        STATISTICS: (heads, prompts, len(ROW_STATISTICS)),
        COPY_ATTENTION: (heads, prompts, len(SOURCES)),
        OCCURRENCES: (prompts, OCCURRENCE_COLUMNS),
        HIDDEN_STATES: (4, prompts, target.hidden_size),
        TOP_LOG_PROBS: (prompts, TOP_TOKENS),
        BEFORE_HOLE: (prompts, 2),
    }


def _prepare_arrays(
    path: Path, key: str, n_heads: int, shapes: dict[str, tuple[int, ...]], shard: int
) -> None:
    """Make new arrays, unless an earlier run with this key began some."""
    if path.exists() and zarr.open_group(path, mode="r").attrs.get("key") == key:
        return
    with replacing(path) as temporary:
        group = zarr.create_group(temporary, attributes={"key": key, "n_heads": n_heads})
        for name, shape in shapes.items():
            *heads, prompts, dim = shape
            group.create_array(
                name,
                shape=shape,
                shards=(*heads, shard, dim),
                chunks=(*(1 for _ in heads), shard, dim),
                dtype=DTYPES.get(name, "float16"),
                fill_value=-1 if name == BEFORE_HOLE else float("nan"),
            )
        group.create_array(WRITTEN, shape=(-(-prompts // shard),), chunks=(1,), dtype="uint8", fill_value=0)
