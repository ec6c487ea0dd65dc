"""A whole study in miniature: run, run again, changed, killed at random moments and resumed."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import polars as pl
import pytest
from helpers.studies import ENVIRONMENT, command, write_study
from safetensors.torch import load_file, save_file

from apmae import pipeline
from apmae.autoencoder import APMAEConfig, APMAEModel
from apmae.common.errors import ApmaeError
from apmae.corpus import open_corpus
from apmae.stages import STAGE_NAMES
from apmae.study import Study
from apmae.study.artifacts import EVALUATION, Table
from apmae.study.study_file import load_config
from apmae.target_model import weights
from apmae.target_model.source import Source

TABLES = (
    "prompts",
    "tasks",
    "clusters",
    "predictions",
    "metrics",
    "importance",
    "calibration",
    "conditions",
    "interventions",
    "choices",
    "side_effects",
    "generated",
)


def test_every_artifact_of_the_design_is_there(finished):
    _, study = finished
    names = {path.relative_to(study.directory).as_posix() for path in study.directory.rglob("*")}
    assert {
        "study.yaml",
        "provenance.json",
        "prompts.parquet",
        "encoder/config.json",
        "encoder/model.safetensors",
        "encodings.zarr",
        "clusters.parquet",
        "exemplars.zarr",
        "predictions.parquet",
        "metrics.parquet",
        "importance.parquet",
        "calibration.parquet",
        "predictor/eol.cbm",
        "predictor/eol.safetensors",
        "conditions.parquet",
        "interventions.parquet",
        "choices.parquet",
        "side_effects.parquet",
        "generated.parquet",
        "best",
        "report/index.html",
    } <= names
    assert not list(study.path("work").iterdir())


def test_prompts_are_balanced_split_by_group_and_true_to_their_files(finished):
    _, study = finished
    prompts = study.study_prompts
    assert prompts["prompt_id"].to_list() == list(range(prompts.height))
    assert prompts["input_ids"].list.len().unique().to_list() == [64]
    by_task = prompts.group_by("task", "correct").len().sort("task", "correct")
    kept = {(task, correct): count for task, correct, count in by_task.iter_rows()}
    assert kept["noise", None] == 32
    assert kept["eol", True] == kept["eol", False] == 16
    groups = study.prompts.group_by("group").agg(pl.col("split").n_unique())
    assert groups["split"].max() == 1
    assert set(study.prompts["split"]) == {"train", "test"}
    corpus = Path(load_config(finished[0]).corpus.path)
    for row in prompts.filter(pl.col("task") != "noise").head(20).iter_rows(named=True):
        lines = (corpus / row["file"]).read_text(encoding="utf-8").split("\n")
        assert row["text"].strip("\n") in lines[row["line"] - 1]


def test_metrics_hold_every_feature_set_for_every_task(finished):
    _, study = finished
    rows = set(study.metrics.select("task", "protocol", "features", "metric").iter_rows())
    for task in ("eol", "identifiers"):
        for features in (
            "clusters",
            "row_statistics",
            "confidence",
            "confidence+clusters",
            "confidence+row_statistics",
            "prior",
        ):
            for metric in ("accuracy", "auroc"):
                for protocol in ("cross_validation", "held_out"):
                    assert (task, protocol, features, metric) in rows


def test_interventions_know_the_outcome_before(finished):
    _, study = finished
    joined = study.interventions.join(study.prompts, on="prompt_id")
    assert (joined["correct_before"] == joined["correct"]).all()
    assert (joined["correct_after"] == (joined["predicted_id"] == joined["next_token_id"])).all()
    assert set(joined["split"]) == {"train", "test"}
    assert (joined["split"] == joined["split_right"]).all()


def test_a_second_run_does_nothing_and_says_so(finished):
    path, study = finished
    before = {file: file.stat().st_mtime_ns for file in study.directory.rglob("*.parquet")}
    lines = []
    pipeline.run(load_config(path), announce=lines.append)
    assert lines == [f"{name}: already done" for name in STAGE_NAMES]
    assert before == {file: file.stat().st_mtime_ns for file in study.directory.rglob("*.parquet")}


@pytest.mark.parametrize(
    ("override", "stale"),
    [
        ("report.reconstructions=3", {"report"}),
        ("intervention.random_seeds=1", {"intervene", "report"}),
        ("prediction.depth=3", {"predict", "intervene", "report"}),
        ("clustering.processes=2", set()),
        ("target.batch_size=3", set()),
        ("training.steps=14", {"train", "encode", "cluster", "predict", "intervene", "report"}),
        ("training.seed=1", {"train", "encode", "cluster", "predict", "intervene", "report"}),
        ("seed=1", set(STAGE_NAMES)),
    ],
)
def test_a_changed_config_makes_stale_what_depends_on_it(finished, override, stale):
    path, study = finished
    changed = Study(load_config(path, [override]), study.directory)
    keys = pipeline.stage_keys(changed, pipeline.Inputs(changed.config))
    assert {name for name in STAGE_NAMES if pipeline.state(changed, name, keys) == "stale"} == stale


def test_other_weights_of_the_same_name_make_everything_stale(finished, parts, tmp_path, monkeypatch):
    """The keys follow the weights, which may lie elsewhere, and stay where the weights are gone."""
    _, study = finished
    inputs = pipeline.Inputs(study.config)
    before = pipeline.stage_keys(study, inputs)
    target = shutil.copytree(parts[0], tmp_path / "target")
    monkeypatch.setattr(weights, "resolve", lambda model: Source(str(target)))
    assert pipeline.stage_keys(study, inputs) == before
    file = target / "model.safetensors"
    save_file({name: tensor + 1 for name, tensor in load_file(file).items()}, file)
    changed = pipeline.stage_keys(study, inputs)
    assert all(pipeline.state(study, name, changed) == "stale" for name in STAGE_NAMES)
    file.unlink()
    assert pipeline.stage_keys(study, inputs) == before


def test_an_evaluation_in_the_studys_directory_makes_its_report_stale(parts, tmp_path):
    config = load_config(write_study(tmp_path / "study.yaml", *parts, tmp_path / "run"))
    study = Study(config, config.study_directory)
    seen = []
    for losses in ([], [0.1], [0.2]):
        if losses:
            evaluation = pl.DataFrame({"loss": losses}, schema={"loss": pl.Float64})
            study.write(Table(EVALUATION.name, evaluation.schema), evaluation)
        seen.append(pipeline.stage_keys(study, pipeline.Inputs(study.config)))
    reports = [keys.pop("report") for keys in seen]
    assert len(set(reports)) == 3
    assert seen[0] == seen[1] == seen[2]


def test_a_stage_alone_says_which_earlier_one_is_missing(parts, tmp_path):
    path = write_study(tmp_path / "study.yaml", *parts, tmp_path / "run")
    with pytest.raises(ApmaeError, match="encode needs the stage prompts, which is not done"):
        pipeline.run(load_config(path), only="encode")


def test_an_encoder_of_another_size_is_refused_before_prompts_are_mined(parts, tmp_path):
    APMAEModel(APMAEConfig.tiny(pattern_size=32, patch_size=8)).save_pretrained(tmp_path / "encoder")
    path = write_study(tmp_path / "study.yaml", *parts, tmp_path / "run")
    config = load_config(path, [f"encoder.pretrained={tmp_path / 'encoder'}"])
    with pytest.raises(ApmaeError, match=r"reads patterns of 32 tokens, but prompts\.length_tokens is 64"):
        pipeline.run(config)
    assert not list(tmp_path.glob("run/work/prompts/*.parquet"))


def test_a_directory_of_something_else_is_left_alone(parts, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("years of work")
    path = write_study(tmp_path / "study.yaml", *parts, tmp_path / "run")
    with pytest.raises(ApmaeError, match=r"holds other files and no study\.yaml"):
        pipeline.run(load_config(path))


def test_a_directory_of_another_study_is_left_alone(finished):
    path, _ = finished
    with pytest.raises(ApmaeError, match="belongs to the study 'miniature', not 'other'"):
        pipeline.run(load_config(path, ["name=other"]))


def test_the_corpus_is_listed_once(parts, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(
        pipeline.context, "open_corpus", lambda *arguments: opened.append(0) or open_corpus(*arguments)
    )
    path = write_study(tmp_path / "study.yaml", *parts, tmp_path / "run")
    study = pipeline.run(load_config(path), only="prompts")
    assert len(opened) == 1
    listed = open_corpus(study.config.corpus, study.config.seed)
    assert study.marker("prompts")["corpus"] == listed.fingerprint
    assert sum(1 for _ in listed.files()) == 40


@pytest.mark.slow
def test_a_study_killed_at_random_moments_ends_equal_to_an_unkilled_one(parts, finished, tmp_path):
    """Whole processes; tests/chaos kills far more often, at every kind of write, in forks of one process."""
    draw = random.Random(0)
    path = write_study(tmp_path / "study.yaml", *parts, tmp_path / "run")
    kills = 0
    while kills < 3:
        process = subprocess.Popen(
            command(path), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _wait_for_work(process, tmp_path / "run")
        time.sleep(draw.uniform(0, 4))
        if process.poll() is not None:
            break
        process.kill()
        process.wait()
        kills += 1
    assert kills
    subprocess.run(command(path), env=ENVIRONMENT, check=True, capture_output=True)
    _, expected = finished
    resumed = Study.open(tmp_path / "run")
    for name in TABLES:
        assert getattr(resumed, name).equals(getattr(expected, name), null_equal=True), name
    for name in ("cls", "row", "row_statistics"):
        assert (resumed.encodings[name][:] == expected.encodings[name][:]).all(), name


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_study_that_is_told_to_end_says_so_and_goes_without_a_traceback(parts, tmp_path, number):
    path = write_study(tmp_path / "study.yaml", *parts, tmp_path / "run")
    process = subprocess.Popen(
        command(path), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    _wait_for_work(process, tmp_path / "run")
    time.sleep(random.Random(number).uniform(0, 1))
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "Traceback" not in said
    assert said.splitlines()[-1].endswith("; run the same command to go on")


def _wait_for_work(process, directory):
    """Imports take seconds; a kill before the first stage would show nothing."""
    files = _files(directory)
    while process.poll() is None and _files(directory) == files:
        time.sleep(0.05)


def _files(directory):
    # Unlike rglob, walk passes over directories that vanish while it looks.
    return {(folder, name) for folder, _, names in os.walk(directory) for name in names}


def test_markers_and_provenance_say_what_was_done(finished):
    _, study = finished
    marker = study.marker("prompts")
    assert marker["counts"]["prompts_kept"] == study.prompts.height
    assert marker["counts"]["corpus"]
    provenance = json.loads(study.path("provenance.json").read_text())
    assert provenance["versions"]["transformers"]
    assert provenance["seed"] == 0
    ((name, sha256),) = provenance["weights"]["sha256"].items()
    file = Path(study.config.target.model) / name
    assert sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert marker["weights"] == provenance["weights"]
