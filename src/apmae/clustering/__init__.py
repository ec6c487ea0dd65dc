"""Recurring patterns of every head (paper section 5.1).

1. Each head's encodings are clustered by themselves, once over every study prompt (`cluster`) and
   once over the training split, to which the test prompts are assigned (`cluster_held_out`).
2. Every cluster gets an exemplar: a prompt near its mean, chosen so that few prompts stand for the
   clusters of all heads; the target runs on those once more to show their patterns.
"""

from apmae.clustering.exemplars import PatternSource, choose_exemplars, nearest_to_mean
from apmae.clustering.heads import METHODS, Clustering, cluster_rows

__all__ = [
    "METHODS",
    "Clustering",
    "PatternSource",
    "choose_exemplars",
    "cluster_rows",
    "nearest_to_mean",
]
