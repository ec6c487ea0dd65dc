"""The prompts that train and validate the AP-MAE."""

from __future__ import annotations

import polars as pl

from apmae.common.errors import ApmaeError
from apmae.study.config import TrainingConfig


def encoder_prompts(prompts: pl.DataFrame, config: TrainingConfig) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The prompts to train on (training split) and to validate on (test split).

    Raises:
        ApmaeError: there are no prompts to train on.
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
