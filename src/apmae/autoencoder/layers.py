"""Parts of AP-MAE: pre-norm transformer layers and token embedding, as in vit-pytorch.

Shape suffixes: N patterns, S tokens, D channels, H heads.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN

from apmae.autoencoder.configuration_apmae import APMAEConfig
from apmae.vocabulary import TokenValues


class TransformerSize(NamedTuple):
    """Size of the encoder or of the decoder."""

    layers: int
    dim: int
    heads: int
    head_dim: int
    mlp_dim: int


class Transformer(nn.Module):
    """Layers and a final LayerNorm."""

    def __init__(self, size: TransformerSize, config: APMAEConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(size, config) for _ in range(size.layers))
        self.norm = nn.LayerNorm(size.dim, eps=config.layer_norm_eps)

    def forward(self, x_NSD: Tensor) -> Tensor:
        """(N, S, D) -> (N, S, D)."""
        for layer in self.layers:
            x_NSD = layer(x_NSD)
        return self.norm(x_NSD)  # type: ignore[no-any-return]


class Layer(nn.Module):
    """Attention and MLP, each applied to the normalised input and added to it."""

    def __init__(self, size: TransformerSize, config: APMAEConfig) -> None:
        super().__init__()
        self.attention = Attention(size, config)
        self.mlp = MLP(size, config)

    def forward(self, x_NSD: Tensor) -> Tensor:
        """(N, S, D) -> (N, S, D)."""
        x_NSD = x_NSD + self.attention(x_NSD)
        return x_NSD + self.mlp(x_NSD)  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Multi-head self-attention over all tokens, with heads x head_dim inner channels."""

    def __init__(self, size: TransformerSize, config: APMAEConfig) -> None:
        super().__init__()
        inner = size.heads * size.head_dim
        self.heads = size.heads
        self.norm = nn.LayerNorm(size.dim, eps=config.layer_norm_eps)
        self.qkv = nn.Linear(size.dim, 3 * inner, bias=config.qkv_bias)
        self.out = nn.Linear(inner, size.dim)

    def forward(self, x_NSD: Tensor) -> Tensor:
        """(N, S, D) -> (N, S, D)."""
        qkv = self.qkv(self.norm(x_NSD)).unflatten(-1, (3, self.heads, -1))
        mixed_NHSD = _attend(*qkv.permute(2, 0, 3, 1, 4))
        return self.out(mixed_NHSD.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def _attend(q_NHSD: Tensor, k_NHSD: Tensor, v_NHSD: Tensor) -> Tensor:
    if q_NHSD.dtype != torch.bfloat16 or q_NHSD.device.type != "cpu":
        return nn.functional.scaled_dot_product_attention(q_NHSD, k_NHSD, v_NHSD)
    # With so few tokens, PyTorch's fused CPU kernel does not use bfloat16 instructions and takes twice as
    # long, see benchmarks/encoding.py. Its bfloat16 softmax is slower than the float32 one.
    q_NHSD, k_NHSD, v_NHSD = (x.contiguous() for x in (q_NHSD, k_NHSD, v_NHSD))
    scores_NHSS = q_NHSD @ k_NHSD.transpose(-1, -2) * q_NHSD.shape[-1] ** -0.5
    weights_NHSS = scores_NHSS.softmax(-1, dtype=torch.float32).to(v_NHSD.dtype)
    mixed_NHSD: Tensor = weights_NHSS @ v_NHSD
    return mixed_NHSD


class MLP(nn.Module):
    """Two linear maps with the activation between them."""

    def __init__(self, size: TransformerSize, config: APMAEConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size.dim, eps=config.layer_norm_eps)
        self.up = nn.Linear(size.dim, size.mlp_dim)
        self.activation = ACT2FN[config.hidden_act]
        self.down = nn.Linear(size.mlp_dim, size.dim)

    def forward(self, x_NSD: Tensor) -> Tensor:
        """(N, S, D) -> (N, S, D)."""
        return self.down(self.activation(self.up(self.norm(x_NSD))))  # type: ignore[no-any-return]


class TokenEmbedding(nn.Module):
    """LayerNorm, Linear, LayerNorm: the values of a patch or of a piece of the row -> D channels.

    The first LayerNorm subtracts a token's mean and divides by its standard deviation, and so removes the
    size of the attention. `token_values` can keep it, see `APMAEConfig`.
    """

    def __init__(self, values: int, dim: int, eps: float, token_values: TokenValues) -> None:
        super().__init__()
        self.with_level = token_values == "with_level"
        self.norm_in = nn.LayerNorm(values, eps=eps)
        self.linear = nn.Linear(values + 2 * self.with_level, dim)
        self.norm_out = nn.LayerNorm(dim, eps=eps)

    def forward(self, values: Tensor) -> Tensor:
        """(N, S, values), any float dtype -> (N, S, D)."""
        values = values.to(self.linear.weight.dtype)
        inputs = self.norm_in(values)
        if self.with_level:
            level, spread = values.mean(-1, keepdim=True), values.std(-1, keepdim=True, correction=0)
            inputs = torch.cat([inputs, level, spread], dim=-1)
        return self.norm_out(self.linear(inputs))  # type: ignore[no-any-return]
