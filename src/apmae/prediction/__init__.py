"""Is the completion correct? Predicted from what the heads attend to (paper section 6).

1. Feature sets are unions of blocks (`features`): what the heads do, what the target itself knows,
   and baselines. Clusters alone go to CatBoost as in the paper (`trees`), all else to one linear
   model (`linear`); `classifiers` chooses.
2. Every set is measured under three protocols (`protocols`): the paper's cross-validation; a
   split by group with clusters fitted on the training part only; and, but for clusters,
   cross-validation by group, which tests every prompt, so that intervals are narrower. The baselines
   go through the same code, and so do shuffled labels, which must come out at chance.
3. Metrics (`metrics`) at the balanced and at the base rate, and differences against the target's
   own confidence, with intervals by bootstrap over groups (`measurement`).
4. SHAP values say which heads a predictor goes by, and folds how far to trust that (`importance`,
   `explanation`).
5. A calibrated predictor of each task is kept for prompts to come (`predictor`, `calibration`).
"""

from apmae.prediction.features import Features, PassFeatures, StoredFeatures, feature_sets
from apmae.prediction.importance import head_importance, stability
from apmae.prediction.linear import LinearModel
from apmae.prediction.predictor import Predictor, load_predictors
from apmae.prediction.trees import shap_values

__all__ = [
    "Features",
    "LinearModel",
    "PassFeatures",
    "Predictor",
    "StoredFeatures",
    "feature_sets",
    "head_importance",
    "load_predictors",
    "shap_values",
    "stability",
]
