"""Real patterns as exemplars of clusters of the most important heads (paper figure 2)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import zarr
from matplotlib.figure import Figure
from numpy.typing import NDArray

from apmae.figures import style
from apmae.figures.patterns import SCALINGS, draw_pattern, pattern, pattern_bar, pattern_scale
from apmae.figures.style import encode, svg_uri
from apmae.report.data import ReportData
from apmae.report.gallery import Tile, choose_tiles, exemplar_table
from apmae.report.section import Drawing, Section


def section(data: ReportData) -> Section:
    """The gallery."""
    exemplars = data.study.exemplars
    count = data.config.report.gallery_clusters
    tiles = choose_tiles(exemplar_table(exemplars), data.importance, data.clusters, data.prompts, count)
    patterns = _patterns(exemplars, tiles)
    pictures = [
        {"tile": tile, "source": svg_uri(encode(pattern(values), "svg"))}
        for tile, values in zip(tiles, patterns, strict=True)
    ]
    figures = (_figure(data, tiles, patterns),) if tiles else ()
    scale = svg_uri(encode(pattern_scale(), "svg")) if tiles else None
    return Section("gallery", "Gallery of clusters", figures, {"tiles": pictures, "pattern_scale": scale})


def _figure(data: ReportData, tiles: list[Tile], patterns: list[NDArray[np.floating]]) -> Drawing:
    names = [tile.name for tile in tiles]
    return Drawing(
        "gallery",
        lambda: gallery(patterns, names),
        alt="Attention patterns that stand for clusters: " + "; ".join(names) + ".",
        caption="Each picture is a real attention pattern near the middle of its cluster: brighter "
        "where the query position (row) attends more to the key position (column); "
        f"{SCALINGS[data.config.encoder.scaling]}. The last row makes the prediction. Heads are in order of "
        "their largest importance in any task; of each head, the cluster whose fraction of correct "
        "completions departs most from that of all prompts. Paper figure 2.",
    )


@style.styled
def gallery(patterns: Sequence[NDArray[np.floating]], names: Sequence[str]) -> Figure:
    """All patterns of the gallery in one figure (paper figure 2)."""
    columns = min(4, len(patterns))
    rows = math.ceil(len(patterns) / columns)
    figure = Figure(figsize=(style.WIDTH_INCHES, 2.5 * rows + 1.1))
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
    style.title(figure, "Recurring patterns of the heads that matter most")
    return figure


def _patterns(exemplars: zarr.Group, tiles: list[Tile]) -> list[NDArray[np.floating]]:
    patterns = exemplars["patterns"]
    assert isinstance(patterns, zarr.Array)
    return [np.asarray(patterns[tile.index], dtype=np.float32) for tile in tiles]
