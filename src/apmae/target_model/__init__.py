"""The language model under study: loading, the one attention function, outcomes."""

from apmae.target_model.model import Head, Target, TargetOutput
from apmae.target_model.outcomes import Outcomes, outcomes

__all__ = ["Head", "Outcomes", "Target", "TargetOutput", "outcomes"]
