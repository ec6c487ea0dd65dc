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

from apmae.patterns import log_softmax_masked

ATTENTION_NAME = "apmae"

Reduce = Callable[[int, Tensor], Any]
"""Called with (layer, log_probs (B, S, T, T) float32, -inf where masked); returns what to keep."""


@dataclass(frozen=True)
class Capture:
    """Which heads to capture, and what to keep of them.

    Attributes:
        reduce: turns one layer's log probabilities into what is kept.
        heads: head indices per layer, or None for every head; layers without one are not reduced.
        results: what `reduce` returned, by layer.
    """

    reduce: Reduce
    heads: Mapping[int, Sequence[int]] | None
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

    def log_probs(heads: Sequence[int] | None) -> Tensor:
        scores = _scores(query, key, heads, scaling, softcap)
        allowed = _allowed(attention_mask, scores)
        sinks = None if s_aux is None else s_aux.float()[_index(heads)].view(1, -1, 1, 1)
        return _log_softmax(scores, allowed, sinks)

    if softcap is None and s_aux is None:
        output, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    else:
        groups = query.shape[1] // value.shape[1]
        weights = log_probs(None).exp().to(value.dtype)
        output = (weights @ value.repeat_interleave(groups, dim=1)).transpose(1, 2).contiguous()

    for state in _active.get():
        layer = state.layers.get(module)
        if layer is None:
            continue
        if state.capture is not None:
            _reduce_layer(state.capture, layer, log_probs)
        if state.factors is not None:
            factors_BH = state.factors[:, layer].to(output)
            output = output * factors_BH[:, None, :, None]
    return output, None


def _reduce_layer(capture: Capture, layer: int, log_probs: Callable[[Sequence[int] | None], Tensor]) -> None:
    heads = None if capture.heads is None else capture.heads.get(layer, ())
    if heads is None or len(heads):
        capture.results[layer] = capture.reduce(layer, log_probs(heads))


def _scores(
    query: Tensor, key: Tensor, heads: Sequence[int] | None, scaling: float, softcap: float | None
) -> Tensor:
    groups = query.shape[1] // key.shape[1]
    chosen = torch.arange(query.shape[1], device=query.device)[_index(heads)]
    scores = (query[:, chosen].float() * scaling) @ key[:, chosen // groups].float().transpose(-1, -2)
    return scores if softcap is None else torch.tanh(scores / softcap) * softcap


def _index(heads: Sequence[int] | None) -> list[int] | slice:
    return slice(None) if heads is None else list(heads)


def _allowed(attention_mask: Tensor | None, scores: Tensor) -> Tensor:
    queries, keys = scores.shape[-2:]
    if attention_mask is None:
        return torch.ones(queries, keys, dtype=torch.bool, device=scores.device).tril(keys - queries)
    assert attention_mask.dtype == torch.bool, "the registered mask function makes boolean masks"
    return attention_mask[..., :keys]


def _log_softmax(scores: Tensor, allowed: Tensor, sinks: Tensor | None) -> Tensor:
    log_probs = log_softmax_masked(scores, allowed)
    if sinks is None:
        return log_probs
    # With a sink s the denominator is sum(exp(scores)) + exp(s): rows then sum to less than one.
    total = scores.masked_fill(~allowed, -torch.inf).logsumexp(-1, keepdim=True)
    return log_probs - (torch.logaddexp(total, sinks) - total).nan_to_num(posinf=0)


AttentionInterface.register(ATTENTION_NAME, attention_forward)
AttentionMaskInterface.register(ATTENTION_NAME, sdpa_mask)
