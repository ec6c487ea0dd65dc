"""Reading a saved AP-MAE strictly: a missing tensor is an error, not a warning as in Transformers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers.utils import cached_file

from apmae.autoencoder.configuration_apmae import APMAEConfig
from apmae.autoencoder.paper_release import translate_tensor_name
from apmae.common.errors import ApmaeError

WEIGHTS = "model.safetensors"
HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder")
"""Arguments of `from_pretrained` that select files of the hub."""


def load_config(
    path: str, hub: dict[str, Any], overrides: dict[str, Any]
) -> tuple[APMAEConfig, dict[str, Any]]:
    """Read config.json, in our format or a released one, and apply overrides.

    Returns:
        The config, and the overrides that are not keys of it.

    Raises:
        ApmaeError: `path`, a directory or hub id, has no config, or not one of an AP-MAE.
    """
    try:
        values, _ = APMAEConfig.get_config_dict(path, **hub)
    except Exception as error:  # Transformers takes some damaged files for configs
        raise _unreadable(path, "config.json", error) from None
    if not values:
        raise ApmaeError(f"{path}: no config.json there")
    if values.get("model_type") != APMAEConfig.model_type:
        raise ApmaeError(f"{path}: config.json is not an AP-MAE's (model_type {values.get('model_type')!r})")
    try:
        config, rest = APMAEConfig.from_dict(values, return_unused_kwargs=True, **overrides)
    except ApmaeError:
        raise
    except Exception as error:  # whatever Transformers makes of a value of another kind
        raise ApmaeError(f"{path}: config.json is damaged ({_first_line(error)})") from None
    return config, rest


def load_state(path: str, hub: dict[str, Any], shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Read model.safetensors, with our names, and compare it with the `shapes` of the model.

    Raises:
        ApmaeError: the file is missing or cut short, or a tensor is missing, unknown or misshapen.
    """
    file = _find_weights(path, hub)
    try:
        released = load_file(file)
    except (SafetensorError, OSError) as error:
        raise ApmaeError(f"{file}: not a whole safetensors file ({_first_line(error)})") from None
    state = {translate_tensor_name(name): tensor for name, tensor in released.items()}
    theirs = {translate_tensor_name(name): name for name in released}
    if missing := sorted(shapes.keys() - state.keys()):
        raise ApmaeError(f"{file}: tensor missing: {_listed(missing)}")
    if extra := sorted(state.keys() - shapes.keys()):
        raise ApmaeError(f"{file}: tensor unknown to this model: {_listed([theirs[name] for name in extra])}")
    for name, shape in shapes.items():
        if state[name].shape != shape:
            raise ApmaeError(
                f"{file}: tensor {theirs[name]} has shape {tuple(state[name].shape)}, "
                f"but config.json asks for {tuple(shape)}"
            )
    return state


def _find_weights(path: str, hub: dict[str, Any]) -> str:
    try:
        file = cached_file(path, WEIGHTS, **hub, _raise_exceptions_for_missing_entries=False)
    except (OSError, ValueError) as error:
        raise _unreadable(path, WEIGHTS, error) from None
    if file is None:
        raise ApmaeError(
            f"{path}: no {WEIGHTS}; weights are read from safetensors only, never from a pickle "
            "such as pytorch_model.bin"
        )
    return str(file)


def _unreadable(path: str, name: str, error: Exception) -> ApmaeError:
    if Path(path).is_dir():
        return ApmaeError(f"{path}: {name} cannot be read")
    return ApmaeError(
        f"{path}: no such directory, and no model of that name could be read from the Hugging Face hub "
        f"({_first_line(error)})"
    )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
