"""Loading a target model and its tokenizer."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    GgufConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from apmae.common import devices
from apmae.common.errors import ApmaeError, ApmaeWarning
from apmae.target_model.source import Source, resolve
from apmae.target_model.tokenizer import load_tokenizer

LONGEST_REASON = 200
"""Characters of a library's message."""


def load_model_and_tokenizer(
    model: str, dtype: str, device: str, trust_remote_code: bool
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a causal language model with its own eager attention, and its tokenizer.

    Args:
        model: hub id, directory, `.gguf` file or alias.
        dtype: `float32`, `bfloat16`, `float16`, or `auto`, the device's fast precision.
        device: torch device, `auto`, or `balanced` (spread over the available GPUs).

    Raises:
        ApmaeError: the model does not exist or cannot be loaded; the message names it.
    """
    source = resolve(model)
    if source.instead_of:
        _warn_of_other_weights(model, source)
    options: dict[str, Any] = {"use_safetensors": True}
    if source.gguf_file:
        options = {"gguf_file": source.gguf_file, "quantization_config": GgufConfig(dequantize=True)}
    placement = "balanced" if device == "balanced" else None
    torch_device = devices.torch_device(device)
    if dtype == "auto":
        dtype = devices.native_precision(torch_device)
    devices.warn_if_emulated(torch_device.type, dtype)
    try:
        tokenizer = load_tokenizer(source, trust_remote_code)
        network, found = AutoModelForCausalLM.from_pretrained(
            source.location,
            dtype=getattr(torch, dtype),
            attn_implementation="eager",
            trust_remote_code=trust_remote_code,
            device_map=placement,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by their names
            **options,
        )
    except Exception as error:  # whatever a library raises of files that are not as they should be
        raise ApmaeError(f"target.model {model!r} cannot be loaded: {_reason(error)}") from error
    _refuse_drawn_weights(model, found)
    if placement is None:
        network.to(torch_device)
    return network.eval().requires_grad_(False), tokenizer


def _reason(error: Exception) -> str:
    """The first line of what a library says, with the error's name where that says nothing by itself."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    named = (
        text if text and isinstance(error, OSError | ValueError) else f"{type(error).__name__} {text}".strip()
    )
    return textwrap.shorten(named, LONGEST_REASON, placeholder=" …")


def _refuse_drawn_weights(model: str, found: Mapping[str, Any]) -> None:
    """Refuse a checkpoint that lacks weights: Transformers draws these at random."""
    lacking = sorted({*found["missing_keys"], *(name for name, *_ in found["mismatched_keys"])})
    if lacking:
        others = sorted(found["unexpected_keys"])
        instead = f", and has {others[0]}, which the model has not" if others else ""
        raise ApmaeError(
            f"target.model {model!r}: its checkpoint lacks {len(lacking)} of the model's weights in their "
            f"size, such as {lacking[0]}{instead}"
        )


@cache
def _warn_of_other_weights(model: str, source: Source) -> None:
    """Say once that an alias stands for other weights here."""
    warnings.warn(
        f"target.model {model!r} has the weights of {source.location} from the hub: "
        f"{source.instead_of} is not installed",
        ApmaeWarning,
        stacklevel=2,
    )
