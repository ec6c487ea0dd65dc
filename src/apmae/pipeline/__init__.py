"""The stages of a study, in order: which are done, and running the others."""

from apmae.pipeline.context import Context, Inputs
from apmae.pipeline.run import run, stage_keys, state

__all__ = ["Context", "Inputs", "run", "stage_keys", "state"]
