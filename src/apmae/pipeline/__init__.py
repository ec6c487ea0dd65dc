"""The stages of a study, in order: which are done, and running the others."""

from apmae.pipeline.context import Context, Inputs
from apmae.pipeline.run import STAGE_NAMES, STAGES, Stage, StageName, run, stage_keys, state

__all__ = [
    "STAGES",
    "STAGE_NAMES",
    "Context",
    "Inputs",
    "Stage",
    "StageName",
    "run",
    "stage_keys",
    "state",
]
