"""Tiny random-weight models of many families, and how far capture is from each one's own attention."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from torch.overrides import TorchFunctionMode
from transformers import AutoModelForCausalLM, PreTrainedModel

from apmae.common.errors import ApmaeError
from apmae.target_model import Target, attention
from apmae.target_model.attention import recording

PROMPTS, LENGTH_TOKENS, PADDING = 3, 12, 3
WINDOW = 5
VOCABULARY = 128

INPUT_IDS = torch.randint(1, VOCABULARY, (PROMPTS, LENGTH_TOKENS), generator=torch.Generator().manual_seed(1))
ATTENTION_MASK = torch.ones_like(INPUT_IDS)
ATTENTION_MASK[1, :PADDING] = 0
SEEN = ATTENTION_MASK.bool()
"""(B, T): where a query is no padding; what padding attends to means nothing."""

LLAMA = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
MULTI_HEAD = LLAMA | {"num_key_value_heads": 4}
HEAD_DIM = LLAMA | {"head_dim": 8}
GPT2 = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
SLIDING = {"sliding_window": WINDOW}
ALTERNATING = SLIDING | {"layer_types": ["sliding_attention", "full_attention"]}
LATENT = MULTI_HEAD | {
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "v_head_dim": 6,
    "first_k_dense_replace": 2,
}
EXPERTS = {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 8}


@dataclass(frozen=True)
class Family:
    """A model family, tiny.

    Attributes:
        name: as people call it.
        config: its configuration class in Transformers.
        settings: the tiny model's configuration.
        projection: name of the output projection in its attention modules.
        reference: which of its own implementations capture is compared with.
        note: what a reader should know of it.
    """

    name: str
    config: str
    settings: dict[str, Any] = field(default_factory=dict)
    projection: str = "o_proj"
    reference: str = "eager"
    note: str = ""

    def make(self) -> PreTrainedModel:
        """The model with its own attention, and weights that make attention uneven."""
        config = getattr(transformers, self.config)(**self.settings)
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, attn_implementation=self.reference).eval()
        for parameter in model.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)
        return model.requires_grad_(False)


SUPPORTED = [
    Family("Apertus", "ApertusConfig", LLAMA),
    Family("Arcee", "ArceeConfig", LLAMA),
    Family(
        "BLOOM", "BloomConfig", {"vocab_size": 128, "hidden_size": 32, "n_layer": 2, "n_head": 4}, "dense"
    ),
    Family("CodeGen", "CodeGenConfig", GPT2 | {"rotary_dim": 4, "n_ctx": 64}, "out_proj"),
    Family("Cohere", "CohereConfig", LLAMA),
    Family("Cohere2", "Cohere2Config", LLAMA | ALTERNATING),
    Family("DeepSeek-V2", "DeepseekV2Config", LATENT, note="latent attention"),
    Family("DeepSeek-V3", "DeepseekV3Config", LATENT, note="latent attention"),
    Family("ERNIE 4.5", "Ernie4_5Config", HEAD_DIM),
    Family("EXAONE 4", "Exaone4Config", LLAMA | SLIDING),
    Family("Falcon", "FalconConfig", LLAMA | {"multi_query": True}, "dense"),
    Family(
        "Falcon, new decoder",
        "FalconConfig",
        LLAMA | {"new_decoder_architecture": True, "num_kv_heads": 2},
        "dense",
        note="keys and values are repeated before the attention",
    ),
    Family(
        "Falcon, ALiBi",
        "FalconConfig",
        LLAMA | {"alibi": True, "multi_query": False},
        "dense",
        reference="sdpa",
        note="compared with its SDPA attention, its default: the eager one adds ALiBi twice",
    ),
    Family("Gemma", "GemmaConfig", HEAD_DIM),
    Family("Gemma 2", "Gemma2Config", HEAD_DIM | ALTERNATING | {"attn_logit_softcapping": 2.0}),
    Family("Gemma 3", "Gemma3TextConfig", HEAD_DIM | ALTERNATING),
    Family("GLM-4", "Glm4Config", HEAD_DIM),
    Family("GPT-2", "GPT2Config", GPT2, "c_proj"),
    Family("GPT-BigCode", "GPTBigCodeConfig", GPT2 | {"multi_query": True}, "c_proj"),
    Family("GPT-J", "GPTJConfig", GPT2 | {"rotary_dim": 4}, "out_proj"),
    Family(
        "GPT-Neo",
        "GPTNeoConfig",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1]],
            "window_size": WINDOW,
            "max_position_embeddings": 64,
        },
        "out_proj",
    ),
    Family("GPT-NeoX", "GPTNeoXConfig", MULTI_HEAD, "dense"),
    Family(
        "GPT-OSS", "GptOssConfig", HEAD_DIM | ALTERNATING | {"num_local_experts": 2, "num_experts_per_tok": 1}
    ),
    Family("Granite", "GraniteConfig", LLAMA | {"attention_multiplier": 0.3}),
    Family("Helium", "HeliumConfig", HEAD_DIM),
    Family("Hunyuan", "HunYuanDenseV1Config", HEAD_DIM),
    Family("Llama", "LlamaConfig", LLAMA),
    Family("Mistral", "MistralConfig", LLAMA | SLIDING),
    Family("Mixtral", "MixtralConfig", LLAMA | {"num_local_experts": 2, "num_experts_per_tok": 1}),
    Family(
        "MPT",
        "MptConfig",
        {"vocab_size": VOCABULARY, "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 64},
        "out_proj",
    ),
    Family("Nemotron", "NemotronConfig", LLAMA),
    Family("OLMo 2", "Olmo2Config", LLAMA),
    Family(
        "OPT",
        "OPTConfig",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": 32,
            "word_embed_proj_dim": 32,
            "ffn_dim": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 64,
        },
        "out_proj",
    ),
    Family("Phi", "PhiConfig", LLAMA, "dense"),
    Family("Phi-3", "Phi3Config", LLAMA | SLIDING),
    Family("Qwen2", "Qwen2Config", LLAMA | SLIDING | {"use_sliding_window": True, "max_window_layers": 1}),
    Family("Qwen2-MoE", "Qwen2MoeConfig", LLAMA | EXPERTS | {"shared_expert_intermediate_size": 8}),
    Family("Qwen3", "Qwen3Config", HEAD_DIM),
    Family("Qwen3-MoE", "Qwen3MoeConfig", HEAD_DIM | EXPERTS),
    Family("Seed-OSS", "SeedOssConfig", HEAD_DIM),
    Family("SmolLM3", "SmolLM3Config", LLAMA),
    Family("StableLM", "StableLmConfig", LLAMA),
    Family("StarCoder2", "Starcoder2Config", LLAMA | SLIDING),
]
REFUSED = [
    Family("DiffLlama", "DiffLlamaConfig", LLAMA),
    Family("Doge", "DogeConfig", LLAMA),
    Family(
        "Jamba",
        "JambaConfig",
        LLAMA
        | {"attn_layer_period": 2, "attn_layer_offset": 1, "use_mamba_kernels": False, "num_experts": 1},
    ),
    Family("LFM2", "Lfm2Config", LLAMA | {"layer_types": ["conv", "full_attention"]}),
    Family(
        "Qwen3-Next",
        "Qwen3NextConfig",
        HEAD_DIM
        | EXPERTS
        | {
            "layer_types": ["linear_attention", "full_attention"],
            "shared_expert_intermediate_size": 8,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 2,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
        },
    ),
    Family(
        "XGLM",
        "XGLMConfig",
        {"vocab_size": VOCABULARY, "d_model": 32, "ffn_dim": 64, "num_layers": 2, "attention_heads": 4},
    ),
]


def forward(model: PreTrainedModel, **options: Any) -> Any:
    """The model's own forward pass over the prompts."""
    with torch.inference_mode():
        return model(input_ids=INPUT_IDS, attention_mask=ATTENTION_MASK, use_cache=False, **options)


def reference(family: Family) -> tuple[Tensor, list[Tensor]]:
    """Logits (B, V) and probabilities (B, H, T, T) by layer, of the model's own attention."""
    model = family.make()
    if family.reference == "eager":
        output = forward(model, output_attentions=True)
        return output.logits[:, -1], list(output.attentions)
    with SDPAProbabilities() as seen:
        output = forward(model)
    return output.logits[:, -1], seen.probabilities


class SDPAProbabilities(TorchFunctionMode):
    """Computes the probabilities of every call of SDPA that has an additive mask."""

    def __init__(self) -> None:
        super().__init__()
        self.probabilities: list[Tensor] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.nn.functional.scaled_dot_product_attention:
            query, key, _ = args
            scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1]) + kwargs["attn_mask"]
            self.probabilities.append(scores.softmax(-1))
        return func(*args, **(kwargs or {}))


@contextmanager
def projection_inputs_changed(
    model: PreTrainedModel, family: Family, change: Callable[[int, Tensor], Tensor]
):
    """Change what enters the output projection of every layer: (layer, (B, T, H, D)) -> the same."""
    names = [name for name, _ in model.named_modules() if name.endswith(f".{family.projection}")]
    attention = [name for name in names if ".attn." in name or "attention." in name or "self_attn." in name]
    heads = model.config.num_attention_heads
    assert len(attention) == model.config.num_hidden_layers

    def hook(layer: int) -> Callable[..., Tensor]:
        return lambda _module, inputs: change(layer, inputs[0].unflatten(-1, (heads, -1))).flatten(2)

    handles = [
        model.get_submodule(name).register_forward_pre_hook(hook(layer))
        for layer, name in enumerate(attention)
    ]
    yield
    for handle in handles:
        handle.remove()


@dataclass(frozen=True)
class Measured:
    """What the test run saw of a family.

    Attributes:
        model_type: its name in Transformers' configurations.
        refusal: why it is refused, or None.
        patterns: captured probabilities (B, H, T, T) by layer.
        difference: largest difference of a probability from the model's own, where `SEEN`.
        logits_difference: the same of a logit, relative to the largest.
        heads: query and key-value heads.
        traits: what is special about its attention, as it was seen.
    """

    model_type: str
    refusal: str | None = None
    patterns: tuple[Tensor, ...] = ()
    difference: float = math.nan
    logits_difference: float = math.nan
    heads: tuple[int, int] = (0, 0)
    traits: tuple[str, ...] = ()


@contextmanager
def on_path(path: str) -> Iterator[None]:
    """Within the block outputs are made by SDPA where it can, or all of them explicitly."""
    with pytest.MonkeyPatch.context() as patch:
        if path == "explicit":
            patch.setattr(attention, "within_sdpa", lambda _attention: False)
        yield


def measure(family: Family, path: str = "sdpa") -> Measured:
    """Capture the family's patterns and compare them with the model's own; once per family and path."""
    with on_path(path):
        return _measure(family.name, path)


@cache
def _measure(name: str, _path: str) -> Measured:
    family = next(family for family in SUPPORTED + REFUSED if family.name == name)
    model = family.make()
    model_type = model.config.model_type
    try:
        target = Target(model, None, name)
    except ApmaeError as error:
        return Measured(model_type, refusal=str(error))
    own_logits, own = reference(family)
    with recording() as calls:
        logits, log_probs = target.capture(INPUT_IDS, lambda _, found: found, attention_mask=ATTENTION_MASK)
    patterns = tuple(log_probs[layer].exp() for layer in range(target.n_layers))
    differences = [
        (ours - theirs).transpose(1, 2)[SEEN].abs().max() for ours, theirs in zip(patterns, own, strict=True)
    ]
    return Measured(
        model_type,
        patterns=patterns,
        difference=float(max(differences)),
        logits_difference=float((logits - own_logits).abs().max() / own_logits.abs().max()),
        heads=(target.n_heads, calls[0].arguments["key"].shape[1]),
        traits=tuple(_traits([call.arguments for call in calls], list(log_probs.values()))),
    )


def _traits(arguments: list[dict[str, Any]], log_probs: list[Tensor]) -> list[str]:
    far = [bool((layer[0, :, -1, 0] == -torch.inf).all()) for layer in log_probs]
    return [
        name
        for name, present in {
            "sliding window": any(far),
            "soft cap": any(call.get("softcap") is not None for call in arguments),
            "sinks": any(call.get("s_aux") is not None for call in arguments),
            "ALiBi": any(call.get("position_bias") is not None for call in arguments),
        }.items()
        if present
    ]


def page() -> str:
    """docs/targets.md: which families are supported, as measured now."""
    rows = [_row(family, measure(family)) for family in SUPPORTED + REFUSED]
    return "\n".join([INTRODUCTION, *rows, ""])


def _row(family: Family, measured: Measured) -> str:
    name = f"| {family.name} | `{measured.model_type}` |"
    if measured.refusal is not None:
        return f"{name} refused | | | {measured.refusal.split(': ', 1)[1]} |"
    query, key_value = measured.heads
    kind = "multi-query" if key_value == 1 < query else "grouped" if key_value < query else "multi-head"
    bound = f"{10 ** math.ceil(math.log10(measured.difference)):.0e}".replace("e-0", "e-")
    notes = "; ".join(filter(None, (*measured.traits, family.note)))
    return f"{name} captured | {bound} | {kind} | {notes} |"


INTRODUCTION = f"""\
# Target models

Any causal language model of Transformers can be a target if each of its layers computes attention
once, through Transformers' attention interface or in a class for which `apmae.target_model.adapters` has an
adapter. When a target is loaded, a short padded prompt is run through it, and in every layer the captured
patterns times the values must be what the attention function, and what the model's own eager attention,
make of the same queries, keys and values. A model that fails is refused in one line.

The table is measured: for each family, a tiny model with random weights, {PROMPTS} prompts of
{LENGTH_TOKENS} tokens, one of them padded on the left, float32 on a CPU. *Largest difference* is an upper
bound, as a power of ten, of the difference of any captured probability from the model's own eager
attention (`output_attentions=True`). Head scaling is compared too, with a hook on the output projection;
differences there are of rounding only. Families that are not in the table are checked when they are loaded,
all the same.

With *sinks* a head may attend to nothing: rows of its pattern sum to less than one. Windows, soft caps and
position biases are part of the pattern; what padding attends to is empty.

`make docs` remakes this page; `tests/target_model/test_families.py` compares it.

| family | model type | | largest difference | heads | particulars |
|---|---|---|---|---|---|"""
