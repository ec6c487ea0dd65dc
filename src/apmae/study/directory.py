"""A study's directory: what is there, what a stage finished, and what made it.

The directory is a study's only state. Every file is written under a temporary name and renamed,
so a file that is there is whole. A stage is done only when `markers/<stage>.json` says so, which lists its
files with sizes and checksums and goes before one of them is written anew. Unfinished work lies in
`work/<stage>/` and belongs to one key, the hash of all that the stage depends on.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import yaml
from pydantic import ValidationError

from apmae.common.atomic import TEMPORARY, replacing
from apmae.common.errors import ApmaeError
from apmae.stages import STAGES, Stage, StageName
from apmae.study.artifacts import (
    ARTIFACTS,
    CALIBRATION,
    CHOICES,
    CLUSTERS,
    CONDITIONS,
    CONFIG,
    EFFECT_AGREEMENT,
    EFFECTS,
    ENCODINGS,
    EXEMPLARS,
    GENERATED,
    IMPORTANCE,
    INTERVENTIONS,
    LEARNED_GATES,
    METRICS,
    PREDICTIONS,
    PROMPTS,
    PROVENANCE,
    ROLES,
    SIDE_EFFECTS,
    TASKS,
    TOKEN_IMPORTANCE,
    TOKEN_METRICS,
    TOKENS,
    WINDOWS,
    Table,
    stage_of,
)
from apmae.study.config import Section, StudyConfig
from apmae.study.lock import LOCK
from apmae.study.manifest import damaged, manifest_of
from apmae.study.provenance import provenance_of
from apmae.study.study_file import dump_config, read_yaml

if TYPE_CHECKING:
    import zarr


ZARR_TEMPORARY = ".partial"
"""How the name of a chunk ends that Zarr is writing."""

MADE_ANEW = "`apmae run STUDY.yaml --verify` makes what is damaged anew"


class TableReader:
    """An attribute of a study that reads one of its tables."""

    def __init__(self, table: Table, about: str) -> None:
        self._table = table
        self.__doc__ = f"{about} Columns: {', '.join(table.columns)}."

    def __get__(self, study: Study, _: type[Study]) -> pl.DataFrame:
        return study.read(self._table)


class Study:
    """A study's config and directory, with its artifacts as attributes.

    A finished study is read with `Study.open(directory)`; the pipeline makes one with
    `Study.create(config)`.
    """

    prompts = TableReader(PROMPTS, "Every prompt.")
    tasks = TableReader(TASKS, "What the target did on each task.")
    windows = TableReader(WINDOWS, "Windows of the token study.")
    tokens = TableReader(TOKENS, "Tokens that the token study keeps.")
    token_metrics = TableReader(TOKEN_METRICS, "How well correctness of single tokens is predicted.")
    token_importance = TableReader(TOKEN_IMPORTANCE, "What each head moves the predictor of tokens.")
    effects = TableReader(EFFECTS, "What ablating one head does to each task.")
    effect_agreement = TableReader(EFFECT_AGREEMENT, "How far attribution agrees with exact effects.")
    roles = TableReader(ROLES, "What every head looks at.")
    clusters = TableReader(CLUSTERS, "Cluster of every head on every prompt.")
    predictions = TableReader(PREDICTIONS, "Predicted correctness.")
    metrics = TableReader(METRICS, "How well correctness is predicted.")
    importance = TableReader(IMPORTANCE, "SHAP importance of every head.")
    calibration = TableReader(CALIBRATION, "From the predictors' log-odds to frequencies.")
    learned_gates = TableReader(LEARNED_GATES, "What learned gates say of every head.")
    conditions = TableReader(CONDITIONS, "What every intervention did to which heads.")
    interventions = TableReader(INTERVENTIONS, "Outcome of every intervention.")
    choices = TableReader(CHOICES, "The best condition of every task and method.")
    side_effects = TableReader(SIDE_EFFECTS, "What the best intervention of a task does elsewhere.")
    generated = TableReader(GENERATED, "What the best intervention of a task does to generated code.")

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
        cls(config, directory).refuse_foreign_directory()
        study = cls.of(config)
        directory.mkdir(parents=True, exist_ok=True)
        with study.writing(CONFIG) as path:
            path.write_text(dump_config(study.config), encoding="utf-8")
        return study

    @classmethod
    def of(cls, config: StudyConfig) -> Study:
        """The study of a config, there or not; every `auto` precision is resolved, and nothing is written.

        A precision that the directory records stays, so that a study goes on elsewhere with the same numbers.
        """
        from apmae.study.precision import with_precisions

        directory = config.study_directory
        recorded = _read_config(directory) if (directory / CONFIG).exists() else None
        return cls(with_precisions(config, recorded), directory)

    @classmethod
    def open(cls, directory: str | Path, trust_remote_code: bool = False) -> Study:
        """Read the study that lives in `directory`.

        Args:
            trust_remote_code: stands for what the directory says, which may be somebody else's.

        Raises:
            ApmaeError: there is none.
        """
        directory = Path(directory)
        config = _read_config(directory)
        target = config.target.model_copy(update={"trust_remote_code": trust_remote_code})
        return cls(config.model_copy(update={"target": target}), directory)

    def __repr__(self) -> str:
        return f"Study({self.config.name!r}, {str(self.directory)!r})"

    def path(self, artifact: str | Table) -> Path:
        """Where an artifact (a constant of `apmae.study.artifacts`) lies."""
        return self.directory / (artifact.name if isinstance(artifact, Table) else artifact)

    @property
    def study_prompts(self) -> pl.DataFrame:
        """The prompts that are encoded and analysed: prompt_id 0, 1, ... without a gap."""
        return self.prompts.filter(pl.col("purpose") == "study")

    @property
    def analysed_prompts(self) -> pl.DataFrame:
        """The study prompts of the training groups and of the split that is measured on."""
        return self.study_prompts.filter(pl.col("split").is_in(self.config.analysed_splits))

    @property
    def encodings(self) -> zarr.Group:
        """Arrays `cls`, `row`, `row_statistics` and more, see `apmae.study.artifacts`."""
        return self.arrays(ENCODINGS)

    @property
    def exemplars(self) -> zarr.Group:
        """Patterns that stand for clusters, see `apmae.study.artifacts`."""
        return self.arrays(EXEMPLARS)

    def read(self, table: Table) -> pl.DataFrame:
        """Read a table.

        Raises:
            ApmaeError: it is not there or damaged, or another version of apmae wrote it.
        """
        with self._reading(table):
            return self.scan(table).collect()

    def read_if_there(self, table: Table) -> pl.DataFrame | None:
        """Read a table that not every study has; raises as `read` does where it is of another version."""
        return self.read(table) if self.path(table).exists() else None

    def scan(self, table: Table) -> pl.LazyFrame:
        """A table to be read in part; raises as `read` does."""
        path = self._existing(table)
        found = pl.scan_parquet(path, glob=False)
        with self._reading(table):
            names = found.collect_schema().names()
        if names != list(table.columns):
            raise ApmaeError(
                f"{path} was written by another version of apmae: run `apmae run` on the study again"
            )
        return found

    def write(self, table: Table, rows: pl.DataFrame) -> None:
        """Write a table, its columns cast to and ordered as the table has them."""
        with self.writing(table) as path:
            table.cast(rows).write_parquet(path)

    @contextmanager
    def writing(self, artifact: str | Table) -> Iterator[Path]:
        """A temporary path for an artifact; renamed to it when the block ends well.

        Its stage is not done from then on.
        """
        path = self.path(artifact)
        with replacing(path, durable=True) as temporary:
            yield temporary
            if stage := stage_of(path.relative_to(self.directory).as_posix()):
                self.unmark(stage)

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
        """Declare a stage done, with its files, and drop its unfinished work, also chunks half written."""
        for artifact in ARTIFACTS.get(stage, ()):
            for left in self.path(artifact).rglob(f"*{ZARR_TEMPORARY}"):
                left.unlink()
        files = manifest_of(self.directory, ARTIFACTS.get(stage, ()))
        with self.writing(f"markers/{stage}.json") as path:
            path.write_text(json.dumps({**record, "files": files}, indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(self.path("work") / stage, ignore_errors=True)

    def clear_leftovers(self) -> None:
        """Delete what killed writes left behind; no other process may be at work here."""
        for left in list(self.directory.rglob(f"{TEMPORARY}*")):
            shutil.rmtree(left, ignore_errors=True)

    def unmark(self, stage: str) -> None:
        """Declare a stage not done."""
        (self.path("markers") / f"{stage}.json").unlink(missing_ok=True)

    def discard(self, stage: str) -> None:
        """Delete what a stage left, once it is declared not done."""
        self.unmark(stage)
        for path in map(self.path, ARTIFACTS.get(stage, ())):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def damaged(self, stage: str, *, contents: bool = False) -> list[str]:
        """What is wrong with the files of a finished stage, see `apmae.study.manifest.damaged`.

        Nothing is known of a stage that is not done, or that an earlier version of apmae did.
        """
        manifest = (self.marker(stage) or {}).get("files")
        if manifest is None:
            return []
        return list(damaged(self.directory, ARTIFACTS.get(stage, ()), manifest, contents=contents))

    @property
    def provenance(self) -> dict[str, Any]:
        """What made this study: the target's weights, versions, machine, commit and seed."""
        found: dict[str, Any] = json.loads(self._existing(PROVENANCE).read_text(encoding="utf-8"))
        return found

    def write_provenance(self, weights: Mapping[str, Any]) -> None:
        """Record what made this study, see `apmae.study.provenance`."""
        with self.writing(PROVENANCE) as path:
            path.write_text(
                json.dumps(provenance_of(self.config, weights), indent=2) + "\n", encoding="utf-8"
            )

    def require_finished(self, stage: StageName) -> None:
        """Refuse what a stage left unless it, and all that it was made of, are there as they were then.

        A run under another config that was stopped leaves the later stages of the earlier one.

        Raises:
            ApmaeError: they are not, or a file is damaged.
        """
        marker = self.marker(stage)
        if marker is None:
            raise ApmaeError(f"{self.directory}: the stage {stage} is not done: run `apmae run` on the study")
        self.require_intact(stage)
        for name in next(each.needs for each in STAGES if each.name == stage):
            self.require_finished(name)
            was, found = marker.get("needs", {}).get(name), self.marker(name)
            if found is not None and was not in (None, found["key"]):
                raise ApmaeError(
                    f"{self.directory}: the stage {stage} was made of another {name} than is there now: run "
                    "`apmae run` on the study"
                )

    def require_intact(self, stage: str, *, contents: bool = False) -> None:
        """Refuse what a stage left if a file of it is damaged, as far as `damaged` sees.

        Raises:
            ApmaeError: one is.
        """
        if wrong := self.damaged(stage, contents=contents):
            raise ApmaeError(f"{wrong[0]}: {MADE_ANEW}")

    def arrays(self, name: str) -> zarr.Group:
        """The arrays of an artifact.

        Raises:
            ApmaeError: they are not there, or damaged.
        """
        import zarr

        with self._reading(name):
            return zarr.open_group(self._existing(name), mode="r")

    def _existing(self, artifact: str | Table) -> Path:
        path = self.path(artifact)
        if stage := stage_of(path.relative_to(self.directory).as_posix()):
            self.require_intact(stage)
        if not path.exists():
            raise ApmaeError(f"{path} is not there: run `apmae run` on the study first")
        return path

    @contextmanager
    def _reading(self, artifact: str | Table) -> Iterator[None]:
        """Around reading an artifact: what a library says of a damaged file becomes one line."""
        try:
            yield
        except ApmaeError:
            raise
        except (pl.exceptions.PolarsError, ValueError, KeyError) as error:
            what = " ".join(str(error).split())[:100]
            raise ApmaeError(f"{self.path(artifact)} cannot be read ({what}): {MADE_ANEW}") from error

    def refuse_foreign_directory(self) -> None:
        """Refuse a directory that holds something else, or another study.

        Raises:
            ApmaeError: it does.
        """
        if not self.directory.exists():
            return
        if not self.directory.is_dir():
            raise ApmaeError(f"{self.directory} is a file; set `directory` to a study's directory")
        if not self.path(CONFIG).exists():
            ours = (path.name == LOCK or path.name.startswith(TEMPORARY) for path in self.directory.iterdir())
            if not all(ours):
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


def stage_key(config: StudyConfig, stage: Stage, inputs: Mapping[str, str]) -> str:
    """Hash of the seed, the stage's version and config sections or keys, and the keys of what it reads."""
    named = {name: getattr(config, name) for name in stage.sections}
    values = {
        name: value.result_values() if isinstance(value, Section) else value for name, value in named.items()
    }
    text = json.dumps([stage.version, config.seed, values, inputs], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read_config(directory: Path) -> StudyConfig:
    path = directory / CONFIG
    try:
        return StudyConfig.model_validate(read_yaml(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        raise ApmaeError(f"{directory} holds no study (no {CONFIG})") from None
    except (ValidationError, yaml.YAMLError):
        raise ApmaeError(f"{path} is not this version's; set `directory` to a new one") from None
