"""The clusters of the gallery, and their properties."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle

import numpy as np
import polars as pl
import zarr

from apmae.figures.wording import head_name


@dataclass(frozen=True)
class Tile:
    """One cluster with its exemplar. `index` is the exemplar's row in exemplars.zarr."""

    index: int
    layer: int
    head: int
    cluster: int
    size: int
    correct_fraction: float | None  # of the cluster's prompts that have an outcome
    task: str
    file: str
    line: int | None
    text: str | None
    correct: bool | None

    @property
    def name(self) -> str:
        """Head and cluster in short form."""
        return f"{head_name(self.layer, self.head)}, cluster {self.cluster}"


def exemplar_table(exemplars: zarr.Group) -> pl.DataFrame:
    """`index`, `layer`, `head`, `cluster`, `prompt_id`: the first exemplar of every cluster."""
    names = ("layer", "head", "cluster", "prompt_id")
    columns = {name: np.asarray(exemplars[name]) for name in names}
    table = pl.DataFrame(columns).cast(pl.Int32).with_row_index("index")
    return table.filter(pl.col("cluster") >= 0).unique(["layer", "head", "cluster"], keep="first")


def cluster_outcomes(clusters: pl.DataFrame, prompts: pl.DataFrame) -> pl.DataFrame:
    """`layer`, `head`, `cluster`, `size`, `correct_fraction` (null without an outcome), over all tasks."""
    outcomes = prompts.select("prompt_id", "correct")
    return (
        clusters.join(outcomes, on="prompt_id", how="left")
        .group_by("layer", "head", "cluster")
        .agg(size=pl.len(), correct_fraction=pl.col("correct").mean())
    )


def choose_tiles(
    exemplars: pl.DataFrame,
    importance: pl.DataFrame,
    clusters: pl.DataFrame,
    prompts: pl.DataFrame,
    count: int,
) -> list[Tile]:
    """Clusters of the most important heads. Every head gets one cluster before any gets a second.

    A head's importance is its largest `max_difference` in any task. Within a head, clusters are ranked by
    the difference of their fraction of correct completions from that of all prompts, in standard errors.

    Args:
        exemplars: from `exemplar_table`.
    """
    heads = _most_important(importance, exemplars, count)
    members = clusters.join(heads, on=["layer", "head"], how="semi")
    overall = pl.lit(prompts["correct"].mean(), dtype=pl.Float64)
    departure = (pl.col("correct_fraction") - overall).abs() * pl.col("size").sqrt()
    chosen = (
        exemplars.cast({"layer": pl.Int16, "head": pl.Int16, "cluster": pl.Int16})
        .join(cluster_outcomes(members, prompts), on=["layer", "head", "cluster"])
        .join(heads, on=["layer", "head"])
        .with_columns(departure=departure.fill_null(0.0))
        .sort("departure", "cluster", descending=[True, False])
        .with_columns(rank=pl.int_range(pl.len()).over("layer", "head"))
        .sort("rank", "importance", "layer", "head", descending=[False, True, False, False])
        .head(count)
        .join(prompts.select("prompt_id", "task", "file", "line", "text", "correct"), on="prompt_id")
        .sort("rank", "importance", "layer", "head", descending=[False, True, False, False])
    )
    fields = list(Tile.__dataclass_fields__)
    return [Tile(**row) for row in chosen.select(fields).iter_rows(named=True)]


def choose_members(
    tiles: list[Tile],
    clusters: pl.DataFrame,
    prompts: pl.DataFrame,
    count: int,
    generator: np.random.Generator,
) -> list[tuple[str, int, tuple[int, int]]]:
    """Random members of the first tile's cluster, then random noise prompts with the tiles' heads in turn.

    Returns:
        A name, the prompt_id and the (layer, head) of at most `count` patterns of each kind.
    """
    first, noise = tiles[0], prompts.filter(task="noise")["prompt_id"].to_list()
    of_tile = clusters.filter(layer=first.layer, head=first.head, cluster=first.cluster)
    drawn_members, drawn_noise = (
        generator.choice(ids, min(count, len(ids)), replace=False).tolist()
        for ids in (of_tile["prompt_id"].to_list(), noise)
    )
    members = [(first.name, prompt, (first.layer, first.head)) for prompt in drawn_members]
    heads = cycle(dict.fromkeys((tile.layer, tile.head) for tile in tiles))
    return members + [
        (f"{head_name(*head)}, noise", prompt, head) for prompt, head in zip(drawn_noise, heads, strict=False)
    ]


def _most_important(importance: pl.DataFrame, exemplars: pl.DataFrame, count: int) -> pl.DataFrame:
    shown = exemplars.select(pl.col("layer", "head").cast(pl.Int16)).unique()
    largest = importance.group_by("layer", "head").agg(
        importance=pl.col("max_difference").fill_nan(None).max()
    )
    ranked = shown.join(largest, on=["layer", "head"], how="left").with_columns(
        pl.col("importance").fill_null(0.0)
    )
    return ranked.sort("importance", "layer", "head", descending=[True, False, False]).head(count)
