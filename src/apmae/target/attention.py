"""The one attention function: it computes attention, captures patterns, scales heads.

It is registered with Transformers' attention interface under the name `apmae`, together with
SDPA's mask function (boolean masks, none at all where causality is enough). For each layer:

1. the layer's output, by SDPA where that can express it, else explicitly (soft cap, sinks);
2. for the heads that the active `Capture` asks for, the log-softmax of the scores in float32,
   handed to the capture's `reduce` at once, so that no more than one layer's patterns exist;
3. the output of every head times its factor, out of place, just before the output projection.

What is active is held in a context variable, so threads do not see each other's captures, and
nothing remains when a block ends by an exception.

Shape suffixes: B prompts, L layers, H query heads, S captured heads, T tokens, D head size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from apmae.target.log_probs import Attention, log_patches, log_probs

ATTENTION_NAME = "apmae"

Reduce = Callable[[int, Tensor], Any]
"""Called with (layer, log probabilities), float32 and -inf where masked; returns what to keep.

The log probabilities are (B, S, T, T), or (B, S, K, P * P) where patches of side P were asked for.
"""


@dataclass(frozen=True)
class Capture:
    """Which heads to capture, and what to keep of them.

    Attributes:
        reduce: turns one layer's log probabilities into what is kept.
        heads: head indices per layer, or None for every head; layers without one are not reduced.
        patch_size: cut the patterns into their lower-triangle patches of this side, if given.
        results: what `reduce` returned, by layer.
    """

    reduce: Reduce
    heads: Mapping[int, Sequence[int]] | None
    patch_size: int | None = None
    results: dict[int, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AttentionState:
    """What the attention function does for one model in the current context.

    Attributes:
        layers: the model's attention modules and their layer indices.
        capture: what to capture, if anything.
        factors: (B or 1, L, H) factors of the heads' outputs, if any.
    """

    layers: Mapping[nn.Module, int]
    capture: Capture | None = None
    factors: Tensor | None = None


_active: ContextVar[tuple[AttentionState, ...]] = ContextVar("apmae_attention", default=())
_probed: ContextVar[list[tuple[nn.Module, int]] | None] = ContextVar("apmae_probe", default=None)


@contextmanager
def activated(layers: Mapping[nn.Module, int], **changes: Any) -> Iterator[None]:
    """Run the model whose attention modules are `layers` with a changed `AttentionState`."""
    current = next((state for state in _active.get() if state.layers is layers), AttentionState(layers))
    others = tuple(state for state in _active.get() if state.layers is not layers)
    token = _active.set((*others, replace(current, **changes)))
    try:
        yield
    finally:
        _active.reset(token)


def active_factors(layers: Mapping[nn.Module, int]) -> Tensor | None:
    """The head factors in force for a model."""
    return next((state.factors for state in _active.get() if state.layers is layers), None)


@contextmanager
def probing() -> Iterator[list[tuple[nn.Module, int]]]:
    """Collect (attention module, number of query heads) in the order of the calls."""
    calls: list[tuple[nn.Module, int]] = []
    token = _probed.set(calls)
    try:
        yield calls
    finally:
        _probed.reset(token)


def attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Transformers' attention interface: query (B, H, T, D) to output (B, T, H, D)."""
    calls = _probed.get()
    if calls is not None:
        calls.append((module, query.shape[1]))
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    assert attention_mask is None or attention_mask.dtype == torch.bool, "our mask function's are boolean"
    allowed = None if attention_mask is None else attention_mask[..., : key.shape[2]]

    def attention(heads: Sequence[int] | None) -> Attention:
        chosen = list(range(query.shape[1]) if heads is None else heads)
        keys = [head * key.shape[1] // query.shape[1] for head in chosen]
        sinks = None if s_aux is None else s_aux[chosen]
        queries = query if heads is None else query[:, chosen]
        return Attention(queries, key[:, keys], allowed, scaling, softcap, sinks)

    if softcap is None and s_aux is None:
        output, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    else:
        groups = query.shape[1] // value.shape[1]
        weights = log_probs(attention(None)).exp().to(value.dtype)
        output = (weights @ value.repeat_interleave(groups, dim=1)).transpose(1, 2).contiguous()

    for state in _active.get():
        layer = state.layers.get(module)
        if layer is None:
            continue
        if state.capture is not None:
            _reduce_layer(state.capture, layer, attention)
        if state.factors is not None:
            factors_BH = state.factors[:, layer].to(output)
            output = output * factors_BH[:, None, :, None]
    return output, None


def _reduce_layer(
    capture: Capture, layer: int, attention: Callable[[Sequence[int] | None], Attention]
) -> None:
    heads = None if capture.heads is None else capture.heads.get(layer, ())
    if heads is not None and not heads:
        return
    chosen = attention(heads)
    values = log_probs(chosen) if capture.patch_size is None else log_patches(chosen, capture.patch_size)
    capture.results[layer] = capture.reduce(layer, values)


AttentionInterface.register(ATTENTION_NAME, attention_forward)
AttentionMaskInterface.register(ATTENTION_NAME, sdpa_mask)
