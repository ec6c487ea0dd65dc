"""UMAP, then HDBSCAN (paper section 5.1): dense regions are clusters, other points are noise, -1.

Density counts distinct points: equal rows count as one point.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import normalize

from apmae.clustering.compiled import import_compiled
from apmae.study.config import ClusteringConfig

Reduction = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class UmapHdbscanClusters:
    """Clusters in the reduced space. The nearest fitted points vote on a new point's cluster."""

    def __init__(self, labels: NDArray[np.int64], reduce: Reduction, neighbors: KNeighborsClassifier) -> None:
        self.labels = labels
        self._reduce = reduce
        self._neighbors = neighbors

    @classmethod
    def fit(
        cls, points: NDArray[np.float32], counts: NDArray[np.int64], config: ClusteringConfig, seed: int
    ) -> Self:
        """Fit distinct `points`. Fewer than `min_cluster_size` points are all noise."""
        reduced, reduce = _fit_umap(points, config, seed)
        labels = _fit_hdbscan(reduced, config)
        neighbors = KNeighborsClassifier(min(config.assign_neighbors, len(points)), weights="distance")
        return cls(labels, reduce, neighbors.fit(reduced, labels))

    def assign(self, points: NDArray[np.float32]) -> NDArray[np.int64]:
        """Vote of the `assign_neighbors` nearest fitted points, by inverse distance. Noise votes too."""
        return self._neighbors.predict(self._reduce(points))  # type: ignore[no-any-return]


def _fit_umap(
    points: NDArray[np.float32], config: ClusteringConfig, seed: int
) -> tuple[NDArray[np.float32], Reduction]:
    """Reduced points and the reduction of new points.

    Too few points for UMAP are only scaled to length one. Their Euclidean distances then order as cosine
    distances do.
    """
    if len(points) <= max(config.umap_neighbors, config.umap_dimensions + 1):
        return normalize(points), normalize
    model: Any = import_compiled("umap").UMAP(
        n_components=config.umap_dimensions,
        n_neighbors=config.umap_neighbors,
        min_dist=config.umap_min_dist,
        metric="cosine",
        random_state=seed,
        n_jobs=1,
    )
    return model.fit_transform(points), model.transform


def _fit_hdbscan(points: NDArray[np.float32], config: ClusteringConfig) -> NDArray[np.int64]:
    model: Any = import_compiled("fast_hdbscan").HDBSCAN(
        min_cluster_size=config.min_cluster_size,
        min_samples=min(config.min_samples, len(points) - 1),
        allow_single_cluster=config.allow_single_cluster,
        reproducible=True,
    )
    return model.fit_predict(points).astype(np.int64)  # type: ignore[no-any-return]
