"""The style of every figure: sizes, colours, and two file formats."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

P = ParamSpec("P")

INK = "#1f2933"
MUTED = "#6b7785"
RULE = "#d5dbe1"
ABSENT = "#cfd4d9"

# Okabe and Ito's colour-blind safe palette, without its yellow, which is invisible on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8A8F98")
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<", ">", "p")
SELECTION_COLOURS = {
    "positive": "#0072B2",
    "negative": "#D55E00",
    "neutral": "#009E73",
    "positive_mean": "#56B4E9",
    "negative_mean": "#E69F00",
    "neutral_mean": "#000000",
    "random": "#8A8F98",
    "greedy": "#CC79A7",
    "effects": "#6A3D9A",
    "learned_gates": "#B15928",
}
PATTERN_COLOURS = "viridis"
QUANTITY_COLOURS = "Blues"
SIGNED_COLOURS = "RdBu"

WIDTH_INCHES = 10.0
RASTER_DPI = 200

SETTINGS: dict[RcKeyType, Any] = {
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.titlesize": 10.5,
    "figure.titleweight": "bold",
    "svg.hashsalt": "apmae",
}


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Make a function draw its figure under `SETTINGS`."""

    @wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.rc_context(SETTINGS):
            return draw(*args, **kwargs)

    return wrapper


def title(figure: Figure, text: str) -> None:
    """Set the figure's title, flush left."""
    figure.suptitle(text, x=0.008, ha="left")


def colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for every name. The selections of an intervention have fixed colours."""
    return {
        name: SELECTION_COLOURS.get(name, PALETTE[index % len(PALETTE)]) for index, name in enumerate(names)
    }


def markers(names: Sequence[str]) -> dict[str, str]:
    """A marker for every name, so that lines differ by more than colour."""
    return {name: MARKERS[index % len(MARKERS)] for index, name in enumerate(names)}


def integer_ticks(axes: Axes, *, x: int | None = None, y: int | None = None) -> None:
    """At most `x` and `y` ticks on axes of indices, at whole numbers."""
    for axis, count in ((axes.xaxis, x), (axes.yaxis, y)):
        if count is not None:
            axis.set_major_locator(MaxNLocator(count, integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))


def encode(figure: Figure, file_format: str) -> bytes:
    """The figure as `svg` or `png`, reproducible byte for byte.

    The first encoding lays the figure out, which takes as long as drawing it; later ones keep this layout.
    """
    buffer = io.BytesIO()
    metadata = {"Date": None} if file_format == "svg" else {"Software": None}
    with matplotlib.rc_context(SETTINGS):
        figure.savefig(buffer, format=file_format, dpi=RASTER_DPI, metadata=metadata, facecolor="white")
    figure.set_layout_engine("none")
    return buffer.getvalue()


def svg_uri(vector: bytes) -> str:
    """An encoded SVG figure as a data URI, for a page that loads no files."""
    return "data:image/svg+xml;base64," + base64.b64encode(vector).decode("ascii")
