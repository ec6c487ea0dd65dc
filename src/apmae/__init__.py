"""Find out which attention heads of a language model matter for a task.

    target = apmae.Target.load("bigcode/starcoder2-3b")
    model = apmae.APMAEModel.from_pretrained("LaughingLogits/AP-MAE-SC2-3B")
    study = apmae.run("studies/demo.yaml")
    study = apmae.Study.open("runs/demo")
    scorer = apmae.Scorer.load("runs/demo")

Names are imported when they are first used, so that `import apmae` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from apmae.autoencoder import APMAEConfig, APMAEModel
    from apmae.common.errors import ApmaeError
    from apmae.intervention import Intervention, apply
    from apmae.scoring import Scorer, TokenScorer
    from apmae.study import Study
    from apmae.target_model import Target

__all__ = [
    "APMAEConfig",
    "APMAEModel",
    "ApmaeError",
    "Intervention",
    "Scorer",
    "Study",
    "Target",
    "TokenScorer",
    "apply",
    "run",
]

_HOMES = {
    "APMAEConfig": "apmae.autoencoder",
    "APMAEModel": "apmae.autoencoder",
    "ApmaeError": "apmae.common.errors",
    "Intervention": "apmae.intervention",
    "Scorer": "apmae.scoring",
    "Study": "apmae.study",
    "Target": "apmae.target_model",
    "TokenScorer": "apmae.scoring",
    "apply": "apmae.intervention",
}


def run(path: str | Path, overrides: list[str] | None = None) -> Study:
    """Run a study's stages that are not done, and return it.

    Args:
        path: the study's YAML file, see docs/config.md.
        overrides: as `--set` on the command line, `section.key=value`.

    Raises:
        ApmaeError: the file, or what it names, is wrong.
    """
    from pathlib import Path

    from apmae import pipeline
    from apmae.study.study_file import load_config

    return pipeline.run(load_config(Path(path), overrides))


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'apmae' has no attribute {name!r}")
