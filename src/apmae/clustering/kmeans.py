"""K-means: every point belongs to a cluster, and a new point joins the nearest centre."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from apmae.study.config import ClusteringConfig

N_INIT = 4


class KMeansClusters:
    """`n_clusters` centres, or one per distinct point if there are fewer points."""

    def __init__(self, model: KMeans) -> None:
        self._model = model
        self.labels: NDArray[np.int64] = model.labels_.astype(np.int64)

    @classmethod
    def fit(
        cls, points: NDArray[np.float32], counts: NDArray[np.int64], config: ClusteringConfig, seed: int
    ) -> Self:
        """Fit distinct `points` weighted by `counts`, which equals fitting every duplicate."""
        n_clusters = min(config.n_clusters, len(points))
        model = KMeans(n_clusters, n_init=N_INIT, random_state=seed)
        return cls(model.fit(points, sample_weight=counts))

    def assign(self, points: NDArray[np.float32]) -> NDArray[np.int64]:
        """Index of the nearest centre."""
        return self._model.predict(points).astype(np.int64)  # type: ignore[no-any-return]
