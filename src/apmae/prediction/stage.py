"""The stage `predict`: every task, protocol and feature set in its own process.

A finished set, and a finished predictor, is a file of the work directory; a killed stage loses
those in flight.
"""

from __future__ import annotations

import shutil
from itertools import product
from pathlib import Path
from typing import get_args

import numpy as np
import polars as pl

from apmae.parallel import compute_parts
from apmae.prediction.classifiers import FEATURE_SETS, fit_catboost, fit_features, learnable
from apmae.prediction.evaluation import measure
from apmae.prediction.features import Protocol, head_numbers, load_blocks, take
from apmae.prediction.importance import head_importance, shap_values
from apmae.prediction.protocols import Split, cross_validation, held_out
from apmae.progress import Tracker
from apmae.seeding import derive_seed
from apmae.study import (
    IMPORTANCE,
    IMPORTANCE_SCHEMA,
    METRICS,
    METRICS_SCHEMA,
    PREDICTIONS,
    PREDICTIONS_SCHEMA,
    PREDICTOR,
    PROMPTS,
    Study,
    replacing,
)

STAGE = "predict"


def run(study: Study, key: str, track: Tracker) -> dict[str, object]:
    """Write `predictions.parquet`, `metrics.parquet`, `importance.parquet` and `predictor/`.

    Args:
        key: owner of the work directory; unfinished work of another key is dropped.

    Returns:
        Counts for the stage's marker; `notes` says what could not be done for want of prompts.
    """
    processes = study.config.prediction.processes
    tasks: list[str] = [task for task in study.config.prompts.tasks if task != "noise"]
    work = study.work_directory(STAGE, key)
    sets = {
        work / f"{task}-{protocol}-{features}.parquet": (study, task, protocol, features)
        for task, protocol, features in product(tasks, get_args(Protocol), FEATURE_SETS)
    }
    models = {task: work / f"{task}.cbm" for task in tasks}
    importances = {work / f"{task}.parquet": (study, task, model) for task, model in models.items()}
    compute_parts(_predict_set, sets, track, "feature sets", processes=processes)
    compute_parts(_fit_predictor, importances, track, "head importance", processes=processes)

    predictions = pl.concat([pl.read_parquet(path) for path in sets])
    study.write_table(PREDICTIONS, predictions, PREDICTIONS_SCHEMA)
    study.write_table(METRICS, _metrics(study, predictions, tasks), METRICS_SCHEMA)
    study.write_table(
        IMPORTANCE, pl.concat([pl.read_parquet(path) for path in importances]), IMPORTANCE_SCHEMA
    )
    with study.writing(PREDICTOR) as directory:
        directory.mkdir()
        for model in models.values():
            if model.exists():
                shutil.copy(model, directory)
    notes = [note for task in tasks for note in _notes(study, task, models[task].exists())]
    return {"tasks": len(tasks), "predictions": len(predictions), "notes": notes}


def _predict_set(study: Study, task: str, protocol: Protocol, features: str) -> pl.DataFrame:
    """One task's part of `predictions.parquet` for one feature set and protocol."""
    prompts = _prompts(study).filter(task=task)
    correct = prompts["correct"].to_numpy()
    blocks = load_blocks(features.split("+"), study, prompts, protocol)
    parts = [pl.DataFrame(schema=PREDICTIONS_SCHEMA)]
    for fold, (train, test) in enumerate(_splits(study, task, prompts, protocol)):
        seed = derive_seed(study.config.seed, "prediction", task, protocol, features, fold)
        predict = fit_features(features, take(blocks, train), correct[train], study.config.prediction, seed)
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


def _fit_predictor(study: Study, task: str, path: Path) -> pl.DataFrame:
    """One task's part of `importance.parquet`; the model itself goes to `path`.

    It is the model of the `held_out` protocol. Where there is nothing to learn from there is no
    model, and every head's importance is zero.
    """
    train = _prompts(study).filter(task=task, split="train")
    correct = train["correct"].to_numpy()
    blocks = load_blocks(["clusters"], study, train, "held_out")
    clusters = blocks["clusters"].astype(np.int16)
    if learnable(blocks, correct):
        seed = derive_seed(study.config.seed, "prediction", task, "held_out", "clusters", 0)
        model = fit_catboost(blocks, correct, study.config.prediction, seed)
        with replacing(path) as temporary:
            model.save_model(str(temporary))
        shap, _ = shap_values(model, blocks)
    else:
        clusters = np.zeros((1, clusters.shape[1]), dtype=np.int16)
        shap = np.zeros(clusters.shape)
    heads = head_numbers(study).select(task=pl.lit(task), layer="layer", head="head")
    return pl.concat([heads, head_importance(shap, clusters)], how="horizontal")


def _metrics(study: Study, predictions: pl.DataFrame, tasks: list[str]) -> pl.DataFrame:
    outcomes = _prompts(study).select("prompt_id", "correct", "group")
    tables = []
    for task, protocol, features in product(tasks, get_args(Protocol), FEATURE_SETS):
        chosen = predictions.filter(task=task, protocol=protocol, features=features)
        seed = derive_seed(study.config.seed, "prediction", task, "bootstrap")
        table = measure(chosen.join(outcomes, on="prompt_id", maintain_order="left"), protocol, seed)
        names = {"task": task, "protocol": protocol, "features": features}
        tables.append(table.with_columns(pl.lit(text).alias(name) for name, text in names.items()))
    return pl.concat(tables)


def _notes(study: Study, task: str, has_predictor: bool) -> list[str]:
    """What could not be done, or not in full, for want of prompts."""
    prompts = _prompts(study).filter(task=task)
    notes = []
    folds, wanted = len(_splits(study, task, prompts, "cross_validation")), study.config.prediction.folds
    if folds < wanted:
        notes.append(f"{task}: {folds} folds instead of {wanted}, for want of right or wrong prompts")
    for split, outcome in product(("train", "test"), (True, False)):
        if prompts.filter(split=split, correct=outcome).is_empty():
            notes.append(f"{task}: no {'right' if outcome else 'wrong'} prompt in the {split} split")
    if not has_predictor:
        notes.append(f"{task}: no predictor, for want of outcomes or clusters to tell apart")
    return notes


def _splits(study: Study, task: str, prompts: pl.DataFrame, protocol: Protocol) -> list[Split]:
    if protocol == "held_out":
        return held_out((prompts["split"] == "train").to_numpy())
    seed = derive_seed(study.config.seed, "prediction", task, "folds")
    return cross_validation(prompts["correct"].to_numpy(), study.config.prediction.folds, seed)


def _prompts(study: Study) -> pl.DataFrame:
    """The study prompts, without what was in them."""
    return pl.scan_parquet(study.path(PROMPTS)).filter(purpose="study").drop("input_ids", "text").collect()
