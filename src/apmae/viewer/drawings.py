"""The two kinds of picture: every head at a glance, and one head with its tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d

from apmae.figures import style

LABEL_FONT = "DejaVu Sans Mono"
TOKEN_INCHES = 0.13
MOST_LABELS = 160
TILE_PIXELS = (80, 128)
"""A head's side in the contact sheet: at least, at most."""
GAP_PIXELS = 8
NO_WEIGHT = "white"


@style.styled
def contact_sheet(patterns_LHTT: Tensor, name: str) -> Figure:
    """Every head's pattern: layers down, heads across; a value is at least a pixel, or is pooled.

    Args:
        patterns_LHTT: scaled, in [0, 1].
        name: of the prompt, for the title.
    """
    tiles = _tiles(patterns_LHTT)
    layers, heads, side, _ = tiles.shape
    pitch = side + GAP_PIXELS
    mosaic = np.full((layers * pitch, heads * pitch), np.nan, np.float32)
    for layer, head in np.ndindex(layers, heads):
        rows = slice(layer * pitch, layer * pitch + side)
        mosaic[rows, head * pitch : head * pitch + side] = tiles[layer, head]
    left, right, bottom, top = 0.55, 0.15, 0.5, 0.5
    height, width = (length / style.RASTER_DPI for length in mosaic.shape)
    figure = Figure(figsize=(width + left + right, height + bottom + top))
    figure.set_layout_engine("none")
    full_width, full_height = figure.get_size_inches()
    # Placed by hand, so that a pixel of the mosaic is a pixel of the picture.
    place = (left / full_width, bottom / full_height, width / full_width, height / full_height)
    axes = figure.add_axes(place)
    _draw(axes, mosaic)
    axes.set_xticks(np.arange(heads) * pitch + side / 2, [str(head) for head in range(heads)])
    axes.set_yticks(np.arange(layers) * pitch + side / 2, [str(layer) for layer in range(layers)])
    axes.set(xlabel="Head (index)", ylabel="Layer (index)")
    axes.set_title(_drawable(name), parse_math=False)
    return figure


@style.styled
def one_head(pattern_TT: NDArray[np.float32], labels: Sequence[str], name: str, scale_name: str) -> Figure:
    """One head's pattern with its tokens on both axes.

    Args:
        pattern_TT: scaled, in [0, 1].
        labels: of the tokens.
        name: of the head and the prompt, for the title.
        scale_name: what the colours mean.
    """
    tokens = len(labels)
    step = math.ceil(tokens / MOST_LABELS)
    side = TOKEN_INCHES * max(min(tokens, MOST_LABELS), 24)
    figure = Figure(figsize=(side + 2.2, side + 1.5))
    axes = figure.subplots()
    shown = pattern_TT.copy()
    shown[np.triu_indices(tokens, 1)] = np.nan
    image = _draw(axes, shown)
    ticks = range(0, tokens, step)
    texts = [_drawable(labels[index]) for index in ticks]
    font: dict[str, Any] = {"family": LABEL_FONT, "fontsize": 6.5, "parse_math": False}
    axes.set_xticks(ticks, texts, rotation=90, **font)
    axes.set_yticks(ticks, texts, **font)
    axes.set(xlabel="Key: attended to", ylabel="Query: attends")
    axes.set_title(_drawable(name), parse_math=False)
    bar = figure.colorbar(image, ax=axes, shrink=min(1.0, 4 / side), pad=0.02, label=scale_name)
    bar.outline.set_visible(False)
    return figure


def _tiles(patterns_LHTT: Tensor) -> NDArray[np.float32]:
    """Enlarged, or averaged over the lower triangle, by a whole factor; NaN above the diagonal."""
    tokens = patterns_LHTT.shape[-1]
    least, most = TILE_PIXELS
    block = math.ceil(tokens / most)
    below = torch.ones(1, tokens, tokens).tril()
    pooled = avg_pool2d(patterns_LHTT, block, ceil_mode=True) / avg_pool2d(below, block, ceil_mode=True)
    factor = math.ceil(least / pooled.shape[-1])
    # Above the diagonal the average is 0 / 0, which is the NaN that is wanted.
    tiles: NDArray[np.float32] = pooled.numpy().repeat(factor, axis=-2).repeat(factor, axis=-1)
    return tiles


def _draw(axes: Axes, values: NDArray[np.float32]) -> matplotlib.image.AxesImage:
    colours = matplotlib.colormaps[style.PATTERN_COLOURS].with_extremes(bad=NO_WEIGHT)
    image = axes.imshow(values, cmap=colours, vmin=0, vmax=1, interpolation="none")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return image


def _drawable(text: str) -> str:
    """`text` with the code in place of every character that the font does not have."""
    font = get_font(findfont(LABEL_FONT))
    return "".join(sign if font.get_char_index(ord(sign)) else f"\\u{ord(sign):04x}" for sign in text)
