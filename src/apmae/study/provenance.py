"""What made a study: the target's weights, versions, machine, commit and seed."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from apmae.languages import language_named
from apmae.study.config import StudyConfig


def provenance_of(config: StudyConfig, weights: Mapping[str, Any]) -> dict[str, Any]:
    """Versions, machine and commit of this run.

    Args:
        weights: the target's, see `apmae.target_model.weights.Weights.record`.
    """
    grammar = language_named(config.corpus.language).grammar_package
    packages = ("apmae", "torch", "transformers", "tree-sitter", grammar, "catboost", "umap-learn")
    return {
        "seed": config.seed,
        "weights": dict(weights),
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
