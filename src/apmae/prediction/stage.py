"""The stage `predict`: every task, protocol and feature set in its own process.

A finished set, predictor or table of metrics is a file of the work directory; a killed stage loses
those in flight.
"""

from __future__ import annotations

import shutil
from itertools import product
from pathlib import Path
from typing import get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from apmae.common.atomic import read_parquet
from apmae.common.seeding import derive_seed, numpy_generator
from apmae.common.workers import compute_parts
from apmae.pipeline import Context
from apmae.prediction.classifiers import fit_features
from apmae.prediction.explanation import explain
from apmae.prediction.features import (
    CONFIDENCE,
    SHUFFLED,
    StoredFeatures,
    blocks_of,
    explained_blocks,
    measured_sets,
    take,
)
from apmae.prediction.learned import starts_a_hole
from apmae.prediction.measurement import Prompts, Rates, measure, with_holm
from apmae.prediction.metrics import Scored
from apmae.prediction.predictor import fit_predictor, predictor_path
from apmae.prediction.protocols import Split, cross_validation, group_folds, group_numbers, held_out
from apmae.study import Study
from apmae.study.artifacts import CALIBRATION, IMPORTANCE, METRICS, PREDICTIONS, PREDICTOR, PROMPTS, TASKS
from apmae.vocabulary import Protocol

STAGE = "predict"


def run(context: Context) -> dict[str, object]:
    """Write predictions, metrics, importance, calibration and `predictor/`, see `apmae.study.artifacts`.

    Returns:
        Counts for the stage's marker; `notes` says what could not be done for want of prompts.
    """
    study, progress = context.study, context.progress
    processes = study.config.prediction.processes
    tasks: list[str] = [task for task in study.config.prompts.tasks if task != "noise"]
    work = study.work_directory(STAGE, context.key)
    predicted = {
        work / f"{task}-{protocol}-{features}.parquet": (study, task, protocol, features)
        for task, protocol in product(tasks, get_args(Protocol))
        for features in measured_sets(study.config, protocol)
    }
    models = {task: work / f"{task}.cbm" for task in tasks}
    predictors = {
        (task, features): predictor_path(work, task, features)
        for features, task in product((study.config.prediction.scorer, CONFIDENCE), tasks)
    }
    blocks = explained_blocks(study.config)
    explained = {
        work / f"{task}-importance-{block}.parquet": (study, task, block, models[task])
        for task, block in product(tasks, blocks)
    }
    calibrated = {
        path.with_suffix(".calibration.parquet"): (study, task, features, path)
        for (task, features), path in predictors.items()
    }
    compute_parts(_predict_set, predicted, progress, "feature sets", processes=processes)
    compute_parts(_explain, explained, progress, "head importance", processes=processes)
    compute_parts(_calibrate, calibrated, progress, "predictors", processes=processes)
    predictions = pl.concat([read_parquet(path) for path in predicted])
    study.write(PREDICTIONS, predictions)
    measured = {
        work / f"{task}-{protocol}-metrics.parquet": (study, task, protocol)
        for task, protocol in product(tasks, get_args(Protocol))
    }
    compute_parts(_measure, measured, progress, "metrics", processes=processes)
    study.write(METRICS, with_holm(pl.concat([read_parquet(path) for path in measured])))
    importance = pl.concat([read_parquet(path) for path in explained])
    study.write(IMPORTANCE, importance)
    calibration = pl.concat([read_parquet(path) for path in calibrated])
    study.write(CALIBRATION, calibration)
    with study.writing(PREDICTOR) as directory:
        directory.mkdir()
        for model in (*models.values(), *predictors.values()):
            if model.exists():
                shutil.copyfile(model, directory / model.name)
    notes = [note for task in tasks for note in _notes(study, task)]
    return {"tasks": len(tasks), "predictions": len(predictions), "notes": notes}


def labels(study: Study, prompts: pl.DataFrame, features: str) -> NDArray[np.bool_]:
    """(prompts,) which completions of one task are correct; permuted for `shuffled_labels`."""
    correct = prompts["correct"].to_numpy()
    if features != SHUFFLED:
        return correct
    task = prompts["task"].first()
    return numpy_generator(study.config.seed, "prediction", str(task), SHUFFLED).permutation(correct)


def _predict_set(study: Study, task: str, protocol: Protocol, features: str) -> pl.DataFrame:
    """One task's part of `predictions.parquet` for one feature set and protocol."""
    prompts = _prompts(study, task)
    correct = labels(study, prompts, features)
    groups = group_numbers(prompts)
    blocks = StoredFeatures(study, prompts, protocol).blocks(blocks_of(features, study.config))
    parts = [PREDICTIONS.of_rows()]
    for fold, (train, test) in enumerate(_splits(study, task, prompts, protocol)):
        seed = _seed(study, task, protocol, features, fold)
        predict = fit_features(
            take(blocks, train), correct[train], groups[train], study.config.prediction, seed
        )
        parts.append(
            prompts[test].select(
                "prompt_id",
                "task",
                protocol=pl.lit(protocol),
                features=pl.lit(features),
                fold=pl.lit(fold, pl.Int16),
                probability=pl.Series(predict(take(blocks, test)), dtype=pl.Float32),
            )
        )
    return pl.concat(parts)


def _explain(study: Study, task: str, block: str, path: Path) -> pl.DataFrame:
    """One task's part of `importance.parquet` for one block; a cluster model goes to `path`."""
    train = _prompts(study, task).filter(split="train")
    seed = _seed(study, task, "held_out", block, 0)
    importance = explain(study, train, block, group_numbers(train), seed, path)
    return importance.select(pl.lit(task).alias("task"), pl.lit(block).alias("features"), pl.all())


def _calibrate(study: Study, task: str, features: str, path: Path) -> pl.DataFrame:
    """One task's part of `calibration.parquet` for one feature set; its predictor goes to `path`."""
    prompts = _prompts(study, task)
    train = np.flatnonzero(prompts["split"] == "train")
    blocks = StoredFeatures(study, prompts, "held_out").blocks(blocks_of(features, study.config))
    seed = _seed(study, task, "held_out", features, 0)
    groups = group_numbers(prompts)[train]
    return fit_predictor(study, prompts[train], features, take(blocks, train), groups, seed, path)


def _measure(study: Study, task: str, protocol: Protocol) -> pl.DataFrame:
    """One task's part of `metrics.parquet` for one protocol."""
    prompts = _prompts(study, task)
    predictions = study.scan(PREDICTIONS).filter(task=task, protocol=protocol).collect()
    tested = prompts.filter(pl.col("prompt_id").is_in(predictions["prompt_id"].unique().implode()))
    rows = np.flatnonzero(prompts["prompt_id"].is_in(tested["prompt_id"].implode()).to_numpy())
    sets = {}
    for features in measured_sets(study.config, protocol):
        chosen = predictions.filter(features=features).sort("prompt_id")
        sets[features] = Scored(
            labels(study, prompts, features)[rows],
            chosen["probability"].to_numpy().astype(np.float64),
            chosen["fold"].to_numpy().astype(np.int64),
        )
    first = prompts["next_token_id"].to_numpy()
    tried = study.scan(TASKS).filter(task=task).select("base_rate").collect()
    rates = Rates(float(np.mean(prompts["correct"].to_numpy())), tried["base_rate"].item())
    seed = derive_seed(study.config.seed, "prediction", task, "bootstrap")
    of_kind = np.zeros(len(prompts), dtype=np.bool_)
    for train, test in _splits(study, task, prompts, protocol):
        of_kind[test] = starts_a_hole(prompts["predicted_id"].to_numpy()[test], first[train])
    table = measure(sets, Prompts(group_numbers(tested), of_kind[rows]), rates, seed)
    return table.select(pl.lit(task).alias("task"), pl.lit(protocol).alias("protocol"), pl.all())


def _notes(study: Study, task: str) -> list[str]:
    """What could not be done, or not in full, for want of prompts."""
    prompts = _prompts(study, task)
    notes = []
    folds, wanted = len(_splits(study, task, prompts, "cross_validation")), study.config.prediction.folds
    if folds < wanted:
        notes.append(f"{task}: {folds} folds instead of {wanted}, for want of correct or incorrect prompts")
    for split, outcome in product(study.config.analysed_splits, (True, False)):
        if prompts.filter(split=split, correct=outcome).is_empty():
            notes.append(f"{task}: no {'correct' if outcome else 'incorrect'} prompt in the {split} split")
    if not (study.path(PREDICTOR) / f"{task}.cbm").exists():
        notes.append(f"{task}: no predictor, for want of outcomes or clusters to tell apart")
    if not predictor_path(study.path(PREDICTOR), task, study.config.prediction.scorer).exists():
        notes.append(
            f"{task}: no scorer, for want of correct and incorrect prompts of several training groups"
        )
    return notes


def _splits(study: Study, task: str, prompts: pl.DataFrame, protocol: Protocol) -> list[Split]:
    if protocol == "held_out":
        return held_out((prompts["split"] == "train").to_numpy())
    seed = derive_seed(study.config.seed, "prediction", task, "folds")
    correct, folds = prompts["correct"].to_numpy(), study.config.prediction.folds
    if protocol == "grouped_cross_validation":
        return group_folds(correct, group_numbers(prompts), folds, seed)
    return cross_validation(correct, folds, seed)


def _seed(study: Study, task: str, protocol: Protocol, features: str, fold: int) -> int:
    """Of one model; the same in predictions, importance and predictors."""
    return derive_seed(study.config.seed, "prediction", task, protocol, features, fold)


def _prompts(study: Study, task: str) -> pl.DataFrame:
    """The analysed study prompts of a task, sorted by prompt_id."""
    analysed = pl.col("split").is_in(study.config.analysed_splits)
    prompts = study.scan(PROMPTS).filter(analysed, purpose="study", task=task)
    return prompts.drop("text").sort("prompt_id").collect()
