"""Log probabilities of attention, in float32, from a layer's queries and keys.

`log_patches` makes them in bands: a patch high, and no wider than what causality lets through. That
halves the work, and a band stays in the processor's cache from the scores to its patches.

Shape suffixes: B prompts, S heads, Q queries, T keys, D head size, P patch side, G = T / P patches a
side, K = G (G + 1) / 2 lower-triangle patches.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from apmae.errors import ApmaeError
from apmae.patterns import causal_patch_count, log_softmax_masked

CACHED_VALUES = 1 << 22
"""Patch values made at once on a CPU: 16 MiB of float32, so that what is made of them stays cached."""


class Attention(NamedTuple):
    """What a layer's attention probabilities are made of.

    Attributes:
        query: (B, S, Q, D), any float dtype.
        key: (B, S, T, D): every head its own, so repeated where heads share keys.
        allowed: bool, broadcastable to (B, S, Q, T); None for plain causality, the last query at the
            last key.
        scaling: factor of the scores.
        softcap: scores become `softcap * tanh(scores / softcap)`, if given (Gemma 2).
        sinks: (S,) a further score in every row's denominator, if given (GPT-OSS).
        position_bias: (B or 1, S, Q or 1, T), added to the scaled scores, if given (ALiBi).
    """

    query: Tensor
    key: Tensor
    allowed: Tensor | None
    scaling: float
    softcap: float | None
    sinks: Tensor | None
    position_bias: Tensor | None


def log_probs(attention: Attention) -> Tensor:
    """Log-softmax of the scores: (B, S, Q, T) float32, -inf where nothing is let through.

    With sinks the rows sum to less than one.
    """
    query, key, allowed, scaling, softcap, sinks, position_bias = attention
    scores = (query.float() * scaling) @ key.float().transpose(-1, -2)
    if softcap is not None:
        scores = scores.div_(softcap).tanh_().mul_(softcap)
    if position_bias is not None:
        scores += position_bias
    values = log_softmax_masked(scores, allowed)
    if sinks is None:
        return values
    # A sink s is a further place in the row: the denominator is sum(exp(scores)) + exp(s).
    total = scores.logsumexp(-1, keepdim=True)
    denominator = torch.logaddexp(total, sinks.float().view(-1, 1, 1))
    return values - (denominator - total).nan_to_num(posinf=0)


def log_patches(attention: Attention, patch_size: int) -> Iterator[Tensor]:
    """The lower-triangle patches of `log_probs`, as `patchify` cuts them, a few prompts at a time.

    On a GPU, which needs large pieces of work, all prompts at once.

    Yields:
        (b, S, K, P * P) float32, prompts in order.

    Raises:
        ApmaeError: the number of tokens is no multiple of `patch_size`.
    """
    prompts, heads, tokens = attention.query.shape[:3]
    assert attention.key.shape[2] == tokens, "patterns are square: run without a cache"
    if tokens % patch_size:
        raise ApmaeError(f"patterns of {tokens} tokens have no whole patches of side {patch_size}")
    grid = tokens // patch_size
    values = heads * causal_patch_count(grid) * patch_size**2
    step = max(1, CACHED_VALUES // values) if attention.query.device.type == "cpu" else prompts
    for start in range(0, prompts, step):
        some = slice(start, start + step)
        query, key = attention.query[some].float(), attention.key[some].float()
        patches = query.new_empty(len(query), heads, causal_patch_count(grid), patch_size, patch_size)
        for row in range(grid):
            band = log_probs(_band(attention, query, key, some, row * patch_size, (row + 1) * patch_size))
            first = causal_patch_count(row)
            cells = band.view(*band.shape[:-1], row + 1, patch_size).transpose(-3, -2)
            patches[:, :, first : first + row + 1] = cells
        yield patches.flatten(-2)


def _band(
    attention: Attention, query: Tensor, key: Tensor, prompts: slice, start: int, stop: int
) -> Attention:
    """The queries `start` to `stop` of some prompts; later keys are closed to them by causality."""

    def cut(values: Tensor | None) -> Tensor | None:
        if values is None:
            return None
        rows = slice(start, stop) if values.shape[2] > 1 else slice(None)
        return values[prompts if values.shape[0] > 1 else slice(None), :, rows, :stop]

    return attention._replace(
        query=query[:, :, start:stop],
        key=key[:, :, :stop],
        allowed=cut(attention.allowed),
        position_bias=cut(attention.position_bias),
    )
