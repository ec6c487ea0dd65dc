"""Number of recurring patterns of every head (paper figure 3)."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from apmae.figures import style
from apmae.figures.head_maps import head_grid, heat_map, map_height
from apmae.report import summaries
from apmae.report.data import ReportData
from apmae.report.section import Drawing, Section


def section(data: ReportData) -> Section:
    """Clusters of every head."""
    return Section("clusters", "Clusters per head", (_figure(data),))


def _figure(data: ReportData) -> Drawing:
    counts = summaries.clusters_per_head(data.clusters)
    return Drawing(
        "clusters_per_head",
        lambda: clusters_per_head(counts, data.shape),
        alt="Heat map of the number of clusters by layer and head, and a histogram of these numbers.",
        caption="Left: one cell a head, darker for more recurring patterns. Right: how many heads have that "
        "many. Prompts that fit no cluster (noise) are not counted as one. Paper figure 3.",
    )


@style.styled
def clusters_per_head(counts: pl.DataFrame, shape: tuple[int, int]) -> Figure:
    """Number of clusters of every head, as a map and as a histogram (paper figure 3).

    Args:
        counts: from `summaries.clusters_per_head`.
        shape: (layers, heads) of the target.
    """
    grid = head_grid(counts, "n_clusters", shape)
    figure = Figure(figsize=(style.WIDTH_INCHES, map_height(grid) + 0.9))
    heat, histogram = figure.subplots(1, 2, width_ratios=[3, 2])
    image = heat_map(heat, grid, 0, max(float(np.nanmax(grid)), 1.0))
    heat.set_title("Clusters of every head")
    heat.set_xlabel("Head (index)")
    heat.set_ylabel("Layer (index)")
    bar = figure.colorbar(image, ax=heat, label="Clusters (number, noise not counted)", pad=0.02)
    style.integer_ticks(bar.ax, y=8)
    bar.outline.set_visible(False)
    values = counts["n_clusters"].value_counts().sort("n_clusters")
    histogram.bar(values["n_clusters"], values["count"], width=0.8, color="#5aa5cf")
    style.integer_ticks(histogram, x=10, y=6)
    histogram.set_xlim(-0.6, max(values["n_clusters"].to_list()) + 0.6)
    histogram.grid(axis="y")
    histogram.set_title("Distribution over the heads")
    histogram.set_xlabel("Clusters in a head (number)")
    histogram.set_ylabel("Heads (number)")
    style.title(figure, "How many recurring patterns a head has")
    return figure
