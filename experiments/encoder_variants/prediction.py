"""Predicted correctness, out of fold: folds by group, over all prompts, the same for every variant.

The stage `predict` holds out a quarter of the groups, or folds without regard to groups as the paper
does; here every prompt is tested by a model that saw no prompt of its group, which gives four times
as many test prompts to tell variants apart by.

Feature sets: `<readout>_encodings`, by a linear model; clusters of `[CLS]`, by CatBoost, fitted on the
training folds; and, of the first variant, clusters of `row` too, and `BASELINES`.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from apmae.clustering.heads import cluster_rows
from apmae.common.atomic import read_parquet, write_parquet
from apmae.common.errors import ApmaeError
from apmae.common.progress import Progress
from apmae.common.seeding import derive_seed
from apmae.common.workers import compute_parts
from apmae.prediction.classifiers import fit_features
from apmae.prediction.features import Blocks, StoredFeatures, take
from apmae.prediction.protocols import group_folds, group_numbers
from apmae.stages import stage_named
from apmae.study import Study
from apmae.study.directory import stage_key

STAGE = "ablation"
_ABLATION = replace(stage_named("predict"), sections=("clustering", "prediction", "measured_split"))
"""What the predictions depend on: clusters and classifiers are made in one go."""
PREDICTIONS = "ablation.parquet"
FOLDS = 5
BASELINES = ("row_statistics", "confidence")
CLUSTERS = "_clusters"

Folds = NDArray[np.int16]
"""(study prompts,) number of the fold in which each is tested."""


def feature_sets(study: Study, *, first: bool) -> tuple[str, ...]:
    """What correctness is predicted from."""
    encodings = [f"{readout}_encodings" for readout in study.config.encoding.readouts]
    of_first = ("row_clusters", *BASELINES) if first else ()
    return (*encodings, "cls_clusters", *of_first)


def predict(study: Study, encode_key: str, progress: Progress, *, first: bool) -> pl.DataFrame:
    """Predict every feature set, unless that is done.

    Args:
        first: of the variants; what is the same for all, or tried once, is predicted here.

    Returns:
        Rows (task, features, prompt_id, fold, probability), also in `ablation.parquet`.
    """
    sets = feature_sets(study, first=first)
    inputs = {"encode": encode_key, "sets": ",".join(sets), "folds": str(FOLDS)}
    key = stage_key(study.config, _ABLATION, inputs)
    marker = study.marker(STAGE)
    if marker is None or marker["key"] != key:
        study.unmark(STAGE)
        write_parquet(
            study.path(PREDICTIONS), _predict_all(study, study.work_directory(STAGE, key), sets, progress)
        )
        study.mark_done(STAGE, {"key": key})
    return read_parquet(study.path(PREDICTIONS))


def fold_numbers(study: Study) -> Folds:
    """Deal the groups of all analysed prompts to folds; other prompts have none, -1.

    Raises:
        ApmaeError: there are too few groups.
    """
    prompts = study.study_prompts
    seed = derive_seed(study.config.seed, "ablations", "folds")
    analysed = np.flatnonzero(prompts["split"].is_in(study.config.analysed_splits).to_numpy())
    dealt = prompts[analysed]
    splits = group_folds(dealt["correct"].to_numpy(), group_numbers(dealt), FOLDS, seed)
    if len(splits) < FOLDS:
        raise ApmaeError(f"{study.directory}: too few groups for {FOLDS} folds: raise prompts.per_task")
    folds = np.full(len(prompts), -1, dtype=np.int16)
    for number, (_, test) in enumerate(splits):
        folds[analysed[test]] = number
    return folds


def _predict_all(study: Study, work: Path, sets: tuple[str, ...], progress: Progress) -> pl.DataFrame:
    folds = fold_numbers(study)
    n_heads = study.encodings["row_statistics"].shape[0]  # type: ignore[union-attr]
    readouts = [features.removesuffix(CLUSTERS) for features in sets if features.endswith(CLUSTERS)]
    heads = {work / f"head-{head:05d}.parquet": (study, head, readouts, folds) for head in range(n_heads)}
    config = study.config
    compute_parts(
        _cluster_head, heads, progress, f"{config.name}: clusters", processes=config.clustering.processes
    )
    parts = {
        work / f"{task}-{features}.parquet": (study, list(heads), task, features, folds)
        for task, features in product(config.prompts.tasks, sets)
    }
    compute_parts(_predict, parts, progress, f"{config.name}: predict", processes=config.prediction.processes)
    return pl.concat([read_parquet(path) for path in parts])


def _cluster_head(study: Study, head: int, readouts: list[str], folds: Folds) -> pl.DataFrame:
    """Clusters of one head: a column for each readout and fold, fitted on the other folds' prompts."""
    config = study.config
    columns = {}
    for readout in readouts:
        rows = np.asarray(study.encodings[readout][head])  # type: ignore[index]
        for fold in range(FOLDS):
            seed = derive_seed(config.seed, "ablations", "clusters", readout, head, fold)
            columns[_column(readout, fold)] = cluster_rows(
                rows, (folds != fold) & (folds >= 0), config.clustering, seed
            )
    return pl.DataFrame(columns)


def _predict(study: Study, heads: list[Path], task: str, features: str, folds: Folds) -> pl.DataFrame:
    """Out-of-fold predictions of one task from one feature set."""
    prompts = study.study_prompts
    chosen = np.flatnonzero((prompts["task"] == task).to_numpy() & (folds >= 0))
    prompts, folds = prompts[chosen], folds[chosen]
    correct, groups = prompts["correct"].to_numpy(), group_numbers(prompts)
    probability = np.full(len(chosen), np.nan)
    for fold in range(FOLDS):
        if features.endswith(CLUSTERS):
            blocks = _clusters(heads, _column(features.removesuffix(CLUSTERS), fold), chosen)
        elif not fold:
            blocks = StoredFeatures(study, prompts, "held_out").blocks([features])
        train, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        seed = derive_seed(study.config.seed, "ablations", task, features, fold)
        fitted = fit_features(
            take(blocks, train), correct[train], groups[train], study.config.prediction, seed
        )
        probability[test] = fitted(take(blocks, test))
    return prompts.select(
        "task",
        "prompt_id",
        features=pl.lit(features),
        fold=pl.Series(folds),
        probability=pl.Series(probability),
    )


def _clusters(heads: list[Path], column: str, chosen: NDArray[np.int64]) -> Blocks:
    by_head = (
        pl.scan_parquet(heads, glob=False).select(column).collect()[column].to_numpy().reshape(len(heads), -1)
    )
    return {"clusters": by_head[:, chosen].T}


def _column(readout: str, fold: int) -> str:
    return f"{readout}_{fold}"
