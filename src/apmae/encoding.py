"""The encode stage: every head of every study prompt -> encodings.zarr.

The target runs on a batch of prompts; each layer's patterns go straight through the encoder, inside
the forward pass, so that no more than one layer's patterns exist at a time. A shard of prompts is
written whole, once, by one process; a killed stage goes on with the shards that are not written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch
import zarr
from torch import Tensor

from apmae import processes
from apmae.artifacts import ENCODER, ENCODINGS, HIDDEN_STATE, RANDOM_CLS
from apmae.atomic import replacing
from apmae.model import APMAEConfig, APMAEModel, Readout, autocasting, tokens_of
from apmae.patterns import ROW_STATISTICS, last_row_tokens, row_statistics, scale
from apmae.progress import Tracker
from apmae.seeding import derive_seed
from apmae.study import Study
from apmae.target import Head, Target
from apmae.target.model import TokenIds

STATISTICS = "row_statistics"
WRITTEN = "written"

Encode = Callable[[Tensor], dict[str, Tensor]]
"""A layer's log patches (b, H, K, P * P) to what is kept of them, by name (b, H, dim)."""


def run(study: Study, key: str, track: Tracker, target: Target) -> dict[str, object]:
    """Encode every study prompt; returns counts for the stage's marker."""
    (counts,) = run_together([(study, key)], track, target)
    return counts


def run_together(
    jobs: Sequence[tuple[Study, str]], track: Tracker, target: Target
) -> list[dict[str, object]]:
    """Encode the same prompts for several studies; the target runs on each prompt once.

    Args:
        jobs: studies and their keys. They have the same prompts, size of patches and of shards.

    Returns:
        Counts for each study's marker.
    """
    config, prompts = jobs[0][0].config, jobs[0][0].study_prompts
    writers = [EncodingsWriter(study, key, target) for study, key in jobs]
    assert all(study.study_prompts.equals(prompts) for study, _ in jobs)
    shards = -(-prompts.height // config.encoding.shard_prompts)
    missing = sorted(set().union(*(writer.missing for writer in writers)))
    processes.wait()  # until all know what is missing
    mine = missing[processes.number() :: processes.count()]
    for shard in track(mine, "encode", done=shards - len(missing)):
        start = shard * config.encoding.shard_prompts
        rows = prompts.slice(start, config.encoding.shard_prompts)
        writing = [writer for writer in writers if shard in writer.missing]
        encoded = encode_prompts(target, writing, rows, config.target.batch_size)
        for writer, arrays in zip(writing, encoded, strict=True):
            writer.write(shard, slice(start, start + rows.height), arrays)
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
        shapes = _array_shapes(
            target, study.study_prompts.height, config, encoding.readouts, encoding.random_encoder
        )
        if processes.is_first():
            _prepare_arrays(study.path(ENCODINGS), key, target.n_heads, shapes, encoding.shard_prompts)
        processes.wait()
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


def load_encoder(study: Study, device: torch.device) -> APMAEModel:
    """Load the study's trained AP-MAE, in eval mode."""
    model = APMAEModel.from_pretrained(study.path(ENCODER))
    model.to(device).eval()
    return model


def random_encoder(study: Study, model: APMAEModel) -> APMAEModel:
    """An AP-MAE like `model` with random weights, in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(study.config.seed, "random encoder"))
        untrained = APMAEModel(model.config)
    untrained.to(model.device).eval()
    return untrained


def encode_prompts(
    target: Target, encoders: Sequence[EncodingsWriter], prompts: pl.DataFrame, batch_size: int
) -> list[dict[str, np.ndarray]]:
    """Encode every head of some prompts with several encoders, whose patches have one size.

    Returns:
        For each encoder, values of its arrays, see `apmae.artifacts`.
    """
    (patch_size,) = {encoder.patch_size for encoder in encoders}
    encodes = [encoder.encode for encoder in encoders]
    batches = [
        run_batch(target, batch["input_ids"].to_list(), patch_size, encodes)[1]
        for batch in prompts.iter_slices(batch_size)
    ]
    return [
        {name: np.concatenate([part[name] for part in parts], axis=-2) for name in parts[0]}
        for parts in zip(*batches, strict=True)
    ]


def run_batch(
    target: Target, input_ids: TokenIds, patch_size: int, encodes: Sequence[Encode]
) -> tuple[Tensor, list[dict[str, np.ndarray]]]:
    """One forward pass: next-token logits (B, V), and the prompts' part of every array.

    Args:
        input_ids: (B, T) token ids.
        encodes: each makes arrays of its own.

    Returns:
        For each of `encodes`, by name (head, B, dim), and `hidden_state` (B, hidden).
    """

    def reduce(_layer: int, log_patches_BHKP: Tensor) -> list[dict[str, Tensor]]:
        return [encode(log_patches_BHKP) for encode in encodes]

    with target.recording_hidden_states(target.n_layers // 2) as hidden:
        logits, layers = target.capture_patches(input_ids, patch_size, reduce)
    hidden_states = {HIDDEN_STATE: hidden[0].cpu().numpy()}
    return logits, [_heads_first(layers, number) | hidden_states for number in range(len(encodes))]


def patch_statistics(log_patches_BHKP: Tensor, patch_size: int) -> Tensor:
    """`row_statistics` (B, H, 7) float32 of one layer's patterns, on their device."""
    return row_statistics(last_row_tokens(log_patches_BHKP, patch_size).flatten(-2))


def encode_patches(
    model: APMAEModel,
    log_patches_BHKP: Tensor,
    readouts: Sequence[Readout],
    precision: str,
    untrained: APMAEModel | None = None,
) -> dict[str, Tensor]:
    """Encode one layer's patterns, which may lie on another device than the encoder.

    Returns:
        On the encoder's device: by readout (B, H, D) float16, and `row_statistics` (B, H, 7) float32.
    """
    statistics = patch_statistics(log_patches_BHKP, model.config.patch_size)
    patches = scale(log_patches_BHKP, model.config.scaling).to(model.device)
    with autocasting(model.device, precision)():
        tokens = tokens_of(patches.flatten(0, 1), model.config)
        encoded = model.encode_readouts(tokens, readouts)
        if untrained is not None:
            encoded[RANDOM_CLS] = untrained.encode(tokens)
    found = {name: values.half().reshape(*patches.shape[:2], -1) for name, values in encoded.items()}
    return {**found, STATISTICS: statistics.to(model.device)}


def pattern_source(study: Study, target: Target) -> Callable[[int, list[Head]], np.ndarray]:
    """Re-make scaled patterns from the prompts: (prompt_id, heads) -> (heads, T, T) float16."""
    input_ids = study.prompts["input_ids"]
    scaling = load_encoder(study, target.device).config.scaling

    def patterns_of(prompt_id: int, heads: list[Head]) -> np.ndarray:
        output = target.run([input_ids[prompt_id].to_list()], heads, scaling)
        return output.patterns[0].half().cpu().numpy()

    return patterns_of


def _array_shapes(
    target: Target, prompts: int, config: APMAEConfig, readouts: Sequence[Readout], with_random: bool
) -> dict[str, tuple[int, ...]]:
    heads = len(target.heads)
    random = {RANDOM_CLS: (heads, prompts, config.encoder_dim)} if with_random else {}
    return {
        **{readout: (heads, prompts, config.readout_dim(readout)) for readout in readouts},
        **random,
        STATISTICS: (heads, prompts, len(ROW_STATISTICS)),
        HIDDEN_STATE: (prompts, target.hidden_size),
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
                dtype="float32" if name in (STATISTICS, HIDDEN_STATE) else "float16",
                fill_value=float("nan"),
            )
        group.create_array(WRITTEN, shape=(-(-prompts // shard),), chunks=(1,), dtype="uint8", fill_value=0)


def _heads_first(layers: dict[int, list[list[dict[str, Tensor]]]], number: int) -> dict[str, np.ndarray]:
    """What an encoder made, per layer of a few prompts at a time (b, H, D) -> (L * H, B, D)."""
    by_layer = [[parts[number] for parts in layers[layer]] for layer in sorted(layers)]
    found = {}
    for name in by_layer[0][0]:
        layers_BHD = [torch.cat([part[name] for part in parts]) for parts in by_layer]
        found[name] = torch.stack(layers_BHD).transpose(1, 2).flatten(0, 1).cpu().numpy()
    return found
