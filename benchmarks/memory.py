"""Whether the memory of a stage grows with files or prompts: its peak at one size and at ten times that.

python benchmarks/memory.py [--files 500] [--prompts 200]

The target is java-fim-4m, the corpus the JDK's sources. Each stage runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

STUDY = {
    "name": "memory",
    "target.model": "java-fim-4m",
    "prompts.tasks": "[identifiers]",
    "prompts.format": "fim",
    "prompts.per_file": "1",
    "encoder.size": "tiny",
    "training.steps": "1",
}
FACTOR = 10


def main() -> None:
    """Measure and print a Markdown table."""
    arguments = _arguments()
    print(f"| stage | size | peak, MiB | {FACTOR} times the size | peak, MiB |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as directory:
        mined = [peak_of_mining(Path(directory), size) for size in sizes(arguments.files)]
        print(row("prompts", "files", arguments.files, mined), flush=True)
        encoded = [peak_of_encoding(Path(directory), size) for size in sizes(arguments.prompts)]
        print(row("encode", "prompts", arguments.prompts, encoded))


def sizes(size: int) -> tuple[int, int]:
    """A size and a larger one."""
    return size, FACTOR * size


def row(stage: str, unit: str, size: int, peaks: list[float]) -> str:
    """A row of the table."""
    small, large = peaks
    return f"| {stage} | {size:,} {unit} | {small:,.0f} | {FACTOR * size:,} {unit} | {large:,.0f} |"


def peak_of_mining(root: Path, files: int) -> float:
    """Peak of a study that reads so many files to their end: it wants more prompts than they have."""
    settings = {"corpus.max_files": files, "prompts.per_task": 8 * files, "prompts.encoder_prompts": 32}
    return peak(root / f"files-{files}", ["prompts"], settings)


def peak_of_encoding(root: Path, prompts: int) -> float:
    """Peak of encoding so many prompts."""
    settings = {"prompts.per_task": prompts, "prompts.encoder_prompts": 32}
    return peak(root / f"prompts-{prompts}", ["prompts", "train", "encode"], settings)


def peak(directory: Path, stages: list[str], settings: dict[str, int]) -> float:
    """Peak memory of the last of some stages, MiB."""
    study = directory.with_suffix(".yaml")
    study.write_text("name: memory\n", encoding="utf-8")
    changes = [f"{key}={value}" for key, value in {**STUDY, **settings, "directory": directory}.items()]
    options = [part for change in changes for part in ("--set", change)]
    for stage in stages:
        command = [sys.executable, "-m", "apmae", stage, str(study), *options]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    marker = json.loads((directory / "markers" / f"{stages[-1]}.json").read_text(encoding="utf-8"))
    return float(marker["peak_memory_mib"])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--prompts", type=int, default=200)
    return parser.parse_args()


if __name__ == "__main__":
    main()
