"""Is the completion right? Predicted from what the heads attend to (paper section 6).

1. Feature sets are unions of blocks (`features`), each fitted by its classifier (`classifiers`).
2. Every set is measured under two protocols (`protocols`): the paper's cross-validation, and a
   split by group with clusters fitted on the training part only. The baselines (class prior, the
   target's own confidence) go through the same code.
3. Accuracy and AUROC with 95% intervals (`metrics`).
4. SHAP values say which heads the cluster predictor goes by (`importance`).
"""

from apmae.prediction.classifiers import FEATURE_SETS
from apmae.prediction.features import BLOCKS, load_blocks
from apmae.prediction.importance import head_importance, shap_values
from apmae.prediction.stage import run

__all__ = [
    "BLOCKS",
    "FEATURE_SETS",
    "head_importance",
    "load_blocks",
    "run",
    "shap_values",
]
