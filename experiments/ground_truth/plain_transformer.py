"""A transformer without layer norms, and without MLPs if asked, as a Hugging Face model.

Shape suffixes: B prompts, T tokens, H heads, D width of the residual stream.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import CausalLMOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS


class PlainConfig(PreTrainedConfig):  # type: ignore[misc]
    """Sizes of the model.

    Args:
        head_size: channels of a head; it need not divide `hidden_size`.
        mlp_size: hidden units of each layer's MLP; 0: no MLPs.
        known_heads: (layer, head) of the heads that were compiled or trained.
    """

    model_type = "plain_transformer"

    vocab_size: int = 32
    hidden_size: int = 64
    head_size: int = 16
    num_hidden_layers: int = 2
    num_attention_heads: int = 8
    mlp_size: int = 0
    max_position_embeddings: int = 64
    known_heads: tuple[tuple[int, int], ...] = ()


def eager_attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    **_unused: Any,
) -> tuple[Tensor, Tensor]:
    """Attention as the formula has it: outputs (B, T, H, C) and patterns (B, H, T, T)."""
    scores = query @ key.transpose(2, 3) * scaling
    patterns = (scores if attention_mask is None else scores + attention_mask).softmax(-1)
    return (patterns @ value).transpose(1, 2), patterns


class PlainAttention(nn.Module):
    """Attention of one layer, through Transformers' attention interface."""

    def __init__(self, config: PlainConfig) -> None:
        super().__init__()
        self.config = config
        self.is_causal = True
        self.scaling = config.head_size**-0.5
        inner = config.num_attention_heads * config.head_size
        self.q_proj = nn.Linear(config.hidden_size, inner, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, inner, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, inner, bias=False)
        self.o_proj = nn.Linear(inner, config.hidden_size, bias=False)

    def forward(self, hidden_BTD: Tensor, attention_mask: Tensor | None) -> Tensor:
        """What the heads add to the residual stream, (B, T, D)."""
        query, key, value = (
            projection(hidden_BTD).unflatten(-1, (-1, self.config.head_size)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        output, _ = attend(self, query, key, value, attention_mask, scaling=self.scaling, dropout=0.0)
        added: Tensor = self.o_proj(output.flatten(2))
        return added


class PlainLayer(nn.Module):
    """Attention, then an MLP, each added to the residual stream."""

    def __init__(self, config: PlainConfig) -> None:
        super().__init__()
        self.self_attn = PlainAttention(config)
        self.mlp = (
            nn.Sequential(
                nn.Linear(config.hidden_size, config.mlp_size),
                nn.ReLU(),
                nn.Linear(config.mlp_size, config.hidden_size),
            )
            if config.mlp_size
            else None
        )

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None) -> Tensor:
        """The residual stream behind the layer, (B, T, D)."""
        hidden_states = hidden_states + self.self_attn(hidden_states, attention_mask)
        return hidden_states if self.mlp is None else hidden_states + self.mlp(hidden_states)


class PlainForCausalLM(PreTrainedModel):  # type: ignore[misc]
    """Embeddings of tokens and positions, the layers, and a projection to logits."""

    config_class = PlainConfig
    base_model_prefix = "model"
    _supports_sdpa = True
    _supports_attention_backend = True

    def __init__(self, config: PlainConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.embed_positions = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.layers = nn.ModuleList(PlainLayer(config) for _ in range(config.num_hidden_layers))
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @property
    def blocks(self) -> list[PlainLayer]:
        """The layers."""
        return [layer for layer in self.layers if isinstance(layer, PlainLayer)]

    def get_input_embeddings(self) -> nn.Module:
        """The embedding of tokens."""
        return self.embed_tokens

    def get_output_embeddings(self) -> nn.Module:
        """The projection to logits."""
        return self.lm_head

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, use_cache: bool = False, **_unused: Any
    ) -> CausalLMOutput:
        """Logits (B, T, V) of (B, T) token ids. There is no key-value cache."""
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        hidden = self.embed_tokens(input_ids) + self.embed_positions(places)
        mask = create_causal_mask(self.config, hidden, attention_mask, past_key_values=None)
        for layer in self.layers:
            hidden = layer(hidden, attention_mask=mask)
        return CausalLMOutput(logits=self.lm_head(hidden))
