"""What the predict stage leaves for prompts to come: two calibrated linear models per task.

One is the scorer's, the other sees the target's confidence alone and goes through the same calibration, so
that the two can be compared.

1. The model is that of the protocol `held_out`: fitted on the training split.
2. Its calibration is fitted on training prompts as well, each predicted by a model of other groups.
3. Calibrated log-odds are a sum: a head's part is the SHAP values of its columns, times the slope.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from apmae.common.atomic import replacing
from apmae.common.errors import ApmaeError
from apmae.common.seeding import derive_seed
from apmae.prediction.calibration import Calibration, fit_calibration
from apmae.prediction.classifiers import learnable
from apmae.prediction.features import CONFIDENCE, HEAD_BLOCKS, Blocks, take
from apmae.prediction.linear import LinearModel
from apmae.prediction.metrics import Values
from apmae.prediction.protocols import group_folds
from apmae.study import Study
from apmae.study.artifacts import CALIBRATION, PREDICTOR

FOLDS = 5


@dataclass(frozen=True)
class Predictor:
    """Predicts whether a task's completions are correct."""

    model: LinearModel
    calibration: Calibration

    def log_odds(self, blocks: Blocks) -> Values:
        """(prompts,), calibrated, at the task's base rate."""
        return self.calibration(self.model.log_odds(blocks))

    def head_contributions(self, blocks: Blocks, n_heads: int) -> Values:
        """(prompts, n_heads): what every head adds to the log-odds, beside what it adds on average."""
        by_head = [
            self.model.shap_values(name, blocks[name]).reshape(-1, n_heads, blocks[name].shape[1] // n_heads)
            for name in HEAD_BLOCKS
            if name in self.model.columns
        ]
        return self.calibration.slope * np.concatenate(by_head, axis=-1).sum(-1)  # type: ignore[no-any-return]


def load_predictors(study: Study, features: str | None = None) -> dict[str, Predictor]:
    """The predictor of every task that has one.

    Args:
        features: the scorer's feature set, by default, or `confidence`.

    Raises:
        ApmaeError: there is none.
    """
    features = features or study.config.prediction.scorer
    directory, calibration = study.path(PREDICTOR), study.calibration.filter(features=features)
    found = {
        task: Predictor(LinearModel.load(predictor_path(directory, task, features)), Calibration(*numbers))
        for task, *numbers in calibration.select("task", "slope", "offset").iter_rows()
    }
    if not found:
        raise ApmaeError(
            f"{study.directory}: no task had the prompts that a predictor needs; "
            "run the study with a larger prompts.per_task"
        )
    return found


def predictor_path(directory: Path, task: str, features: str) -> Path:
    """Where a task's linear model lies in a directory."""
    return directory / f"{task}{'.confidence' if features == CONFIDENCE else ''}.safetensors"


def fit_predictor(
    study: Study,
    train: pl.DataFrame,
    features: str,
    blocks: Blocks,
    groups: NDArray[np.int64],
    seed: int,
    path: Path,
) -> pl.DataFrame:
    """Fit and calibrate a task's predictor.

    Args:
        train: the task's prompts of the training split.
        features: the feature set.
        blocks: its blocks, of these prompts.
        groups: (prompts,) numbers of their groups.
        seed: of the model.
        path: where the linear model goes.

    Returns:
        Its row of `CALIBRATION`; none, and no model, where there is nothing to learn from or to
        calibrate on.
    """
    correct = train["correct"].to_numpy()
    log_odds = _out_of_fold(study.config.seed, train, blocks, groups)
    predicted = np.isfinite(log_odds)
    if not predicted.any() or correct[predicted].all() or not correct[predicted].any():
        return CALIBRATION.of_rows()
    task = train["task"][0]
    rate = study.tasks.filter(task=task)["base_rate"].item()
    calibration = fit_calibration(log_odds[predicted], correct[predicted], rate)
    with replacing(path) as temporary:
        LinearModel.fit(blocks, correct, groups, seed).save(temporary)
    row = (task, features, *calibration, rate, int(predicted.sum()))
    return CALIBRATION.of_rows([row])


def _out_of_fold(seed: int, train: pl.DataFrame, blocks: Blocks, groups: NDArray[np.int64]) -> Values:
    """(prompts,) log-odds by models of other groups; NaN where there are none that learned something."""
    correct = train["correct"].to_numpy()
    log_odds = np.full(len(correct), np.nan)
    if not learnable(blocks, correct):
        return log_odds
    seed = derive_seed(seed, "prediction", train["task"][0], "calibration")
    for fit, rest in group_folds(correct, groups, FOLDS, seed):
        fitted = take(blocks, fit)
        if learnable(fitted, correct[fit]):
            model = LinearModel.fit(fitted, correct[fit], groups[fit], seed)
            log_odds[rest] = model.log_odds(take(blocks, rest))
    return log_odds
