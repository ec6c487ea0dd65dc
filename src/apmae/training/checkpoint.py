"""What a killed training goes on from: weights, the optimiser's moments, the step, the history.

Everything else is a function of the step: the batch, the mask noise, the learning rate.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from apmae.atomic import replacing, write_parquet

CHECKPOINT = "checkpoint.safetensors"
MOMENTS = ("exp_avg", "exp_avg_sq")
HISTORY = "history.parquet"
HISTORY_SCHEMA = pl.Schema(
    {
        "step": pl.Int64,
        "loss": pl.Float64,  # of the step's batch, before its update
        "validation_loss": pl.Float64,  # after its update; null on most rows
        "learning_rate": pl.Float64,
        "gradient_norm": pl.Float64,
    }
)


def save_checkpoint(
    directory: Path, model: nn.Module, optimizer: torch.optim.AdamW, step: int, history: pl.DataFrame
) -> None:
    """Write what `restore_checkpoint` reads; a kill in between leaves the last one whole."""
    write_parquet(directory / HISTORY, history)
    tensors: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        tensors[f"model.{name}"] = parameter.detach()
        for moment in MOMENTS:
            tensors[f"{moment}.{name}"] = optimizer.state[parameter][moment]
    with replacing(directory / CHECKPOINT) as path:
        save_file(tensors, path, {"step": str(step)})


def restore_checkpoint(
    directory: Path, model: nn.Module, optimizer: torch.optim.AdamW
) -> tuple[int, pl.DataFrame]:
    """Take up the checkpoint, if there is one: its step and the history up to it."""
    path = directory / CHECKPOINT
    if not path.exists():
        return 0, pl.DataFrame(schema=HISTORY_SCHEMA)
    with safe_open(path, "pt") as checkpoint:
        step = int(checkpoint.metadata()["step"])
        for name, parameter in model.named_parameters():
            parameter.data.copy_(checkpoint.get_tensor(f"model.{name}"))
            moments = {moment: checkpoint.get_tensor(f"{moment}.{name}") for moment in MOMENTS}
            moments["step"] = torch.tensor(float(step))
            optimizer.state[parameter] = {key: value.to(parameter.device) for key, value in moments.items()}
    history = pl.read_parquet(directory / HISTORY)
    return step, history.filter(pl.col("step") <= step)
