"""Interventions: change heads that were found to matter (paper section 7), and keep what helps.

1. For each task, heads are chosen on the training groups: by their SHAP values (positive, negative, neutral),
   at random, or greedily (`selections`, `greedy`).
2. An operation changes their outputs where they enter the output projection (`operations`): zero ablation
   (the paper's), mean ablation or scaling. Conditions run on tuning prompts and on held-out prompts
   (`conditions`, `run_conditions`).
3. The tuning prompts decide which condition each method takes, and at which predicted probability a gated
   method stops changing completions (`choices`, `gating`). The held-out prompts measure it.
4. The best intervention of each task is saved, and run on the other tasks and random code (`side_effects`).
"""

from apmae.intervention.apply import apply
from apmae.intervention.export import export_model
from apmae.intervention.intervention import Intervention
from apmae.intervention.operations import Mean, Operation, Scale, Zero

__all__ = ["Intervention", "Mean", "Operation", "Scale", "Zero", "apply", "export_model"]
