"""Train a toy model: `python -m experiments.toy_models.train java-fim-4m`.

1. Read the JDK's files, keep held-out packages apart; train the tokenizer on a part of the rest.
2. The loss is the mean over tokens, in which the first token of a middle counts `FIRST_TOKEN_WEIGHT` times:
   it alone asks for what stands before the hole, and only one token in a hundred is one.
3. Train with Muon on the hidden matrices and AdamW on everything else, at a learning rate that is a
   function of the step: warm-up, constant, linear to zero.
4. Every few minutes write a checkpoint: weights, the optimisers' state, step. Rows are functions of
   their number, so a killed training goes on exactly from its checkpoint.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
import typer
from accelerate import Accelerator
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.optim import AdamW, Muon
from torch.utils.data import DataLoader
from transformers import Starcoder2ForCausalLM

from apmae.common.atomic import replacing
from apmae.common.command import one_line_errors
from apmae.common.devices import native_precision, torch_device
from apmae.common.errors import ApmaeError
from apmae.common.seeding import derive_seed
from apmae.corpus import SourceFile
from apmae.study.config import CorpusConfig
from apmae.training.checkpoint import CHECKPOINT, restore_checkpoint, save_checkpoint
from experiments.toy_models.files import Files, read_files
from experiments.toy_models.rows import IGNORED_LABEL, Rows
from experiments.toy_models.sizes import ROW_TOKENS, SEED, TOY_MODELS, ToyModel, toy_model_named
from experiments.toy_models.tokenizer import MIDDLE, train_tokenizer

FIM_RATE = 0.5
FIRST_TOKEN_WEIGHT = 20.0
TOKENIZER_FILES = 3_000

MUON_LEARNING_RATE = 0.02
ADAMW_LEARNING_RATE = 3e-3
ADAMW_BETAS = (0.9, 0.95)
WEIGHT_DECAY = 0.01
WARMUP_STEPS = 100
COOLDOWN_FRACTION = 0.5

VALIDATION_ROWS = 64
VALIDATE_EVERY_STEPS = 250
LOG_EVERY_STEPS = 10

TOKENIZER = "tokenizer.json"


class Report(NamedTuple):
    """What is logged; `validation_loss` at some steps only."""

    step: int
    loss: float
    validation_loss: float | None


class WeightedLoss(nn.Module):
    """A toy model with what it is trained on."""

    def __init__(self, model: Starcoder2ForCausalLM, middle_id: int) -> None:
        super().__init__()
        self.model = model
        self.middle_id = middle_id

    def forward(self, input_ids: Tensor, labels: Tensor) -> Tensor:
        """Of (rows, tokens) int64 each, the loss: a float32 scalar, nats."""
        logits = self.model(input_ids=input_ids, use_cache=False).logits[:, :-1]
        expected = labels[:, 1:]
        losses = nn.functional.cross_entropy(
            logits.flatten(0, 1).float(),
            expected.flatten(),
            ignore_index=IGNORED_LABEL,
            reduction="none",
        )
        weights = torch.where(input_ids[:, :-1] == self.middle_id, FIRST_TOKEN_WEIGHT, 1.0)
        weights = (weights * (expected != IGNORED_LABEL)).flatten()
        return (losses * weights).sum() / weights.sum()


class Trainer:
    """The optimisation loop, with its checkpoint.

    Attributes:
        model: the toy model.
        step: steps done.
        core_seconds: CPU time of all runs together; on shared cores it says more than a clock.
    """

    def __init__(
        self,
        toy_model: ToyModel,
        tokenizer: Tokenizer,
        files: Files,
        work: Path,
        *,
        checkpoint_every_seconds: float,
        compiled: bool,
    ) -> None:
        self.toy_model = toy_model
        self.work = work
        self.checkpoint_every_seconds = checkpoint_every_seconds
        precision = native_precision(torch_device("auto"))
        self.accelerator = Accelerator(
            mixed_precision="bf16" if precision == "bfloat16" else "no", cpu=not torch.cuda.is_available()
        )
        torch.manual_seed(derive_seed(SEED, "organisms", toy_model.name))
        self.model = Starcoder2ForCausalLM(toy_model.config(tokenizer))
        optimizers = make_optimizers(self.model)
        self.step, self.core_seconds = restore(work / CHECKPOINT, self.model, optimizers)
        self._loss = self.accelerator.prepare(WeightedLoss(self.model, tokenizer.get_vocab()[MIDDLE]))
        if compiled:
            self._loss = torch.compile(self._loss)
        self._optimizers = [self.accelerator.prepare(optimizer) for optimizer in optimizers]
        self._rows = make_rows(files.training, tokenizer, FIM_RATE)
        self._validation = make_rows(files.held_out, tokenizer, FIM_RATE)

    def run(self) -> Iterator[Report]:
        """Train to the last step, with checkpoints; a report every few steps."""
        saved, losses = time.monotonic(), []
        spent_before = self.core_seconds - time.process_time()
        for batch in self._batches():
            losses.append(self._train_step(batch))
            self.core_seconds = spent_before + time.process_time()
            last = self.step == self.toy_model.steps
            if last or time.monotonic() - saved > self.checkpoint_every_seconds:
                words = {"step": str(self.step), "core_seconds": str(self.core_seconds)}
                save_checkpoint(self.work / CHECKPOINT, self.model, self._optimizers, words)
                saved = time.monotonic()
            if last or self.step % LOG_EVERY_STEPS == 0:
                yield Report(self.step, float(torch.stack(losses).mean()), self._validate())
                losses = []

    def _batches(self) -> Iterator[dict[str, Tensor]]:
        size = self.toy_model.batch_rows
        numbers = range(self.step * size, self.toy_model.steps * size)
        workers = 0 if self.accelerator.device.type == "cpu" else min(8, os.cpu_count() or 1)
        loader = DataLoader(self._rows, batch_size=size, sampler=numbers, num_workers=workers)
        return iter(self.accelerator.prepare(loader))

    def _train_step(self, batch: dict[str, Tensor]) -> Tensor:
        factor = learning_rate_factor(self.step, self.toy_model.steps)
        loss: Tensor = self._loss(**batch)
        self.accelerator.backward(loss)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor
            optimizer.step()
            optimizer.zero_grad()
        self.step += 1
        return loss.detach()

    def _validate(self) -> float | None:
        if self.step % VALIDATE_EVERY_STEPS and self.step != self.toy_model.steps:
            return None
        return mean_loss(self.model, self._validation, VALIDATION_ROWS, self.toy_model.batch_rows)


def make_rows(files: Sequence[SourceFile], tokenizer: Tokenizer, fim_rate: float) -> Rows:
    """Rows of `ROW_TOKENS` from whole files."""
    return Rows([file.text for file in files], tokenizer, ROW_TOKENS, fim_rate, SEED)


def mean_loss(model: torch.nn.Module, rows: Rows, n_rows: int, batch_rows: int) -> float:
    """Mean loss (nats per token) over the first rows."""
    losses = []
    with torch.inference_mode():
        for batch in DataLoader(rows, batch_size=batch_rows, sampler=range(n_rows)):
            device = next(model.parameters()).device
            moved = {name: tensor.to(device) for name, tensor in batch.items()}
            losses.append(float(model(**moved, use_cache=False).loss))
    return sum(losses) / len(losses)


def make_optimizers(model: Starcoder2ForCausalLM) -> list[torch.optim.Optimizer]:
    """Muon for the matrices between embedding and output, AdamW for the rest."""
    hidden = [parameter for parameter in model.model.layers.parameters() if parameter.dim() == 2]
    muon = Muon(hidden, lr=MUON_LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    ours = {id(parameter) for parameter in hidden}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in ours]
    adamw = AdamW(rest, lr=ADAMW_LEARNING_RATE, betas=ADAMW_BETAS, weight_decay=0.0, fused=True)
    for optimizer in (muon, adamw):
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return [muon, adamw]


def learning_rate_factor(step: int, steps: int) -> float:
    """Linear warm-up, constant, linear to zero."""
    warmup = (step + 1) / WARMUP_STEPS
    cooldown = (steps - step) / (COOLDOWN_FRACTION * steps)
    return min(1.0, warmup, cooldown)


def restore(
    path: Path, model: Starcoder2ForCausalLM, optimizers: list[torch.optim.Optimizer]
) -> tuple[int, float]:
    """Take up the checkpoint, if there is one: its step and CPU time."""
    words = restore_checkpoint(path, model, optimizers) or {"step": "0", "core_seconds": "0"}
    return int(words["step"]), float(words["core_seconds"])


def ensure_tokenizer(work: Path, files: Sequence[SourceFile]) -> None:
    """Train a work directory's tokenizer where there is none."""
    if (work / TOKENIZER).exists():
        return
    tokenizer = train_tokenizer(file.text for file in files[:TOKENIZER_FILES])
    with replacing(work / TOKENIZER) as temporary:
        tokenizer.save(str(temporary))


def load_tokenizer(work: Path) -> Tokenizer:
    """The tokenizer of a work directory.

    Raises:
        ApmaeError: nothing was trained there.
    """
    if not (work / TOKENIZER).exists():
        raise ApmaeError(f"{work} holds no training: run `python -m experiments.toy_models.train` first")
    tokenizer = Tokenizer.from_file(str(work / TOKENIZER))
    tokenizer.encode_special_tokens = True  # a sentinel's name in a source file stays text
    return tokenizer


def main(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(TOY_MODELS)}.")],
    work: Annotated[Path | None, typer.Option(help="Default: runs/toy_models/NAME.")] = None,
    threads: Annotated[int, typer.Option(help="CPU threads; 0: torch's default.")] = 0,
    compiled: Annotated[bool, typer.Option(help="Compile the model (needs a C++ compiler).")] = True,
    checkpoint_every_seconds: float = 180,
) -> None:
    """Train a toy model, or go on training it."""
    if threads:
        torch.set_num_threads(threads)
    toy_model = toy_model_named(name)
    work = work or Path("runs/toy_models") / name
    files = read_files(CorpusConfig(), SEED)
    typer.echo(f"{files.description}: {len(files.training)} training, {len(files.held_out)} held out")
    ensure_tokenizer(work, files.training)
    trainer = Trainer(
        toy_model,
        load_tokenizer(work),
        files,
        work,
        checkpoint_every_seconds=checkpoint_every_seconds,
        compiled=compiled,
    )
    typer.echo(f"{trainer.model.num_parameters():,} parameters, step {trainer.step} of {toy_model.steps}")
    for report in trainer.run():
        validation = "" if report.validation_loss is None else f", held-out {report.validation_loss:.4f}"
        typer.echo(
            f"step {report.step}: loss {report.loss:.4f}{validation}, {trainer.core_seconds:.0f} core-seconds"
        )


if __name__ == "__main__":
    with one_line_errors():
        typer.run(main)
