"""A study's directory: its file names, what a stage finished, and what made it.

The directory is a study's only state. Every file is written under a temporary name and renamed,
so a file that is there is whole. A stage is done only when `markers/<stage>.json` says so; unfinished
work lies in `work/<stage>/` and belongs to one key, the hash of all that the stage depends on.

Tables (polars schemas below) and arrays:

    encodings.zarr   `cls`, `row`, ..., as `encoding.readouts` says: (head, prompt, dim) float16;
                     `row_statistics`: (head, prompt, 7) float32; `hidden_state`: (prompt, hidden)
                     float32, the last position's, as it enters the middle layer; with
                     `encoding.random_encoder` also `random_cls`, the `cls` of an AP-MAE of random
                     weights. NaN where not written.
                     head = layer * n_heads + head; prompt = prompt_id; the group's attribute
                     `n_heads` is the number of heads of a layer
    predictor/       `<task>.safetensors`, what `apmae score` goes by, a linear model that needs
                     calibration.parquet; `<task>.cbm`, CatBoost's model of the clusters
    best/<task>      the task's best intervention, as `apmae.Intervention.load` reads it; none where
                     nothing helped the tuning prompts
    exemplars.zarr   `patterns`: (exemplar, T, T) float16, scaled as the encoder saw them;
                     `layer`, `head`, `cluster`, `prompt_id`: (exemplar,) int32
"""

from __future__ import annotations

import errno
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import yaml
from pydantic import ValidationError

from apmae.config import StudyConfig, dump_config
from apmae.errors import ApmaeError
from apmae.languages import language_named

if TYPE_CHECKING:
    import zarr

TEMPORARY = ".writing-"
CONFIG = "study.yaml"
PROVENANCE = "provenance.json"
PROMPTS = "prompts.parquet"
TASKS = "tasks.parquet"
ENCODER = "encoder"
TRAINING_HISTORY = "encoder/training/history.parquet"
ENCODINGS = "encodings.zarr"
HIDDEN_STATE = "hidden_state"
RANDOM_CLS = "random_cls"
CLUSTERS = "clusters.parquet"
EXEMPLARS = "exemplars.zarr"
PREDICTIONS = "predictions.parquet"
METRICS = "metrics.parquet"
IMPORTANCE = "importance.parquet"
CALIBRATION = "calibration.parquet"
PREDICTOR = "predictor"
CONDITIONS = "conditions.parquet"
INTERVENTIONS = "interventions.parquet"
CHOICES = "choices.parquet"
SIDE_EFFECTS = "side_effects.parquet"
BEST = "best"
EVALUATION = "evaluation/evaluation.parquet"
REPORT = "report"
REPORT_INDEX = "report/index.html"

PROMPTS_SCHEMA = pl.Schema(
    {
        "prompt_id": pl.Int32(),  # row number; study prompts come before encoder prompts
        "purpose": pl.String(),  # "study", or "encoder": only the encoder is trained on it
        "task": pl.String(),
        "file": pl.String(),
        "line": pl.Int32(),  # 1-based line of the hole; null for noise
        "group": pl.String(),  # package or project of the file
        "split": pl.String(),  # "train" or "test"; one group is never in both
        "text": pl.String(),  # what stood in the hole; null for noise
        "input_ids": pl.List(pl.Int32()),
        "target_id": pl.Int32(),  # first token of the true text; null for noise
        "predicted_id": pl.Int32(),
        "correct": pl.Boolean(),  # null for noise
        "target_probability": pl.Float32(),  # of target_id
        "max_probability": pl.Float32(),
        "margin": pl.Float32(),  # largest minus second largest probability
        "entropy": pl.Float32(),  # of the next-token distribution, nats
    }
)
TASKS_SCHEMA = pl.Schema(
    {
        "task": pl.String,
        "evaluated": pl.Int32,  # prompts the target ran on
        "evaluated_correct": pl.Int32,
        "natural_rate": pl.Float64,  # evaluated_correct / evaluated; NaN for noise
        "kept_correct": pl.Int32,
        "kept_wrong": pl.Int32,
    }
)
CLUSTERS_SCHEMA = pl.Schema(
    {  # sorted by layer, head, prompt_id; every head has every study prompt
        "prompt_id": pl.Int32,
        "layer": pl.Int16,
        "head": pl.Int16,
        "cluster": pl.Int16,  # fitted on every study prompt; -1 is noise
        "cluster_held_out": pl.Int16,  # fitted on the training split, test prompts assigned to it
        "random_cluster": pl.Int16,  # the same two of `random_cls`; null without it
        "random_cluster_held_out": pl.Int16,
    }
)
PREDICTIONS_SCHEMA = pl.Schema(
    {
        "prompt_id": pl.Int32,
        "task": pl.String,
        "protocol": pl.String,  # "cross_validation" or "held_out"
        "features": pl.String,  # feature set, see prediction
        "fold": pl.Int16,  # 0 for held_out
        "probability": pl.Float32,  # predicted probability that the completion is right
    }
)
METRICS_SCHEMA = pl.Schema(
    {
        "task": pl.String,
        "protocol": pl.String,
        "features": pl.String,
        "metric": pl.String,  # see prediction.metrics; `<metric>_natural` is at the natural rate
        "value": pl.Float64,
        "low": pl.Float64,  # 95% interval, bootstrap over groups
        "high": pl.Float64,
        "difference": pl.Float64,  # value minus that of the feature set `confidence`
        "difference_low": pl.Float64,  # 95% interval of the difference, the same resamples for both
        "difference_high": pl.Float64,
        "prompts": pl.Int32,  # prompts the value is over
    }
)
IMPORTANCE_SCHEMA = pl.Schema(
    {  # of models fitted on the training split
        "task": pl.String,
        "features": pl.String,  # what the model sees: "clusters" (the paper's), "row_statistics", ...
        "layer": pl.Int16,
        "head": pl.Int16,
        "max_difference": pl.Float64,  # between mean SHAP values per cluster (paper figures 5, 6)
        "mean_positive": pl.Float64,  # mean of max(SHAP, 0) over the prompts
        "mean_negative": pl.Float64,  # mean of min(SHAP, 0)
        "mean_shap": pl.Float64,
        "top_share": pl.Float64,  # of the folds, those in which the head is among the ten foremost
        "rank_correlation": pl.Float64,  # of max_difference between two folds, mean; same for all heads
    }
)
CALIBRATION_SCHEMA = pl.Schema(
    {  # of the task's predictor; a task without one has no row
        "task": pl.String,
        "features": pl.String,  # feature set that it sees
        "slope": pl.Float64,  # slope * log-odds + offset are calibrated, at the natural rate
        "offset": pl.Float64,
        "natural_rate": pl.Float64,
        "prompts": pl.Int32,  # training prompts that slope and offset are fitted on
    }
)
CONDITIONS_SCHEMA = pl.Schema(
    {
        "condition": pl.Int32(),  # row number
        "task": pl.String(),
        "importance": pl.String(),  # whose importance chose the heads, as `features` of importance.parquet
        "selection": pl.String(),  # "positive", "negative", "neutral", "random", "greedy"
        "operation": pl.String(),  # "zero", "mean", "scale"
        "factor": pl.Float32(),  # what is left of a head's output; 0 unless the operation is "scale"
        "draw": pl.Int16(),  # of the random selection; 0 for the others
        "heads": pl.List(pl.List(pl.Int16())),  # (layer, head) each
    }
)
INTERVENTIONS_SCHEMA = pl.Schema(
    {  # one row per prompt and condition
        "condition": pl.Int32,
        "task": pl.String,
        "importance": pl.String,
        "selection": pl.String,
        "operation": pl.String,
        "factor": pl.Float32,
        "n_heads": pl.Int32,
        "draw": pl.Int16,
        "split": pl.String,  # "train": the prompts that choices are made on; "test": held out
        "prompt_id": pl.Int32,
        "correct_before": pl.Boolean,
        "correct_after": pl.Boolean,
        "predicted_id": pl.Int32,  # after the intervention
        "gate_probability": pl.Float32,  # predicted probability that the plain completion is right
    }
)
CHOICES_SCHEMA = pl.Schema(
    {  # per task and method, what does best on the tuning prompts; a method that helps none has no row
        "task": pl.String,
        "method": pl.String,  # "zero", "mean", "scale", "greedy", "gated"
        "condition": pl.Int32,
        "threshold": pl.Float32,  # gated: only completions of at most this gate_probability are changed
        "tuning_prompts": pl.Int32,
        "tuning_net_change": pl.Float64,  # fraction of the tuning prompts
    }
)
SIDE_EFFECTS_SCHEMA = pl.Schema(
    {  # of the best intervention of `task`, one row per prompt
        "task": pl.String,
        "measured_on": pl.String,  # another task, or "random code"
        "prompt_id": pl.Int32,
        "before": pl.Float32,  # 1 for a right completion, else 0; of random code: nats per token
        "after": pl.Float32,
    }
)


class Study:
    """A study's config and directory, with its artifacts as attributes.

    A finished study is read with `Study.open(directory)`; the pipeline makes one with
    `Study.create(config)`.
    """

    def __init__(self, config: StudyConfig, directory: Path) -> None:
        self.config = config
        self.directory = directory

    @classmethod
    def create(cls, config: StudyConfig) -> Study:
        """Make or take up the study's directory and write its config there.

        Raises:
            ApmaeError: the directory holds something else, or another study.
        """
        directory = config.study_directory
        study = cls(config, directory)
        if directory.exists():
            study._refuse_foreign_directory()
        directory.mkdir(parents=True, exist_ok=True)
        with study.writing(CONFIG) as path:
            path.write_text(dump_config(config), encoding="utf-8")
        return study

    @classmethod
    def open(cls, directory: str | Path) -> Study:
        """Read the study that lives in `directory`.

        Raises:
            ApmaeError: there is none.
        """
        directory = Path(directory)
        return cls(_read_config(directory), directory)

    def __repr__(self) -> str:
        return f"Study({self.config.name!r}, {str(self.directory)!r})"

    def path(self, name: str) -> Path:
        """Where the artifact `name` (a constant of this module) lies."""
        return self.directory / name

    @property
    def prompts(self) -> pl.DataFrame:
        """Every prompt, `PROMPTS_SCHEMA`."""
        return self._table(PROMPTS)

    @property
    def study_prompts(self) -> pl.DataFrame:
        """The prompts that are encoded and analysed: prompt_id 0, 1, ... without a gap."""
        return self.prompts.filter(pl.col("purpose") == "study")

    @property
    def tasks(self) -> pl.DataFrame:
        """What the target did on each task, `TASKS_SCHEMA`."""
        return self._table(TASKS)

    @property
    def encodings(self) -> zarr.Group:
        """Arrays `cls`, `row`, `row_statistics` and more, see the module's docstring."""
        return self._arrays(ENCODINGS)

    @property
    def clusters(self) -> pl.DataFrame:
        """Cluster of every head on every prompt, `CLUSTERS_SCHEMA`."""
        return self._table(CLUSTERS)

    @property
    def exemplars(self) -> zarr.Group:
        """Patterns that stand for clusters, see the module's docstring."""
        return self._arrays(EXEMPLARS)

    @property
    def predictions(self) -> pl.DataFrame:
        """Predicted correctness, `PREDICTIONS_SCHEMA`."""
        return self._table(PREDICTIONS)

    @property
    def metrics(self) -> pl.DataFrame:
        """How well correctness is predicted, `METRICS_SCHEMA`."""
        return self._table(METRICS)

    @property
    def importance(self) -> pl.DataFrame:
        """SHAP importance of every head, `IMPORTANCE_SCHEMA`."""
        return self._table(IMPORTANCE)

    @property
    def calibration(self) -> pl.DataFrame:
        """From the predictors' log-odds to frequencies, `CALIBRATION_SCHEMA`."""
        return self._table(CALIBRATION)

    @property
    def interventions(self) -> pl.DataFrame:
        """Outcome of every intervention, `INTERVENTIONS_SCHEMA`."""
        return self._table(INTERVENTIONS)

    @property
    def conditions(self) -> pl.DataFrame:
        """What every intervention did to which heads, `CONDITIONS_SCHEMA`."""
        return self._table(CONDITIONS)

    @property
    def choices(self) -> pl.DataFrame:
        """The best condition of every task and method, `CHOICES_SCHEMA`."""
        return self._table(CHOICES)

    @property
    def side_effects(self) -> pl.DataFrame:
        """What the best intervention of a task does elsewhere, `SIDE_EFFECTS_SCHEMA`."""
        return self._table(SIDE_EFFECTS)

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A temporary path for the artifact `name`; renamed to it when the block ends well."""
        with replacing(self.path(name)) as path:
            yield path

    def write_table(self, name: str, table: pl.DataFrame, schema: pl.Schema) -> None:
        """Write `table` as the artifact `name`, its columns cast to and ordered as `schema`."""
        write_parquet(
            self.path(name), table.select(pl.col(column).cast(dtype) for column, dtype in schema.items())
        )

    def work_directory(self, stage: str, key: str) -> Path:
        """Where a stage keeps unfinished work; emptied when it belongs to another key."""
        directory = self.path("work") / stage
        owner = directory / "key"
        if not owner.exists() or owner.read_text() != key:
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True)
            owner.write_text(key)
        return directory

    def marker(self, stage: str) -> dict[str, Any] | None:
        """What a finished stage recorded of itself, or None while it is not done."""
        path = self.path("markers") / f"{stage}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def mark_done(self, stage: str, record: dict[str, Any]) -> None:
        """Declare a stage done and drop unfinished work, also what a killed write left."""
        with self.writing(f"markers/{stage}.json") as path:
            path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        for left in (self.path("work") / stage, *self.directory.glob(f"{TEMPORARY}*")):
            shutil.rmtree(left, ignore_errors=True)

    def unmark(self, stage: str) -> None:
        """Declare a stage not done."""
        (self.path("markers") / f"{stage}.json").unlink(missing_ok=True)

    def write_provenance(self) -> None:
        """Record what made this study: versions, machine, commit and seed."""
        with self.writing(PROVENANCE) as path:
            path.write_text(json.dumps(provenance(self.config), indent=2) + "\n", encoding="utf-8")

    def _table(self, name: str) -> pl.DataFrame:
        return pl.read_parquet(self._existing(name))

    def _arrays(self, name: str) -> zarr.Group:
        import zarr

        return zarr.open_group(self._existing(name), mode="r")

    def _existing(self, name: str) -> Path:
        path = self.path(name)
        if not path.exists():
            raise ApmaeError(f"{path} is not there: run `apmae run` on the study first")
        return path

    def _refuse_foreign_directory(self) -> None:
        if not self.directory.is_dir():
            raise ApmaeError(f"{self.directory} is a file; set `directory` to a study's directory")
        if not self.path(CONFIG).exists():
            if any(not path.name.startswith(TEMPORARY) for path in self.directory.iterdir()):
                raise ApmaeError(
                    f"{self.directory} holds other files and no {CONFIG}; set `directory` to a new one"
                )
            return
        name = _read_config(self.directory).name
        if name != self.config.name:
            raise ApmaeError(
                f"{self.directory} belongs to the study {name!r}, not {self.config.name!r}; "
                "set `directory` to another one"
            )


@contextmanager
def replacing(final: Path) -> Iterator[Path]:
    """A temporary path beside `final`; renamed to it when the block ends well."""
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=final.parent)) / final.name
    try:
        yield temporary
        if final.is_dir():
            shutil.rmtree(final)
        temporary.replace(final)
    except Exception as error:
        # Libraries written in Rust wrap the system's error; its words are all that is left of it.
        full = os.strerror(errno.ENOSPC)
        if full in str(error):
            raise OSError(errno.ENOSPC, full, str(final)) from error
        raise
    finally:
        shutil.rmtree(temporary.parent, ignore_errors=True)


def write_parquet(path: Path, table: pl.DataFrame) -> None:
    """Write a table so that the file is either whole or not there."""
    with replacing(path) as temporary:
        table.write_parquet(temporary)


def stage_key(config: StudyConfig, sections: tuple[str, ...], inputs: Mapping[str, str]) -> str:
    """Hash of the seed, the named config sections, and the keys of what a stage reads."""
    values = {name: getattr(config, name).result_values() for name in sections}
    text = json.dumps([config.seed, values, inputs], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def provenance(config: StudyConfig) -> dict[str, Any]:
    """Versions, machine and commit of this run."""
    grammar = language_named(config.corpus.language).grammar_package
    packages = ("apmae", "torch", "transformers", "tree-sitter", grammar, "catboost", "umap-learn")
    return {
        "seed": config.seed,
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
    }


def _git(*arguments: str) -> str | None:
    """Answer of git about the checkout that this package lies in; None outside of one."""
    here = Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", "-C", str(here), *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _read_config(directory: Path) -> StudyConfig:
    path = directory / CONFIG
    try:
        return StudyConfig.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        raise ApmaeError(f"{directory} holds no study (no {CONFIG})") from None
    except (ValidationError, yaml.YAMLError):
        raise ApmaeError(f"{path} is not this version's; set `directory` to a new one") from None
