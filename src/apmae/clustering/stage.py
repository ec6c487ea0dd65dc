"""The stage `cluster`: every head in its own process, then exemplars.

Each finished head is a file in the work directory. A killed stage loses only the heads in progress.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import zarr
from numpy.typing import NDArray

from apmae.clustering.exemplars import (
    CANDIDATES,
    choose_exemplars,
    nearest_to_mean,
    write_exemplars,
)
from apmae.clustering.heads import cluster_rows
from apmae.common.errors import ApmaeError
from apmae.common.seeding import derive_seed
from apmae.common.workers import compute_parts
from apmae.encoding.encoders import pattern_source
from apmae.pipeline import Context
from apmae.study import Study
from apmae.study.artifacts import CLUSTERS, EXEMPLARS, RANDOM_CLS

STAGE = "cluster"


def run(context: Context) -> dict[str, object]:
    """Write `clusters.parquet` and `exemplars.zarr`. Returns counts for the stage's marker.

    Raises:
        ApmaeError: the training split is empty, or the backend's package is missing.
    """
    study, config, progress = context.study, context.study.config, context.progress
    split = study.study_prompts["split"]
    in_train = (split == "train").to_numpy()
    analysed = split.is_in(config.analysed_splits).to_numpy()
    if not in_train.any():
        raise ApmaeError(
            "no prompt is in the training split: the corpus needs more groups (packages, projects)"
        )
    work = study.work_directory(STAGE, context.key)
    n_heads = _encodings(study, config.clustering.readout).shape[0]
    parts = {work / f"{index:05d}.parquet": (study, index, in_train, analysed) for index in range(n_heads)}
    compute_parts(
        _cluster_head,
        parts,
        progress,
        "clusters per head",
        processes=config.clustering.processes,
        backend=config.clustering.backend,
    )
    table = pl.scan_parquet(list(parts), glob=False)
    with study.writing(CLUSTERS) as path:
        CLUSTERS.cast(table).sink_parquet(path)
    candidates = table.filter("candidate").select("layer", "head", "cluster", "prompt_id").collect()
    exemplars = choose_exemplars(candidates)
    patterns_of = pattern_source(study, context.target)
    with study.writing(EXEMPLARS) as path:
        write_exemplars(path, exemplars, config.prompts.length_tokens, patterns_of, progress)
    noise = table.select((pl.col("cluster") == -1).mean()).collect().item()
    return {
        "heads": n_heads,
        "prompts": len(in_train),
        "clusters": len(exemplars),
        "noise_fraction": noise,
        "exemplar_prompts": exemplars["prompt_id"].n_unique(),
    }


def _cluster_head(
    study: Study, index: int, in_train: NDArray[np.bool_], analysed: NDArray[np.bool_]
) -> pl.DataFrame:
    """One head's part of `clusters.parquet`, with the candidates for exemplars marked."""
    config = study.config
    layer, head = divmod(index, int(str(study.encodings.attrs["n_heads"])))
    rows = np.asarray(_encodings(study, config.clustering.readout)[index])
    seed = derive_seed(config.seed, "clustering", layer, head)

    def clusters_of(rows: NDArray[np.float16]) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
        everything = cluster_rows(rows, analysed, config.clustering, seed)
        return everything, cluster_rows(rows, in_train, config.clustering, seed)

    clusters, held_out = clusters_of(rows)
    random, random_held_out = None, None
    if config.encoding.random_encoder:
        random, random_held_out = clusters_of(np.asarray(_encodings(study, RANDOM_CLS)[index]))
    return pl.DataFrame(
        {
            "prompt_id": np.arange(len(rows), dtype=np.int32),
            "layer": np.full(len(rows), layer, dtype=np.int16),
            "head": np.full(len(rows), head, dtype=np.int16),
            "cluster": clusters,
            "cluster_held_out": held_out,
            "random_cluster": random,
            "random_cluster_held_out": random_held_out,
            "candidate": nearest_to_mean(rows, np.where(analysed, clusters, np.int16(-1)), CANDIDATES),
        }
    )


def _encodings(study: Study, name: str) -> zarr.Array[Any]:
    array = study.encodings[name]
    assert isinstance(array, zarr.Array)
    return array
