"""AP-MAE, the masked autoencoder over attention patterns (paper section 4).

Four steps:

1. `tokenize` cuts the lower-triangle patches and, optionally, the last row into tokens.
2. `Encoder` embeds them, adds learned positions and [CLS], and encodes the visible tokens only.
3. `Decoder` fills the masked places and decodes all of them.
4. `APMAEModel` predicts the masked values linearly. The loss is their mean squared error.

Shape suffixes: N patterns, T tokens of a pattern, P patch side, G = T / P patches per side,
K = G (G + 1) / 2 lower-triangle patches, R row tokens, S = K + R; V visible and M masked tokens,
V + M = S; D channels.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, get_args

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from apmae.autoencoder.configuration_apmae import APMAEConfig
from apmae.autoencoder.layers import TokenEmbedding, Transformer, TransformerSize
from apmae.autoencoder.patterns import causal_patch_indices, unpatchify
from apmae.autoencoder.saved_model import HUB_OPTIONS, load_config, load_state
from apmae.autoencoder.tokens import Masking, PatternTokens, check_tokens, gather, mask_tokens, tokenize
from apmae.common.errors import ApmaeError
from apmae.vocabulary import Readout

INIT_STD = 0.02


@dataclass
class APMAEOutput(ModelOutput):  # type: ignore[misc]
    """Output of `APMAEModel`."""

    loss: Tensor | None = None
    """() float32: mean squared error over the masked patches; with row tokens, the weighted mean of this
    and the error over the masked row tokens, by `row_loss_fraction`. Zeros above the diagonal count, as in
    the release."""
    reconstruction: Tensor | None = None
    """(N, T, T) float32, without gradient: masked patches as predicted, visible patches as given; None if
    not requested."""
    mask: Tensor | None = None
    """(N, S) bool, True where masked: K patches, then R row tokens."""
    losses: Tensor | None = None
    """(N,) float32: the loss of every pattern. `loss` is their mean."""


class Encoder(nn.Module):
    """Embeds tokens and encodes some or all of them."""

    def __init__(self, config: APMAEConfig) -> None:
        super().__init__()
        dim, eps, values = config.encoder_dim, config.layer_norm_eps, config.token_values
        size = TransformerSize(
            config.encoder_layers, dim, config.encoder_heads, config.encoder_head_dim, config.encoder_mlp_dim
        )
        self.grid_size = config.grid_size
        self.cls_token = nn.Parameter(torch.empty(1, 1, dim))
        self.positions = nn.Parameter(torch.empty(1, 1 + config.grid_size**2, dim))
        self.embed_patches = TokenEmbedding(config.patch_size**2, dim, eps, values)
        if config.row_tokens:
            self.row_positions = nn.Parameter(torch.empty(1, config.row_token_count, dim))
            self.embed_rows = TokenEmbedding(config.row_token_width, dim, eps, values)
        self.transformer = Transformer(size, config)

    def embed(self, tokens: PatternTokens, *, whole_grid: bool = False) -> Tensor:
        """Embed and add positions.

        Args:
            whole_grid: include the patches above the diagonal, which are zero.

        Returns:
            (N, S, D); with `whole_grid` (N, S + G (G - 1) / 2, D), all patches in row-major order.
        """
        patches, positions = tokens.patches, self.positions[:, 1:]
        places = causal_patch_indices(self.grid_size, patches.device)
        if whole_grid:
            grid = patches.new_zeros(len(patches), self.grid_size**2, patches.shape[-1])
            patches = grid.index_copy(1, places, patches)
        else:
            positions = positions[:, places]
        embedded = self.embed_patches(patches) + positions
        if tokens.rows is None:
            return embedded  # type: ignore[no-any-return]
        return torch.cat([embedded, self.embed_rows(tokens.rows) + self.row_positions], dim=1)

    def embed_visible(self, tokens: PatternTokens, masking: Masking) -> Tensor:
        """Embed the V visible tokens only and add positions: (N, V, D), equal to `embed`'s."""
        count = tokens.patches.shape[1]
        patches = masking.visible[:, : masking.visible_patches]
        places = causal_patch_indices(self.grid_size, patches.device)
        positions = nn.functional.embedding(places[patches], self.positions[0, 1:])
        embedded = self.embed_patches(gather(tokens.patches, patches)) + positions
        if tokens.rows is None:
            return embedded  # type: ignore[no-any-return]
        rows = masking.visible[:, masking.visible_patches :] - count
        row_positions = nn.functional.embedding(rows, self.row_positions[0])
        of_rows = self.embed_rows(gather(tokens.rows, rows)) + row_positions
        return torch.cat([embedded, of_rows], dim=1)

    def forward(self, embedded_NVD: Tensor) -> Tensor:
        """Encode [CLS] and the given tokens: (N, V, D) -> (N, 1 + V, D)."""
        cls = self.cls_token + self.positions[:, :1]
        x = torch.cat([cls.expand(len(embedded_NVD), -1, -1), embedded_NVD], dim=1)
        return self.transformer(x)  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Decodes the masked tokens from the encoded visible ones, or from [CLS] alone.

    With `decoder_context: visible`, visible tokens keep their encoding, masked places hold the mask token,
    and every place adds its position, as in the masked autoencoder of He et al. (2022). `cls` follows the
    released models. There the mask token overwrites the *visible* tokens, while masked places and those
    above the diagonal hold only a position. So [CLS] is all that the decoder sees of the pattern.
    """

    def __init__(self, config: APMAEConfig) -> None:
        super().__init__()
        dim = config.decoder_dim
        size = TransformerSize(
            config.decoder_layers, dim, config.decoder_heads, config.decoder_head_dim, config.decoder_mlp_dim
        )
        self.grid_size = config.grid_size
        self.sees_visible = config.decoder_context == "visible"
        same_width = config.encoder_dim == dim
        self.project = nn.Identity() if same_width else nn.Linear(config.encoder_dim, dim)
        self.mask_token = nn.Parameter(torch.empty(dim))
        self.positions = nn.Parameter(torch.empty(1, 1 + config.grid_size**2, dim))
        self.row_positions = (
            nn.Parameter(torch.empty(1, config.row_token_count, dim)) if config.row_tokens else None
        )
        self.transformer = Transformer(size, config)

    def forward(self, encoded_NVD: Tensor, masking: Masking) -> Tensor:
        """Decode: [CLS] and V encoded tokens, (N, 1 + V, D) -> (N, M, D)."""
        x = self.project(encoded_NVD)
        cls, visible = x[:, :1], x[:, 1:]
        positions = self._positions()
        shape = (len(x), positions.shape[1] - 1, x.shape[-1])
        mask_token = self.mask_token.to(x.dtype)
        if self.sees_visible:
            content = _put(mask_token.expand(shape), masking.visible, visible)
        else:
            content = _put(x.new_zeros(shape), masking.visible, mask_token.expand_as(visible))
        decoded = self.transformer(torch.cat([cls, content], dim=1) + positions)
        return gather(decoded, 1 + masking.masked)

    def _positions(self) -> Tensor:
        """Positions of [CLS], the S tokens and, for `cls`, the places above the diagonal."""
        grid = self.positions[:, 1:]
        places = causal_patch_indices(self.grid_size, grid.device)
        parts = [self.positions[:, :1], grid[:, places]]
        if self.row_positions is not None:
            parts.append(self.row_positions)
        if not self.sees_visible:
            rows, columns = torch.triu_indices(self.grid_size, self.grid_size, 1, device=grid.device).unbind()
            parts.append(grid[:, rows * self.grid_size + columns])
        return torch.cat(parts, dim=1)


class APMAEModel(PreTrainedModel):  # type: ignore[misc]
    """AP-MAE (paper section 4, Table 1)."""

    config_class = APMAEConfig
    base_model_prefix = "ap_mae"
    main_input_name = "patterns"
    _no_split_modules = ("Layer",)
    _supports_sdpa = True

    def __init__(self, config: APMAEConfig) -> None:
        super().__init__(config)
        config.check()
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.patch_head = nn.Linear(config.decoder_dim, config.patch_size**2)
        if config.row_tokens:
            self.row_head = nn.Linear(config.decoder_dim, config.row_token_width)
        self.post_init()

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *args: object,
        config: APMAEConfig | None = None,
        **kwargs: object,
    ) -> Self:
        """Load a model from a directory or from the Hugging Face hub, in our format or the paper's.

        A model released by the paper gets `decoder_context="cls"` and `encode_patches="all"`.
        `save_pretrained` writes it in our format. Weights are read from `model.safetensors` only, which
        must contain every tensor with its shape. Further arguments are those of Transformers.

        Raises:
            ApmaeError: the model does not exist, or a file or tensor is wrong; the message names it.
        """
        hub = {key: kwargs.pop(key) for key in HUB_OPTIONS if key in kwargs}
        path = os.fspath(pretrained_model_name_or_path)
        if config is None:
            config, kwargs = load_config(path, hub, kwargs)
        try:
            with torch.device("meta"):
                shapes = {name: tensor.shape for name, tensor in cls(config).state_dict().items()}
            state = load_state(path, hub, shapes)
            model = super().from_pretrained(None, *args, config=config, state_dict=state, **kwargs)
        except ApmaeError:
            raise
        except Exception as error:  # whatever Transformers makes of a damaged config.json
            line = str(error).partition("\n")[0]
            raise ApmaeError(f"{path}: no model can be made of its config.json ({line})") from error
        model.config.name_or_path = model.name_or_path = path
        return model  # type: ignore[no-any-return]

    def tokenize(self, patterns: Tensor) -> PatternTokens:
        """Cut patterns (N, T, T), scaled by `config.scaling`, into this model's tokens.

        For callers that collect patterns piece by piece and feed them later. Tokens take half the memory,
        and `forward` and `encode` accept them in place of patterns, in any float dtype.

        Raises:
            ApmaeError: the patterns and the model differ in size.
        """
        return tokenize(patterns, self.config)

    def forward(
        self, patterns: Tensor | PatternTokens, noise: Tensor | None = None, *, reconstruct: bool = True
    ) -> APMAEOutput:
        """Mask, encode, decode and compare.

        Args:
            patterns: (N, T, T), scaled by `config.scaling`, or tokens of them.
            noise: (N, K) uniform; the patches with the largest noise are masked, see
                `apmae.autoencoder.tokens.mask_tokens`. Drawn if None.
            reconstruct: combine predictions and visible patches into patterns. Training does not need
                them, and in a small model this takes as long as everything else.

        Raises:
            ApmaeError: patterns, tokens or noise differ in size from the model.
        """
        tokens = self._tokens(patterns)
        if noise is None:
            noise = torch.rand(tokens.patches.shape[:2], device=tokens.patches.device)
        masking = mask_tokens(noise, self.config)
        encoded = self.encoder(self.encoder.embed_visible(tokens, masking))
        decoded = self.decoder(encoded, masking)

        masked_patches = masking.masked[:, : masking.masked_patches]
        predicted = self.patch_head(decoded[:, : masking.masked_patches]).float()
        losses = _squared_error(predicted, gather(tokens.patches, masked_patches).float())
        if tokens.rows is not None:
            masked_rows = masking.masked[:, masking.masked_patches :] - self.config.causal_patches
            predicted_rows = self.row_head(decoded[:, masking.masked_patches :]).float()
            row_losses = _squared_error(predicted_rows, gather(tokens.rows, masked_rows).float())
            losses = torch.lerp(losses, row_losses, self.config.row_loss_fraction)

        reconstruction = None
        if reconstruct:
            patches = _put(tokens.patches.float(), masked_patches, predicted.detach())
            reconstruction = unpatchify(patches, self.config.patch_size)
        mask = _mask(masking)
        return APMAEOutput(loss=losses.mean(), reconstruction=reconstruction, mask=mask, losses=losses)

    def encode(self, patterns: Tensor | PatternTokens, readout: Readout = "cls") -> Tensor:
        """Encode patterns without masking: (N, T, T) or tokens -> (N, D), (N, 2 * D) or (N, R * D).

        Args:
            readout: `cls`: [CLS]; `row`: mean over the row tokens or, without them, over the last row
                of patches; `row_ends`: the first and the last of these side by side, which see the
                attention sink and the nearest tokens; `row_concat`: all of them side by side; `mean`:
                mean over all tokens but [CLS].

        Raises:
            ApmaeError: patterns and model differ in size, or the readout is unknown.
        """
        return self.encode_readouts(patterns, (readout,))[readout]

    def encode_readouts(
        self, patterns: Tensor | PatternTokens, readouts: Sequence[Readout]
    ) -> dict[str, Tensor]:
        """Several readouts from one pass, see `encode`."""
        encoded_NSD = self.encode_sequence(patterns)
        return {readout: self._read_out(encoded_NSD, readout) for readout in readouts}

    def encode_sequence(self, patterns: Tensor | PatternTokens) -> Tensor:
        """Encode patterns without masking and keep every token.

        Returns:
            (N, 1 + S, D): [CLS], the K lower-triangle patches (with `encode_patches: all` the G * G
            of the grid) in row-major order, and the R row tokens.
        """
        tokens = self._tokens(patterns)
        whole_grid = self.config.encode_patches == "all"
        embedded = self.encoder.embed(tokens, whole_grid=whole_grid)
        return self.encoder(embedded)  # type: ignore[no-any-return]

    def _read_out(self, encoded_NSD: Tensor, readout: Readout) -> Tensor:
        if readout == "cls":
            return encoded_NSD[:, 0]
        if readout == "mean":
            return encoded_NSD[:, 1:].mean(1)
        # Row tokens come last. Without them, the last row of patches does.
        row_NRD = encoded_NSD[:, -(self.config.row_token_count or self.config.grid_size) :]
        if readout == "row":
            return row_NRD.mean(1)
        if readout == "row_ends":
            return row_NRD[:, [0, -1]].flatten(1)
        if readout == "row_concat":
            return row_NRD.flatten(1)
        raise ApmaeError(f"unknown readout {readout!r}; choose one of {', '.join(get_args(Readout))}")

    def _tokens(self, patterns: Tensor | PatternTokens) -> PatternTokens:
        if isinstance(patterns, Tensor):
            return self.tokenize(patterns)
        check_tokens(patterns, self.config)
        return patterns

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            init.trunc_normal_(module.weight, std=INIT_STD)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, Encoder | Decoder):
            for parameter in module.parameters(recurse=False):
                init.trunc_normal_(parameter, std=INIT_STD)
            for child in module.children():
                if isinstance(child, TokenEmbedding):
                    # A constant patch is 0 after the first LayerNorm. With a zero bias the second one would
                    # divide 0 by sqrt(layer_norm_eps), and its gradient would be 1e6 times too large.
                    init.trunc_normal_(child.linear.bias, std=INIT_STD)


def _squared_error(predicted_NMD: Tensor, true_NMD: Tensor) -> Tensor:
    """Mean squared error of every pattern, (N,)."""
    return nn.functional.mse_loss(predicted_NMD, true_NMD, reduction="none").mean((1, 2))


def _put(tokens_NSD: Tensor, index_NM: Tensor, values_NMD: Tensor) -> Tensor:
    """Replace the tokens at `index_NM`, out of place."""
    return tokens_NSD.scatter(1, index_NM[..., None].expand_as(values_NMD), values_NMD)


def _mask(masking: Masking) -> Tensor:
    token_count = masking.visible.shape[1] + masking.masked.shape[1]
    mask = masking.masked.new_zeros(len(masking.masked), token_count, dtype=torch.bool)
    return mask.scatter(1, masking.masked, True)
