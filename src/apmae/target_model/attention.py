"""The one attention function: it computes attention, captures patterns and scales heads.

It is registered with Transformers' attention interface under the name `apmae`, together with SDPA's mask
function (boolean masks, and no mask where causality is enough). For each layer:

1. SDPA computes the layer's output if it can express the layer (`within_sdpa`), on every device.
2. If the active `Capture` asks for heads of the layer, the log-softmax of their scores is computed in float32
   and handed to `reduce`, band by band, so that at most one layer's patterns exist. If SDPA cannot express
   the layer, the same bands give the output.
3. Every head's output is scaled or replaced, out of place, just before the output projection.

A context variable holds the active state. So threads do not see each other's captures, and an exception
leaves no state behind.

Shape suffixes: B prompts, H query heads, S captured heads, T tokens, D head size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from apmae.target_model.capture import BAND_HEIGHT, BandCapture, Capture, LayerCapture
from apmae.target_model.head_scaling import HeadScaling
from apmae.target_model.log_probs import Attention, bands
from apmae.target_model.sdpa import sdpa

ATTENTION_NAME = "apmae"

Observe = Callable[[int, Tensor], None]
"""Called with (layer, output (B, T, H, D)), the heads' outputs before scaling."""


@dataclass(frozen=True)
class AttentionState:
    """What the attention function does for one model in the current context.

    Attributes:
        layers: the model's attention modules and their layer indices.
        capture: what to capture; None for nothing.
        scaling: how to change the heads' outputs; None leaves them as they are.
        observe: called with the heads' outputs; None for no call.
        last_queries: takes the last query's inputs of every layer; None for nowhere.
    """

    layers: Mapping[nn.Module, int]
    capture: Capture | BandCapture | None = None
    scaling: HeadScaling | None = None
    observe: Observe | None = None
    last_queries: dict[int, Attention] | None = None


class AttentionCall(NamedTuple):
    """One call of the attention function."""

    module: nn.Module
    arguments: dict[str, Any]
    """By name, including `query`, `key` and `value`."""


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
    """The active head scaling of a model."""
    return next((state.scaling for state in _active.get() if state.layers is layers), None)


@contextmanager
def recording() -> Iterator[list[AttentionCall]]:
    """Collect every call with its tensors, in order. For short prompts only."""
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
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    position_bias: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Transformers' attention interface: query (B, H, T, D) to output (B, T, H, D).

    Args:
        attention_mask: bool, broadcastable to (B, H, T, T), True where attention is allowed; None
            for plain causality.
        position_bias: float, broadcastable to (B, H, T, T), added to the scaled scores.
        s_aux: (H,) sinks.
    """
    if (calls := _recorded.get()) is not None:
        named = {"query": query, "key": key, "value": value, "attention_mask": attention_mask}
        options = {"scaling": scaling, "softcap": softcap, "s_aux": s_aux, "position_bias": position_bias}
        calls.append(AttentionCall(module, {**named, **options, **kwargs}))
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    if attention_mask is not None and attention_mask.dtype != torch.bool:
        position_bias, attention_mask = attention_mask, None  # the probe refuses models with such masks
    allowed = None if attention_mask is None else attention_mask[..., : key.shape[2]]

    attention = Attention(query, key, allowed, scaling, softcap, s_aux, position_bias)
    asked = _asked(module, query)
    if within_sdpa(attention):
        output = sdpa(attention, value)
        if asked:
            for band in bands(attention.of_heads(asked.heads), asked.height):
                asked.collect(band)
    else:
        output = _attend(attention, value, asked)

    for state in _active.get():
        layer = state.layers.get(module)
        if layer is None:
            continue
        if state.last_queries is not None:
            state.last_queries[layer] = attention.last_query()
        if state.observe is not None:
            state.observe(layer, output)
        if state.scaling is not None:
            output = state.scaling(output, layer)
    return output, None


def within_sdpa(attention: Attention) -> bool:
    """Whether SDPA can compute the layer's output. It supports neither soft caps nor sinks."""
    return attention.softcap is None and attention.sinks is None


def _asked(module: nn.Module, query: Tensor) -> LayerCapture | None:
    """The part of this layer that the model's active capture asks for, or None."""
    prompts, heads, tokens = query.shape[:3]
    for state in _active.get():
        layer = state.layers.get(module)
        if layer is not None and state.capture is not None:
            return state.capture.of_layer(layer, heads, prompts, tokens)
    return None


def _attend(attention: Attention, value: Tensor, asked: LayerCapture | None) -> Tensor:
    """The layer's output (B, T, H, D) without SDPA. A capture takes the same log probabilities."""
    prompts, heads, tokens = attention.query.shape[:3]
    value = value.repeat_interleave(heads // value.shape[1], dim=1)
    output = value.new_empty(prompts, tokens, heads, value.shape[-1])
    every = list(range(heads))
    for band in bands(attention, asked.height if asked else BAND_HEIGHT):
        if asked:
            asked.collect(band if asked.heads == every else band._replace(values=band.values[:, asked.heads]))
        open_values = value[band.prompts, :, : band.values.shape[-1]]
        probabilities = band.values.exp().to(value.dtype)
        output[band.prompts, band.rows] = (probabilities @ open_values).transpose(1, 2)
    return output


AttentionInterface.register(ATTENTION_NAME, attention_forward)
AttentionMaskInterface.register(ATTENTION_NAME, sdpa_mask)
