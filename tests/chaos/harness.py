"""Runs of a small study on a disk that breaks at a place that is chosen, and what became of them."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
KILL, TEAR, FAIL_ONCE, FAIL_ON, SHORT, SIGNAL = range(1, 7)

Break = tuple[int, int]
"""How the disk breaks, as in disk.c, and the error or signal."""
KILLS: dict[str, Break] = {"killed": (KILL, 0), "killed within a write": (TEAR, 0)}
FAULTS: dict[str, Break] = {
    "no space": (FAIL_ON, errno.ENOSPC),
    "over quota": (FAIL_ON, errno.EDQUOT),
    "file too large": (FAIL_ON, errno.EFBIG),
    "input/output error": (FAIL_ONCE, errno.EIO),
    "half written": (SHORT, 0),
    "told to end": (SIGNAL, signal.SIGTERM),
    "interrupted": (SIGNAL, signal.SIGINT),
}
INEXACT = ("predictor/", "report/")
"""Files whose bytes may differ where all numbers are equal: CatBoost and the pages write the time."""


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        code: exit code, negative for a signal.
        changes: of files of the study; 0 if it was killed.
        said: its output.
    """

    code: int
    changes: int
    said: str


class Server:
    """A process with `disk.c` preloaded that has imported everything; every run is a child of it."""

    def __init__(self, shim: Path, log: Path) -> None:
        environment = {
            **os.environ,
            "LD_PRELOAD": str(shim),
            "OMP_NUM_THREADS": "1",
            "POLARS_MAX_THREADS": "1",
            "COLUMNS": "200",
        }
        self._log = log
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self._read()

    def run(self, *arguments: str, root: Path, place: int = 0, how: Break = (0, 0)) -> Ended:
        """Run a command of apmae on a disk whose `place`-th change below `root` breaks."""
        assert self._process.stdin
        trial = {
            "arguments": arguments,
            "root": str(root),
            "place": place,
            "how": how[0],
            "error": how[1],
            "log": str(self._log),
        }
        self._process.stdin.write(json.dumps(trial) + "\n")
        self._process.stdin.flush()
        told = self._read()
        return Ended(told["code"], told["changes"], self._log.read_text(encoding="utf-8", errors="replace"))

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def _read(self) -> dict[str, int]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the server died"
        found: dict[str, int] = json.loads(line)
        return found


SMALL = {
    "prompts": {"tasks": ["eol"], "per_task": 16, "encoder_prompts": 16},
    "tokens": {"windows": 24, "per_window": 32, "context_tokens": 33},
    "token_predictor": {"model": "linear"},
    "training": {
        "steps": 4,
        "batch_size": 8,
        "validate_every_steps": 2,
        "checkpoint_every_steps": 2,
        "validation_prompts": 4,
    },
    "encoding": {"shard_prompts": 8, "random_encoder": False, "readouts": ["cls"]},
    "clustering": {"n_clusters": 2},
    "prediction": {"folds": 2, "iterations": 4, "features": ["clusters", "row_statistics"]},
    "intervention": {
        "importance": ["row_statistics"],
        "selections": ["positive", "random", "greedy"],
        "operations": ["zero"],
        "head_counts": [1],
        "random_seeds": 1,
        "prompts_per_outcome": 2,
        "tuning_prompts_per_outcome": 2,
        "greedy_candidates": 1,
        "greedy_heads": 1,
        "side_effect_prompts": 2,
        "generated_holes": 2,
    },
    "report": {"gallery_clusters": 1, "reconstructions": 1},
}
"""What makes the study of `helpers.studies.write_study` smaller still, and lets it keep tokens."""


def contents(directory: Path) -> dict[str, object]:
    """What a finished study says that its stages wrote: size and checksum by file, None for inexact files."""
    found: dict[str, object] = {}
    for marker in sorted((directory / "markers").iterdir()):
        for name, written in json.loads(marker.read_text(encoding="utf-8"))["files"].items():
            found[name] = None if name.startswith(INEXACT) else written
    return found


def leftovers(directory: Path) -> list[str]:
    """Files of a finished study that no stage wrote and that are no unfinished work of one."""
    known = set(contents(directory))
    return [
        name
        for path in sorted(directory.rglob("*"))
        if (path.is_file() or path.name.startswith("."))
        and (name := path.relative_to(directory).as_posix()) not in known
        and not name.startswith(("markers/", "work/"))
        and name not in (".lock", "provenance.json", "study.yaml")
    ]
