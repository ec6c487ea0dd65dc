"""The optimisation loop (paper section 4, "Training Setup").

A step draws its batch and its mask noise from (seed, step). The learning rate is a function of the step:
linear warm-up, then cosine. So a killed training resumes exactly at its checkpoint.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import polars as pl
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from apmae.autoencoder import APMAEConfig, APMAEModel, PatternTokens, autocasting
from apmae.common.atomic import read_parquet, write_parquet
from apmae.common.errors import ApmaeError
from apmae.common.seeding import derive_seed, torch_generator
from apmae.study.artifacts import TRAINING_HISTORY, token_ids
from apmae.study.config import StudyConfig, TrainingConfig
from apmae.target_model import Target
from apmae.training.batches import PatternBatches, capture_tokens, concatenate, draw_heads, take
from apmae.training.checkpoint import CHECKPOINT, restore_checkpoint, save_checkpoint
from apmae.training.samples import SAMPLES, draw_samples, save_picture
from apmae.training.tracking import (
    TRACKING,
    finish_tracker,
    require_tracker,
    start_tracker,
    track_picture,
)

BETAS = (0.9, 0.95)
HISTORY = "history.parquet"
REFERENCE_BATCH = 50
"""Batch size in patterns that `base_learning_rate` refers to."""


def encoder_config(config: StudyConfig) -> APMAEConfig:
    """The AP-MAE's configuration in a study."""
    encoder = config.encoder
    sized = {"paper": APMAEConfig.paper, "small": APMAEConfig.small, "tiny": APMAEConfig.tiny}[encoder.size]
    return sized(
        pattern_size=config.prompts.length_tokens,
        patch_size=encoder.patch_size,
        mask_ratio=encoder.mask_ratio,
        scaling=encoder.scaling,
        token_values=encoder.token_values,
        row_tokens=encoder.row_tokens,
        row_token_size=encoder.row_token_size if encoder.row_tokens else None,
        row_loss_fraction=encoder.row_loss_fraction,
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


def optimizer_of(model: nn.Module, weight_decay: float) -> torch.optim.AdamW:
    """AdamW with the paper's betas (section 4), in one pass over the weights."""
    return torch.optim.AdamW(model.parameters(), betas=BETAS, weight_decay=weight_decay, fused=True)


class Trainer:
    """The optimisation loop.

    Attributes:
        step: number of finished steps.
        history: one row per finished step (`TRAINING_HISTORY`).
    """

    def __init__(
        self,
        config: StudyConfig,
        target: Target,
        training: pl.DataFrame,
        validation: pl.DataFrame,
        work: Path,
    ) -> None:
        """Build the model, load the checkpoint in `work`, and capture the validation patterns.

        Raises:
            ApmaeError: the tracker is not installed, or the numbers of patterns, prompts and
                processes do not fit together.
        """
        self.config = config.training
        self.work = work
        tracker = config.training.tracker
        require_tracker(tracker)
        self.accelerator = Accelerator(
            cpu=target.device.type == "cpu",
            mixed_precision="no",  # the study sets the precision, not the launcher
            log_with=None if tracker == "none" else tracker,
            project_dir=work.parent.parent / TRACKING,
        )
        device = self.accelerator.device
        self._autocast = autocasting(device, config.training.precision)
        model_config = encoder_config(config)
        self.batches = PatternBatches(
            target,
            training,
            config,
            model_config,
            self.accelerator.process_index,
            self.accelerator.num_processes,
            device,
        )
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed(config.training_seed, "training", "weights"))
            self.model = APMAEModel(model_config)
        optimizer = optimizer_of(self.model, config.training.weight_decay)
        self._prepared, self.optimizer = self.accelerator.prepare(self.model, optimizer)
        words = restore_checkpoint(work / CHECKPOINT, self.model, [optimizer])
        self.step, self.history = 0, TRAINING_HISTORY.of_rows()
        if words is not None:
            self.step = int(words["step"])
            self.history = read_parquet(work / HISTORY).filter(pl.col("step") <= self.step)
        self._validation = self._validation_patterns(target, validation, config.seed)
        self._started, self._first_step = time.monotonic(), self.step
        if tracker != "none":
            settings = config.training.model_dump(mode="json")
            start_tracker(self.accelerator, config.name, work.parent.parent / TRACKING, settings, self.step)

    def steps(self) -> Iterator[int]:
        """Train to the last step and yield after each one. Checkpoints are written at intervals.

        Raises:
            ApmaeError: the loss or its gradient is no longer finite. The last checkpoint stays.
        """
        while self.step < self.config.steps:
            self._train_step()
            if self.accelerator.is_main_process:
                self._save_what_is_due()
            yield self.step
        finish_tracker(self.accelerator)

    def status(self) -> str:
        """The latest losses, and patterns per second since this process started."""
        losses = {
            "loss": self.history["loss"].tail(20).mean(),
            "validation": self.history["validation_loss"].drop_nulls().tail(1).mean(),
        }
        words = [f"{name} {value:.5f}" for name, value in losses.items() if isinstance(value, float)]
        patterns = (self.step - self._first_step) * self.config.batch_size
        return ", ".join([*words, f"{patterns / (time.monotonic() - self._started):.0f} patterns/s"])

    def _train_step(self) -> None:
        rate = learning_rate(self.step, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss, gradient_norm = self._backward(*self.batches.batch(self.step))
        if not math.isfinite(loss + gradient_norm):
            raise ApmaeError(
                f"the training loss or its gradient is not finite at step {self.step}; the checkpoint before "
                f"it is kept in {self.work}; lower training.base_learning_rate"
            )
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        row = {
            "step": self.step,
            "loss": loss,
            "validation_loss": self._validate(),
            "learning_rate": rate,
            "gradient_norm": gradient_norm,
        }
        self.history.extend(TRAINING_HISTORY.of_rows([row]))
        self.accelerator.log(
            {name: value for name, value in row.items() if value is not None}, step=self.step
        )

    def _backward(self, tokens: PatternTokens, noise: Tensor) -> tuple[float, float]:
        """Accumulate a batch's gradients over micro-batches; returns the loss and the gradients' norm."""
        self._prepared.train()
        size = -(-len(noise) // self.config.gradient_accumulation_steps)
        starts = range(0, len(noise), size)
        losses = []
        for start in starts:
            rows = slice(start, start + size)
            # Processes average their gradients once, at the last micro-batch.
            last = start == starts[-1]
            with nullcontext() if last else self.accelerator.no_sync(self._prepared):
                with self._autocast():
                    loss = self._prepared(take(tokens, rows), noise[rows], reconstruct=False).loss
                loss = loss * (len(noise[rows]) / len(noise))
                self.accelerator.backward(loss)
            losses.append(loss.detach())
        loss = self.accelerator.reduce(torch.stack(losses).sum(), "mean")
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        return float(loss), float(torch.nn.utils.get_total_norm(gradients))

    def _validate(self) -> float | None:
        if self._validation is None or not self._due(self.config.validate_every_steps):
            return None
        self.model.eval()
        tokens, noise = self._validation
        losses = []
        with torch.inference_mode(), self._autocast():
            for start in range(0, len(noise), self.config.batch_size):
                rows = slice(start, start + self.config.batch_size)
                loss = self.model(take(tokens, rows), noise[rows], reconstruct=False).loss
                losses.append(loss * len(noise[rows]))
        return float(torch.stack(losses).sum() / len(noise))

    def _validation_patterns(
        self, target: Target, prompts: pl.DataFrame, seed: int
    ) -> tuple[PatternTokens, Tensor] | None:
        """Patterns, in the order of their layers, and mask noise; None without prompts."""
        if prompts.is_empty():
            return None
        generator = torch_generator(seed, "training", "validation")
        heads = draw_heads(target, self.batches.layer_heads, generator)
        batches = token_ids(prompts)
        size = self.batches.target_batch
        device = self.accelerator.device
        tokens = concatenate(
            [
                capture_tokens(target, batch, [heads] * len(batch), self.model.config, device)
                for batch in (batches[start : start + size] for start in range(0, len(batches), size))
            ]
        )
        noise = torch.rand(tokens.patches.shape[:2], generator=generator)
        return tokens, noise.to(device)

    def _save_what_is_due(self) -> None:
        """The checkpoint comes last: a killed run goes on behind it, and makes up for nothing before it."""
        if self._validation is not None and self._due(self.config.sample_every_steps):
            self.model.eval()
            picture = draw_samples(self.model, *self._validation)
            save_picture(picture, self.work / SAMPLES, self.step)
            track_picture(self.accelerator, picture, self.step)
        if self.step % self.config.checkpoint_every_steps == 0:
            write_parquet(self.work / HISTORY, self.history)
            words = {"step": str(self.step)}
            save_checkpoint(self.work / CHECKPOINT, self.model, [self.optimizer], words)

    def _due(self, every_steps: int) -> bool:
        return self.step % every_steps == 0 or self.step == self.config.steps
