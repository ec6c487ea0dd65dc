"""A study's directory: whole files or none, work that belongs to one key, keys that follow the config."""

import errno
import os
import shutil

import polars as pl
import pytest
from helpers.studies import tiny_config

from apmae.common.atomic import write_parquet
from apmae.common.errors import ApmaeError
from apmae.stages import Stage
from apmae.study import Study
from apmae.study.artifacts import TASKS
from apmae.study.directory import stage_key


@pytest.fixture
def study(tmp_path):
    return Study.create(tiny_config(tmp_path / "run"))


def test_a_file_is_whole_or_not_there(study):
    with pytest.raises(RuntimeError), study.writing("table.txt") as path:
        path.write_text("half")
        raise RuntimeError
    assert not study.path("table.txt").exists()
    with study.writing("table.txt") as path:
        path.write_text("whole")
    assert study.path("table.txt").read_text() == "whole"
    assert [path.name for path in study.directory.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("parquet: underlying IO error: No space left on device (os error 28)", errno.ENOSPC),
        ("parquet: underlying IO error: Disk quota exceeded (os error 122)", errno.EDQUOT),
        ("I/O error: Stale file handle (os error 116)", errno.ESTALE),
        ("(Error 27: File too large) util/stream/output.cpp", errno.EFBIG),
    ],
)
def test_a_broken_disk_is_the_systems_error_whoever_wrote(study, said, code):
    with pytest.raises(OSError, match=os.strerror(code)) as raised, study.writing("table"):
        raise pl.exceptions.ComputeError(said)
    assert raised.value.errno == code
    assert raised.value.filename.endswith("run/table")


def test_another_error_stays_what_it_is(study):
    with pytest.raises(pl.exceptions.ComputeError), study.writing("table"):
        raise pl.exceptions.ComputeError("no such column")


def test_directories_are_replaced_whole(study):
    for content in ("old", "new"):
        with study.writing("encoder") as path:
            path.mkdir()
            (path / content).touch()
    assert [path.name for path in study.path("encoder").iterdir()] == ["new"]


def test_tables_have_the_types_of_their_schema(study):
    table = pl.DataFrame({name: [1] for name in reversed(list(TASKS.schema)) if name != "task"}).with_columns(
        task=pl.lit("eol")
    )
    study.write(TASKS, table)
    assert study.tasks.schema == TASKS.schema


def test_unfinished_work_belongs_to_one_key(study):
    (study.work_directory("train", "a") / "checkpoint").touch()
    assert (study.work_directory("train", "a") / "checkpoint").exists()
    assert not (study.work_directory("train", "b") / "checkpoint").exists()


def test_a_done_stage_leaves_nothing_behind(study):
    study.work_directory("train", "a")
    chunk = study.directory / "encodings.zarr" / "cls" / "c" / "0"
    chunk.mkdir(parents=True)
    (chunk / "0.92134e9ea02e.partial").touch()
    study.mark_done("encode", {"key": "a"})
    study.mark_done("train", {"key": "a"})
    assert study.marker("train") == study.marker("encode") == {"key": "a", "files": {}}
    shutil.rmtree(study.directory / "encodings.zarr")
    assert sorted(path.name for path in study.directory.iterdir()) == ["markers", "study.yaml", "work"]
    study.unmark("train")
    assert study.marker("train") is None


def test_what_killed_writes_left_is_deleted(study):
    for place in ("", "markers", "encoder/training/samples"):
        (study.directory / place / ".writing-of-a-killed-process" / "half").mkdir(parents=True)
    (study.directory / "markers" / "train.json").write_text("{}")
    study.clear_leftovers()
    assert [path.name for path in study.directory.rglob(".*")] == []
    assert (study.directory / "markers" / "train.json").exists()


def test_an_open_study_has_the_config_it_was_made_with(study):
    assert Study.open(study.directory).config == study.config


def test_a_missing_artifact_says_what_to_run(study):
    with pytest.raises(ApmaeError, match=r"metrics\.parquet is not there: run `apmae run`"):
        _ = study.metrics


def test_a_table_of_another_version_says_what_to_do(study):
    write_parquet(study.path(TASKS), pl.DataFrame({"task": ["eol"], "natural_rate": [0.5]}))
    with pytest.raises(ApmaeError, match=r"tasks\.parquet was written by another version .* run `apmae run`"):
        _ = study.tasks


def test_no_study_to_open(tmp_path):
    with pytest.raises(ApmaeError, match="holds no study"):
        Study.open(tmp_path)


def test_a_directory_where_creation_was_killed_is_taken_up(tmp_path):
    (tmp_path / "run" / ".writing-of-a-killed-process").mkdir(parents=True)
    Study.create(tiny_config(tmp_path / "run"))


def test_a_study_file_of_another_version_is_named(study):
    study.path("study.yaml").write_text("name: tiny\nunknown: 1\n")
    with pytest.raises(ApmaeError, match="not this version's"):
        Study.open(study.directory)


def test_keys_follow_seed_sections_and_inputs_and_nothing_else(tmp_path):
    def key(inputs=None, version=1, **changes):
        stage = Stage("cluster", "about", ("clustering",), ("encode",), "module", version=version)
        return stage_key(tiny_config(tmp_path, **changes), stage, inputs or {"encode": "x"})

    assert key() == key(prediction={"depth": 2})
    assert key() == key(clustering={"processes": 7})
    assert key() != key(clustering={"n_clusters": 7})
    assert key() != key(seed=1)
    assert key() != key(inputs={"encode": "y"})
    assert key() != key(version=2)
