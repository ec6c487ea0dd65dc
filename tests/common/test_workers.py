"""Workers end with the process that started them, and whole files are replaced by renames alone."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from apmae.common.atomic import replacing

MAIN = """
import sys
from pathlib import Path
from apmae.common.progress import silent
from apmae.common.workers import compute_parts
sys.path.insert(0, sys.argv[1])
from slow_part import compute
root = Path(sys.argv[1])
compute_parts(compute, {root / f"{n}.parquet": (root, n) for n in range(2)}, silent, "parts", processes=2)
"""
PART = """
import os, time
import polars as pl

def compute(root, number):
    (root / f"pid-{number}").write_text(str(os.getpid()))
    time.sleep(60)
    return pl.DataFrame({"number": [number]})
"""


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_end_with_a_killed_parent(tmp_path):
    (tmp_path / "slow_part.py").write_text(PART)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(tmp_path)])}
    main = subprocess.Popen([sys.executable, "-c", MAIN, str(tmp_path)], env=environment)
    files = [tmp_path / f"pid-{number}" for number in range(2)]
    deadline = time.monotonic() + 60
    while not all(file.exists() and file.read_text() for file in files):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    workers = [int(file.read_text()) for file in files]
    assert all(pid != main.pid and alive(pid) for pid in workers)
    main.send_signal(signal.SIGKILL)
    main.wait()
    deadline = time.monotonic() + 20
    while any(map(alive, workers)):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.2)
    assert not list(tmp_path.glob("*.parquet"))


def test_a_directory_is_replaced_whole(tmp_path):
    final = tmp_path / "arrays"
    for text in ("old", "new"):
        with replacing(final) as temporary:
            temporary.mkdir()
            (temporary / text).write_text(text)
    assert [path.name for path in final.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["arrays"]


def test_nothing_is_deleted_before_the_new_directory_stands(tmp_path, monkeypatch):
    final = tmp_path / "arrays"
    (final / "part").mkdir(parents=True)
    standing = []
    delete = shutil.rmtree

    def watched(path, **options):
        standing.append([child.name for child in final.iterdir()])
        delete(path, **options)

    monkeypatch.setattr(shutil, "rmtree", watched)
    with replacing(final) as temporary:
        temporary.mkdir()
        (temporary / "new").touch()
    assert standing == [["new"]]
