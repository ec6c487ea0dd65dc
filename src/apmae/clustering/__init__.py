"""Recurring patterns of every head (paper section 5.1).

1. Each head's encodings are clustered on their own, once over every study prompt (`cluster`) and once over
   the training split (`cluster_held_out`). The latter clusters are then assigned to the test prompts.
2. Every cluster gets an exemplar, a prompt near its mean. Exemplars are chosen so that few prompts serve the
   clusters of all heads. The target runs on these prompts again to give their patterns.
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
