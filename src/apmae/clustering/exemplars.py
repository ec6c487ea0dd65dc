"""Real patterns as exemplars of clusters, from as few prompts as a greedy cover finds.

The target model runs once per prompt, so the number of prompts is the cost of the exemplars.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import zarr
from numpy.typing import NDArray

from apmae.common.progress import Progress

CANDIDATES = 16
"""Members nearest a cluster's mean. Each may become its exemplar."""

PatternSource = Callable[[int, list[tuple[int, int]]], NDArray[np.float16]]
"""(prompt_id, its (layer, head)s) -> their scaled patterns, (len(heads), T, T) float16."""


def nearest_to_mean(rows: NDArray[np.float16], clusters: NDArray[np.int16], count: int) -> NDArray[np.bool_]:
    """Mark the `count` members nearest the mean of each cluster.

    Args:
        rows: (N, dim) encodings of one head.
        clusters: (N,) their clusters; noise, -1, has no exemplar.

    Returns:
        (N,) bool.
    """
    marked = np.zeros(len(rows), dtype=np.bool_)
    for cluster in np.unique(clusters[clusters >= 0]):
        members = np.flatnonzero(clusters == cluster)
        points = rows[members].astype(np.float32)
        distances = np.linalg.norm(points - points.mean(0), axis=1)
        marked[members[np.argsort(distances, kind="stable")[:count]]] = True
    return marked


def choose_exemplars(candidates: pl.DataFrame) -> pl.DataFrame:
    """Choose one candidate per cluster so that few distinct prompts are needed.

    Greedy set cover: at each step the prompt that covers the most clusters without exemplar is chosen, ties
    by lowest prompt_id.

    Args:
        candidates: rows (layer, head, cluster, prompt_id).

    Returns:
        One row per (layer, head, cluster), sorted by them.
    """
    cluster = ["layer", "head", "cluster"]
    chosen = [candidates.clear()]
    while not candidates.is_empty():
        covering = candidates.group_by("prompt_id").len()
        best = covering.sort("len", "prompt_id", descending=[True, False])["prompt_id"][0]
        covered = candidates.filter(pl.col("prompt_id") == best)
        chosen.append(covered)
        candidates = candidates.join(covered, on=cluster, how="anti")
    return pl.concat(chosen).sort(cluster)


def write_exemplars(
    path: Path, exemplars: pl.DataFrame, length_tokens: int, patterns_of: PatternSource, progress: Progress
) -> None:
    """Write the exemplars and their patterns as a Zarr group (see `apmae.study.artifacts`)."""
    group = zarr.open_group(path, mode="w")
    for name in ("layer", "head", "cluster", "prompt_id"):
        group.create_array(name, data=exemplars[name].to_numpy().astype(np.int32))
    patterns = group.create_array(
        "patterns",
        shape=(len(exemplars), length_tokens, length_tokens),
        chunks=(1, length_tokens, length_tokens),
        dtype="float16",
    )
    by_prompt = exemplars.with_row_index("exemplar").partition_by("prompt_id", maintain_order=True)
    for of_prompt in progress(by_prompt, "exemplar patterns", total=len(by_prompt)):
        heads = list(zip(of_prompt["layer"].to_list(), of_prompt["head"].to_list(), strict=True))
        captured = patterns_of(of_prompt["prompt_id"][0], heads)
        for exemplar, pattern in zip(of_prompt["exemplar"].to_list(), captured, strict=True):
            patterns[exemplar] = pattern
