"""A layer's output by PyTorch's scaled dot-product attention, which does not compute the patterns.

Shape suffixes: B prompts, H query heads, K key heads, T tokens, D head size.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from apmae.target_model.log_probs import Attention


def sdpa(attention: Attention, value_BKTD: Tensor) -> Tensor:
    """The output (B, T, H, D) of a layer without soft cap and sinks, in its values' precision."""
    query, key, allowed, scaling, _, _, position_bias = attention
    queries, keys = query.shape[2], key.shape[2]
    if allowed is None and 1 < queries < keys:  # behind a key-value cache; SDPA aligns the first ones
        allowed = _causal(query, key)
    mask = allowed if position_bias is None else _biased(position_bias, allowed, query, key)
    groups = query.shape[1] // key.shape[1]
    shared = groups > 1 and mask is None and key.shape[-1] == value_BKTD.shape[-1]
    if groups > 1 and not shared:  # with a mask, only PyTorch's slowest kernel takes shared keys
        key, value_BKTD = (each.repeat_interleave(groups, dim=1) for each in (key, value_BKTD))
    output_BHTD = functional.scaled_dot_product_attention(
        query,
        key,
        value_BKTD,
        attn_mask=mask,
        is_causal=mask is None and queries == keys,
        scale=scaling,
        enable_gqa=shared,
    )
    return output_BHTD.transpose(1, 2).contiguous()


def _biased(position_bias: Tensor, allowed: Tensor | None, query: Tensor, key: Tensor) -> Tensor:
    """A mask that adds the bias where attention is allowed."""
    if allowed is None:
        allowed = _causal(query, key)
    return position_bias.masked_fill(~allowed, torch.finfo(query.dtype).min).to(query.dtype)


def _causal(query: Tensor, key: Tensor) -> Tensor:
    """(Q, T) bool, with the last query at the last key."""
    queries, keys = query.shape[2], key.shape[2]
    return torch.ones(queries, keys, dtype=torch.bool, device=query.device).tril(keys - queries)
