"""One forward pass of the target that encodes its heads' patterns on the way.

Shape suffixes: B prompts, H heads, K lower-triangle patches, P patch side, D encoding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from apmae.autoencoder import APMAEModel, autocasting, tokens_of
from apmae.autoencoder.patterns import last_row_tokens, row_statistics, scale
from apmae.encoding.copying import copy_attention, copy_sources, occurrences
from apmae.encoding.detectors import Detection
from apmae.study.artifacts import (
    COPY_ATTENTION,
    HIDDEN_STATES,
    OCCURRENCES,
    RANDOM_CLS,
    STATISTICS,
    TOP_LOG_PROBS,
)
from apmae.target_model import Target, top_log_probs
from apmae.target_model.model import TokenIds
from apmae.vocabulary import Detector, Readout

LAST_ROWS = "last_rows"

Encode = Callable[[Tensor], dict[str, Tensor]]
"""A layer's log patches (b, H, K, P * P) to what is kept of them, by name (b, H, dim)."""


def run_batch(
    target: Target,
    input_ids: TokenIds,
    patch_size: int,
    encodes: Sequence[Encode],
    detectors: Sequence[Detector] = (),
) -> tuple[Tensor, list[dict[str, np.ndarray]]]:
    """One forward pass: next-token logits (B, V), and the prompts' part of every array.

    Args:
        input_ids: (B, T) token ids.
        encodes: each makes arrays of its own.
        detectors: whose arrays are made too.

    Returns:
        For each of `encodes`, by name (head, B, dim), and `copy_attention` (head, B, 3), `occurrences`
        (B, 8), `hidden_states` (4, B, hidden), `top_log_probs` (B, 20) and the detectors' arrays, see
        `apmae.study.artifacts`.

    Raises:
        ApmaeError: as `Detection.recording` does.
    """
    detection = Detection(target, patch_size, detectors)

    def reduce(layer: int, log_patches_BHKP: Tensor) -> list[dict[str, Tensor]]:
        detection.see(layer, log_patches_BHKP)
        last_rows = last_row_tokens(log_patches_BHKP, patch_size).flatten(-2).exp()
        return [{LAST_ROWS: last_rows}, *(encode(log_patches_BHKP) for encode in encodes)]

    depths = [quarters * target.n_layers // 4 for quarters in (1, 2, 3, 4)]
    with target.recording_hidden_states(depths) as hidden, detection.recording():
        logits, layers = target.capture_patches(input_ids, patch_size, reduce)
    ids_BT = torch.as_tensor(np.asarray(input_ids)).long()
    rows, *encoded = (_heads_first(layers, number) for number in range(1 + len(encodes)))
    of_the_target = {
        HIDDEN_STATES: np.stack([hidden[depth][0].cpu().numpy() for depth in depths]),
        TOP_LOG_PROBS: top_log_probs(logits).cpu().numpy(),
        **_copies(rows[LAST_ROWS], ids_BT, logits.argmax(-1).cpu()),
        **detection.arrays(ids_BT),
    }
    return logits, [arrays | of_the_target for arrays in encoded]


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


def _copies(rows_NBT: np.ndarray, ids_BT: Tensor, predicted_B: Tensor) -> dict[str, np.ndarray]:
    """`copy_attention` (head, B, 3) and `occurrences` (B, 8) of the predicted tokens."""
    length = ids_BT.shape[1]
    sources_B1TS = copy_sources(ids_BT, predicted_B[:, None], length)
    attention_B1NS = copy_attention(torch.from_numpy(rows_NBT).transpose(0, 1)[:, None], sources_B1TS)
    known = [
        occurrences(ids, np.array([length]), predicted[None])
        for ids, predicted in zip(ids_BT.numpy().astype(np.int32), predicted_B.numpy(), strict=True)
    ]
    return {
        COPY_ATTENTION: attention_B1NS[:, 0].transpose(0, 1).numpy(),
        OCCURRENCES: np.concatenate(known),
    }


def _heads_first(layers: dict[int, list[list[dict[str, Tensor]]]], number: int) -> dict[str, np.ndarray]:
    """What an encoder made, per layer of a few prompts at a time (b, H, D) -> (L * H, B, D)."""
    by_layer = [[parts[number] for parts in layers[layer]] for layer in sorted(layers)]
    found = {}
    for name in by_layer[0][0]:
        layers_BHD = [torch.cat([part[name] for part in parts]) for parts in by_layer]
        found[name] = torch.stack(layers_BHD).transpose(1, 2).flatten(0, 1).cpu().numpy()
    return found
