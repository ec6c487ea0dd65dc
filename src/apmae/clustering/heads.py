"""Clusters of one head: equal rows are fitted once, new rows are assigned, ids are canonical."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from apmae.clustering.kmeans import KMeansClusters
from apmae.clustering.umap_hdbscan import UmapHdbscanClusters
from apmae.study.config import ClusteringConfig


class Clustering(Protocol):
    """Fitted clusters that new points can be assigned to."""

    labels: NDArray[np.int64]
    """(N,) cluster of each fitted point, -1 for noise."""

    def assign(self, points: NDArray[np.float32]) -> NDArray[np.int64]:
        """Clusters of new points, (M, dim) -> (M,)."""
        ...


Fit = Callable[[NDArray[np.float32], NDArray[np.int64], ClusteringConfig, int], Clustering]
"""(distinct points (N, dim), number of rows equal to each (N,), config, seed) -> clusters."""

METHODS: dict[str, Fit] = {"kmeans": KMeansClusters.fit, "umap_hdbscan": UmapHdbscanClusters.fit}
"""Values of `clustering.method` and their functions."""


def cluster_rows(
    rows: NDArray[np.float16], fitted: NDArray[np.bool_], config: ClusteringConfig, seed: int
) -> NDArray[np.int16]:
    """Cluster the rows marked `fitted` and assign the others to these clusters.

    Equal rows are fitted once. If all fitted rows are equal, they form one cluster, 0. Ids are in order of
    decreasing size among the fitted rows, ties by first member; -1 is noise.

    Args:
        rows: (N, dim), without NaN.
        fitted: (N,); the other rows have no influence on the clusters.

    Returns:
        (N,) cluster ids.
    """
    assert np.isfinite(rows).all(), "encodings with NaN are not written yet"
    distinct, inverse, counts = np.unique(rows[fitted], axis=0, return_inverse=True, return_counts=True)
    labels = np.zeros(len(rows), dtype=np.int64)
    if len(distinct) > 1:
        clustering = METHODS[config.method](distinct.astype(np.float32), counts, config, seed)
        labels[fitted] = clustering.labels[inverse.ravel()]
        if not fitted.all():
            labels[~fitted] = clustering.assign(rows[~fitted].astype(np.float32))
    return canonical_ids(labels, fitted)


def canonical_ids(labels: NDArray[np.int64], fitted: NDArray[np.bool_]) -> NDArray[np.int16]:
    """Renumber clusters by decreasing size among the `fitted`, ties by first member. -1 stays."""
    ids, first, sizes = np.unique(labels[fitted], return_index=True, return_counts=True)
    by_size = np.lexsort((first, -sizes))
    ordered = ids[by_size][ids[by_size] >= 0]
    names = {-1: -1} | {int(old): new for new, old in enumerate(ordered)}
    return np.array([names[label] for label in labels.tolist()], dtype=np.int16)
