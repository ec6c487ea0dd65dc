"""What a study's directory holds: the names of its artifacts, and the columns of its tables.

Arrays and directories:

    encodings.zarr   `cls`, `row`, ..., as `encoding.readouts` says: (head, prompt, dim) float16;
                     `row_statistics`: (head, prompt, 7) float32; `copy_attention`: (head, prompt, 3) and
                     `occurrences`: (prompt, 8) float32, see `apmae.encoding.copying`;
                     `hidden_states`: (4, prompt, hidden) float32, the residual stream at the last
                     position behind a quarter, a half, three quarters and all of the layers, before the
                     final norm; `top_log_probs`: (prompt, 20) float32, the largest of the next token,
                     descending; `before_hole`: (prompt, 2) int32, the last token left of the hole and
                     the one before it; with `encoding.detectors` also theirs, in float32:
                     `laplacian_eigenvalues` and `sink_scores`: (head, prompt, 10); `lookback_ratios`:
                     (head, prompt, 1); `rauq`: (prompt, 1); `logit_lens_entropies`: (3, prompt, layer);
                     with `encoding.random_encoder` also `random_cls`, the `cls` of an AP-MAE of random
                     weights.
                     NaN (-1 in `before_hole`) where not written.
                     head = layer * n_heads + head; prompt = prompt_id; the group's attribute
                     `n_heads` is the number of heads of a layer
    predictor/       `<task>.safetensors`, what `apmae score` goes by, a linear model that needs
                     calibration.parquet, and `<task>.confidence.safetensors`, the same of the target's
                     confidence alone; `<task>.cbm`, CatBoost's model of the clusters
    best/<task>      the task's best intervention, as `apmae.Intervention.load` reads it; none where
                     nothing helped the tuning prompts
    tokens.zarr      of the token study, a row for each row of tokens.parquet, float16: `row_statistics`
                     (token, head, 7); `copy_attention` (token, head, 3); `top_log_probs` (token, 20);
                     `hidden_states` (token, 2, dim), the residual stream at half of the layers and at
                     the last, projected at random; the group's attribute `n_heads` as of encodings.zarr
    token_predictor/ what `apmae score` goes by where no task is named: `<features>.safetensors` and
                     `<features>.json`, the study's feature set, the same without heads, and `confidence`
    exemplars.zarr   `patterns`: (exemplar, T, T) float16, scaled as the encoder saw them;
                     `layer`, `head`, `cluster`, `prompt_id`: (exemplar,) int32
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)


@dataclass(frozen=True)
class Table:
    """A Parquet file of a study's directory.

    Attributes:
        name: its path in the directory.
        columns: name and type of every column, in order.
    """

    name: str
    columns: Mapping[str, Any]

    @property
    def schema(self) -> pl.Schema:
        """The columns as Polars has them."""
        return pl.Schema(self.columns)

    def of_rows(self, rows: Iterable[Sequence[Any] | Mapping[str, Any]] = ()) -> pl.DataFrame:
        """A table of these rows, each a sequence in the order of the columns, or a mapping."""
        return pl.DataFrame(list(rows), schema=self.schema, orient="row")

    def cast(self, table: Frame) -> Frame:
        """The table's columns in order, cast to their types; other columns are dropped."""
        return table.select(pl.col(name).cast(dtype) for name, dtype in self.schema.items())


def token_ids(prompts: pl.DataFrame) -> NDArray[np.int32]:
    """(prompts, tokens) int32: the `input_ids` of prompts of one length."""
    ids = prompts["input_ids"].explode().to_numpy() if len(prompts) else np.empty(0)
    return ids.astype(np.int32).reshape(len(prompts), -1 if len(prompts) else 0)


CONFIG = "study.yaml"
PROVENANCE = "provenance.json"
ENCODER = "encoder"
ENCODINGS = "encodings.zarr"
HIDDEN_STATES = "hidden_states"
TOP_LOG_PROBS = "top_log_probs"
BEFORE_HOLE = "before_hole"
STATISTICS = "row_statistics"
COPY_ATTENTION = "copy_attention"
OCCURRENCES = "occurrences"
RANDOM_CLS = "random_cls"
EXEMPLARS = "exemplars.zarr"
TOKEN_ARRAYS = "tokens.zarr"
TOKEN_PREDICTOR = "token_predictor"
PREDICTOR = "predictor"
BEST = "best"
REPORT = "report"
REPORT_INDEX = "report/index.html"

PROMPTS = Table(
    "prompts.parquet",
    {
        "prompt_id": pl.Int32,  # row number; study prompts come before encoder prompts
        "purpose": pl.String,  # "study", or "encoder": only the encoder is trained on it
        "task": pl.String,
        "file": pl.String,
        "line": pl.Int32,  # 1-based line of the hole; null for noise
        "group": pl.String,  # package or project of the file
        "split": pl.String,  # "train", "test" or "development"; one group is in one of them
        "text": pl.String,  # what stood in the hole; null for noise
        "input_ids": pl.List(pl.Int32),
        "next_token_id": pl.Int32,  # first token of the true text; null for noise
        "true_ids": pl.List(pl.Int32),  # that a correct completion has, see prompts.outcome; null for noise
        "searched": pl.Boolean,  # proposed by a survey, so that it says nothing of base rates
        "predicted_id": pl.Int32,
        "correct": pl.Boolean,  # null for noise
        "next_token_probability": pl.Float32,  # of next_token_id
        "max_probability": pl.Float32,
        "margin": pl.Float32,  # largest minus second largest probability
        "entropy": pl.Float32,  # of the next-token distribution, nats
    },
)
TASKS = Table(
    "tasks.parquet",
    {
        "task": pl.String,
        "evaluated": pl.Int32,  # candidates, taken as they came, that the target ran on
        "evaluated_correct": pl.Int32,
        "base_rate": pl.Float64,  # evaluated_correct / evaluated; NaN for noise
        "searched": pl.Int32,  # further ones that a survey proposed
        "kept_correct": pl.Int32,
        "kept_incorrect": pl.Int32,
        "kept_matched": pl.Int32,  # of both, those with a partner of the other outcome in the same package
    },
)
WINDOWS = Table(
    "windows.parquet",
    {  # of the token study
        "window": pl.Int32,  # row number
        "file": pl.String,
        "group": pl.String,
        "split": pl.String,
        "line": pl.Int32,  # of the first token that is the file's, from 1
        "input_ids": pl.List(pl.Int32),
        "syntax": pl.List(pl.Int8),  # of every token, a number of token_study.syntax.SYNTAX_CLASSES
        "is_first": pl.List(pl.Boolean),  # whether a token starts its identifier, literal, ...
    },
)
TOKENS = Table(
    "tokens.parquet",
    {  # the tokens that are kept; row n belongs to place n of every array of tokens.zarr
        "window": pl.Int32,
        "place": pl.Int16,  # index of the token in its window
        "group": pl.String,
        "split": pl.String,
        "syntax": pl.String,
        "is_first": pl.Boolean,
        "weight": pl.Float32,  # tokens that it stands for; those of a window add up to all of them
        "next_token_id": pl.Int32,  # the token itself
        "predicted_id": pl.Int32,
        "correct": pl.Boolean,
        "next_token_probability": pl.Float32,
        "max_probability": pl.Float32,
        "margin": pl.Float32,
        "entropy": pl.Float32,
    },
)
TOKEN_METRICS = Table(
    "token_metrics.parquet",
    {  # how well classifiers of tokens tell correct from incorrect, on the test groups
        "features": pl.String,
        "model": pl.String,  # linear, mlp or heads
        "labels": pl.Int32,  # tokens that it is fitted on; 0: all of the training groups
        "syntax": pl.String,  # a class of tokens, or "all"
        "metric": pl.String,
        "difference_from": pl.String,  # features whose value was subtracted; "" for the value itself
        "value": pl.Float64,
        "low": pl.Float64,  # 95% interval, bootstrap over groups
        "high": pl.Float64,
        "p": pl.Float64,  # of a difference, two-sided
        "tokens": pl.Int32,
    },
)
TOKEN_IMPORTANCE = Table(
    "token_importance.parquet",
    {  # what each head moves the study's predictor of tokens, over the tokens of the test groups
        "layer": pl.Int16,
        "head": pl.Int16,
        "mean_size": pl.Float64,  # mean absolute change of the log-odds
        "mean": pl.Float64,
    },
)
CLUSTERS = Table(
    "clusters.parquet",
    {  # sorted by layer, head, prompt_id; every head has every study prompt
        "prompt_id": pl.Int32,
        "layer": pl.Int16,
        "head": pl.Int16,
        "cluster": pl.Int16,  # fitted on the analysed prompts; the others are assigned; -1 is noise
        "cluster_held_out": pl.Int16,  # fitted on the training split, other prompts assigned to it
        "random_cluster": pl.Int16,  # the same two of `random_cls`; null without it
        "random_cluster_held_out": pl.Int16,
    },
)
EFFECTS = Table(
    "effects.parquet",
    {  # how ablating one head changes the completions of a task
        "task": pl.String,
        "layer": pl.Int16,
        "head": pl.Int16,
        "split": pl.String,  # "train": prompts that choices are made on; else the measured split
        "operation": pl.String,  # "zero", "mean"
        "method": pl.String,  # "exact": the head ablated; "attribution": integrated gradients
        "outcome": pl.String,  # "log_probability" of the true token, nats; "correct": -1, 0 or 1
        "weighting": pl.String,  # "balanced", or "base_rate": outcomes as frequent as in the corpus
        "value": pl.Float64,  # mean over prompts of ablated minus unchanged
        "low": pl.Float64,  # 95% interval, bootstrap over groups
        "high": pl.Float64,
        "prompts": pl.Int32,
        "inclusion": pl.Float64,  # probability that the head was to be ablated; 1 where it was sure
    },
)
EFFECT_AGREEMENT = Table(
    "effect_agreement.parquet",
    {  # of attribution with the exact effects on log probability by zero ablation, balanced
        "task": pl.String,
        "split": pl.String,
        "heads": pl.Int32,  # ablated one by one
        "correlation": pl.Float64,  # over all heads, estimated from the ablated ones by their inclusion
        "rank_correlation": pl.Float64,
    },
)
ROLES = Table(
    "roles.parquet",
    {  # what every head looks at, see `apmae.roles.relations.ROLES`
        "role": pl.String,
        "text": pl.String,  # "code", or "repeated random tokens"
        "layer": pl.Int16,
        "head": pl.Int16,
        "value": pl.Float64,  # attention of the role's queries to its keys, mean
        "low": pl.Float64,  # 95% interval, bootstrap over groups
        "high": pl.Float64,
        "expected": pl.Float64,  # were each query's attention to the role's candidates uniform
        "difference": pl.Float64,  # value minus expected
        "difference_low": pl.Float64,
        "difference_high": pl.Float64,
        "examples": pl.Int32,  # windows, or sequences, that have such queries
        "queries": pl.Int32,
    },
)
TRAINING_HISTORY = Table(
    "encoder/training/history.parquet",
    {
        "step": pl.Int64,
        "loss": pl.Float64,  # of the step's batch, before its update
        "validation_loss": pl.Float64,  # after its update; null on most rows
        "learning_rate": pl.Float64,
        "gradient_norm": pl.Float64,
    },
)
PREDICTIONS = Table(
    "predictions.parquet",
    {
        "prompt_id": pl.Int32,
        "task": pl.String,
        "protocol": pl.String,  # "cross_validation", "grouped_cross_validation", "held_out"
        "features": pl.String,  # feature set, see prediction
        "fold": pl.Int16,  # 0 for held_out
        "probability": pl.Float32,  # predicted probability that the completion is correct
    },
)
METRICS = Table(
    "metrics.parquet",
    {
        "task": pl.String,
        "protocol": pl.String,
        "features": pl.String,
        "metric": pl.String,  # see prediction.metrics; `<metric>_at_base_rate` is at the base rate
        "value": pl.Float64,
        "low": pl.Float64,  # 95% interval, bootstrap over groups
        "high": pl.Float64,
        "difference": pl.Float64,  # value minus that of the feature set `confidence`
        "difference_low": pl.Float64,  # 95% interval of the difference, the same resamples for both
        "difference_high": pl.Float64,
        "difference_p": pl.Float64,  # two-sided bootstrap p-value of the difference
        "difference_p_holm": pl.Float64,  # Holm-corrected over the tasks
        "over_strong": pl.Float64,  # value minus that of the feature set `strong`; the same columns
        "over_strong_low": pl.Float64,
        "over_strong_high": pl.Float64,
        "over_strong_p": pl.Float64,
        "over_strong_p_holm": pl.Float64,
        "prompts": pl.Int32,  # prompts the value is over; `auroc_of_kind` leaves some out
    },
)
IMPORTANCE = Table(
    "importance.parquet",
    {  # SHAP values of the training split's prompts, each by a model of its other groups
        "task": pl.String,
        "features": pl.String,  # what the model sees: "clusters" (the paper's), "row_statistics", ...
        "layer": pl.Int16,
        "head": pl.Int16,
        "max_difference": pl.Float64,  # between mean SHAP values per cluster of at least ten prompts
        "mean_positive": pl.Float64,  # mean of the positive SHAP values; 0 if there is none
        "mean_negative": pl.Float64,  # mean of the negative ones
        "mean_absolute": pl.Float64,  # mean of |SHAP|
        "mean_shap": pl.Float64,
        "top_fraction": pl.Float64,  # fraction of the folds' models that rank the head in their top ten
        "rank_correlation": pl.Float64,  # of max_difference between two folds, mean; same for all heads
    },
)
CALIBRATION = Table(
    "calibration.parquet",
    {  # of the task's predictors, the scorer's and that of `confidence`; a task without one has no row
        "task": pl.String,
        "features": pl.String,  # feature set that it sees
        "slope": pl.Float64,  # slope * log-odds + offset are calibrated, at the base rate
        "offset": pl.Float64,
        "base_rate": pl.Float64,
        "prompts": pl.Int32,  # training prompts that slope and offset are fitted on
    },
)
CONDITIONS = Table(
    "conditions.parquet",
    {
        "condition": pl.Int32,  # row number
        "task": pl.String,
        "importance": pl.String,  # `features` of importance.parquet; of random and greedy heads the first
        "selection": pl.String,  # see `apmae.vocabulary.Selection`
        "operation": pl.String,  # "zero", "mean", "scale", "gates"
        "factor": pl.Float32,  # what is left of a head's output; 0 unless the operation is "scale"
        "seed": pl.Int16,  # number of the random selection's seed; 0 for the others
        "heads": pl.List(pl.List(pl.Int16)),  # (layer, head) each
        "gates": pl.List(pl.Float32),  # of learned gates, each head's factor; else null
    },
)
LEARNED_GATES = Table(
    "learned_gates.parquet",
    {  # what learned gates say of every head, see `apmae.intervention.learned_gates`
        "task": pl.String,
        "layer": pl.Int16,
        "head": pl.Int16,
        "retained": pl.Float32,  # its gate where closed gates cost: small if it interferes
        "removed": pl.Float32,  # its gate where open gates cost: large if it facilitates
        "verdict": pl.String,  # "facilitating", "interfering" or "irrelevant"
    },
)
INTERVENTIONS = Table(
    "interventions.parquet",
    {  # one row per prompt and condition
        "condition": pl.Int32,
        "task": pl.String,
        "importance": pl.String,
        "selection": pl.String,
        "operation": pl.String,
        "factor": pl.Float32,
        "n_heads": pl.Int32,
        "seed": pl.Int16,
        "split": pl.String,  # "train": prompts that choices are made on; else the measured split
        "prompt_id": pl.Int32,
        "correct_before": pl.Boolean,  # unchanged, in the same batch; prompts.parquet's is of another one
        "correct_after": pl.Boolean,
        "predicted_before": pl.Int32,  # token that is predicted unchanged
        "predicted_id": pl.Int32,  # after the intervention
        "gate_probability": pl.Float32,  # predicted probability that the plain completion is correct
    },
)
CHOICES = Table(
    "choices.parquet",
    {  # per task and method, what does best on the tuning prompts; a method that helps none has no row
        "task": pl.String,
        "method": pl.String,  # see `apmae.intervention.choices.CHOICE_METHODS`
        "condition": pl.Int32,
        "threshold": pl.Float32,  # gated: only completions of at most this gate_probability are changed
        "tuning_prompts": pl.Int32,
        "tuning_net_change": pl.Float64,  # fraction of the tuning prompts
    },
)
SIDE_EFFECTS = Table(
    "side_effects.parquet",
    {  # of the best intervention of `task`, one row per prompt
        "task": pl.String,
        "measured_on": pl.String,  # another task, or "random code"
        "prompt_id": pl.Int32,
        "before": pl.Float32,  # 1 for a correct completion, else 0; of random code: nats per token
        "after": pl.Float32,
    },
)
GENERATED = Table(
    "generated.parquet",
    {  # of the best intervention of `task`, one row per hole
        "task": pl.String,
        "file": pl.String,
        "group": pl.String,
        "line": pl.Int32,
        "text": pl.String,  # what stood there
        "text_before": pl.String,  # what the target writes there as it is
        "exact_before": pl.Boolean,  # whether that is `text`
        "parses_before": pl.Boolean,  # whether the file has no syntax error with it
        "text_after": pl.String,  # the same under the intervention
        "exact_after": pl.Boolean,
        "parses_after": pl.Boolean,
    },
)
EVALUATION = Table(
    "evaluation/evaluation.parquet",
    {  # one row per encoder and target; every measure is a mean over patterns, `_std` their spread
        "encoder": pl.String,
        "target": pl.String,
        "own_target": pl.Boolean,  # the encoder's study has this target
        "held_out": pl.Boolean,  # the prompts are known to be held out from the encoder's training
        "scaling": pl.String,  # of the encoder
        "row_tokens": pl.Boolean,  # whether it has them, and its loss counts them
        "prompts": pl.Int32,
        "patterns": pl.Int64,
        "loss": pl.Float64,  # in the space of `scaling` and `row_tokens`
        "loss_std": pl.Float64,
        "log_error_nats": pl.Float64,  # see reconstruction.ReconstructionErrors
        "log_error_nats_std": pl.Float64,
        "mass_error": pl.Float64,  # see there
        "mass_error_std": pl.Float64,
        "uniform_log_error_nats": pl.Float64,  # of equal attention to all keys, for comparison
        "uniform_log_error_nats_std": pl.Float64,
        "uniform_mass_error": pl.Float64,
        "uniform_mass_error_std": pl.Float64,
    },
)

ARTIFACTS: Mapping[str, tuple[str, ...]] = {
    "prompts": (PROMPTS.name, TASKS.name),
    "tokens": (WINDOWS.name, TOKENS.name, TOKEN_ARRAYS),
    "token_predictor": (TOKEN_PREDICTOR, TOKEN_METRICS.name, TOKEN_IMPORTANCE.name),
    "effects": (EFFECTS.name, EFFECT_AGREEMENT.name),
    "roles": (ROLES.name,),
    "train": (ENCODER,),
    "encode": (ENCODINGS,),
    "cluster": (CLUSTERS.name, EXEMPLARS),
    "predict": (PREDICTIONS.name, METRICS.name, IMPORTANCE.name, CALIBRATION.name, PREDICTOR),
    "intervene": (
        LEARNED_GATES.name,
        CONDITIONS.name,
        INTERVENTIONS.name,
        CHOICES.name,
        SIDE_EFFECTS.name,
        GENERATED.name,
        BEST,
    ),
    "report": (REPORT,),
}
"""What every stage (`apmae.stages`) writes."""


def stage_of(artifact: str) -> str | None:
    """The stage that writes an artifact, or a file in one; None for what no stage writes."""
    root = artifact.partition("/")[0]
    return next((stage for stage, names in ARTIFACTS.items() if root in names), None)
