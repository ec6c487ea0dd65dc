"""What one forward pass over windows shows of each of their tokens.

Shape suffixes: B windows, T tokens, Q tokens that are looked at, N all heads of the target, D hidden state.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from apmae.autoencoder.patterns import ROW_STATISTICS, row_statistics_of_band
from apmae.common.seeding import torch_generator
from apmae.encoding.copying import copy_attention, copy_sources
from apmae.study.config import StudyConfig
from apmae.target_model import Outcomes, Target, outcomes_with_top
from apmae.target_model.log_probs import Band

VALUES = 1 << 26
"""Logits of one forward pass, and attention probabilities; bounds the memory."""


class TokenFeatures(NamedTuple):
    """What is known of tokens `first` to T - 1 of B windows, each from the position before it.

    Attributes:
        outcomes: every field (B, Q).
        top_log_probs: (B, Q, 20) float32.
        row_statistics: (B, Q, N, 7) float32.
        copy_attention: (B, Q, N, 3) float32, see `apmae.encoding.copying`.
        hidden_states: (B, Q, 2, D) float32, the residual stream at half of the layers and at the last.
    """

    outcomes: Outcomes
    top_log_probs: Tensor
    row_statistics: Tensor
    copy_attention: Tensor
    hidden_states: Tensor


def token_features(target: Target, input_ids_BT: NDArray[np.int32], first: int) -> TokenFeatures:
    """Run windows once, and look at every token from `first` on; 2 <= first < T."""
    batch, length = input_ids_BT.shape
    rows = slice(first - 1, length - 1)
    statistics_BQN7 = torch.zeros(batch, length - first, len(target.heads), len(ROW_STATISTICS))
    ids_BT = torch.from_numpy(input_ids_BT).long().to(target.device)
    rows_BQNT = torch.zeros(batch, length - first, len(target.heads), length, device=target.device)

    def reduce(layer: int, band: Band) -> None:
        start, stop = max(band.rows.start, rows.start), min(band.rows.stop, rows.stop)
        if start < stop:
            values = band.values[:, :, start - band.rows.start : stop - band.rows.start]
            heads = slice(layer * target.n_heads, (layer + 1) * target.n_heads)
            looked_at = slice(start - rows.start, stop - rows.start)
            found = row_statistics_of_band(values, start).transpose(1, 2)
            statistics_BQN7[band.prompts, looked_at, heads] = found.cpu()
            rows_BQNT[band.prompts, looked_at, heads, : values.shape[-1]] = values.exp().transpose(1, 2)

    depths = hidden_depths(target)
    with target.recording_hidden_states(depths, rows) as hidden:
        logits_BQV, _ = target.capture_bands(input_ids_BT, range(rows.start, rows.stop), reduce)
    next_ids = ids_BT[:, first:]
    found, top = outcomes_with_top(logits_BQV.flatten(0, 1), next_ids.flatten())
    sources_BQT3 = copy_sources(ids_BT, found.predicted_id.view(next_ids.shape), first)
    return TokenFeatures(
        Outcomes(*(column.view(next_ids.shape).cpu() for column in found)),
        top.view(*next_ids.shape, -1).cpu(),
        statistics_BQN7,
        copy_attention(rows_BQNT, sources_BQT3).cpu(),
        torch.stack([hidden[depth][0].cpu() for depth in depths], 2),
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
