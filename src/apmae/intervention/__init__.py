"""The stage intervene: change the heads that SHAP points at (paper section 7), and use what helps.

1. Per task, heads are chosen on the training part: by their SHAP values most positive, most negative,
   nearest to zero; at random; and greedily, by what zeroing them does to tuning prompts.
2. Their outputs are zeroed (the paper's), replaced by their means, or scaled where they enter the output
   projection, on tuning prompts of the training part and on held-out prompts.
3. Tuning prompts decide which condition is best per method, and from which predicted probability on
   completions are left alone (gated). Held-out prompts say what that is worth.
4. The best intervention of each task is tried on the other tasks and on random code, and saved.
"""

from apmae.intervention.apply import apply
from apmae.intervention.export import export_model
from apmae.intervention.intervention import Intervention
from apmae.intervention.operations import Mean, Operation, Scale, Zero

__all__ = ["Intervention", "Mean", "Operation", "Scale", "Zero", "apply", "export_model"]
