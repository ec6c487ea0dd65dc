"""Routing a model's attention through the one attention function.

Most models look their attention function up in Transformers' attention interface. BLOOM, CodeGen, Falcon,
GPT-J, GPT-Neo and MPT do not. In their attention modules a method computes scores, softmax and weighted sum.
It is replaced, on the instance, by a call of the one attention function. Their ALiBi becomes a position bias.

Shape suffixes: B prompts, H query heads, T tokens, D head size.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from apmae.common.errors import ApmaeError
from apmae.target_model.attention import ATTENTION_NAME, attention_forward

Result = tuple[Tensor, None]


def route_attention(model: PreTrainedModel) -> None:
    """Make every attention module of a model call `attention_forward`, where possible."""
    adapted = [module for module in model.modules() if _class_name(module) in ADAPTERS]
    for module in adapted:
        method, replacement = ADAPTERS[_class_name(module)]
        setattr(module, method, partial(replacement, module))
    if not adapted:
        model.set_attn_implementation(ATTENTION_NAME)


def _class_name(module: nn.Module) -> str:
    """Name of a class of Transformers, else "". Models with their own code may use the same names."""
    return type(module).__name__ if type(module).__module__.startswith("transformers.") else ""


def _gptj(module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None) -> Result:
    """Replaces `_attn` of GPT-J and CodeGen."""
    return _float32_attention(module, query, key, value, _allowed(attention_mask), 1 / module.scale_attn)


def _gpt_neo(module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None) -> Result:
    """Replaces `_attn`. Local layers have their window in `module.bias`; scores are not scaled."""
    queries, keys = query.shape[-2], key.shape[-2]
    allowed = module.bias[:, :, keys - queries : keys, :keys]
    padding = _allowed(attention_mask)
    return _float32_attention(module, query, key, value, allowed if padding is None else allowed & padding, 1)


def _float32_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None, scaling: float
) -> Result:
    """These models compute scores in float32 for weights of any dtype."""
    output, _ = attention_forward(module, query.float(), key.float(), value.float(), allowed, scaling)
    return output.transpose(1, 2).to(value.dtype), None


def _bloom(
    module: Any,
    hidden_states: Tensor,
    residual: Tensor,
    alibi: Tensor,
    attention_mask: Tensor,
    layer_past: object = None,
    **_unused: Any,
) -> Result:
    _refuse_cache(layer_past)
    query, key, value = module._reshape(module.query_key_value(hidden_states))
    bias = alibi.view(len(query), module.num_heads, 1, -1)
    return _projected(module, query, key, value, attention_mask, bias) + residual, None


def _mpt(
    module: Any,
    hidden_states: Tensor,
    position_bias: Tensor,
    attention_mask: Tensor,
    past_key_values: object = None,
    **_unused: Any,
) -> Result:
    """The mask is True where attention is *not* allowed. The bias fits the longest prompt."""
    _refuse_cache(past_key_values)
    qkv = module.Wqkv(hidden_states)
    if module.clip_qkv:
        qkv = qkv.clamp(-module.clip_qkv, module.clip_qkv)
    query, key, value = (
        part.unflatten(-1, (module.n_heads, module.head_dim)).transpose(1, 2) for part in qkv.chunk(3, dim=-1)
    )
    output, _ = attention_forward(
        module,
        query,
        key,
        value,
        ~attention_mask,
        module.softmax_scale,
        position_bias=position_bias[None, ..., -key.shape[-2] :],
    )
    return module.out_proj(output.flatten(2)), None


def _falcon(
    module: Any,
    hidden_states: Tensor,
    alibi: Tensor | None,
    attention_mask: Tensor,
    layer_past: object = None,
    position_embeddings: tuple[Tensor, Tensor] | None = None,
    **_unused: Any,
) -> Result:
    """With ALiBi the mask argument holds the bias too."""
    from transformers.models.falcon.modeling_falcon import apply_rotary_pos_emb

    _refuse_cache(layer_past)
    heads = module._split_heads(module.query_key_value(hidden_states))
    query, key, value = (part.transpose(1, 2) for part in heads)
    if alibi is None:
        assert position_embeddings is not None, "without ALiBi Falcon has rotary positions"
        query, key = apply_rotary_pos_emb(query, key, *position_embeddings)
    bias = None if alibi is None else alibi * module.inv_norm_factor
    return _projected(module, query, key, value, attention_mask, bias), None


def _projected(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor, bias: Tensor | None
) -> Tensor:
    """Attention and output projection of BLOOM and Falcon."""
    allowed, scaling = _allowed(attention_mask), module.inv_norm_factor
    output, _ = attention_forward(module, query, key, value, allowed, scaling, position_bias=bias)
    return module.dense(output.flatten(2))  # type: ignore[no-any-return]


def _allowed(attention_mask: Tensor | None) -> Tensor | None:
    """The mask as booleans. An additive mask of Transformers masks with the smallest number."""
    if attention_mask is None or attention_mask.dtype == torch.bool:
        return attention_mask
    return attention_mask > torch.finfo(attention_mask.dtype).min


def _refuse_cache(cache: object) -> None:
    if cache is not None:
        raise ApmaeError("this model runs without a key-value cache here: pass use_cache=False")


ADAPTERS: dict[str, tuple[str, Callable[..., Result]]] = {
    "BloomAttention": ("forward", _bloom),
    "CodeGenAttention": ("_attn", _gptj),
    "FalconAttention": ("forward", _falcon),
    "GPTJAttention": ("_attn", _gptj),
    "GPTNeoSelfAttention": ("_attn", _gpt_neo),
    "MptAttention": ("forward", _mpt),
}
"""The replaced method and its replacement, by class name."""
