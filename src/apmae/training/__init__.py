"""The train stage: AP-MAE on patterns captured on the fly (paper section 4)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl

from apmae import processes
from apmae.artifacts import ENCODER, TRAINING_HISTORY
from apmae.atomic import write_parquet
from apmae.config import StudyConfig, TrainingConfig
from apmae.errors import ApmaeError
from apmae.model import APMAEModel
from apmae.model.checkpoint import load_config
from apmae.progress import Tracker
from apmae.study import Study
from apmae.target import Target
from apmae.training.batches import PatternBatches, capture_tokens, draw_heads
from apmae.training.checkpoint import HISTORY_SCHEMA
from apmae.training.samples import SAMPLES
from apmae.training.trainer import Trainer, encoder_config, learning_rate

__all__ = [
    "PatternBatches",
    "Trainer",
    "capture_tokens",
    "check_pretrained",
    "draw_heads",
    "encoder_config",
    "encoder_prompts",
    "learning_rate",
    "pretrained_encoder",
    "run",
]


def run(study: Study, key: str, track: Tracker, load_target: Callable[[], Target]) -> dict[str, object]:
    """Train the study's AP-MAE, or take a pretrained one; returns counts for the stage's marker.

    Raises:
        ApmaeError: there is nothing to train on, or the loss or its gradient is no longer finite.
    """
    config = study.config
    work = study.work_directory("train", key)
    if config.encoder.pretrained is not None:
        model = pretrained_encoder(config)
        _save(study, model, pl.DataFrame(schema=HISTORY_SCHEMA), work)
        return {"pretrained": config.encoder.pretrained, "parameters": model.num_parameters()}
    training, validation = encoder_prompts(study.prompts, config.training)
    target = load_target()
    trainer = Trainer(config, target, training, validation, work)
    steps = config.training.steps
    for _ in track(trainer.steps(), "train", steps, done=trainer.step, status=trainer.status):
        pass
    _save(study, trainer.model, trainer.history, work)
    return {
        "parameters": trainer.model.num_parameters(),
        "training_prompts": training.height,
        "validation_prompts": validation.height,
        "patterns": steps * config.training.batch_size,
        "loss": trainer.history["loss"].tail(20).mean(),
        "validation_loss": trainer.history["validation_loss"].drop_nulls().tail(1).item()
        if validation.height
        else None,
    }


def pretrained_encoder(config: StudyConfig) -> APMAEModel:
    """Load `encoder.pretrained`.

    Raises:
        ApmaeError: there is no such model, or its patterns have another size than the prompts.
    """
    assert config.encoder.pretrained is not None
    check_pretrained(config)
    return APMAEModel.from_pretrained(config.encoder.pretrained)


def check_pretrained(config: StudyConfig) -> None:
    """See from its config alone whether `encoder.pretrained`, if any, reads the study's patterns.

    Raises:
        ApmaeError: there is no such model, or its patterns have another size than the prompts.
    """
    if config.encoder.pretrained is None:
        return
    model_config, _ = load_config(config.encoder.pretrained, {}, {})
    size, asked = model_config.pattern_size, config.prompts.length_tokens
    if size != asked:
        raise ApmaeError(
            f"encoder.pretrained {config.encoder.pretrained!r} reads patterns of {size} tokens, "
            f"but prompts.length_tokens is {asked}"
        )


def encoder_prompts(prompts: pl.DataFrame, config: TrainingConfig) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The prompts to train on (training split) and to validate on (held-out groups).

    Raises:
        ApmaeError: there is none to train on.
    """
    usable = prompts.filter(pl.col("purpose") == "encoder")
    if config.correct_only:
        usable = usable.filter("correct")
    training = usable.filter(pl.col("split") == "train")
    if training.is_empty():
        raise ApmaeError(
            "no prompt to train the encoder on: raise prompts.encoder_prompts"
            + (" or set training.correct_only to false" if config.correct_only else "")
        )
    return training, usable.filter(pl.col("split") == "test").head(config.validation_prompts)


def _save(study: Study, model: APMAEModel, history: pl.DataFrame, work: Path) -> None:
    if not processes.is_first():
        return
    with study.writing(ENCODER) as directory:
        model.save_pretrained(directory)
        training = directory / Path(TRAINING_HISTORY).parent.relative_to(ENCODER)
        write_parquet(training / Path(TRAINING_HISTORY).name, history)
        if (work / SAMPLES).exists():
            shutil.copytree(work / SAMPLES, training / SAMPLES)
