"""One process at a time works on a study; a killed one leaves no lock behind."""

import os
import signal
import subprocess
import sys
import time

import pytest
from helpers.studies import tiny_config

from apmae import pipeline
from apmae.common.errors import ApmaeError
from apmae.study.lock import LOCK, only_here

HOLD = """
import sys, time
from pathlib import Path
from apmae.study.lock import only_here
with only_here(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_run_says_who_is_there_and_changes_nothing(holder, tmp_path):
    config = tiny_config(tmp_path / "run")
    with pytest.raises(ApmaeError, match=rf"run is in use by process {holder.pid} on .*: wait for it"):
        pipeline.run(config)
    assert [path.name for path in config.study_directory.iterdir()] == [LOCK]


def test_a_killed_process_leaves_no_lock(holder, tmp_path):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with only_here(tmp_path / "run"):
        assert str(os.getpid()) in (tmp_path / "run" / LOCK).read_text()


def test_the_lock_is_free_after_the_block(tmp_path):
    for _ in range(2):
        with only_here(tmp_path):
            pass
    with pytest.raises(KeyError), only_here(tmp_path):
        raise KeyError
    with only_here(tmp_path):
        time.sleep(0)


def test_no_lock_is_left_in_somebody_elses_directory(tmp_path):
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(ApmaeError, match="holds other files"):
        pipeline.run(tiny_config(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]
