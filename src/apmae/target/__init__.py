"""The language model under study: loading, the one attention function, outcomes."""

from apmae.target.model import Head, Target, TargetOutput
from apmae.target.outcomes import Outcomes, outcomes

__all__ = ["Head", "Outcomes", "Target", "TargetOutput", "outcomes"]
