"""Tokens of AP-MAE, from a pattern's patches and optionally its last row, and their masking.

Shape suffixes: N patterns, T tokens of a pattern, P patch side, G = T / P patches per side,
K = G (G + 1) / 2 lower-triangle patches, R = T / W row tokens of W values, S = K + R, or K without
row tokens; V visible and M masked tokens, V + M = S.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from apmae.autoencoder.configuration_apmae import APMAEConfig
from apmae.autoencoder.patterns import last_row_tokens, patchify
from apmae.common.errors import ApmaeError


class PatternTokens(NamedTuple):
    """Patterns cut into tokens. They are smaller than the patterns, so buffers should hold tokens."""

    patches: Tensor
    """(N, K, P * P), any float dtype: the lower-triangle patches."""
    rows: Tensor | None
    """(N, R, W): pieces of the last row; None for a model without row tokens."""


class Masking(NamedTuple):
    """Which of the S tokens are masked. Patches come first; row token j has number K + j."""

    visible: Tensor
    """(N, V) int64, the visible patches first."""
    masked: Tensor
    """(N, M) int64, the masked patches first."""
    visible_patches: int
    """Number of patches among the V. The others are row tokens."""
    masked_patches: int
    """Number of patches among the M."""


def tokenize(patterns_NTT: Tensor, config: APMAEConfig) -> PatternTokens:
    """Cut scaled, causal patterns into the tokens of a model with this config.

    Patches above the diagonal are dropped.

    Args:
        patterns_NTT: (N, T, T), scaled by `config.scaling`, any float dtype.

    Raises:
        ApmaeError: the size of the patterns is not `config.pattern_size`.
    """
    size = config.pattern_size
    if patterns_NTT.shape[1:] != (size, size):
        raise ApmaeError(
            f"patterns have shape {tuple(patterns_NTT.shape)}; this model reads (N, {size}, {size})"
        )
    return tokens_of(patchify(patterns_NTT, config.patch_size), config)


def tokens_of(patches_NKP: Tensor, config: APMAEConfig) -> PatternTokens:
    """Tokens of patterns from their lower-triangle patches, (N, K, P * P)."""
    if not config.row_tokens:
        return PatternTokens(patches_NKP, None)
    row_NT = last_row_tokens(patches_NKP, config.patch_size).flatten(1)
    return PatternTokens(patches_NKP, row_NT.reshape(len(row_NT), -1, config.row_token_width))


def check_tokens(tokens: PatternTokens, config: APMAEConfig) -> None:
    """Raise ApmaeError, in one line, if tokens were made for another config."""
    patches, rows = config.causal_patches, config.row_token_count
    expected_patches = (patches, config.patch_size**2)
    expected_rows = (rows, config.row_token_width) if rows else None
    given_rows = None if tokens.rows is None else tuple(tokens.rows.shape[1:])
    if tuple(tokens.patches.shape[1:]) != expected_patches or given_rows != expected_rows:
        raise ApmaeError(
            f"tokens have patches {tuple(tokens.patches.shape[1:])} and rows {given_rows} per pattern; "
            f"this model reads {expected_patches} and {expected_rows}"
        )


def mask_tokens(noise_NK: Tensor, config: APMAEConfig) -> Masking:
    """Choose the masked tokens: the patches with the largest noise, as in ViT-MAE.

    A row token holds values of a patch in the last row of patches. It is masked exactly if that patch is.
    A model with row tokens masks `mask_ratio` of the last row of patches and `mask_ratio` of the others, so
    every pattern has the same number of masked tokens.

    Args:
        noise_NK: (N, K) float, a number for each lower-triangle patch.

    Raises:
        ApmaeError: the noise does not have one number for each patch.
    """
    if noise_NK.ndim != 2 or noise_NK.shape[1] != config.causal_patches:
        raise ApmaeError(
            f"noise has shape {tuple(noise_NK.shape)}; this model masks (N, {config.causal_patches}) patches"
        )
    if not config.row_tokens:
        visible, masked = _split(noise_NK, config.mask_ratio)
        return Masking(visible, masked, visible.shape[1], masked.shape[1])
    first = config.causal_patches - config.grid_size
    above, last = (
        _split(noise_NK[:, :first], config.mask_ratio),
        _split(noise_NK[:, first:], config.mask_ratio),
    )
    visible, masked = (
        torch.cat([patches, first + columns, config.causal_patches + _row_tokens(columns, config)], dim=1)
        for patches, columns in zip(above, last, strict=True)
    )
    counts = (of_above.shape[1] + of_last.shape[1] for of_above, of_last in zip(above, last, strict=True))
    return Masking(visible, masked, *counts)


def _row_tokens(columns_NM: Tensor, config: APMAEConfig) -> Tensor:
    """Numbers of the row tokens in the given patches of the last row."""
    pieces = config.patch_size // config.row_token_width
    return (columns_NM[..., None] * pieces + torch.arange(pieces, device=columns_NM.device)).flatten(1)


def _split(noise: Tensor, mask_ratio: float) -> tuple[Tensor, Tensor]:
    """Indices of the visible and the masked patches."""
    count = noise.shape[1]
    visible = count - int(mask_ratio * count)
    order = noise.argsort(dim=1)
    return order[:, :visible], order[:, visible:]


def gather(tokens_NSD: Tensor, index_NM: Tensor) -> Tensor:
    """Take tokens by their number: (N, S, D), (N, M) -> (N, M, D)."""
    return tokens_NSD.gather(1, index_NM[..., None].expand(-1, -1, tokens_NSD.shape[-1]))
