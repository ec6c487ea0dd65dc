"""What the report shows of a study, read from its artifacts once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import zarr
from numpy.typing import NDArray

from apmae.prediction.features import CONFIDENCE
from apmae.report import summaries
from apmae.report.answers import CLUSTERS
from apmae.report.chosen import chosen_effects, side_effect_table
from apmae.report.gallery import Tile, choose_tiles, exemplar_table
from apmae.report.selective import reliability, risk_coverage
from apmae.study import Study
from apmae.study.artifacts import EVALUATION, PROVENANCE, TRAINING_HISTORY
from apmae.study.config import StudyConfig

STAGES = ("prompts", "train", "encode", "cluster", "predict", "intervene")
TOP_HEADS = 5


@dataclass(frozen=True)
class Material:
    """Tables of `summaries` in the order of the study's tasks, and what made the study."""

    config: StudyConfig
    n_prompts: int
    shape: tuple[int, int]  # layers, heads a layer
    target_accuracy: pl.DataFrame
    held_out: pl.DataFrame
    cross_validation: pl.DataFrame
    grouped_cross_validation: pl.DataFrame
    reliability: pl.DataFrame  # of held-out predictions
    risk_coverage: pl.DataFrame
    cluster_counts: pl.DataFrame
    importance: pl.DataFrame  # of the cluster models
    top_heads: pl.DataFrame
    top_heads_of: dict[str, pl.DataFrame]  # by what other models see
    effects: pl.DataFrame
    pooled_effects: pl.DataFrame
    best_interventions: pl.DataFrame
    chosen: pl.DataFrame
    side_effects: pl.DataFrame
    tiles: list[Tile]
    tile_patterns: list[NDArray[np.floating]]  # (T, T) each
    history: pl.DataFrame | None  # None for an encoder that was not trained here
    evaluation: pl.DataFrame | None  # EVALUATION; None while there is none in the study's directory
    provenance: dict[str, Any]
    stage_seconds: dict[str, float]
    corpus: str
    prompt_format: str

    @property
    def feature_sets(self) -> list[str]:
        """The study's own feature sets, and confidence before them."""
        return list(dict.fromkeys((CONFIDENCE, *self.config.prediction.features)))

    @property
    def headline_sets(self) -> list[str]:
        """Confidence, every single block, and the union of most blocks."""
        unions = [name for name in self.feature_sets if "+" in name]
        largest = max(unions, key=lambda name: name.count("+"), default=None)
        return [name for name in self.feature_sets if "+" not in name or name == largest]


def paper_variant(effects: pl.DataFrame) -> pl.DataFrame:
    """The rows that are like the paper's: the study's first importance, heads zeroed."""
    first = effects.filter(operation="zero").head(1).select("importance", "operation")
    return effects.join(first, on=["importance", "operation"], how="semi", maintain_order="left")


def read_material(study: Study) -> Material:
    """Read and summarise a finished study.

    Raises:
        ApmaeError: an artifact is not there.
    """
    tasks = study.config.prompts.tasks
    prompts, clusters = study.study_prompts, study.clusters
    metrics, importance, interventions = (
        _in_task_order(table, tasks) for table in (study.metrics, study.importance, study.interventions)
    )
    by_model = {name[0]: rows for name, rows in importance.group_by("features", maintain_order=True)}
    importance = by_model.pop(CLUSTERS, importance.clear())
    predictions = _held_out_predictions(study)
    chosen = chosen_effects(interventions, study.choices, study.tasks)
    exemplars = study.exemplars
    tiles = choose_tiles(
        exemplar_table(exemplars), importance, clusters, prompts, study.config.report.gallery_clusters
    )
    mined = study.marker("prompts")
    assert mined is not None, "a report needs the prompts stage"
    return Material(
        config=study.config,
        n_prompts=prompts.height,
        shape=summaries.head_shape(clusters),
        target_accuracy=_in_task_order(summaries.target_accuracy(study.tasks), tasks),
        held_out=summaries.metrics_table(metrics, "held_out"),
        cross_validation=summaries.metrics_table(metrics, "cross_validation"),
        grouped_cross_validation=summaries.metrics_table(metrics, "grouped_cross_validation"),
        reliability=reliability(predictions),
        risk_coverage=risk_coverage(predictions, study.tasks),
        cluster_counts=summaries.clusters_per_head(clusters),
        importance=importance,
        top_heads=summaries.top_heads(importance, TOP_HEADS),
        top_heads_of={name: summaries.top_heads(rows, TOP_HEADS) for name, rows in by_model.items()},
        effects=summaries.intervention_effects(interventions),
        pooled_effects=summaries.intervention_effects(interventions, pooled=True),
        best_interventions=summaries.best_interventions(interventions),
        chosen=chosen,
        side_effects=side_effect_table(_in_task_order(study.side_effects, tasks), study.choices, chosen),
        tiles=tiles,
        tile_patterns=_patterns(exemplars, tiles),
        history=study.read_if_there(TRAINING_HISTORY),
        evaluation=study.read_if_there(EVALUATION),
        provenance=json.loads(study.path(PROVENANCE).read_text(encoding="utf-8")),
        stage_seconds=_stage_seconds(study),
        corpus=mined["counts"]["corpus"],
        prompt_format=mined["counts"]["format"],
    )


def _in_task_order(table: pl.DataFrame, tasks: tuple[str, ...]) -> pl.DataFrame:
    order = pl.DataFrame(
        {"task": list(tasks), "order": range(len(tasks))}, schema_overrides={"task": pl.String}
    )
    return (
        table.join(order, on="task", how="left", maintain_order="left")
        .sort("order", maintain_order=True, nulls_last=True)
        .drop("order")
    )


def _held_out_predictions(study: Study) -> pl.DataFrame:
    """Rows (task, features, probability, correct), confidence first; without shuffled labels."""
    shown = (CONFIDENCE, *study.config.prediction.features)
    order = pl.DataFrame({"features": list(dict.fromkeys(shown))}).with_row_index("rank")
    outcomes = study.study_prompts.select("prompt_id", "correct")
    held_out = study.predictions.filter(protocol="held_out").join(order, on="features", maintain_order="left")
    table = _in_task_order(held_out, study.config.prompts.tasks).sort("rank", maintain_order=True)
    return table.join(outcomes, on="prompt_id", maintain_order="left").select(
        "task", "features", "probability", "correct"
    )


def _patterns(exemplars: zarr.Group, tiles: list[Tile]) -> list[NDArray[np.floating]]:
    patterns = exemplars["patterns"]
    assert isinstance(patterns, zarr.Array)
    return [np.asarray(patterns[tile.index], dtype=np.float32) for tile in tiles]


def _stage_seconds(study: Study) -> dict[str, float]:
    records = {stage: study.marker(stage) or {} for stage in STAGES}
    return {stage: float(record["seconds"]) for stage, record in records.items() if "seconds" in record}
