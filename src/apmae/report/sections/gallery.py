"""Real patterns as exemplars of clusters of the most important heads (paper figure 2)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import zarr
from matplotlib.figure import Figure
from numpy.typing import NDArray

from apmae.clustering import PatternSource
from apmae.common.seeding import numpy_generator
from apmae.figures import style
from apmae.figures.patterns import SCALINGS, draw_pattern, pattern, pattern_bar, pattern_scale
from apmae.figures.style import encode, svg_uri
from apmae.report.data import ReportData
from apmae.report.gallery import Tile, choose_members, choose_tiles, exemplar_table
from apmae.report.section import Drawing, Section

COLUMNS = 4
MEMBERS = 5
"""Patterns of a cluster, and of noise, as in the paper."""


def section(data: ReportData) -> Section:
    """The gallery."""
    exemplars = data.study.exemplars
    count = data.config.report.gallery_clusters
    tiles = choose_tiles(exemplar_table(exemplars), data.importance, data.clusters, data.prompts, count)
    patterns = patterns_of_tiles(exemplars, tiles)
    pictures = [
        {"tile": tile, "source": svg_uri(encode(pattern(values), "svg"))}
        for tile, values in zip(tiles, patterns, strict=True)
    ]
    figures = [_figure(data, tiles, patterns)] if tiles else []
    if tiles and data.patterns_of is not None:
        figures.append(_members(data, tiles, data.patterns_of))
    scale = svg_uri(encode(pattern_scale(), "svg")) if tiles else None
    return Section(
        "gallery", "Gallery of clusters", tuple(figures), {"tiles": pictures, "pattern_scale": scale}
    )


def _figure(data: ReportData, tiles: list[Tile], patterns: list[NDArray[np.floating]]) -> Drawing:
    names = [tile.name for tile in tiles]
    return Drawing(
        "gallery",
        lambda: gallery(patterns, names, COLUMNS, "Recurring patterns of the heads that matter most"),
        alt="Attention patterns that stand for clusters: " + "; ".join(names) + ".",
        caption="Each picture is a real attention pattern near the middle of its cluster: brighter "
        "where the query position (row) attends more to the key position (column); "
        f"{SCALINGS[data.config.encoder.scaling]}. The last row makes the prediction. Heads are in order of "
        "their largest importance in any task; of each head, the cluster whose fraction of correct "
        "completions departs most from that of all prompts. Paper figure 2 (a).",
    )


def _members(data: ReportData, tiles: list[Tile], patterns_of: PatternSource) -> Drawing:
    generator = numpy_generator(data.config.seed, "cluster members")
    chosen = choose_members(tiles, data.clusters, data.prompts, MEMBERS, generator)
    patterns = [patterns_of(prompt, [head])[0].astype(np.float32) for _, prompt, head in chosen]
    names = [name for name, _, _ in chosen]
    return Drawing(
        "cluster_members",
        lambda: gallery(patterns, names, MEMBERS, "Patterns of one cluster, and of noise"),
        alt="Attention patterns: " + "; ".join(names) + ".",
        caption="Random members of the gallery's first cluster. Where the study has the task noise, also "
        "heads of the gallery on prompts of random tokens. Colours are as in the gallery. Paper figures "
        "2 (b) and 2 (c).",
    )


@style.styled
def gallery(
    patterns: Sequence[NDArray[np.floating]], names: Sequence[str], columns: int, title: str
) -> Figure:
    """Named patterns in one figure, row by row (paper figure 2)."""
    row_inches = style.WIDTH_INCHES / columns
    columns = min(columns, len(patterns))
    rows = math.ceil(len(patterns) / columns)
    figure = Figure(figsize=(style.WIDTH_INCHES, row_inches * rows + 1.1))
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes, values, name in zip(panels, patterns, names, strict=False):
        draw_pattern(axes, values)
        axes.set_title(name)
    for axes in panels[len(patterns) :]:
        axes.remove()
    for axes in panels[max(len(patterns) - columns, 0) : len(patterns)]:
        axes.tick_params(labelbottom=True)
    figure.supxlabel("Key position (tokens)", fontsize=8.5)
    figure.supylabel("Query position (tokens)", fontsize=8.5)
    pattern_bar(figure, list(panels[: len(patterns)]))
    style.title(figure, title)
    return figure


def patterns_of_tiles(exemplars: zarr.Group, tiles: list[Tile]) -> list[NDArray[np.floating]]:
    """The exemplars' patterns, (T, T) each."""
    patterns = exemplars["patterns"]
    assert isinstance(patterns, zarr.Array)
    return [np.asarray(patterns[tile.index], dtype=np.float32) for tile in tiles]
