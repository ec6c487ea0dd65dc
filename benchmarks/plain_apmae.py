"""A plain masked autoencoder of the paper's size, as one would first write it, to compare with.

Float32, attention in separate operations, all 64 patches and [CLS] through encoder and decoder.
`visible_only` leaves the masked patches out of the encoder, as the paper's release does in training.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

PATTERN_SIZE = 256
PATCH_SIZE = 32
GRID = PATTERN_SIZE // PATCH_SIZE
DIM = 512
HEAD_DIM = 64
MLP_DIM = 2048
ENCODER_LAYERS, DECODER_LAYERS = 24, 8


class Layer(nn.Module):
    """Pre-norm attention and MLP."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        inner = heads * HEAD_DIM
        self.heads = heads
        self.attention_norm, self.mlp_norm = nn.LayerNorm(DIM), nn.LayerNorm(DIM)
        self.query, self.key, self.value = (nn.Linear(DIM, inner, bias=False) for _ in range(3))
        self.out = nn.Linear(inner, DIM)
        self.mlp = nn.Sequential(nn.Linear(DIM, MLP_DIM), nn.GELU(), nn.Linear(MLP_DIM, DIM))

    def forward(self, x: Tensor) -> Tensor:
        """(N, S, D) -> (N, S, D)."""
        normed = self.attention_norm(x)
        query, key, value = (
            project(normed).unflatten(-1, (self.heads, HEAD_DIM)).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        weights = torch.softmax(query @ key.transpose(-1, -2) / HEAD_DIM**0.5, dim=-1)
        x = x + self.out((weights @ value).transpose(1, 2).flatten(2))
        return x + self.mlp(self.mlp_norm(x))


class PlainAutoencoder(nn.Module):
    """24 encoder layers with 16 heads, 8 decoder layers with 8 heads."""

    def __init__(self, *, visible_only: bool = False) -> None:
        super().__init__()
        area = PATCH_SIZE**2
        self.visible_only = visible_only
        self.embed = nn.Sequential(nn.LayerNorm(area), nn.Linear(area, DIM), nn.LayerNorm(DIM))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, DIM))
        self.mask_token = nn.Parameter(torch.zeros(DIM))
        self.positions = nn.Parameter(torch.randn(1, GRID**2, DIM) * 0.02)
        self.encoder = nn.Sequential(*(Layer(heads=16) for _ in range(ENCODER_LAYERS)), nn.LayerNorm(DIM))
        self.decoder = nn.Sequential(*(Layer(heads=8) for _ in range(DECODER_LAYERS)), nn.LayerNorm(DIM))
        self.head = nn.Linear(DIM, area)

    def encode(self, patterns: Tensor) -> Tensor:
        """(N, T, T) -> (N, D)."""
        return self._encode(self.embed(_patches(patterns)) + self.positions)[:, 0]

    def forward(self, patterns: Tensor) -> Tensor:
        """The loss over 18 of the 36 lower-triangle patches."""
        patches = _patches(patterns)
        embedded = self.embed(patches) + self.positions
        rows, columns = torch.tril_indices(GRID, GRID)
        shuffled = (rows * GRID + columns)[torch.rand(len(patterns), len(rows)).argsort(1)]
        masked, visible = shuffled.chunk(2, dim=1)
        spread = embedded.new_zeros(1).expand_as(embedded)
        if self.visible_only:
            encoded = self._encode(_take(embedded, visible))
            tokens = spread.scatter(1, _index(visible, embedded), encoded[:, 1:])
        else:
            encoded = self._encode(embedded.scatter(1, _index(masked, embedded), 0))
            tokens = encoded[:, 1:]
        tokens = tokens.scatter(1, _index(masked, embedded), self.mask_token.expand(*masked.shape, DIM))
        decoded = self.decoder(torch.cat([encoded[:, :1], tokens + self.positions], 1))[:, 1:]
        return nn.functional.mse_loss(self.head(_take(decoded, masked)), _take(patches, masked))

    def _encode(self, embedded: Tensor) -> Tensor:
        cls = self.cls_token.expand(len(embedded), -1, -1)
        return self.encoder(torch.cat([cls, embedded], 1))


def _patches(patterns: Tensor) -> Tensor:
    cells = patterns.unflatten(-1, (GRID, PATCH_SIZE)).unflatten(-3, (GRID, PATCH_SIZE))
    return cells.transpose(-3, -2).flatten(-2).flatten(-3, -2)


def _index(index: Tensor, values: Tensor) -> Tensor:
    return index[..., None].expand(-1, -1, values.shape[-1])


def _take(values: Tensor, index: Tensor) -> Tensor:
    return values.gather(1, _index(index, values))
