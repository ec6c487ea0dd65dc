"""The one attention function: it computes attention, captures patterns, scales heads.

It is registered with Transformers' attention interface under the name `apmae`, together with
SDPA's mask function (boolean masks, none at all where causality is enough). For each layer:

1. the layer's output, by SDPA where that can express it, else explicitly (soft cap, sinks,
   position bias);
2. for the heads that the active `Capture` asks for, the log-softmax of the scores in float32,
   handed to the capture's `reduce` at once, so that no more than one layer's patterns exist;
3. the output of every head scaled or replaced, out of place, just before the output projection.

What is active is held in a context variable, so threads do not see each other's captures, and
nothing remains when a block ends by an exception.

Shape suffixes: B prompts, H query heads, S captured heads, T tokens, D head size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from apmae.target.head_scaling import HeadScaling
from apmae.target.log_probs import Attention, log_patches, log_probs

ATTENTION_NAME = "apmae"

Reduce = Callable[[int, Tensor], Any]
"""Called with (layer, log probabilities), float32 and -inf where masked; returns what to keep.

The log probabilities are (B, S, T, T); where patches of side P were asked for they are (b, S, K, P * P), of
a few prompts at a time, in order.
"""

Observe = Callable[[int, Tensor], None]
"""Called with (layer, output (B, T, H, D)): what the heads made, before it is scaled."""


@dataclass(frozen=True)
class Capture:
    """Which heads to capture, and what to keep of them.

    Attributes:
        reduce: turns one layer's log probabilities into what is kept.
        heads: head indices per layer, or None for every head; layers without one are not reduced.
        patch_size: cut the patterns into their lower-triangle patches of this side, if given.
        results: what `reduce` returned, call by call, by layer.
    """

    reduce: Reduce
    heads: Mapping[int, Sequence[int]] | None
    patch_size: int | None = None
    results: dict[int, list[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class AttentionState:
    """What the attention function does for one model in the current context.

    Attributes:
        layers: the model's attention modules and their layer indices.
        capture: what to capture, if anything.
        scaling: what to do to the heads' outputs, if anything.
        observe: is shown the heads' outputs, if given.
    """

    layers: Mapping[nn.Module, int]
    capture: Capture | None = None
    scaling: HeadScaling | None = None
    observe: Observe | None = None


class AttentionCall(NamedTuple):
    """What the attention function was called with."""

    module: nn.Module
    arguments: dict[str, Any]
    """By name, `query`, `key` and `value` among them."""


_active: ContextVar[tuple[AttentionState, ...]] = ContextVar("apmae_attention", default=())
_recorded: ContextVar[list[AttentionCall] | None] = ContextVar("apmae_recorded", default=None)


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


def active_scaling(layers: Mapping[nn.Module, int]) -> HeadScaling | None:
    """The head scaling in force for a model."""
    return next((state.scaling for state in _active.get() if state.layers is layers), None)


@contextmanager
def recording() -> Iterator[list[AttentionCall]]:
    """Collect every call with its tensors, in order; for short prompts."""
    calls: list[AttentionCall] = []
    token = _recorded.set(calls)
    try:
        yield calls
    finally:
        _recorded.reset(token)


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
    position_bias: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Transformers' attention interface: query (B, H, T, D) to output (B, T, H, D).

    Args:
        attention_mask: bool, broadcastable to (B, H, T, T), True where attention is allowed; None
            where every token sees those before it.
        position_bias: float, broadcastable to (B, H, T, T), added to the scaled scores.
        s_aux: (H,) sinks.
    """
    if (calls := _recorded.get()) is not None:
        named = {"query": query, "key": key, "value": value, "attention_mask": attention_mask}
        options = {"scaling": scaling, "softcap": softcap, "s_aux": s_aux, "position_bias": position_bias}
        calls.append(AttentionCall(module, {**named, **options, **kwargs}))
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    allowed = None if attention_mask is None else attention_mask[..., : key.shape[2]]

    def attention(heads: Sequence[int] | None) -> Attention:
        chosen = list(range(query.shape[1]) if heads is None else heads)
        keys = [head * key.shape[1] // query.shape[1] for head in chosen]
        sinks = None if s_aux is None else s_aux[chosen]
        queries = query if heads is None else query[:, chosen]
        return Attention(
            queries,
            key[:, keys],
            _of_heads(allowed, chosen),
            scaling,
            softcap,
            sinks,
            _of_heads(position_bias, chosen),
        )

    if softcap is None and s_aux is None and position_bias is None:
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
        if state.observe is not None:
            state.observe(layer, output)
        if state.scaling is not None:
            output = state.scaling(output, layer)
    return output, None


def _of_heads(values: Tensor | None, heads: Sequence[int]) -> Tensor | None:
    """The heads' part of a mask or bias, which may be one for all of them."""
    return values if values is None or values.shape[1] == 1 else values[:, list(heads)]


def _reduce_layer(
    capture: Capture, layer: int, attention: Callable[[Sequence[int] | None], Attention]
) -> None:
    heads = None if capture.heads is None else capture.heads.get(layer, ())
    if heads is not None and not heads:
        return
    assert layer not in capture.results, "a layer ran twice in one forward pass"
    chosen = attention(heads)
    if capture.patch_size is None:
        capture.results[layer] = [capture.reduce(layer, log_probs(chosen))]
    else:
        patches = log_patches(chosen, capture.patch_size)
        capture.results[layer] = [capture.reduce(layer, of_some_prompts) for of_some_prompts in patches]


AttentionInterface.register(ATTENTION_NAME, attention_forward)
AttentionMaskInterface.register(ATTENTION_NAME, sdpa_mask)
