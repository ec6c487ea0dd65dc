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
from apmae.model import APMAEConfig, APMAEModel, Readout, autocasting, tokens_of
from apmae.patterns import ROW_STATISTICS, last_row_tokens, row_statistics, scale
from apmae.progress import Tracker
from apmae.seeding import derive_seed
from apmae.study import ENCODER, ENCODINGS, HIDDEN_STATE, RANDOM_CLS, Study, replacing
from apmae.target import Head, Target
from apmae.target.capture import Reduce
from apmae.target.model import TokenIds

STATISTICS = "row_statistics"
WRITTEN = "written"


def run(study: Study, key: str, track: Tracker, target: Target) -> dict[str, object]:
    """Encode every study prompt; returns counts for the stage's marker."""
    model = load_encoder(study, target.device)
    prompts = study.study_prompts
    config = study.config
    untrained = random_encoder(study, model) if config.encoding.random_encoder else None
    readouts = config.encoding.readouts
    shapes = _array_shapes(target, prompts.height, model.config, readouts, untrained is not None)
    if processes.is_first():
        _prepare_arrays(study.path(ENCODINGS), key, target.n_heads, shapes, config.encoding.shard_prompts)
    processes.wait()
    arrays = dict(zarr.open_group(study.path(ENCODINGS), mode="r+").arrays())
    written = np.asarray(arrays[WRITTEN][:], dtype=bool)
    processes.wait()  # until all know what is missing
    missing = np.flatnonzero(~written)[processes.number() :: processes.count()].tolist()
    for shard in track(missing, "encode", done=int(written.sum())):
        start = shard * config.encoding.shard_prompts
        rows = prompts.slice(start, config.encoding.shard_prompts)
        encoded = encode_prompts(
            target, model, rows, readouts, config.target.batch_size, config.encoding.precision, untrained
        )
        for name, values in encoded.items():
            arrays[name][..., start : start + rows.height, :] = values
        arrays[WRITTEN][shard] = 1
    return {"heads": len(target.heads), "prompts": prompts.height, "arrays": list(shapes)}


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
    target: Target,
    model: APMAEModel,
    prompts: pl.DataFrame,
    readouts: Sequence[Readout],
    batch_size: int,
    precision: str,
    untrained: APMAEModel | None = None,
) -> dict[str, np.ndarray]:
    """Encode every head of some prompts.

    Args:
        untrained: encodes the same patterns once more.

    Returns:
        Values of the arrays of encodings.zarr, see `apmae.study`; `random_cls` where there is an
        `untrained` encoder.
    """

    def reduce(_layer: int, log_patches_BHKP: Tensor) -> dict[str, Tensor]:
        return encode_patches(model, log_patches_BHKP, readouts, precision, untrained)

    batches = []
    for batch in prompts.iter_slices(batch_size):
        _, arrays = run_batch(target, batch["input_ids"].to_list(), model.config.patch_size, reduce)
        batches.append(arrays)
    return {name: np.concatenate([batch[name] for batch in batches], axis=-2) for name in batches[0]}


def run_batch(
    target: Target, input_ids: TokenIds, patch_size: int, reduce: Reduce
) -> tuple[Tensor, dict[str, np.ndarray]]:
    """One forward pass: next-token logits (B, V), and the prompts' part of every array.

    Args:
        input_ids: (B, T) token ids.
        reduce: what is kept of a layer's log patches (b, H, K, P * P), by name (b, H, dim).

    Returns:
        By name (head, B, dim), and `hidden_state` (B, hidden).
    """
    with target.recording_hidden_states(target.n_layers // 2) as hidden:
        logits, layers = target.capture_patches(input_ids, patch_size, reduce)
    by_head = {name: _heads_first(layers, name) for name in layers[0][0]}
    return logits, {**by_head, HIDDEN_STATE: hidden[0].cpu().numpy()}


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


def _heads_first(layers: dict[int, list[dict[str, Tensor]]], name: str) -> np.ndarray:
    """Per layer a few prompts at a time (b, H, D) -> (L * H, B, D)."""
    layers_BHD = [torch.cat([part[name] for part in layers[layer]]) for layer in sorted(layers)]
    return torch.stack(layers_BHD).transpose(1, 2).flatten(0, 1).cpu().numpy()
