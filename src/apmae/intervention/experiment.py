"""What the parts of the stage `intervene` share: prompts, the target, and the heads' means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from torch import Tensor

from apmae.intervention.conditions import Condition
from apmae.intervention.run_conditions import Results, run_conditions
from apmae.study import Study
from apmae.target_model import Target


@dataclass(frozen=True)
class TaskPrompts:
    """A task's prompts: tuning prompts, for choices, and held-out prompts."""

    tuning: pl.DataFrame
    held_out: pl.DataFrame


@dataclass(frozen=True)
class Experiment:
    """What the parts of the stage share; `prompts` has tasks with importance and held-out prompts."""

    study: Study
    target: Target
    work: Path
    prompts: dict[str, TaskPrompts]
    means: Tensor | None

    def run(self, conditions: Sequence[Condition], prompts: pl.DataFrame) -> Results:
        """Outcomes of prompts under conditions."""
        batch_size = self.study.config.target.batch_size
        interventions = [condition.intervention for condition in conditions]
        return run_conditions(self.target, interventions, prompts, self.means, batch_size)
