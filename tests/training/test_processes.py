"""Training and encoding in real processes: killed ones, and several together."""

import os
import random
import shutil
import subprocess
import sys
import time

import numpy as np
import polars as pl
import pytest
from helpers.models import write_parts
from helpers.studies import tiny_config, write_study
from polars.testing import assert_frame_equal
from safetensors.numpy import load_file

from apmae import pipeline
from apmae.common.errors import ApmaeError
from apmae.study import Study
from apmae.study.artifacts import ENCODER, TRAINING_HISTORY
from apmae.training.checkpoint import CHECKPOINT

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
OVERRIDES = (
    "training.steps=20",
    "training.checkpoint_every_steps=3",
    "training.gradient_accumulation_steps=2",
    "encoding.shard_prompts=20",
)
ALONE = (sys.executable, "-m", "apmae")
TWO = ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--main_process_port=0")
TOGETHER = (sys.executable, *TWO, "--module", "apmae")


@pytest.fixture(scope="module")
def mined(tmp_path_factory):
    """A study file whose prompts are mined."""
    root = tmp_path_factory.mktemp("mined")
    path = write_study(root / "study.yaml", *write_parts(root), root / "run")
    run(path, root / "run", "prompts")
    return path


@pytest.fixture
def copy_of(mined, tmp_path):
    """Copies of a study's directory: (name, directory to copy or the mined one) -> directory."""

    def copy(name, original=None):
        return shutil.copytree(original or mined.parent / "run", tmp_path / name)

    return copy


def command(path, directory, stage, launcher=ALONE):
    settings = [f"--set={override}" for override in (*OVERRIDES, f"directory={directory}")]
    return [*launcher, stage, str(path), *settings]


def run(path, directory, stage, launcher=ALONE):
    done = subprocess.run(
        command(path, directory, stage, launcher),
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def history(directory):
    return pl.read_parquet(directory / TRAINING_HISTORY.name)


@pytest.mark.slow
def test_a_training_that_is_killed_has_the_curve_of_an_unkilled_one(mined, copy_of):
    """SIGKILL at random moments after the first checkpoint."""
    whole, killed = copy_of("whole"), copy_of("killed")
    run(mined, whole, "train")
    draw = random.Random(0)
    for kill in range(3):
        process = subprocess.Popen(command(mined, killed, "train"), env=ENVIRONMENT)
        checkpoint = killed / "work" / "train" / CHECKPOINT
        before = _changed(checkpoint)
        while _changed(checkpoint) == before:
            assert process.poll() is None, f"training ended before kill {kill}"
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.1))
        process.kill()
        process.wait()
    run(mined, killed, "train")
    assert history(whole)["step"].to_list() == list(range(1, 21))
    assert_frame_equal(history(killed), history(whole), check_exact=True)
    weights, expected = (load_file(place / ENCODER / "model.safetensors") for place in (killed, whole))
    assert all(np.array_equal(weights[name], expected[name]) for name in expected)


def _changed(path):
    return path.stat().st_mtime_ns if path.exists() else None


@pytest.mark.slow
def test_two_processes_train_and_encode_as_one_does(mined, copy_of):
    """The same total batch; 13 prompts and 5 shards cannot be shared evenly."""
    alone, together = copy_of("alone"), copy_of("together")
    run(mined, alone, "train")
    run(mined, together, "train", TOGETHER)
    marker = Study.open(together).marker("train")
    assert marker["counts"]["training_prompts"] % 2
    assert_frame_equal(history(together), history(alone), rel_tol=0, abs_tol=1e-4)
    assert (history(alone)["loss"][-1]) < 0.9 * history(alone)["loss"][0]
    for encoded, launcher in (("one", ALONE), ("two", TOGETHER)):
        run(mined, copy_of(encoded, alone), "encode", launcher)
    one, two = (Study.open(together.parent / name).encodings for name in ("one", "two"))
    assert one["written"].shape[0] % 2
    for name in ("cls", "row", "row_statistics"):
        assert np.isfinite(one[name][:]).all()
        np.testing.assert_allclose(two[name][:], one[name][:], atol=1e-3)


def test_stages_that_run_in_one_process_say_so(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    config = tiny_config(tmp_path / "run")
    can = "only `apmae tokens`, `apmae train`, `apmae encode` can"
    with pytest.raises(ApmaeError, match=rf"`apmae cluster` runs in one process: .* {can}"):
        pipeline.run(config, only="cluster")
    with pytest.raises(ApmaeError, match=r"`apmae run` runs in one process"):
        pipeline.run(config)
    assert not (tmp_path / "run").exists()
