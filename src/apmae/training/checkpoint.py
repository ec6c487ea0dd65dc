"""Checkpoints of a training: weights, the state of its optimisers, and a few words.

Everything else must be a function of the step: the batch, the noise, the learning rate.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from apmae.common.atomic import replacing

CHECKPOINT = "checkpoint.safetensors"
WEIGHT = "weight"


def save_checkpoint(
    path: Path, model: nn.Module, optimizers: Iterable[torch.optim.Optimizer], words: Mapping[str, str]
) -> None:
    """Write a checkpoint for `restore_checkpoint`. A kill during the write leaves the last one intact.

    Args:
        words: further state of the training, above all its step.
    """
    optimizers = list(optimizers)
    tensors: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        tensors[f"{WEIGHT}/{name}"] = parameter.detach()
        for optimizer in optimizers:
            for key, value in optimizer.state.get(parameter, {}).items():
                tensors[f"{key}/{name}"] = value
    with replacing(path) as temporary:
        save_file(tensors, temporary, dict(words))


def restore_checkpoint(
    path: Path, model: nn.Module, optimizers: Iterable[torch.optim.Optimizer]
) -> dict[str, str] | None:
    """Load a checkpoint and return its words; None if there is no checkpoint."""
    if not path.exists():
        return None
    owners = {
        parameter: optimizer
        for optimizer in optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    parameters = dict(model.named_parameters())
    with safe_open(path, "pt") as checkpoint:
        for full_name in checkpoint.keys():  # noqa: SIM118
            key, _, name = full_name.partition("/")
            parameter, value = parameters[name], checkpoint.get_tensor(full_name)
            if key == WEIGHT:
                parameter.data.copy_(value)
            else:
                owners[parameter].state[parameter][key] = value.to(parameter.device)
        words: dict[str, str] = checkpoint.metadata()
    return words
