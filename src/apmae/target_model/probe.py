"""Finding a model's attention modules, and checking that captured patterns are the model's own.

Loading a model runs a short padded prompt. Every layer must call the one attention function once. Its
patterns times its values must equal its output. The model's own eager attention function must give the same
output from the same queries, keys and values, in float32.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from apmae.common.errors import ApmaeError
from apmae.target_model.attention import AttentionCall, activated, attention_forward, recording
from apmae.target_model.capture import Capture

PROBE_TOKENS = 16
PROBE_PADDING = 3
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Probe:
    """Properties of a model's attention.

    Attributes:
        layers: its attention modules and their layer indices.
        heads: query heads per layer.
        head_sizes: channels of a head's output, by layer.
    """

    layers: dict[nn.Module, int]
    heads: int
    head_sizes: tuple[int, ...]


def probe(model: PreTrainedModel, name: str) -> Probe:
    """Run a short prompt and check.

    Raises:
        ApmaeError: the model's attention cannot be captured exactly; the message names it and says why.
    """
    config = model.config.get_text_config()
    with torch.inference_mode():
        with recording() as calls:
            reason = _reason_why_it_fails(model, config.vocab_size)
        reason = reason or _reason_to_refuse(calls, config.num_hidden_layers)
    if reason:
        raise ApmaeError(f"target.model {name!r} ({config.model_type}) cannot be captured: {reason}")
    return Probe(
        layers={call.module: layer for layer, call in enumerate(calls)},
        heads=calls[0].arguments["query"].shape[1],
        head_sizes=tuple(call.arguments["value"].shape[-1] for call in calls),
    )


def _reason_why_it_fails(model: PreTrainedModel, vocabulary: int) -> str | None:
    """Run the prompts; code that came with a checkpoint may know its own attention implementations alone."""
    try:
        model(**_prompts(model, vocabulary), use_cache=False)
    except (LookupError, TypeError, ValueError, AttributeError, NotImplementedError) as error:
        return f"its code fails with Transformers' attention interface ({type(error).__name__}: {error})"
    return None


def _prompts(model: PreTrainedModel, vocabulary: int) -> dict[str, Tensor]:
    """Two prompts, the second padded on the left, of tokens far from the special ones."""
    tokens = vocabulary // 2 + torch.arange(2 * PROBE_TOKENS, device=model.device)
    attention_mask = torch.ones(2, PROBE_TOKENS, dtype=torch.long, device=model.device)
    attention_mask[1, :PROBE_PADDING] = 0
    return {"input_ids": (tokens % vocabulary).view(2, PROBE_TOKENS), "attention_mask": attention_mask}


def _reason_to_refuse(calls: list[AttentionCall], layers: int) -> str | None:
    modules = {call.module for call in calls}
    if len(modules) != layers:
        return f"{len(modules)} of its {layers} layers go through Transformers' attention interface"
    if len(calls) != layers:
        return "a layer computes attention more than once"
    if len({call.arguments["query"].shape[1] for call in calls}) != 1:
        return "its layers differ in their number of heads"
    if any(call.arguments["key"].shape[2] != call.arguments["query"].shape[2] for call in calls):
        return "a layer's keys are not one for each token"
    masks = [call.arguments["attention_mask"] for call in calls]
    if any(mask is not None and mask.dtype != torch.bool for mask in masks):
        return "it adds a mask of its own to the scores"
    return next(filter(None, map(_reason_to_refuse_layer, calls, range(layers))), None)


def _reason_to_refuse_layer(call: AttentionCall, layer: int) -> str | None:
    """Repeat the call in float32: patterns times values must equal our output and the eager output."""
    arguments: dict[str, Any] = {
        name: value.float() if isinstance(value, Tensor) and value.is_floating_point() else value
        for name, value in call.arguments.items()
        if value is not None
    }
    capture = Capture(lambda _layer, log_probs: log_probs, heads=None)
    with activated({call.module: 0}, capture=capture):
        output, _ = attention_forward(call.module, **arguments)
    (log_probs,) = capture.results[0]
    masked = log_probs == -torch.inf
    if not masked.triu(1).eq(torch.ones_like(masked).triu(1)).all():
        return f"layer {layer} is not causal"
    outputs = [output]
    if eager := getattr(sys.modules[type(call.module).__module__], "eager_attention_forward", None):
        mask = torch.zeros_like(log_probs).masked_fill(masked, torch.finfo(torch.float32).min)
        outputs.append(eager(call.module, **{**arguments, "attention_mask": mask})[0])

    value = arguments["value"].repeat_interleave(log_probs.shape[1] // arguments["value"].shape[1], dim=1)
    expected = (log_probs.exp() @ value).transpose(1, 2)
    padding = masked.all(-1).transpose(1, 2)
    difference = max(float((expected - found)[~padding].abs().max() / value.abs().max()) for found in outputs)
    if not difference <= TOLERANCE:
        return f"in layer {layer} its patterns differ from its own attention by {difference:.1g}"
    return None
