"""What one forward pass over windows shows of each of their tokens.

Shape suffixes: B windows, T tokens, Q tokens that are looked at, N all heads of the target, D hidden state.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from apmae.autoencoder.patterns import ROW_STATISTICS, row_statistics_of_band
from apmae.common.seeding import torch_generator
from apmae.encoding.copying import SOURCES, copy_attention, copy_sources
from apmae.study.artifacts import COPY_ATTENTION, STATISTICS
from apmae.study.config import StudyConfig
from apmae.target_model import Outcomes, Target, outcomes_with_top
from apmae.target_model.log_probs import Band

VALUES = 1 << 26
"""Logits of one forward pass, and attention probabilities; bounds the memory."""

HEAD_FEATURES = {STATISTICS: len(ROW_STATISTICS), COPY_ATTENTION: len(SOURCES)}
"""What can be known of every head, and how many numbers that is."""

_PROBABILITIES = "probabilities"
_OF_BAND: Mapping[str, Callable[[Tensor, int], Tensor]] = {
    STATISTICS: row_statistics_of_band,
    _PROBABILITIES: lambda log_probs, _first_row: log_probs.exp(),
}
"""What is kept of a band: its log probabilities (..., Q, T) and its first row to (..., Q, K)."""


class TokenFeatures(NamedTuple):
    """What is known of tokens `first` to T - 1 of B windows, each from the position before it.

    Attributes:
        outcomes: every field (B, Q).
        top_log_probs: (B, Q, 20) float32.
        hidden_states: (B, Q, 2, D) float32, the residual stream at half of the layers and at the last.
        of_heads: those of `HEAD_FEATURES` that were asked for, by name: `row_statistics` (B, Q, N, 7) and
            `copy_attention` (B, Q, N, 3), float32; see `apmae.encoding.copying`.
    """

    outcomes: Outcomes
    top_log_probs: Tensor
    hidden_states: Tensor
    of_heads: Mapping[str, Tensor]


def token_features(
    target: Target,
    input_ids_BT: NDArray[np.int32],
    first: int,
    of_heads: Collection[str] = tuple(HEAD_FEATURES),
) -> TokenFeatures:
    """Run windows once, and look at every token from `first` on; 2 <= first < T.

    Args:
        of_heads: which of `HEAD_FEATURES` are wanted; each costs time.
    """
    batch, length = input_ids_BT.shape
    rows = slice(first - 1, length - 1)
    ids_BT = torch.from_numpy(input_ids_BT).long().to(target.device)
    widths = {STATISTICS: len(ROW_STATISTICS)} if STATISTICS in of_heads else {}
    if COPY_ATTENTION in of_heads:  # which tokens are sources is known behind the pass
        widths[_PROBABILITIES] = length
    kept = {
        name: torch.zeros(batch, length - first, len(target.heads), width, device=target.device)
        for name, width in widths.items()
    }

    def reduce(layer: int, band: Band) -> None:
        start, stop = max(band.rows.start, rows.start), min(band.rows.stop, rows.stop)
        if start < stop:
            values = band.values[:, :, start - band.rows.start : stop - band.rows.start]
            heads = slice(layer * target.n_heads, (layer + 1) * target.n_heads)
            looked_at = slice(start - rows.start, stop - rows.start)
            for name, kept_BQNK in kept.items():
                found = _OF_BAND[name](values, start).transpose(1, 2)
                kept_BQNK[band.prompts, looked_at, heads, : found.shape[-1]] = found

    depths = hidden_depths(target)
    with target.recording_hidden_states(depths, rows) as hidden:
        logits_BQV, _ = target.capture_bands(input_ids_BT, range(rows.start, rows.stop), reduce)
    next_ids = ids_BT[:, first:]
    found, top = outcomes_with_top(logits_BQV.flatten(0, 1), next_ids.flatten())
    if _PROBABILITIES in kept:
        sources_BQT3 = copy_sources(ids_BT, found.predicted_id.view(next_ids.shape), first)
        kept[COPY_ATTENTION] = copy_attention(kept.pop(_PROBABILITIES), sources_BQT3)
    return TokenFeatures(
        Outcomes(*(column.view(next_ids.shape).cpu() for column in found)),
        top.view(*next_ids.shape, -1).cpu(),
        torch.stack([hidden[depth][0].cpu() for depth in depths], 2),
        {name: values.cpu() for name, values in kept.items()},
    )


def hidden_depths(target: Target) -> tuple[int, int]:
    """How many layers the two hidden states have passed."""
    return target.n_layers // 2, target.n_layers


def projection(size: int, config: StudyConfig) -> Tensor:
    """(size, `tokens.hidden_dimensions`) float32: a random projection, which about keeps distances."""
    dimensions = config.tokens.hidden_dimensions
    generator = torch_generator(config.seed, "tokens", "projection")
    projected: Tensor = torch.randn(size, dimensions, generator=generator) / dimensions**0.5
    return projected


def windows_at_once(target: Target, length: int, tokens: int, batch_size: int) -> int:
    """Windows of one pass, so that the logits and the rows of `tokens` tokens of each fit the memory.

    Args:
        length: tokens of a window.
    """
    vocabulary = int(target.model.config.get_text_config().vocab_size)
    widest = max(vocabulary, len(target.heads) * length)
    return max(1, min(batch_size, VALUES // (widest * tokens)))
