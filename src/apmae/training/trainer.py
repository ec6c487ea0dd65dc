"""The optimisation loop (paper section 4, "Training Setup") and its checkpoint.

A step draws its mask noise from (seed, step), and the learning rate is a function of the step:
linear warm-up, then cosine. So a checkpoint is the weights, the optimiser's moments and the step,
and a killed training goes on exactly where its checkpoint was.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import torch
from accelerate import Accelerator
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from apmae.config import StudyConfig, TrainingConfig
from apmae.errors import ApmaeError
from apmae.model import APMAEConfig, APMAEModel, PatternTokens, autocasting
from apmae.seeding import derive_seed, torch_generator
from apmae.study import replacing, write_parquet
from apmae.target import Target
from apmae.training.batches import PatternBatches, capture_tokens, concatenate, draw_heads, take

BETAS = (0.9, 0.95)
REFERENCE_BATCH = 50
"""Patterns of batch that `base_learning_rate` is for."""

TRACKING = "tracking"
CHECKPOINT = "checkpoint.safetensors"
HISTORY = "history.parquet"
HISTORY_SCHEMA = pl.Schema(
    {
        "step": pl.Int64,
        "loss": pl.Float64,
        "validation_loss": pl.Float64,  # null on most rows
        "learning_rate": pl.Float64,
    }
)


def encoder_config(config: StudyConfig) -> APMAEConfig:
    """The AP-MAE that a study asks for."""
    encoder = config.encoder
    sized = {"paper": APMAEConfig.paper, "small": APMAEConfig.small, "tiny": APMAEConfig.tiny}[encoder.size]
    return sized(
        pattern_size=config.prompts.length_tokens,
        patch_size=encoder.patch_size,
        mask_ratio=encoder.mask_ratio,
        scaling=encoder.scaling,
        row_tokens=encoder.row_tokens,
        decoder_context=encoder.decoder_context,
        encode_patches=encoder.encode_patches,
    )


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Linear warm-up to base x batch / 50, then cosine to 0 (paper section 4)."""
    peak = config.base_learning_rate * config.batch_size / REFERENCE_BATCH
    warmup = round(config.warmup_fraction * config.steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (1 + math.cos(math.pi * (step - warmup) / (config.steps - warmup))) / 2


class Trainer:
    """The optimisation loop, with its checkpoint.

    Attributes:
        step: steps done.
        history: one row per step done (`HISTORY_SCHEMA`).
    """

    def __init__(
        self,
        config: StudyConfig,
        target: Target,
        training: pl.DataFrame,
        validation: pl.DataFrame,
        work: Path,
    ) -> None:
        self.config = config.training
        self._autocast = autocasting(target.device, config.training.precision)
        self.work = work
        self.accelerator = Accelerator(
            cpu=target.device.type == "cpu",
            log_with=None if config.training.tracker == "none" else config.training.tracker,
            project_dir=work.parent.parent / TRACKING,
        )
        model_config = encoder_config(config)
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed(config.seed, "training", "weights"))
            self.model = APMAEModel(model_config)
        optimizer = torch.optim.AdamW(
            self.model.parameters(), betas=BETAS, weight_decay=config.training.weight_decay
        )
        self.step, self.history = self._restore(optimizer)
        self._prepared, self.optimizer = self.accelerator.prepare(self.model, optimizer)
        self.batches = PatternBatches(
            target,
            training,
            config,
            model_config,
            self.accelerator.process_index,
            self.accelerator.num_processes,
        )
        self._validation = self._validation_patterns(target, validation, config.seed)
        if config.training.tracker != "none":
            self.accelerator.init_trackers("apmae", config=config.training.model_dump(mode="json"))

    def steps(self) -> Iterator[int]:
        """Train to the last step, with a checkpoint every so often; yields after each step.

        Raises:
            ApmaeError: the loss is no longer finite. The last checkpoint stays.
        """
        while self.step < self.config.steps:
            self._train_step()
            due = self.step % self.config.checkpoint_every_steps == 0
            if due and self.accelerator.is_main_process:
                self._save_checkpoint()
            yield self.step
        self.accelerator.end_training()

    def status(self) -> str:
        """The latest losses."""
        losses = {
            "loss": self.history["loss"].tail(20).mean(),
            "validation": self.history["validation_loss"].drop_nulls().tail(1).mean(),
        }
        return ", ".join(f"{name} {value:.5f}" for name, value in losses.items() if isinstance(value, float))

    def _train_step(self) -> None:
        rate = learning_rate(self.step, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        tokens, noise = self.batches.batch(self.step)
        self._prepared.train()
        with self._autocast():
            loss = self._prepared(tokens, noise).loss
        mean_loss = float(self.accelerator.gather(loss.detach()).mean())
        if not math.isfinite(mean_loss):
            raise ApmaeError(
                f"the training loss is not finite at step {self.step}; the checkpoint before it is kept in "
                f"{self.work}; lower training.base_learning_rate"
            )
        self.accelerator.backward(loss)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        row = {
            "step": self.step,
            "loss": mean_loss,
            "validation_loss": self._validate(),
            "learning_rate": rate,
        }
        self.history.extend(pl.DataFrame([row], schema=HISTORY_SCHEMA))
        self.accelerator.log(
            {name: value for name, value in row.items() if value is not None}, step=self.step
        )

    def _validate(self) -> float | None:
        due = self.step % self.config.validate_every_steps == 0 or self.step == self.config.steps
        if self._validation is None or not due:
            return None
        self.model.eval()
        tokens, noise = self._validation
        losses = []
        with torch.inference_mode(), self._autocast():
            for start in range(0, len(noise), self.config.batch_size):
                rows = slice(start, start + self.config.batch_size)
                losses.append(self.model(take(tokens, rows), noise[rows]).loss * len(noise[rows]))
        return float(torch.stack(losses).sum() / len(noise))

    def _validation_patterns(
        self, target: Target, prompts: pl.DataFrame, seed: int
    ) -> tuple[PatternTokens, Tensor] | None:
        if prompts.is_empty():
            return None
        generator = torch_generator(seed, "training", "validation")
        heads = draw_heads(target, self.batches.layer_heads, generator)
        batches = prompts["input_ids"].to_list()
        size = self.batches.target_batch
        tokens = concatenate(
            [
                capture_tokens(target, batches[start : start + size], heads, self.model.config)
                for start in range(0, len(batches), size)
            ]
        )
        noise = torch.rand(tokens.patches.shape[:2], generator=generator)
        return tokens, noise.to(target.device)

    def _save_checkpoint(self) -> None:
        write_parquet(self.work / HISTORY, self.history)
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.model.named_parameters():
            moments = self.optimizer.state[parameter]
            tensors[f"model.{name}"] = parameter.detach()
            tensors[f"exp_avg.{name}"] = moments["exp_avg"]
            tensors[f"exp_avg_sq.{name}"] = moments["exp_avg_sq"]
        with replacing(self.work / CHECKPOINT) as path:
            save_file(tensors, path, {"step": str(self.step)})

    def _restore(self, optimizer: torch.optim.AdamW) -> tuple[int, pl.DataFrame]:
        """Take up the checkpoint, if there is one: its step and the history up to it."""
        path = self.work / CHECKPOINT
        if not path.exists():
            return 0, pl.DataFrame(schema=HISTORY_SCHEMA)
        with safe_open(path, "pt") as checkpoint:
            step = int(checkpoint.metadata()["step"])
            for name, parameter in self.model.named_parameters():
                parameter.data.copy_(checkpoint.get_tensor(f"model.{name}"))
                optimizer.state[parameter] = {
                    "step": torch.tensor(float(step)),
                    "exp_avg": checkpoint.get_tensor(f"exp_avg.{name}"),
                    "exp_avg_sq": checkpoint.get_tensor(f"exp_avg_sq.{name}"),
                }
        history = pl.read_parquet(self.work / HISTORY)
        return step, history.filter(pl.col("step") <= step)
