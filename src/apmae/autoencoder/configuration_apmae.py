"""Configuration of AP-MAE, by default Table 1 of the paper."""

from __future__ import annotations

from typing import Any, get_args

from transformers import PreTrainedConfig
from transformers.activations import ACT2FN

from apmae.autoencoder.paper_release import is_released_config, translate_config
from apmae.autoencoder.patterns import causal_patch_count
from apmae.common.errors import ApmaeError
from apmae.vocabulary import DecoderContext, EncodePatches, Readout, Scaling, TokenValues

RENAMED = {"row_loss_share": "row_loss_fraction"}
"""Keys of earlier versions and their names today."""

_CHOICES = {
    "decoder_context": get_args(DecoderContext),
    "encode_patches": get_args(EncodePatches),
    "scaling": get_args(Scaling),
    "token_values": get_args(TokenValues),
    "hidden_act": tuple(ACT2FN),
}
_COUNTS = (
    "pattern_size",
    "patch_size",
    *(f"encoder_{size}" for size in ("layers", "dim", "heads", "head_dim", "mlp_dim")),
    *(f"decoder_{size}" for size in ("layers", "dim", "heads", "head_dim", "mlp_dim")),
)


class APMAEConfig(PreTrainedConfig):  # type: ignore[misc]
    """Configuration of `APMAEModel`.

    Args:
        pattern_size: side T of a pattern, in tokens.
        patch_size: side P of a patch, in tokens; divides `pattern_size`.
        mask_ratio: masked fraction of the lower-triangle patches, rounded down.
        encoder_layers, encoder_dim, encoder_heads, encoder_head_dim, encoder_mlp_dim: encoder's size;
            attention has heads x head_dim inner channels.
        decoder_layers, decoder_dim, decoder_heads, decoder_head_dim, decoder_mlp_dim: decoder's size.
        hidden_act: activation of the MLPs, a name that Transformers knows.
        layer_norm_eps: epsilon of every LayerNorm.
        qkv_bias: whether queries, keys and values have a bias.
        decoder_context: `visible`: the decoder sees every encoded token; `cls`: only [CLS], as in
            the paper's released models, see `Decoder`.
        encode_patches: `causal`: encode the lower-triangle patches; `all`: the whole grid, as in the
            paper's released models.
        scaling: scaling of the input patterns, see `apmae.autoencoder.patterns.scale`. The model only
            records it.
        token_values: embedding of a token's values: `normalized`: their LayerNorm (paper);
            `with_level`: their LayerNorm, mean and standard deviation.
        row_tokens: whether pieces of the pattern's last row are further tokens.
        row_token_size: width of these pieces, in tokens of the target; divides `patch_size`, which is
            the default.
        row_loss_fraction: the row tokens' fraction of the loss, if there are any; the patches have the
            rest.

    Raises:
        ApmaeError: a value is out of its range.
    """

    model_type = "ap_mae"

    pattern_size: int = 256
    patch_size: int = 32
    mask_ratio: float = 0.5
    encoder_layers: int = 24
    encoder_dim: int = 512
    encoder_heads: int = 16
    encoder_head_dim: int = 64
    encoder_mlp_dim: int = 2048
    decoder_layers: int = 8
    decoder_dim: int = 512
    decoder_heads: int = 8
    decoder_head_dim: int = 64
    decoder_mlp_dim: int = 2048
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-12
    qkv_bias: bool = False
    decoder_context: DecoderContext = "visible"
    encode_patches: EncodePatches = "causal"
    scaling: Scaling = "min_normalized"
    token_values: TokenValues = "normalized"
    row_tokens: bool = False
    row_token_size: int | None = None
    row_loss_fraction: float = 0.5

    def __post_init__(self, **kwargs: object) -> None:
        super().__post_init__(**kwargs)
        self.check()

    @classmethod
    def paper(cls, **overrides: object) -> APMAEConfig:
        """Table 1 of the paper: 101 M parameters in the encoder, 25 M in the decoder."""
        return cls(**overrides)

    @classmethod
    def small(cls, **overrides: object) -> APMAEConfig:
        """3.7 M parameters: trains on a laptop."""
        return cls(**_size(192, heads=6, layers=(6, 2), mlp_dims=(768, 384)) | overrides)

    @classmethod
    def tiny(cls, **overrides: object) -> APMAEConfig:
        """0.8 M parameters: for the demo and for tests."""
        return cls(**_size(128, heads=4, layers=(3, 1), mlp_dims=(256, 256)) | overrides)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: object) -> Any:
        """As in Transformers. Keys of the paper's release and of earlier versions are translated."""
        if is_released_config(config_dict):
            config_dict = translate_config(config_dict)
        config_dict = {RENAMED.get(name, name): value for name, value in config_dict.items()}
        return super().from_dict(config_dict, **kwargs)

    @property
    def grid_size(self) -> int:
        """Patches per side, G."""
        return self.pattern_size // self.patch_size

    @property
    def causal_patches(self) -> int:
        """Lower-triangle patches, K = G (G + 1) / 2."""
        return causal_patch_count(self.grid_size)

    @property
    def row_token_count(self) -> int:
        """Row tokens, R; 0 without them."""
        return self.pattern_size // self.row_token_width if self.row_tokens else 0

    @property
    def row_token_width(self) -> int:
        """Values of a row token, W: `row_token_size`, or P."""
        return self.row_token_size or self.patch_size

    def readout_dim(self, readout: Readout) -> int:
        """Channels of an encoding."""
        side_by_side = {"row_ends": 2, "row_concat": self.row_token_count or self.grid_size}
        return self.encoder_dim * side_by_side.get(readout, 1)

    def check(self) -> None:
        """Raise ApmaeError, in one line, if a value is out of its range."""
        for name in _COUNTS:
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ApmaeError(f"{name} is {value!r}; it must be a whole number of at least 1")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ApmaeError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(choices)}")
        if self.pattern_size % self.patch_size:
            raise ApmaeError(f"patch_size {self.patch_size} does not divide pattern_size {self.pattern_size}")
        size = self.row_token_size
        if size is not None and (not isinstance(size, int) or size < 1 or self.patch_size % size):
            raise ApmaeError(f"row_token_size {size!r} does not divide patch_size {self.patch_size}")
        for name in ("mask_ratio", "row_loss_fraction"):
            value = getattr(self, name)
            if not isinstance(value, float) or not 0 < value < 1:
                raise ApmaeError(f"{name} is {value!r}; it must lie between 0 and 1")
        self._check_mask_ratio()

    def _check_mask_ratio(self) -> None:
        group = self.grid_size if self.row_tokens else self.causal_patches
        if int(self.mask_ratio * group) == 0:
            kind = "patches of the last row" if self.row_tokens else "patches"
            raise ApmaeError(f"mask_ratio {self.mask_ratio} masks none of the {group} {kind}")


def _size(dim: int, *, heads: int, layers: tuple[int, int], mlp_dims: tuple[int, int]) -> dict[str, int]:
    """Encoder and decoder of one width, with attention heads of 32 channels."""
    return {
        f"{part}_{name}": value
        for part, part_layers, mlp_dim in zip(("encoder", "decoder"), layers, mlp_dims, strict=True)
        for name, value in {
            "layers": part_layers,
            "dim": dim,
            "heads": heads,
            "head_dim": 32,
            "mlp_dim": mlp_dim,
        }.items()
    }
