"""The stage `train`: the AP-MAE on patterns captured on the fly (paper section 4)."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl

from apmae.autoencoder import APMAEModel
from apmae.autoencoder.pretrained import pretrained_encoder
from apmae.common import distributed
from apmae.common.atomic import write_parquet
from apmae.pipeline import Context
from apmae.study import Study
from apmae.study.artifacts import ENCODER, TRAINING_HISTORY
from apmae.training.prompts import encoder_prompts
from apmae.training.samples import SAMPLES
from apmae.training.trainer import Trainer


def run(context: Context) -> dict[str, object]:
    """Write `encoder/`, the study's trained AP-MAE or a pretrained one. Returns counts for the marker.

    Raises:
        ApmaeError: there are no prompts to train on, or the loss or its gradient is no longer finite.
    """
    study, config = context.study, context.study.config
    work = study.work_directory("train", context.key)
    if config.encoder.pretrained is not None:
        model = pretrained_encoder(config)
        _save(study, model, TRAINING_HISTORY.of_rows(), work)
        return {"pretrained": config.encoder.pretrained, "parameters": model.num_parameters()}
    training, validation = encoder_prompts(study.prompts, config.training)
    trainer = Trainer(config, context.target, training, validation, work)
    steps = config.training.steps
    for _ in context.progress(trainer.steps(), "train", steps, done=trainer.step, status=trainer.status):
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


def _save(study: Study, model: APMAEModel, history: pl.DataFrame, work: Path) -> None:
    if not distributed.is_main():
        return
    with study.writing(ENCODER) as directory:
        model.save_pretrained(directory)
        path = directory / Path(TRAINING_HISTORY.name).relative_to(ENCODER)
        write_parquet(path, history)
        if (work / SAMPLES).exists():
            shutil.copytree(work / SAMPLES, path.parent / SAMPLES)
