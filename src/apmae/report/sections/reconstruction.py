"""Reconstructions of masked patterns by the autoencoder (paper figure 1)."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from apmae.autoencoder.reconstruction import Reconstruction
from apmae.figures import style
from apmae.figures.patterns import SCALINGS, draw_pattern, pattern_bar
from apmae.figures.wording import count, head_name
from apmae.report.data import ReportData
from apmae.report.section import Drawing, Section


def section(data: ReportData) -> Section:
    """Reconstructions."""
    return Section("reconstruction", "Reconstruction", (_figure(data),) if data.reconstructions else ())


def _figure(data: ReportData) -> Drawing:
    patterns = count(len(data.reconstructions), "attention pattern")
    return Drawing(
        "reconstruction",
        lambda: reconstructions(data.reconstructions),
        alt=f"{patterns}: original, masked and reconstructed side by side.",
        caption="Left: an attention pattern. Middle: the same with the masked patches in grey. Right: what "
        "the autoencoder makes of the visible ones. The loss is the mean squared error over the masked "
        f"patches; {SCALINGS[data.config.encoder.scaling]}. Paper figure 1.",
    )


@style.styled
def reconstructions(items: Sequence[Reconstruction]) -> Figure:
    """Original, masked and reconstructed pattern, one row each (paper figure 1)."""
    figure = Figure(figsize=(style.WIDTH_INCHES, 3.0 * len(items) + 0.7))
    panels = figure.subplots(len(items), 3, squeeze=False, sharex=True, sharey=True)
    for row, item in zip(panels, items, strict=True):
        for axes, values in zip(row, (item.pattern, item.masked, item.reconstruction), strict=True):
            draw_pattern(axes, values)
        row[0].set_title(f"Head {head_name(item.layer, item.head)}, prompt {item.prompt_id}: original")
        row[1].set_title("what the encoder saw")
        row[2].set_title(f"reconstruction, loss {item.loss:.4f}")
        row[0].set_ylabel("Query position (tokens)")
    for axes in panels[-1]:
        axes.set_xlabel("Key position (tokens)")
    pattern_bar(figure, list(panels.ravel()))
    style.title(figure, "Patterns reconstructed from the patches left visible")
    return figure
