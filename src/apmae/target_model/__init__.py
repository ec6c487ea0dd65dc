"""The language model under study: loading, the one attention function, outcomes."""

from apmae.target_model.completions import Completions
from apmae.target_model.model import Head, Target, TargetOutput
from apmae.target_model.outcomes import TOP_TOKENS, Outcomes, outcomes, outcomes_with_top, top_log_probs

__all__ = [
    "TOP_TOKENS",
    "Completions",
    "Head",
    "Outcomes",
    "Target",
    "TargetOutput",
    "outcomes",
    "outcomes_with_top",
    "top_log_probs",
]
