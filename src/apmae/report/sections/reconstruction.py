"""Reconstructions of masked patterns by the autoencoder (paper figure 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure

from apmae.autoencoder.patterns import ABSOLUTE_FLOOR
from apmae.autoencoder.reconstruction import Image, Reconstruction
from apmae.figures import style
from apmae.figures.patterns import SCALINGS, draw_pattern, pattern_bar
from apmae.figures.wording import count, head_name
from apmae.report.data import ReportData
from apmae.report.section import Drawing, Section


def section(data: ReportData) -> Section:
    """Reconstructions."""
    return Section("reconstruction", "Reconstruction", _drawings(data) if data.reconstructions else ())


def _drawings(data: ReportData) -> tuple[Drawing, ...]:
    """The reconstructions, and on a log colour scale too if the encoder saw weights themselves."""
    if data.config.encoder.scaling != "probability":
        return (_figure(data),)
    logarithmic = Drawing(
        "reconstruction-log",
        lambda: reconstructions([on_log_scale(item) for item in data.reconstructions]),
        alt="The same patterns on a logarithmic colour scale.",
        caption="The same on a log colour scale: 0 is an attention weight of at most one ten-millionth, 1 is "
        "all of the attention. The losses are of the weights themselves. Paper figure 1 c.",
    )
    return _figure(data), logarithmic


def on_log_scale(item: Reconstruction) -> Reconstruction:
    """A reconstruction of attention weights with its images as `absolute` scaling has them."""

    def logarithm(weights: Image) -> Image:
        log_weights = np.log(np.maximum(weights, np.exp(ABSOLUTE_FLOOR)))
        scaled: Image = (1 - log_weights / ABSOLUTE_FLOOR).astype(np.float32)
        return scaled

    return replace(
        item,
        pattern=logarithm(item.pattern),
        masked=logarithm(item.masked),
        reconstruction=logarithm(item.reconstruction),
    )


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
