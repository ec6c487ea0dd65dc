"""The paper's released checkpoints (hub: LaughingLogits/AP-MAE-SC2-3B, -7B, -15B), in our format.

Their config.json holds the whole training run, and `max_length` is the pattern's size. Their model is
`APMAEModel` with other tensor names. It differs from the paper in two points, which the config records. The
decoder sees only [CLS] (`decoder_context: cls`). Encodings use all patches of the grid, although those above
the diagonal were never trained on (`encode_patches: all`).
"""

from __future__ import annotations

import re
from typing import Any

from apmae.common.errors import ApmaeError

_SAME_KEYS = (
    "patch_size",
    "mask_ratio",
    "encoder_layers",
    "encoder_dim",
    "encoder_heads",
    "encoder_mlp_dim",
    "decoder_layers",
    "decoder_dim",
    "decoder_heads",
    "decoder_mlp_dim",
    "hidden_act",
    "layer_norm_eps",
    "qkv_bias",
)
_RENAMED_KEYS = {
    "max_length": "pattern_size",
    "encoder_dim_head": "encoder_head_dim",
    "decoder_dim_head": "decoder_head_dim",
}
_SCALINGS = {"log_normalize": "min_normalized", None: "probability"}

_TENSOR_NAMES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in [
        (r"^decoder\.to_pixels\.", "patch_head."),
        (r"^decoder\.enc_to_dec\.", "decoder.project."),  # there where the decoder has another width
        (r"pos_embedding$", "positions"),
        (r"patches_to_embedding\.0\.", "embed_patches.norm_in."),
        (r"patches_to_embedding\.1\.", "embed_patches.linear."),
        (r"patches_to_embedding\.2\.", "embed_patches.norm_out."),
        (r"(layers\.\d+)\.0\.norm\.", r"\1.attention.norm."),
        (r"(layers\.\d+)\.0\.to_qkv\.", r"\1.attention.qkv."),
        (r"(layers\.\d+)\.0\.to_out\.0\.", r"\1.attention.out."),
        (r"(layers\.\d+)\.1\.net\.0\.", r"\1.mlp.norm."),
        (r"(layers\.\d+)\.1\.net\.1\.", r"\1.mlp.up."),
        (r"(layers\.\d+)\.1\.net\.4\.", r"\1.mlp.down."),
    ]
]


def is_released_config(config: dict[str, Any]) -> bool:
    """Whether a config.json was written by the paper's code."""
    return "encoder_dim_head" in config


def translate_config(released: dict[str, Any]) -> dict[str, Any]:
    """The keys of `APMAEConfig` from a released config.json.

    Raises:
        ApmaeError: a key is missing, or the model was trained on an unsupported scaling.
    """
    scaler = released.get("attention_scaler")
    if scaler not in _SCALINGS:
        raise ApmaeError(f"released checkpoint: attention_scaler {scaler!r} is not supported")
    names = {key: key for key in _SAME_KEYS} | _RENAMED_KEYS
    missing = [key for key in names if key not in released]
    if missing:
        raise ApmaeError(f"released checkpoint: config.json has no {', '.join(missing)}")
    return {
        **{ours: released[theirs] for theirs, ours in names.items()},
        "decoder_context": "cls",
        "encode_patches": "all",
        "scaling": _SCALINGS[scaler],
    }


def translate_tensor_name(released: str) -> str:
    """Our name of a tensor in a released state dict. Names in our format stay as they are."""
    for pattern, replacement in _TENSOR_NAMES:
        released = pattern.sub(replacement, released)
    return released
